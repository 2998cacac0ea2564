"""How many edited copies are recognised, how often different pictures are confused, and what that costs.

    python -m bench.copies FOLDER                 recall by group of edits, false matches, templates, cost by stage
    python -m bench.copies FOLDER --more          the same for a second set of edits
    python -m bench.copies FOLDER --grow 1000 10000 100000
                                                  cost and recall of whole checks among more enrolled pictures

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench import edits
from optout import ExclusionList, Fingerprint
from optout.errors import PhotoUnreadable
from optout.exclusions.entry import ImageExclusion, State
from optout.exclusions.matcher import PDQ_CANDIDATE_RADIUS
from optout.exclusions.segment import Part, Segment
from optout.fingerprint.image import decode
from optout.fingerprint.keypoints import DESCRIPTOR_BYTES, Features, Keypoints, from_bytes, to_bytes
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


def recall(
    pictures: Pictures, first: int, queries: int, methods: Sequence[Any], chosen: Sequence[str]
) -> dict[str, Outcome]:
    """Ask every method for every chosen edit of so many enrolled pictures, and for all strangers."""
    for name, image in bar(list(pictures.enrolled.items()), "enrolling"):
        data = edits.encoded(image, quality=95)
        for method in methods:
            method.enrol(name, data)
    outcomes = {method.name: Outcome() for method in methods}
    asked = list(pictures.enrolled.items())[first : first + queries]
    fillers = list(pictures.strangers.values())[:25]
    for (name, image), edit in bar(list(itertools.product(asked, chosen)), "asking for copies"):
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


def templates(pictures: Pictures, count: int, names: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Different pictures under the same template: how many pairs are excluded, how many reviewed, of how many."""
    found = {}
    fillers = list(pictures.strangers.values())
    chosen = list(pictures.enrolled.items())[-count:]
    for edit in bar(names, "templates"):
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


# The weakest edits of both sets, and some that are not.
GROWN = ("crop_o50", "crop_c50", "page30", "onto_photo", "hard", "tilt12", "collage4", "meme", "smiley1_50", "scale0.5")
# Corners that are of the same picture but seen again differ by chance in up to a quarter of their bits; codes of
# different pictures in 90 of 256 and more.
_CORNER_FLIPS, _CODE_FLIPS, _MOVED = 0.2, 0.38, 20


def grow(pictures: Pictures, sizes: Sequence[int], first: int, queries: int) -> None:
    """Print what whole checks cost and find among ever more enrolled pictures. The additional ones are bootstrapped: of
    a random real picture the corners, each bit of their descriptors flipped with probability .2 and each moved by
    chance, and the codes, .38 of their bits flipped; and the sketch of another one, so that they are copies of nothing.
    """
    rng = np.random.default_rng(1)
    real: dict[str, ImageExclusion] = {}
    for name, image in bar(list(pictures.enrolled.items()), "enrolling"):
        seen = Fingerprint.of(edits.encoded(image, quality=95), faces=False)
        if seen.keypoints is not None:
            real[name] = ImageExclusion(name, cast(str, seen.sha256), seen.codes, State.ACCEPTED, seen.keypoints)
    fillers = list(pictures.strangers.values())[:25]
    asked = [
        (name, edit, edits.apply(edit, pictures.enrolled[name], name, fillers))
        for name in list(pictures.enrolled)[first : first + queries]
        if name in real
        for edit in GROWN
    ]
    copies = [(name, edit, _seen(data)) for name, edit, data in bar(asked, "edited copies")]
    files = [edits.encoded(image) for image in pictures.strangers.values()]
    strangers, taken = [], []
    for data in files:
        started = time.process_time()
        strangers.append(_seen(data))
        taken.append((time.process_time() - started) * 1e3)
    decoding, hashing = _references(files)
    print(
        f"A fingerprint with all views: {np.median(taken):.1f} ms (median of {len(files)} strangers), "
        f"{np.median(taken) / decoding:.0f} times Pillow's decoding ({decoding:.2f} ms), "
        f"{np.median(taken) / hashing:.1f} times pdqhash ({hashing:.1f} ms, decoding included)\n"
    )
    print(
        "| enrolled | recognised | + review | taken for others | PDQ stage, ms | check, ms | 95 % | / Pillow "
        "| / pdqhash | made in, s | memory, MB |\n" + "|---" * 11 + "|"
    )
    made = _Made(list(real.values()), rng)
    for size in sorted(sizes):
        started = time.process_time()
        listed = made.listed(size)
        listed.check(strangers[0], scopes=["image"])  # sorts what is sorted at the first search
        built = time.process_time() - started
        shelf = listed._shelves[State.ACCEPTED]
        hits: Counter[str] = Counter()
        for name, _, seen in bar(copies, f"copies among {size:,}"):
            verdict = listed.check(seen, scopes=["image"])
            named = {match.exclusion_id for match in verdict.matches}
            hits[str(verdict.verdict) if name in named else ""] += 1
            hits["other"] += bool(named - {name})
        stage, whole = [], []
        for seen in bar(strangers * 3, f"strangers among {size:,}"):
            codes = [code for code, _ in cast(Views, seen.views).codes]
            started = time.process_time()
            shelf.near(codes, PDQ_CANDIDATE_RADIUS)
            middle = time.process_time()
            hits["other"] += bool(listed.check(seen, scopes=["image"]).matches)
            whole.append((time.process_time() - middle) * 1e3)
            stage.append((middle - started) * 1e3)
        memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
        check = float(np.median(whole))
        sure, doubtful = hits["exclude"] / len(copies), hits["review"] / len(copies)
        print(
            f"| {size:,} | {sure:.3f} | {sure + doubtful:.3f} "
            f"| {hits['other']} | {np.median(stage):.1f} | {check:.1f} | {np.quantile(whole, 0.95):.1f} "
            f"| {check / decoding:.0f} | {check / hashing:.1f} | {built:.0f} | {memory:,.0f} |",
            flush=True,
        )


