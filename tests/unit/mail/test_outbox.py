"""Every letter that is due is sent, whatever fails on its way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import template
from optout import settings
from optout.decisions import Decision
from optout.exclusions.log import ExclusionLog
from optout.mail.outbox import LEASE, MAX_RECEIVES, Fate, deliver, forward
from optout.requests import Answers, Kind, OptOutRequest, Step
from optout.store import LetterKey, Requests
from tests.storage import storage

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
ANSWERS = Answers("DE", "x", "Ada", "Lovelace", "ada@example.org", links=("https://a.example/1",), good_faith=True)


class Killed(BaseException):
    """The function was stopped between two of its calls; nothing catches it."""


@dataclass
class Ses:
    """SES, and what happens to each attempt."""

    fails: bool = False
    sent: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0

    def send_email(self, **call: Any) -> dict[str, str]:
        self.attempts += 1
        if self.fails:
            raise ClientError({"Error": {"Code": "MessageRejected", "Message": "not verified"}}, "SendEmail")
        self.sent.append(call)
        return {"MessageId": f"ses-{len(self.sent)}"}

    @property
    def letter_ids(self) -> list[str]:
        return [str(mail["X-Letter-Id"]) for mail in self.mails]

    @property
    def mails(self) -> list[EmailMessage]:
        parser = BytesParser(policy=policy.default)
        return [parser.parsebytes(call["Content"]["Raw"]["Data"]) for call in self.sent]


@pytest.fixture
def ses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ses]:
    double = Ses()
    with storage():
        others = settings.aws
        monkeypatch.setattr(settings, "aws", lambda name: double if name == "sesv2" else others(name))
        yield double
        monkeypatch.undo()


@pytest.fixture
def requests(ses: Ses) -> Requests:
    return Requests("Requests", ExclusionLog.from_settings(), settings.aws("dynamodb"), pause=lambda seconds: None)


def confirmed(requests: Requests, answers: Answers = ANSWERS) -> tuple[OptOutRequest, LetterKey]:
    draft = requests.create_draft(Kind.LINKS, answers, "hash", NOW)
    case = requests.confirm(draft.id, NOW)
    return case, LetterKey(case.id, case.version)


def due(requests: Requests) -> list[LetterKey]:
    return requests.letters_due(NOW + timedelta(days=1))


def test_a_letter_is_sent_once_however_often_its_message_comes(requests: Requests, ses: Ses) -> None:
    _, key = confirmed(requests)
    assert due(requests) == [key]
    assert deliver(requests, key, 1, NOW) is Fate.SENT
    for received in (1, 2):
        assert deliver(requests, key, received, NOW + timedelta(hours=1)) is Fate.DONE_BEFORE
    assert ses.letter_ids == [key.letter_id]
    assert due(requests) == []


def test_a_letter_that_another_sender_holds_is_left_to_it(requests: Requests, ses: Ses) -> None:
    _, key = confirmed(requests)
    requests.claim_letter(key, NOW, LEASE)
    assert deliver(requests, key, 1, NOW + LEASE / 2) is Fate.DONE_BEFORE
    assert not ses.sent
    assert deliver(requests, key, 2, NOW + LEASE) is Fate.SENT


def test_a_letter_whose_case_is_gone_is_done(requests: Requests, ses: Ses) -> None:
    case, key = confirmed(requests)
    requests.delete_case(case.id)
    assert deliver(requests, key, 1, NOW) is Fate.DONE_BEFORE
    assert not ses.sent


def test_a_failing_ses_is_retried_parked_and_sent_after_a_redrive(requests: Requests, ses: Ses) -> None:
    _, key = confirmed(requests)
    ses.fails = True
    for received in range(1, MAX_RECEIVES + 1):
        assert due(requests) == [key]
        with pytest.raises(ClientError):
            deliver(requests, key, received, NOW)
    assert ses.attempts == MAX_RECEIVES
    # Parked: neither the sweep nor a copy of the message that is still around sends it.
    assert due(requests) == []
    assert deliver(requests, key, 2, NOW) is Fate.DONE_BEFORE
    assert ses.attempts == MAX_RECEIVES
    # A redrive makes it a new message.
    ses.fails = False
    assert deliver(requests, key, 1, NOW) is Fate.SENT
    assert ses.letter_ids == [key.letter_id]


def test_a_redrive_while_ses_still_fails_starts_over(requests: Requests, ses: Ses) -> None:
    _, key = confirmed(requests)
    ses.fails = True
    for received in (MAX_RECEIVES, 1, 2):
        with pytest.raises(ClientError):
            deliver(requests, key, received, NOW)
    assert due(requests) == [key]


def test_an_address_that_cannot_be_written_to_is_tried_no_second_time(requests: Requests, ses: Ses) -> None:
    answers = Answers("DE", "x", "A", "B", "a@b.example\nBcc: c@d.example", links=ANSWERS.links, good_faith=True)
    _, key = confirmed(requests, answers)
    assert deliver(requests, key, 1, NOW) is Fate.UNDELIVERABLE
    assert due(requests) == []
    assert ses.attempts == 0


def test_a_sender_that_dies_before_the_note_sends_again_under_the_same_letter_id(
    requests: Requests, ses: Ses, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = confirmed(requests)

    def die(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(requests, "letter_sent", die)
        with pytest.raises(Killed):
            deliver(requests, key, 1, NOW)
    assert deliver(requests, key, 2, NOW + LEASE) is Fate.SENT
    assert ses.letter_ids == [key.letter_id] * 2


@pytest.mark.parametrize("fails", [False, True])
def test_wherever_a_sender_dies_the_letter_arrives(requests: Requests, ses: Ses, fails: bool) -> None:
    """Killed after its first, second, ... call to the table, then left to the sweep."""
    calls = 0

    def die_at(last: int) -> Any:
        def hook(**_: object) -> None:
            nonlocal calls
            calls += 1
            if calls == last:
                raise Killed

        return hook

    deaths = 0
    for last in range(1, 10):
        ses.sent.clear()
        ses.fails, calls = fails, 0
        _, key = confirmed(requests)
        hook = die_at(last)
        requests._client.meta.events.register("after-call.dynamodb", hook)
        try:
            deliver(requests, key, MAX_RECEIVES - 1, NOW)
        except Killed:
            deaths += 1
        except ClientError:
            pass
        requests._client.meta.events.unregister("after-call.dynamodb", hook)
        ses.fails = False
        for late in due(requests):
            assert deliver(requests, late, 1, NOW + LEASE) is Fate.SENT
        assert set(ses.letter_ids) == {key.letter_id}
        assert due(requests) == []
    assert deaths >= 3  # claim, read, note


def test_a_refusal_that_an_appeal_has_overtaken_is_not_sent(requests: Requests, ses: Ses) -> None:
    case, first = confirmed(requests)
    deliver(requests, first, 1, NOW)
    rejected = requests.decide(case.id, Decision("d1", Step.REJECT, "no_match", "why", "anna"), None, NOW)
    accepted = requests.decide(case.id, Decision("d2", Step.ACCEPT_ON_APPEAL, "goodwill", "", "bo"), None, NOW)
    assert deliver(requests, LetterKey(case.id, rejected.version), 1, NOW) is Fate.OVERTAKEN
    assert deliver(requests, LetterKey(case.id, accepted.version), 1, NOW) is Fate.SENT
    assert [mail["Subject"] for mail in ses.mails[1:]] == [f"Your request {case.number} was accepted"]
    assert due(requests) == []


# ---- the queue


def queued() -> list[LetterKey]:
    sqs = settings.aws("sqs")
    keys = []
    while messages := sqs.receive_message(QueueUrl=settings.mail_queue_url(), MaxNumberOfMessages=10).get("Messages"):
        keys += [LetterKey.from_json(message["Body"]) for message in messages]
    return keys


@pytest.mark.parametrize("count", [0, 1, 10, 11, 100])
def test_every_letter_reaches_the_queue(ses: Ses, count: int) -> None:
    keys = [LetterKey(f"case-{number}", number) for number in range(count)]
    forward(keys)
    assert sorted(queued(), key=lambda key: key.version) == keys


def test_a_queue_that_refuses_a_letter_is_an_error(ses: Ses) -> None:
    settings.aws("sqs").delete_queue(QueueUrl=settings.mail_queue_url())
    with pytest.raises(ClientError):
        forward([LetterKey("a", 1), LetterKey("b", 1)])


def test_the_template_gives_the_times_that_sending_relies_on() -> None:
    queue = template.resources("AWS::SQS::Queue")["Mail"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == MAX_RECEIVES
    function = template.resources("AWS::Serverless::Function")["Notify"]
    assert function["Timeout"] < LEASE.total_seconds() < queue["VisibilityTimeout"]
