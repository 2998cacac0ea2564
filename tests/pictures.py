"""Real photographs for tests, taken from installable packages at set-up; none is committed."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image, ImageDraw, ImageOps

from local.carriers import PICTURES


@cache
def picture(name: str) -> bytes:
    """A photograph's file, such as `obama.jpg`; `local/carriers.py` lists them."""
    path = PICTURES / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} is not in {PICTURES}. Run `python -m local.carriers`, which `make` does at set-up."
        )
    return path.read_bytes()


@cache
def screenshot(name: str) -> bytes:
    """A telephone's screen, 600 x 1400, that shows the photograph (600 x 400 at 0, 220) in a feed; a PNG."""
    out = Image.new("RGB", (600, 1400), "white")
    draw = ImageDraw.Draw(out)
    draw.text((30, 20), "10:08", fill="black", font_size=28)
    draw.text((120, 120), "someone_online", fill="black", font_size=28)
    with Image.open(io.BytesIO(picture(name))) as opened:
        out.paste(ImageOps.fit(opened.convert("RGB"), (600, 400)), (0, 220))
    draw.text((30, 640), "2,417 likes   what a day", fill="black", font_size=28)
    written = io.BytesIO()
    out.save(written, "PNG")
    return written.getvalue()


def beside(left: bytes, right: bytes) -> bytes:
    """Two pictures side by side."""
    halves = []
    for data in (left, right):
        with Image.open(io.BytesIO(data)) as opened:
            halves.append(opened.convert("RGB").resize((600, 800)))
    both = Image.new("RGB", (1200, 800))
    for place, half in enumerate(halves):
        both.paste(half, (600 * place, 0))
    out = io.BytesIO()
    both.save(out, "JPEG", quality=92)
    return out.getvalue()


def part_of(name: str, share: float, over: str, quality: int = 85) -> bytes:
    """A JPEG of another picture, of which the left share is that of the picture named."""
    with Image.open(io.BytesIO(picture(name))) as opened, Image.open(io.BytesIO(picture(over))) as other:
        width, height = opened.size
        out = other.convert("RGB").resize((width, height))
        out.paste(opened.convert("RGB").crop((0, 0, int(width * share), height)), (0, 0))
    file = io.BytesIO()
    out.save(file, "JPEG", quality=quality)
    return file.getvalue()
