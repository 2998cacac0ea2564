"""What is seen on a picture."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from optout.errors import PhotoUnreadable
from optout.examination import look_at
from optout.fingerprint import FACE_MODEL, Fingerprint, faces
from optout.fingerprint.image import MAX_BYTES, REVIEW_SIDE
from optout.fingerprint.pdq import distance
from optout.requests import Kind
from optout.store import MAX_UPLOAD_BYTES
from tests.pictures import beside, picture, screenshot


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_a_photo_is_known_by_what_was_uploaded_and_by_the_copy_that_is_kept() -> None:
    data = picture("obama.jpg")
    photo, (copy,) = look_at(data, "ticket", Kind.FACE)
    assert photo.ticket == "ticket"
    assert photo.sha256 == hashlib.sha256(data).hexdigest()
    assert photo.picture == hashlib.sha256(copy).hexdigest()
    assert (photo.width, photo.height) == opened(copy).size
    assert photo.dihedral == Fingerprint.of(data).dihedral
    assert photo.face_model == FACE_MODEL


def test_the_copy_has_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif[0x0112] = 6
    out = io.BytesIO()
    opened(picture("chelsea.png")).save(out, "JPEG", exif=exif, comment=b"a comment")
    _, (copy,) = look_at(out.getvalue(), "ticket", Kind.LINKS)
    kept = Image.open(io.BytesIO(copy))
    assert not kept.getexif()
    assert "comment" not in kept.info
    assert b"A camera" not in copy


def test_one_face_is_chosen_by_itself_and_of_two_none_is() -> None:
    one, _ = look_at(picture("obama.jpg"), "ticket", Kind.FACE)
    assert one.faces is not None
    assert len(one.faces) == 1
    assert one.chosen_face == 0
    left, right = opened(picture("obama.jpg")), opened(picture("biden.jpg"))
    both = Image.new("RGB", (left.width + right.width, max(left.height, right.height)))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    two, _ = look_at(png(both), "ticket", Kind.FACE)
    assert two.faces is not None
    assert len(two.faces) == 2
    assert two.chosen_face is None


def test_no_face_is_seen_where_none_is() -> None:
    photo, _ = look_at(picture("coffee.png"), "ticket", Kind.FACE)
    assert photo.faces == ()
    assert photo.chosen_face is None


def test_a_face_too_small_to_recognise_is_not_offered() -> None:
    small = opened(picture("obama.jpg")).resize((60, 90))
    seen = Fingerprint.of(png(small)).faces
    assert seen is not None
    assert [face.too_small for face in seen] == [True]
    photo, _ = look_at(png(small), "ticket", Kind.FACE)
    assert photo.faces == ()
    assert photo.face_problem == "too_small"


def test_what_is_wrong_with_a_face_is_recorded_and_the_face_is_not_offered() -> None:
    profile, _ = look_at(picture("camera.png"), "ticket", Kind.FACE)
    assert profile.faces == ()
    assert profile.face_problem == "turned_away"
    good, _ = look_at(picture("obama.jpg"), "ticket", Kind.FACE)
    assert good.face_problem is None


def test_a_good_face_beside_a_bad_one_is_the_one_that_is_chosen() -> None:
    photo, _ = look_at(beside(picture("obama.jpg"), picture("camera.png")), "ticket", Kind.FACE)
    assert photo.faces is not None
    assert len(photo.faces) == 1
    assert photo.chosen_face == 0
    assert photo.face_problem == "turned_away"


def test_faces_are_not_measured_without_consent() -> None:
    photo, _ = look_at(picture("obama.jpg"), "ticket", Kind.LINKS)
    assert photo.faces is None
    assert photo.face_model is None


def test_faces_that_cannot_be_looked_at_are_unknown_and_not_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def off() -> None:
        raise faces.FacesOff

    monkeypatch.setattr(faces, "_models", off)
    photo, _ = look_at(picture("obama.jpg"), "ticket", Kind.FACE)
    assert photo.faces is None
    assert photo.face_model is None


def test_boxes_are_in_pixels_of_the_kept_copy() -> None:
    portrait = opened(picture("obama.jpg"))
    canvas = Image.new("RGB", (5000, 3000), "grey")
    canvas.paste(portrait.resize((2000, 2000 * portrait.height // portrait.width)), (2500, 0))
    photo, (copy,) = look_at(png(canvas), "ticket", Kind.FACE)
    assert max(photo.width, photo.height) == REVIEW_SIDE
    assert photo.faces is not None
    (face,) = photo.faces
    direct = Fingerprint.of(copy).faces
    assert direct is not None
    for seen, expected in zip(face.box, direct[0].box, strict=True):
        assert abs(seen - expected) <= 0.03 * REVIEW_SIDE
    assert face.box[0] + face.box[2] <= photo.width
    assert len(face.embedding) == 512


def test_a_plain_picture_is_known_by_its_bytes_only() -> None:
    photo, _ = look_at(png(Image.new("RGB", (300, 200), "white")), "ticket", Kind.LINKS)
    assert photo.quality < 50
    assert photo.dihedral == ()


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(PhotoUnreadable) as caught:
        look_at(b"%PDF-1.4", "ticket", Kind.IMAGE)
    assert caught.value.code == "pdf"


def test_the_bucket_takes_what_the_examination_takes() -> None:
    assert MAX_UPLOAD_BYTES == MAX_BYTES


def test_a_part_is_proposed_in_a_case_about_a_picture_with_all_that_it_would_be_known_by() -> None:
    photo, (whole, part) = look_at(screenshot("coffee.png"), "ticket", Kind.IMAGE)
    proposed = photo.proposed
    assert proposed is not None
    assert (photo.picture, proposed.picture) == (hashlib.sha256(whole).hexdigest(), hashlib.sha256(part).hexdigest())
    assert (proposed.width, proposed.height) == opened(part).size
    assert np.abs(np.subtract(proposed.box, (0, 220, 600, 400))).max() <= 3
    cut = opened(screenshot("coffee.png")).crop((0, 220, 600, 620))
    alone = Fingerprint.of(png(cut), faces=False)
    assert proposed.dihedral
    assert distance(proposed.dihedral[0], alone.dihedral[0]) <= 10
    assert proposed.keypoints is not None
    assert photo.cropped is None


@pytest.mark.parametrize("kind", [Kind.FACE, Kind.LINKS])
def test_nothing_is_proposed_where_no_picture_is_excluded(kind: Kind) -> None:
    photo, copies = look_at(screenshot("coffee.png"), "ticket", kind)
    assert photo.proposed is None
    assert len(copies) == 1


def test_a_photo_with_the_part_its_requester_confirmed_is_known_by_that_part() -> None:
    photo, (_, part) = look_at(screenshot("coffee.png"), "ticket", Kind.IMAGE)
    assert photo.proposed is not None
    used, kept = photo.settled(cropped=True), photo.settled(cropped=False)
    assert (used.picture, used.dihedral, used.keypoints) == (
        photo.proposed.picture,
        photo.proposed.dihedral,
        photo.proposed.keypoints,
    )
    assert (used.width, used.height) == opened(part).size
    assert (used.sha256, used.cropped, used.proposed) == (photo.sha256, True, None)
    assert (kept.picture, kept.keypoints, kept.cropped, kept.proposed) == (
        photo.picture,
        photo.keypoints,
        False,
        None,
    )
