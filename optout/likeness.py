"""How much faces of a few photos are alike, for pages: pure Python, since page functions start without NumPy.

A comparison takes 10 microseconds; lists are searched by `optout.exclusions.face_search`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import combinations

from optout.exclusions.face_rates import FACES_AGREE
from optout.requests import Photo


def cosine(one: bytes, other: bytes) -> float:
    """Of two embeddings, each 128 little-endian float32 of length 1."""
    pairs = zip(struct.unpack("<128f", one), struct.unpack("<128f", other), strict=True)
    return float(sum(a * b for a, b in pairs))


def disagreeing(photos: Sequence[Photo]) -> list[tuple[int, int]]:
    """Pairs of photos, by their number from 1, whose chosen faces do not look like one person's."""
    own = [(number, photo.own_face, photo.face_model) for number, photo in enumerate(photos, 1)]
    return [
        (first, second)
        for (first, one, model), (second, other, other_model) in combinations(own, 2)
        if one is not None
        and other is not None
        and model == other_model
        and cosine(one.embedding, other.embedding) < FACES_AGREE
    ]


def alike(photos: Sequence[Photo], others: Sequence[Photo]) -> bool | None:
    """Whether some chosen face of one case is that of some photo of another; None when they cannot be compared."""
    own = [(photo.own_face, photo.face_model) for photo in photos if photo.own_face is not None]
    theirs = [(photo.own_face, photo.face_model) for photo in others if photo.own_face is not None]
    cosines = [
        cosine(one.embedding, other.embedding)
        for one, model in own
        for other, other_model in theirs
        if one is not None and other is not None and model == other_model
    ]
    return max(cosines) >= FACES_AGREE if cosines else None


def people(photos: Sequence[Photo]) -> int:
    """How many different people the chosen faces of these photos show at least: faces that are alike, directly or by
    way of another, count as one."""
    known: list[list[bytes]] = []
    for photo in photos:
        face = photo.own_face
        if face is None:
            continue
        near = [group for group in known if any(cosine(face.embedding, other) >= FACES_AGREE for other in group)]
        known = [group for group in known if group not in near]
        known.append([face.embedding, *(embedding for group in near for embedding in group)])
    return len(known)
