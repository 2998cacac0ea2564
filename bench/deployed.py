"""The deployed service as a door of a storm: real HTTP, real processes, real concurrency.

Clients hang up before they hear what became of what they asked, and the functions' processes are killed at any moment.
Everything else is as in `tests.in_process`, but nobody can move this service's clock.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from local.running import Running
from optout.exclusions.log import ExclusionLog
from optout.exclusions.snapshot import Snapshots
from optout.store import Requests
from tests.in_process import copied
from tests.service_storm import LINKS, ServiceStorm, Unanswered
from tests.storm import FACES
from tests.unit.functions.events import stream_record

# Of a thousand requests, so many clients hang up; after how long at most.
HANGS_UP, HANGS_UP_WITHIN_S = 80, 0.15
# Between two kills of a function's process.
KILL_EVERY_S = 10.0
# People and crawlers pause between two steps.
PAUSE_S = 0.05


@dataclass
class Deployed:
    """A running instance, in a storm as long as it is not calm."""

    running: Running
    server: int | None  # its process
    tokens: dict[str, str]
    chance: Random
    calm: bool = False
    killed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _send(self, method: str, path: str, headers: dict[str, str], **body: Any) -> httpx.Response:
        hangs_up = not self.calm and self.chance.randrange(1000) < HANGS_UP
        try:
            with self.running.http(headers=headers) as http:
                if hangs_up:
                    http.timeout = httpx.Timeout(self.chance.uniform(0.01, HANGS_UP_WITHIN_S))
                return http.request(method, path, **body)
        except httpx.HTTPError as error:
            raise Unanswered from error

    def decide(self, who: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        answer = self._send("POST", path, {"Authorization": self.tokens[who], "Accept": "application/json"}, json=body)
        return answer.status_code, answer.json() if answer.status_code == 200 else None

    def version(self, who: str, case_id: str) -> int | None:
        page = self._send("GET", f"/requests/{case_id}", {"Authorization": self.tokens[who], "Accept": "text/html"})
        found = re.search(r'name="version" value="(\d+)"', page.text)
        return int(found[1]) if found else None

    def press(self, path: str) -> int:
        return self._send("POST", path, {"Accept": "text/html"}).status_code

    def check(self, crawler: str, body: dict[str, Any]) -> tuple[int, Any]:
        try:
            answer = self.running.lookup(body)
        except httpx.HTTPError as error:
            raise Unanswered from error
        return answer.status_code, answer.json() if answer.status_code == 200 else None

    def compact(self) -> bool:
        try:
            return self.running.invoke("Compact", {}) is not None
        except RuntimeError:
            return False
        except (BotoCoreError, ClientError) as error:
            raise Unanswered from error

    # ---------------------------------------------------------------- what goes wrong

    def kill(self, until: threading.Event) -> None:
        """Kills one of the functions' processes now and then: children of the server that we started ourselves."""
        while not until.wait(KILL_EVERY_S):
            workers = [pid for pid in _children(self.server) if b"lambda" in _command(pid)]
            if workers:
                os.kill(self.chance.choice(workers), signal.SIGKILL)
                self.killed += 1

    def post(self, until: threading.Event, client: Any) -> None:
        """What the stream has brought to `notify` before comes again, late."""
        while not until.wait(1.5):
            table = self.running.outputs["RequestsTable"]
            items = client.scan(TableName=table, ProjectionExpression="pk, sk")["Items"]
            letters = [
                stream_record(each["pk"]["S"], each["sk"]["S"]) for each in items if "letter#" in each["sk"]["S"]
            ]
            try:
                self.running.invoke("Notify", {"Records": letters[-20:]})
            except (RuntimeError, BotoCoreError, ClientError):
                continue


def _children(of: int) -> list[int]:
    try:
        direct = Path(f"/proc/{of}/task/{of}/children").read_text().split()
    except OSError:
        return []
    tasks = Path(f"/proc/{of}/task").glob("*/children") if Path(f"/proc/{of}/task").exists() else []
    found = {int(pid) for each in tasks for pid in _read(each).split()} | set(map(int, direct))
    return sorted(found | {child for pid in found for child in _children(pid)})


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def play(seed: int, running: Running, server: int | None, tokens: dict[str, str]) -> ServiceStorm:
    """A storm on a deployed service, and the calm after it."""
    chance = Random(seed)  # noqa: S311  the same choices each time
    client, snapshots = running.client("dynamodb"), Snapshots(running.outputs["SnapshotsBucket"], running.client("s3"))
    table = running.outputs["ExclusionsTable"]
    log = ExclusionLog(table, client, lambda: snapshots)
    requests = Requests(running.outputs["RequestsTable"], log, client)
    secrets = running.client("secretsmanager")
    (secret,) = [each["ARN"] for each in secrets.list_secrets()["SecretList"] if "Link" in each["Name"]]
    value = secrets.get_secret_value(SecretId=secret)["SecretString"]
    door = Deployed(running, server, tokens, chance)

    def wait() -> None:
        time.sleep(0 if door.calm else PAUSE_S)

    found = ServiceStorm(door, requests, log, snapshots, client, value, seed, time.monotonic_ns, wait)
    found.file()
    over = threading.Event()
    # They act at once, so each chooses by numbers of its own.
    own = [Random(chance.random()) for _ in range(5)]  # noqa: S311  choices, no secrets
    actors: list[Callable[[], None]] = [
        lambda: found.review((*LINKS[:2], FACES[0]), 14, own[0]),
        lambda: found.review((*LINKS[2:], FACES[1]), 14, own[1]),
        lambda: found.ask_out(own[2]),
        lambda: found.crawl("crawler 1", 25, own[3]),
        lambda: found.crawl("crawler 2", 25, own[4]),
        lambda: found.compact(3, lambda: None),
        lambda: found.recover(table, lambda: copied(client, log, table, f"Restored-{seed}"), chance),
    ]
    with ThreadPoolExecutor(len(actors) + 2) as pool:
        background = [pool.submit(door.kill, over), pool.submit(door.post, over, client)]
        acting = [pool.submit(actor) for actor in actors]
        try:
            for future in acting:
                future.result()
        finally:
            over.set()
        for future in background:
            future.result()
    door.calm = True
    found.end(chance)
    found.met["processes killed"] = door.killed
    return found