def _seen(data: bytes) -> Fingerprint:
    """The fingerprint, with all that a check would compute of it when it first asks."""
    seen = Fingerprint.of(data, faces=False)
    views = cast(Views, seen.views)
    views.codes, views.all  # noqa: B018
    return seen


def _references(files: Sequence[bytes]) -> tuple[float, float]:
    """Median milliseconds that Pillow's decoding takes, and a hash by `pdqhash` with decoding."""
    decoding = []
    for data in files:
        started = time.process_time()
        Image.open(io.BytesIO(data)).load()
        decoding.append((time.process_time() - started) * 1e3)
    hashing = Hashing()
    taken = [hashing.of(data)["pdqhash"][1] for data in files]
    hashing.end()
    return float(np.median(decoding)), float(np.median(taken))


class _Made:
    """Lists of the real pictures and as many bootstrapped ones as are wanted."""

    def __init__(self, real: list[ImageExclusion], rng: np.random.Generator) -> None:
        self._real, self._rng = real, rng
        self._keypoints = [from_bytes(cast(bytes, each.keypoints)) for each in real]
        # Masks to draw from: making each anew takes most of the time.
        corner_bits = rng.random((1 << 16, DESCRIPTOR_BYTES * 8)) < _CORNER_FLIPS
        self._corner_masks = np.packbits(corner_bits, axis=1)
        self._code_masks = np.packbits(rng.random((1 << 14, 256)) < _CODE_FLIPS, axis=1)
        self._segments: list[Segment] = [Segment.of(str(State.ACCEPTED), real)]

    def listed(self, size: int) -> ExclusionList:
        """A list of so many: what a shorter one held, and more."""
        have = sum(map(len, self._segments))
        for at in bar(range(have, size, 4_000), f"growing to {size:,}"):
            more = [self._one(number) for number in range(at, min(size, at + 4_000))]
            self._segments.append(Segment.of(str(State.ACCEPTED), more))
        listed = ExclusionList()
        parts = [Part(segment, np.ones(len(segment), bool)) for segment in self._segments]
        listed.load(parts, lambda _: np.concatenate([cast(Any, segment.corners) for segment in self._segments]))
        return listed

    def _one(self, number: int) -> ImageExclusion:
        which, other = self._rng.integers(len(self._real), size=2).tolist()
        keypoints, features = self._keypoints[which], self._keypoints[which].features
        moved = features.points + self._rng.normal(0, _MOVED, features.points.shape)
        corners = Features(
            moved.clip(0, 511).astype(np.float32),
            features.angles,
            features.levels,
            features.descriptors ^ self._corner_masks[self._rng.integers(len(self._corner_masks), size=len(features))],
        )
        sketch = self._keypoints[other if other != which else other - 1].sketch
        codes = np.frombuffer(b"".join(self._real[which].dihedral), np.uint8).reshape(-1, 32)
        flipped = codes ^ self._code_masks[self._rng.integers(len(self._code_masks), size=len(codes))]
        return ImageExclusion(
            f"made-{number}",
            self._rng.bytes(32).hex(),
            tuple(row.tobytes() for row in flipped),
            State.ACCEPTED,
            to_bytes(Keypoints(keypoints.width, keypoints.height, corners, sketch)),
        )


