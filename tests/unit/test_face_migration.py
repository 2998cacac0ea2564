"""What a change of the face model asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from optout.exclusions.entry import FaceExclusion, State
from optout.exclusions.matcher import ExclusionList
from optout.face_migration import Need, need
from optout.fingerprint import FACE_MODEL, Fingerprint
from optout.requests import Answers, Kind, OptOutRequest, Photo, SeenFace, Status

CASE = OptOutRequest(
    id="c" * 22,
    number="K7MQ-29XD",
    kind=Kind.FACE,
    status=Status.ACCEPTED,
    version=3,
    answers=Answers("DE", "because", "Ada", "Lovelace", "ada@people.example", biometric_consent="I agree"),
    email_hash="hash",
    created_at=datetime(2026, 11, 24, tzinfo=UTC),
)
OLD = Photo("t", "a" * 64, "b" * 64, 9, 9, 90, (), (SeenFace((0, 0, 9, 9), 0.9, bytes(512)),), "old-model", 0)
NEW = replace(OLD, face_model=FACE_MODEL)


@pytest.mark.parametrize(
    ("case", "photos", "expected"),
    [
        (CASE, [NEW], Need.NOTHING),
        (CASE, [OLD], Need.MEASURE_AGAIN),
        (CASE, [NEW, OLD], Need.MEASURE_AGAIN),
        (CASE, [NEW, replace(OLD, chosen_face=None, faces=())], Need.NOTHING),
        (CASE, [], Need.NEW_PHOTO),
        (replace(CASE, status=Status.PENDING), [OLD], Need.MEASURE_AGAIN),
        (replace(CASE, status=Status.WITHDRAWN), [OLD], Need.NOTHING),
        (replace(CASE, kind=Kind.IMAGE), [], Need.NOTHING),
    ],
)
def test_a_case_is_measured_again_as_long_as_its_photos_are_kept(
    case: OptOutRequest, photos: list[Photo], expected: Need
) -> None:
    assert need(case, photos, FACE_MODEL) is expected


def test_while_a_face_of_another_model_is_listed_nothing_slips_through() -> None:
    excluded = ExclusionList()
    excluded.add(FaceExclusion("person-1", (bytes(512),), "old-model", State.ACCEPTED))
    looked = excluded.check(Fingerprint(faces=()))
    assert (looked.verdict, looked.reason) == ("defer", "model_mismatch")
    excluded.remove("person-1")
    assert excluded.check(Fingerprint(faces=())).verdict == "allow"
