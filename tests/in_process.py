"""The service in this process: its functions' own handlers over moto, in such weather that calls of AWS fail, answers
are lost and functions are killed in the middle. One thread runs at a time, so that a storm can be repeated.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from types import ModuleType
from typing import Any
from unittest.mock import patch

import boto3
import time_machine
from aws_lambda_powertools.event_handler.api_gateway import BaseRouter
from botocore.client import BaseClient

from optout import settings
from optout.exclusions.log import ExclusionLog, Version
from optout.exclusions.snapshot import Snapshots
from optout.store import Requests
from tests.service_storm import LINKS, ServiceStorm, Unanswered
from tests.storage import storage
from tests.storm import FACES, Killed, Turns, Weather
from tests.unit.functions.api import Api, event, load
from tests.unit.functions.events import Context, queue_record, stream_record

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@dataclass
class Service:
    """The functions: warm instances, until they are killed."""

    weather: Weather
    still: bool = False  # nobody else goes on, and nothing happens
    instances: dict[tuple[int, str], Api] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)  # letters, by their id

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every call of AWS meets the weather; SES is played here."""
        real = BaseClient._make_api_call

        def call(client: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
            if operation == "SendEmail":
                headers = arguments["Content"]["Raw"]["Data"].decode().split("\r\n\r\n")[0]
                self.sent[re.findall(r"(?m)^X-Letter-Id: (\S+)", headers)[0]] += 1
                return {"MessageId": f"m{self.sent.total()}"}
            if self.still or not self.weather.turns.taken:
                return real(client, operation, arguments)
            with _own_event():
                self.weather.before(operation, arguments)
            answer = real(client, operation, arguments)
            with _own_event():
                self.weather.after(operation, arguments)
            return answer

        def waited(requests: Requests, attempt: int) -> None:
            with _own_event():
                self.weather.turns.pause()

        with patch.object(BaseClient, "_make_api_call", call), patch.object(Requests, "_back_off", waited):
            yield

    def send(self, function: str, given: dict[str, Any], instance: str = "") -> tuple[int, str]:
        """Status and body of one call. Raises `Unanswered` when the function was killed."""
        key = threading.get_ident(), function + instance
        api = self.instances.get(key) or Api(load(function))
        self.instances[key] = api
        try:
            answer = api.send(given)
        except Killed as killed:
            del self.instances[key]
            raise Unanswered from killed
        except Exception:
            return 502, ""
        return answer.status, answer.body

    def decide(self, who: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        status, said = self.send("decide", _signed(event("POST", path, json.dumps(body), headers), who))
        return status, json.loads(said) if status == 200 else None

    def version(self, who: str, case_id: str) -> int | None:
        found = re.search(
            r'name="version" value="(\d+)"', self.send("decide", _signed(event("GET", f"/requests/{case_id}"), who))[1]
        )
        return int(found[1]) if found else None

    def press(self, path: str) -> int:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.send("submit", event("POST", path, "", headers))[0]

    def check(self, crawler: str, body: dict[str, Any]) -> tuple[int, Any]:
        # A crawler meets one of two instances.
        instance = str(self.weather.turns.chance.randrange(2))
        headers = {"Content-Type": "application/json"}
        status, said = self.send(
            "exclude_check", event("POST", "/exclusions/check", json.dumps(body), headers), instance
        )
        return status, json.loads(said) if status == 200 else None

    def compact(self) -> bool:
        return self.invoke(load("compact"), {}) is not None

    def invoke(self, module: ModuleType, given: dict[str, Any]) -> Any:
        """A call that comes from no door; None when it failed."""
        try:
            return module.lambda_handler(given, Context())
        except Killed as killed:
            raise Unanswered from killed
        except Exception:
            return None

    # ---------------------------------------------------------------- letters, and what lookups doubt

    def post(self, rounds: int, chance: Random) -> None:
        """What streams and queues bring to `notify`, late and more than once."""
        self.weather.spared.add(threading.get_ident())
        notify = load("notify")
        for _ in range(rounds):
            for _ in range(chance.randrange(8)):
                self.weather.turns.pause()
            client = boto3.client("dynamodb")
            items = client.scan(TableName="Requests", ProjectionExpression="pk, sk")["Items"]
            new = [stream_record(item["pk"]["S"], item["sk"]["S"]) for item in items if "letter#" in item["sk"]["S"]]
            for records in (new, new[::-1]):
                if records:
                    self.invoke(notify, {"Records": records})
            for queue, url in (("Mail", settings.mail_queue_url()), ("Reviews", settings.reviews_url())):
                found = boto3.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
                if found:
                    twice = [queue_record(each["Body"], queue=queue, message_id=each["MessageId"]) for each in found]
                    self.invoke(notify, {"Records": [*twice, *twice]})
                for each in found:
                    boto3.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])


