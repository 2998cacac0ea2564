"""How well and how fast people are told apart by their faces, on any folder `person/photo.jpg`.

    python -m bench.faces FOLDER [--robust 120] [--plots docs/plots]

Prints the tables of docs/accuracy.md and draws its plots. Rates that the folder is too small to show are extrapolated
and said to be. Files and names that LFW is known to have labelled wrongly are left out or joined.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

# One core, as in a small function.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from optout.calibration import Labelled, compare, nearest_to_the_middle, read
from optout.chart import Line, draw
from optout.exclusions.entry import FaceExclusion, State
from optout.exclusions.face_rates import face_threshold, false_share
from optout.exclusions.face_search import FaceIndex
from optout.exclusions.matcher import face_templates
from optout.fingerprint import faces as face_models
from optout.fingerprint.faces import FACE_MODEL
from optout.fingerprint.image import decode

# Two names of one person, and photos and people that are somebody else: found among the most alike pairs of LFW.
ALIASES = {
    "Brian_Williams": "Bison_Dele",
    "Sepp_Blatter": "Joseph_Blatter",
    "Hassan_Wirajuda": "Hasan_Wirayuda",
    "Wang_Nan": "Nan_Wang",
    "Virgina_Ruano_Pascal": "Ruano_Pascual",
    "Talisa_Soto": "Talisa_Bratt",
    "Uday_Hussein": "Odai_Hussein",
}
WRONG = {
    "Recep_Tayyip_Erdogan_0004.jpg",
    "Carlos_Ruckauf_0001.jpg",
    "Shavon_Earp_0001.jpg",
    "Nora_Bendijo_0001.jpg",
}
SHARES = (1e-3, 1e-4, 1e-5)
PER_MILLION = 1_000

Vectors = NDArray[np.float32]
Edit = Callable[[Image.Image], Image.Image]


def progress(what: str) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() or done in {1, total} or done % 50 == 0:
            bar = "#" * (30 * done // max(1, total))
            end = "\n" if done == total else ""
            print(f"\r{what:24} [{bar:30}] {done}/{total}", end=end, file=sys.stderr, flush=True)

    return show


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def rate(value: float) -> str:
    return f"{value:.3f}"


# --- one photo against one photo --------------------------------------------------------------------------------------


def pairs(found: Labelled, plots: Path) -> None:
    scores = compare(found.people, found.vectors)
    print(
        f"{found.seen} photos of {len(set(found.people))} people; a face found in "
        f"{len(found.people) / found.seen:.2%}; {len(scores.genuine)} pairs of one person, "
        f"{scores.impostors} of two.\n"
    )
    rows = []
    for share in SHARES:
        threshold = scores.threshold_at(share) or tail_quantile(found, share)
        low, high = scores.recall_interval(threshold)
        rows.append((f"{share:.0e}", rate(threshold), rate(scores.recall(threshold)), f"{low:.3f} to {high:.3f}"))
    table(("confused strangers", "cosine", "recognised", "95 % interval"), rows)
    cosines = np.linspace(0.2, 0.75, 111)
    draw(
        plots / "faces-roc.png",
        "One photo against one photo",
        "share of pairs of two people confused",
        "share of pairs of one person recognised, with the 95 % interval over people (dashed)",
        [
            Line("recognised", [(scores.false_rate(c), scores.recall(c)) for c in cosines]),
            Line("", [(scores.false_rate(c), scores.recall_interval(c)[0]) for c in cosines], dashed=True, colour=0),
            Line("", [(scores.false_rate(c), scores.recall_interval(c)[1]) for c in cosines], dashed=True, colour=0),
        ],
        log_x=True,
        log_y=False,
    )


def tail_quantile(found: Labelled, share: float) -> float:
    """The quantile itself where fewer than ten pairs are above it: rough, since it hangs on single pairs."""
    cosines, same = all_pairs(found.people, found.vectors)
    strangers = np.sort(cosines[~same])
    return float(strangers[-int(share * len(strangers)) - 1])


def all_pairs(people: Sequence[str], vectors: Vectors) -> tuple[Vectors, NDArray[np.bool_]]:
    names = np.array(people)
    first, second = np.triu_indices(len(vectors), 1)
    return (vectors @ vectors.T)[first, second], names[first] == names[second]


# --- one photo against a list -----------------------------------------------------------------------------------------


def growth(found: Labelled, plots: Path) -> None:
    """The share of strangers' faces that a list of n people excludes, against what `false_share` expects."""
    by_person = group(found.people)
    names = sorted(by_person)
    rng = np.random.default_rng(0)
    sizes = [size for size in (10, 30, 100, 200, 300, 1_000, 3_000, 10_000) if size <= 0.9 * len(names)]
    cosines = (0.40, 0.42, 0.45)
    hits: dict[tuple[int, float], list[float]] = defaultdict(list)
    for size in sizes:
        for _ in range(200 if size <= 300 else 20):
            order = rng.permutation(len(names))
            listed = [rng.choice(by_person[names[place]]) for place in order[:size]]
            strangers = [photo for place in order[size:] for photo in by_person[names[place]]]
            best = (found.vectors[strangers] @ found.vectors[listed].T).max(axis=1)
            for cosine in cosines:
                hits[size, cosine].append(float((best >= cosine).mean()))
    table(
        ("people listed", *(f"cosine {c:.2f}: measured / fit" for c in cosines)),
        [(size, *(f"{np.mean(hits[size, c]):.2e} / {false_share(size, c):.2e}" for c in cosines)) for size in sizes],
    )
    far = [10.0**power for power in np.linspace(1, 5, 33)]
    lines = [
        Line(f"{c:.2f} measured", [(n, float(np.mean(hits[n, c]))) for n in sizes], dots=True, colour=k)
        for k, c in enumerate(cosines)
    ]
    lines += [
        Line(f"{c:.2f} fit", [(n, false_share(round(n), c)) for n in far], dashed=True, colour=k)
        for k, c in enumerate(cosines)
    ]
    lines.append(
        Line("in force", [(n, false_share(round(n), face_threshold(round(n)))) for n in far], dashed=True, colour=6)
    )
    draw(
        plots / "faces-growth.png",
        "Strangers excluded by a growing list: measured (dots), fit and its extrapolation (dashed)",
        "people listed, one photo each",
        "share of strangers' faces excluded",
        lines,
        log_x=True,
        log_y=True,
    )


