"""92 things that people and sites do to a picture, in 17 groups, and 31 more of which no threshold was chosen by.

Every edit takes a picture, a generator of its own and pictures to mix it with, and gives the file that would be found.
Sizes are parts of the picture's, so that small and large ones are edited alike. The same seed gives the same bytes.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Rng: TypeAlias = np.random.Generator
Others: TypeAlias = Sequence[Image.Image]
Edit: TypeAlias = Callable[[Image.Image, Rng, Others], "Image.Image | bytes"]

EDITS: dict[str, tuple[str, Edit]] = {}
# What a stranger would try besides; kept apart, since the 92 are what the cascade was made with.
MORE: dict[str, tuple[str, Edit]] = {}
# Edits that put the same thing on every picture: different pictures with them must not match.
TEMPLATES = ("meme", "caption_bar", "phone", "page80", "page50", "watermark", "letterbox_tall", "border20")
MORE_TEMPLATES = ("post_dark", "news", "poster", "subtitled", "story_text", "stickers", "shop", "stock_lines")

_PHRASES = ("ME ON A MONDAY", "NOBODY EXPECTED THIS", "WHEN THE BUILD IS GREEN", "ONE DOES NOT SIMPLY", "STILL WAITING")


def apply(name: str, picture: Image.Image, seed: str, others: Others) -> bytes:
    """The file that the edit makes of a picture: JPEG of quality 90 unless the edit says otherwise."""
    edit = (EDITS.get(name) or MORE[name])[1]
    out = edit(picture, np.random.default_rng(zlib.crc32(f"{name}/{seed}".encode())), others)
    return out if isinstance(out, bytes) else encoded(out)


def groups(of: dict[str, tuple[str, Edit]] = EDITS) -> dict[str, list[str]]:
    """Names of the edits by group."""
    found: dict[str, list[str]] = {}
    for name, (group, _) in of.items():
        found.setdefault(group, []).append(name)
    return found


def encoded(picture: Image.Image, form: str = "JPEG", quality: int = 90) -> bytes:
    out = io.BytesIO()
    picture.convert("RGB").save(out, form, quality=quality)
    return out.getvalue()


def _add(group: str, name: str, edit: Callable[[Image.Image], Image.Image | bytes]) -> None:
    EDITS[name] = group, lambda picture, _rng, _others: edit(picture)


def _add_random(group: str, name: str, edit: Callable[[Image.Image, Rng], Image.Image | bytes]) -> None:
    EDITS[name] = group, lambda picture, rng, _others: edit(picture, rng)


def _add_mixed(group: str, name: str, edit: Edit) -> None:
    EDITS[name] = group, edit


# --- the parts edits are made of --------------------------------------------------------------------------------------


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    size = max(8, round(picture.width * factor)), max(8, round(picture.height * factor))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _recompressed(picture: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(picture, quality=quality))).convert("RGB")


def _cropped(picture: Image.Image, removed: float, across: float = 0.5, down: float = 0.5) -> Image.Image:
    """Without `removed` of the width and of the height; `across` and `down` say from which side."""
    width, height = round(picture.width * (1 - removed)), round(picture.height * (1 - removed))
    x, y = round((picture.width - width) * across), round((picture.height - height) * down)
    return picture.crop((x, y, x + width, y + height))


def _corner_crop(picture: Image.Image, rng: Rng, removed: float) -> Image.Image:
    return _cropped(picture, removed, float(rng.integers(2)), float(rng.integers(2)))


def _turned(picture: Image.Image, rng: Rng, degrees: float) -> Image.Image:
    return picture.rotate(float(degrees * rng.choice((-1, 1))), Image.Resampling.BICUBIC)


def _straightened(picture: Image.Image, rng: Rng, degrees: float) -> Image.Image:
    """Turned, and cut to the largest rectangle of the same shape that has no empty corner."""
    angle = math.radians(degrees)
    width, height = picture.size
    kept = min(
        width / (width * math.cos(angle) + height * math.sin(angle)),
        height / (height * math.cos(angle) + width * math.sin(angle)),
    )
    return _cropped(_turned(picture, rng, degrees), 1 - kept)


def _curve(picture: Image.Image, *curves: Callable[[float], float]) -> Image.Image:
    """Every channel through its curve of 0..1 to 0..1; one curve for all when only one is given."""
    bands = curves * 3 if len(curves) == 1 else curves
    return picture.point(
        [round(255 * min(1.0, max(0.0, curve(level / 255)))) for curve in bands for level in range(256)]
    )


def _hue(picture: Image.Image, degrees: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    moved = ImageChops.add_modulo(hue, Image.new("L", hue.size, round(degrees * 256 / 360)))
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")


def _blurred(picture: Image.Image, radius: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius * max(picture.size) / 512))


def _noisy(picture: Image.Image, rng: Rng, deviation: float) -> Image.Image:
    levels = np.asarray(picture, np.float32)
    return _image(levels + rng.normal(0, deviation, levels.shape))


def _image(levels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def _salted(picture: Image.Image, rng: Rng) -> Image.Image:
    levels = np.array(picture)
    chance = rng.random(levels.shape[:2])
    levels[chance < 0.015] = 0
    levels[chance > 0.985] = 255
    return Image.fromarray(levels)


def _font(pixels: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(6, int(pixels)))


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = (int(level) for level in rng.integers(0, 256, 3))
    return red, green, blue


def _meme(picture: Image.Image, rng: Rng, top: bool = True) -> Image.Image:
    """White capitals with a black rim, below and above."""
    out = picture.copy()
    draw = ImageDraw.Draw(out)
    size = out.width * 0.085
    for y in (out.height * 0.03, out.height * 0.97 - size * 1.2)[0 if top else 1 :]:
        text = _PHRASES[int(rng.integers(len(_PHRASES)))]
        while draw.textlength(text, font=_font(size)) > out.width * 0.97:
            text = text[:-2]
        x = (out.width - draw.textlength(text, font=_font(size))) / 2
        draw.text(
            (x, y), text, font=_font(size), fill="white", stroke_width=max(1, int(size / 12)), stroke_fill="black"
        )
    return out


def _credit(picture: Image.Image) -> Image.Image:
    out = picture.copy()
    ImageDraw.Draw(out).text(
        (out.width * 0.6, out.height * 0.94), "© some agency 2026", font=_font(out.width * 0.035), fill="white"
    )
    return out


def _watermark(picture: Image.Image) -> Image.Image:
    """A word all over, aslant and half transparent."""
    width, height = picture.size
    layer = Image.new("RGBA", (2 * width, 2 * height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    for row, y in enumerate(range(0, 2 * height, max(1, round(height * 0.22)))):
        for x in range((row % 3) * width // 9, 2 * width, max(1, round(width * 0.45))):
            draw.text((x, y), "PREVIEW", font=_font(width * 0.07), fill=(255, 255, 255, 110))
    layer = layer.rotate(30).crop((width // 2, height // 2, width // 2 + width, height // 2 + height))
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _logo(picture: Image.Image, rng: Rng) -> Image.Image:
    out = picture.copy()
    draw = ImageDraw.Draw(out)
    side = min(out.size) * 0.25
    x, y = (float(rng.choice((side * 0.15, length - side * 1.15))) for length in out.size)
    draw.ellipse((x, y, x + side, y + side), fill=_colour(rng))
    draw.rectangle((x + side * 0.3, y + side * 0.3, x + side * 0.7, y + side * 0.7), fill="white")
    return out


def _smileys(picture: Image.Image, rng: Rng, count: int, part: float) -> Image.Image:
    out = picture.copy()
    draw = ImageDraw.Draw(out)
    side = min(out.size) * part
    for _ in range(count):
        x, y = (float(rng.uniform(0, max(1, length - side))) for length in out.size)
        draw.ellipse(
            (x, y, x + side, y + side), fill=(255, 205, 50), outline=(120, 80, 0), width=max(1, int(side / 40))
        )
        for eye in (0.28, 0.62):
            box = (x + side * eye, y + side * 0.28, x + side * (eye + 0.1), y + side * 0.45)
            draw.ellipse(box, fill=(60, 40, 0))
        mouth = (x + side * 0.22, y + side * 0.3, x + side * 0.78, y + side * 0.8)
        draw.arc(mouth, 15, 165, fill=(60, 40, 0), width=max(1, int(side / 18)))
    return out


def _caption_bar(picture: Image.Image) -> Image.Image:
    bar = int(picture.height * 0.18)
    out = Image.new("RGB", (picture.width, picture.height + bar), "white")
    out.paste(picture, (0, bar))
    draw = ImageDraw.Draw(out)
    draw.text((bar * 0.2, bar * 0.1), "My friends:", font=_font(bar * 0.3), fill="black")
    draw.text((bar * 0.2, bar * 0.5), "Me, five minutes later:", font=_font(bar * 0.3), fill="black")
    return out


def _framed(picture: Image.Image, rng: Rng, part: float) -> Image.Image:
    return ImageOps.expand(picture, int(max(picture.size) * part), _colour(rng))


def _letterboxed(picture: Image.Image, shape: float, blurred: bool = False) -> Image.Image:
    """In a canvas of width / height `shape`, black or filled with the picture's own blur."""
    width, height = picture.size
    size = (width, round(width / shape)) if width / height > shape else (round(height * shape), height)
    out = _blurred(ImageOps.fit(picture, size), 12) if blurred else Image.new("RGB", size)
    out.paste(picture, ((size[0] - width) // 2, (size[1] - height) // 2))
    return out


def _in_page(picture: Image.Image, rng: Rng, part: float) -> Image.Image:
    """A page of text in which the picture takes `part` of the width."""
    width = round(picture.width / part)
    height = max(round(picture.height / part), round(width * 0.75))
    out = Image.new("RGB", (width, height), (250, 250, 250))
    draw = ImageDraw.Draw(out)
    draw.rectangle((0, 0, width, height * 0.05), fill=(40, 60, 90))
    line = (
        "and then it was said that nothing of the kind had ever been seen in the whole of the valley before that day "
    )
    y = height * 0.07
    while y < height * 0.97:
        start = int(rng.integers(0, 40))
        draw.text((width * 0.03, y), (line * 2)[start:], font=_font(height * 0.02), fill=(60, 60, 60))
        y += height * 0.032
    header = int(height * 0.05)
    x = int(rng.integers(0, max(1, width - picture.width)))
    y = header + int(rng.integers(0, max(1, height - picture.height - header)))
    out.paste(picture, (x, int(y)))
    return _scaled(out, max(0.3, part) ** 0.5)


def _phone(picture: Image.Image) -> Image.Image:
    """A screenshot of a phone that shows the picture in a feed."""
    width = picture.width
    height = int(width * 2.1)
    out = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(out)
    font = _font(width * 0.04)
    draw.text((width * 0.05, height * 0.012), "10:08", font=font, fill="black")
    draw.ellipse((width * 0.04, height * 0.06, width * 0.14, height * 0.06 + width * 0.1), fill=(90, 120, 200))
    draw.text((width * 0.17, height * 0.07), "someone_online", font=font, fill="black")
    y = int(height * 0.13)
    shown = picture.crop((0, 0, width, min(picture.height, height - y - int(height * 0.2))))
    out.paste(shown, (0, y))
    y += shown.height
    for index in range(3):
        left = width * (0.04 + 0.1 * index)
        draw.ellipse((left, y + width * 0.03, left + width * 0.06, y + width * 0.09), outline="black", width=3)
    draw.text((width * 0.05, y + width * 0.13), "2,417 likes", font=font, fill="black")
    draw.text((width * 0.05, y + width * 0.2), "someone_online what a day", font=font, fill="black")
    return out


def _collage(picture: Image.Image, rng: Rng, others: Others, across: int, down: int) -> Image.Image:
    width, height = picture.size
    out = Image.new("RGB", (width * across + 6 * (across - 1), height * down + 6 * (down - 1)), "white")
    own = int(rng.integers(across * down))
    for cell in range(across * down):
        shown = picture if cell == own else ImageOps.fit(others[int(rng.integers(len(others)))], picture.size)
        out.paste(shown, ((cell % across) * (width + 6), (cell // across) * (height + 6)))
    return _scaled(out, 0.7 if down == 1 else 0.6)


def _onto_photo(picture: Image.Image, rng: Rng, others: Others) -> Image.Image:
    size = int(picture.width * 1.8), int(picture.height * 1.8)
    out = ImageOps.fit(others[int(rng.integers(len(others)))], size)
    out.paste(picture, tuple(int(rng.integers(0, size[axis] - picture.size[axis])) for axis in (0, 1)))  # type: ignore[arg-type]
    return _scaled(out, 0.7)


def _smooth(level: float) -> float:
    return 3 * level * level - 2 * level**3


def _vignette(picture: Image.Image, strength: float) -> Image.Image:
    y, x = np.mgrid[-1 : 1 : picture.height * 1j, -1 : 1 : picture.width * 1j]
    return _image(np.asarray(picture) * (1 - strength * (x * x + y * y).clip(0, 2) / 2)[..., None])


def _vivid(picture: Image.Image) -> Image.Image:
    curved = _curve(picture, lambda level: 0.95 * _smooth(level), _smooth, lambda level: 0.1 + 0.9 * _smooth(level))
    return ImageEnhance.Color(curved).enhance(1.35)


def _faded(picture: Image.Image) -> Image.Image:
    pale = ImageEnhance.Color(picture).enhance(0.6)
    curves = (lambda level: 0.15 + 0.8 * level, lambda level: 0.1 + 0.78 * level, lambda level: 0.18 + 0.6 * level)
    return _vignette(_curve(pale, *curves), 0.5)


def _sepia(picture: Image.Image) -> Image.Image:
    grey = picture.convert("L").convert("RGB")
    return _curve(grey, lambda level: level**0.8, lambda level: 0.9 * level, lambda level: 0.7 * level)


def _gritty(picture: Image.Image) -> Image.Image:
    strong = ImageEnhance.Contrast(ImageEnhance.Color(picture).enhance(1.6)).enhance(1.5)
    return _vignette(strong, 0.7)


def _tilted(picture: Image.Image, rng: Rng, most: float) -> Image.Image:
    width, height = picture.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + rng.uniform(-most, most, (4, 2)).astype(np.float32) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return Image.fromarray(cv2.warpPerspective(np.asarray(picture), matrix, (width, height), borderValue=(20, 20, 20)))


def _off_screen(picture: Image.Image, rng: Rng) -> Image.Image:
    """A photo of a screen: moire, glare, a tilt, noise and blur."""
    levels = np.asarray(_scaled(picture, 1.5), np.float32)
    height, width = levels.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    angle, period = rng.uniform(0.02, 0.12), rng.uniform(3, 6)
    along = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    across = np.sin(2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period)
    glare_x, glare_y = (x / width - rng.uniform(0.2, 0.8)) / 0.25, (y / height - rng.uniform(0.2, 0.8)) / 0.25
    lit = 0.9 * levels * (1 + 0.12 * along * across)[..., None] + 35 * np.exp(-(glare_x**2 + glare_y**2))[..., None]
    return _blurred(_noisy(_tilted(_scaled(_image(lit), 0.7), rng, 0.04), rng, 6), 0.6)


# --- the edits --------------------------------------------------------------------------------------------------------

for _quality in (10, 20, 30, 50, 70, 90):
    _add("jpeg", f"jpeg{_quality}", partial(encoded, quality=_quality))
for _quality in (30, 75):
    _add("format", f"webp{_quality}", partial(encoded, form="WEBP", quality=_quality))
_add("format", "png", partial(encoded, form="PNG"))
for _factor in (0.25, 0.5, 0.75, 1.5, 2.0):
    _add("resize", f"scale{_factor}", partial(_scaled, factor=_factor))
_add("resize", "thumb128", lambda picture: _scaled(picture, 128 / max(picture.size)))
for _part in (5, 10, 20, 30, 50):
    _add("crop centre", f"crop_c{_part}", partial(_cropped, removed=_part / 100))
for _part in (5, 10, 20, 30, 50):
    _add_random("crop corner", f"crop_o{_part}", partial(_corner_crop, removed=_part / 100))
_add("crop corner", "crop_square", lambda picture: ImageOps.fit(picture, (min(picture.size),) * 2))
for _angle in (2, 5, 10, 25):
    _add_random("turned", f"rot{_angle}", partial(_turned, degrees=_angle))
for _angle in (5, 10):
    _add_random("turned", f"rot{_angle}_crop", partial(_straightened, degrees=_angle))
for _angle in (90, 180, 270):
    _add("orientation", f"rot{_angle}", partial(Image.Image.rotate, angle=_angle, expand=True))
_add("orientation", "mirror", ImageOps.mirror)
_add("orientation", "flip", ImageOps.flip)
for _factor in (0.5, 1.5):
    _add("light", f"bright{_factor}", lambda picture, k=_factor: ImageEnhance.Brightness(picture).enhance(k))  # type: ignore[misc]
for _factor in (0.5, 1.7):
    _add("light", f"contrast{_factor}", lambda picture, k=_factor: ImageEnhance.Contrast(picture).enhance(k))  # type: ignore[misc]
for _factor in (0.5, 2.0):
    _add("light", f"gamma{_factor}", lambda picture, k=_factor: _curve(picture, lambda level: level**k))  # type: ignore[misc]
_add("light", "saturated", lambda picture: ImageEnhance.Color(picture).enhance(2.0))
_add("light", "grey", lambda picture: picture.convert("L"))
_add("light", "hue30", partial(_hue, degrees=30))
_add("light", "autocontrast", lambda picture: ImageOps.autocontrast(picture, 2))
for _radius in (1.5, 3.0, 6.0):
    _add("blur", f"blur{_radius:g}", partial(_blurred, radius=_radius))
_add("blur", "sharpened", lambda picture: picture.filter(ImageFilter.UnsharpMask(3, 200, 2)))
for _deviation in (15, 35):
    _add_random("noise", f"noise{_deviation}", partial(_noisy, deviation=_deviation))
_add_random("noise", "salt", _salted)
_add_random("overlay", "meme", _meme)
_add("overlay", "credit", _credit)
_add("overlay", "watermark", _watermark)
_add_random("overlay", "logo", _logo)
for _count, _part in ((1, 30), (4, 20), (1, 50)):
    _add_random("overlay", f"smiley{_count}_{_part}", partial(_smileys, count=_count, part=_part / 100))
_add("overlay", "caption_bar", _caption_bar)
for _part in (5, 10, 20):
    _add_random("border", f"border{_part}", partial(_framed, part=_part / 100))
_add("border", "letterbox_square", partial(_letterboxed, shape=1.0))
_add("border", "letterbox_tall", partial(_letterboxed, shape=9 / 16))
_add("border", "story_blur", partial(_letterboxed, shape=9 / 16, blurred=True))
for _part in (80, 50, 30):
    _add_random("composite", f"page{_part}", partial(_in_page, part=_part / 100))
_add("composite", "phone", _phone)
_add_mixed("composite", "collage2", partial(_collage, across=2, down=1))
_add_mixed("composite", "collage4", partial(_collage, across=2, down=2))
_add_mixed("composite", "onto_photo", _onto_photo)
_add("filter", "vivid", _vivid)
_add("filter", "faded", _faded)
_add("filter", "sepia", _sepia)
_add("filter", "gritty", _gritty)
_add("filter", "poster", lambda picture: ImageOps.posterize(picture, 3))
for _factor in (0.8, 1.25):
    _add(
        "aspect",
        f"aspect{_factor}",
        lambda picture, k=_factor: picture.resize((round(picture.width * k), picture.height)),
    )  # type: ignore[misc]
for _part in (5, 12):
    _add_random("geometry", f"tilt{_part}", partial(_tilted, most=_part / 100))
_add_random("geometry", "off_screen", _off_screen)
_add("combined", "social", lambda picture: encoded(_scaled(_cropped(picture, 0.05), 0.5), quality=50))
_add_random(
    "combined", "repost", lambda p, r: encoded(_meme(_corner_crop(_recompressed(p, 60), r, 0.1), r, False), quality=40)
)
_add_random("combined", "meme_mirrored", lambda p, r: encoded(_meme(ImageOps.mirror(p), r), quality=50))
_add_random("combined", "filter_crop", lambda p, r: encoded(_corner_crop(_vivid(p), r, 0.15), quality=60))
_add_random("combined", "mirror_crop", lambda p, r: encoded(_corner_crop(ImageOps.mirror(p), r, 0.2), quality=70))
_add("combined", "small_phone", lambda picture: encoded(_scaled(_phone(_cropped(picture, 0.1)), 0.6), quality=60))
_add_random(
    "combined",
    "hard",
    lambda p, r: encoded(_scaled(_straightened(_faded(_corner_crop(p, r, 0.2)), r, 5), 0.6), quality=35),
)


# --- the second set ---------------------------------------------------------------------------------------------------


def _more(group: str, name: str) -> Callable[[Edit], Edit]:
    def keep(edit: Edit) -> Edit:
        MORE[name] = group, edit
        return edit

    return keep


def _words(out: Image.Image, lines: Sequence[str], x: float, y: float, size: float, fill: str = "black") -> None:
    draw = ImageDraw.Draw(out)
    for number, line in enumerate(lines):
        draw.text((x, y + number * size * 1.4), line, font=_font(size), fill=fill)


def _rounded(picture: Image.Image, part: float) -> Image.Image:
    """A mask with round corners, `part` of the shorter side their radius."""
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *picture.size), round(min(picture.size) * part), fill=255)
    return mask


@_more("photographed", "screen_askew")
def _screen_askew(picture: Image.Image, rng: Rng, others: Others) -> Image.Image:
    """A monitor on a desk, photographed from the side."""
    width, height = picture.size
    shown = ImageOps.expand(picture, round(width * 0.03), (18, 18, 20))
    pad = round(width * 0.2)
    desk = _blurred(ImageOps.fit(others[int(rng.integers(len(others)))], (width + 2 * pad, height + 2 * pad)), 4)
    corners = np.array([[0, 0], [shown.width, 0], [shown.width, shown.height], [0, shown.height]], np.float32)
    away = rng.uniform(0.04, 0.1, 2) * (width, height)
    near = float(rng.choice((0, 1)))
    moved = corners + pad - width * 0.03
    moved[[0, 3], 1] += np.array([1, -1]) * away[1] * near
    moved[[1, 2], 1] += np.array([1, -1]) * away[1] * (1 - near)
    moved[[0, 3], 0] += away[0]
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    laid = cv2.warpPerspective(np.asarray(shown), matrix, desk.size)
    mask = cv2.warpPerspective(np.full(shown.size[::-1], 255, np.uint8), matrix, desk.size)
    out = Image.composite(Image.fromarray(laid), desk, Image.fromarray(mask))
    return _blurred(_noisy(_curve(out, lambda level: 0.05 + 0.9 * level), rng, 5), 0.7)


@_more("photographed", "print_scan")
def _print_scan(picture: Image.Image, rng: Rng, _others: Others) -> Image.Image:
    """Printed in dots, scanned a little askew with the paper around it."""
    grey = np.asarray(_scaled(picture, 1.5), np.float32)
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]]
    dots = 40 * (np.sin((x + y) * 1.1) * np.sin((x - y) * 1.1))[..., None]
    page = ImageOps.expand(_image(grey + dots), round(picture.width * 0.12), (243, 241, 236))
    turned = page.rotate(float(rng.uniform(-2.5, 2.5)), Image.Resampling.BICUBIC, fillcolor=(243, 241, 236))
    return _noisy(_blurred(_scaled(turned, 0.6), 0.8), rng, 4)


@_more("photographed", "polaroid")
def _polaroid(picture: Image.Image, rng: Rng, others: Others) -> Image.Image:
    side = min(picture.size)
    card = Image.new("RGB", (round(side * 1.16), round(side * 1.38)), (250, 249, 245))
    card.paste(ImageOps.fit(picture, (side, side)), (round(side * 0.08), round(side * 0.08)))
    size = round(side * 1.7), round(side * 1.9)
    desk = _blurred(ImageOps.fit(others[int(rng.integers(len(others)))], size), 3)
    angle = float(rng.uniform(4, 12) * rng.choice((-1, 1)))
    turned, mask = (
        image.rotate(angle, Image.Resampling.BICUBIC, expand=True) for image in (card, Image.new("L", card.size, 255))
    )
    desk.paste(turned, ((size[0] - turned.width) // 2, (size[1] - turned.height) // 2), mask)
    return desk


@_more("cut", "strip")
def _strip(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """The banner of a profile: a strip three times as wide as high from the middle."""
    height = min(picture.height, round(picture.width / 3))
    top = (picture.height - height) // 2
    return picture.crop((0, top, picture.width, top + height))


@_more("cut", "left_half")
def _left_half(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    return picture.crop((0, 0, picture.width // 2, picture.height))


@_more("cut", "third")
def _third(picture: Image.Image, rng: Rng, _others: Others) -> Image.Image:
    """.4 of width and height from anywhere, enlarged."""
    return _recompressed(_scaled(_cropped(picture, 0.6, float(rng.uniform(0, 1)), float(rng.uniform(0, 1))), 2), 60)


@_more("cut", "mirror_crop40")
def _mirror_crop(picture: Image.Image, rng: Rng, _others: Others) -> Image.Image:
    return _cropped(ImageOps.mirror(picture), 0.4, float(rng.uniform(0, 1)), float(rng.uniform(0, 1)))


@_more("cut", "avatar")
def _avatar(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """Round, on white, 200 pixels."""
    small = ImageOps.fit(picture, (200, 200), Image.Resampling.LANCZOS)
    out = Image.new("RGB", small.size, "white")
    out.paste(small, (0, 0), _rounded(small, 0.5))
    return out


@_more("cut", "turned_crop")
def _turned_crop(picture: Image.Image, rng: Rng, _others: Others) -> Image.Image:
    return _straightened(_cropped(picture, 0.15, float(rng.uniform(0, 1)), float(rng.uniform(0, 1))), rng, 15)


@_more("frame", "rounded_corners")
def _rounded_corners(picture: Image.Image, rng: Rng, _others: Others) -> Image.Image:
    out = Image.new("RGB", (round(picture.width * 1.1), round(picture.height * 1.1)), _colour(rng))
    out.paste(picture, (round(picture.width * 0.05), round(picture.height * 0.05)), _rounded(picture, 0.12))
    return out


@_more("frame", "poster")
def _poster(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """Black, a thin white line, a word below."""
    width, height = round(picture.width * 1.25), round(picture.height * 1.5)
    out = Image.new("RGB", (width, height))
    x, y = (width - picture.width) // 2, round(picture.height * 0.12)
    ImageDraw.Draw(out).rectangle(
        (x - 4, y - 4, x + picture.width + 3, y + picture.height + 3), outline="white", width=2
    )
    out.paste(picture, (x, y))
    _words(
        out,
        ["DETERMINATION", "because it has to be done by someone"],
        width * 0.15,
        y + picture.height * 1.06,
        width * 0.05,
        "white",
    )
    return out


@_more("frame", "story_text")
def _story_text(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """A story of 9:16: the picture's own blur around it, words above and below."""
    out = _letterboxed(picture, 9 / 16, blurred=True)
    draw = ImageDraw.Draw(out)
    for text, y in (("look at this!!", 0.12), ("@someone_online", 0.84)):
        draw.rectangle((out.width * 0.14, out.height * y, out.width * 0.86, out.height * (y + 0.07)), fill="white")
        draw.text((out.width * 0.18, out.height * (y + 0.015)), text, font=_font(out.width * 0.07), fill="black")
    return out


@_more("frame", "video_wide")
def _video_wide(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """A frame of a video: zoomed to 16:9, a bar of progress and a play button over it."""
    out = _scaled(ImageOps.fit(picture, (picture.width, round(picture.width * 9 / 16))), 1.3)
    draw = ImageDraw.Draw(out)
    side = out.height * 0.2
    x, y = (out.width - side) / 2, (out.height - side) / 2
    draw.ellipse((x, y, x + side, y + side), fill=(30, 30, 30))
    draw.polygon(
        [(x + side * 0.4, y + side * 0.3), (x + side * 0.4, y + side * 0.7), (x + side * 0.72, y + side / 2)],
        fill="white",
    )
    draw.rectangle((0, out.height * 0.95, out.width, out.height), fill=(60, 60, 60))
    draw.rectangle((0, out.height * 0.95, out.width * 0.4, out.height), fill=(220, 30, 30))
    return _recompressed(out, 50)


@_more("covered", "stickers")
def _stickers(picture: Image.Image, rng: Rng, _others: Others) -> Image.Image:
    """Stars, hearts and a speech bubble."""
    out = picture.copy()
    draw = ImageDraw.Draw(out)
    side = min(out.size) * 0.22
    for number in range(5):
        x, y = (float(rng.uniform(side / 2, length - side / 2)) for length in out.size)
        points = [
            (
                x + side / (2 if at % 2 else 4.5) * math.sin(at * math.pi / 5),
                y - side / (2 if at % 2 else 4.5) * math.cos(at * math.pi / 5),
            )
            for at in range(10)
        ]
        draw.polygon(points, fill=[(255, 60, 90), (255, 220, 0), (80, 200, 255)][number % 3], outline="white")
    draw.rounded_rectangle((out.width * 0.55, out.height * 0.05, out.width * 0.95, out.height * 0.2), 12, fill="white")
    draw.text((out.width * 0.6, out.height * 0.08), "no way!", font=_font(out.width * 0.06), fill="black")
    return out


@_more("covered", "face_covered")
def _face_covered(picture: Image.Image, rng: Rng, _others: Others) -> Image.Image:
    """A smiley where a portrait's face would be: .45 of the height, a third from the top."""
    middle = picture.crop((round(picture.width * 0.28), 0, round(picture.width * 0.72), round(picture.height * 0.62)))
    out = picture.copy()
    out.paste(_smileys(middle, rng, 1, 0.95), (round(picture.width * 0.28), 0))
    return out


@_more("covered", "pixelated")
def _pixelated(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """The middle made unrecognisable, as faces are."""
    box = (
        round(picture.width * 0.3),
        round(picture.height * 0.15),
        round(picture.width * 0.7),
        round(picture.height * 0.65),
    )
    out, part = picture.copy(), picture.crop(box)
    out.paste(part.resize((8, 8), Image.Resampling.BOX).resize(part.size, Image.Resampling.NEAREST), box)
    return out


@_more("covered", "news")
def _news(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """A broadcast: banner below, ticker, the station in a corner."""
    out = picture.copy()
    draw = ImageDraw.Draw(out)
    width, height = out.size
    draw.rectangle((0, height * 0.72, width, height * 0.88), fill=(170, 20, 30))
    draw.rectangle((0, height * 0.88, width, height), fill=(20, 20, 60))
    draw.rectangle((width * 0.82, height * 0.04, width * 0.97, height * 0.16), fill=(20, 20, 60))
    _words(out, ["BREAKING: COUNCIL VOTES"], width * 0.03, height * 0.76, width * 0.055, "white")
    _words(
        out,
        ["markets 2.4 % up - weather: rain in the west - sports"],
        width * 0.02,
        height * 0.91,
        width * 0.035,
        "white",
    )
    _words(out, ["TV 9"], width * 0.84, height * 0.06, width * 0.05, "white")
    return out


@_more("covered", "subtitled")
def _subtitled(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """Black bars of a film, yellow words in the lower one and over the picture."""
    out = ImageOps.expand(picture, (0, round(picture.height * 0.12)))
    _words(
        out,
        ["- I never said that it was you.", "- Then who was it?"],
        out.width * 0.2,
        out.height * 0.8,
        out.width * 0.045,
        "yellow",
    )
    return out


@_more("covered", "stock_lines")
def _stock_lines(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """A stock agency's grid of lines and its name."""
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    step = picture.width // 5
    for at in range(-picture.height, picture.width + picture.height, step):
        draw.line((at, 0, at + picture.height, picture.height), fill=(255, 255, 255, 120), width=3)
        draw.line((at, picture.height, at + picture.height, 0), fill=(255, 255, 255, 120), width=3)
    draw.text(
        (picture.width * 0.2, picture.height * 0.43),
        "stockphoto",
        font=_font(picture.width * 0.12),
        fill=(255, 255, 255, 150),
    )
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


@_more("filtered", "duotone")
def _duotone(picture: Image.Image, rng: Rng, _others: Others) -> Image.Image:
    dark, light = np.array(_colour(rng)) * 0.35, 160 + np.array(_colour(rng)) * 0.35
    grey = np.asarray(ImageOps.autocontrast(picture.convert("L"), 1), np.float32)[..., None] / 255
    return _image(dark + (light - dark) * grey)


@_more("filtered", "painted")
def _painted(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """Smoothed to areas with dark outlines, as a drawing app does."""
    levels = np.asarray(picture)
    smooth = cv2.bilateralFilter(cv2.bilateralFilter(levels, 9, 60, 9), 9, 60, 9)
    edges = cv2.adaptiveThreshold(
        cv2.medianBlur(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), 5),
        255,
        cv2.ADAPTIVE_THRESH_MEAN_C,
        cv2.THRESH_BINARY,
        9,
        5,
    )
    return Image.fromarray(cv2.bitwise_and(smooth, smooth, mask=edges))


@_more("filtered", "dithered")
def _dithered(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """A GIF of 16 colours."""
    return picture.quantize(16, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")


@_more("filtered", "inverted")
def _inverted(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    return ImageOps.invert(picture)


@_more("filtered", "hdr")
def _hdr(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """Local contrast to the limit."""
    lab = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(4.0, (8, 8)).apply(lab[..., 0])
    return ImageEnhance.Color(Image.fromarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))).enhance(1.4)


@_more("filtered", "stretched")
def _stretched(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    return picture.resize((round(picture.width * 1.7), picture.height))


@_more("within", "picture_in_picture")
def _picture_in_picture(picture: Image.Image, rng: Rng, others: Others) -> Image.Image:
    """A frame of a video in whose corner the picture takes .4 of the width."""
    ground = ImageOps.fit(others[int(rng.integers(len(others)))], (1280, 720))
    small = picture.resize((512, round(512 * picture.height / picture.width)))
    small = small.crop((0, 0, 512, min(small.height, 620)))
    ground.paste(small, (1280 - 512 - 40, 720 - small.height - 40))
    return _recompressed(ground, 60)


@_more("within", "collage_square")
def _collage_square(picture: Image.Image, rng: Rng, others: Others) -> Image.Image:
    """Four squares, each cut from the middle of its picture."""
    side = min(picture.size)
    out = Image.new("RGB", (2 * side + 12, 2 * side + 12), "white")
    own = int(rng.integers(4))
    for cell in range(4):
        shown = picture if cell == own else others[int(rng.integers(len(others)))]
        out.paste(ImageOps.fit(shown, (side, side)), ((cell % 2) * (side + 12), (cell // 2) * (side + 12)))
    return _scaled(out, 0.7)


@_more("within", "collage_three")
def _collage_three(picture: Image.Image, rng: Rng, others: Others) -> Image.Image:
    """One large and two small ones beside it; the picture is a small one."""
    width, height = picture.size
    out = Image.new("RGB", (round(width * 2.6), height * 2), "black")
    out.paste(ImageOps.fit(others[int(rng.integers(len(others)))], (round(width * 1.6) - 8, height * 2)), (0, 0))
    own = int(rng.integers(2))
    out.paste(picture, (round(width * 1.6), own * height))
    out.paste(
        ImageOps.fit(others[int(rng.integers(len(others)))], picture.size), (round(width * 1.6), (1 - own) * height)
    )
    return _scaled(out, 0.5)


@_more("within", "post_dark")
def _post_dark(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """A post on a dark screen, words above the picture, which has round corners."""
    width = round(picture.width * 1.12)
    top = round(width * 0.32)
    out = Image.new("RGB", (width, top + picture.height + round(width * 0.16)), (21, 32, 43))
    ImageDraw.Draw(out).ellipse((width * 0.04, width * 0.04, width * 0.14, width * 0.14), fill=(90, 160, 240))
    _words(out, ["Somebody Online", "@someone_online"], width * 0.17, width * 0.045, width * 0.035, "white")
    _words(
        out,
        ["I have no words for what I saw today,", "so here is a picture of it."],
        width * 0.05,
        width * 0.17,
        width * 0.042,
        "white",
    )
    out.paste(picture, ((width - picture.width) // 2, top), _rounded(picture, 0.06))
    _words(
        out,
        ["10:08 - 24 Nov   1.2M views", "4,104 reposts   2,417 likes"],
        width * 0.05,
        top + picture.height + width * 0.03,
        width * 0.035,
        "gray",
    )
    return out


@_more("within", "profile")
def _profile(picture: Image.Image, _rng: Rng, others: Others) -> Image.Image:
    """A grid of nine squares under a profile's head; the picture is the middle one."""
    side, gap = 220, 6
    out = Image.new("RGB", (3 * side + 2 * gap, 240 + 3 * side + 2 * gap), "white")
    draw = ImageDraw.Draw(out)
    draw.ellipse((30, 40, 170, 180), fill=(200, 120, 160))
    _words(out, ["someone_online", "412 posts   8,120 followers", "photos of what I see"], 210, 50, 24)
    for cell in range(9):
        shown = picture if cell == 4 else others[cell % len(others)]
        out.paste(ImageOps.fit(shown, (side, side)), ((cell % 3) * (side + gap), 240 + (cell // 3) * (side + gap)))
    return out


@_more("within", "shop")
def _shop(picture: Image.Image, _rng: Rng, _others: Others) -> Image.Image:
    """An offer's page: the picture on the left at half of the width, words and buttons on the right."""
    width = 2 * picture.width
    out = Image.new("RGB", (width, max(picture.height + 120, round(width * 0.4))), "white")
    draw = ImageDraw.Draw(out)
    draw.rectangle((0, 0, width, 60), fill=(35, 47, 62))
    _words(out, ["shop.example   search   basket (2)"], 30, 15, 24, "white")
    out.paste(picture, (20, 90))
    x = picture.width + 60
    _words(out, ["Mug with your photo, 330 ml", "4.6 of 5, 1,204 ratings", "12.90 in stock"], x, 100, 26)
    draw.rounded_rectangle((x, 240, x + 220, 290), 20, fill=(255, 200, 60))
    _words(out, ["Add to basket"], x + 30, 250, 22)
    _words(out, ["Dispatched within two days. Returns", "within thirty days. See conditions."], x, 310, 20)
    return out
