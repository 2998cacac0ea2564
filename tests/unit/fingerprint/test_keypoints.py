import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from optout import Fingerprint
from optout.exclusions import entry
from optout.fingerprint import keypoints, sketch
from tests.pictures import picture


def grey(name: str) -> np.ndarray:
    return keypoints.grey_of(np.asarray(Image.open(io.BytesIO(picture(name))).convert("RGB")))


def test_what_is_stored_reads_back_and_fits_six_kilobytes() -> None:
    found = keypoints.find_keypoints(grey("astronaut.png"))
    assert found is not None
    data = keypoints.to_bytes(found)
    assert len(data) <= entry.MAX_KEYPOINT_BYTES
    assert data[0] == entry.KEYPOINTS_VERSION == keypoints.KEYPOINTS_VERSION
    again = keypoints.from_bytes(data)
    assert np.abs(again.features.points - found.features.points).max() <= 1
    assert (again.features.descriptors == found.features.descriptors).all()
    assert (again.width, again.height, again.sketch) == (found.width, found.height, found.sketch)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], lambda data: b"\x02" + data[1:]])
def test_what_is_stored_otherwise_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    found = keypoints.find_keypoints(grey("coffee.png"))
    assert found is not None
    with pytest.raises(ValueError, match="version"):
        keypoints.from_bytes(damage(keypoints.to_bytes(found)))


def test_the_projections_never_change() -> None:
    """Every sketch that is stored was made with them."""
    signs, spread = sketch.signs_of(np.add.outer(np.arange(64), 3 * np.arange(64)).astype(np.float32))
    assert hashlib.sha256(np.packbits(signs).tobytes()).hexdigest()[:16] == "3d30bfab021369b3"
    assert spread[0] == pytest.approx(7.2456884, abs=0.001)
    assert sketch.SKETCH_BYTES == 264


def test_corners_come_from_all_over_the_picture() -> None:
    found = keypoints.find_keypoints(grey("rocket.jpg"))
    assert found is not None
    assert len(found.features) == keypoints.ENROLLED
    x, y = found.features.points.T
    quarters = {(left, top) for left, top in zip(x > found.width / 2, y > found.height / 2, strict=True)}
    assert len(quarters) == 4


@pytest.mark.parametrize("size", [(64, 64), (3000, 8), (8, 3000), (1000, 700)])
def test_a_picture_without_corners_is_enrolled_by_its_bytes_only(size: tuple[int, int]) -> None:
    out = io.BytesIO()
    Image.new("RGB", size, (40, 90, 10)).save(out, "PNG")
    assert Fingerprint.of(out.getvalue(), faces=False).keypoints is None


def test_a_plain_picture_is_enrolled_by_its_bytes_only_even_with_corners() -> None:
    """What the photo page says of such a picture is what lookups do."""
    wall = Image.new("RGB", (800, 800), (235, 235, 235))
    with Image.open(io.BytesIO(picture("chelsea.png"))) as cat:
        wall.paste(cat.convert("RGB").resize((160, 106)), (300, 340))
    out = io.BytesIO()
    wall.save(out, "PNG")
    seen = Fingerprint.of(out.getvalue(), faces=False)
    assert seen.plain
    assert seen.views is not None
    assert seen.views.enrolled is not None
    assert (seen.codes, seen.keypoints) == ((), None)


# Corner by corner: x and y in pixels of the grey picture, and the descriptor. OpenCV may compute a step differently on
# another processor, so a pixel and a few bits may differ; everything that is stored was made so.
PINNED = (
    (301.0, 208.0, "4a2b4c21b8db588f26b4aea98927c392"),
    (194.0, 91.0, "1ed8f7fffffbfff89fecdfa3edffbf60"),
    (286.8, 235.2, "7cfdbae4bd4f57ecd3bdbc2b76fd6b12"),
    (285.1, 264.4, "7938382c19dd50676760ac08bf1802b0"),
    (208.0, 193.2, "8869daf47486fe71b9887a42fdebb1c0"),
)


@pytest.mark.parametrize(("x", "y", "descriptor"), PINNED)
def test_the_corners_of_a_photograph_stay_where_and_what_they_are(x: float, y: float, descriptor: str) -> None:
    found = keypoints.find_keypoints(grey("coffee.png"))
    assert found is not None
    near = np.abs(found.features.points - (x, y)).max(axis=1) <= 1
    bits = np.unpackbits(found.features.descriptors[near] ^ np.frombuffer(bytes.fromhex(descriptor), np.uint8), axis=1)
    assert near.any()
    assert bits.sum(axis=1).min() <= 6


def test_the_sketch_of_a_photograph_stays_what_it_is() -> None:
    own = np.frombuffer(sketch.sketch_of(grey("coffee.png")), np.uint8)
    pinned = np.frombuffer(
        bytes.fromhex("7fffffffffffffff469de11e2cbde35fcd8bff614c9d3b9c6d949f38722e50fd468d717ec68fe47f"), np.uint8
    )
    assert np.unpackbits(own[: len(pinned)] ^ pinned).sum() <= 4
