import gzip
import io
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageSequence

from optout.errors import PhotoUnreadable
from optout.fingerprint import image as image_module
from optout.fingerprint.image import PHOTO_PROBLEMS, WORKING_SIDE, decode, reencode
from tests.pictures import picture


def photo(width: int = 120, height: int = 80) -> Image.Image:
    """A small real photograph."""
    return Image.open(io.BytesIO(picture("chelsea.png"))).convert("RGB").resize((width, height))


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def problem(data: bytes) -> str:
    with pytest.raises(PhotoUnreadable) as refused:
        decode(data)
    return refused.value.code


def error_to(data: bytes, image: Image.Image) -> float:
    """Mean difference between what was decoded and what was meant, 0-255."""
    rgb = decode(data).rgb
    assert rgb.shape == (image.height, image.width, 3)
    return float(np.abs(rgb.astype(int) - np.asarray(image.convert("RGB")).astype(int)).mean())


def png_of_size(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("program.class", "anything")
    return out.getvalue()


ACCEPTED = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"]


@pytest.mark.parametrize("form", ACCEPTED)
def test_every_accepted_format_is_decoded_to_the_same_picture(form: str) -> None:
    assert error_to(saved(photo(), form), photo()) < 12
    assert decode(saved(photo(), form)).format == form


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    stored_as = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    upright = photo()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(upright.transpose(stored_as) if stored_as is not None else upright, form, exif=exif)
    assert error_to(data, upright) < 8
    assert (decode(data).width, decode(data).height) == upright.size


def test_alpha_is_flattened_on_white() -> None:
    half = photo().convert("RGBA")
    half.putalpha(Image.linear_gradient("L").resize(half.size))
    white = Image.new("RGBA", half.size, "white")
    white.alpha_composite(half)
    for form in ("PNG", "TIFF"):
        assert error_to(saved(half, form), white) < 1
    assert error_to(saved(half, "WEBP", lossless=True), white) < 2
    clear = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    assert decode(saved(clear, "PNG")).rgb.min() == 255


def test_a_transparent_palette_colour_is_flattened_on_white() -> None:
    drawn = Image.new("P", (40, 30), 0)
    drawn.putpalette([0, 0, 0, 255, 0, 0])
    drawn.paste(1, (0, 0, 20, 30))
    for form in ("PNG", "GIF"):
        rgb = decode(saved(drawn, form, transparency=0)).rgb
        assert tuple(rgb[15, 5]) == (255, 0, 0)
        assert tuple(rgb[15, 35]) == (255, 255, 255)
    rgb = decode(saved(drawn, "PNG", transparency=b"\x00\xff")).rgb
    assert tuple(rgb[15, 35]) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("1", "PNG"), ("L", "JPEG"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("CMYK", "TIFF"),
     ("YCbCr", "JPEG"), ("L", "AVIF")],
)  # fmt: skip
def test_every_colour_mode_becomes_rgb(mode: str, form: str) -> None:
    converted = photo().convert(mode)
    assert error_to(saved(converted, form), converted) < 8


def test_lab_pictures_are_read() -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(photo(), to_lab)
    assert lab is not None
    assert error_to(saved(lab, "TIFF"), photo()) < 8


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = photo().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for form in ("PNG", "TIFF"):
        assert error_to(saved(deep, form), grey) < 1
    wide = Image.fromarray(np.asarray(grey).astype(np.int32) * 257)
    assert error_to(saved(wide, "TIFF"), grey) < 1


@pytest.mark.parametrize("scale", [1 / 255, 1, 257])
def test_float_pictures_are_scaled_whatever_their_range(scale: float) -> None:
    grey = photo().convert("L")
    measured = np.asarray(grey).astype(np.float32) * scale
    measured[0, 0] = np.nan
    assert error_to(saved(Image.fromarray(measured), "TIFF"), grey) < 1


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_counts(form: str) -> None:
    second = photo().transpose(Image.Transpose.ROTATE_180)
    moving = saved(photo(), form, save_all=True, append_images=[second, second])
    assert sum(1 for _ in ImageSequence.Iterator(Image.open(io.BytesIO(moving)))) > 1
    assert error_to(moving, photo()) < 12


