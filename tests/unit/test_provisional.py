"""What a verified requester asks for is held back while the case is open, within limits, and never longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout import deadlines, provisional
from optout.decisions import AcceptReason, Decision, RejectReason
from optout.errors import LetterNotSentAgain, RequestNotFound
from optout.exclusions.log import CurrentList, ExclusionLog
from optout.fingerprint import Fingerprint
from optout.provisional import HELD_PER_ADDRESS, HELD_PER_DAY, refusal
from optout.requests import (
    MAX_LINKS,
    MAX_SENT_AGAIN,
    SEND_AGAIN_PAUSE,
    Answers,
    Kind,
    OptOutRequest,
    Photo,
    Status,
    Step,
    Unheld,
)
from optout.settings import aws
from optout.store import Requests
from tests.storage import storage

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org")
PHOTO = Photo("t1", "ab" * 32, "cd" * 32, 640, 480, 90, tuple(bytes([n] * 32) for n in range(8)), None)
PICTURE = Fingerprint.from_signals(sha256=PHOTO.sha256, pdq=PHOTO.dihedral[0].hex())
_names = count()


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield Requests("Requests", ExclusionLog.from_settings(), aws("dynamodb"), pause=lambda seconds: None)


def picture(requests: Requests) -> OptOutRequest:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    requests.add_photo(draft.id, PHOTO, NOW)
    return requests.confirm(draft.id, NOW)


def links(requests: Requests, how_many: int, email_hash: str = "hash") -> OptOutRequest:
    given = tuple(f"https://{next(_names)}.example/" for _ in range(how_many))
    draft = requests.create_draft(Kind.LINKS, replace(ANSWERS, links=given, good_faith=True), email_hash, NOW)
    return requests.confirm(draft.id, NOW)


def verdict(url: str | None = None) -> tuple[str, str]:
    """What a lookup that starts now answers for the picture, or for an address."""
    current = CurrentList(ExclusionLog.from_settings(), false_exclusions_per_million=1000).refresh()
    answer = current.list.check(None if url else PICTURE, url, scopes=["link"] if url else ["image"])
    return str(answer.verdict), str(answer.reason)


def decide(requests: Requests, case: OptOutRequest, step: Step, reviewer: str = "anna") -> OptOutRequest:
    reason = RejectReason.NO_MATCH if step is Step.REJECT else AcceptReason.SHOWS_REQUESTER
    return requests.decide(case.id, Decision(f"{case.id}{step}", step, reason, "because", reviewer), None, NOW)


def test_from_the_verification_on_the_picture_is_deferred(requests: Requests) -> None:
    case = picture(requests)
    assert verdict() == ("allow", "no_match")
    verified = requests.verify(case.id, NOW, provisional=True)
    assert verdict() == ("defer", "pending_case")
    assert verified.verified_at == NOW
    assert verified.hold is not None
    assert verified.hold.list_version == str(ExclusionLog.from_settings().head())
    assert requests.get(case.id, NOW) == verified


def test_verifying_twice_is_verifying_once(requests: Requests) -> None:
    case = picture(requests)
    first = requests.verify(case.id, NOW, provisional=True)
    head = ExclusionLog.from_settings().head()
    assert requests.verify(case.id, NOW + timedelta(hours=1), provisional=True) == first
    assert ExclusionLog.from_settings().head() == head


def test_two_who_verify_at_once_write_once(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    case = picture(requests)
    real, raced = requests.photos, []

    def racing(request_id: str) -> list[Photo]:
        if not raced:
            raced.append(request_id)
            requests.verify(case.id, NOW, provisional=True)
        return real(request_id)

    monkeypatch.setattr(requests, "photos", racing)
    assert requests.verify(case.id, NOW, provisional=True).version == case.version + 1
    assert raced
    assert ExclusionLog.from_settings().head().seq == 1


@pytest.mark.parametrize("end", ["reject", "withdraw", "release"])
def test_nothing_is_held_back_once_the_case_is_over_or_released(requests: Requests, end: str) -> None:
    case = picture(requests)
    requests.verify(case.id, NOW, provisional=True)
    if end == "reject":
        assert decide(requests, case, Step.REJECT).hold is None
    elif end == "withdraw":
        assert requests.withdraw(case.id, NOW).hold is None
    else:
        assert requests.release(case.id, NOW)
        assert not requests.release(case.id, NOW)
    after = requests.get(case.id, NOW)
    assert (after.hold, after.unheld) == (None, Unheld.OFF if end == "release" else None)
    assert after.verified_at == NOW
    assert verdict() == ("allow", "no_match")


def test_an_acceptance_replaces_what_was_held_back_under_the_same_ids(requests: Requests) -> None:
    case = picture(requests)
    verified = requests.verify(case.id, NOW, provisional=True)
    accepted = decide(requests, case, Step.ACCEPT)
    assert verified.hold is not None
    assert accepted.exclusions == verified.hold.exclusions
    assert verdict() == ("exclude", "match")
    requests.withdraw(case.id, NOW)
    assert verdict() == ("allow", "no_match")


def test_an_acceptance_on_appeal_is_as_it_always_was(requests: Requests) -> None:
    case = picture(requests)
    requests.verify(case.id, NOW, provisional=True)
    decide(requests, case, Step.REJECT)
    decide(requests, case, Step.ACCEPT_ON_APPEAL, "ben")
    assert verdict() == ("exclude", "match")


def test_a_case_that_holds_back_never_hides_one_that_excludes(requests: Requests) -> None:
    decide(requests, picture(requests), Step.ACCEPT)
    other = picture(requests)
    requests.verify(other.id, NOW, provisional=True)
    assert verdict() == ("exclude", "match")
    requests.withdraw(other.id, NOW)
    assert verdict() == ("exclude", "match")


def test_a_case_that_is_over_has_nothing_to_verify_and_a_draft_is_not_there(requests: Requests) -> None:
    case = picture(requests)
    rejected = decide(requests, case, Step.REJECT)
    assert requests.verify(case.id, NOW, provisional=True) == rejected
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    with pytest.raises(RequestNotFound):
        requests.verify(draft.id, NOW, provisional=True)


def test_switched_off_an_address_is_verified_and_nothing_is_held_back(requests: Requests) -> None:
    case = picture(requests)
    verified = requests.verify(case.id, NOW, provisional=False)
    assert (verified.verified_at, verified.hold, verified.unheld) == (NOW, None, Unheld.OFF)
    assert verdict() == ("allow", "no_match")


def test_an_address_holds_back_so_much_at_a_time_and_again_when_a_case_is_over(requests: Requests) -> None:
    first, second, third = links(requests, HELD_PER_ADDRESS), links(requests, 1), links(requests, 1)
    assert requests.verify(first.id, NOW, provisional=True).hold is not None
    above = requests.verify(second.id, NOW, provisional=True)
    assert (above.verified_at, above.hold, above.unheld) == (NOW, None, Unheld.ADDRESS)
    assert verdict(second.answers.links[0]) == ("allow", "no_match")
    other = links(requests, 1, "another")
    assert requests.verify(other.id, NOW, provisional=True).hold is not None
    decide(requests, first, Step.REJECT)
    assert requests.verify(third.id, NOW, provisional=True).hold is not None


def test_the_service_begins_to_hold_back_so_much_a_day(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisional, "HELD_PER_DAY", 2)
    monkeypatch.setattr("optout.store.HELD_PER_DAY", 2)
    cases = [links(requests, 1, f"hash{n}") for n in range(4)]
    done = [requests.verify(case.id, NOW, provisional=True) for case in cases[:3]]
    assert [case.unheld for case in done] == [None, None, Unheld.DAY]
    requests.withdraw(cases[0].id, NOW)
    tomorrow = requests.verify(cases[3].id, NOW + timedelta(days=1), provisional=True)
    assert tomorrow.hold is not None


def test_of_two_who_take_the_last_place_of_a_day_one_gets_it(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisional, "HELD_PER_DAY", 1)
    monkeypatch.setattr("optout.store.HELD_PER_DAY", 1)
    cases = [links(requests, 1, f"hash{n}") for n in range(2)]
    real, raced = requests._get, []

    def racing(pk: str, sk: str) -> object:
        found = real(pk, sk)
        if sk == "day" and not raced:
            raced.append(pk)
            requests.verify(cases[1].id, NOW, provisional=True)
        return found

    monkeypatch.setattr(requests, "_get", racing)
    assert requests.verify(cases[0].id, NOW, provisional=True).unheld is Unheld.DAY
    assert requests.get(cases[1].id, NOW).hold is not None


def test_a_count_that_no_case_answers_for_is_deleted_by_itself(requests: Requests) -> None:
    case = picture(requests)
    requests.verify(case.id, NOW, provisional=True)
    assert "expires_at" not in (requests._get("held#hash", "address") or {})
    requests.withdraw(case.id, NOW)
    count = requests._get("held#hash", "address")
    assert count is not None
    assert (count["cases"], count["expires_at"]) == ({}, int((NOW + deadlines.HOLDS_COUNTED).timestamp()))


@given(st.integers(1, MAX_LINKS), st.integers(0, HELD_PER_ADDRESS), st.integers(0, HELD_PER_DAY))
def test_no_limit_is_ever_passed_and_everybodys_first_case_of_a_quiet_day_is_held(
    wanted: int, held: int, today: int
) -> None:
    answer = refusal(wanted, held, today, on=True)
    if answer is None:
        assert held + wanted <= HELD_PER_ADDRESS
        assert today + wanted <= HELD_PER_DAY
    assert refusal(wanted, 0, 0, on=True) is None
    assert refusal(wanted, held, today, on=False) is Unheld.OFF
    assert refusal(0, held, today, on=True) is Unheld.NOTHING


# ---- the letter, again


def test_the_first_letter_is_sent_again_a_few_times_with_a_pause_between(requests: Requests) -> None:
    case, at = picture(requests), NOW
    for _ in range(MAX_SENT_AGAIN):
        requests.send_again(case.id, at)
        with pytest.raises(LetterNotSentAgain):
            requests.send_again(case.id, at + SEND_AGAIN_PAUSE - timedelta(seconds=1))
        at += SEND_AGAIN_PAUSE
    with pytest.raises(LetterNotSentAgain):
        requests.send_again(case.id, at)
    letters = [item["letter"] for item in requests._items(case.id, "letter#")]
    assert letters == ["received"] * (1 + MAX_SENT_AGAIN)


def test_whoever_is_verified_or_done_gets_no_letter_again(requests: Requests) -> None:
    verified, over = picture(requests), picture(requests)
    requests.verify(verified.id, NOW, provisional=True)
    decide(requests, over, Step.REJECT)
    assert requests.get(over.id, NOW).status is Status.REJECTED
    for case in (verified, over):
        with pytest.raises(LetterNotSentAgain):
            requests.send_again(case.id, NOW)
