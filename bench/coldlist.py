"""How long a new instance of `exclude_check` takes until it can answer, and how much memory it needs, by its list.

    python -m bench.coldlist [--pictures 100000] [--codes 1000000] [--runs 3]

Two lists: so many excluded pictures as they are served (eight codes and 290 corners each), and so many single codes.
Both lie in the snapshots bucket of an embedded S3 as `functions/compact` writes them, with the log's head in an
embedded DynamoDB; both stores are one process beside, on the same cores. Each run is a fresh process that has imported
what the handler imports. `ready` is the time from there until the list is up to date, download and check sums included;
`first` is the first lookup after that, of one code. What only lookups of whole pictures need is fetched at the first of
them: `pictures` is the time that this takes on top, and `whole` one lookup of a whole picture, which looks for crops
too. `list` is by how much the process has grown then, `most` the most that it ever had.

The signals are random: corners of real pictures fall into fewer buckets, which changes the time of a search and not
that of a start.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from local.place import REGION, REPOSITORY, ROOT_KEY, ROOT_SECRET, Place, free_port
from optout.exclusions.entry import State
from optout.exclusions.segment import Kind, Segment
from optout.exclusions.snapshot import Manifest, SegmentRef, Snapshots
from optout.fingerprint.keypoints import DESCRIPTOR_BYTES, ENROLLED, KEYPOINTS_VERSION, PLACE_BYTES
from optout.fingerprint.sketch import SKETCH_BYTES

BUCKET, TABLE = "snapshots", "Exclusions"
# Records of one segment; compaction merges them up to 64 MB.
PICTURES_TOGETHER, CODES_TOGETHER = 8_000, 400_000
SERVER = """
import asyncio, sys
from pathlib import Path
from local.emulator import Emulator
from local.place import Place
asyncio.run(Emulator(Place(Path(sys.argv[1]), int(sys.argv[2])), 1).serve())
"""


def environment(port: int) -> dict[str, str]:
    """What the handler is told, for the stores of this run."""
    return {
        **os.environ,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "EXCLUSIONS_TABLE": TABLE,
        "SNAPSHOTS_BUCKET": BUCKET,
        "FALSE_EXCLUSIONS_PER_MILLION": "1000",
        "REVIEWS_PER_DAY": "100",
        "CRAWLED_FACES_PER_DAY": "1000000",
        "HIT_SHARE_ALARM_PERCENT": "1",
        "POWERTOOLS_SERVICE_NAME": "bench",
        "POWERTOOLS_METRICS_NAMESPACE": "Bench",
    }


def client(service: str, port: int) -> Any:
    """A client for filling the stores."""
    import boto3
    from botocore.config import Config

    config = Config(s3={"addressing_style": "path"}, proxies={}, read_timeout=60)
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=ROOT_KEY,
        aws_secret_access_key=ROOT_SECRET,
        region_name=REGION,
        config=config,
    )


def segments(records: int, together: int, codes: int, corners: int) -> Iterator[Segment]:
    """Pictures of random signals: so many, each with so many codes and corners."""
    random = np.random.default_rng(20261124)

    def of(rows: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return random.integers(0, 256, (rows, width), np.uint8)

    for first in range(0, records, together):
        n = min(together, records - first)
        ids = np.array([f"{number:032x}" for number in range(first, first + n)], dtype="S32")
        stored = np.zeros((n, 0), np.uint8)
        if corners:
            head = np.array([KEYPOINTS_VERSION | DESCRIPTOR_BYTES << 8, 512, 384, corners], "<u2").view(np.uint8)
            rows = of(n, SKETCH_BYTES + corners * (PLACE_BYTES + DESCRIPTOR_BYTES))
            stored = np.hstack([np.tile(head, (n, 1)), rows])
        none = np.zeros(n, np.uint8)
        yield Segment(
            shelf=str(State.ACCEPTED),
            ids=ids,
            kinds=np.full(n, Kind.IMAGE, np.uint8),
            digests=of(n, 32),
            keys=of(n, 32),
            code_counts=np.full(n, codes, np.uint8),
            codes=of(n * codes, 32),
            face_counts=none,
            faces=np.zeros((0, 128), np.float32),
            models=none,
            model_names=(),
            corner_sizes=np.full(n, stored.shape[1], np.uint32),
            corners=stored.reshape(-1),
        )


def fill(port: int, epoch: int, made: Iterator[Segment]) -> int:
    """Put a list into the bucket under an epoch of its own; how many bytes it has."""
    snapshots = Snapshots(BUCKET, client("s3", port))
    refs, digest = [], 0
    for segment in made:
        name, content = segment.to_file(1)
        snapshots.put_segment(name, content)
        refs.append(SegmentRef(name, segment.shelf, len(segment), len(content)))
        digest += segment.digest()
    records = sum(ref.records for ref in refs)
    snapshots.replace(Manifest(epoch, 1, records, f"{digest % 2**256:064x}", tuple(refs)), None)
    return sum(ref.size for ref in refs)


def begin(port: int, epoch: int) -> None:
    """Let the log's head say that this epoch's list is in force."""
    head = {"pk": {"S": "head"}, "seq": {"N": "0"}, "epoch": {"N": str(epoch)}, "head": {"N": "1"}}
    client("dynamodb", port).put_item(TableName=TABLE, Item=head)


def measure() -> dict[str, float]:
    """One start, in this process: seconds and megabytes."""
    sys.path.insert(0, str(REPOSITORY / "functions" / "exclude_check"))
    handler = __import__("handler")  # the function itself, with all that it imports
    from optout import Fingerprint, settings
    from tests.pictures import picture

    settings.aws("dynamodb"), settings.aws("s3")
    whole = Fingerprint.of(picture("astronaut.png"), faces=False)
    coded = Fingerprint(sha256="0" * 64, pdq=bytes(32), quality=100)
    marks: list[tuple[float, float]] = []

    def mark() -> None:
        spent = resource.getrusage(resource.RUSAGE_SELF)
        marks.append((time.perf_counter(), spent.ru_utime + spent.ru_stime))

    before = memory("VmRSS")
    mark()
    current = handler.current_list().refresh()
    mark()
    for _ in range(2):
        current.list.check(coded, scopes=["image"])
        mark()
    current = handler.current_list().refresh(pictures=True)
    mark()
    current.list.check(whole, scopes=["image"])
    mark()
    steps = ("ready", "first", "second", "pictures", "whole")
    spans = dict(zip(steps, pairwise(marks), strict=True))
    return {
        **{step: end[0] - begin[0] for step, (begin, end) in spans.items()},
        **{f"{step}_cpu": end[1] - begin[1] for step, (begin, end) in spans.items()},
        "list": memory("VmRSS") - before,
        "most": memory("VmHWM"),
        "before": before,
    }


def memory(field: str) -> float:
    """Megabytes of this process that are in memory (VmRSS) or ever were (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kilobytes) * 1024 / 1e6


