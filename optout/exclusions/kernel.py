"""The compiled searches of `_kernel.c`, where there are any: same arrays, same answers as NumPy's, much sooner.

A compiler that is there when the package is installed makes them; without one everything works all the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]  # (n, 4): codes of 256 bits

_FOLDER = Path(__file__).parent
_ROOM = 4096


class _Crowd(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("parts", "distances", "begins", "rows", "centre")),
        ("members", ctypes.c_int64),
    )


class _Index(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_void_p),
        ("added", ctypes.c_void_p),
        ("base_rows", ctypes.c_int64),
        ("end", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("live", "heads", "following", "first_blocks", "starts", "rows")),
        ("listings", ctypes.c_int64),
        ("tail_rows", ctypes.c_void_p),
        ("base_blocks", ctypes.c_int64),
        ("bits", ctypes.c_int64),
        ("crowds", ctypes.c_void_p),
        ("crowd_count", ctypes.c_int64),
    )


class View:
    """What a search reads: the arrays by the names in `_kernel.c`. They must stay where they are while it is used."""

    def __init__(self, crowds: Sequence[dict[str, Any]], **values: NDArray[Any] | int) -> None:
        # The addresses below are of these arrays, which must live as long.
        self._held = [*crowds, values]
        self._crowds = (_Crowd * len(crowds))(*(_Crowd(**_addresses(crowd)) for crowd in crowds))
        self._index = _Index(crowds=ctypes.addressof(self._crowds), crowd_count=len(crowds), **_addresses(values))
        self.address = ctypes.addressof(self._index)


class Probes:
    """Which lists a search looks up: `masks` are what a band may differ by, `allowed` what the next band may then.
    Without any, all codes are compared."""

    def __init__(self, masks: NDArray[np.uint16], allowed: NDArray[np.uint8]) -> None:
        self._held = masks, allowed
        self.addresses = masks.ctypes.data, allowed.ctypes.data, len(masks)


class Kernel:
    """The compiled library. `plain` keeps to what every processor of its kind has."""

    def __init__(self, path: Path, *, plain: bool = False) -> None:
        """Raises OSError when the file is none for this machine."""
        self._search = ctypes.CDLL(str(path)).optout_search
        self._search.restype = ctypes.c_int64
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        # Bytes are handed over without NumPy's object for addresses, which takes longer than a short search.
        self._search.argtypes = [
            *(
                pointer,
                ctypes.c_char_p,
                number,
                number,
                pointer,
                pointer,
                number,
                pointer,
                pointer,
                number,
                ctypes.c_int,
            )
        ]
        self._plain = plain

    def any_match(self, view: View, queries: Words, radius: int, probes: Probes) -> NDArray[np.int64]:
        """For each query a row within the radius, or -1."""
        witness = _numbers(len(queries))()
        self._search(
            view.address, queries.tobytes(), len(queries), radius, *probes.addresses, witness, None, 0, self._plain
        )
        return np.asarray(np.frombuffer(memoryview(witness), dtype=np.int64))

    def matches(self, view: View, queries: Words, radius: int, probes: Probes) -> NDArray[np.int64]:
        """(n, 3): query, row and distance of all that is within the radius, maybe more than once."""
        witness, asked, room = _numbers(len(queries))(), queries.tobytes(), _ROOM
        while True:
            hits = np.empty((room, 3), dtype=np.int64)
            found: int = self._search(
                *(view.address, asked, len(queries), radius, *probes.addresses),
                *(witness, hits.ctypes.data, room, self._plain),
            )
            if found <= room:
                return hits[:found]
            room = found


def load() -> Kernel | None:
    """The library that was compiled for this machine, or None."""
    for path in sorted(_FOLDER.glob("_kernel*.so")):
        try:
            return Kernel(path)
        except OSError:
            continue
    return None


@lru_cache(maxsize=32)
def _numbers(count: int) -> type[ctypes.Array[ctypes.c_int64]]:
    return ctypes.c_int64 * count


def _addresses(values: dict[str, Any]) -> dict[str, int]:
    return {name: value.ctypes.data if isinstance(value, np.ndarray) else value for name, value in values.items()}
