"""Many visitors and crawlers at the same time, on an embedded AWS of this script's own.

    python -m bench.load --visitors 200 --batches 50

Every visitor goes the whole way: form, photo (for two of three), check, confirmation, letter. All of them are there at
the same time, each in a thread of their own, and read or type for `--pause` seconds in the mean before every request
(people take longer); the crawlers' batches go on beside them without a pause. Fails when any answer is not the expected
one, or when a letter is missing or comes twice.

Prints the table of docs/performance.md: latency by route as the visitor's browser sees it, beside that of a function
which does nothing, called the same way at the same time. The difference is ours; the rest is the emulator's and the
machine's.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import httpx
from PIL import Image

from local import inbox
from local.actors import DidNotHold, Requester, expect
from local.deploy import zipped
from local.embedded_aws import EmbeddedAws
from local.running import Running
from optout.openapi import OPERATIONS
from tests.pictures import picture

PHOTOS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "obama.jpg", "biden.jpg")
FACES = ("astronaut.png", "obama.jpg", "biden.jpg")
ITEMS_OF_A_BATCH = 200
PICTURES_OF_A_BATCH = 5
CRAWLERS = 2
LETTERS_WITHIN_S = 120.0
# What stands for the emulator: a function that answers at once, asked again and again while the others are.
EMPTY = b"def lambda_handler(event, context):\n    return {'statusCode': 200, 'body': ''}\n"

_PAUSES = Random(1)  # noqa: S311
_ROUTES = [
    (each.method, re.compile(re.sub(r"{[^}]+}", "[^/]+", each.path) + "$"), f"{each.method} {each.path}")
    for each in OPERATIONS
]


class Times:
    """Seconds by name, written down from many threads."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float) -> None:
        with self._lock:
            self._taken[name].append(seconds)

    def rows(self) -> list[tuple[str, int, float, float, float]]:
        """(name, calls, median, p95, max), in milliseconds."""
        found = []
        for name, taken in sorted(self._taken.items()):
            ordered = sorted(1000 * each for each in taken)
            middle, late = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]
            found.append((name, len(ordered), middle, late, ordered[-1]))
        return found


