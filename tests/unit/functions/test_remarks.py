"""What a reviewer is told about the way a request came, and what its requester is told of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from optout.mail.send import render
from optout.requests import Kind, Letter, OptOutRequest, Photo
from optout.store import DueLetter, LetterKey, Requests
from optout.web import forms
from tests.unit.functions.api import Api, event, load
from tests.unit.functions.cases import ANSWERS, FILLED, photo, status_path


@pytest.fixture(scope="module")
def decide(aws: None) -> Api:
    return Api(load("decide"))


def console(decide: Api, path: str) -> str:
    """A fragment of the console, in words."""
    given = event("GET", path, None, {"Accept": "text/html"})
    given["requestContext"]["authorizer"] = {"claims": {"cognito:username": "anna", "cognito:groups": "[reviewers]"}}
    return decide.send(given).text


def case(requests: Requests, now: datetime, *photos: Photo, address: str = "", **more: Any) -> OptOutRequest:
    """A case about pictures, from an address of its own."""
    answers = replace(ANSWERS, email=more.pop("email", ANSWERS.email))
    made = requests.create_draft(Kind.IMAGE, answers, address or f"hash-{uuid4()}", now, **more)
    for one in photos or (photo(),):
        made = requests.add_photo(made.id, one, now)
    return requests.confirm(made.id, now)


def of_picture(picture: str, sha256: str = "") -> Photo:
    return replace(photo(), picture=picture * 64, sha256=(sha256 or picture) * 64)


# --- the field that people cannot see ---------------------------------------------------------------------------------


def test_nobody_sees_or_hears_of_the_hidden_field(submit: Api) -> None:
    page = submit.get("/opt-out?kind=face").body
    hidden = re.search(r'<div class="unseen" aria-hidden="true">(.*?)</div>', page, re.DOTALL)
    assert hidden
    field = re.search(r"<input [^>]*>", hidden[1])
    assert field
    for attribute in (f'name="{forms.TRAP}"', 'autocomplete="off"', 'tabindex="-1"'):
        assert attribute in field[0]


@pytest.mark.parametrize(("typed", "suspected"), [("", False), ("  ", False), ("https://spam.example", True)])
def test_a_filled_in_hidden_field_is_taken_as_if_all_were_well_and_reviewers_are_told(
    submit: Api, decide: Api, requests: Requests, now: datetime, typed: str, suspected: bool
) -> None:
    answer = submit.post("/opt-out", {**FILLED, "kind": "links", forms.TRAP: typed})
    assert answer.status == 303
    draft = answer.location.split("/")[2]
    submit.post(f"/opt-out/{draft}/confirm")
    assert requests.get(draft, now).suspected is suspected
    assert ("A field that people cannot see" in console(decide, f"/requests/{draft}")) is suspected


def test_who_was_suspected_stays_so_when_the_answers_are_changed(
    submit: Api, requests: Requests, now: datetime
) -> None:
    draft = submit.post("/opt-out", {**FILLED, "kind": "links", forms.TRAP: "x"}).location.split("/")[2]
    submit.post(f"/opt-out/{draft}", FILLED)
    assert requests.get(draft, now).suspected


def test_the_queue_shows_who_is_suspected(decide: Api, requests: Requests, now: datetime) -> None:
    number = case(requests, now, suspected=True).number
    assert "Suspected" in console(decide, f"/requests?number={number}")
    assert "Suspected" not in console(decide, f"/requests?number={case(requests, now).number}")


# --- addresses that are given away ------------------------------------------------------------------------------------


def test_a_disposable_address_is_taken_and_remarked_on(decide: Api, requests: Requests, now: datetime) -> None:
    remark = "gives addresses away for a while"
    assert remark in console(decide, f"/requests/{case(requests, now, email='a@mailinator.com').id}")
    assert remark not in console(decide, f"/requests/{case(requests, now).id}")


def test_what_came_without_a_proof_is_remarked_on(decide: Api, requests: Requests, now: datetime) -> None:
    made = requests.create_draft(Kind.LINKS, ANSWERS, f"hash-{uuid4()}", now)
    said = console(decide, f"/requests/{requests.confirm(made.id, now, proven=False).id}")
    assert "Sent without a proof of work" in said
    assert "It is not in the queue" in said


# --- the same picture again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [of_picture("1", "9"), of_picture("8", "1")], ids=["same copy", "same file"])
def test_the_same_picture_of_the_same_address_is_told_and_linked_for_both(
    submit: Api, decide: Api, requests: Requests, now: datetime, again: Photo
) -> None:
    address = f"hash-{uuid4()}"
    first = case(requests, now, of_picture("1"), address=address)
    second = case(requests, now, of_picture("2"), again, address=address)
    assert second.repeats == (first.number,)
    assert f"before, with request {first.number}" in re.sub("[\u2066-\u2069]", "", submit.get(status_path(second)).text)
    due = DueLetter(LetterKey(second.id, second.version), Letter.RECEIVED, second)
    letter = render(
        due, now, engine="Lens", support="help@lens.example", status_url="https://s", verify_url="https://v"
    )
    assert first.number in letter.text
    assert first.number in letter.html
    assert f"sent the same picture before: {first.number}" in console(decide, f"/requests/{second.id}")
    if again.picture == of_picture("1").picture:
        assert second.number in console(decide, f"/requests/{first.id}")


def test_nothing_is_said_of_the_same_picture_of_another_address(
    submit: Api, decide: Api, requests: Requests, now: datetime
) -> None:
    other = case(requests, now, of_picture("3"))
    mine = case(requests, now, of_picture("3"))
    assert mine.repeats == ()
    assert other.number not in submit.get(status_path(mine)).text


def test_whoever_types_a_strangers_address_learns_nothing_of_their_cases(
    submit: Api, requests: Requests, now: datetime
) -> None:
    address = f"hash-{uuid4()}"
    known = case(requests, now, of_picture("4"), address=address)
    made = requests.create_draft(Kind.IMAGE, ANSWERS, address, now)
    requests.add_photo(made.id, of_picture("4"), now)
    before = [submit.get(f"/opt-out/{made.id}/{page}").body for page in ("photos", "check")]
    submit.post(f"/opt-out/{made.id}/confirm")
    assert requests.get(made.id, now).repeats == (known.number,)
    for page in (*before, submit.get(f"/opt-out/{made.id}/done").body):
        assert known.number not in page


def test_drafts_and_other_pictures_are_no_repetition(requests: Requests, now: datetime) -> None:
    address = f"hash-{uuid4()}"
    unsent = requests.create_draft(Kind.IMAGE, ANSWERS, address, now)
    requests.add_photo(unsent.id, of_picture("5"), now)
    case(requests, now, of_picture("6"), address=address)
    assert case(requests, now, of_picture("5"), of_picture("7"), address=address).repeats == ()
