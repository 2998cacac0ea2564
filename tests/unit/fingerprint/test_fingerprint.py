import base64
import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from optout import Fingerprint
from optout.errors import FacesOff, PhotoUnreadable, RequestInvalid
from optout.fingerprint import FINGERPRINT_VERSION, decode
from tests.pictures import picture


def faces_are_off(rgb: object) -> None:
    raise FacesOff("missing")


def test_a_fingerprint_holds_every_signal_of_the_bytes() -> None:
    data = picture("astronaut.png")
    fingerprint = Fingerprint.of(data)
    assert fingerprint.sha256 == hashlib.sha256(data).hexdigest()
    assert fingerprint.pdq == fingerprint.dihedral[0]
    assert len(fingerprint.dihedral) == 8
    assert fingerprint.quality == 100
    assert fingerprint.faces is not None
    assert len(fingerprint.faces) == 1
    assert (fingerprint.width, fingerprint.height) == (512, 512)
    assert fingerprint.version == FINGERPRINT_VERSION


def test_looking_for_no_faces_is_not_finding_none() -> None:
    assert Fingerprint.of(picture("coffee.png"), faces=False).faces is None
    assert Fingerprint.of(picture("coffee.png")).faces == ()


def test_without_the_models_faces_were_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optout.fingerprint.find_faces", faces_are_off)
    fingerprint = Fingerprint.of(picture("astronaut.png"))
    assert fingerprint.faces is None
    assert fingerprint.pdq is not None


def test_what_cannot_be_decoded_has_no_fingerprint() -> None:
    with pytest.raises(PhotoUnreadable):
        Fingerprint.of(b"hello")


def test_a_decoded_picture_of_unknown_bytes_has_no_sha256() -> None:
    assert Fingerprint.of_picture(decode(picture("coffee.png")), None, faces=False).sha256 is None


def test_face_boxes_are_in_pixels_of_the_upright_picture_also_of_a_large_one() -> None:
    small = Image.open(io.BytesIO(picture("astronaut.png")))
    out = io.BytesIO()
    small.resize((5120, 5120)).save(out, "JPEG")
    [face] = Fingerprint.of(picture("astronaut.png")).faces or ()
    large = Fingerprint.of(out.getvalue())
    [large_face] = large.faces or ()
    assert (large.width, large.height) == (5120, 5120)
    assert large_face.box == pytest.approx([10 * value for value in face.box], abs=60)


def test_a_plain_picture_has_no_codes_to_enrol() -> None:
    out = io.BytesIO()
    Image.new("RGB", (100, 100), "white").save(out, "PNG")
    fingerprint = Fingerprint.of(out.getvalue(), faces=False)
    assert fingerprint.plain
    assert fingerprint.codes == ()
    assert Fingerprint.of(picture("coffee.png"), faces=False).codes != ()


def test_the_json_form_is_lossless() -> None:
    fingerprint = Fingerprint.of(picture("astronaut.png"))
    form = json.loads(json.dumps(fingerprint.to_dict()))
    assert form["sha256"] == fingerprint.sha256
    assert [bytes.fromhex(code) for code in form["dihedral"]] == list(fingerprint.dihedral)
    assert fingerprint.faces is not None
    embedding = np.frombuffer(base64.b64decode(form["faces"][0]["embedding"]), dtype="<f4")
    assert np.array_equal(embedding, fingerprint.faces[0].embedding)
    assert Fingerprint().to_dict()["faces"] is None


def test_given_signals_are_taken_over() -> None:
    fingerprint = Fingerprint.from_signals(sha256="A" * 64, pdq="0f" * 32, quality=80, faces=[[2.0] + [0.0] * 127])
    assert fingerprint.sha256 == "a" * 64
    assert fingerprint.pdq == b"\x0f" * 32
    assert fingerprint.quality == 80
    assert fingerprint.faces is not None
    assert fingerprint.faces[0].embedding[0] == 1
    assert Fingerprint.from_signals().faces is None
    assert Fingerprint.from_signals(faces=[]).faces == ()


@pytest.mark.parametrize(
    ("signals", "problems"),
    [
        ({"sha256": "zz"}, {"sha256": "not_64_hex_digits"}),
        ({"sha256": 7}, {"sha256": "not_64_hex_digits"}),
        ({"pdq": "0f" * 31}, {"pdq": "not_64_hex_digits"}),
        ({"pdq": "0f" * 32 + "\n"}, {"pdq": "not_64_hex_digits"}),
        ({"quality": 101}, {"quality": "not_0_to_100"}),
        ({"quality": True}, {"quality": "not_0_to_100"}),
        ({"faces": [[1.0] * 128, [1.0] * 127]}, {"faces.1": "not_128_numbers"}),
        ({"faces": ["x"]}, {"faces.0": "not_128_numbers"}),
        ({"faces": 5}, {"faces": "not_a_list"}),
        ({"faces": [[0.0] * 128]}, {"faces.0": "not_a_direction"}),
        ({"faces": [[float("nan")] * 128]}, {"faces.0": "not_a_direction"}),
        ({"sha256": "", "quality": -1}, {"sha256": "not_64_hex_digits", "quality": "not_0_to_100"}),
    ],
)
def test_broken_signals_are_named(signals: dict[str, object], problems: dict[str, str]) -> None:
    with pytest.raises(RequestInvalid) as refused:
        Fingerprint.from_signals(**signals)  # type: ignore[arg-type]
    assert refused.value.problems == problems
