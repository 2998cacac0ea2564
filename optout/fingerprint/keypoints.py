"""Corners of a picture and what surrounds them: what is left of a picture that was cropped, framed or pasted somewhere.

ORB (Rublee et al., ICCV 2011), found by OpenCV on a grey picture with a long side of 512. It is blind to rotation; for
mirrored copies a query brings the descriptors of its mirror image too. Numbers with their measurements are in
docs/accuracy.md, "Copies"; weak edits are halves of a picture, collages, tilts, pasting onto a photo and the like.

Stored form, little-endian, at most 6,144 bytes:

    1 byte    KEYPOINTS_VERSION
    1 byte    bytes of a descriptor
    2 bytes   width of the grey picture, 2 bytes its height, 2 bytes number n of corners
    264 bytes sketch, see `optout.fingerprint.sketch`
    n times   x / 2, y / 2, angle in 256ths of a turn, level of the pyramid (a byte each), descriptor
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optout.fingerprint.sketch import SKETCH_BYTES, sketch_of

KEYPOINTS_VERSION = 1
# Long side of the grey picture that corners are found in; smaller ones are enlarged to it.
SIDE = 512
# 290 corners of 128 bits find more weak edits than the 165 of 256 bits that fit into the same 6 kB: .92 against .86 of
# 200 on 20 photos, without any hash. ORB's comparisons are sorted by how much they tell, so the first 128 are kept.
ENROLLED = 290
DESCRIPTOR_BYTES = 16
# As good as 800 within what 20 photos can tell (.93 and .91 of the weak edits), and a quarter cheaper.
QUERIED = 550
# Fewer say too little about a picture to be compared by: it is matched by its bytes and hash only.
MIN_KEYPOINTS = 24

_DETECTED = 1800
_FAST_THRESHOLD, _EDGE = 7, 15
# A query's corners must be clearer, which costs a quarter less; pictures with few such are looked at once more.
_QUERY_FAST_THRESHOLD, _QUERY_ENOUGH = 12, 1000
# 12 steps reach down to a seventh of the size, so that the corners of a half that was enlarged are
# found at the size they were enrolled at (8 levels: .70 of cut-off halves, 12: .80).
_LEVELS = 12
LEVEL_STEP = 1.2
# Corners are taken by their rank within one of 8 x 8 cells more than by their strength: a crop keeps its share of them.
# At .5 one more in twenty cut-off halves is lost, at .9 one more in twenty pasted pictures.
_CELLS, _EVENNESS = 8, 0.7
# Half of a query's corners are from this level on: those of a part that was enlarged to twice its size were enrolled
# three or four levels lower. By rank alone a fourth are: so .79 of ten weak edits of 20 photos are found, half .815.
_COARSE = 4

_HEADER = struct.Struct("<BBHHH")
PLACE_BYTES = 4
# What comes before the corners, and each of them. Both are whole words of four bytes, so that corners can be read in
# place.
HEAD_BYTES = _HEADER.size + SKETCH_BYTES
CORNER_BYTES = PLACE_BYTES + DESCRIPTOR_BYTES


@dataclass(frozen=True, eq=False)
class Features:
    """n corners: `points` (n, 2) in pixels, `angles` in 256ths of a turn, `levels` of the pyramid, `descriptors`."""

    points: NDArray[np.float32]
    angles: NDArray[np.uint8]
    levels: NDArray[np.uint8]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, eq=False)
class Keypoints:
    """What is enrolled of one picture: the size of its grey form, the corners in it, and its sketch."""

    width: int
    height: int
    features: Features
    sketch: bytes


def to_places(features: Features) -> NDArray[np.uint8]:
    """(n, `PLACE_BYTES`): x / 2, y / 2, angle and level of each corner, as they are stored."""
    at = np.rint(features.points / 2).clip(0, 255).astype(np.uint8)
    return np.hstack([at, features.angles[:, None], features.levels[:, None]])


def from_places(places: NDArray[np.uint8], descriptors: NDArray[np.uint8]) -> Features:
    """The corners that were stored so."""
    return Features(places[:, :2].astype(np.float32) * 2, places[:, 2], places[:, 3], descriptors)


def to_bytes(keypoints: Keypoints) -> bytes:
    """The stored form."""
    features = keypoints.features
    rows = np.hstack([to_places(features), features.descriptors])
    head = _HEADER.pack(KEYPOINTS_VERSION, DESCRIPTOR_BYTES, keypoints.width, keypoints.height, len(features))
    return head + keypoints.sketch + rows.tobytes()


def from_bytes(data: bytes) -> Keypoints:
    """The keypoints in their stored form. Raises ValueError when it is of another version or broken."""
    require_stored(np.frombuffer(data, np.uint8), np.array([len(data)]))
    _, _, width, height, _ = _HEADER.unpack_from(data)
    rows = np.frombuffer(data, np.uint8, offset=HEAD_BYTES).reshape(-1, CORNER_BYTES)
    features = from_places(rows[:, :PLACE_BYTES], np.ascontiguousarray(rows[:, PLACE_BYTES:]))
    return Keypoints(width, height, features, data[_HEADER.size : HEAD_BYTES])


def require_stored(stored: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
    """That `stored` is keypoints in their stored form, one after the other; `ends` says where each ends.

    Raises ValueError when some are of another version or broken.
    """
    begins = np.concatenate([[0], ends]).astype(np.int64)
    lengths = np.diff(begins)
    if begins[-1] != len(stored) or (len(ends) and int(lengths.min()) < HEAD_BYTES):
        raise ValueError("not keypoints of this version")
    heads = stored[begins[:-1, None] + np.arange(_HEADER.size)]
    counts = heads[:, -2:].astype(np.int64) @ (1, 256)
    of_this_version = heads[:, :2] == (KEYPOINTS_VERSION, DESCRIPTOR_BYTES)
    if not of_this_version.all() or (lengths != HEAD_BYTES + counts * CORNER_BYTES).any():
        raise ValueError("not keypoints of this version")


def shrunk(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture with a long side of at most `side`, each of its pixels the mean of what it covers."""
    cv2, _ = _orb()
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA))


