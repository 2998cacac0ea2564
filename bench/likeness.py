"""What a thief of the exclusion list can make of one entry: the picture, as far as code, sketch and corners tell.

    python -m bench.likeness FOLDER [--plot likeness.png]

FOLDER holds pictures that the thief learns from. Tried on packaged pictures (`local/carriers.py`), which are not among
them, from cheap to dear: the code's signs put back into the cosine transform; each block as the sum of its sketch's
projections by their signs; a ridge regression from both to the pixels; and patches of the thief's own pictures around
the corners that look most alike. Results: docs/accuracy.md, "What is stored".
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.copies import LONGEST_SIDE, SUFFIXES
from optout.errors import PhotoUnreadable
from optout.fingerprint import Fingerprint
from optout.fingerprint.faces import find_faces
from optout.fingerprint.image import decode
from optout.fingerprint.keypoints import Keypoints, from_bytes, grey_of
from optout.fingerprint.pdq import _dct
from optout.fingerprint.sketch import BITS, BLOCKS, GRID, _projections
from optout.fingerprint.views import Views
from tests.pictures import picture

TRIED = ("astronaut.png", "obama.jpg", "biden.jpg", "chelsea.png", "coffee.png", "rocket.jpg")
STEPS = ("the picture, 64 x 64", "from its code", "from its sketch", "learnt from both", "patches at corners")
_SIDE = GRID // BLOCKS
_RIDGE = 30.0
_PATCH = 32
Grey = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Entry:
    """What is stored of a picture, and the picture, as the thief does not have it: 64 x 64 and 512 pixels, grey."""

    pdq: bytes
    keypoints: Keypoints
    small: Grey
    grey: NDArray[np.uint8]


def entry(rgb: NDArray[np.uint8]) -> Entry | None:
    """None when the picture is stored without corners."""
    views = Views(rgb)
    code = Fingerprint.of(_png(rgb), faces=False)
    if views.enrolled is None or code.pdq is None or code.plain:
        return None
    grey = grey_of(rgb)
    small = cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    return Entry(code.pdq, from_bytes(views.enrolled), small, grey)


def from_code(pdq: bytes) -> Grey:
    """The 256 signs as amplitudes that fall with the frequency."""
    signs = np.unpackbits(np.frombuffer(pdq, np.uint8))[::-1].reshape(16, 16) * 2.0 - 1
    row, column = np.mgrid[1:17, 1:17]
    return np.asarray(_dct().T @ (signs / np.hypot(row, column)).astype(np.float32) @ _dct(), dtype=np.float32)


def from_sketch(sketch: bytes) -> Grey:
    """Each block the sum of its projections with their signs: the best that is linear and knows no other picture."""
    blocks = _signs(sketch) @ np.linalg.pinv(_projections())
    blocks *= _structured(sketch)[:, None]
    return _joined(blocks.astype(np.float32))


def features(one: Entry) -> NDArray[np.float32]:
    """(64, n): for each block, what is stored of it and the eight around it, and what the code says of it."""
    around = np.hstack([_signs(one.keypoints.sketch), _structured(one.keypoints.sketch)[:, None]])
    padded = np.pad(around.reshape(BLOCKS, BLOCKS, -1), ((1, 1), (1, 1), (0, 0)))
    near = [padded[y : y + BLOCKS, x : x + BLOCKS].reshape(BLOCKS * BLOCKS, -1) for y in range(3) for x in range(3)]
    code = _split(from_code(one.pdq))
    return np.hstack([*near, code, np.ones((len(code), 1))]).astype(np.float32)


def learn(entries: list[Entry]) -> NDArray[np.float32]:
    """Ridge regression from `features` to the block's pixels, each picture with mean 0 and deviation 1."""
    known = np.vstack([features(one) for one in entries]).astype(np.float64)
    pixels = np.vstack([_split(_normal(one.small)) for one in entries]).astype(np.float64)
    square = known.T @ known + _RIDGE * np.eye(known.shape[1])
    return np.asarray(np.linalg.solve(square, known.T @ pixels), dtype=np.float32)