class Gauge:
    """How many there are, and the most there ever were."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()

    def change(self, by: int) -> None:
        with self._lock:
            self.now += by
            self.most = max(self.most, self.now)


@dataclass(frozen=True)
class Timed(Running):
    """An instance whose HTTP clients write down how long every answer took, the answer's last byte included.

    They wait before every request, `pause` seconds in the mean and twice that at most. `confirmed_at` are the times at
    which a visitor pressed the last button.
    """

    times: Times = field(default_factory=Times)
    pause: float = 0.0
    asking: Gauge = field(default_factory=Gauge)
    confirmed_at: list[float] = field(default_factory=list)

    def http(self, **settings: Any) -> httpx.Client:
        def asked(request: httpx.Request) -> None:
            time.sleep(_PAUSES.uniform(0, 2 * self.pause))
            self.asking.change(1)
            request.extensions["asked"] = time.perf_counter()

        def answered(response: httpx.Response) -> None:
            response.read()
            taken = time.perf_counter() - response.request.extensions["asked"]
            name = route(response.request, self.site)
            self.times.add(name, taken)
            self.asking.change(-1)
            if name.endswith("/confirm"):
                self.confirmed_at.append(time.time() - taken)

        return super().http(event_hooks={"request": [asked], "response": [answered]}, **settings)


def route(request: httpx.Request, site: str) -> str:
    """The route that a request went to."""
    if not str(request.url).startswith((site, "http://127.0.0.1")) or "_user_request_" in request.url.path:
        return "the empty function"
    for method, path, name in _ROUTES:
        if method == request.method and path.match(request.url.path):
            return name
    return "the photo, straight to the bucket"


def photo_of(visitor: int, names: Sequence[str]) -> bytes:
    """A photograph that no other visitor has: another part of the picture, 800 pixels wide."""
    random = Random(visitor)  # noqa: S311
    image = Image.open(io.BytesIO(picture(names[visitor % len(names)]))).convert("RGB")
    margin = random.randrange(1, 12), random.randrange(1, 12)
    image = image.crop((margin[0], margin[1], image.width - margin[1], image.height - margin[0]))
    image.thumbnail((800, 800))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80 + visitor % 15)
    return out.getvalue()


def visit(running: Running, visitor: int) -> str:
    """The whole way of one visitor; the address that the letter must come to."""
    person = Requester(running, f"visitor-{visitor}@load.example")
    match visitor % 3:
        case 0:
            person.file("links", links=f"https://load.example/{visitor}")
        case 1:
            person.file("image", photo_of(visitor, PHOTOS))
        case _:
            person.file("face", photo_of(visitor, FACES))
    return person.email


def batch(running: Running, number: int) -> Counter[str]:
    """One lookup of many pictures by their signals and of a few by themselves; the verdicts."""
    random = Random(-number)  # noqa: S311
    items: list[dict[str, Any]] = [
        {
            "id": str(place),
            "url": f"https://crawled.example/{number}/{place}",
            "sha256": random.randbytes(32).hex(),
            "pdq": random.randbytes(32).hex(),
            "pdq_quality": 100,
            "faces": [],
            "fingerprint_version": "1",
        }
        for place in range(ITEMS_OF_A_BATCH)
    ]
    for item in items[:PICTURES_OF_A_BATCH]:
        place = int(item["id"])
        data = photo_of(1000 * number + place, PHOTOS)
        item.clear()
        item |= {"id": str(place), "picture": base64.b64encode(data).decode(), "sha256": sha256(data).hexdigest()}
    results = expect(running.lookup({"items": items}), 200, "a batch is answered").json()["results"]
    if [result["id"] for result in results] != [item["id"] for item in items]:
        raise DidNotHold("every item of a batch is answered, in order")
    return Counter(result["verdict"] for result in results)


def empty_function(running: Running) -> str:
    """Deploys a function that does nothing behind an API of its own; its address."""
    iam, functions, gateway = (running.client(name) for name in ("iam", "lambda", "apigateway"))
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName="empty", AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))["Role"]["Arn"]
    made = functions.create_function(
        FunctionName="empty",
        Runtime="python3.13",
        Role=role,
        Handler="handler.lambda_handler",
        Code={"ZipFile": zipped([("handler.py", EMPTY)])},
    )
    functions.add_permission(
        FunctionName="empty", StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com"
    )
    api = gateway.create_rest_api(name="empty")["id"]
    root = gateway.get_resources(restApiId=api)["items"][0]["id"]
    where = {"restApiId": api, "resourceId": root, "httpMethod": "GET"}
    gateway.put_method(**where, authorizationType="NONE")
    region = made["FunctionArn"].split(":")[3]
    uri = f"arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{made['FunctionArn']}/invocations"
    gateway.put_integration(**where, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
    gateway.create_deployment(restApiId=api, stageName="live")
    return f"{running.place.endpoint}/restapis/{api}/live/_user_request_/"


def call_empty(running: Running, address: str) -> None:
    with running.http() as http:
        expect(http.get(address), 200, "the empty function answers")


def letter_delays(running: Running, confirmed: dict[str, float]) -> list[float]:
    """Seconds from each confirmation to its letter. Raises `DidNotHold` for one that is missing or came twice."""
    until = time.monotonic() + LETTERS_WITHIN_S
    while True:
        found = inbox.letters(running.place.mail)
        to = Counter(str(letter["To"]).strip("<>") for letter in found)
        if set(confirmed) <= set(to):
            break
        if time.monotonic() > until:
            raise DidNotHold(f"{len(set(confirmed) - set(to))} letters came within {LETTERS_WITHIN_S:.0f} s")
        time.sleep(1)
    if set(to.values()) != {1} or len(to) != len(confirmed):
        raise DidNotHold("every visitor gets one letter, and nobody else does")
    delays = []
    for key in running.place.mail.glob("new/*"):
        address = re.search(rb"^To: <?([^>\s]+)", key.read_bytes(), re.MULTILINE)
        if address:
            delays.append(key.stat().st_mtime - confirmed[address[1].decode()])
    return delays


def load(running: Timed, visitors: int, batches: int, pause: float) -> tuple[str, list[str]]:
    """Runs it all; one sentence, and the findings."""
    wrong: list[str] = []
    confirmed: dict[str, float] = {}
    verdicts: Counter[str] = Counter()
    over = threading.Event()
    address = empty_function(running)

    def guarded(what: Callable[[], None]) -> None:
        try:
            what()
        except (DidNotHold, httpx.HTTPError, StopIteration, KeyError) as error:
            wrong.append(f"{type(error).__name__}: {error}")

    people = replace(running, pause=pause)
    there = Gauge()

    def one_visit(visitor: int) -> None:
        of_this_visitor = replace(people if visitor >= 0 else running, confirmed_at=[])
        there.change(1)
        email = visit(of_this_visitor, visitor)
        there.change(-1)
        (confirmed[email],) = of_this_visitor.confirmed_at

    def one_batch(number: int) -> None:
        verdicts.update(batch(running, number))

    def probes() -> None:
        while not over.wait(0.5):
            guarded(lambda: call_empty(running, address))

    # A cold start of every function, and the emulator's cost when nothing else happens.
    one_visit(-1)
    one_batch(-1)
    verdicts.clear()
    for _ in range(50):
        call_empty(running, address)
    idle = next(row for row in running.times.rows() if row[0] == "the empty function")
    running.times._taken.clear()
    running.asking.most = 0
    began = time.monotonic()
    probe = threading.Thread(target=probes)
    probe.start()
    with ThreadPoolExecutor(visitors) as threads, ThreadPoolExecutor(CRAWLERS) as crawlers:
        for visitor in range(visitors):
            threads.submit(guarded, lambda visitor=visitor: one_visit(visitor))  # type: ignore[misc]
        for number in range(batches):
            crawlers.submit(guarded, lambda number=number: one_batch(number))  # type: ignore[misc]
    took = time.monotonic() - began
    over.set()
    probe.join()
    delays: list[float] = []
    try:
        delays = sorted(letter_delays(running, confirmed))
    except DidNotHold as error:
        wrong.append(str(error))
    late = f"median {delays[len(delays) // 2]:.1f} s, last {delays[-1]:.1f} s after its confirmation" if delays else "-"
    sentence = (
        f"{len(confirmed) - 1} of {visitors} visitors, {there.most} of them there at once with up to "
        f"{running.asking.most} requests under way, and {batches} batches of {ITEMS_OF_A_BATCH} items "
        f"({PICTURES_OF_A_BATCH} of them pictures) in {took:.0f} s; {dict(verdicts)}; "
        f"{len(wrong)} errors; {len(delays)} letters, one each: {late}. The empty function alone: median "
        f"{idle[2]:.0f} ms, p95 {idle[3]:.0f} ms."
    )
    return sentence, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when nothing went wrong and no letter was lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--visitors", type=int, default=200)
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument(
        "--pause", type=float, default=20.0, help="seconds before each request of a visitor, in the mean"
    )
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="image-optout-load-") as folder, EmbeddedAws(Path(folder)) as aws:
        times = Times()
        running = Timed(aws.running.place, aws.running.outputs, aws.running.keys, times)
        busy = os.getloadavg()[0]
        sentence, wrong = load(running, asked.visitors, asked.batches, asked.pause)
    print(f"{sentence} Load of the machine before: {busy:.1f}.\n")
    print("| route | calls | median (ms) | p95 (ms) | max (ms) |\n|---|---|---|---|---|")
    for name, calls, middle, late, most in times.rows():
        print(f"| {name} | {calls} | {middle:.0f} | {late:.0f} | {most:.0f} |")
    for line in Counter(wrong).most_common(20):
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
