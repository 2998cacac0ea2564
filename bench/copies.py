"""How many edited copies are recognised, how often different pictures are confused, and what that costs.

    python -m bench.copies FOLDER                     recall by group of edits, false matches, templates, cost by stage
    python -m bench.copies FOLDER --grow 1000 10000   the same search among more enrolled pictures

FOLDER holds pictures, in folders or not; a tenth of them is never enrolled: these fill collages and are asked as
strangers. Peers (`threatexchange`, `pdqhash`, `imagehash`) are asked in the same run, in an environment that this
script makes. `--from` leaves out pictures that thresholds were chosen by. Results: docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import itertools
import json
import math
import platform
import resource
import struct
import subprocess
import sys
import time
import venv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench import edits
from optout import ExclusionList, Fingerprint
from optout.errors import PhotoUnreadable
from optout.exclusions.agreement import place
from optout.exclusions.keypoint_index import KeypointIndex
from optout.fingerprint.image import decode
from optout.fingerprint.keypoints import Features, Keypoints, from_bytes
from optout.fingerprint.pdq import pdq_hashes
from optout.fingerprint.views import Views

LONGEST_SIDE = 800
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
PEERS = Path(__file__).parents[1] / ".local" / "copies-peers"
PEER_PACKAGES = ("threatexchange==1.2.17", "pdqhash==0.2.8", "imagehash==4.3.2", "numpy==2.4.6", "pillow")
PHASH_BITS = 10  # of 64: what users of imagehash commonly take
T = TypeVar("T")


def bar(items: Sequence[T], label: str) -> Iterator[T]:
    """The items, with a bar on stderr that says how many are done and how long the rest takes."""
    start = time.monotonic()
    if not sys.stderr.isatty():
        print(label, file=sys.stderr)
        yield from items
        return
    for done, item in enumerate(items):
        yield item
        part = (done + 1) / len(items)
        rest = (time.monotonic() - start) * (1 - part) / part
        print(f"\r{label:24} {'#' * int(30 * part):30} {part:4.0%} {rest:5.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    if not count:
        return 0.0, 1.0
    z, share = 1.96, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def at_most(hits: int, count: int) -> float:
    """Upper end of the one-sided 95 % interval of a rare share: 3 / n for none."""
    return interval(hits, count)[1] if hits else 1 - 0.05 ** (1 / max(1, count))


@dataclass
class Pictures:
    """A folder's pictures in an order that depends on their names only."""

    enrolled: dict[str, Image.Image] = field(default_factory=dict)
    strangers: dict[str, Image.Image] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Pictures:
        """Raises SystemExit when the folder holds too few."""
        paths = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
        paths.sort(key=lambda path: hashlib.sha256(str(path.relative_to(folder)).encode()).hexdigest())
        found = cls()
        for index, path in enumerate(bar(paths, "reading")):
            try:
                image = Image.fromarray(decode(path.read_bytes()).rgb)
            except PhotoUnreadable:
                continue
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
            (found.enrolled if index % 10 else found.strangers)[str(path.relative_to(folder))] = image
        if len(found.enrolled) < 10 or not found.strangers:
            raise SystemExit(f"{folder} holds {len(paths)} pictures; at least 12 are needed.")
        return found


# --- what recognises copies -------------------------------------------------------------------------------------------


class Cascade:
    """All of it: bytes, hashes, corners, agreement."""

    name = "image-optout"

    def __init__(self) -> None:
        self.list = ExclusionList()
        self.seconds: Counter[str] = Counter()
        self.bytes: list[int] = []

    def enrol(self, name: str, data: bytes) -> None:
        fingerprint = Fingerprint.of(data, faces=False)
        self.list.add_image(name, fingerprint)
        self.bytes.append(len(fingerprint.keypoints or b""))

    def ask(self, data: bytes) -> dict[str, str]:
        """Names of the enrolled pictures that it shows, each with the verdict."""
        verdict = self.list.check(Fingerprint.of(data, faces=False))
        return {match.exclusion_id: f"{verdict.verdict} by {match.signal}" for match in verdict.matches}


