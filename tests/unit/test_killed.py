"""Every function is killed before and after every one of its writes: no request is lost, every letter arrives.

The story runs through the handlers' own entry points over moto. A person whose page died loads it again; nobody
repeats the background's work but the sweeps and SQS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
import time_machine
from botocore.client import BaseClient

from optout import links, settings
from optout.exclusions.log import CurrentList, ExclusionLog, Version
from optout.requests import Status
from optout.store import Photos, Requests
from tests.pictures import picture
from tests.storage import storage
from tests.unit.functions.api import Api, event, load
from tests.unit.functions.events import Context

WRITES = {
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "TransactWriteItems",
    "PutObject",
    "DeleteObject",
    "SendMessage",
    "SendEmail",
}
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Killed(BaseException):
    """The function's process is gone; no `except Exception` of its own sees it."""


@dataclass
class Executioner:
    """Counts the writes of functions and kills before or after one. SES is played here: it takes every letter."""

    at: int
    done: bool
    writes: int = 0
    # The writes after which an invocation wrote no more.
    last: set[int] = field(default_factory=set)
    armed: bool = False
    killed_in: str = ""
    last_done: str = ""
    unnoted: bool = False
    sent: list[str] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        real = BaseClient._make_api_call

        def call(client: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
            counts = self.armed and operation in WRITES
            self.writes += counts
            doomed = counts and self.writes == self.at
            if doomed and not self.done:
                self.kill(operation)
            if operation == "SendEmail":
                headers = arguments["Content"]["Raw"]["Data"].decode().split("\r\n\r\n")[0]
                self.sent.append(re.findall(r"(?m)^X-Letter-Id: (\S+)", headers)[0])
                answer: Any = {"MessageId": f"m{len(self.sent)}"}
            else:
                answer = real(client, operation, arguments)
            if counts:
                self.last_done = operation
            if doomed:
                self.kill(operation)
            return answer

        with patch.object(BaseClient, "_make_api_call", call):
            yield

    def kill(self, operation: str) -> None:
        self.killed_in = operation
        self.unnoted = self.last_done == "SendEmail"
        raise Killed

    def run(self, step: Callable[[], object]) -> bool:
        """Run one invocation of a function; False when it was killed."""
        self.armed = True
        before = self.writes
        try:
            step()
        except Killed:
            return False
        finally:
            self.armed = False
            if self.writes > before:
                self.last.add(self.writes)
        return True

    def person(self, step: Callable[[], object]) -> None:
        """A step of a person, who tries again when the page dies."""
        if not self.run(step):
            assert self.run(step)


class World:
    """All functions, and what AWS does between them."""

    def __init__(self, executioner: Executioner) -> None:
        self.executioner = executioner
        self.submit, self.examine, self.decide = (Api(load(name)) for name in ("submit", "examine", "decide"))
        self.notify = load("notify")
        self.forwarded: set[str] = set()

    def stream(self) -> None:
        """New letters reach the stream's function once. What it was killed at, the stream has forgotten."""
        table = settings.aws("dynamodb")
        items = table.scan(TableName="Requests")["Items"]
        new = [item for item in items if item["sk"]["S"].startswith("letter#")]
        for item in new:
            key = item["pk"]["S"] + item["sk"]["S"]
            if key not in self.forwarded:
                self.forwarded.add(key)
                keys = {"pk": item["pk"], "sk": item["sk"]}
                record = {"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": {"Keys": keys}}
                self.background({"Records": [record]})

    def queue(self) -> None:
        """SQS hands out what it has, and deletes what was not reported as failed."""
        sqs, url = settings.aws("sqs"), settings.mail_queue_url()
        for _ in range(20):
            found = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["ApproximateReceiveCount"]
            ).get("Messages", [])
            if not found:
                return
            for message in found:
                record = {
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:Mail",
                    "messageId": message["MessageId"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                }
                answer = self.background({"Records": [record]})
                if answer is not None and not answer["batchItemFailures"]:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def background(self, given: dict[str, Any]) -> Any:
        answers: list[Any] = []
        self.executioner.run(lambda: answers.append(self.notify.lambda_handler(given, Context())))
        return answers[0] if answers else None

    def sweep(self) -> None:
        self.background({"sweep": "letters"})
        self.background({"sweep": "retention"})


def live(executioner: Executioner, clock: time_machine.Traveller) -> None:
    """One case from the form to the withdrawal, and then the sweeps. Asserts that it is whole."""
    world = World(executioner)
    requests = Requests.from_settings()
    photo = picture("chelsea.png")
    form = {
        "kind": "image",
        "country": "DE",
        "explanation": "It is mine.",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": "ada@people.example",
        "on_behalf_of": "self",
    }
    drafts: list[str] = []

    def fill_in() -> None:
        drafts.append(world.submit.post("/opt-out", form).location.split("/opt-out/")[1].split("/")[0])

    executioner.person(fill_in)
    case_id = drafts[-1]
    upload = Photos.from_settings().ticket(case_id, f"{settings.site_url()}/opt-out/{case_id}/photos")
    settings.aws("s3").put_object(Bucket="photos", Key=upload.fields["key"], Body=photo)
    executioner.person(lambda: world.examine.get(f"/opt-out/{case_id}/photos/{upload.ticket}"))
    executioner.person(lambda: world.submit.post(f"/opt-out/{case_id}/confirm"))
    (seen,) = requests.photos(case_id)
    assert settings.aws("s3").head_object(Bucket="photos", Key=f"photos/{case_id}/{seen.picture}.jpg")
    world.stream()
    world.queue()

    case = requests.get(case_id, datetime.now(UTC))
    assert case.status is Status.PENDING
    assert in_force() == set()
    button = links.verification_token(case, settings.link_secret())
    executioner.person(lambda: world.submit.post(f"/verify/{button}"))
    case = requests.get(case_id, datetime.now(UTC))
    assert case.hold is not None
    assert in_force() == set(case.hold.exclusions) != set()
    sent = "&".join(
        [
            "decision_id=6f1f0a3e-4c5b-4f0e-9f0e-0a0b0c0d0e0f",
            f"version={case.version}",
            "step=accept",
            "reason=shows_requester",
            "text=",
        ]
    )
    decision = event(
        "POST", f"/requests/{case_id}/decision", sent, {"Content-Type": "application/x-www-form-urlencoded"}
    )
    decision["requestContext"]["authorizer"] = {"claims": {"cognito:username": "anna", "cognito:groups": "reviewers"}}
    executioner.person(lambda: world.decide.send(decision))
    accepted = requests.get(case_id, datetime.now(UTC))
    assert accepted.status is Status.ACCEPTED
    assert in_force() == set(accepted.exclusions) != set()
    world.stream()
    world.queue()

    token = links.status_token(accepted, settings.link_secret())
    executioner.person(lambda: world.submit.post(f"/status/{token}/withdraw"))
    assert in_force() == set()
    world.stream()
    world.queue()

    # Whatever the streams forgot and the dead senders held comes back: leases and visibility end, sweeps run.
    for _ in range(3):
        clock.shift(timedelta(hours=1))
        world.sweep()
        world.queue()
    letters = requests._items(case_id, "letter#")
    assert [item["letter"] for item in letters] == ["received", "accepted", "withdrawn"]
    assert all("sent_at" in item for item in letters)
    assert len(set(executioner.sent)) == 3, "each letter arrived"
    twice = len(executioner.sent) - 3
    assert twice <= executioner.unnoted, "twice only when the sender died between SES's answer and the note"
    log = ExclusionLog.from_settings()
    assert [item.seq for item in log.tail(Version(1, 0))] == list(range(1, log.head().seq + 1))
    assert [event.name for event in requests.history(case_id)] == ["confirm", "verify", "accept", "withdraw"]

    # A day later nothing is left of what a dying page began and nobody finished; a week later, no photo.
    clock.shift(timedelta(days=1, hours=1))
    world.sweep()
    assert {item["pk"]["S"] for item in drafts_left()} == set()
    clock.shift(timedelta(days=7))
    with suppress(Killed):
        world.sweep()
    world.sweep()
    assert "Versions" not in settings.aws("s3").list_object_versions(Bucket="photos", Prefix=f"photos/{case_id}/")


def in_force() -> set[str]:
    """Ids of all exclusions on the list."""
    return CurrentList(ExclusionLog.from_settings(), false_exclusions_per_million=1000).refresh().list._ids()


def drafts_left() -> list[dict[str, Any]]:
    items = settings.aws("dynamodb").scan(TableName="Requests")["Items"]
    return [item for item in items if item.get("status") == {"S": "draft"}]


def story(at: int = 0, done: bool = False) -> Executioner:
    """One case's life, in which a function is killed before its write number `at`, or when that is `done`."""
    executioner = Executioner(at, done)
    with time_machine.travel(START, tick=False) as clock, storage(), executioner.watching():
        live(executioner, clock)
    assert bool(executioner.killed_in) is bool(at)
    return executioner


@pytest.fixture(scope="module")
def undisturbed() -> Executioner:
    return story()


# A dying process has counted nothing, and Powertools says so on its way out.
@pytest.mark.filterwarnings("ignore:No application metrics to publish")
def test_killed_before_any_write_nothing_confirmed_is_lost(undisturbed: Executioner) -> None:
    assert {story(at).killed_in for at in range(1, undisturbed.writes + 1)} == WRITES, "each kind was missing once"
    assert undisturbed.writes > 20


@pytest.mark.filterwarnings("ignore:No application metrics to publish")
def test_killed_after_any_write_nothing_confirmed_is_lost(undisturbed: Executioner) -> None:
    """Whoever dies after one write of many has done the same as who dies before the next one, see above: what is left
    are the last writes of invocations."""
    assert undisturbed.writes in undisturbed.last
    for at in sorted(undisturbed.last):
        story(at, done=True)
    assert len(undisturbed.last) > 10