def patched(one: Entry, entries: list[Entry], ground: Grey) -> Grey:
    """On the learnt picture, enlarged, at each corner the patch of the thief's corner that is most like it."""
    known = np.vstack([other.keypoints.features.descriptors for other in entries])
    owner = np.repeat(np.arange(len(entries)), [len(other.keypoints.features) for other in entries])
    place = np.concatenate([np.arange(len(other.keypoints.features)) for other in entries])
    own = one.keypoints.features
    _, found = cv2.batchDistance(own.descriptors, known, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1)
    out = cv2.resize(ground, (one.keypoints.width, one.keypoints.height), interpolation=cv2.INTER_CUBIC)
    for at in np.argsort(-own.levels.astype(int), kind="stable"):
        other = entries[owner[found[at, 0]]]
        there = place[found[at, 0]]
        theirs = other.keypoints.features
        scale = 1.2 ** (int(own.levels[at]) - int(theirs.levels[there]))
        turn = (int(theirs.angles[there]) - int(own.angles[at])) * 360 / 256
        side = max(8, round(_PATCH * 1.2 ** int(own.levels[at])))
        x, y = (float(each) for each in theirs.points[there])
        turned = cv2.getRotationMatrix2D((x, y), turn, scale)
        turned[:, 2] += side / 2 - np.array([x, y])
        patch = cv2.warpAffine(other.grey, turned, (side, side), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        left, top = (round(float(each)) - side // 2 for each in own.points[at])
        box = slice(max(0, top), max(0, top + side)), slice(max(0, left), max(0, left + side))
        under = out[box]
        if not under.size:
            continue
        part = patch[max(0, -top) :, max(0, -left) :][: under.shape[0], : under.shape[1]]
        # The patch's own light and dark are another picture's: what is around it decides them.
        fitted = (part - part.mean()) / (part.std() + 1e-3) * max(0.25, float(under.std())) + float(under.mean())
        out[box] = 0.5 * under + 0.5 * fitted
    return np.asarray(out, dtype=np.float32)


def likeness(one: Grey, other: Grey) -> float:
    """Normalised cross-correlation: 1 for the same picture, 0 for what has nothing in common with it."""
    return float((_normal(one) * _normal(other)).mean())


def faces_alike(one: Grey, original: NDArray[np.uint8]) -> tuple[int, float | None]:
    """How many faces are found in the picture made, and the cosine of the likest to the original's first face."""
    made = _shown(cv2.resize(one, original.shape[::-1], interpolation=cv2.INTER_CUBIC))
    found, true = (find_faces(np.repeat(each[..., None], 3, axis=2)) for each in (made, original))
    if not found or not true:
        return len(found), None
    return len(found), max(float(face.embedding @ true[0].embedding) for face in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plot", type=Path, default=Path("likeness.png"))
    options = parser.parse_args()
    entries = []
    for path in sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        try:
            found = entry(_read(path.read_bytes()))
        except PhotoUnreadable:
            continue
        if found is not None:
            entries.append(found)
    weights = learn(entries)
    print(f"learnt from {len(entries)} pictures\n")
    print("| picture | " + " | ".join(STEPS[1:]) + " | faces found: cosine with the picture's |")
    print("|---" * (len(STEPS) + 1) + "|")
    rows: list[list[Grey]] = []
    for name in TRIED:
        own = entry(_read(picture(name)))
        if own is None:
            continue
        learnt = _joined(features(own) @ weights)
        made = [from_code(own.pdq), from_sketch(own.keypoints.sketch), learnt, patched(own, entries, learnt)]
        alike = [likeness(cv2.resize(each, (GRID, GRID), interpolation=cv2.INTER_AREA), own.small) for each in made]
        faces = [faces_alike(each, own.grey) for each in made]
        said = ", ".join(f"{count}: {'-' if cosine is None else f'{cosine:.2f}'}" for count, cosine in faces)
        print(f"| {name} | " + " | ".join(f"{each:.2f}" for each in alike) + f" | {said} |")
        rows.append([own.small, *made])
    _plot(rows, options.plot)
    print(f"\nPlot: {options.plot}")


def _plot(rows: list[list[Grey]], path: Path) -> None:
    cell, head = 200, 30
    sheet = Image.new("L", (len(STEPS) * cell, head + len(rows) * cell), 255)
    for column, title in enumerate(STEPS):
        ImageDraw.Draw(sheet).text((column * cell + 8, 8), title, fill=0, font_size=15)
    for row, made in enumerate(rows):
        for column, each in enumerate(made):
            shown = Image.fromarray(_shown(each)).resize((cell - 8, cell - 8), Image.Resampling.BICUBIC)
            sheet.paste(shown, (column * cell + 4, head + row * cell + 4))
    sheet.save(path)


def _read(data: bytes) -> NDArray[np.uint8]:
    image = Image.fromarray(decode(data).rgb)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(image)


def _png(rgb: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _normal(small: Grey) -> Grey:
    return np.asarray((small - small.mean()) / (small.std() + 1e-6), dtype=np.float32)


def _shown(small: Grey) -> NDArray[np.uint8]:
    return np.asarray((_normal(small) * 60 + 128).clip(0, 255).astype(np.uint8))


def _signs(sketch: bytes) -> NDArray[np.float64]:
    mask = BLOCKS * BLOCKS // 8
    return np.unpackbits(np.frombuffer(sketch, np.uint8, offset=mask)).reshape(-1, BITS) * 2.0 - 1


def _structured(sketch: bytes) -> NDArray[np.float64]:
    return np.unpackbits(np.frombuffer(sketch, np.uint8, BLOCKS * BLOCKS // 8)).astype(np.float64)


def _split(small: Grey) -> Grey:
    return small.reshape(BLOCKS, _SIDE, BLOCKS, _SIDE).transpose(0, 2, 1, 3).reshape(BLOCKS * BLOCKS, -1)


def _joined(blocks: Grey) -> Grey:
    return blocks.reshape(BLOCKS, BLOCKS, _SIDE, _SIDE).transpose(0, 2, 1, 3).reshape(GRID, GRID)


if __name__ == "__main__":
    main()
