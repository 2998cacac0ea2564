"""What a lookup of 1,000 items costs when they are searched together instead of one after the other.

    python -m bench.lookups [--listed 10000]

Pictures and faces are random, as strangers to each other are. Both ways take turns in one run; compare the ratios.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from optout import lookups
from optout.exclusions.entry import FaceExclusion, ImageExclusion, State
from optout.exclusions.log import Current, Version
from optout.exclusions.matcher import ExclusionList
from optout.fingerprint.faces import FACE_MODEL

ITEMS = 1_000
TURNS = 5


def vectors(rng: np.random.Generator, count: int) -> Any:
    found = rng.normal(size=(count, 128)).astype("<f4")
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def listed(rng: np.random.Generator, count: int) -> ExclusionList:
    """So many pictures, each by eight codes, and as many people."""
    exclusions = ExclusionList()
    codes = rng.integers(0, 256, (count, 8, 32), dtype=np.uint8)
    for number, (eight, vector) in enumerate(zip(codes, vectors(rng, count), strict=True)):
        dihedral = tuple(code.tobytes() for code in eight)
        exclusions.add(ImageExclusion(f"picture-{number}", f"{number:064x}", dihedral, State.ACCEPTED))
        exclusions.add(FaceExclusion(f"person-{number}", (vector.tobytes(),), FACE_MODEL, State.ACCEPTED))
    return exclusions


def asked(rng: np.random.Generator, faces: int) -> lookups.Lookup:
    """1,000 strangers by their hashes and so many faces each."""
    items = [
        {
            "id": str(number),
            "url": f"https://pictures.example/{number}",
            "sha256": rng.bytes(32).hex(),
            "pdq": rng.bytes(32).hex(),
            "pdq_quality": 90,
            "faces": [base64.b64encode(vector.tobytes()).decode() for vector in vectors(rng, faces)],
            "faces_model": FACE_MODEL,
        }
        for number in range(ITEMS)
    ]
    return lookups.parse(json.dumps({"items": items}).encode())


def in_chunks_of(size: int, work: Callable[[], object]) -> float:
    """Seconds that `work` takes with chunks of this size."""
    before, lookups.CHUNK = lookups.CHUNK, size
    try:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    finally:
        lookups.CHUNK = before


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listed", type=int, default=10_000, help="pictures, and as many people")
    count = parser.parse_args().listed
    rng = np.random.default_rng(1)
    current = Current(listed(rng, count), Version(1, 1), datetime.now(UTC))
    print(f"{count:,} pictures and {count:,} people listed; ms for {ITEMS:,} items, median of {TURNS}\n")
    print("| items | one by one | together | ratio |\n|---|---|---|---|")
    for faces in (0, 1, 3):
        lookup = asked(rng, faces)

        def work(lookup: lookups.Lookup = lookup) -> None:
            lookups.answer(lookup, current, float("inf"))

        work()
        turns = [(in_chunks_of(1, work), in_chunks_of(lookups.CHUNK, work)) for _ in range(TURNS)]
        alone, together = (1e3 * statistics.median(column) for column in zip(*turns, strict=True))
        ratio = statistics.median(one / many for one, many in turns)
        what = "hashes" if not faces else f"hashes and {faces} face{'s' if faces > 1 else ''}"
        print(f"| {what} | {alone:,.0f} | {together:,.0f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