@contextmanager
def _own_event() -> Iterator[None]:
    """While others go on, they have events of their own: an instance serves one call at a time, and Powertools keeps
    that call in one place for the whole process."""
    mine = getattr(BaseRouter, "current_event", None), getattr(BaseRouter, "lambda_context", None)
    try:
        yield
    finally:
        BaseRouter.current_event, BaseRouter.lambda_context = mine  # type: ignore[assignment]


def _signed(given: dict[str, Any], who: str) -> dict[str, Any]:
    given["requestContext"]["authorizer"] = {"claims": {"cognito:username": who, "cognito:groups": "reviewers"}}
    return given


def play(seed: int, steps: int = 14, names: Sequence[str] = (*LINKS, *FACES)) -> ServiceStorm:
    """A storm in which every fault may happen, and the calm after it; of so many steps of everybody. One of 14 steps
    about six cases takes 6 to 11 s of a processor, most of it in moto."""
    chance = Random(seed)  # noqa: S311  the same storm each time
    weather = Weather(Turns(chance), fails=8, loses=8, kills=8)
    service = Service(weather)

    with (
        time_machine.travel(START, tick=False) as clock,
        storage(),
        service.watching(),
        redirect_stdout(io.StringIO()),
        patch("optout.exclusions.log.REREAD_PAUSE_S", 0),
    ):
        client, snapshots = settings.aws("dynamodb"), Snapshots.from_settings()
        log = ExclusionLog.from_settings()
        requests = Requests.from_settings()
        turns = weather.turns
        found = ServiceStorm(
            service, requests, log, snapshots, client, settings.link_secret(), seed, turns.now, turns.pause, names
        )

        def jump() -> None:
            """Clocks are set, forwards and backwards."""
            clock.shift(timedelta(minutes=chance.randrange(-90, 90)))
            weather.met["clock set"] += 1

        def wait() -> None:
            if chance.randrange(8) == 0 and not weather.calm:
                jump()
            turns.pause()

        def pass_by() -> None:
            clock.shift(timedelta(hours=chance.choice([1, 6, 9 * 24])))

        def back_up() -> tuple[str, Version]:
            service.still = True
            try:
                return copied(client, log, "Exclusions", f"Restored{turns.now()}")
            finally:
                service.still = False

        def operate() -> None:
            weather.spared.add(threading.get_ident())
            found.recover("Exclusions", back_up, chance)

        found.wait = wait
        found.file()
        actors = [
            lambda: found.review((*LINKS[:2], FACES[0]), steps, chance),
            lambda: found.review((*LINKS[2:], FACES[1]), steps, chance),
            lambda: found.ask_out(chance),
            lambda: found.crawl("crawler 1", steps, chance),
            lambda: found.crawl("crawler 2", steps, chance),
            lambda: found.compact(1 + steps // 4, pass_by),
            lambda: service.post(1 + steps // 4, chance),
        ]
        turns.run([*actors, operate])
        weather.calm = True
        found.end(chance)
    found.met, found.twice = weather.met, sum(count > 1 for count in service.sent.values())
    return found


def copied(client: Any, log: ExclusionLog, table: str, name: str) -> tuple[str, Version]:
    """Another table that holds what this one holds now, as a restore makes one; and where its log ends."""
    head = log.head()
    description = client.describe_table(TableName=table)["Table"]
    keys = {key: description[key] for key in ("KeySchema", "AttributeDefinitions")}
    client.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **keys)
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            if item["pk"]["S"] != f"log#{head.epoch}" or int(item["seq"]["N"]) <= head.seq:
                given = item | ({"head": {"N": str(head.seq)}} if item["pk"]["S"] == "head" else {})
                client.put_item(TableName=name, Item=given)
    return name, head
