"""Questions and answers, dates that are put off, and appeals: every condition of them is in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest

from optout import deadlines, retention
from optout.decisions import Decision, ExtendReason, UpholdReason
from optout.errors import (
    AlreadyDecided,
    AppealClosed,
    NoExtension,
    RequestInvalid,
    RequestNotFound,
    SameReviewer,
    StateConflict,
    TooManyMessages,
)
from optout.requests import MAX_MESSAGES, Extension, Kind, Lane, Letter, OptOutRequest, Status, Step
from optout.store import Photos, Requests
from tests.storage import storage
from tests.unit.test_store import (
    ANSWERS,
    LINKS,
    NOW,
    PHOTO,
    confirmed,
    decision,
    in_force,
    letters,
    revocation,
    store,
)

LATER = NOW + timedelta(days=2)


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield store()


def rejected(requests: Requests) -> OptOutRequest:
    return requests.decide(confirmed(requests).id, decision(Step.REJECT), None, NOW)


def revoked(requests: Requests) -> OptOutRequest:
    case = requests.decide(confirmed(requests).id, decision(Step.ACCEPT, "zoe"), None, NOW)
    requests.propose_revocation(case.id, revocation("anna"), case.version, NOW)
    return requests.confirm_revocation(case.id, "ben", NOW)


def uphold(reviewer: str, decision_id: str = "d2") -> Decision:
    return Decision(decision_id, Step.UPHOLD, UpholdReason.FACTS_STAND, "we looked again", reviewer)


def extension(at: datetime = LATER) -> Extension:
    return Extension(at, ExtendReason.COMPLEX, "we ask a translator", "anna", at)


def said(requests: Requests, case: OptOutRequest) -> list[tuple[str, str, str]]:
    return [(event.name, event.actor, event.text) for event in requests.history(case.id) if event.text]


# ---- appeals


@pytest.mark.parametrize("decided_against", [rejected, revoked])
def test_an_appeal_waits_with_a_date_of_its_own_and_is_acknowledged(
    requests: Requests, decided_against: Callable[[Requests], OptOutRequest]
) -> None:
    case = decided_against(requests)
    appealed = requests.appeal(case.id, "That is me.", LATER)
    assert (appealed.status, appealed.appealed_at) == (case.status, LATER)
    assert (appealed.due_at, appealed.due_rule) == (LATER + timedelta(days=14), "house_appeal")
    assert requests.get(case.id, LATER) == appealed
    assert [each.id for each in requests.queue("appeal")] == [case.id]
    assert requests.queue(case.status) == []
    assert said(requests, case) == [("appeal", "requester", "That is me.")]
    assert letters(requests, case.id)[-1] == Letter.APPEAL_RECEIVED


def test_an_appeal_about_an_urgent_case_is_decided_as_soon_as_the_case_was(requests: Requests) -> None:
    made = requests.create_draft(Kind.LINKS, LINKS, "hash", NOW, lane=Lane.INTIMATE)
    case = requests.decide(requests.confirm(made.id, NOW).id, decision(Step.REJECT), None, NOW)
    appealed = requests.appeal(case.id, "That is me.", LATER)
    assert (appealed.due_at, appealed.due_rule) == (LATER + timedelta(hours=24), "house_urgent")
    ordinary = requests.appeal(rejected(requests).id, "That is me.", NOW)
    assert [each.id for each in requests.queue("appeal")] == [case.id, ordinary.id]


def test_appealing_twice_is_appealing_once(requests: Requests) -> None:
    case = rejected(requests)
    first = requests.appeal(case.id, "That is me.", LATER)
    assert requests.appeal(case.id, "That is me, I say.", LATER + timedelta(hours=1)) == first
    assert letters(requests, case.id).count(Letter.APPEAL_RECEIVED) == 1


@pytest.mark.parametrize("decided_against", [rejected, revoked])
def test_who_decided_first_decides_no_appeal(
    requests: Requests, decided_against: Callable[[Requests], OptOutRequest]
) -> None:
    case = requests.appeal(decided_against(requests).id, "That is me.", LATER)
    for made in (uphold("anna"), decision(Step.ACCEPT_ON_APPEAL, "anna", "d3")):
        with pytest.raises(SameReviewer):
            requests.decide(case.id, made, case.version, LATER)
    assert requests.get(case.id, LATER) == case
    after = requests.decide(case.id, uphold("ben"), case.version, LATER)
    assert (after.status, after.appealed_at, after.decision) == (case.status, None, case.decision)
    assert after.upheld is not None
    assert (after.upheld.reviewer, after.upheld.text) == ("ben", "we looked again")
    assert requests.get(case.id, LATER) == after
    assert letters(requests, case.id)[-1] == Letter.UPHELD
    assert [each.id for each in requests.queue(case.status)] == [case.id]


def test_an_appeal_that_is_granted_is_in_force_and_leaves_nothing_open(requests: Requests) -> None:
    case = requests.appeal(rejected(requests).id, "That is me.", LATER)
    after = requests.decide(case.id, decision(Step.ACCEPT_ON_APPEAL, "ben", "d2"), case.version, LATER)
    assert (after.status, after.appealed_at, after.upheld) == (Status.ACCEPTED, None, None)
    assert in_force(after.exclusions)
    assert requests.queue("appeal") == []


def test_an_appeal_is_decided_once(requests: Requests) -> None:
    case = requests.appeal(rejected(requests).id, "That is me.", LATER)
    first = requests.decide(case.id, uphold("ben"), case.version, LATER)
    assert requests.decide(case.id, uphold("ben"), case.version, LATER) == first, "the same press of the button"
    with pytest.raises(AlreadyDecided) as refused:
        requests.decide(case.id, uphold("carl", "d9"), first.version, LATER)
    assert (refused.value.reviewer, refused.value.at) == ("ben", LATER)
    with pytest.raises(AppealClosed):
        requests.appeal(case.id, "Once more.", LATER)


def test_nothing_is_upheld_that_nobody_appealed_against(requests: Requests) -> None:
    case = rejected(requests)
    with pytest.raises(AlreadyDecided):
        requests.decide(case.id, uphold("ben"), case.version, LATER)


def test_an_appeal_is_upheld_with_a_listed_reason_and_a_text(requests: Requests) -> None:
    case = requests.appeal(rejected(requests).id, "That is me.", LATER)
    for wrong in (replace(uphold("ben"), reason="no_match"), replace(uphold("ben"), text=" ")):
        with pytest.raises(RequestInvalid):
            requests.decide(case.id, wrong, case.version, LATER)


def test_an_appeal_is_possible_until_its_window_ends_and_against_nothing_else(requests: Requests) -> None:
    case = rejected(requests)
    until = deadlines.appeal_until(case)
    assert until == NOW + deadlines.APPEAL_WINDOW
    with pytest.raises(AppealClosed):
        requests.appeal(case.id, "Too late.", until)
    requests.appeal(case.id, "In time.", until - timedelta(seconds=1))
    with pytest.raises(StateConflict):
        requests.appeal(confirmed(requests).id, "Not decided yet.", LATER)
    with pytest.raises(RequestNotFound):
        requests.appeal(requests.create_draft(Kind.LINKS, LINKS, "hash", NOW).id, "Not sent.", NOW)


def test_photos_stay_while_an_appeal_is_open_and_six_months_after_it_was_decided(requests: Requests) -> None:
    case = rejected(requests)
    until = NOW + deadlines.APPEAL_WINDOW
    last_day = until - timedelta(seconds=1)
    case = requests.appeal(case.id, "In time.", last_day)
    retention.sweep(requests, Photos.from_settings(), until + timedelta(days=30))
    assert requests.photos(case.id) == [PHOTO]
    requests.decide(case.id, uphold("ben"), case.version, until)
    assert requests.falling_due("photos", until + deadlines.APPEAL_WINDOW - timedelta(seconds=1)) == []
    assert requests.falling_due("photos", until + deadlines.APPEAL_WINDOW) == [case.id]


def test_photos_and_words_can_be_added_to_an_appeal_and_who_has_not_seen_them_decides_nothing(
    requests: Requests,
) -> None:
    case = rejected(requests)
    with pytest.raises(StateConflict):
        requests.inform(case.id, "Not while nothing is open.", LATER)
    with pytest.raises(StateConflict):
        requests.begin_addition(case, LATER)
    seen = requests.appeal(case.id, "That is me.", LATER)
    draft = requests.begin_addition(seen, LATER)
    requests.add_photo(draft.id, replace(PHOTO, ticket="t2"), LATER)
    requests.confirm(draft.id, LATER)
    requests.inform(case.id, "Look at the scar.", LATER)
    with pytest.raises(StateConflict):
        requests.decide(case.id, uphold("ben"), seen.version, LATER)
    now = requests.get(case.id, LATER)
    assert (now.photos, now.status, now.appealed_at) == (("t1", "t2"), Status.REJECTED, LATER)
    after = requests.decide(case.id, decision(Step.ACCEPT_ON_APPEAL, "ben", "d2"), now.version, LATER)
    assert len(after.exclusions) == 2


# ---- questions and answers


def test_a_case_waits_for_its_answer_and_then_for_us_again_and_its_date_stays(requests: Requests) -> None:
    case = confirmed(requests)
    asked = requests.ask(case.id, "Which of the two are you?", "anna", case.version, LATER)
    assert (asked.status, asked.due_at) == (Status.WAITING, case.due_at)
    assert [each.id for each in requests.queue(Status.WAITING)] == [case.id]
    assert requests.queue("pending") == []
    assert letters(requests, case.id)[-1] == Letter.QUESTION
    with pytest.raises(StateConflict):
        requests.ask(case.id, "And when?", "ben", asked.version, LATER)
    answered = requests.inform(case.id, "The left one.", LATER)
    assert (answered.status, answered.question, answered.due_at) == (Status.PENDING, None, case.due_at)
    assert said(requests, case) == [
        ("ask", "anna", "Which of the two are you?"),
        ("inform", "requester", "The left one."),
    ]
    assert requests.get(case.id, LATER) == answered


def test_an_added_photo_is_an_answer(requests: Requests) -> None:
    case = confirmed(requests)
    asked = requests.ask(case.id, "Do you have a larger one?", "anna", case.version, LATER)
    draft = requests.begin_addition(asked, LATER)
    requests.add_photo(draft.id, replace(PHOTO, ticket="t2"), LATER)
    joined = requests.confirm(draft.id, LATER)
    assert (joined.status, joined.question, joined.added) == (Status.PENDING, None, ("t2",))


@pytest.mark.parametrize("step", [Step.ACCEPT, Step.REJECT, Step.WITHDRAW])
def test_a_case_that_waits_for_an_answer_can_be_decided_or_withdrawn_without_one(
    requests: Requests, step: Step
) -> None:
    case = confirmed(requests)
    asked = requests.ask(case.id, "Which one?", "anna", case.version, LATER)
    held = requests.verify(case.id, LATER, provisional=True)
    assert held.hold is not None, "an address is verified while we wait, too"
    assert held.status is asked.status is Status.WAITING
    if step is Step.WITHDRAW:
        after = requests.withdraw(case.id, LATER)
    else:
        after = requests.decide(case.id, decision(step), held.version, LATER)
    assert (after.question, after.hold) == (None, None)
    assert in_force(tuple(after.exclusions)) == (step is Step.ACCEPT)


def test_who_has_not_seen_the_newest_words_asks_and_extends_nothing(requests: Requests) -> None:
    case = confirmed(requests)
    requests.inform(case.id, "It was in 2019.", LATER)
    for stale in (
        partial(requests.ask, case.id, "When was it?", "anna", case.version, LATER),
        partial(requests.extend, case.id, extension(), LATER + timedelta(days=9), case.version),
    ):
        with pytest.raises(StateConflict) as refused:
            stale()
        assert not isinstance(refused.value, AlreadyDecided)


def test_saying_the_same_twice_is_saying_it_once_and_a_case_takes_no_book(requests: Requests) -> None:
    case = confirmed(requests)
    assert requests.inform(case.id, "Hello", LATER) == requests.inform(case.id, "Hello", LATER)
    for number in range(MAX_MESSAGES - 1):
        requests.inform(case.id, str(number), LATER)
    with pytest.raises(TooManyMessages):
        requests.inform(case.id, "more", LATER)
    assert len(said(requests, case)) == MAX_MESSAGES


def test_the_letter_that_comes_again_says_what_is_open(requests: Requests) -> None:
    waiting, appealed, upheld = confirmed(requests), rejected(requests), rejected(requests)
    requests.ask(waiting.id, "Which one?", "anna", waiting.version, LATER)
    for case in (appealed, upheld):
        requests.appeal(case.id, "That is me.", LATER)
    requests.decide(upheld.id, uphold("ben"), None, LATER)
    for case, letter in ((waiting, Letter.QUESTION), (appealed, Letter.APPEAL_RECEIVED), (upheld, Letter.UPHELD)):
        requests.revoke_links(case.id, LATER)
        assert letters(requests, case.id)[-1] == letter


# ---- dates that are put off


def test_a_date_is_put_off_once_with_a_letter_that_says_why(requests: Requests) -> None:
    case = confirmed(requests)
    to = NOW + timedelta(days=20)
    later = requests.extend(case.id, extension(), to, case.version)
    assert (later.due_at, later.due_rule, later.status) == (to, deadlines.EXTENDED, Status.PENDING)
    assert later.extension is not None
    assert (later.extension.before, later.extension.text) == (case.due_at, "we ask a translator")
    assert requests.get(case.id, LATER) == later
    assert letters(requests, case.id)[-1] == Letter.EXTENDED
    assert said(requests, case) == [("extend", "anna", "we ask a translator")]
    with pytest.raises(NoExtension):
        requests.extend(case.id, extension(), to + timedelta(days=1), later.version)


def test_a_date_that_has_come_or_a_decided_case_is_not_put_off(requests: Requests) -> None:
    case = confirmed(requests)
    assert case.due_at is not None
    with pytest.raises(NoExtension):
        requests.extend(case.id, extension(case.due_at), case.due_at + timedelta(days=1), case.version)
    over = rejected(requests)
    with pytest.raises(AlreadyDecided):
        requests.extend(over.id, extension(), LATER + timedelta(days=9), over.version)


def test_a_date_is_put_off_no_further_than_the_law_allows(requests: Requests) -> None:
    case = confirmed(requests)
    latest = deadlines.latest_extension(case, LATER)
    assert latest == datetime.fromisoformat("2026-02-05T09:00:00+00:00"), "a month after it was received"
    for wrong in (latest + timedelta(seconds=1), case.due_at, NOW):
        assert wrong is not None
        with pytest.raises(RequestInvalid):
            requests.extend(case.id, extension(), wrong, case.version)
    requests.extend(case.id, extension(), latest, case.version)


@pytest.mark.parametrize(
    ("country", "rule", "latest"),
    [
        ("DE", "house_image", "2026-02-05"),
        ("DE", "eu_gdpr", "2026-04-05"),
        ("GB", "uk_gdpr", "2026-04-05"),
        ("US", "house_image", "2026-02-19"),
        ("US", "us_ccpa", "2026-04-05"),
        ("BR", "house_image", "2026-01-20"),
        ("BR", "br_lgpd", None),
        ("JP", "house_month", None),
        ("DE", "house_links", None),
    ],
)
def test_each_law_has_its_own_latest_date(country: str, rule: str, latest: str | None) -> None:
    due = NOW + timedelta(days=7)
    case = OptOutRequest(
        "id", "K7MQ-29XD", Kind.IMAGE, Status.PENDING, 2, replace(ANSWERS, country=country), "hash", NOW
    )
    if rule in {"eu_gdpr", "uk_gdpr"}:
        due = NOW + timedelta(days=31)
    elif rule == "us_ccpa":
        due = NOW + timedelta(days=45)
    case = replace(case, confirmed_at=NOW, due_at=due, due_rule=rule)
    found = deadlines.latest_extension(case, LATER)
    assert (found.date().isoformat() if found else None) == latest
