"""What SES reports marks the right case once, and only what is for good stops later letters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from optout import deadlines
from optout.errors import RequestNotFound
from optout.exclusions.log import ExclusionLog
from optout.mail.outbox import Fate, deliver
from optout.mail.receipts import NOTED_WITHIN, Noted, TooEarly, note, read
from optout.requests import Answers, Kind, MailTrouble, OptOutRequest
from optout.settings import aws
from optout.store import LetterKey, Requests
from tests.storage import storage
from tests.unit.mail.ses_reports import message

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
LATER = NOW + NOTED_WITHIN
ANSWERS = Answers("DE", "x", "Ada", "Lovelace", "ada@example.org", links=("https://a.example/1",), good_faith=True)


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield Requests("Requests", ExclusionLog.from_settings(), aws("dynamodb"), pause=lambda seconds: None)


def sent(requests: Requests, message_id: str, email_hash: str = "hash") -> OptOutRequest:
    """A case whose first letter SES took under this message id."""
    case = requests.confirm(requests.create_draft(Kind.LINKS, ANSWERS, email_hash, NOW).id, NOW)
    key = LetterKey(case.id, case.version)
    assert requests.claim_letter(key, NOW, timedelta(seconds=60)) is not None
    requests.letter_sent(key, message_id, NOW)
    return case


def troubles(requests: Requests, case: OptOutRequest) -> MailTrouble | None:
    problem = requests.get(case.id, NOW).mail_problem
    return problem.trouble if problem else None


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        (message("m", at=NOW), MailTrouble.BOUNCED),
        (message("m", bounce_type="Transient", at=NOW), MailTrouble.TEMPORARY),
        (message("m", bounce_type="Undetermined", at=NOW), MailTrouble.TEMPORARY),
        (message("m", "Complaint", at=NOW), MailTrouble.COMPLAINED),
        (message("m", "Reject", at=NOW), MailTrouble.REJECTED),
    ],
)
def test_a_report_is_read_for_its_kind(body: str, trouble: MailTrouble) -> None:
    receipt = read(body)
    assert (receipt.message_id, receipt.trouble, receipt.at) == ("m", trouble, NOW)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"detail": {}}',
        json.dumps({"time": "2026-11-24T09:30:00Z", "detail": {"eventType": "Bounce", "mail": {"messageId": "m"}}}),
        message("m", "Delivery"),
        message("", at=NOW),
        message("m").replace('Z"', '"'),
    ],
)
def test_what_is_no_report_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read(body)


def test_a_bounce_marks_its_case_and_no_other(requests: Requests) -> None:
    case, other = sent(requests, "m1"), sent(requests, "m2", "other")
    assert note(requests, read(message("m1", at=NOW)), LATER) is Noted.MARKED
    assert troubles(requests, case) is MailTrouble.BOUNCED
    assert troubles(requests, other) is None
    assert requests.is_suppressed("hash", NOW)
    assert not requests.is_suppressed("other", NOW)
    last = requests.history(case.id)[-1]
    assert (last.name, last.actor, last.at) == ("mail_bounced", "mail", NOW)


def test_the_same_report_twice_is_one_mark(requests: Requests) -> None:
    case = sent(requests, "m1")
    assert note(requests, read(message("m1", at=NOW)), LATER) is Noted.MARKED
    version = requests.get(case.id, NOW).version
    assert note(requests, read(message("m1", at=NOW)), LATER) is Noted.KNOWN_BEFORE
    assert requests.get(case.id, NOW).version == version


@pytest.mark.parametrize("order", list(permutations(["Complaint", "Bounce", "Reject"])))
def test_in_whatever_order_reports_come_the_gravest_stays(requests: Requests, order: tuple[str, ...]) -> None:
    case = sent(requests, "m1")
    for kind in order:
        note(requests, read(message("m1", kind, at=NOW)), LATER)
    assert troubles(requests, case) is MailTrouble.COMPLAINED


@pytest.mark.parametrize(("kind", "bounce_type"), [("Bounce", "Transient"), ("Reject", "")])
def test_what_may_pass_suppresses_no_address(requests: Requests, kind: str, bounce_type: str) -> None:
    case = sent(requests, "m1")
    assert note(requests, read(message("m1", kind, bounce_type=bounce_type, at=NOW)), LATER) is Noted.MARKED
    assert troubles(requests, case) is not None
    assert not requests.is_suppressed("hash", NOW)


def test_a_report_that_is_early_waits_for_its_letter_and_one_of_nobody_is_dropped(requests: Requests) -> None:
    receipt = read(message("m1", at=NOW))
    with pytest.raises(TooEarly):
        note(requests, receipt, NOW + NOTED_WITHIN - timedelta(seconds=1))
    assert note(requests, receipt, LATER) is Noted.UNMATCHED
    case = sent(requests, "m1")
    assert note(requests, receipt, NOW) is Noted.MARKED
    requests.delete_case(case.id)
    assert note(requests, receipt, NOW) is Noted.UNMATCHED


def test_both_messages_of_a_letter_that_was_sent_twice_lead_to_its_case(requests: Requests) -> None:
    case = sent(requests, "m1")
    requests.letter_sent(LetterKey(case.id, case.version), "m2", NOW)
    assert note(requests, read(message("m2", "Complaint", at=NOW)), LATER) is Noted.MARKED
    assert note(requests, read(message("m1", at=NOW)), LATER) is Noted.KNOWN_BEFORE


def test_no_letter_goes_to_a_suppressed_address_and_the_reviewer_is_told(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sent(requests, "m1")
    note(requests, read(message("m1", "Complaint", at=NOW)), LATER)
    monkeypatch.setattr("optout.mail.outbox.send", lambda *letter: pytest.fail("a letter was sent"))
    second = requests.confirm(requests.create_draft(Kind.LINKS, ANSWERS, "hash", NOW).id, NOW)
    withdrawn = requests.withdraw(first.id, NOW)
    for case in (second, withdrawn):
        for received in (1, 1, 2):
            fate = deliver(requests, LetterKey(case.id, case.version), received, NOW)
            assert fate is (Fate.SUPPRESSED if received == 1 else Fate.DONE_BEFORE)
    assert troubles(requests, second) is MailTrouble.SUPPRESSED
    assert troubles(requests, first) is MailTrouble.COMPLAINED
    assert requests.letters_due(NOW + timedelta(days=30)) == []


def test_an_address_is_suppressed_for_its_time_and_no_longer(requests: Requests) -> None:
    sent(requests, "m1")
    note(requests, read(message("m1", at=NOW)), LATER)
    assert requests.is_suppressed("hash", NOW + deadlines.SUPPRESSED_KEPT - timedelta(seconds=1))
    assert not requests.is_suppressed("hash", NOW + deadlines.SUPPRESSED_KEPT)


def test_a_case_that_was_marked_can_still_be_withdrawn(requests: Requests) -> None:
    case = sent(requests, "m1")
    note(requests, read(message("m1", at=NOW)), LATER)
    after = requests.withdraw(case.id, NOW)
    assert after.mail_problem is not None
    with pytest.raises(RequestNotFound):
        requests.mail_troubled("nobody", MailTrouble.BOUNCED, NOW)
