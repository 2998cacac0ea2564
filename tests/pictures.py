"""Real photographs for tests, taken from installable packages at set-up; none is committed."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image

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
