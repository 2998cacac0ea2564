"""Strangers' bytes -> a safely decoded picture, or one clear reason why not.

What bounds the work: at most `MAX_BYTES` bytes, `MAX_PIXELS` pixels (read from the header, before any is decoded), the
first frame only, and `MAX_SCANS` passes of a progressive JPEG. `docs/pictures.md` lists what happens to odd input.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from optout.errors import PhotoUnreadable

MAX_BYTES = 25_000_000
# At most 1.2 GB while decoding (docs/pictures.md), in a function of 2 GB. Phones send up to 50 Mpx (8160 x 6120),
# panoramas up to 67 Mpx.
MAX_PIXELS = 80_000_000
# The reference implementation of PDQ hashes nothing below 5 pixels.
MIN_SIDE = 5
# A picture is worked on at this size: PDQ needs 64 x 64, faces 640, reviewers 2048. Keeps later steps below 100 MB.
WORKING_SIDE = 4096
# Cameras and optimisers write at most ~20 scans; each is a pass over the whole picture, and a file can hold thousands.
MAX_SCANS = 64

REVIEW_SIDE = 2048
REVIEW_QUALITY = 90

PHOTO_PROBLEMS = (
    "empty",
    "too_large",
    "too_many_pixels",
    "too_small",
    "too_complex",
    "heic",
    "svg",
    "pdf",
    "unsupported",
    "not_a_picture",
    "damaged",
    "polyglot",
)


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture without metadata.

    `rgb` is (h, w, 3) uint8, alpha flattened on white, its long side at most `WORKING_SIDE`. `width` and `height` are
    the upright picture's own, before it was reduced to that. `format` is Pillow's name, such as "JPEG".
    """

    rgb: NDArray[np.uint8]
    width: int
    height: int
    format: str


def decode(data: bytes) -> Picture:
    """Decode one picture safely.

    Raises PhotoUnreadable with one of `PHOTO_PROBLEMS`; nothing else, whatever the bytes are.
    """
    if not data:
        raise PhotoUnreadable("empty")
    if len(data) > MAX_BYTES:
        raise PhotoUnreadable("too_large")
    form = _format(data)
    if form is None:
        raise PhotoUnreadable(_what_else(data))
    _refuse_polyglot(data, form)
    try:
        return _read(data, form)
    except PhotoUnreadable:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoUnreadable("too_many_pixels") from error
    # Parsers of damaged files raise nearly anything: OSError, SyntaxError, ValueError, struct.error, IndexError, ...
    except Exception as error:
        raise PhotoUnreadable("damaged") from error


