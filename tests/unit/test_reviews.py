"""Doubtful hits: each reaches a person once, whose first answer stands in the list."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout import deadlines, retention, reviews
from optout.decisions import AcceptReason, Decision, RevokeReason
from optout.errors import AlreadyDecided, ExclusionNotFound, ReviewNotFound
from optout.exclusions.entry import MAX_URL_LENGTH
from optout.exclusions.log import CurrentList, ExclusionLog, Version
from optout.lookups import Answer, Item
from optout.requests import Answers, Kind, OptOutRequest, Photo, Revocation, Step, new_ticket
from optout.reviews import MAX_DOUBTS, Doubt, PassedOn, Sign
from optout.store import Photos, Requests
from tests.storage import storage

NOW = datetime.now(UTC)
CANDIDATE = "ab" * 32
URL = "https://pictures.lens.example/1.jpg"


def answer(verdict: str, *exclusion_ids: str) -> dict[str, Any]:
    matches = [
        {"exclusion_id": name, "scope": "image", "signal": "picture", "distance": 0.6, "threshold": 0.7}
        for name in exclusion_ids
    ]
    return {"id": "x", "verdict": verdict, "reason": "x", "retry_after_s": None, "coverage": [], "missing": []} | {
        "depth": "full",
        "matches": matches,
    }


def found(item: dict[str, Any], *exclusion_ids: str, verdict: str = "review") -> tuple[list[Doubt], int]:
    results = {"version": "1.1", "as_of": NOW, "results": [answer(verdict, *exclusion_ids)]}
    return reviews.doubts([item], Answer.model_validate(results))


def doubt(exclusion_id: str = "e1", sha256: str = CANDIDATE) -> Doubt:
    return Doubt(sha256, exclusion_id, URL, (Sign("picture", 0.6, 0.7),))


# --- what is passed on ------------------------------------------------------------------------------------------------


def test_each_doubted_exclusion_of_a_candidate_is_one_doubt() -> None:
    doubts, unseen = found({"id": "x", "url": URL + "#top", "sha256": CANDIDATE.upper()}, "e1", "e2", "e1")
    assert unseen == 0
    assert [(each.sha256, each.exclusion_id, each.url, len(each.signs)) for each in doubts] == [
        (CANDIDATE, "e1", URL, 2),
        (CANDIDATE, "e2", URL, 1),
    ]


@pytest.mark.parametrize("verdict", ["exclude", "allow", "defer", "invalid"])
def test_only_what_is_answered_review_goes_to_a_person(verdict: str) -> None:
    assert found({"id": "x", "url": URL, "sha256": CANDIDATE}, "e1", verdict=verdict) == ([], 0)


def test_a_candidate_is_known_by_the_bytes_sent_when_its_own_are_not_named() -> None:
    picture = base64.b64encode(b"a picture").decode()
    [each] = found({"id": "x", "url": URL, "picture": picture}, "e1")[0]
    assert each.sha256 == hashlib.sha256(b"a picture").hexdigest()
    [each] = found({"id": "x", "url": URL, "picture": picture, "sha256": CANDIDATE}, "e1")[0]
    assert each.sha256 == CANDIDATE


@pytest.mark.parametrize(
    "item", [{"url": URL}, {"sha256": CANDIDATE}, {"sha256": CANDIDATE, "url": "https://a.example/" + "ü" * 1000}]
)
def test_what_nobody_could_look_at_is_counted_and_not_queued(item: dict[str, Any]) -> None:
    assert found({"id": "x"} | item, "e1") == ([], 1)


def test_no_password_in_an_address_is_passed_on() -> None:
    [each] = found({"id": "x", "url": "https://me:secret@a.example/x", "sha256": CANDIDATE}, "e1")[0]
    assert each.url == "https://a.example/x"


def test_the_same_doubt_is_passed_on_once_unless_the_queue_did_not_take_it() -> None:
    passed_on = PassedOn()
    assert passed_on.new([doubt("e1"), doubt("e1"), doubt("e2")]) == [doubt("e1"), doubt("e2")]
    assert passed_on.new([doubt("e1")]) == [doubt("e1")]
    passed_on.note([doubt("e1")])
    assert passed_on.new([doubt("e1"), doubt("e2"), doubt("e1", "cd" * 32)]) == [doubt("e2"), doubt("e1", "cd" * 32)]


def test_what_an_instance_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "WINDOW", 2)
    passed_on = PassedOn()
    passed_on.note([doubt("e1"), doubt("e2"), doubt("e3")])
    assert passed_on.new([doubt("e1"), doubt("e2"), doubt("e3")]) == [doubt("e1")]


def test_the_largest_message_fits_the_queue() -> None:
    long = "https://a.example/" + "x" * (MAX_URL_LENGTH - 18)
    message = reviews.to_message([replace(doubt("e" * 24), url=long)] * MAX_DOUBTS)
    assert len(message.encode()) < 256_000 / 2
    assert reviews.from_message(message)[0].url == long


@given(st.text(max_size=80) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_a_message_that_is_none_of_ours_is_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert reviews.from_message(text) == []


@pytest.mark.parametrize("change", [{"sha256": "x"}, {"exclusion_id": "a#b"}, {"url": "javascript:x"}, {"signs": 1}])
def test_a_message_with_a_wrong_part_is_refused(change: dict[str, Any]) -> None:
    [whole] = json.loads(reviews.to_message([doubt()]))
    with pytest.raises(ValueError, match="not"):
        reviews.from_message(json.dumps([whole | change]))


def test_an_item_has_the_fields_that_a_doubt_is_made_of() -> None:
    assert {"url", "sha256", "picture"} <= set(Item.model_fields)


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def requests() -> Iterator[Requests]:
    with storage():
        yield Requests.from_settings()


def accepted(requests: Requests) -> OptOutRequest:
    case = requests.create_draft(Kind.IMAGE, Answers("DE", "x", "Ada", "L", "ada@example.org"), "hash", NOW)
    codes = tuple(bytes([n] * 32) for n in range(8))
    requests.add_photo(case.id, Photo(new_ticket(), "12" * 32, "cd" * 32, 640, 480, 90, codes, None), NOW)
    requests.confirm(case.id, NOW)
    decision = Decision(new_ticket(), Step.ACCEPT, AcceptReason.REQUESTERS_PICTURE, "", "anna")
    return requests.decide(case.id, decision, None, NOW)


def open_ids(requests: Requests) -> list[str]:
    return [each.doubt.exclusion_id for each in requests.open_reviews()]


def answers() -> list[tuple[str, str, bool]]:
    return list(CurrentList(ExclusionLog.from_settings(), false_exclusions_per_million=1000).refresh().list.answers)


def test_a_doubt_is_kept_once_and_the_oldest_comes_first(requests: Requests) -> None:
    one, two = (accepted(requests).exclusions[0] for _ in range(2))
    assert requests.add_review(doubt(two), NOW)
    assert requests.add_review(doubt(one), NOW - timedelta(hours=1))
    assert not requests.add_review(doubt(one), NOW)
    assert open_ids(requests) == [one, two]
    assert requests.count_open_reviews() == 2
    first = requests.open_reviews()[0]
    assert (first.doubt, first.found_at) == (doubt(one), NOW - timedelta(hours=1))


def test_an_answer_closes_the_review_is_on_record_and_in_the_list(requests: Requests) -> None:
    case = accepted(requests)
    excluded = case.exclusions[0]
    requests.add_review(doubt(excluded), NOW)
    before, later = ExclusionLog.from_settings().head(), NOW + timedelta(hours=1)
    review = requests.answer_review(CANDIDATE, excluded, same=False, reviewer="bo", now=later)
    assert (review.same, review.reviewer, review.answered_at) == (False, "bo", later)
    assert excluded not in open_ids(requests)
    assert (excluded, CANDIDATE, False) in answers()
    assert ExclusionLog.from_settings().head() == Version(1, before.seq + 1)
    event = requests.history(case.id)[-1]
    assert (event.name, event.actor, event.exclusion_id) == ("answer_different", "bo", excluded)
    assert not requests.add_review(doubt(excluded), NOW)  # whoever answered is not asked again


def test_the_first_answer_stands_and_repeating_it_changes_nothing(requests: Requests) -> None:
    excluded = accepted(requests).exclusions[0]
    requests.add_review(doubt(excluded), NOW)
    first = requests.answer_review(CANDIDATE, excluded, same=True, reviewer="anna", now=NOW)
    head = ExclusionLog.from_settings().head()
    assert requests.answer_review(CANDIDATE, excluded, same=True, reviewer="anna", now=NOW) == first
    for same, reviewer in ((False, "anna"), (True, "bo"), (False, "bo")):
        with pytest.raises(AlreadyDecided) as told:
            requests.answer_review(CANDIDATE, excluded, same=same, reviewer=reviewer, now=NOW)
        assert (told.value.status, told.value.reviewer, told.value.at) == ("same", "anna", NOW)
    assert ExclusionLog.from_settings().head() == head


def test_nobody_answers_what_was_never_asked(requests: Requests) -> None:
    with pytest.raises(ReviewNotFound):
        requests.answer_review(CANDIDATE, "nothing", same=True, reviewer="anna", now=NOW)
    assert not requests.add_review(doubt("nothing"), NOW)


@pytest.mark.parametrize("over", ["withdrawn", "revoked"])
def test_what_is_off_the_list_is_neither_asked_nor_answered_and_its_reviews_are_deleted(
    requests: Requests, over: str
) -> None:
    case = accepted(requests)
    excluded = case.exclusions[0]
    requests.add_review(doubt(excluded), NOW)
    requests.add_review(doubt(excluded, "cd" * 32), NOW)
    requests.answer_review("cd" * 32, excluded, same=True, reviewer="anna", now=NOW)
    if over == "withdrawn":
        requests.withdraw(case.id, NOW)
    else:
        revocation = Revocation(RevokeReason.EXCLUDES_OTHERS, "it hits others", "anna", NOW)
        requests.propose_revocation(case.id, revocation, requests.get(case.id, NOW).version, NOW)
        requests.confirm_revocation(case.id, "bo", NOW)
    with pytest.raises(ExclusionNotFound):
        requests.answer_review(CANDIDATE, excluded, same=False, reviewer="anna", now=NOW)
    assert excluded not in {exclusion_id for exclusion_id, _, _ in answers()}
    assert not requests.add_review(doubt(excluded, "ef" * 32), NOW)
    assert requests.forget_reviews(NOW) == 1
    with pytest.raises(ReviewNotFound):
        requests.answer_review(CANDIDATE, excluded, same=False, reviewer="anna", now=NOW)


def test_reviews_are_deleted_when_their_time_is_over_and_answers_stay_in_the_list(requests: Requests) -> None:
    excluded = accepted(requests).exclusions[0]
    requests.add_review(doubt(excluded), NOW)
    requests.add_review(doubt(excluded, "cd" * 32), NOW)
    requests.answer_review("cd" * 32, excluded, same=True, reviewer="anna", now=NOW + timedelta(days=1))
    photos = Photos.from_settings()
    retention.sweep(requests, photos, NOW + deadlines.REVIEWS_KEPT - timedelta(seconds=1))
    assert excluded in open_ids(requests)
    assert retention.sweep(requests, photos, NOW + deadlines.REVIEWS_KEPT).reviews >= 1
    assert excluded not in open_ids(requests)
    later = NOW + deadlines.REVIEWS_KEPT + timedelta(days=1)
    assert retention.sweep(requests, photos, later).reviews >= 1
    with pytest.raises(ReviewNotFound):
        requests.answer_review("cd" * 32, excluded, same=True, reviewer="anna", now=NOW)
    assert (excluded, "cd" * 32, True) in answers()
