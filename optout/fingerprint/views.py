"""Where in a picture another one may be shown: without its border, in a page, as a cell of a collage.

Boxes are (x, y, width, height) in pixels. Nothing here knows what is enrolled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from optout.fingerprint import keypoints
from optout.fingerprint.keypoints import Features, shrunk
from optout.fingerprint.pdq import PDQ_MIN_QUALITY, pdq_of_grids

Box: TypeAlias = tuple[int, int, int, int]

# Smaller boxes show too little to be told apart by.
MIN_BOX_SIDE = 32

# What is kept of a candidate: a picture that fills .4 of the width still has 300 pixels. Everything
# else is done at `keypoints.SIDE`.
KEPT_SIDE = 768
# Trimming less changes no corner's surroundings enough to look at the picture twice.
_WORTH_TRIMMING = 0.8

# A line of pixels belongs to the border when nearly all of it is near its own median; JPEG moves levels by about 10.
_BORDER_TOLERANCE = 14
_BORDER_SHARE = 0.985

# A page's pixels are mostly of one colour; a window of it counts as a picture when most of its pixels are not. Letters
# cover less than a third of a paragraph.
_PAGE_SHARE = 0.12
_INK_TOLERANCE = 18
_PICTURE_SHARE = 0.62
# Of the page, and of the box that surrounds what was found.
_SMALLEST, _LARGEST, _FILLED = 0.015, 0.93, 0.6
MAX_RECTANGLES = 2


@dataclass(frozen=True, eq=False)
class View:
    """A part of the candidate: its grey pixels, long side 512, and the corners in them and in their mirror image."""

    grey: NDArray[np.uint8]
    features: Features
    mirrored: Features


class Views:
    """What the search for copies needs of a candidate's pixels; each is computed when it is first asked for."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        self._rgb = shrunk(rgb, KEPT_SIDE)

    @cached_property
    def grey(self) -> NDArray[np.uint8]:
        """The whole picture, long side 512."""
        return keypoints.grey_of(self._rgb)

    @cached_property
    def enrolled(self) -> bytes | None:
        """What is stored of this picture when it is excluded; None when it has too few corners."""
        found = keypoints.find_keypoints(self.grey)
        return None if found is None else keypoints.to_bytes(found)

    @cached_property
    def codes(self) -> tuple[tuple[bytes, Box], ...]:
        """PDQ codes of the parts with enough structure, and where in `grey` these lie."""
        import cv2

        height, width = self.grey.shape
        to_grey = width / self._small.shape[1]
        inner = [tuple(round(side * to_grey) for side in box) for box in self._boxes]
        boxes = [*inner, *cells(width, height)]
        grids = [
            cv2.resize(self.grey[y : y + down, x : x + across], (64, 64), interpolation=cv2.INTER_AREA)
            for x, y, across, down in boxes
        ]
        if not grids:
            return ()
        codes = pdq_of_grids(np.stack(grids).astype(np.float32))
        return tuple(
            (code, box) for (code, quality), box in zip(codes, boxes, strict=True) if quality >= PDQ_MIN_QUALITY
        )

    @cached_property
    def all(self) -> tuple[View, ...]:
        """The picture, and the parts of it that may be another picture."""
        height, width = self._small.shape[:2]
        scale = self._rgb.shape[1] / width
        views = [self._view(self.grey)]
        for x, y, across, down in self._boxes:
            if across * down <= _WORTH_TRIMMING * width * height:
                left, top, right, bottom = (round(side * scale) for side in (x, y, x + across, y + down))
                views.append(self._view(keypoints.grey_of(self._rgb[top:bottom, left:right])))
        return tuple(views)

    @staticmethod
    def _view(grey: NDArray[np.uint8]) -> View:
        return View(grey, *keypoints.find_features(grey))

    @cached_property
    def _small(self) -> NDArray[np.uint8]:
        return shrunk(self._rgb, keypoints.SIDE)

    @cached_property
    def _boxes(self) -> tuple[Box, ...]:
        inner = trimmed(self._small)
        return (() if inner is None else (inner,)) + tuple(rectangles(self._small))


