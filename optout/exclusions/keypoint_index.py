"""Enrolled pictures whose corners look like a candidate's, found without looking at the others.

Locality-sensitive hashing (Indyk and Motwani, STOC 1998): each table sorts all corners by some bits of their
descriptors; what falls into the bucket of a candidate's corner and differs in few bits votes for its picture
(`optout.exclusions.votes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optout.exclusions.votes import MAX_CANDIDATES, most_likely
from optout.fingerprint.keypoints import (
    DESCRIPTOR_BYTES,
    PLACE_BYTES,
    Features,
    Keypoints,
    from_places,
    to_columns,
    to_places,
)
from optout.fingerprint.sketch import SKETCH_BYTES

# Each table has three of the sixteen bytes of a descriptor to itself, and lists two of every four corners, others than
# the next table. Among 100,000 pictures that finds as many of 216 weak edits as three tables of all corners (.944 and
# .940), in two thirds of the memory.
TABLES = 4
_LISTED = 2
_KEY_BYTES = 3
# What many pictures have in common says nothing.
_MAX_BUCKET = 256
# Of 128 bits. The nearest of two views of one corner differ in 10 to 25.
_VOTE_BITS = 28
# A bucket holds four to eight corners: shorter ones are as many bytes again, longer ones take longer to read.
_BUCKET_LOG = 4
# Corners sorted together: more take longer to sort than to look up.
_BLOCK = 1 << 20  # a multiple of TABLES
# Tiers grow by this factor, so that each corner is sorted a few times only, whatever the order of adding and searching.
_TIER_RATIO = 4


@dataclass(frozen=True, eq=False)
class _Tier:
    """Corners `first` to `last`, by every table: `order` sorts them, `starts` says where each bucket begins."""

    first: int
    last: int
    bits: int
    order: tuple[NDArray[np.uint32], ...]
    starts: tuple[NDArray[np.uint32], ...]


class KeypointIndex:
    """Keypoints of pictures by row, as the other indexes keep theirs. One writer, any number of readers between writes;
    a search after a write is a write too."""

    def __init__(self) -> None:
        self._descriptors = np.zeros((0, DESCRIPTOR_BYTES), np.uint8)
        self._places = np.zeros((0, PLACE_BYTES), np.uint8)  # x / 2, y / 2, angle, level
        self._end = 0
        # By row: its first corner (one entry more than rows), the grey picture's size, its sketch, whether it is there.
        self._begins = np.zeros(1, np.int64)
        self._sizes = np.zeros((0, 2), np.uint16)
        self._sketches = np.zeros((0, SKETCH_BYTES), np.uint8)
        self._alive = np.zeros(0, bool)
        self._rows = 0
        self._tiers: list[_Tier] = []
        self._live = 0

    @classmethod
    def of(cls, stored: NDArray[np.uint8], ends: NDArray[np.int64]) -> KeypointIndex:
        """The pictures' keypoints in their stored form, one after the other, in rows 0 to n - 1; `ends` says where in
        `stored` each ends. Ready to search: the same as adding each, without a step of Python for each.

        Raises ValueError when some are of another version or broken.
        """
        columns = to_columns(stored, ends)
        index = cls()
        index._descriptors, index._places = columns.descriptors, columns.places
        index._begins, index._end = columns.begins, int(columns.begins[-1])
        index._sizes, index._sketches = columns.sizes, columns.sketches
        index._rows = index._live = len(ends)
        index._alive = np.ones(len(ends), bool)
        index._settle()
        return index

    def __len__(self) -> int:
        return self._live

    def add(self, keypoints: Keypoints) -> int:
        """Store one picture's; returns the row that searches will name."""
        features = keypoints.features
        start, end, row = self._end, self._end + len(features), self._rows
        if end > len(self._descriptors):
            room = max(1024, end, len(self._descriptors) * 5 // 4)
            self._descriptors = _roomier(self._descriptors, room)
            self._places = _roomier(self._places, room)
        if row == len(self._alive):
            room = max(64, row * 5 // 4)
            self._begins = _roomier(self._begins, room + 1)
            self._sizes = _roomier(self._sizes, room)
            self._sketches = _roomier(self._sketches, room)
            self._alive = _roomier(self._alive, room)
        self._descriptors[start:end] = features.descriptors
        self._places[start:end] = to_places(features)
        self._begins[row + 1] = end
        self._sizes[row] = keypoints.width, keypoints.height
        self._sketches[row] = np.frombuffer(keypoints.sketch, np.uint8)
        self._alive[row] = True
        self._end = end
        self._rows += 1
        self._live += 1
        return row

    def remove(self, row: int) -> None:
        """Raises KeyError when the row holds nothing."""
        self._require(row)
        self._alive[row] = False
        self._live -= 1

    def keypoints(self, row: int) -> Keypoints:
        """What is stored in a row. Raises KeyError when it holds nothing."""
        self._require(row)
        here = slice(int(self._begins[row]), int(self._begins[row + 1]))
        features = from_places(self._places[here], self._descriptors[here])
        width, height = self._sizes[row].tolist()
        return Keypoints(width, height, features, self._sketches[row].tobytes())

    def _require(self, row: int) -> None:
        if not (0 <= row < self._rows and self._alive[row]):
            raise KeyError(row)

    def candidates(self, features: Features, limit: int = MAX_CANDIDATES) -> list[int]:
        """Rows of the pictures that most corners agree about, the most likely first."""
        self._settle()
        if not len(features) or not self._live:
            return []
        asked, found = self._neighbours(features)
        owners = np.searchsorted(self._begins[1 : self._rows + 1], found, side="right")
        alive = self._alive[owners]
        asked, found, owners = asked[alive], found[alive], owners[alive]
        return most_likely(asked, owners, self._places[found], features, limit)

    def _neighbours(self, features: Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of a candidate's corner and an enrolled one that share a bucket and differ in few bits."""
        here, there = [], []
        for tier in self._tiers:
            for table in range(TABLES):
                keys = _keys(features.descriptors, table, tier.bits)
                begin = tier.starts[table][keys].astype(np.intp)
                size = tier.starts[table][keys + 1].astype(np.intp) - begin
                size[size > _MAX_BUCKET] = 0
                asked = np.repeat(np.arange(len(keys)), size)
                inner = np.arange(len(asked)) - np.repeat(np.cumsum(size) - size, size)
                here.append(asked)
                there.append(tier.order[table][np.repeat(begin, size) + inner].astype(np.intp) + tier.first)
        asked, found = np.concatenate(here), np.concatenate(there)
        stored = self._descriptors.view(np.uint64)
        bits = np.bitwise_count(features.descriptors.view(np.uint64)[asked] ^ stored[found]).sum(axis=1, dtype=np.int16)
        near = bits <= _VOTE_BITS
        return asked[near], found[near]

    def _settle(self) -> None:
        """Sort what was added since the last search; like-sized tiers become one, so that there are never many."""
        last = self._tiers[-1].last if self._tiers else 0
        if last == self._end:
            return
        first = last
        while self._tiers and self._tiers[-1].last - self._tiers[-1].first < _TIER_RATIO * (self._end - first):
            first = self._tiers.pop().first
        bits = min(8 * _KEY_BYTES, max(8, int(np.ceil(np.log2(self._end - first))) - _BUCKET_LOG))
        tables = [_sorted(self._descriptors[first : self._end], table, bits) for table in range(TABLES)]
        self._tiers.append(
            _Tier(first, self._end, bits, tuple(order for order, _ in tables), tuple(starts for _, starts in tables))
        )


def _sorted(descriptors: NDArray[np.uint8], table: int, bits: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The corners that the table lists by their key, and where each key begins. Counted first and placed then, block by
    block: sorting 29 million at once takes twice the memory of the tables themselves."""
    listed = ((np.arange(_BLOCK) + table) % TABLES < _LISTED).nonzero()[0]
    starts = np.zeros((1 << bits) + 1, np.uint32)
    for at in range(0, len(descriptors), _BLOCK):
        here = listed[: np.searchsorted(listed, len(descriptors) - at)] + at
        starts[1:] += np.bincount(_keys(descriptors[here], table, bits), minlength=1 << bits).astype(np.uint32)
    np.cumsum(starts, out=starts)
    order = np.empty(int(starts[-1]), np.uint32)
    free = starts[:-1].copy()
    for at in range(0, len(descriptors), _BLOCK):
        here = listed[: np.searchsorted(listed, len(descriptors) - at)] + at
        keys = _keys(descriptors[here], table, bits)
        by_key = _order(keys)
        keys = keys[by_key]
        begins = np.flatnonzero(np.diff(keys, prepend=-1))
        counts = np.diff(begins, append=len(keys))
        order[np.arange(len(keys)) + np.repeat(free[keys[begins]] - begins, counts)] = here[by_key]
        free[keys[begins]] += counts.astype(np.uint32)
    return order, starts


def _order(keys: NDArray[np.int32]) -> NDArray[np.intp]:
    """What sorts the keys, the lower half of their bits first: NumPy counts numbers of 16 bits, others it compares."""
    lower = np.argsort(keys.astype(np.uint16), kind="stable")
    return lower[np.argsort((keys >> 16).astype(np.uint16)[lower], kind="stable")]


def _keys(descriptors: NDArray[np.uint8], table: int, bits: int) -> NDArray[np.int32]:
    part = descriptors[:, table * _KEY_BYTES : (table + 1) * _KEY_BYTES].astype(np.int32)
    return (part[:, 0] << 16 | part[:, 1] << 8 | part[:, 2]) >> (8 * _KEY_BYTES - bits)


def _roomier(rows: NDArray[Any], room: int) -> NDArray[Any]:
    wider = np.zeros((room, *rows.shape[1:]), rows.dtype)
    wider[: len(rows)] = rows
    return wider
