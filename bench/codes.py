"""Codes to search in: uniform ones and ones with the statistics of real PDQ hashes."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from local.carriers import PICTURES
from optout.fingerprint import PDQ_MIN_QUALITY
from optout.fingerprint.pdq import pdq_hashes

Codes = NDArray[np.uint8]  # (n, 32)

_CROPS = 500


def uniform(count: int, seed: int) -> Codes:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def pdq_like(count: int, seed: int) -> Codes:
    """Nine tenths drawn from a Gaussian copula fitted to real PDQ bits, each cut at its own median as PDQ does; one
    tenth real hashes with 0 to 40 bits changed, so that there are clusters as in a real list."""
    rng = np.random.default_rng(seed)
    codes = _drawn(count, rng)
    real = _pool()[::2]
    places = rng.choice(count, count // 10, replace=False)
    for part in np.array_split(places, max(1, len(places) // 50_000)):
        codes[part] = flipped(real[rng.integers(0, len(real), len(part))], rng.integers(0, 41, len(part)), rng)
    return codes


def queries(codes: Codes, count: int, kind: str, seed: int) -> Codes:
    """One in a hundred lies 0 to 31 bits from a code of the list; of the rest, if PDQ-like, half are real hashes."""
    rng = np.random.default_rng(seed)
    asked = uniform(count, seed) if kind == "uniform" else _drawn(count, rng)
    if kind != "uniform":
        real = _pool()[1::2]
        some = rng.choice(count, count // 2, replace=False)
        asked[some] = real[rng.integers(0, len(real), len(some))]
    some = rng.choice(count, max(1, count // 100), replace=False)
    asked[some] = flipped(codes[rng.integers(0, len(codes), len(some))], rng.integers(0, 32, len(some)), rng)
    return asked


def flipped(codes: Codes, bits: NDArray[np.integer], rng: np.random.Generator) -> Codes:
    """Each code with exactly so many of its bits changed."""
    order = rng.random((len(codes), 256), dtype=np.float32).argsort(axis=1).argsort(axis=1)
    return codes ^ np.packbits(order < np.asarray(bits)[:, None], axis=1)


def _drawn(count: int, rng: np.random.Generator) -> Codes:
    codes = np.empty((count, 32), dtype=np.uint8)
    for start in range(0, count, 100_000):
        latent = rng.standard_normal((min(100_000, count - start), 256), dtype=np.float32) @ _mixing().T
        median = np.partition(latent, 127, axis=1)[:, 127:128]
        codes[start : start + len(latent)] = np.packbits(latent > median, axis=1)
    return codes


@cache
def _mixing() -> NDArray[np.float32]:
    signs = np.unpackbits(_pool(), axis=1).astype(np.float64) * 2 - 1
    # The arcsine law: correlation of signs to correlation of the Gaussians behind them.
    correlation = np.sin(np.pi / 2 * np.clip(signs.T @ signs / len(signs), -0.999, 0.999))
    values, vectors = np.linalg.eigh(correlation)
    mixing = vectors * np.sqrt(np.clip(values, 1e-3, None))
    return np.asarray(mixing / np.linalg.norm(mixing, axis=1, keepdims=True), dtype=np.float32)


@cache
def _pool() -> Codes:
    """Real hashes: eight orientations of random crops of the photographs that set-up fetches."""
    rng = np.random.default_rng(7)
    pictures = []
    for path in sorted(PICTURES.iterdir()):
        with Image.open(path) as opened:
            opened.thumbnail((800, 800))
            pictures.append(np.asarray(opened.convert("RGB")))
    pictures = [picture for picture in pictures if min(picture.shape[:2]) >= 64]
    hashes: list[bytes] = []
    for number in range(_CROPS):
        picture = pictures[number % len(pictures)]
        height, width = (max(48, int(side * rng.uniform(0.15, 0.9))) for side in picture.shape[:2])
        y, x = (
            int(rng.integers(0, max(1, side - crop)))
            for side, crop in zip(picture.shape, (height, width), strict=False)
        )
        codes, quality = pdq_hashes(picture[y : y + height, x : x + width])
        if quality >= PDQ_MIN_QUALITY:
            hashes.extend(codes)
    pool = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)
    return pool[np.random.default_rng(8).permutation(len(pool))]
