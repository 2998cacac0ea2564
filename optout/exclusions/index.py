"""Finding what is near, exactly: a full scan over growing arrays.

Rows are never moved; a removed row stays as a tombstone that no search returns, and its place is used again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WORDS = 4  # 256 bits
_FIRST_ROWS = 64


class _Rows:
    """Row numbers for a growing array, freed ones first."""

    def __init__(self) -> None:
        self.live: NDArray[np.bool_] = np.zeros(_FIRST_ROWS, dtype=bool)
        self.end = 0
        self._free: list[int] = []

    def take(self) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row = self.end
            self.end += 1
            if row == len(self.live):
                self.live = np.concatenate([self.live, np.zeros_like(self.live)])
        self.live[row] = True
        return row

    def free(self, row: int) -> None:
        if not self.live[row]:
            raise KeyError(row)
        self.live[row] = False
        self._free.append(row)

    def __len__(self) -> int:
        return self.end - len(self._free)


class HammingIndex:
    """256-bit codes, found by the number of bits that differ."""

    def __init__(self) -> None:
        self._rows = _Rows()
        self._words: NDArray[np.uint64] = np.zeros((_FIRST_ROWS, _WORDS), dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, code: bytes) -> int:
        """Store 32 bytes; returns the row that searches will name."""
        row = self._rows.take()
        if row >= len(self._words):
            self._words = np.concatenate([self._words, np.zeros_like(self._words)])
        self._words[row] = np.frombuffer(code, dtype=np.uint64)
        return row

    def remove(self, row: int) -> None:
        """Raises KeyError when the row holds nothing."""
        self._rows.free(row)

    def within(self, code: bytes, radius: int) -> list[tuple[int, int]]:
        """(row, distance) of every stored code at most `radius` bits away, in no order."""
        end = self._rows.end
        different = self._words[:end] ^ np.frombuffer(code, dtype=np.uint64)
        distances = np.bitwise_count(different).sum(axis=1, dtype=np.int32)
        rows = np.flatnonzero((distances <= radius) & self._rows.live[:end])
        return [(int(row), int(distances[row])) for row in rows]
