import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from optout.errors import FacesOff
from optout.fingerprint import faces as faces_module
from optout.fingerprint.faces import FACE_MIN_SIDE, Face, FaceProblem, FaceQuality, find_faces
from optout.fingerprint.image import decode
from tests.pictures import picture


def faces_of(name: str) -> tuple[Face, ...]:
    return find_faces(decode(picture(name)).rgb)


def cosine(one: Face, other: Face) -> float:
    return float(one.embedding @ other.embedding)


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Intersection over union."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, across) * max(0, down)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


@pytest.fixture
def models_not_loaded() -> object:
    faces_module._load.cache_clear()
    yield
    faces_module._load.cache_clear()


# Pinned on 2026-11-24 with OpenCV 4.14.0: where the face is and the first numbers of its embedding.
PINNED = {
    "astronaut.png": ((178, 63, 90, 113), [0.0270, -0.1408, 0.1141, 0.1617]),
    "obama.jpg": ((371, 91, 239, 329), [0.0272, 0.0238, -0.0208, 0.0240]),
    "biden.jpg": ((427, 175, 287, 401), [-0.0370, 0.1018, 0.0319, 0.1106]),
    "camera.png": ((195, 113, 62, 81), [0.0628, -0.1471, 0.0063, 0.0403]),
}


@pytest.mark.parametrize("name", PINNED)
def test_faces_are_found_where_they_are_and_embedded_as_pinned(name: str) -> None:
    [face] = faces_of(name)
    box, numbers = PINNED[name]
    assert overlap(face.box, box) > 0.9
    assert face.score > 0.85
    assert face.embedding.dtype == np.float32
    assert face.embedding.shape == (128,)
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
    # The int8 networks round differently from processor to processor.
    assert face.embedding[:4] == pytest.approx(numbers, abs=0.03)


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "rocket.jpg", "text.png", "motorcycle_left.png"])
def test_where_nobody_is_no_face_is_found(name: str) -> None:
    assert faces_of(name) == ()


def test_one_person_is_alike_in_different_photos_and_another_is_not() -> None:
    first, second, third, other = (faces_of(f"{name}.jpg")[0] for name in ("obama", "obama2", "obama3", "biden"))
    assert min(cosine(first, second), cosine(first, third), cosine(second, third)) > 0.6
    assert max(cosine(first, other), cosine(second, other), cosine(third, other)) < 0.4


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_lying_or_upside_down_face_is_found_in_place_and_recognised(turns: int) -> None:
    rgb = decode(picture("astronaut.png")).rgb
    [upright] = find_faces(rgb)
    [turned] = find_faces(np.rot90(rgb, turns))
    x, y, width, height = turned.box
    marked = np.zeros(np.rot90(rgb, turns).shape[:2], dtype=bool)
    marked[y : y + height, x : x + width] = True
    rows, columns = np.nonzero(np.rot90(marked, -turns))
    back = (columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min())
    assert overlap(back, upright.box) > 0.95
    assert cosine(turned, upright) > 0.95


def test_a_lying_face_in_a_picture_that_is_not_square_is_found_in_place() -> None:
    rgb = decode(picture("obama.jpg")).rgb
    [upright] = find_faces(rgb)
    [lying] = find_faces(np.rot90(rgb, 1))
    x, y, width, height = upright.box
    expected = (y, rgb.shape[1] - x - width, height, width)
    assert overlap(lying.box, expected) > 0.9


def test_two_people_are_two_faces_the_surest_first() -> None:
    both = Image.new("RGB", (1000, 600))
    for at, name in enumerate(("obama.jpg", "biden.jpg")):
        both.paste(Image.open(io.BytesIO(picture(name))).resize((500, 600)), (500 * at, 0))
    found = find_faces(np.asarray(both))
    assert len(found) == 2
    assert found[0].score >= found[1].score
    assert sorted(face.box[0] >= 500 for face in found) == [False, True]


def test_a_face_is_too_small_below_30_pixels() -> None:
    embedding = np.zeros(128, dtype=np.float32)
    assert Face((0, 0, FACE_MIN_SIDE - 1, 50), 0.9, embedding).too_small
    assert not Face((0, 0, FACE_MIN_SIDE, 50), 0.9, embedding).too_small
    small = Image.open(io.BytesIO(picture("astronaut.png"))).resize((128, 128))
    [face] = find_faces(np.asarray(small))
    assert face.too_small


@pytest.mark.parametrize("name", ["obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png"])
def test_a_clear_face_has_no_problem(name: str) -> None:
    [face] = faces_of(name)
    assert face.problems == ()
    assert face.quality is not None


