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
    return _codes(np.stack(grids)), int(_qualities(plain[None])[0])


def pdq_of_grids(grids: NDArray[np.float32]) -> list[tuple[bytes, int]]:
    """The hashes and the qualities of n pictures that have been shrunk to (n, 64, 64) luma already."""
    return list(zip(_codes(grids), _qualities(grids).tolist(), strict=True))


def negative(code: bytes) -> bytes:
    """The hash of the same picture with dark and light exchanged: every step of it goes the other way."""
    return bytes(byte ^ 0xFF for byte in code)


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
    centres = ((np.arange(_GRID) + 0.5) * length / _GRID).astype(int)
    # Two passes of the window reach at most that far; what lies outside the picture counts nothing. Only what a centre
    # reaches is worked out: as a product of whole matrices a side of 300 to 1,024 that was new took 30 ms, so .3.
    at = centres[:, None] + np.arange(-2 * (window - ahead), 2 * ahead - 1)
    between = centres[:, None] + np.arange(ahead - window, ahead)
    first, last = np.maximum(between - (window - ahead), 0), np.minimum(between + ahead, length)
    own = np.minimum(centres + ahead, length) - np.maximum(centres - (window - ahead), 0)
    part = ((between >= 0) & (between < length)) / (own[:, None] * np.maximum(last - first, 1))
    reached = (at[:, None, :] >= first[..., None]) & (at[:, None, :] < last[..., None])
    inside = np.clip(at, 0, length - 1)
    weights = np.where(at == inside, (reached * part[..., None]).sum(axis=1), 0)
    return inside, weights[:, None, :].astype(np.float32)


@cache
def _dct() -> NDArray[np.float32]:
    i, j = np.arange(1, 17)[:, None], np.arange(_GRID)[None, :]
    return np.asarray(np.sqrt(2 / _GRID) * np.cos(np.pi / 2 / _GRID * i * (2 * j + 1)), dtype=np.float32)


def _qualities(grids: NDArray[np.floating]) -> NDArray[np.int64]:
    """How much structure there is to hash: the sum of clear steps between neighbours, scaled as in the reference."""
    steps = [np.abs(np.trunc(np.diff(grids, axis=axis) * 100 / 255)).sum(axis=(1, 2)) for axis in (1, 2)]
    return np.asarray(np.minimum((steps[0] + steps[1]).astype(np.int64) // 90, 100))


def _codes(grids: NDArray[np.float32]) -> tuple[bytes, ...]:
    dct = (_dct() @ grids @ _dct().T).reshape(len(grids), -1)
    # Torben's median is the lower one of the two in the middle.
    median = np.partition(dct, 127, axis=1)[:, 127]
    bits = np.packbits((dct > median[:, None])[:, ::-1], axis=1)
    return tuple(row.tobytes() for row in bits)
