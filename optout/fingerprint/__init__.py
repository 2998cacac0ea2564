"""A picture's fingerprint: everything a lookup needs to know about it, and nothing that shows it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from optout.errors import FacesOff, PhotoUnreadable, RequestInvalid
from optout.fingerprint.faces import FACE_DIMENSIONS, FACE_MODEL, Face, find_faces
from optout.fingerprint.image import PHOTO_PROBLEMS, Picture, decode, reencode
from optout.fingerprint.pdq import PDQ_MIN_QUALITY, PDQ_RADIUS, pdq_hashes

if TYPE_CHECKING:
    from optout.fingerprint.views import Views

__all__ = [
    "FACE_MODEL",
    "FINGERPRINT_VERSION",
    "PDQ_MIN_QUALITY",
    "PDQ_RADIUS",
    "PHOTO_PROBLEMS",
    "Face",
    "Fingerprint",
    "PhotoUnreadable",
    "Picture",
    "decode",
    "reencode",
]

# Changes whenever the same picture would get other signals. Lookups answer `allow` for the current one only.
FINGERPRINT_VERSION = "1"


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Signals of one picture; what is None was not looked at, what is empty was looked at and is not there.

    `sha256` (hex) is of the bytes as published. `pdq` is 32 bytes with `quality` 0-100; `dihedral` holds the hashes of
    all eight orientations, the picture's own first, and is empty when only the hash itself was given. `width` and
    `height` are the upright picture's. `views` holds small pixels to find cropped, framed and pasted copies by; None
    when only signals were given. `rendition` says that the bytes may be those of a smaller copy: a listed file is known
    by `sha256` all the same, but that they are none of those says nothing about the original.
    """

    sha256: str | None = None
    pdq: bytes | None = None
    quality: int | None = None
    dihedral: tuple[bytes, ...] = ()
    faces: tuple[Face, ...] | None = None
    width: int | None = None
    height: int | None = None
    version: str = FINGERPRINT_VERSION
    views: Views | None = field(default=None, repr=False)
    rendition: bool = False

    @property
    def plain(self) -> bool:
        """Too little structure for PDQ: such pictures are told apart by their bytes only."""
        return self.quality is not None and self.quality < PDQ_MIN_QUALITY

    @property
    def codes(self) -> tuple[bytes, ...]:
        """The codes to enrol this picture by: all eight orientations, none when it is too plain."""
        return () if self.plain else self.dihedral

    @property
    def keypoints(self) -> bytes | None:
        """What to enrol this picture's corners by (`optout.fingerprint.keypoints`); None when it has too few of them.

        Also None when it is too plain for PDQ: its requester and reviewer are told that only its bytes are recognised.
        """
        return None if self.views is None or self.plain else self.views.enrolled

    @classmethod
    def of(cls, data: bytes, *, faces: bool = True) -> Fingerprint:
        """The fingerprint of a picture file's bytes. `.faces` is None when not wanted or the face models are off.

        Raises PhotoUnreadable.
        """
        return cls.of_picture(decode(data), hashlib.sha256(data).hexdigest(), faces=faces)

    @classmethod
    def of_picture(cls, picture: Picture, sha256: str | None, *, faces: bool = True) -> Fingerprint:
        """The same for a decoded picture; `sha256` is of its original bytes, None when they are not at hand."""
        dihedral, quality = pdq_hashes(picture.rgb)
        return cls(
            sha256=sha256,
            pdq=dihedral[0],
            quality=quality,
            dihedral=dihedral,
            faces=_faces(picture) if faces else None,
            width=picture.width,
            height=picture.height,
            views=_views(picture),
        )

    @classmethod
    def from_signals(
        cls,
        *,
        sha256: str | None = None,
        pdq: str | None = None,
        quality: int | None = None,
        faces: Sequence[Sequence[float]] | None = None,
        version: str = FINGERPRINT_VERSION,
    ) -> Fingerprint:
        """A fingerprint from signals computed elsewhere: hex hashes and face vectors of 128 numbers each.

        Raises RequestInvalid, its fields named as the arguments are; `faces.2` is the third vector.
        """
        problems: dict[str, str] = {}
        if sha256 is not None and not _is_hex_hash(sha256):
            problems["sha256"] = "not_64_hex_digits"
        if pdq is not None and not _is_hex_hash(pdq):
            problems["pdq"] = "not_64_hex_digits"
        if quality is not None and not (_is_int(quality) and 0 <= quality <= 100):
            problems["quality"] = "not_0_to_100"
        if faces is not None and not isinstance(faces, (list, tuple)):
            problems["faces"] = "not_a_list"
            faces = None
        found = None if faces is None else [_given_face(index, vector, problems) for index, vector in enumerate(faces)]
        if problems:
            raise RequestInvalid(problems)
        return cls(
            sha256=sha256.lower() if sha256 is not None else None,
            pdq=bytes.fromhex(pdq) if pdq is not None else None,
            quality=quality,
            faces=None if found is None else tuple(face for face in found if face is not None),
            version=version,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; an embedding is base64 of 128 little-endian float32."""
        return {
            "version": self.version,
            "sha256": self.sha256,
            "pdq": self.pdq.hex() if self.pdq is not None else None,
            "quality": self.quality,
            "dihedral": [code.hex() for code in self.dihedral],
            "width": self.width,
            "height": self.height,
            "face_model": FACE_MODEL if self.faces is not None else None,
            "faces": None
            if self.faces is None
            else [
                {
                    "box": list(face.box),
                    "score": round(face.score, 4),
                    "too_small": face.too_small,
                    "embedding": base64.b64encode(face.embedding.astype("<f4").tobytes()).decode(),
                }
                for face in self.faces
            ],
        }


def _views(picture: Picture) -> Views | None:
    if find_spec("cv2") is None:
        return None
    from optout.fingerprint.views import Views

    return Views(picture.rgb)


def _faces(picture: Picture) -> tuple[Face, ...] | None:
    try:
        found = find_faces(picture.rgb)
    except FacesOff:
        return None
    across, down = picture.width / picture.rgb.shape[1], picture.height / picture.rgb.shape[0]
    if across == down == 1:
        return found
    return tuple(replace(face, box=_scale(face.box, across, down)) for face in found)


def _scale(box: tuple[int, int, int, int], across: float, down: float) -> tuple[int, int, int, int]:
    x, y, width, height = box
    return round(x * across), round(y * down), round(width * across), round(height * down)


def _is_hex_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{64}", value) is not None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _given_face(index: int, vector: Sequence[float], problems: dict[str, str]) -> Face | None:
    try:
        embedding = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        embedding = np.empty(0)
    if embedding.shape != (FACE_DIMENSIONS,):
        problems[f"faces.{index}"] = "not_128_numbers"
        return None
    length = float(np.linalg.norm(embedding))
    if not np.isfinite(length) or length < 1e-6:
        problems[f"faces.{index}"] = "not_a_direction"
        return None
    return Face(box=(0, 0, 0, 0), score=0.0, embedding=(embedding / length).astype(np.float32))
