"""Enrolled pictures whose corners look like a candidate's, found without looking at the others.

Locality-sensitive hashing (Indyk and Motwani, STOC 1998): each table sorts all corners by some bits of their
descriptors; what falls into the bucket of a candidate's corner and differs in few bits votes for its picture. Votes
count together only when they turn the picture alike (weak geometric consistency; Jegou et al., ECCV 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optout.fingerprint.keypoints import DESCRIPTOR_BYTES, Features, Keypoints

# Each table has three of the sixteen bytes of a descriptor to itself.
TABLES = 5
_KEY_BYTES = 3
# What half the pictures have in common says nothing.
_MAX_BUCKET = 64
# Of 128 bits. The nearest of two views of one corner differ in 10 to 25.
_VOTE_BITS = 28
_TURNS = 16
# Strangers' pictures win 5 to 20 votes among 240, and more when they are full of letters; cut-off halves 10 to 90. What
# fewer voted for was never recognised afterwards.
MIN_VOTES = 5
MAX_CANDIDATES = 3
# A bucket holds about two corners.
_BUCKET_LOG = 1
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
    """Keypoints of pictures by row, as the other indexes keep theirs."""

    def __init__(self) -> None:
        self._descriptors = np.zeros((0, DESCRIPTOR_BYTES), np.uint8)
        self._places = np.zeros((0, 4), np.uint8)  # x / 2, y / 2, angle, level
        self._owners = np.zeros(0, np.int32)
        self._end = 0
        self._spans: list[tuple[int, int]] = []
        self._pictures: list[tuple[int, int, bytes] | None] = []
        self._tiers: list[_Tier] = []
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def add(self, keypoints: Keypoints) -> int:
        """Store one picture's; returns the row that searches will name."""
        features = keypoints.features
        start, end = self._end, self._end + len(features)
        if end > len(self._owners):
            room = max(1024, end, len(self._owners) * 3 // 2)
            self._descriptors = _roomier(self._descriptors, room)
            self._places = _roomier(self._places, room)
            self._owners = _roomier(self._owners, room)
        row = len(self._pictures)
        self._descriptors[start:end] = features.descriptors
        self._places[start:end, :2] = np.rint(features.points / 2).clip(0, 255)
        self._places[start:end, 2] = features.angles
        self._places[start:end, 3] = features.levels
        self._owners[start:end] = row
        self._spans.append((start, end))
        self._pictures.append((keypoints.width, keypoints.height, keypoints.sketch))
        self._end = end
        self._live += 1
        return row

    def remove(self, row: int) -> None:
        """Raises KeyError when the row holds nothing."""
        if self._pictures[row] is None:
            raise KeyError(row)
        self._pictures[row] = None
        start, end = self._spans[row]
        self._owners[start:end] = -1
        self._live -= 1

    def keypoints(self, row: int) -> Keypoints:
        """What is stored in a row. Raises KeyError when it holds nothing."""
        picture = self._pictures[row]
        if picture is None:
            raise KeyError(row)
        start, end = self._spans[row]
        places = self._places[start:end]
        features = Features(
            places[:, :2].astype(np.float32) * 2, places[:, 2], places[:, 3], self._descriptors[start:end]
        )
        return Keypoints(picture[0], picture[1], features, picture[2])

    def candidates(self, features: Features, limit: int = MAX_CANDIDATES) -> list[int]:
        """Rows of the pictures with most votes, the most likely first."""
        self._settle()
        if not len(features) or not self._live:
            return []
        asked, found = self._neighbours(features)
        owners = self._owners[found]
        alive = owners >= 0
        asked, found, owners = asked[alive], found[alive], owners[alive]
        turn = (self._places[found, 2] - features.angles[asked]) >> 4  # uint8 wraps around as angles do
        votes = np.unique((owners.astype(np.int64) * _TURNS + turn) << 16 | asked) >> 16  # one vote a corner and turn
        names, counts = np.unique(votes, return_counts=True)
        # A turn at the edge of its class votes in two: each class counts with the next one.
        following = np.searchsorted(names, (names & ~np.int64(_TURNS - 1)) | ((names + 1) & (_TURNS - 1)))
        following[following == len(names)] = 0
        is_next = names[following] == ((names & ~np.int64(_TURNS - 1)) | ((names + 1) & (_TURNS - 1)))
        counts = counts + np.where(is_next, counts[following], 0)
        rows = names // _TURNS
        order = np.argsort(-counts, kind="stable")
        best: dict[int, int] = {}
        for at in order[: 4 * limit]:
            if counts[at] < MIN_VOTES or len(best) == limit:
                break
            best.setdefault(int(rows[at]), int(counts[at]))
        return list(best)

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
        order, starts = [], []
        for table in range(TABLES):
            keys = _keys(self._descriptors[first : self._end], table, bits)
            order.append(np.argsort(keys, kind="stable").astype(np.uint32))
            starts.append(np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << bits))]).astype(np.uint32))
        self._tiers.append(_Tier(first, self._end, bits, tuple(order), tuple(starts)))


def _keys(descriptors: NDArray[np.uint8], table: int, bits: int) -> NDArray[np.int32]:
    part = descriptors[:, table * _KEY_BYTES : (table + 1) * _KEY_BYTES].astype(np.int32)
    return (part[:, 0] << 16 | part[:, 1] << 8 | part[:, 2]) >> (8 * _KEY_BYTES - bits)


def _roomier(rows: NDArray[Any], room: int) -> NDArray[Any]:
    wider = np.zeros((room, *rows.shape[1:]), rows.dtype)
    wider[: len(rows)] = rows
    return wider
