"""Finding listed faces, exactly: every query against every vector, a block of rows and many queries at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Rows are stored in blocks that never move: 4 MB each, so that growing copies nothing and a block's scores for
# QUERIES_AT_ONCE queries take 4 MB too. Blocks of 4,096 and 16,384 rows are as fast within a fifth (2026-11-24).
BLOCK_ROWS = 8_192
QUERIES_AT_ONCE = 128

# float32 sums of 128 products are off by less than 1e-6, and differently for one query and for many. What is nearer to
# the threshold than this is computed again in float64, so that the answer does not depend on the company it came in.
_ROUNDING = 1e-5


class FaceIndex:
    """Unit vectors, found by their cosine with others. A freed row is used again."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._blocks: list[NDArray[np.float32]] = []
        self._live: set[int] = set()
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._live)

    def add(self, vector: NDArray[np.float32]) -> int:
        """Store one vector of length 1; returns the row that searches will name."""
        row = self._free.pop() if self._free else len(self._live)
        block, place = divmod(row, BLOCK_ROWS)
        if block == len(self._blocks):
            self._blocks.append(np.zeros((BLOCK_ROWS, self._dimensions), dtype=np.float32))
        self._blocks[block][place] = vector
        self._live.add(row)
        return row

    def remove(self, row: int) -> None:
        """Raises KeyError when the row holds nothing."""
        self._live.remove(row)
        self._free.append(row)
        block, place = divmod(row, BLOCK_ROWS)
        self._blocks[block][place] = 0  # nobody's: its cosine with anything is 0

    def within(self, vectors: NDArray[np.float32], cosine: float) -> list[list[tuple[int, float]]]:
        """For each of the (n, 128) vectors, (row, cosine) of every stored vector with at least this cosine, in no
        order. Raises ValueError unless `cosine` is above 0: a threshold below tells nobody apart."""
        if not cosine > 0:
            raise ValueError("the cosine must be above 0")
        found: list[list[tuple[int, float]]] = [[] for _ in vectors]
        end = len(self._live) + len(self._free)
        for first in range(0, len(vectors), QUERIES_AT_ONCE):
            queries = np.ascontiguousarray(vectors[first : first + QUERIES_AT_ONCE], dtype=np.float32)
            for number, block in enumerate(self._blocks):
                rows = block[: end - number * BLOCK_ROWS]
                scores = rows @ queries[0] if len(queries) == 1 else queries @ rows.T
                near = np.flatnonzero(scores >= cosine - _ROUNDING)
                for query, place in zip(*divmod(near, len(rows)), strict=True):
                    exact = float(rows[place].astype(np.float64) @ queries[query].astype(np.float64))
                    if exact >= cosine:
                        # Rounding can carry a vector a hair past itself.
                        found[first + query].append((number * BLOCK_ROWS + int(place), min(1.0, exact)))
        return found
