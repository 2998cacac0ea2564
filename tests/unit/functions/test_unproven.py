"""A request without a proof of work: taken, and out of the reviewers' queue until its address is verified."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from html import unescape

import pytest

from optout import deadlines, proof_of_work, retention, settings
from optout.decisions import Decision
from optout.errors import RequestNotFound
from optout.mail.send import render
from optout.requests import Kind, Letter, OptOutRequest, Status, Step
from optout.store import DueLetter, LetterKey, Photos, Requests
from optout.web import wording
from tests.unit.functions.api import Answer, Api
from tests.unit.functions.cases import draft, face, photo, status_path, verify_path


def challenge_of(page: Answer) -> str:
    """The challenge that a check page brings."""
    found = re.search(r'data-challenge="([^"]*)"', page.body)
    assert found, "the check page brings a challenge"
    return unescape(found[1])


def made(requests: Requests, now: datetime) -> OptOutRequest:
    return draft(requests, now, Kind.FACE, photo(face()))


def sent(submit: Api, requests: Requests, now: datetime, **fields: str) -> OptOutRequest:
    """A request sent with what stands in these fields."""
    one = made(requests, now)
    assert submit.post(f"/opt-out/{one.id}/confirm", fields).location == f"/opt-out/{one.id}/done"
    return requests.get(one.id, now)


def queued(requests: Requests, case: OptOutRequest) -> bool:
    return case.id in {each.id for each in requests.queue("pending", 500)}


def test_with_the_proof_of_the_check_page_the_case_is_in_the_queue_at_once(
    submit: Api, requests: Requests, now: datetime
) -> None:
    one = made(requests, now)
    page = submit.get(f"/opt-out/{one.id}/check")
    proof = proof_of_work.solved(challenge_of(page))
    submit.post(f"/opt-out/{one.id}/confirm", {"proof": proof})
    case = requests.get(one.id, now)
    assert not case.unproven
    assert queued(requests, case)
    assert "Your request has been sent" in submit.get(f"/opt-out/{one.id}/done").text


def test_a_proof_is_good_for_one_request_only(submit: Api, requests: Requests, now: datetime) -> None:
    one = made(requests, now)
    proof = proof_of_work.solved(challenge_of(submit.get(f"/opt-out/{one.id}/check")))
    submit.post(f"/opt-out/{one.id}/confirm", {"proof": proof})
    assert sent(submit, requests, now, proof=proof).waits_for_address


@pytest.mark.parametrize("proof", ["", "e30=", "%00", "x" * 5_000])
def test_without_a_proof_the_request_is_taken_and_waits_for_its_address(
    submit: Api, requests: Requests, now: datetime, proof: str
) -> None:
    case = sent(submit, requests, now, proof=proof)
    assert case.status is Status.PENDING
    assert case.waits_for_address
    assert not queued(requests, case)
    # The first letter goes out all the same: it holds the link that verifies.
    assert LetterKey(case.id, case.version) in requests.letters_due(now + timedelta(hours=1), 500)


def test_the_pages_of_a_waiting_request_say_what_to_do_and_name_no_due_date(
    submit: Api, requests: Requests, now: datetime
) -> None:
    case = sent(submit, requests, now)
    by = wording.date(now + deadlines.UNVERIFIED_KEPT, "DE")
    assert case.due_at is not None
    for path in (f"/opt-out/{case.id}/done", status_path(case), verify_path(case)):
        said = submit.get(path).text
        assert by in said, path
        assert "After that day the request is deleted" in said, path
        assert "We decide by" not in said, path


def test_the_letter_of_a_waiting_request_asks_for_the_one_step_and_names_no_due_date(
    submit: Api, requests: Requests, now: datetime
) -> None:
    case = sent(submit, requests, now)
    due = DueLetter(LetterKey(case.id, case.version), Letter.RECEIVED, case)
    letter = render(
        due, now, engine="Lens", support="help@lens.example", status_url="https://s", verify_url="https://v"
    )
    by = wording.date(now + deadlines.UNVERIFIED_KEPT, "DE")
    for words in (letter.text, letter.html):
        assert by in words
        assert "https://v" in words
        assert wording.date(case.due_at or now, "DE") not in words


def test_the_letters_button_brings_the_case_into_the_queue(submit: Api, requests: Requests, now: datetime) -> None:
    case = sent(submit, requests, now)
    submit.post(verify_path(case))
    case = requests.get(case.id, now)
    assert not case.waits_for_address
    assert queued(requests, case)
    said = submit.get(status_path(case)).text
    assert "We decide by" in said
    assert "deleted" not in said


def test_the_laws_time_runs_from_sending_and_ours_from_when_we_could_begin(requests: Requests, now: datetime) -> None:
    late = now + timedelta(days=9)
    quick = requests.confirm(made(requests, now).id, now, proven=False)
    verified = requests.verify(quick.id, late, provisional=False)
    assert verified.due_at == late + timedelta(hours=72)
    # In Brazil the law is faster than our promise would be by then, and it knows no such delay.
    assert deadlines.due(Kind.IMAGE, "BR", now, begun_at=late) == deadlines.Due(now + timedelta(days=15), "br_lgpd")
    assert deadlines.due(Kind.IMAGE, "DE", now, begun_at=late).at == late + timedelta(days=7)


def test_a_reviewer_can_find_and_decide_a_waiting_case_by_its_number(requests: Requests, now: datetime) -> None:
    case = requests.confirm(made(requests, now).id, now, proven=False)
    assert requests.by_number(case.number, now).id == case.id
    decision = Decision("d", Step.REJECT, "no_match", "We looked.", "anna")
    assert requests.decide(case.id, decision, case.version, now).status is Status.REJECTED


def test_a_waiting_request_is_deleted_when_nobody_verifies_it_in_time(requests: Requests, now: datetime) -> None:
    photos = Photos.from_settings()
    verified = requests.confirm(made(requests, now).id, now, proven=False)
    requests.verify(verified.id, now, provisional=False)
    waiting = requests.confirm(made(requests, now).id, now, proven=False)
    photos.keep(waiting.id, "c" * 64, b"jpeg")
    proven = requests.confirm(made(requests, now).id, now)

    before = now + deadlines.UNVERIFIED_KEPT - timedelta(minutes=1)
    retention.sweep(requests, photos, before)
    assert requests.get(waiting.id, before).waits_for_address
    after = now + deadlines.UNVERIFIED_KEPT
    assert retention.sweep(requests, photos, after).unverified >= 1
    with pytest.raises(RequestNotFound):
        requests.get(waiting.id, after)
    with pytest.raises(RequestNotFound):
        requests.by_number(waiting.number, after)
    copies = settings.aws("s3").list_object_versions(Bucket=settings.photos_bucket(), Prefix=f"photos/{waiting.id}/")
    assert copies.get("Versions", []) == []
    for kept in (verified, proven):
        assert requests.get(kept.id, after).status is Status.PENDING


def test_what_is_being_deleted_can_no_longer_be_verified(requests: Requests, now: datetime) -> None:
    waiting = requests.confirm(made(requests, now).id, now, proven=False)
    assert requests.expire(waiting.id, "unverified", now)
    with pytest.raises(RequestNotFound):
        requests.verify(waiting.id, now, provisional=False)
    verified = requests.confirm(made(requests, now).id, now, proven=False)
    requests.verify(verified.id, now, provisional=False)
    assert not requests.expire(verified.id, "unverified", now)


def test_photos_that_are_added_with_the_mailed_link_need_no_proof(
    submit: Api, requests: Requests, now: datetime
) -> None:
    case = requests.confirm(made(requests, now).id, now)
    added = requests.begin_addition(case, now)
    requests.add_photo(added.id, photo(face()), now)
    assert "data-challenge" not in submit.get(f"/opt-out/{added.id}/check").body
    submit.post(f"/opt-out/{added.id}/confirm")
    assert queued(requests, requests.get(case.id, now))


def test_nobody_is_asked_to_verify_an_address_that_they_never_gave(requests: Requests, now: datetime) -> None:
    case = requests.confirm(made(requests, now).id, now, proven=False)
    assert not replace(case, answers=replace(case.answers, email="")).waits_for_address