def reencode(picture: Picture) -> bytes:
    """The picture as reviewers see it: a JPEG without metadata, long side at most 2048. Same picture, same bytes."""
    image = Image.fromarray(picture.rgb)
    image.thumbnail((REVIEW_SIDE, REVIEW_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=REVIEW_QUALITY)
    return out.getvalue()


# --- decoding ---------------------------------------------------------------------------------------------------------

_quiet_lock = threading.Lock()


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep Pillow's warnings about strangers' files from the caller; `catch_warnings` alone is not thread-safe."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(data: bytes, form: str) -> Picture:
    with _quietly():
        image: Image.Image = Image.open(io.BytesIO(data), formats=[form])
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PhotoUnreadable("too_many_pixels")
    if min(width, height) < MIN_SIDE:
        raise PhotoUnreadable("too_small")
    if form == "JPEG":
        # Lets libjpeg scale by 1/2, 1/4 or 1/8 while decoding, never below the size we work on.
        image.draft(None, _fit(width, height, WORKING_SIDE))
    image.load()
    with _quietly():
        orientation = image.getexif().get(0x0112, 1)
    rgb = _to_rgb(image)
    if orientation in _TURNS:
        rgb = rgb.transpose(_TURNS[orientation])
        if orientation >= 5:
            width, height = height, width
    return Picture(np.asarray(rgb), width, height, form)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _fit(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB at working size. Reduced before it is converted where Pillow can, so that big pictures stay cheap."""
    if image.mode in {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}:
        image = _eight_bits(image)
    has_alpha = image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info
    if has_alpha and image.mode != "RGBA":
        image = image.convert("RGBA")
    elif image.mode not in {"RGB", "L", "CMYK", "RGBA"}:
        image = image.convert("RGB")
    factor = -(-max(image.size) // WORKING_SIDE)
    if factor > 1:
        # Thin pictures keep their short side: only what is long is reduced.
        image = image.reduce((min(factor, max(1, image.width // 64)), min(factor, max(1, image.height // 64))))
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image)
        image = white
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey to 8 bits; Pillow's own conversion clips everything above 255 to white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    grey = np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)
    top = float(grey.max())
    if top <= 1:
        grey *= 255
    elif top > 255:
        grey /= 257 if top <= 65535 else top / 255
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))


# --- what the bytes are -----------------------------------------------------------------------------------------------


_BEGINNINGS: dict[str, tuple[bytes, ...]] = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
}
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}  # sizes of the header after the first 14 bytes


def _format(data: bytes) -> str | None:
    """Which accepted format the bytes begin as. A picture must start at the first byte."""
    for form, beginnings in _BEGINNINGS.items():
        if data.startswith(beginnings):
            return form
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return "AVIF" if {b"avif", b"avis"} & _brands(data) else None


def _brands(data: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO base media file (HEIC, AVIF, MP4)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256, len(data))
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end - 3, 4)}


_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_OTHER_PICTURES = (
    b"\xff\x0a",  # JPEG XL
    b"\x00\x00\x00\x0cJXL ",
    b"\x00\x00\x00\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
    b"8BPS",  # Photoshop
    b"\x00\x00\x01\x00",  # icon
    b"%!PS",
    b"\xc5\xd0\xd3\xc6",  # EPS with preview
)


def _what_else(data: bytes) -> str:
    brands = _brands(data)
    if brands & _HEIC_BRANDS:
        return "heic"
    head = data[:4096].replace(b"\x00", b"").lower()
    if b"%pdf-" in head[:1024]:
        return "pdf"
    is_xml = head.lstrip(b"\xef\xbb\xbf\xfe\xff \t\r\n").startswith(b"<?xml")
    if b"<svg" in head or (is_xml and b"<svg" in data.lower()):
        return "svg"
    if brands or data.startswith(_OTHER_PICTURES):
        return "unsupported"
    return "not_a_picture"


# --- one file, one meaning --------------------------------------------------------------------------------------------

# Each is long enough not to occur by chance in 25 MB of compressed pixels or in the video of a motion photo.
_SECOND_MEANING = re.compile(
    rb"%PDF-|<\?php|<script|<html|<!doctype html|<svg[\s>]|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c", re.IGNORECASE
)
_IN_METADATA = re.compile(rb"<\?php|<script")


def _refuse_polyglot(data: bytes, form: str) -> None:
    """Refuse a file that is a picture to us and a program, page, archive or document to somebody else.

    Data after the picture's end is no reason by itself: phones append second images (MPF), trailers and short videos.
    """
    end = _ENDS[form](data)
    leads_as_script = form == "GIF" and data[6:8] == b"/*" and b"*/" in data
    if (
        b"%PDF-" in data[:1024]  # where readers of PDF look for its header
        or _IN_METADATA.search(data)
        or _SECOND_MEANING.search(data, end)
        or data[end : end + 4] == b"\x7fELF"
        or data[end : end + 2] in {b"MZ", b"#!"}
        or leads_as_script
        or _is_zip(data)
    ):
        raise PhotoUnreadable("polyglot")


def _is_zip(data: bytes) -> bool:
    """Whether archive readers, which look from the end, find a directory. Four bytes alone occur by chance."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    try:
        zipfile.ZipFile(io.BytesIO(data)).close()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return False
    return True


_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _jpeg_end(data: bytes) -> int:
    """Offset after the first image's EOI marker. Later ones belong to previews and second images."""
    at, scans = 2, 0
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] == 0xFF:  # stray or fill bytes, as some cameras leave between segments
            at += 1
            continue
        marker = data[at + 1]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                raise PhotoUnreadable("too_complex")
            found = _NEXT_MARKER.search(data, at)
            if found is None:
                raise PhotoUnreadable("damaged")
            at = found.start()
        if data[at : at + 2] == b"\xff\xd9":
            return at + 2
    raise PhotoUnreadable("damaged")


def _png_end(data: bytes) -> int:
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"IEND" and at <= len(data):
            return at
    raise PhotoUnreadable("damaged")


def _gif_end(data: bytes) -> int:
    def after_blocks(at: int) -> int:
        while at < len(data) and data[at]:
            at += 1 + data[at]
        return at + 1

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    if len(data) < 13:
        raise PhotoUnreadable("damaged")
    at = 13 + table(data[10])
    while at < len(data):
        if data[at] == 0x3B:
            return at + 1
        if data[at] == 0x21:
            at = after_blocks(at + 2)
        elif data[at] == 0x2C and at + 9 < len(data):
            at = after_blocks(at + 11 + table(data[at + 9]))
        elif data[at] == 0:  # stray terminators, written by some encoders
            at += 1
        else:
            break
    raise PhotoUnreadable("damaged")


def _webp_end(data: bytes) -> int:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) + 1:
        raise PhotoUnreadable("damaged")
    return min(end, len(data))


def _bmp_end(data: bytes) -> int:
    return min(int.from_bytes(data[2:6], "little") or len(data), len(data))


_TOP_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"free", b"skip", b"wide", b"uuid", b"sidx", b"styp"}


def _avif_end(data: bytes) -> int:
    """After the last box that says its size; anything else is an appendix, a last box "to the end of the file" too."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1 and at + 16 <= len(data):
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8 or data[at + 4 : at + 8] not in _TOP_BOXES:
            return at
        if at + size > len(data):
            raise PhotoUnreadable("damaged")
        at += size
    return at


def _tiff_end(data: bytes) -> int:
    """TIFF has no end: its parts may lie anywhere, so the last kilobytes count as an appendix too."""
    return max(8, len(data) - 4096)


_ENDS: dict[str, Callable[[bytes], int]] = {
    "JPEG": _jpeg_end,
    "PNG": _png_end,
    "GIF": _gif_end,
    "WEBP": _webp_end,
    "BMP": _bmp_end,
    "AVIF": _avif_end,
    "TIFF": _tiff_end,
}
