import numpy as np
import pytest
from PIL import Image, ImageDraw

from optout.fingerprint.views import MIN_BOX_SIDE, Views, cells, rectangles, trimmed

RNG = np.random.default_rng(4)
TEXTURE = RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8)


def framed(left: int, top: int, right: int, bottom: int, colour: int = 200) -> np.ndarray:
    out = np.full((120 + top + bottom, 160 + left + right, 3), colour, np.uint8)
    out[top : top + 120, left : left + 160] = TEXTURE
    return out


@pytest.mark.parametrize("border", [(20, 20, 20, 20), (0, 30, 0, 0), (5, 0, 40, 9)])
def test_a_border_of_one_colour_is_trimmed(border: tuple[int, int, int, int]) -> None:
    assert trimmed(framed(*border)) == (border[0], border[1], 160, 120)


def test_there_is_nothing_to_trim_where_there_is_no_border_or_nothing_else() -> None:
    assert trimmed(TEXTURE) is None
    assert trimmed(np.full((200, 200, 3), 7, np.uint8)) is None


def test_a_picture_on_a_page_of_text_is_found() -> None:
    page = Image.new("RGB", (512, 512), (250, 250, 250))
    draw = ImageDraw.Draw(page)
    for y in range(10, 500, 14):
        draw.text((10, y), "and then it was said that nothing of the kind had ever been seen " * 2, fill=(60, 60, 60))
    page.paste(Image.fromarray(TEXTURE), (200, 250))
    [(x, y, across, down)] = rectangles(np.asarray(page))
    assert max(abs(x - 200), abs(y - 250), abs(across - 160), abs(down - 120)) <= 8


def test_a_page_of_text_alone_has_no_picture() -> None:
    page = Image.new("RGB", (512, 512), "white")
    for y in range(10, 500, 14):
        ImageDraw.Draw(page).text((10, y), "and then it was said that nothing of the kind " * 3, fill="black")
    assert rectangles(np.asarray(page)) == []


def test_the_cells_of_a_collage_are_halves_and_quarters() -> None:
    assert len(cells(100, 80)) == 8
    assert all(min(box[2:]) >= MIN_BOX_SIDE for box in cells(100, 80))
    assert cells(60, 40) == []


@pytest.mark.parametrize("size", [(5, 5), (30_000, 10), (10, 4096), (1, 1)])
def test_odd_shapes_have_views_too(size: tuple[int, int]) -> None:
    views = Views(np.zeros((size[1], size[0], 3), np.uint8))
    assert views.enrolled is None
    assert views.codes == ()
    assert len(views.all) == 1