def test_metadata_does_not_survive() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    data = saved(photo(), "JPEG", exif=exif, comment=b"a secret place")
    assert b"secret" in data
    shown = reencode(decode(data))
    assert b"secret" not in shown
    assert b"Exif" not in shown


def test_reviewers_see_a_jpeg_of_at_most_2048_pixels_and_always_the_same() -> None:
    large = decode(saved(photo(3000, 1500), "PNG"))
    shown = reencode(large)
    assert Image.open(io.BytesIO(shown)).size == (2048, 1024)
    assert shown == reencode(large)
    assert Image.open(io.BytesIO(reencode(decode(saved(photo(), "PNG"))))).size == (120, 80)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_large_pictures_are_worked_on_smaller_but_keep_their_own_size(form: str) -> None:
    decoded = decode(saved(photo(WORKING_SIDE + 1000, 300), form))
    assert (decoded.width, decoded.height) == (WORKING_SIDE + 1000, 300)
    assert max(decoded.rgb.shape) <= WORKING_SIDE


def test_a_thin_picture_keeps_its_short_side() -> None:
    decoded = decode(saved(photo(20_000, 12), "PNG"))
    assert decoded.rgb.shape[0] == 12
    assert decoded.rgb.shape[1] <= WORKING_SIDE


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert problem(png_of_size(9000, 9000)) == "too_many_pixels"
        assert problem(png_of_size(2_000_000, 2_000_000)) == "too_many_pixels"
    bitmap = bytearray(saved(photo(), "BMP"))
    bitmap[18:26] = struct.pack("<ii", 60_000, 60_000)
    assert problem(bytes(bitmap)) == "too_many_pixels"
    moving = bytearray(saved(photo(), "GIF"))
    moving[6:10] = struct.pack("<HH", 65_535, 65_535)
    assert problem(bytes(moving)) == "too_many_pixels"


def test_no_picture_is_decoded_above_the_pixel_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(photo(), "PNG")
    monkeypatch.setattr(image_module, "MAX_PIXELS", 120 * 80)
    decode(data)
    monkeypatch.setattr(image_module, "MAX_PIXELS", 120 * 80 - 1)
    assert problem(data) == "too_many_pixels"