def group(people: Sequence[str]) -> dict[str, list[int]]:
    by_person: dict[str, list[int]] = defaultdict(list)
    for place, person in enumerate(people):
        by_person[person].append(place)
    return by_person


# --- several photos ---------------------------------------------------------------------------------------------------


def several(found: Labelled, plots: Path) -> None:
    by_person = group(found.people)
    # SFace gives no length to weigh by once vectors are of length 1; the detector's score is the best measure at hand.
    weight = np.array([max(0.01, face.score - 0.8) for face in found.faces])
    rows, lines = [], []
    for photos in (1, 2, 3, 4, 5):
        people = [person for person, places in by_person.items() if len(places) > photos]
        if len(people) < 20:
            print(f"{photos} photos: only {len(people)} people have one more than that: not measured.\n")
            continue
        ways = several_ways(found, by_person, people, photos, weight)
        for way, (genuine, strangers) in ways.items():
            if photos == 1 and way != "best of single photos":
                continue
            seen = np.sort(strangers)
            at = [float(seen[-int(share * len(seen)) - 1]) for share in (1e-4, 1e-5)]
            row: list[object] = [photos, way if photos > 1 else "-", len(people)]
            row += [f"{rate(float((genuine >= cosine).mean()))} ({cosine:.3f})" for cosine in at]
            for listed in (10_000, 100_000):
                threshold = face_threshold(listed * photos, PER_MILLION)
                row.append(f"{rate(float((genuine >= threshold).mean()))} ({threshold:.3f})")
            rows.append(row)
            if way == "mean" or photos == 1:
                sizes = np.geomspace(100, 1e5, 25)
                points = [(n, float((genuine >= face_threshold(round(n) * photos, PER_MILLION)).mean())) for n in sizes]
                lines.append(Line(f"{photos} photo{'s' * (photos > 1)}", points))
    table(
        (
            "photos",
            "put together by",
            "people",
            "recognised at 1e-4 (cosine)",
            "at 1e-5",
            "in a list of 10,000 people, default target",
            "of 100,000",
        ),
        rows,
    )
    draw(
        plots / "faces-photos.png",
        "Recognised at the default target, by number of photos (mean of vectors)",
        "people listed",
        "share of other photos of listed people that are excluded",
        lines,
        log_x=True,
        log_y=False,
    )