# --- what comes out ---------------------------------------------------------------------------------------------------


Groups = dict[str, list[str]]


def table(outcomes: dict[str, Outcome], queries: int, groups: Groups) -> list[str]:
    """Markdown: recall by group and method, with the interval of the first."""
    names = list(outcomes)
    lines = [
        f"| {' | '.join(['group (edits)', names[0], '95 %', '+ review', *names[1:]])} |",
        "|---" * (len(names) + 3) + "|",
    ]
    for group, members in [*groups.items(), ("**all**", list(itertools.chain(*groups.values())))]:
        count = len(members) * queries
        hits = {name: sum(outcomes[name].excluded[edit] for edit in members) for name in names}
        low, high = interval(hits[names[0]], count)
        more = sum(outcomes[names[0]].reviewed[edit] for edit in members)
        first = hits[names[0]]
        shares = [f"{first / count:.3f}", f"{low:.3f}-{high:.3f}", f"{(first + more) / count:.3f}"]
        shares += [f"{hits[name] / count:.3f}" for name in names[1:]]
        lines.append(f"| {group} ({len(members)}) | {' | '.join(shares)} |")
    return lines


def plot(outcomes: dict[str, Outcome], queries: int, groups: Groups, path: Path) -> None:
    """Recall by group as bars, a colour for each method, whiskers for the 95 % interval."""
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
    parser.add_argument("--more", action="store_true", help="the second set of edits and templates")
    parser.add_argument("--alone", action="store_true", help="ask no peers, which halves the time")
    parser.add_argument("--grow", type=int, nargs="+", metavar="N", help="whole checks among N enrolled pictures")
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
        grow(pictures, options.grow, options.first, queries)
        return
    chosen = edits.MORE if options.more else edits.EDITS
    cascade = Cascade()
    if options.alone:
        outcomes = recall(pictures, options.first, queries, [cascade], list(chosen))
    else:
        hashing = Hashing()
        outcomes = recall(pictures, options.first, queries, [cascade, Hashes(), *peers(hashing)], list(chosen))
        hashing.end()
    print("\n".join(table(outcomes, queries, edits.groups(chosen))))
    copies = queries * len(chosen)
    pairs = copies * (len(pictures.enrolled) - 1) + len(pictures.strangers) * len(pictures.enrolled)
    print(f"\nFalse matches in {pairs:,} pairs, and the most there may be (95 %):")
    for name, outcome in outcomes.items():
        wrong = sum(verdict.startswith("exclude") for verdict, _, _ in outcome.false)
        doubt = len(outcome.false) - wrong
        files = copies + len(pictures.strangers)
        hit = len({asked for verdict, asked, _ in outcome.false if verdict.startswith("exclude")})
        print(
            f"- {name}: {wrong} excluded (<= {at_most(wrong, pairs):.1e} a pair), {doubt} reviewed; {hit} of {files:,} "
            f"files excluded wrongly (<= {at_most(hit, files):.1e} a file); "
            f"{outcome.seconds / copies * 1e3:.1f} ms a file, decoding included"
        )
        for verdict, asked, other in outcome.false[:5]:
            print(f"    {verdict}: {asked} taken for {other}")
    print(
        "\nWeakest edits: "
        + ", ".join(
            f"{edit} {hits / queries:.2f}"
            for edit, hits in sorted(
                ((edit, outcomes[cascade.name].excluded[edit]) for edit in chosen), key=lambda pair: pair[1]
            )[:12]
        )
    )
    print(
        f"Bytes of keypoints a picture: {np.mean(cascade.bytes):,.0f}, at most {max(cascade.bytes):,}\n\n"
        "Milliseconds a step:"
    )
    for step, value in stages(pictures, cascade).items():
        print(f"- {step}: {value:.1f}")
    print("\nDifferent pictures under one template:")
    for edit, (wrong, doubt, count) in templates(
        pictures,
        min(options.templates, len(pictures.enrolled)),
        edits.MORE_TEMPLATES if options.more else edits.TEMPLATES,
    ).items():
        print(f"- {edit}: {wrong} of {count} pairs excluded (<= {at_most(wrong, count):.1e}), {doubt} reviewed")
    plot(outcomes, queries, edits.groups(chosen), options.plot)
    print(f"\nPlot: {options.plot}")


if __name__ == "__main__":
    main()