def test_a_file_above_25_mb_is_refused() -> None:
    data = saved(photo(), "JPEG")
    decode(data + bytes(25_000_000 - len(data)))
    assert problem(data + bytes(25_000_001 - len(data))) == "too_large"


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = saved(photo(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    last_scan = data[at:-2]
    decode(data[:-2] + last_scan * 20 + data[-2:])
    assert problem(data[:-2] + last_scan * 100 + data[-2:]) == "too_complex"


@pytest.mark.parametrize("form", ACCEPTED)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_damaged(form: str, kept: float) -> None:
    # Noise, so that the pixels are most of the file.
    data = saved(Image.effect_noise((100, 90), 90).convert("RGB"), form)
    assert problem(data[: int(len(data) * kept)]) == "damaged"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF"])
def test_a_file_without_its_last_bytes_is_damaged(form: str) -> None:
    assert problem(saved(photo(), form)[:-2]) == "damaged"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\x00", "not_a_picture"),
        (b"GIF89a", "damaged"),
        (b"hello", "not_a_picture"),
        (b"<!doctype html><html></html>", "not_a_picture"),
        (b"PK\x03\x04" + bytes(30), "not_a_picture"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(50), "heic"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heix" + bytes(50), "heic"),
        (b"\x00\x00\x00\x18ftypmsf1\x00\x00\x00\x00hevcmsf1" + bytes(50), "heic"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp42" + bytes(50), "unsupported"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(50), "unsupported"),
        (b"8BPS" + bytes(50), "unsupported"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "svg"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>' + b"<!-- long -->" * 500 + b"<svg/>", "svg"),
        ('\ufeff<?xml version="1.0"?><svg/>'.encode("utf-16-le"), "svg"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "pdf"),
        (b"\r\n  %PDF-1.4", "pdf"),
        (gzip.compress(b"<svg/>", mtime=0), "not_a_picture"),
    ],
)
def test_what_is_no_accepted_picture_is_named(data: bytes, code: str) -> None:
    assert problem(data) == code


@pytest.mark.parametrize("form", ACCEPTED)
@pytest.mark.parametrize(
    "appended",
    [
        zipped(),
        b"%PDF-1.7\n1 0 obj",
        b"<?php system($_GET[0]);",
        b"<script>alert(1)</script>",
        b"\n<!DOCTYPE html><body>",
    ],
    ids=["zip", "pdf", "php", "script", "html"],
)
def test_a_picture_with_something_else_appended_is_refused(form: str, appended: bytes) -> None:
    data = saved(photo(), form)
    decode(data)
    assert problem(data + appended) == "polyglot"
    assert problem(data + bytes(64) + appended) == "polyglot"


def test_a_picture_with_something_else_inside_is_refused() -> None:
    assert problem(saved(photo(), "JPEG", comment=b"%PDF-1.5 1 0 obj")) == "polyglot"
    assert problem(saved(photo(), "JPEG", comment=b"<?php echo 1;")) == "polyglot"
    assert problem(saved(photo(), "GIF", comment=b"<script>alert(1)</script>")) == "polyglot"
    script = bytearray(saved(photo(), "GIF", comment=b"*/=1;alert(1)"))
    script[6:8] = b"/*"
    assert problem(bytes(script)) == "polyglot"


@pytest.mark.parametrize("leading", [zipped(), b"%PDF-1.7\n", b"<?php ?>", b"<html>", b" "])
def test_a_picture_must_begin_at_the_first_byte(leading: bytes) -> None:
    assert problem(leading + saved(photo(), "JPEG")) in {"not_a_picture", "pdf"}


def test_what_phones_append_is_accepted() -> None:
    data = saved(photo(), "JPEG")
    noise = np.random.default_rng(7).integers(0, 256, 2_000_000, dtype=np.uint8).tobytes()
    video = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42" + noise
    second_image = saved(photo(60, 40), "JPEG")
    samsung = b"\x00\x00\x01\x0a\x0e\x00\x00\x00Image_UTC_Data1700000000000SEFH\x6b\x00\x00\x00\x01\x00\x00\x00SEFT"
    for appended in (second_image, second_image * 2, video, samsung, second_image + video + samsung, bytes(4096)):
        assert error_to(data + appended, photo()) < 6


def test_a_preview_inside_the_metadata_is_not_the_end() -> None:
    exif = Image.Exif()
    exif[0x010E] = "x"
    thumbnail = saved(photo(60, 40), "JPEG")
    inside = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    data = saved(photo(), "JPEG")
    assert error_to(data[:2] + inside + data[2:], photo()) < 6


def outcome_of(data: bytes) -> str:
    try:
        rgb = decode(data).rgb
    except PhotoUnreadable as refused:
        return refused.code
    return f"{rgb.dtype} {rgb.ndim}"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_the_bytes_are_only_one_error_is_raised_and_nothing_is_warned(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    kept = bytes(whole[: data.draw(st.integers(0, len(whole)))]) if data.draw(st.booleans()) else bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = outcome_of(kept)
    assert outcome in PHOTO_PROBLEMS or outcome == "uint8 3"


SAMPLES = [saved(photo(40, 30), form) for form in ACCEPTED] + [
    saved(photo(40, 30), "JPEG", progressive=True),
    saved(photo(40, 30).convert("P"), "PNG", transparency=b"\x01\x02"),
    saved(photo(40, 30).convert("I;16"), "PNG"),
    saved(photo(40, 30), "TIFF", compression="tiff_lzw"),
]
