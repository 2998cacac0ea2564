"""The compiled searches of `_kernel.c`, where there are any, and what makes the tables that they read: same arrays,
same answers as NumPy's, much sooner.

A compiler that is there when the package is installed makes them; without one everything works all the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]  # (n, 4): codes of 256 bits

_FOLDER = Path(__file__).parent
_ROOM = 4096
# Corners are sorted by what is above so many bits of their keys first, then by these: 0.15 s for 29 million, by 10 bits
# 0.34 s, at once 0.46 s.
_LOWER_BITS = 12


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
        ("live", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("lanes", ctypes.c_int64),
        ("ahead", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("starts", "rows", "last", "late_rows", "late_before")),
        *((name, ctypes.c_void_p) for name in ("boxes", "box_rows", "crowds")),
        ("crowd_count", ctypes.c_int64),
    )


class _Probes(ctypes.Structure):
    _fields_ = (
        ("masks", ctypes.c_void_p),
        ("allowed", ctypes.c_void_p),
        ("mask_count", ctypes.c_int64),
        ("radius", ctypes.c_int64),
    )


class View:
    """What a search reads: the arrays by the names in `_kernel.c`. They must stay where they are while it is used."""

    def __init__(self) -> None:
        self._index = _Index()
        # The addresses are of these, which must live as long.
        self._held: dict[str, Any] = {}
        self.address = ctypes.addressof(self._index)

    def update(self, crowds: Sequence[Mapping[str, NDArray[Any] | int]], **values: NDArray[Any] | int) -> None:
        """What is to be read from now on. `crowds` is another object when they have changed, and so is every array that
        lies elsewhere: asking for addresses takes longer than an addition."""
        for name, value in values.items():
            if self._held.get(name) is not value:
                setattr(self._index, name, value.ctypes.data if isinstance(value, np.ndarray) else value)
                self._held[name] = value
        if self._held.get("crowds") is not crowds:
            made = (_Crowd * len(crowds))(*(_Crowd(**_addresses(crowd)) for crowd in crowds))
            self._index.crowds, self._index.crowd_count = ctypes.addressof(made), len(crowds)
            self._held |= {"crowds": crowds, "made": made}


class Probes:
    """What a search looks up: `masks` are what a band may differ by, `allowed` what the next band may then. Without
    any, all codes are compared."""

    def __init__(self, masks: NDArray[np.uint16], allowed: NDArray[np.uint8], radius: int) -> None:
        self._held = masks, allowed
        self._probes = _Probes(masks.ctypes.data, allowed.ctypes.data, len(masks), radius)
        self.address = ctypes.addressof(self._probes)


class _Corners(ctypes.Structure):
    _fields_ = (
        ("stored", ctypes.c_void_p),
        ("begins", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("pictures", "head", "corner", "place")),
    )


class Kernel:
    """The compiled library. `plain` keeps to what every processor of its kind has."""

    def __init__(self, path: Path, *, plain: bool = False) -> None:
        """Raises OSError when the file is none for this machine, AttributeError when an earlier release made it."""
        library = ctypes.CDLL(str(path))
        self._count, self._list, self._sort = library.optout_count, library.optout_list, library.optout_sort
        for made in (self._count, self._list, self._sort):
            made.restype = None
        wide = not plain and library.optout_is_wide()
        self._search = library.optout_search_wide if wide else library.optout_search
        self._search.restype = ctypes.c_int64
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        # Bytes are handed over without NumPy's object for addresses, which takes longer than a short search.
        self._search.argtypes = [pointer, pointer, ctypes.c_char_p, number, pointer, pointer, number]

    def any_match(self, view: View, codes: NDArray[np.uint8], probes: Probes) -> NDArray[np.int64]:
        """For each code a row within the radius, or -1."""
        witness: Any = _numbers(len(codes))()
        self._search(view.address, probes.address, codes.tobytes(), len(codes), witness, None, 0)
        return np.asarray(np.frombuffer(witness, np.int64))

    def matches(self, view: View, codes: NDArray[np.uint8], probes: Probes) -> NDArray[np.int64]:
        """(n, 3): query, row and distance of all that is within the radius, maybe more than once."""
        witness, asked, room = _numbers(len(codes))(), codes.tobytes(), _ROOM
        while True:
            hits = np.empty((room, 3), dtype=np.int64)
            found: int = self._search(view.address, probes.address, asked, len(codes), witness, hits.ctypes.data, room)
            if found <= room:
                return hits[:found]
            room = found

    def count(self, words: Words, members: NDArray[np.int64], counts: NDArray[np.uint32]) -> None:
        """Add to `counts` (16 * 65536) how many of these rows of the codes have each value in each band."""
        self._count(*_pointers(words, members), ctypes.c_int64(len(members)), *_pointers(counts))

    def list(
        self,
        words: Words,
        members: NDArray[np.int64],
        counts: NDArray[np.uint32],
        slots: NDArray[np.uint16],
        starts: NDArray[np.uint32],
        rows: NDArray[np.uint32],
        boxes: NDArray[np.uint16],
        box_rows: NDArray[np.uint32],
    ) -> None:
        """Write the next bands of these rows into slots and boxes, and the rows from `starts` on and beside boxes."""
        entries, filled = np.empty(len(members), np.uint64), np.empty(1 << 16, np.uint32)
        self._list(
            *_pointers(words, members),
            ctypes.c_int64(len(members)),
            *_pointers(counts, slots),
            ctypes.c_int64(slots.shape[1]),
            *_pointers(starts, rows, boxes, box_rows, entries, filled),
        )

    def sort(
        self,
        stored: NDArray[np.uint8],
        begins: NDArray[np.int64],
        sizes: tuple[int, int, int],
        table: int,
        key: tuple[int, int],
        order: NDArray[np.uint8],
        room: NDArray[np.uint32],
    ) -> NDArray[np.uint32]:
        """Write the numbers of the corners that a table lists, by their key, into `order` (as many, bytes of each);
        returns where each key begins. `sizes`: bytes of a picture's head, of a corner, and of what comes before its
        descriptor; `key`: its first byte in a descriptor, and its bits. `room` is written to: two numbers for each of
        `order`, and one for each key."""
        first, bits = key
        lower = min(bits, _LOWER_BITS)
        corners = _Corners(*_pointers(stored, begins), len(begins) - 1, *sizes)
        listed, width = order.shape
        starts, upper = np.empty((1 << bits) + 1, np.uint32), np.zeros(1 << (bits - lower), np.int64)
        entries, filled = room[: 2 * listed], room[2 * listed :][: 1 << bits]
        filled[:] = 0
        self._sort(
            ctypes.byref(corners),
            *map(ctypes.c_int64, (table, first, bits, lower)),
            *_pointers(entries, upper, filled, starts, order),
            ctypes.c_int64(width),
        )
        return starts


def load() -> Kernel | None:
    """The library that was compiled for this machine, or None."""
    for path in sorted(_FOLDER.glob("_kernel*.so")):
        try:
            return Kernel(path)
        except (OSError, AttributeError):
            continue
    return None


@lru_cache(maxsize=32)
def _numbers(count: int) -> type[ctypes.Array[ctypes.c_int64]]:
    return ctypes.c_int64 * count


def _pointers(*arrays: NDArray[Any]) -> Iterator[ctypes.c_void_p]:
    """Where the arrays begin; the caller holds them as long as that is used. Raises ValueError for one that is not in
    one piece."""
    for array in arrays:
        if not array.flags.c_contiguous:
            raise ValueError("an array in pieces")
        yield ctypes.c_void_p(array.ctypes.data)


def _addresses(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: value.ctypes.data if isinstance(value, np.ndarray) else value for name, value in values.items()}