def test_a_profile_is_turned_away() -> None:
    [face] = faces_of("camera.png")
    assert FaceProblem.TURNED_AWAY in face.problems


@pytest.mark.parametrize("name", ["obama.jpg", "biden.jpg", "astronaut.png"])
def test_a_blurred_face_is_told_from_a_sharp_one(name: str) -> None:
    image = Image.open(io.BytesIO(picture(name))).convert("RGB")
    [sharp] = find_faces(np.asarray(image))
    radius = sharp.box[2] / 14
    found = find_faces(np.asarray(image.filter(ImageFilter.GaussianBlur(radius))))
    assert all(FaceProblem.TOO_BLURRED in face.problems for face in found)
    assert found


@pytest.mark.parametrize("name", ["obama2.jpg", "biden.jpg", "astronaut.png"])
def test_dark_glasses_cover_the_eyes(name: str) -> None:
    image = Image.open(io.BytesIO(picture(name))).convert("RGB")
    rows = faces_module._models().detect(np.ascontiguousarray(np.asarray(image)[:, :, ::-1]))
    right, left = rows[0][4:6], rows[0][6:8]
    apart = float(np.hypot(*(left - right)))
    draw = ImageDraw.Draw(image)
    for x, y in (right, left):
        draw.ellipse((x - 0.38 * apart, y - 0.3 * apart, x + 0.38 * apart, y + 0.3 * apart), fill=(12, 12, 14))
    [face] = find_faces(np.asarray(image))
    assert FaceProblem.EYES_COVERED in face.problems


def test_the_plainest_problem_comes_first_and_a_bare_vector_has_none() -> None:
    embedding = np.zeros(128, dtype=np.float32)
    bad = FaceQuality(sharpness=0.01, turn=0.9, eyes=0.1)
    assert Face((0, 0, 20, 20), 0.8, embedding, bad).problems == tuple(FaceProblem)
    assert Face((0, 0, 90, 90), 0.0, embedding).problems == ()
    fine = FaceQuality(sharpness=0.1, turn=0.1, eyes=0.7)
    assert Face((0, 0, 90, 90), 0.95, embedding, fine).problems == ()
    assert Face((0, 0, 90, 90), 0.89, embedding, fine).problems == (FaceProblem.TOO_BLURRED,)
    assert Face((0, 0, 90, 90), 0.87, embedding, FaceQuality(0.3, 0.1, 0.7)).problems == (FaceProblem.UNCLEAR,)


def test_a_box_lies_inside_the_picture() -> None:
    rgb = decode(picture("obama_partial_face.jpg")).rgb
    for face in find_faces(rgb):
        x, y, width, height = face.box
        assert x >= 0
        assert y >= 0
        assert x + width <= rgb.shape[1]
        assert y + height <= rgb.shape[0]


@pytest.mark.parametrize("turns", [0, 1])
def test_thin_strips_are_not_judged_by_what_the_memory_held_before(turns: int) -> None:
    man = Image.open(io.BytesIO(picture("obama.jpg"))).convert("RGB")
    for height in (2, 5, 8, 16, 28, 32):
        strip = np.rot90(np.asarray(man.resize((640, height))), turns)
        for rows in range(1, 9):
            memory = [np.full((40 * rows, 1000), 1e30, dtype=np.float32) for _ in range(4)]
            del memory
            assert find_faces(strip) == ()


@pytest.mark.parametrize("shape", [(5, 5, 3), (5, 4000, 3), (4000, 5, 3)])
def test_odd_shapes_have_no_face(shape: tuple[int, int, int]) -> None:
    assert find_faces(np.zeros(shape, dtype=np.uint8)) == ()


@pytest.mark.usefixtures("models_not_loaded")
def test_models_that_are_not_the_published_files_switch_faces_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPTOUT_MODELS", str(tmp_path))
    rgb = decode(picture("astronaut.png")).rgb
    with pytest.raises(FacesOff, match="missing"):
        find_faces(rgb)
    for name, _ in (faces_module._DETECTOR, faces_module._EMBEDDER):
        (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(FacesOff, match="not the published file"):
        find_faces(rgb)


@pytest.mark.usefixtures("models_not_loaded")
def test_models_are_taken_from_the_named_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, _ in (faces_module._DETECTOR, faces_module._EMBEDDER):
        found = faces_module._locate(name)
        assert found is not None
        (tmp_path / name).write_bytes(found.read_bytes())
    monkeypatch.setattr(faces_module, "_CARRIER", "no-such-distribution")
    with pytest.raises(FacesOff):
        faces_of("astronaut.png")
    monkeypatch.setenv("OPTOUT_MODELS", str(tmp_path))
    assert len(faces_of("astronaut.png")) == 1
