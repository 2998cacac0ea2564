"""How much faces of a few photos are alike, without NumPy."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout.exclusions.face_rates import FACES_AGREE
from optout.fingerprint import FACE_MODEL, Fingerprint
from optout.likeness import alike, cosine, disagreeing, people
from optout.requests import Photo, SeenFace
from tests.pictures import picture


def photo(embedding: bytes | None, model: str = FACE_MODEL) -> Photo:
    faces = () if embedding is None else (SeenFace((0, 0, 9, 9), 0.9, embedding),)
    return Photo("t", "a" * 64, "b" * 64, 9, 9, 90, (), faces, model, None if embedding is None else 0)


def of(name: str) -> Photo:
    faces = Fingerprint.of(picture(name)).faces
    assert faces is not None
    return photo(faces[0].embedding.astype("<f4").tobytes())


@given(st.integers(0, 2**32 - 1))
def test_the_cosine_is_that_of_numpy(seed: int) -> None:
    one, other = np.random.default_rng(seed).normal(size=(2, 128)).astype("<f4")
    one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    assert cosine(one.tobytes(), other.tobytes()) == pytest.approx(float(one @ other), abs=1e-5)


def test_photos_of_one_person_agree_and_one_of_somebody_else_is_pointed_out() -> None:
    one, two, three, stranger = map(of, ("obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg"))
    assert disagreeing([one, two, three]) == []
    assert disagreeing([one, stranger, two]) == [(1, 2), (2, 3)]
    assert people([one, two, three]) == 1
    assert people([one, stranger, two]) == 2
    assert people([]) == 0


def test_photos_without_a_chosen_face_or_of_another_model_say_nothing() -> None:
    one, stranger = of("obama.jpg"), of("biden.jpg")
    assert disagreeing([one, photo(None), replace(stranger, chosen_face=None)]) == []
    assert disagreeing([one, replace(stranger, face_model="another")]) == []


def test_faces_alike_by_way_of_another_are_one_person() -> None:
    angle = 0.9 * np.arccos(FACES_AGREE)
    around = np.zeros((3, 128), dtype="<f4")
    for number, vector in enumerate(around):
        vector[:2] = np.cos(number * angle), np.sin(number * angle)
    first, between, last = (photo(vector.tobytes()) for vector in around)
    assert people([first, last]) == 2
    assert people([first, last, between]) == 1


def test_two_cases_show_the_same_face_or_cannot_be_compared() -> None:
    one, two, stranger = of("obama.jpg"), of("obama2.jpg"), of("biden.jpg")
    assert alike([one], [stranger, two]) is True
    assert alike([one, two], [stranger]) is False
    assert alike([one], []) is None
    assert alike([one], [replace(two, face_model="another")]) is None


def test_it_needs_no_numpy() -> None:
    script = "import optout.likeness, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0  # noqa: S603  our own words
