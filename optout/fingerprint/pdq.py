"""PDQ, the perceptual hash of facebook/ThreatExchange, in NumPy.

Picture -> luma -> 64 x 64 by two passes of a box filter (Jarosz) and decimation -> the 16 x 16 lowest frequencies of
its DCT without the constant row and column -> one bit each: above the median or not. Source: pdq/cpp/hashing/
pdqhashing.cpp and pdq/cpp/downscaling/downscaling.cpp there. How close to the published hashes: docs/accuracy.md.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

# ThreatExchange's recommendation (pdq/README.md): two hashes match at <= 31 of 256 bits, below quality 50 discard.
PDQ_RADIUS = 31
PDQ_MIN_QUALITY = 50

_GRID = 64
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# Pictures above this are sampled down to it first; see docs/accuracy.md for what that costs in bits.
_SAMPLED_SIDE = 1024


def pdq_hashes(rgb: NDArray[np.uint8]) -> tuple[tuple[bytes, ...], int]:
    """Eight hashes of 32 bytes and the quality 0-100 of an (h, w, 3) picture with sides of at least 5.

    The bytes read in hex as ThreatExchange writes them. The first hash is the picture's own; then follow: turned by 90,
    180 and 270 degrees counter-clockwise, flipped top to bottom, left to right, along the main and the other diagonal.
    Each is the hash that the turned picture has itself, not the reference's sign changes in the DCT of the upright one:
    its filter is not symmetric, which alone costs up to 18 of the 31 bits.
    """
    plain, upside_down, mirrored, turned = _grids(rgb)
    grids = (plain, mirrored.T, turned, upside_down.T, upside_down, mirrored, plain.T, turned.T)
    return tuple(_bits(_dct() @ grid @ _dct().T) for grid in grids), _quality(plain)


def pdq_of_grid(grid: NDArray[np.float32]) -> tuple[bytes, int]:
    """The hash and the quality of a picture that has been shrunk to (64, 64) luma already."""
    return _bits(_dct() @ grid @ _dct().T), _quality(grid)


def distance(one: bytes, other: bytes) -> int:
    """Number of differing bits."""
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def _grids(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """The (64, 64) grids of the picture, of it upside down, mirrored, and both. Grids of its transposes are theirs."""
    sampled = rgb[_sampled(rgb.shape[0]), _sampled(rgb.shape[1])]
    luma = sampled[:, :, 0] * _LUMA[0] + sampled[:, :, 1] * _LUMA[1] + sampled[:, :, 2] * _LUMA[2]
    upright, upside_down = _shrink(luma), _shrink(luma, backwards=True)
    across = [_shrink(rows.T, backwards=backwards).T for backwards in (False, True) for rows in (upright, upside_down)]
    return tuple(across)


def _sampled(length: int) -> slice:
    """The middle one of every n pixels, so that at most 1024 are left."""
    step = -(-length // _SAMPLED_SIDE)
    return slice(step // 2, None, step)


def _shrink(lines: NDArray[np.float32], *, backwards: bool = False) -> NDArray[np.float32]:
    """(n, m) lines to (64, m): both box passes and the decimation along one side.

    A sum over few neighbours for each of the 64, not a product with one large matrix: OpenBLAS would spread that over
    threads, which takes ten times as long wherever another process keeps a core busy.
    """
    at, weights = _neighbours(len(lines))
    return np.asarray(np.matmul(weights, lines[len(lines) - 1 - at if backwards else at])[:, 0])


@lru_cache(maxsize=64)
def _neighbours(length: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which of `length` lines make each of the 64, (64, k), and how much each counts, (64, 1, k)."""
    if length == _GRID:
        # The reference takes 64 pixels as they are.
        return np.arange(_GRID)[:, None], np.ones((_GRID, 1, 1), dtype=np.float32)
    window = (length + 2 * _GRID - 1) // (2 * _GRID)
    ahead = (window + 2) // 2  # 7 -> 4, 8 -> 5: an even window reaches one further ahead than behind
    lines = np.arange(length)
    first, last = np.maximum(lines - (window - ahead), 0), np.minimum(lines + ahead, length)
    box = ((lines >= first[:, None]) & (lines < last[:, None])) / (last - first)[:, None]
    centres = ((np.arange(_GRID) + 0.5) * length / _GRID).astype(int)
    # Two passes of the window reach at most that far; what lies outside the picture counts nothing.
    reach = np.arange(-2 * (window - ahead), 2 * ahead - 1)
    at = centres[:, None] + reach
    inside = np.clip(at, 0, length - 1)
    weights = np.where(at == inside, np.take_along_axis(box[centres] @ box, inside, axis=1), 0)
    return inside, weights[:, None, :].astype(np.float32)


@cache
def _dct() -> NDArray[np.float32]:
    i, j = np.arange(1, 17)[:, None], np.arange(_GRID)[None, :]
    return np.asarray(np.sqrt(2 / _GRID) * np.cos(np.pi / 2 / _GRID * i * (2 * j + 1)), dtype=np.float32)


def _quality(grid: NDArray[np.floating]) -> int:
    """How much structure there is to hash: the sum of clear steps between neighbours, scaled as in the reference."""
    steps = sum(int(np.abs(np.trunc(np.diff(grid, axis=axis) * 100 / 255)).sum()) for axis in (0, 1))
    return min(steps // 90, 100)


def _bits(dct: NDArray[np.floating]) -> bytes:
    # Torben's median is the lower one of the two in the middle.
    median = np.partition(dct, 127, axis=None)[127]
    return np.packbits((dct > median).reshape(-1)[::-1]).tobytes()