def trimmed(rgb: NDArray[np.uint8]) -> Box | None:
    """The picture without borders of one colour each; None when it has none, or nothing is left."""
    height, width = rgb.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    while top < bottom - MIN_BOX_SIDE and _even(rgb[top, left:right]):
        top += 1
    while bottom > top + MIN_BOX_SIDE and _even(rgb[bottom - 1, left:right]):
        bottom -= 1
    while left < right - MIN_BOX_SIDE and _even(rgb[top:bottom, left]):
        left += 1
    while right > left + MIN_BOX_SIDE and _even(rgb[top:bottom, right - 1]):
        right -= 1
    if (left, top, right, bottom) == (0, 0, width, height) or min(right - left, bottom - top) <= MIN_BOX_SIDE:
        return None
    return left, top, right - left, bottom - top


def _even(line: NDArray[np.uint8]) -> bool:
    levels = line.astype(np.int16)
    return bool((np.abs(levels - np.median(levels, axis=0)).max(axis=1) <= _BORDER_TOLERANCE).mean() >= _BORDER_SHARE)


def rectangles(rgb: NDArray[np.uint8]) -> list[Box]:
    """Pictures that lie on a page of one colour, the largest first, at most `MAX_RECTANGLES`."""
    import cv2

    height, width = rgb.shape[:2]
    # The page's colour: the most frequent one, in steps of 16.
    coarse = rgb[:: max(1, height // 128), :: max(1, width // 128)].astype(np.int32) >> 4
    names = (coarse[..., 0] << 8 | coarse[..., 1] << 4 | coarse[..., 2]).ravel()
    counts = np.bincount(names, minlength=4096)
    most = int(counts.argmax())
    if counts[most] < _PAGE_SHARE * len(names):
        return []
    exact = rgb[:: max(1, height // 128), :: max(1, width // 128)].reshape(-1, 3)[names == most]
    page = np.median(exact, axis=0)
    ink = (np.abs(rgb.astype(np.int16) - page.astype(np.int16)).max(axis=2) > _INK_TOLERANCE).astype(np.float32)
    window = max(9, max(height, width) // 28) | 1
    dense = (cv2.boxFilter(ink, -1, (window, window), borderType=cv2.BORDER_REFLECT) > _PICTURE_SHARE).astype(np.uint8)
    dense = cv2.morphologyEx(dense, cv2.MORPH_OPEN, np.ones((window, window), np.uint8))
    count, _, found, _ = cv2.connectedComponentsWithStats(dense)
    boxes: list[Box] = []
    for x, y, across, down, area in sorted(found[1:count].tolist(), key=lambda blob: -blob[4]):
        if area < _FILLED * across * down or not _SMALLEST < across * down / dense.size < _LARGEST:
            continue
        box = _grown(ink, (x, y, across, down), window)
        if min(box[2:]) >= MIN_BOX_SIDE:
            boxes.append(box)
    return boxes[:MAX_RECTANGLES]


def _grown(ink: NDArray[np.float32], box: Box, reach: int) -> Box:
    """The box moved to where the ink ends: a window that is half outside counts as outside already."""
    x, y, across, down = box
    inner_rows, inner_columns = (
        slice(y + down // 8, y + down - down // 8),
        slice(x + across // 8, x + across - across // 8),
    )
    left, top = max(0, x - reach), max(0, y - reach)
    right, bottom = min(ink.shape[1], x + across + reach), min(ink.shape[0], y + down + reach)
    columns = ink[inner_rows, left:right].mean(axis=0) > 0.4
    rows = ink[top:bottom, inner_columns].mean(axis=1) > 0.4
    x0, x1 = _run(columns, x + across // 2 - left)
    y0, y1 = _run(rows, y + down // 2 - top)
    return left + x0, top + y0, x1 - x0, y1 - y0


def _run(filled: NDArray[np.bool_], middle: int) -> tuple[int, int]:
    """First and after-last place of the unbroken run around the middle; gaps of 3 do not break it."""
    first = last = middle
    gap = 0
    for at in range(middle, -1, -1):
        gap = 0 if filled[at] else gap + 1
        if gap > 3:
            break
        if filled[at]:
            first = at
    gap = 0
    for at in range(middle, len(filled)):
        gap = 0 if filled[at] else gap + 1
        if gap > 3:
            break
        if filled[at]:
            last = at
    return first, last + 1


def cells(width: int, height: int) -> list[Box]:
    """Halves and quarters: where the pictures of a collage of two or four lie."""
    across, down = width // 2, height // 2
    boxes = [
        (0, 0, across, height),
        (width - across, 0, across, height),
        (0, 0, width, down),
        (0, height - down, width, down),
    ]
    boxes += [(x, y, across, down) for y in (0, height - down) for x in (0, width - across)]
    return [box for box in boxes if min(box[2:]) >= MIN_BOX_SIDE]
