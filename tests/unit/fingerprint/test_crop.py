"""Which part of an upload is proposed to be the picture."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from optout.fingerprint.crop import proposed_crop
from optout.fingerprint.views import Box
from tests.pictures import picture, screenshot

PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "obama.jpg", "motorcycle_left.png"]
Shown = tuple[Image.Image, Box]


def photo(name: str) -> Image.Image:
    image = Image.open(io.BytesIO(picture(name))).convert("RGB")
    image.thumbnail((600, 600))
    return image


def framed(image: Image.Image) -> Shown:
    return ImageOps.expand(image, 40, (30, 60, 90)), (40, 40, *image.size)


def letterboxed(image: Image.Image) -> Shown:
    return ImageOps.expand(image, (0, 150, 0, 150)), (0, 150, *image.size)


def page(image: Image.Image) -> Shown:
    out = Image.new("RGB", (1100, 1300), (250, 250, 250))
    draw = ImageDraw.Draw(out)
    for y in range(30, 1280, 40):
        draw.text(
            (40, y), "and then it was said that nothing of the kind had ever been seen " * 2, "black", font_size=22
        )
    out.paste(image, (300, 400))
    return out, (300, 400, *image.size)


def overlap(one: Box, other: Box) -> float:
    """Of both boxes, the part that is in both."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(0, across) * max(0, down)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


@pytest.mark.parametrize("around", [framed, letterboxed, page])
@pytest.mark.parametrize("name", PHOTOS)
def test_the_picture_in_a_frame_or_a_page_is_proposed(name: str, around: Callable[..., Shown]) -> None:
    whole, box = around(photo(name))
    proposed = proposed_crop(np.asarray(whole))
    assert proposed is not None
    assert overlap(proposed, box) > 0.9


@pytest.mark.parametrize("name", PHOTOS)
def test_the_picture_on_a_screen_is_proposed(name: str) -> None:
    proposed = proposed_crop(np.asarray(Image.open(io.BytesIO(screenshot(name)))))
    assert proposed is not None
    assert overlap(proposed, (0, 220, 600, 400)) > 0.97


@pytest.mark.parametrize("name", [*PHOTOS, "biden.jpg", "rocket.jpg", "camera.png", "page.png", "text.png"])
def test_nothing_is_proposed_for_a_picture_as_it_is(name: str) -> None:
    assert proposed_crop(np.asarray(photo(name))) is None


@pytest.mark.parametrize("size", [(5, 5), (3000, 8), (8, 3000), (700, 500)])
def test_nothing_is_proposed_where_there_is_nothing(size: tuple[int, int]) -> None:
    assert proposed_crop(np.asarray(Image.new("RGB", size, (200, 30, 30)))) is None
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert proposed_crop(noise) is None


def test_the_proposal_is_in_the_pixels_of_a_large_picture() -> None:
    whole, box = framed(photo("coffee.png"))
    large = whole.resize((whole.width * 5, whole.height * 5))
    proposed = proposed_crop(np.asarray(large))
    assert proposed is not None
    x, y, width, height = box
    assert overlap(proposed, (5 * x, 5 * y, 5 * width, 5 * height)) > 0.97