def several_ways(
    found: Labelled, by_person: dict[str, list[int]], people: Sequence[str], photos: int, weight: NDArray[np.float64]
) -> dict[str, tuple[Vectors, Vectors]]:
    rng = np.random.default_rng(0)
    scores: dict[str, tuple[list[Vectors], list[Vectors]]] = defaultdict(lambda: ([], []))
    for _ in range(8):
        for person in people:
            shuffled = rng.permutation(by_person[person])
            listed, probes = shuffled[:photos], shuffled[photos:]
            stranger = np.ones(len(found.vectors), dtype=bool)
            stranger[by_person[person]] = False
            vectors = found.vectors[listed]
            exclusion = FaceExclusion("-", tuple(v.tobytes() for v in vectors), FACE_MODEL, State.ACCEPTED)
            weighed = (vectors * weight[listed][:, None]).sum(axis=0)
            cosines = found.vectors @ vectors.T
            for way, score in {
                "best of single photos": cosines.max(axis=1),
                "mean": (found.vectors @ face_templates(exclusion).T).max(axis=1),
                "mean weighed by detector score": found.vectors @ (weighed / np.linalg.norm(weighed)),
            }.items():
                scores[way][0].append(score[probes])
                scores[way][1].append(score[stranger])
    return {way: (np.concatenate(genuine), np.concatenate(others)) for way, (genuine, others) in scores.items()}


def corroborated(found: Labelled) -> None:
    """Whether two photos of a person that are both a little like a face say more than their mean does: of those whose
    mean is in a review band, how many have both photos above its lower end, listed people and strangers."""
    by_person = group(found.people)
    people = [person for person, places in by_person.items() if len(places) > 2]
    rng = np.random.default_rng(0)
    means: tuple[list[Vectors], list[Vectors]] = ([], [])
    lesser: tuple[list[Vectors], list[Vectors]] = ([], [])
    for _ in range(8):
        for person in people:
            shuffled = rng.permutation(by_person[person])
            listed, probes = found.vectors[shuffled[:2]], shuffled[2:]
            stranger = np.ones(len(found.vectors), dtype=bool)
            stranger[by_person[person]] = False
            mean = found.vectors @ (listed.sum(axis=0) / np.linalg.norm(listed.sum(axis=0)))
            single = (found.vectors @ listed.T).min(axis=1)
            for who, places in enumerate((probes, stranger)):
                means[who].append(mean[places])
                lesser[who].append(single[places])
    (own, others), (own_lesser, others_lesser) = (tuple(map(np.concatenate, each)) for each in (means, lesser))
    ranked = np.sort(others)
    rows = []
    for low, high in ((1e-3, 1e-4), (1e-3, 1e-5), (1e-4, 1e-5)):
        start, end = (float(ranked[-int(share * len(ranked)) - 1]) for share in (low, high))
        row: list[object] = [f"{start:.3f} to {end:.3f} ({low:.0e} to {high:.0e})"]
        for mean, single in ((own, own_lesser), (others, others_lesser)):
            band = (mean >= start) & (mean < end)
            row += [int(band.sum()), rate(float((single[band] >= start).mean())) if band.any() else "-"]
        rows.append(row)
    table(("band of the mean", "theirs in it", "both photos", "strangers' in it", "both photos"), rows)


# --- what spoils a photo ----------------------------------------------------------------------------------------------


def scaled(factor: float) -> Edit:
    return lambda image: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
    )


def blurred(radius: float) -> Edit:
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius))


def recompressed(quality: int) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        return Image.open(io.BytesIO(out.getvalue())).convert("RGB")

    return edit


def darkened(image: Image.Image) -> Image.Image:
    return image.point([round(255 * (level / 255) ** 2.2) for level in range(256)] * 3)


def landmarks(image: Image.Image) -> NDArray[np.float64] | None:
    bgr = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
    rows = face_models._models().detect(bgr)
    return rows[0][4:14].reshape(5, 2).astype(np.float64) if rows else None


def masked(image: Image.Image) -> Image.Image:
    marks = landmarks(image)
    if marks is None:
        return image
    right_eye, left_eye, nose, right_mouth, left_mouth = marks
    mouth = (right_mouth + left_mouth) / 2
    across = (
        (left_mouth - right_mouth) / np.linalg.norm(left_mouth - right_mouth) * np.linalg.norm(left_eye - right_eye)
    )
    low = mouth + 1.2 * (mouth - nose)
    corners = [nose - 0.75 * across, nose + 0.75 * across, low + 0.55 * across, low - 0.55 * across]
    ImageDraw.Draw(edited := image.copy()).polygon([tuple(corner) for corner in corners], fill=(200, 215, 230))
    return edited


def in_sunglasses(image: Image.Image) -> Image.Image:
    marks = landmarks(image)
    if marks is None:
        return image
    apart = float(np.linalg.norm(marks[1] - marks[0]))
    pen = ImageDraw.Draw(edited := image.copy())
    for x, y in marks[:2]:
        pen.ellipse((x - 0.36 * apart, y - 0.26 * apart, x + 0.36 * apart, y + 0.26 * apart), fill=(15, 15, 15))
    pen.line([tuple(mark) for mark in marks[:2]], fill=(15, 15, 15), width=max(1, round(0.08 * apart)))
    return edited


