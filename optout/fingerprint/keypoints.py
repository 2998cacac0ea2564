"""Corners of a picture and what surrounds them: what is left of a picture that was cropped, framed or pasted somewhere.

ORB (Rublee et al., ICCV 2011), found by OpenCV on a grey picture with a long side of 512. It is blind to rotation; for
mirrored copies a query brings the descriptors of its mirrored self too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optout.fingerprint.sketch import SKETCH_BYTES, sketch_of

KEYPOINTS_VERSION = 1
SIDE = 512
ENROLLED = 290
QUERIED = 550
DESCRIPTOR_BYTES = 16
MIN_KEYPOINTS = 24
_DETECTED = 1800
_FAST_THRESHOLD, _EDGE = 7, 15
_CELLS = 8


@dataclass(frozen=True, eq=False)
class Features:
    points: NDArray[np.float32]
    angles: NDArray[np.uint8]
    levels: NDArray[np.uint8]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, eq=False)
class Keypoints:
    """What is enrolled of one picture."""

    width: int
    height: int
    features: Features
    sketch: bytes


_HEADER = struct.Struct("<BBHHH")


def to_bytes(keypoints: Keypoints) -> bytes:
    features = keypoints.features
    at = np.rint(features.points / 2).clip(0, 255).astype(np.uint8)
    rows = np.hstack([at, features.angles[:, None], features.levels[:, None], features.descriptors])
    head = _HEADER.pack(KEYPOINTS_VERSION, DESCRIPTOR_BYTES, keypoints.width, keypoints.height, len(features))
    return head + keypoints.sketch + rows.tobytes()


def from_bytes(data: bytes) -> Keypoints:
    version, size, width, height, count = _HEADER.unpack_from(data)
    at = _HEADER.size + SKETCH_BYTES
    if version != KEYPOINTS_VERSION or size != DESCRIPTOR_BYTES or len(data) != at + count * (4 + size):
        raise ValueError("not keypoints of this version")
    rows = np.frombuffer(data, np.uint8, offset=at).reshape(count, 4 + size)
    features = Features(rows[:, :2].astype(np.float32) * 2, rows[:, 2].copy(), rows[:, 3].copy(), rows[:, 4:].copy())
    return Keypoints(width, height, features, data[_HEADER.size : at])


def shrunk(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture with a long side of at most `side`, each of its pixels the mean of what it covers."""
    cv2, _ = _orb()
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA))


def grey_of(rgb: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    cv2, _ = _orb()
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    scale = side / max(grey.shape)
    if scale == 1:
        return grey
    size = max(8, round(grey.shape[1] * scale)), max(8, round(grey.shape[0] * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def find_keypoints(grey: NDArray[np.uint8]) -> Keypoints | None:
    features = _described(grey, _chosen(grey, ENROLLED))
    if len(features) < MIN_KEYPOINTS:
        return None
    return Keypoints(grey.shape[1], grey.shape[0], features, sketch_of(grey))


def find_features(grey: NDArray[np.uint8], count: int = 0) -> tuple[Features, Features]:
    """Of the picture and of its mirror image, whose points are the mirrored ones."""
    cv2, _ = _orb()
    chosen = _chosen(grey, count or QUERIED)
    plain = _described(grey, chosen)
    width = grey.shape[1]
    mirrored = [
        cv2.KeyPoint(width - 1 - point.pt[0], point.pt[1], point.size, (180 - point.angle) % 360, point.response, point.octave)
        for point in chosen
    ]
    return plain, _described(np.ascontiguousarray(grey[:, ::-1]), mirrored)


@cache
def _orb() -> tuple[Any, Any]:
    import cv2

    cv2.setNumThreads(1)
    return cv2, cv2.ORB_create(nfeatures=_DETECTED, fastThreshold=_FAST_THRESHOLD, edgeThreshold=_EDGE, nlevels=LEVELS)
LEVELS=12


def _chosen(grey: NDArray[np.uint8], count: int) -> list[Any]:
    """The strongest corners of every part of the picture in turn, so that a crop keeps its share of them."""
    _, orb = _orb()
    found = orb.detect(grey, None)
    if len(found) <= count:
        return list(found)
    rows = np.array([(point.pt[0], point.pt[1], point.response, point.octave) for point in found], dtype=np.float32)
    height, width = grey.shape
    cell = (rows[:, 1] * _CELLS // height).astype(int) * _CELLS + (rows[:, 0] * _CELLS // width).astype(int)
    order = np.lexsort((-rows[:, 2], cell))
    starts = np.searchsorted(cell[order], np.arange(_CELLS * _CELLS))
    rank = np.empty(len(found), dtype=int)
    rank[order] = np.arange(len(found)) - starts[cell[order]]
    strength = np.empty(len(found), dtype=int)
    strength[np.argsort(-rows[:, 2])] = np.arange(len(found))
    best = np.argsort(rank * (_CELLS * _CELLS) * BALANCE + strength * (1 - BALANCE), kind="stable")[:count]
    return [found[index] for index in best]

BALANCE = 0.7

def _described(grey: NDArray[np.uint8], points: list[Any]) -> Features:
    _, orb = _orb()
    if points:
        kept, descriptors = orb.compute(grey, points)
    if not points or descriptors is None:
        return Features(np.zeros((0, 2), np.float32), np.zeros(0, np.uint8), np.zeros(0, np.uint8), np.zeros((0, DESCRIPTOR_BYTES), np.uint8))
    rows = np.array([(point.pt[0], point.pt[1], point.angle * 256 / 360, point.octave) for point in kept], np.float32)
    return Features(
        np.ascontiguousarray(rows[:, :2]),
        (np.rint(rows[:, 2]).astype(int) & 255).astype(np.uint8),
        rows[:, 3].astype(np.uint8),
        np.ascontiguousarray(descriptors[:, :DESCRIPTOR_BYTES]),
    )