class Hashes(Cascade):
    """What a crawler gets that sends hashes only."""

    name = "hashes only"

    def ask(self, data: bytes) -> dict[str, str]:
        seen = dataclasses.replace(Fingerprint.of(data, faces=False), views=None)
        return {match.exclusion_id: "exclude" for match in self.list.check(seen).matches}


class Hashing:
    """The process that computes the peers' hashes: of what was asked last they are remembered."""

    def __init__(self) -> None:
        if not (PEERS / "made").exists():
            venv.create(PEERS, with_pip=True, clear=True)
            pip = [str(PEERS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *PEER_PACKAGES], check=True)  # noqa: S603
            (PEERS / "made").touch()
        command = [str(PEERS / "bin" / "python"), str(Path(__file__).with_name("hashes.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        self._asked, self._answered = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self._last: tuple[bytes, dict[str, tuple[str, float]]] = b"", {}

    def of(self, data: bytes) -> dict[str, tuple[str, float]]:
        """By project: the hash in hex and the milliseconds it took."""
        if data != self._last[0]:
            self._asked.write(struct.pack("<I", len(data)) + data)
            self._asked.flush()
            self._last = data, json.loads(self._answered.readline())
        return self._last[1]

    def end(self) -> None:
        """Stop the process."""
        self._process.communicate()


class Peer:
    """One hash a picture, and how many bits may differ."""

    def __init__(self, name: str, hashing: Hashing, project: str, bits: int) -> None:
        self.name, self._hashing, self._project, self._bits = name, hashing, project, bits
        self.milliseconds: list[float] = []
        self._names: list[str] = []
        self._codes: list[int] = []

    def enrol(self, name: str, data: bytes) -> None:
        code, _ = self._hashing.of(data)[self._project]
        if code:
            self._names.append(name)
            self._codes.append(int(code, 16))

    def ask(self, data: bytes) -> dict[str, str]:
        code, taken = self._hashing.of(data)[self._project]
        self.milliseconds.append(taken)
        near = [] if not code else [(one ^ int(code, 16)).bit_count() <= self._bits for one in self._codes]
        return {name: "exclude" for name, found in zip(self._names, near, strict=False) if found}


def peers(hashing: Hashing) -> list[Peer]:
    """What others match by: HMA and `threatexchange` as they come, the bare hash, and the other common one."""
    return [
        Peer("threatexchange", hashing, "threatexchange", 31),
        Peer("PDQ <= 31 (pdqhash)", hashing, "pdqhash", 31),
        Peer(f"pHash <= {PHASH_BITS}", hashing, "imagehash", PHASH_BITS),
    ]


# --- the runs ---------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What one method said: own copies by edit, and others that it took for copies."""

    excluded: Counter[str] = field(default_factory=Counter)
    reviewed: Counter[str] = field(default_factory=Counter)
    false: list[tuple[str, str, str]] = field(default_factory=list)  # verdict, asked, taken for
    seconds: float = 0.0


def recall(pictures: Pictures, first: int, queries: int, methods: Sequence[Any]) -> dict[str, Outcome]:
    """Ask every method for every edit of so many enrolled pictures, and for all strangers."""
    for name, image in bar(list(pictures.enrolled.items()), "enrolling"):
        data = edits.encoded(image, quality=95)
        for method in methods:
            method.enrol(name, data)
    outcomes = {method.name: Outcome() for method in methods}
    asked = list(pictures.enrolled.items())[first : first + queries]
    fillers = list(pictures.strangers.values())[:25]
    for (name, image), edit in bar(list(itertools.product(asked, edits.EDITS)), "asking for copies"):
        data = edits.apply(edit, image, name, fillers)
        for method in methods:
            outcome = outcomes[method.name]
            started = time.process_time()
            found = method.ask(data)
            taken = method.milliseconds[-1] / 1e3 if isinstance(method, Peer) else time.process_time() - started
            outcome.seconds += taken
            outcome.excluded[edit] += found.get(name, "").startswith("exclude")
            outcome.reviewed[edit] += found.get(name, "").startswith("review")
            outcome.false += [
                (verdict, f"{edit} of {name}", other) for other, verdict in found.items() if other != name
            ]
    for name, image in bar(list(pictures.strangers.items()), "asking for strangers"):
        data = edits.encoded(image)
        for method in methods:
            outcomes[method.name].false += [(verdict, name, other) for other, verdict in method.ask(data).items()]
    return outcomes


def templates(pictures: Pictures, count: int) -> dict[str, tuple[int, int, int]]:
    """Different pictures under the same template: how many pairs are excluded, how many reviewed, of how many."""
    found = {}
    fillers = list(pictures.strangers.values())
    chosen = list(pictures.enrolled.items())[-count:]
    for edit in bar(edits.TEMPLATES, "templates"):
        method, files = Cascade(), {}
        for name, image in chosen:
            # One seed for all, so that the words and places are the same too; what differs is the picture.
            files[name] = edits.apply(edit, image.resize((640, 480)), "one", fillers)
            method.enrol(name, files[name])
        wrong: Counter[str] = Counter()
        for name, data in files.items():
            own = method.list.check(Fingerprint.of(data, faces=False))
            # A copy found surely ends the search, so each is asked with its own file taken off the list.
            method.list.remove(name)
            wrong.update(verdict.split()[0] for verdict in method.ask(data).values())
            method.enrol(name, data)
            if str(own.verdict) != "exclude":
                wrong["lost"] += 1
        found[edit] = wrong["exclude"], wrong["review"], len(chosen) * (len(chosen) - 1)
    return found


def stages(pictures: Pictures, cascade: Cascade) -> dict[str, float]:
    """Median milliseconds of processor time for a picture that matches nothing, by step."""
    taken: dict[str, list[float]] = defaultdict(list)
    shelf = next(iter(cascade.list._shelves.values()))  # the steps have no names of their own outside

    def timed(step: str, work: Callable[[], T]) -> T:
        started = time.process_time()
        result = work()
        taken[step].append((time.process_time() - started) * 1e3)
        return result

    for image in bar(list(pictures.strangers.values()), "cost by stage"):
        data = edits.encoded(image)
        picture = timed("decode, safely", lambda data=data: decode(data))  # type: ignore[misc]
        timed("decode, Pillow alone", lambda data=data: Image.open(io.BytesIO(data)).load())  # type: ignore[misc]
        rgb = picture.rgb
        timed("PDQ, eight orientations", lambda rgb=rgb: pdq_hashes(rgb))  # type: ignore[misc]
        views = timed("shrink", lambda rgb=rgb: Views(rgb))  # type: ignore[misc]
        timed("borders, pages, cells: hashes", lambda views=views: (views.grey, views.codes))  # type: ignore[misc]
        timed("corners and their mirror", lambda views=views: views.all)  # type: ignore[misc]
        timed("check", lambda views=views: shelf.copies(views, None))  # type: ignore[misc]
        timed("enrolment's corners", lambda views=views: views.enrolled)  # type: ignore[misc]
    return {step: float(np.median(values)) for step, values in taken.items()}


def grow(pictures: Pictures, sizes: Iterable[int], queries: int) -> list[str]:
    """Search among ever more enrolled pictures. The additional ones are bootstrapped: the corners of a random real
    picture, each bit of their descriptors flipped with probability .2, turned as a whole and moved by chance."""
    rng = np.random.default_rng(1)
    index = KeypointIndex()
    own: dict[str, int] = {}
    real: list[Keypoints] = []
    for name, image in bar(list(pictures.enrolled.items()), "enrolling"):
        data = Views(np.asarray(image)).enrolled
        if data is not None:
            real.append(from_bytes(data))
            own[name] = index.add(real[-1])
    fillers = list(pictures.strangers.values())[:25]
    hard = ("crop_o50", "page30", "onto_photo", "hard", "tilt12", "collage2", "scale0.5")
    asked = [
        (own[name], edits.apply(edit, pictures.enrolled[name], name, fillers))
        for name in list(own)[:queries]
        for edit in hard
    ]
    views = [(row, Views(decode(data).rgb)) for row, data in bar(asked, "edited copies")]
    strangers = [Views(np.asarray(image)) for image in list(pictures.strangers.values())[:20]]
    for view in itertools.chain((view for _, view in views), strangers):
        view.all  # noqa: B018 - computed here, not in what is measured
    lines = [
        "| enrolled | own picture a candidate | recognised by corners | a stranger's check, ms (median) | memory, MB |",
        "|---|---|---|---|---|",
    ]
    for size in sizes:
        for _ in bar(range(size - len(index)), f"growing to {size}"):
            index.add(_bootstrapped(real[int(rng.integers(len(real)))], rng))
        index.candidates(strangers[0].all[0].features)
        among = recognised = 0
        for row, view in views:
            rows = [
                (part, grey, features, index.candidates(features))
                for part in view.all
                for grey, features in ((part.grey, part.features), (part.grey[:, ::-1], part.mirrored))
            ]
            hits = [(grey, features) for _, grey, features, found in rows if row in found]
            among += bool(hits)
            placed = (place(grey, features, index.keypoints(row)) for grey, features in hits)
            recognised += any(likeness is not None and likeness.sure for likeness in placed)
        taken = []
        for view in strangers:
            started = time.process_time()
            for part in view.all:
                for grey, features in ((part.grey, part.features), (part.grey[:, ::-1], part.mirrored)):
                    for row in index.candidates(features):
                        place(grey, features, index.keypoints(row))
            taken.append((time.process_time() - started) * 1e3)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        lines.append(
            f"| {len(index):,} | {among / len(views):.3f} | {recognised / len(views):.3f} | {np.median(taken):.1f} "
            f"| {memory:,.0f} |"
        )
        print(lines[-1], flush=True)
    return lines


def _bootstrapped(keypoints: Keypoints, rng: np.random.Generator) -> Keypoints:
    features = keypoints.features
    flipped = np.packbits(rng.random((len(features), features.descriptors.shape[1] * 8)) < 0.2, axis=1)
    turn = rng.integers(256)
    moved = features.points + rng.normal(0, 20, features.points.shape)
    return Keypoints(
        keypoints.width,
        keypoints.height,
        Features(
            moved.clip(0, 511).astype(np.float32),
            (features.angles.astype(int) + turn).astype(np.uint8),
            features.levels,
            features.descriptors ^ flipped,
        ),
        keypoints.sketch,
    )


# --- what comes out ---------------------------------------------------------------------------------------------------


def table(outcomes: dict[str, Outcome], queries: int) -> list[str]:
    """Markdown: recall by group and method, with the interval of the first."""
    names = list(outcomes)
    lines = [
        f"| group (edits) | {names[0]} | 95 % | + review | {' | '.join(names[1:])} |",
        "|---" * (len(names) + 3) + "|",
    ]
    for group, members in [*edits.groups().items(), ("**all**", list(edits.EDITS))]:
        count = len(members) * queries
        hits = {name: sum(outcomes[name].excluded[edit] for edit in members) for name in names}
        low, high = interval(hits[names[0]], count)
        more = sum(outcomes[names[0]].reviewed[edit] for edit in members)
        rest = " | ".join(f"{hits[name] / count:.3f}" for name in names[1:])
        first = hits[names[0]]
        lines.append(
            f"| {group} ({len(members)}) | {first / count:.3f} | {low:.3f}-{high:.3f} | {(first + more) / count:.3f} "
            f"| {rest} |"
        )
    return lines


def plot(outcomes: dict[str, Outcome], queries: int, path: Path) -> None:
    """Recall by group as bars, a colour for each method, whiskers for the 95 % interval."""
    groups = edits.groups()
    colours = ["#1d70b8", "#b1b4b6", "#d4351c", "#f47738", "#85994b"]
    row, left, width = 22 * len(outcomes) // 2 + 12, 150, 620
    image = Image.new("RGB", (left + width + 60, 50 + row * len(groups) + 20), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=13)
    at = 8.0
    for index, name in enumerate(outcomes):
        draw.rectangle((at, 12, at + 12, 24), fill=colours[index])
        draw.text((at + 18, 10), name, font=font, fill="black")
        at += 18 + font.getlength(name) + 26
    for part in range(0, 101, 20):
        x = left + width * part / 100
        draw.line((x, 40, x, image.height - 20), fill="#e0e0e0")
        draw.text((x - 8, image.height - 18), f"{part}", font=font, fill="black")
    for number, (group, members) in enumerate(groups.items()):
        y = 46 + number * row
        draw.text((8, y + row / 2 - 14), group, font=font, fill="black")
        for index, outcome in enumerate(outcomes.values()):
            hits, count = sum(outcome.excluded[edit] for edit in members), len(members) * queries
            top = y + index * 11
            draw.rectangle((left, top, left + width * hits / count, top + 8), fill=colours[index])
            low, high = interval(hits, count)
            draw.line((left + width * low, top + 4, left + width * high, top + 4), fill="black")
    image.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--queries", type=int, default=30, help="enrolled pictures whose copies are asked for")
    parser.add_argument("--templates", type=int, default=20, help="pictures put under each template")
    parser.add_argument("--grow", type=int, nargs="+", metavar="N", help="measure the search among N enrolled pictures")
    parser.add_argument("--plot", type=Path, default=Path("copies.png"))
    parser.add_argument("--from", dest="first", type=int, default=0, help="leave out so many enrolled pictures")
    options = parser.parse_args()
    pictures = Pictures.of(options.folder)
    queries = min(options.queries, len(pictures.enrolled) - options.first)
    if queries < 1:
        raise SystemExit(f"Of {len(pictures.enrolled)} enrolled pictures none is left to ask for.")
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}; "
        f"{len(pictures.enrolled)} pictures enrolled, {len(pictures.strangers)} strangers\n"
    )
    if options.grow:
        print("\n".join(grow(pictures, options.grow, queries)))
        return
    cascade, hashing = Cascade(), Hashing()
    outcomes = recall(pictures, options.first, queries, [cascade, Hashes(), *peers(hashing)])
    hashing.end()
    print("\n".join(table(outcomes, queries)))
    pairs = queries * len(edits.EDITS) * (len(pictures.enrolled) - 1) + len(pictures.strangers) * len(pictures.enrolled)
    print(f"\nFalse matches in {pairs:,} pairs, and the most there may be (95 %):")
    for name, outcome in outcomes.items():
        wrong = sum(verdict.startswith("exclude") for verdict, _, _ in outcome.false)
        doubt = len(outcome.false) - wrong
        files = queries * len(edits.EDITS) + len(pictures.strangers)
        hit = len({asked for verdict, asked, _ in outcome.false if verdict.startswith("exclude")})
        print(
            f"- {name}: {wrong} excluded (<= {at_most(wrong, pairs):.1e} a pair), {doubt} reviewed; {hit} of {files:,} "
            f"files excluded wrongly (<= {at_most(hit, files):.1e} a file); "
            f"{outcome.seconds / (queries * len(edits.EDITS)) * 1e3:.1f} ms a file, decoding included"
        )
        for verdict, asked, other in outcome.false[:5]:
            print(f"    {verdict}: {asked} taken for {other}")
    print(
        "\nWeakest edits: "
        + ", ".join(
            f"{edit} {hits / queries:.2f}"
            for edit, hits in sorted(
                ((edit, outcomes[cascade.name].excluded[edit]) for edit in edits.EDITS), key=lambda pair: pair[1]
            )[:8]
        )
    )
    print(
        f"Bytes of keypoints a picture: {np.mean(cascade.bytes):,.0f}, at most {max(cascade.bytes):,}\n\n"
        "Milliseconds a step:"
    )
    for step, value in stages(pictures, cascade).items():
        print(f"- {step}: {value:.1f}")
    print("\nDifferent pictures under one template:")
    for edit, (wrong, doubt, count) in templates(pictures, min(options.templates, len(pictures.enrolled))).items():
        print(f"- {edit}: {wrong} of {count} pairs excluded (<= {at_most(wrong, count):.1e}), {doubt} reviewed")
    plot(outcomes, queries, options.plot)
    print(f"\nPlot: {options.plot}")


if __name__ == "__main__":
    main()