def grey_of(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey picture that corners are found in, its long side `SIDE`, its short one 8 at least."""
    cv2, _ = _orb()
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    scale = SIDE / max(grey.shape)
    size = max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))


def find_keypoints(grey: NDArray[np.uint8]) -> Keypoints | None:
    """What to enrol; None when there are fewer than `MIN_KEYPOINTS` corners."""
    _, orb = _orb()
    features = _described(grey, _evenly(orb.detect(grey, None), grey, ENROLLED))
    if len(features) < MIN_KEYPOINTS:
        return None
    return Keypoints(grey.shape[1], grey.shape[0], features, sketch_of(grey))


def find_features(grey: NDArray[np.uint8]) -> tuple[Features, Features]:
    """The corners of the picture, and those of its mirror image: the same ones, seen from behind."""
    cv2, orb = _orb()
    found = _query_orb().detect(grey, None)
    if len(found) < _QUERY_ENOUGH:
        found = orb.detect(grey, None)
    coarse = _evenly([corner for corner in found if corner.octave >= _COARSE], grey, QUERIED // 2)
    fine = [corner for corner in found if corner.octave < _COARSE]
    chosen = _evenly(fine, grey, QUERIED - len(coarse)) + coarse
    last = grey.shape[1] - 1
    mirrored = [
        cv2.KeyPoint(
            last - corner.pt[0], corner.pt[1], corner.size, (180 - corner.angle) % 360, corner.response, corner.octave
        )
        for corner in chosen
    ]
    return _described(grey, chosen), _described(np.ascontiguousarray(grey[:, ::-1]), mirrored)


@cache
def _orb() -> tuple[Any, Any]:
    import cv2

    # More threads wait for each other longer than they work where another process keeps a core busy.
    cv2.setNumThreads(1)
    return cv2, _orb_from(cv2, _FAST_THRESHOLD)


@cache
def _query_orb() -> Any:
    cv2, _ = _orb()
    return _orb_from(cv2, _QUERY_FAST_THRESHOLD)


def _orb_from(cv2: Any, threshold: int) -> Any:
    return cv2.ORB.create(
        nfeatures=_DETECTED, scaleFactor=LEVEL_STEP, nlevels=_LEVELS, fastThreshold=threshold, edgeThreshold=_EDGE
    )


def _evenly(found: Sequence[Any], grey: NDArray[np.uint8], count: int) -> list[Any]:
    """At most `count` of the corners: strong ones, from all over the picture."""
    cv2, _ = _orb()
    if len(found) <= count:
        return list(found)
    points = cv2.KeyPoint.convert(found)
    strongest_first = -np.fromiter((corner.response for corner in found), np.float32, len(found))
    height, width = grey.shape
    cell = (points[:, 1] * _CELLS // height).astype(int) * _CELLS + (points[:, 0] * _CELLS // width).astype(int)
    order = np.lexsort((strongest_first, cell))
    begins = np.searchsorted(cell[order], np.arange(_CELLS * _CELLS))
    in_cell, overall = np.empty(len(found), dtype=int), np.empty(len(found), dtype=int)
    in_cell[order] = np.arange(len(found)) - begins[cell[order]]
    overall[np.argsort(strongest_first, kind="stable")] = np.arange(len(found))
    rank = in_cell * (_CELLS * _CELLS) * _EVENNESS + overall * (1 - _EVENNESS)
    return [found[index] for index in np.argsort(rank, kind="stable")[:count]]


def _described(grey: NDArray[np.uint8], corners: list[Any]) -> Features:
    cv2, orb = _orb()
    kept, descriptors = orb.compute(grey, corners) if corners else ((), None)
    if descriptors is None:
        kept, descriptors = (), np.zeros((0, DESCRIPTOR_BYTES), dtype=np.uint8)
    turns = np.fromiter((corner.angle for corner in kept), np.float32, len(kept)) * np.float32(256 / 360)
    return Features(
        np.asarray(cv2.KeyPoint.convert(kept), np.float32).reshape(-1, 2),
        (np.rint(turns).astype(int) & 255).astype(np.uint8),
        np.fromiter((corner.octave for corner in kept), np.uint8, len(kept)),
        np.ascontiguousarray(descriptors[:, :DESCRIPTOR_BYTES]),
    )
