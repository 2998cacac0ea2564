"""What docs/pictures.md says becomes of odd pictures: each is made here, listed, and asked about."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from optout import ExclusionList, Fingerprint
from optout.errors import PhotoUnreadable
from optout.fingerprint.image import decode
from tests.pictures import picture

DOCUMENT = Path(__file__).parents[3] / "docs" / "pictures.md"


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@cache
def photo(number: int) -> Image.Image:
    image = Image.open(io.BytesIO(picture(("coffee.png", "chelsea.png")[number]))).convert("RGB")
    image.thumbnail((500, 500))
    return image


def animated(number: int) -> bytes:
    return saved(photo(number), "GIF", save_all=True, append_images=[photo(1 - number)], duration=80)


def sixteen_bits(number: int) -> bytes:
    return saved(Image.fromarray(np.asarray(photo(number).convert("L")).astype(np.uint16) * 257))


def transparent(number: int) -> bytes:
    image = photo(number).convert("RGBA")
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((0, 0, *image.size), fill=255)
    image.putalpha(mask)
    return saved(image)


def thin(number: int) -> bytes:
    return saved(Image.fromarray(np.random.default_rng(number).integers(0, 256, (10, 30_000), dtype=np.uint8)))


def noise(number: int) -> bytes:
    return saved(Image.fromarray(np.random.default_rng(number).integers(0, 256, (400, 500, 3), dtype=np.uint8)))


def qr_code(number: int) -> bytes:
    code = cv2.QRCodeEncoder.create().encode(f"https://people.example/{'ab'[number] * 40}")
    return saved(Image.fromarray(np.asarray(code)).resize((600, 600), Image.Resampling.NEAREST))


def letter(number: int) -> bytes:
    words = (
        "Dear madam thank you for writing to us about the delivery of your table which left our house last week",
        "The committee met again in spring and agreed that no further building should be allowed near the old river",
    )[number].split()
    image = Image.new("RGB", (850, 1100), "white")
    draw = ImageDraw.Draw(image)
    rng = np.random.default_rng(number)
    for y in range(80, 1020, 30):
        draw.text((80, y), " ".join(rng.permutation(words)[:9]), fill="black", font_size=18)
    return saved(image)


def logo(number: int) -> bytes:
    image = Image.new("RGB", (600, 600), "white")
    draw = ImageDraw.Draw(image)
    if number:
        draw.polygon([(300, 60), (540, 500), (60, 500)], fill=(0, 90, 160))
        draw.ellipse((240, 300, 360, 420), fill="white")
    else:
        draw.rounded_rectangle((60, 60, 540, 540), 90, fill=(200, 30, 40))
        draw.text((150, 170), "Ab", fill="white", font_size=230)
    return saved(image)


def drawing(number: int) -> bytes:
    image = Image.new("RGB", (700, 700), "white")
    draw = ImageDraw.Draw(image)
    rng = np.random.default_rng(number)
    for _ in range(40):
        path = np.cumsum(np.vstack([rng.uniform(100, 600, (1, 2)), rng.normal(0, 30, (12, 2))]), axis=0)
        draw.line([tuple(point) for point in path], fill="black", width=3)
    return saved(image)


# By the name of their row: how one is made, and another one of its kind.
MADE: dict[str, Callable[[int], bytes]] = {
    "animation": animated,
    "CMYK": lambda number: saved(photo(number).convert("CMYK"), "JPEG"),
    "16-bit grey": sixteen_bits,
    "palette": lambda number: saved(photo(number).quantize(64)),
    "alpha": transparent,
    "1 x 1": lambda number: saved(Image.new("RGB", (1, 1), ("red", "blue")[number])),
    "30,000 x 10": thin,
    "all black": lambda number: saved(Image.new("RGB", (640 + number, 480))),
    "pure noise": noise,
    "QR code": qr_code,
    "text document": letter,
    "logo": logo,
    "drawing": drawing,
}


def verdicts(make: Callable[[int], bytes]) -> tuple[str, ...]:
    """At upload, and for a lookup of the file itself, of a JPEG of it, of three quarters of it, of another one."""
    data = make(0)
    try:
        seen = Fingerprint.of(data, faces=False)
    except PhotoUnreadable as unreadable:
        return (unreadable.code,)
    listed = ExclusionList()
    listed.add_image("odd", seen)
    known = "bytes only" if seen.plain else "hash only" if seen.keypoints is None else "hash and corners"
    flat = Image.fromarray(decode(data).rgb)
    smaller = flat.resize((max(5, flat.width * 7 // 10), max(5, flat.height * 7 // 10)))
    part = flat.crop((0, 0, flat.width * 3 // 4, max(5, flat.height * 3 // 4)))
    asked = (data, saved(smaller, "JPEG", quality=80), saved(part, "JPEG", quality=80), make(1))
    return known, *(str(listed.check(Fingerprint.of(each, faces=False)).verdict) for each in asked)


@cache
def table() -> dict[str, tuple[str, ...]]:
    """The rows of the document: what a picture is, and its cells that are code."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Odd pictures that can be read")[2]
    rows = re.findall(r"^\| ([^|\n]+) \| ((?:[^|\n]*\|)+)$", section.partition("\n## ")[0], re.MULTILINE)
    return {name: tuple(re.findall(r"`([^`]+)`", cells)) for name, cells in rows if "`" in cells}


@pytest.mark.parametrize("name", MADE)
def test_what_becomes_of_an_odd_picture_is_in_the_table(name: str) -> None:
    assert verdicts(MADE[name]) == table()[name]


def test_the_table_names_nothing_that_is_not_made_here() -> None:
    assert set(table()) == set(MADE)
