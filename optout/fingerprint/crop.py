"""Which part of an upload is the picture, when the upload is a screenshot, a page or a frame around one.

What is proposed to its requester must be right nearly always, so a box is proposed only where its edges look made: page
of one colour outside of them, picture inside. Rates are in docs/accuracy.md, "Crops that are proposed".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optout.fingerprint.keypoints import shrunk
from optout.fingerprint.views import Box, rectangles, trimmed

# Larger pictures are looked at in this size: an edge is then placed to within a pixel of it.
_SIDE = 1024
# Of the whole. Less taken off is not worth a question; less left is an icon or an avatar.
_LARGEST, _SMALLEST = 0.93, 0.02
# A menu or a headline is longer than any picture.
_MOST_OBLONG = 4
# Pixels on either side of an edge that are compared; the one on it is neither page nor picture.
_BAND = 3
# Pixels of the page are this near to its colour, those of the picture further away (levels of 256).
_PAGE_LEVELS, _PICTURE_LEVELS = 6, 18
# Shares of page outside and of picture inside: of each edge, and of all by their lengths. Text beside a picture breaks
# the page, and a white sky the picture. One edge alone is a horizon, unless there is nothing but page behind it.
_PAGE_OF_EDGE, _PAGE_OF_ALL, _PAGE_OF_ONLY_EDGE = 0.2, 0.6, 0.9
_PICTURE_OF_EDGE, _PICTURE_OF_ALL = 0.3, 0.65
# Lines to either side that an edge may really lie at.
_NEARBY = 8
# Another box must be so much clearer to be preferred to a larger one.
_CLEARER = 0.03


def proposed_crop(rgb: NDArray[np.uint8]) -> Box | None:
    """The part of the picture to propose, in its pixels; None when it seems to be a picture as it is."""
    small = shrunk(rgb, _SIDE)
    height, width = small.shape[:2]
    boxes = rectangles(small)
    if (inner := trimmed(small)) is not None:
        x, y, across, down = inner
        within = small[y : y + down, x : x + across]
        boxes += [(x + left, y + top, wide, high) for left, top, wide, high in rectangles(within)]
        boxes.append(inner)
    best, clearest = None, 0.0
    for box in dict.fromkeys([*(_sharpened(small, box) for box in boxes), *boxes]):
        share = box[2] * box[3] / (width * height)
        if _SMALLEST < share < _LARGEST and max(box[2:]) <= _MOST_OBLONG * min(box[2:]):
            clear = _clear(small, box)
            if clear > clearest + _CLEARER:
                best, clearest = box, clear
    if best is None:
        return None
    across, down = rgb.shape[1] / width, rgb.shape[0] / height
    left, top = round(best[0] * across), round(best[1] * down)
    right, bottom = round((best[0] + best[2]) * across), round((best[1] + best[3]) * down)
    return left, top, right - left, bottom - top


def _sharpened(rgb: NDArray[np.uint8], box: Box) -> Box:
    """The box with each edge moved to the sharpest step nearby: text beside a picture hides where it ends."""
    x, y, across, down = box
    rows, columns = rgb[:, x : x + across], rgb[y : y + down].transpose(1, 0, 2)
    left, right = _steepest(columns, x), _steepest(columns, x + across)
    top, bottom = _steepest(rows, y), _steepest(rows, y + down)
    return (left, top, right - left, bottom - top) if right > left and bottom > top else box


def _steepest(lines: NDArray[np.uint8], edge: int) -> int:
    """Before which line, near the edge, the lines change most; the ends of the whole picture stay where they are."""
    if not _NEARBY < edge < len(lines) - _NEARBY:
        return edge
    near = lines[edge - _NEARBY - 1 : edge + _NEARBY + 1].astype(np.int16)
    steps = np.abs(np.diff(near, axis=0)).max(axis=2).mean(axis=1)
    return edge - _NEARBY + int(steps.argmax())


def _clear(rgb: NDArray[np.uint8], box: Box) -> float:
    """Which share of the box's edges has picture inside and page outside; 0 when it is too little to be made so."""
    x, y, across, down = box
    # Each side as the upper one of the picture turned accordingly.
    right, bottom = rgb.shape[1] - x - across, rgb.shape[0] - y - down
    upright, aside = rgb, rgb.transpose(1, 0, 2)
    sides = (
        (upright[:, x : x + across], y),
        (upright[::-1, x : x + across], bottom),
        (aside[:, y : y + down], x),
        (aside[::-1, y : y + down], right),
    )
    page, picture, lengths = [], [], []
    for lines, edge in sides:
        if edge < 2:
            continue  # the end of the whole picture, too
        outside = lines[max(0, edge - 1 - _BAND) : edge - 1].astype(np.int16)
        inside = lines[edge + 1 : edge + 1 + _BAND].astype(np.int16)
        colour = np.median(outside.reshape(-1, 3), axis=0)
        page.append(float((np.abs(outside - colour).max(axis=2) <= _PAGE_LEVELS).mean()))
        picture.append(float((np.abs(inside - colour).max(axis=2) > _PICTURE_LEVELS).mean()))
        lengths.append(lines.shape[1])
    if not lengths or min(page) < (_PAGE_OF_EDGE if len(lengths) > 1 else _PAGE_OF_ONLY_EDGE):
        return 0.0
    shown = float(np.average(picture, weights=lengths))
    if min(picture) < _PICTURE_OF_EDGE or shown < _PICTURE_OF_ALL:
        return 0.0
    return shown if np.average(page, weights=lengths) >= _PAGE_OF_ALL else 0.0
