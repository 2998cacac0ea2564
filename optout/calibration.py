"""How well faces are told apart in an operator's own photos: `optout faces calibrate FOLDER`.

FOLDER holds one folder for each person, with photos of that person: `FOLDER/anna/1.jpg`. Every pair of photos of one
person gives a genuine score, every pair of two people an impostor score; a score is the cosine of two embeddings.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optout.chart import Line, draw
from optout.errors import FacesOff, PhotoUnreadable
from optout.exclusions.face_rates import FACE_COSINE_PER_DECADE, FALSE_EXCLUSIONS_PER_MILLION, face_threshold
from optout.fingerprint.faces import Face, find_faces
from optout.fingerprint.image import MAX_BYTES, decode

# Impostor scores are counted in bins of 1e-4, so that ten thousand photos need no memory for their fifty million pairs.
_BINS = 20_000
_BLOCK = 1_024
# A rate is read off the scores while at least so many of them are above it, and extrapolated from there.
_ENOUGH = 10
_RESAMPLES = 200
# Thresholds nearer than this are the same: the intervals of the measurements are as wide.
_CLOSE = 0.02

Progress = Callable[[int, int], None]


@dataclass
class Labelled:
    """The photos that have a face: whose they are, which, and (n, 128) unit vectors. `seen` counts all that were read,
    `unreadable` names the files that are no photo."""

    people: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 128), dtype=np.float32))
    faces: list[Face] = field(default_factory=list)
    seen: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scores:
    """`genuine` are all scores of pairs of one person, `owners` whose each is. Impostor scores are counted in bins."""

    genuine: NDArray[np.float32]
    owners: NDArray[np.int64]
    bins: NDArray[np.int64]

    @property
    def impostors(self) -> int:
        """How many pairs of two people there are."""
        return int(self.bins.sum())

    def threshold_at(self, rate: float) -> float | None:
        """The cosine that the share `rate` of pairs of two people reaches; None when too few pairs were seen."""
        if rate * self.impostors < _ENOUGH:
            return None
        above = np.cumsum(self.bins[::-1])[::-1]
        place = int(np.argmax(above <= rate * self.impostors))
        return place / (_BINS / 2) - 1

    def false_rate(self, cosine: float) -> float:
        """The share of pairs of two people that reach this cosine."""
        return float(self.bins[_bin(cosine) :].sum()) / max(1, self.impostors)

    def recall(self, cosine: float) -> float:
        """The share of pairs of one person that reach this cosine."""
        return float((self.genuine >= cosine).mean()) if len(self.genuine) else math.nan

    def recall_interval(self, cosine: float) -> tuple[float, float]:
        """95 % of what `recall` would have been with other people: drawn again, person by person, since the pairs of
        one person are not independent."""
        people = np.unique(self.owners)
        if not len(people):
            return math.nan, math.nan
        places = np.searchsorted(people, self.owners)
        hits = np.bincount(places, self.genuine >= cosine, len(people))
        totals = np.bincount(places, minlength=len(people))
        drawn = np.random.default_rng(0).integers(0, len(people), (_RESAMPLES, len(people)))
        rates = hits[drawn].sum(1) / totals[drawn].sum(1)
        low, high = np.percentile(rates, [2.5, 97.5])
        return float(low), float(high)

    def tail(self) -> tuple[float, float] | None:
        """(a, b) of cosine = a + b * log10(1 / rate), fitted to the rarest tenth that can be measured; None when there
        are too few pairs."""
        last = _ENOUGH / max(1, self.impostors)
        if last >= 1e-3:
            return None
        rates = np.geomspace(1e-2, last, 12)
        cosines = [self.threshold_at(float(rate) * 1.0001) for rate in rates]
        known = [(-math.log10(rate), cosine) for rate, cosine in zip(rates, cosines, strict=True) if cosine is not None]
        slope, at_one = np.polyfit([x for x, _ in known], [y for _, y in known], 1)
        return float(at_one), float(slope)


def read(
    folder: Path,
    progress: Progress = lambda done, total: None,
    *,
    aliases: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
) -> Labelled:
    """The face nearest to the middle of every photo in the folder. `aliases` are other names of people, `skip` names of
    files that show somebody else than they say. Raises FacesOff."""
    paths = sorted(path for path in folder.glob("*/*") if path.is_file() and path.name not in skip)
    found = Labelled()
    vectors = []
    for done, path in enumerate(paths, 1):
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            face = nearest_to_the_middle(decode(data).rgb)
        except (PhotoUnreadable, OSError):
            found.unreadable.append(str(path))
            continue
        finally:
            progress(done, len(paths))
        found.seen += 1
        if face is not None:
            found.people.append((aliases or {}).get(path.parent.name, path.parent.name))
            found.files.append(str(path))
            found.faces.append(face)
            vectors.append(face.embedding)
    if vectors:
        found.vectors = np.stack(vectors)
    return found


def nearest_to_the_middle(rgb: NDArray[np.uint8]) -> Face | None:
    """Whom a photo is probably meant to show."""
    height, width = rgb.shape[:2]

    def away(face: Face) -> float:
        x, y, across, down = face.box
        return math.hypot(x + across / 2 - width / 2, y + down / 2 - height / 2)

    return min(find_faces(rgb), key=away, default=None)


def compare(people: Iterable[str], vectors: NDArray[np.float32]) -> Scores:
    """The scores of all pairs."""
    _, owner = np.unique(list(people), return_inverse=True)
    owner = owner.astype(np.int64)
    bins = np.zeros(_BINS + 1, dtype=np.int64)
    genuine, owners = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        cosines = vectors[rows] @ vectors[start:].T
        later = np.arange(cosines.shape[1]) > np.arange(cosines.shape[0])[:, None]
        same = owner[rows][:, None] == owner[start:]
        genuine.append(cosines[later & same])
        owners.append(np.broadcast_to(owner[rows][:, None], same.shape)[later & same])
        others = cosines[later & ~same]
        bins += np.bincount(_bin(others), minlength=_BINS + 1)
    return Scores(np.concatenate(genuine), np.concatenate(owners), bins)


def _bin(cosine: NDArray[np.float32] | float) -> NDArray[np.int64]:
    return np.clip(np.ceil((np.asarray(cosine, dtype=np.float64) + 1) * (_BINS / 2) - 1e-6), 0, _BINS).astype(np.int64)


@dataclass(frozen=True)
class Proposal:
    """A threshold for a list of `listed` photos that excludes the wanted share of strangers' faces. `measured` tells
    whether the photos show that rate themselves; otherwise it is extrapolated from their tail, or None."""

    listed: int
    pair_rate: float
    threshold: float | None
    measured: bool
    in_force: float
    recall: float
    recall_in_force: float


def propose(scores: Scores, listed: int, false_exclusions_per_million: float) -> Proposal:
    """What these photos say about the threshold of a list of so many photos, beside the one in force for it."""
    pair_rate = false_exclusions_per_million / 1e6 / listed
    threshold, measured, tail = scores.threshold_at(pair_rate), True, scores.tail()
    if threshold is None:
        measured = False
        threshold = None if tail is None else tail[0] + tail[1] * -math.log10(pair_rate)
    in_force = face_threshold(listed, false_exclusions_per_million)
    recall = math.nan if threshold is None else scores.recall(threshold)
    return Proposal(listed, pair_rate, threshold, measured, in_force, recall, scores.recall(in_force))


# --- the command ------------------------------------------------------------------------------------------------------


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """Put `faces calibrate` on the command line; returns where further `faces` commands go."""
    faces = commands.add_parser("faces", help="how well faces are told apart, and a change of their model")
    under = faces.add_subparsers(required=True, metavar="COMMAND")
    calibrate = under.add_parser(
        "calibrate", help="measure on labelled photos, FOLDER/person/photo.jpg, and propose a threshold"
    )
    calibrate.add_argument("folder", metavar="FOLDER", type=Path)
    calibrate.add_argument(
        "--false-exclusions-per-million", type=float, default=FALSE_EXCLUSIONS_PER_MILLION, metavar="NUMBER"
    )
    calibrate.add_argument("--listed", type=int, default=10_000, metavar="PHOTOS", help="enrolled photos in the list")
    calibrate.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves")
    calibrate.set_defaults(run=_run)
    return under


def _run(options: argparse.Namespace) -> int:
    if not (0 < options.false_exclusions_per_million <= 1e6 and options.listed > 0):
        sys.stderr.write("optout: the rate must be above 0 and at most 1,000,000, the list at least one photo.\n")
        return 2
    try:
        found = read(options.folder, _progress if sys.stderr.isatty() else lambda done, total: None)
    except FacesOff:
        sys.stderr.write("optout: faces cannot be looked at: install image-optout[faces].\n")
        return 1
    for path in found.unreadable:
        sys.stderr.write(f"optout: {path}: this cannot be read as a photo.\n")
    scores = compare(found.people, found.vectors)
    if not len(scores.genuine) or not scores.impostors:
        sys.stderr.write(
            "optout: that needs folders of at least two people, one of them with two photos that show a face.\n"
        )
        return 1
    sys.stdout.write("\n".join(_report(found, scores, options)) + "\n")
    if options.plot:
        plot(scores, options.plot)
    return 0


def _report(found: Labelled, scores: Scores, options: argparse.Namespace) -> list[str]:
    photos = f"{found.seen} photos, {len(found.people)} with a face, of {len(set(found.people))} people"
    lines = [
        f"{photos}: {len(scores.genuine)} pairs of one person, {scores.impostors} of two.",
        "",
        "cosine   strangers confused   recognised   95 % interval",
    ]
    for cosine in (0.35, 0.4, 0.45, 0.5, 0.55, 0.6):
        low, high = scores.recall_interval(cosine)
        confused = scores.false_rate(cosine)
        # Three over the number of tries is where the true rate stays below in 95 of 100 cases when none was seen.
        shown = f"{confused:.1e}" if confused else f"below {3 / scores.impostors:.0e}"
        lines.append(f"{cosine:.2f}     {shown:<20} {scores.recall(cosine):.3f}        {low:.3f} to {high:.3f}")
    proposal = propose(scores, options.listed, options.false_exclusions_per_million)
    wanted = f"{options.false_exclusions_per_million:g} false exclusions per million crawled faces"
    lines += [
        "",
        f"Wanted: {wanted}, {options.listed:,} photos in the list: {proposal.pair_rate:.1e} for each pair.",
        f"In force for that: cosine {proposal.in_force:.3f}, recognising {proposal.recall_in_force:.3f} of your pairs.",
    ]
    if proposal.threshold is None:
        lines.append(f"These photos are too few to propose a threshold: {scores.impostors} pairs of two people.")
    else:
        how = "measured" if proposal.measured else "extrapolated: too few pairs to show such a rate"
        lines.append(
            f"Your photos propose: cosine {proposal.threshold:.3f}, recognising {proposal.recall:.3f} ({how})."
        )
        lines.append(_advice(proposal, options.false_exclusions_per_million))
    return lines


def _advice(proposal: Proposal, wanted: float) -> str:
    off = (proposal.threshold or proposal.in_force) - proposal.in_force
    if abs(off) < _CLOSE:
        return "Both agree; nothing needs to be changed."
    if off < 0:
        return "The threshold in force is the more careful one. To exclude more, raise FalseExclusionsPerMillion."
    setting = wanted * 10 ** (-off / FACE_COSINE_PER_DECADE)
    return (
        f"Your photos show more look-alikes than the measurements the service relies on: to get what you want, set "
        f"FalseExclusionsPerMillion to {max(1.0, setting):.0f}."
    )


def plot(scores: Scores, path: Path) -> None:
    """Draw both curves: the share of pairs of one person and of two people that reach each cosine."""
    cosines = np.linspace(0.1, 0.8, 141)
    fit = scores.tail()
    lines = [
        Line("one person: recognised", [(c, scores.recall(c)) for c in cosines]),
        Line("two people: confused", [(c, scores.false_rate(c)) for c in cosines]),
    ]
    if fit is not None:
        points = [(c, 10 ** ((fit[0] - c) / fit[1])) for c in cosines if c > fit[0] + 2 * fit[1]]
        lines.append(Line("their fit", points, dashed=True))
    draw(path, "Pairs that reach a cosine", "cosine", "share of pairs", lines, log_x=False, log_y=True)


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    sys.stderr.write(f"\rphotos [{'#' * (30 * done // total):30}] {done}/{total}{end}")
    sys.stderr.flush()
