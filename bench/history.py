"""Hundreds of histories of the exclusion list, checked; and some on an embedded AWS.

    python -m bench.history [--storms 200] [--handlers 20] [--embedded 3] [--deployed 20]

In each history three people decide and answer, two crawlers ask, two compactions run and an operator begins new epochs
at the same time, while calls fail, answers get lost, functions are killed, changes become visible late and days pass
(`tests/storm.py`); then it is calm, and everything must be answered. `tests/history.py` says what no history may show.
Storms in memory move S3's clock; on the embedded AWS it cannot be moved, so there nothing is old enough to leave the
log.

Then the same through the service's own doors (`tests/service_storm.py`): reviewers decide, suspend, resume and answer
at the console's routes, requesters verify and withdraw by the links of their letters, crawlers ask, and an operator
begins new epochs, from the log as it is and from an older copy of it. Nothing is noted but what was answered. Over moto
(`tests/in_process.py`) functions are killed within any call of AWS, clocks are set, and every event of the stream and
every message of the queues comes late and again. On the deployed template (`bench/deployed.py`) all of it is real HTTP
and all at once: clients hang up before they hear the answer, functions' processes are killed, and events come again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Protocol

from bench import deployed
from bench.coldlist import SERVER, client, wait_for
from local.embedded_aws import EmbeddedAws
from local.place import REPOSITORY, Place, free_port
from optout.exclusions.log import ExclusionLog
from optout.exclusions.snapshot import Snapshots
from tests import in_process
from tests.doubles import Bucket
from tests.history import History, violations
from tests.service_storm import ServiceStorm
from tests.storm import NAMES, Shimmering, Storm, Turns, Weather, instance


class Embedded:
    """A client of the embedded AWS in such weather."""

    def __init__(self, client: Any, weather: Weather) -> None:
        self._client = client
        self._weather = weather
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self._weather.before(name, arguments)
            answer = getattr(self._client, name)(**arguments)
            self._weather.after(name, arguments)
            return answer

        return call

    def get_paginator(self, name: str) -> Any:
        pages, weather = self._client.get_paginator(name), self._weather

        class Paginator:
            def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
                weather.before(name, arguments)
                yield from pages.paginate(**arguments)

        return Paginator()

    def pass_by(self, time: timedelta) -> None:
        """Its clock goes as ours does."""


def in_memory(seed: int) -> Storm:
    """One storm over doubles of DynamoDB and S3."""
    weather = Weather(Turns(Random(seed)))  # noqa: S311
    return played(Shimmering(weather, 100), Bucket(weather), weather, "Exclusions", "snapshots")


def embedded(seed: int, port: int) -> Storm:
    """One storm on the embedded DynamoDB and S3, in a table and a bucket of its own."""
    weather = Weather(Turns(Random(seed)))  # noqa: S311
    dynamodb, s3, name = client("dynamodb", port), client("s3", port), f"storm-{seed}"
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "seq", "AttributeType": "N"},
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "seq", "KeyType": "RANGE"}],
    )
    return played(Embedded(dynamodb, weather), Embedded(s3, weather), weather, name, name)


def through_handlers(seed: int) -> ServiceStorm:
    """One storm through the functions' own handlers, over moto."""
    return in_process.play(seed)


def played(table: Any, bucket: Any, weather: Weather, name: str, where: str) -> Storm:
    """A storm that has passed."""
    snapshots = Snapshots(where, bucket)
    found = Storm(ExclusionLog(name, table, lambda: snapshots), snapshots, table, bucket, weather)
    found.play(NAMES, instance)
    return found


class Passed(Protocol):
    """What a storm leaves, of whichever kind it was."""

    weather: Any

    @property
    def history(self) -> History: ...

    @property
    def did(self) -> Counter[str]: ...

    @property
    def unanswered(self) -> int: ...


def run(what: str, count: int, play: Callable[[int], Passed]) -> int:
    """Plays so many storms, prints what happened in them and every violation; how many there were."""
    met: Counter[str] = Counter()
    wrong = 0
    began = time.perf_counter()
    for seed in range(count):
        found = play(seed)
        broken = [str(each) for each in violations(found.history)]
        if found.unanswered:
            broken.append(f"{found.unanswered} lookups in the calm were refused")
        for each in broken:
            print(f"{what}, storm {seed}: {each}")
        wrong += len(broken)
        met += found.met + found.did
        met["writes"] += len(found.history.writes)
        met["lookups answered"] += len(found.history.looks)
        met["lookups refused"] += found.history.refused
    print(f"{what}: {count} storms in {time.perf_counter() - began:.0f} s, {wrong} violations")
    print("  " + ", ".join(f"{name} {times:,}" for name, times in sorted(met.items())))
    return wrong


def over_http(count: int) -> int:
    """Storms on the template as it is deployed, over HTTP."""
    with tempfile.TemporaryDirectory(prefix="image-optout-history-") as folder, EmbeddedAws(Path(folder)) as aws:
        tokens = {name: aws.running.id_token(name) for name in ("anna", "ben")}
        return run("over HTTP", count, lambda seed: deployed.play(seed, aws.running, aws.pid, tokens))


def main() -> int:
    """0 when no history shows what none may."""
    parser = argparse.ArgumentParser(description="Histories of the exclusion list under faults.")
    parser.add_argument("--storms", type=int, default=200)
    parser.add_argument("--handlers", type=int, default=20)
    parser.add_argument("--embedded", type=int, default=3)
    parser.add_argument("--deployed", type=int, default=20)
    options = parser.parse_args()
    # A dying function has counted nothing, and Powertools says so on its way out.
    warnings.filterwarnings("ignore", "No application metrics to publish")
    wrong = run("in memory", options.storms, in_memory)
    wrong += run("through the handlers", options.handlers, through_handlers)
    with tempfile.TemporaryDirectory(prefix="image-optout-history-") as folder:
        place = Place(Path(folder), free_port())
        with subprocess.Popen([sys.executable, "-c", SERVER, folder, str(place.port)], cwd=REPOSITORY) as server:  # noqa: S603
            try:
                wait_for(place)
                wrong += run("embedded AWS", options.embedded, lambda seed: embedded(seed, place.port))
            finally:
                server.terminate()
    if options.deployed:
        wrong += over_http(options.deployed)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