EDITS: dict[str, Edit] = {
    "as it is": lambda image: image,
    "half as large": scaled(0.5),
    "a third as large": scaled(0.35),
    "blurred, 1 px": blurred(1),
    "blurred, 2 px": blurred(2),
    "blurred, 3 px": blurred(3),
    "JPEG quality 15": recompressed(15),
    "dark (gamma 2.2)": darkened,
    "turned 15 degrees": lambda image: image.rotate(15),
    "turned 25 degrees": lambda image: image.rotate(25),
    "turned 90 degrees": lambda image: image.rotate(90, expand=True),
    "mask drawn on": masked,
    "sunglasses drawn on": in_sunglasses,
}


def robustness(found: Labelled, count: int) -> None:
    by_person = group(found.people)
    several_photos = sorted(place for places in by_person.values() if len(places) > 1 for place in places)
    chosen = sorted(np.random.default_rng(0).permutation(several_photos)[:count])
    names = np.array(found.people)
    rows, show, done = [], progress("edits"), 0
    for name, edit in EDITS.items():
        hits, told, seen, width = [], 0, 0, []
        for place in chosen:
            with Image.open(found.files[place]) as opened:
                face = nearest_to_the_middle(np.asarray(edit(opened.convert("RGB"))))
            done += 1
            show(done, len(EDITS) * len(chosen))
            others = [other for other in by_person[names[place]] if other != place]
            if face is None:
                hits += [-1.0] * len(others)
                told += 1
                continue
            seen += 1
            width.append(face.box[2])
            told += bool(face.problems)
            hits += list(found.vectors[others] @ face.embedding)
        cosines = np.array(hits)
        rows.append(
            (
                name,
                f"{np.median(width):.0f} px" if width else "-",
                rate(seen / len(chosen)),
                *(rate(float((cosines >= cosine).mean())) for cosine in (0.45, 0.5, 0.566)),
                rate(told / len(chosen)),
            )
        )
    head = ("photo", "face width", "face found", "recognised at .45", "at .50", "at .566", "upload says what is wrong")
    table(head, rows)


# --- how fast ---------------------------------------------------------------------------------------------------------


def milliseconds(work: Callable[[], object], times: int = 9) -> str:
    spent = []
    for _ in range(times):
        start = time.process_time()
        work()
        spent.append((time.process_time() - start) * 1e3)
    return f"{np.median(spent):.2f}"


def speed(found: Labelled) -> None:
    data = Path(found.files[0]).read_bytes()
    bgr = np.ascontiguousarray(decode(data).rgb[:, :, ::-1])
    models = face_models._models()
    rows: list[tuple[str, str]] = [
        (f"decode a JPEG of {bgr.shape[1]} x {bgr.shape[0]}", milliseconds(lambda: decode(data))),
        ("find faces, one orientation", milliseconds(lambda: models.detect(bgr))),
        ("align, embed and judge one face", milliseconds(lambda: models.embed(bgr, models.detect(bgr)[0]))),
    ]
    for listed in (10_000, 100_000):
        vectors = np.random.default_rng(0).normal(size=(listed, 128)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        index = FaceIndex(128)
        for vector in vectors:
            index.add(vector)
        threshold = face_threshold(listed)
        single = milliseconds(lambda index=index, some=vectors[:1], at=threshold: index.within(some, at))
        hundred = float(milliseconds(lambda index=index, some=vectors[:100], at=threshold: index.within(some, at)))
        rows.append((f"search one face among {listed:,} people", single))
        rows.append(("the same in batches of 100, each face", f"{hundred / 100:.3f}"))
    table(("stage", "ms of processor time"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--robust", type=int, default=120, help="photos to spoil in each way; 0: none")
    parser.add_argument("--plots", type=Path, default=Path("docs/plots"))
    options = parser.parse_args()
    options.plots.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {FACE_MODEL}\n")
    found = read(options.folder, progress("photos"), aliases=ALIASES, skip=WRONG)
    if len(set(found.people)) < 2:
        sys.exit(f"{options.folder} must hold folders of at least two people.")
    pairs(found, options.plots)
    growth(found, options.plots)
    several(found, options.plots)
    corroborated(found)
    if options.robust:
        robustness(found, options.robust)
    speed(found)


if __name__ == "__main__":
    main()