def download(port: int, epoch: int) -> float:
    """Seconds that fetching the list alone takes, eight parts at a time: what the embedded S3 gives on these cores."""
    s3 = client("s3", port)
    found = Snapshots(BUCKET, s3).newest(epoch)
    if found is None:
        raise LookupError("no manifest")
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(
            lambda ref: s3.get_object(Bucket=BUCKET, Key=f"segments/{ref.name}")["Body"].read(), found.manifest.segments
        ):
            pass
    return time.perf_counter() - began


def table(found: dict[str, tuple[int, float, list[dict[str, float]]]]) -> str:
    """Markdown: the medians of each list."""
    lines = [
        "| list | bytes | ready | CPU | first | second | for pictures | CPU | download | picture | in memory | most |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (size, fetched, runs) in found.items():
        row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        lines.append(
            f"| {name} | {size / 1e6:.0f} MB | {row['ready']:.2f} s | {row['ready_cpu']:.2f} s "
            f"| {1000 * row['first']:.1f} ms | {1000 * row['second']:.1f} ms "
            f"| {row['pictures']:.2f} s | {row['pictures_cpu']:.2f} s | {fetched:.2f} s | {1000 * row['whole']:.0f} ms "
            f"| {row['list']:.0f} MB | {row['most']:.0f} MB |"
        )
    return "\n".join(lines)


def wait_for(place: Place) -> None:
    """Until the embedded AWS answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{place.endpoint}/_ministack/health", timeout=1)  # noqa: S310
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the embedded AWS did not start")


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Cold start of the exclusion list.")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--codes", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return 0
    lists = {
        f"{options.pictures:,} pictures, corners included": (options.pictures, PICTURES_TOGETHER, 8, ENROLLED),
        f"{options.codes:,} single codes": (options.codes, CODES_TOGETHER, 1, 0),
    }
    found: dict[str, tuple[int, float, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="image-optout-coldlist-") as folder:
        place = Place(Path(folder), free_port())
        with subprocess.Popen([sys.executable, "-c", SERVER, folder, str(place.port)], cwd=REPOSITORY) as server:  # noqa: S603
            try:
                wait_for(place)
                client("s3", place.port).create_bucket(Bucket=BUCKET)
                keys = [("pk", "S", "HASH"), ("seq", "N", "RANGE")]
                client("dynamodb", place.port).create_table(
                    TableName=TABLE,
                    BillingMode="PAY_PER_REQUEST",
                    AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind, _ in keys],
                    KeySchema=[{"AttributeName": name, "KeyType": role} for name, _, role in keys],
                )
                for epoch, (name, asked) in enumerate(lists.items(), 1):
                    size = fill(place.port, epoch, segments(*asked))
                    begin(place.port, epoch)
                    runs = [
                        json.loads(
                            subprocess.run(
                                [sys.executable, "-m", "bench.coldlist", "--measure"],
                                check=True,
                                capture_output=True,
                                cwd=REPOSITORY,
                                env=environment(place.port),
                            ).stdout.splitlines()[-1]
                        )
                        for _ in range(options.runs)
                    ]
                    found[name] = size, download(place.port, epoch), runs
            finally:
                server.terminate()
    load = os.getloadavg()[0]
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}, load {load:.1f}\n")
    print(table(found))
    print("\n" + json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
