"""Real photographs for tests, taken from installable packages at set-up; none is committed."""

from __future__ import annotations

from functools import cache

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
