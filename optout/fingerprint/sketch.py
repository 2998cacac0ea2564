"""A picture's sketch: enough to say whether a stretch of pixels agrees with it, too little to show it.

The picture is shrunk to 64 x 64, whatever its shape, and cut into 8 x 8 blocks of 8 x 8 pixels. Of each block the
sketch keeps `BITS` signs of random projections of its pixels less their mean; the angle between two blocks' signs
estimates their normalised cross-correlation (Charikar, STOC 2002). No block's brightness or contrast is kept but one
bit that says whether it has any structure. What a thief could make of it: docs/accuracy.md, "What is stored".
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

GRID = 64
BLOCKS = 8
BITS = 32
SKETCH_BYTES = BLOCKS * BLOCKS // 8 + BLOCKS * BLOCKS * BITS // 8
# Grey levels of standard deviation within a block: below lies the noise of compression.
STRUCTURED = 4.0


def sketch_of(grey: NDArray[np.uint8]) -> bytes:
    """`SKETCH_BYTES`: a bit for each block that has structure, then the signs of each, row by row."""
    import cv2

    small = cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA)
    signs, spread = signs_of(small.astype(np.float32))
    return np.packbits(spread > STRUCTURED).tobytes() + np.packbits(signs, axis=1).tobytes()


def signs_of(small: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(64, BITS) signs and the (64,) standard deviations of the blocks of a (64, 64) picture."""
    blocks = blocks_of(small)
    return blocks @ _projections() > 0, blocks.std(axis=1)


def blocks_of(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """(64, 64): of each block of a (64, 64) picture the pixels, row by row, less their mean."""
    side = GRID // BLOCKS
    blocks = small.reshape(BLOCKS, side, BLOCKS, side).transpose(0, 2, 1, 3).reshape(BLOCKS * BLOCKS, side * side)
    return np.asarray(blocks - blocks.mean(axis=1, keepdims=True))


@cache
def _projections() -> NDArray[np.float32]:
    """(64, BITS) of +1 and -1, the bits of SHA-256 of the column's number; the same everywhere, for ever."""
    columns = [
        np.unpackbits(np.frombuffer(hashlib.sha256(b"sketch %d" % bit).digest()[:8], np.uint8)) for bit in range(BITS)
    ]
    return np.stack(columns, axis=1).astype(np.float32) * 2 - 1
