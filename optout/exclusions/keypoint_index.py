"""Enrolled pictures whose corners look like a candidate's, found without looking at the others.

Locality-sensitive hashing (Indyk and Motwani, STOC 1998): each table sorts all corners by some bits of their
descriptors; what falls into the bucket of a candidate's corner and differs in few bits votes for its picture
(`optout.exclusions.votes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from optout.errors import SnapshotDamaged
from optout.exclusions import kernel
from optout.exclusions.votes import MAX_CANDIDATES, most_likely
from optout.fingerprint.keypoints import (
    CORNER_BYTES,
    HEAD_BYTES,
    PLACE_BYTES,
    Features,
    Keypoints,
    from_bytes,
    require_stored,
    to_bytes,
)

# Each table has three of the sixteen bytes of a descriptor to itself, and lists two of every four corners, others than
# the next table. Among 100,000 pictures that finds as many of 216 weak edits as three tables of all corners (.944 and
# .940), in two thirds of the memory.
TABLES = 4
_LISTED = 2
_PLACES = np.array([[at for at in range(TABLES) if (at + table) % TABLES < _LISTED] for table in range(TABLES)])
_KEY_BYTES = 3
# What many pictures have in common says nothing.
_MAX_BUCKET = 256
# Of 128 bits. The nearest of two views of one corner differ in 10 to 25.
_VOTE_BITS = 28
# A bucket holds four to eight corners: shorter ones are as many bytes again, longer ones take longer to read.
_BUCKET_LOG = 4
# Corners sorted together: more take longer to sort than to look up.
_BLOCK = 1 << 20
# Tiers grow by this factor, so that each corner is sorted a few times only, whatever the order of adding and searching.
_TIER_RATIO = 4
# Every so many corners it is written down whose they are, which finds the owners of 15,000 corners in 0.3 ms; a search
# among all takes 2.2 ms.
_OWNED_LOG = 5
# Tables sorted at the same time: each takes 120 MB more for 29 million corners while it is.
_SORTED_AT_ONCE = 2

# Corners are read as words of four bytes.
_HEAD_WORDS, _CORNER_WORDS, _PLACE_WORDS = HEAD_BYTES // 4, CORNER_BYTES // 4, PLACE_BYTES // 4

# Corners are sorted in the compiled kernel where there is one, else here.
_KERNEL = kernel.load()


@dataclass(frozen=True, eq=False)
class _Tier:
    """Pictures `first` to `last`, and their corners by every table: `order` sorts those that it lists, by numbers among
    these of three bytes where that is enough, else four; `starts` says where each bucket begins."""

    first: int
    last: int
    bits: int
    tables: tuple[tuple[NDArray[np.uint8], NDArray[np.uint32]], ...]


class _Run:
    """Pictures in their stored form, one after the other, and their corners by number: nothing is kept of them but the
    bytes as they are stored, and tables of numbers. More pictures may come at the end."""

    def __init__(self) -> None:
        self._stored = np.zeros(0, np.uint8)
        self._begins = np.zeros(1, np.int64)  # of each picture its first corner, and their number
        self._pictures = 0
        self._owners = np.zeros(0, np.uint32)
        self._tiers: list[_Tier] = []

    @classmethod
    def of(cls, stored: NDArray[np.uint8], ends: NDArray[np.int64]) -> _Run:
        """All of these, sorted. Raises ValueError when some are of another version or broken."""
        require_stored(stored, ends)
        run = cls()
        run._stored = stored
        run._pictures = len(ends)
        run._begins = np.concatenate([[0], (ends - HEAD_BYTES * np.arange(1, len(ends) + 1)) // CORNER_BYTES])
        run.settle()
        return run

    def add(self, data: bytes) -> None:
        """One picture more, in its stored form."""
        at, begin = self._byte(self._pictures), int(self._begins[self._pictures])
        if at + len(data) > len(self._stored):
            self._stored = np.resize(self._stored, max(1 << 16, at + len(data), len(self._stored) * 5 // 4))
        if self._pictures + 1 == len(self._begins):
            self._begins = np.resize(self._begins, max(64, len(self._begins) * 5 // 4))
        self._stored[at : at + len(data)] = np.frombuffer(data, np.uint8)
        self._pictures += 1
        self._begins[self._pictures] = begin + (len(data) - HEAD_BYTES) // CORNER_BYTES

    def picture(self, number: int) -> bytes:
        """One of them as it was stored."""
        return self._stored[self._byte(number) : self._byte(number + 1)].tobytes()

    def _byte(self, picture: int) -> int:
        return HEAD_BYTES * picture + CORNER_BYTES * int(self._begins[picture])

    def neighbours(self, features: Features) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint8]]:
        """Pairs of a candidate's corner and one here that share a bucket and differ in few bits: the candidate's, the
        number of the other's picture, and (n, 4) where that has it, as it is stored."""
        here, there = [], []
        for tier in self._tiers:
            first = int(self._begins[tier.first])
            for table, (order, starts) in enumerate(tier.tables):
                keys = _keys(features.descriptors[:, table * _KEY_BYTES :], tier.bits)
                begin = starts[keys].astype(np.intp)
                size = starts[keys + 1].astype(np.intp) - begin
                size[size > _MAX_BUCKET] = 0
                asked = np.repeat(np.arange(len(keys)), size)
                inner = np.arange(len(asked)) - np.repeat(np.cumsum(size) - size, size)
                here.append(asked)
                there.append(_corners(_widened(order[np.repeat(begin, size) + inner]), table) + first)
        if not here:
            return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros((0, PLACE_BYTES), np.uint8)
        asked, found = np.concatenate(here), np.concatenate(there)
        owners = self._owners_of(found)
        at = owners * _HEAD_WORDS + found * _CORNER_WORDS + _HEAD_WORDS
        words = self._stored[: len(self._stored) // 4 * 4].view(np.uint32)
        stored = words[at[:, None] + np.arange(_PLACE_WORDS, _CORNER_WORDS)].view(np.uint64)
        bits = np.bitwise_count(features.descriptors.view(np.uint64)[asked] ^ stored).sum(axis=1, dtype=np.int16)
        near = bits <= _VOTE_BITS
        return asked[near], owners[near], words[at[near]].view(np.uint8).reshape(-1, PLACE_BYTES)

    def _owners_of(self, corners: NDArray[np.intp]) -> NDArray[np.intp]:
        """The pictures that these corners are of."""
        owners: NDArray[np.intp] = self._owners[corners >> _OWNED_LOG].astype(np.intp)
        while (later := self._begins[owners + 1] <= corners).any():
            owners += later
        return owners

    def settle(self) -> None:
        """Sort what was added since the last search; like-sized tiers become one, so that there are never many."""
        last = self._tiers[-1].last if self._tiers else 0
        if last == self._pictures:
            return
        first, end = last, int(self._begins[self._pictures])
        while self._tiers and self._size(self._tiers[-1]) < _TIER_RATIO * (end - int(self._begins[first])):
            first = self._tiers.pop().first
        count = end - int(self._begins[first])
        bits = min(8 * _KEY_BYTES, max(8, int(np.ceil(np.log2(max(1, count)))) - _BUCKET_LOG))
        stored = self._stored[self._byte(first) : self._byte(self._pictures)]
        sort = partial(_sorted, stored, self._begins[first : self._pictures + 1], bits=bits)
        if count > _BLOCK:
            with ThreadPoolExecutor(_SORTED_AT_ONCE) as threads:
                parts = list(threads.map(sort, np.array_split(range(TABLES), _SORTED_AT_ONCE)))
        else:
            parts = [sort(range(TABLES))]
        self._tiers.append(_Tier(first, self._pictures, bits, tuple(table for part in parts for table in part)))
        more = np.arange(len(self._owners) << _OWNED_LOG, end, 1 << _OWNED_LOG)
        owners = np.searchsorted(self._begins[: self._pictures + 1], more, side="right") - 1
        self._owners = np.concatenate([self._owners, owners.astype(np.uint32)])

    def _size(self, tier: _Tier) -> int:
        return int(self._begins[tier.last] - self._begins[tier.first])


class KeypointIndex:
    """Keypoints of pictures by row, as the other indexes keep theirs. One writer, any number of readers between writes;
    a search after a write is a write too."""

    def __init__(self) -> None:
        self._base, self._added = _Run(), _Run()
        self._base_rows = self._rows = self._live = 0
        self._alive = np.zeros(0, bool)
        self._later: Callable[[], _Run] | None = None

    @classmethod
    def of(cls, stored: NDArray[np.uint8], ends: NDArray[np.int64]) -> KeypointIndex:
        """The pictures' keypoints in their stored form, one after the other, in rows 0 to n - 1; `ends` says where in
        `stored` each ends. Ready to search: the same as adding each, without a step of Python for each. `stored` is
        kept as it is, and must stay so.

        Raises ValueError when some are of another version or broken.
        """
        index = cls()
        index._base = _Run.of(stored, ends)
        index._begin(np.ones(len(ends), bool))
        return index

    @classmethod
    def later(
        cls, alive: NDArray[np.bool_], ends: NDArray[np.int64], fetch: Callable[[], NDArray[np.uint8]]
    ) -> KeypointIndex:
        """The same for rows of which some hold nothing from the beginning; `stored` is fetched when it is first needed:
        by a search, by `keypoints`, or by `complete`, all of which then raise what `fetch` raises."""
        index = cls()
        index._begin(alive)
        if len(ends):
            index._later = lambda: _Run.of(fetch(), ends)
        return index

    def _begin(self, alive: NDArray[np.bool_]) -> None:
        self._base_rows = self._rows = len(alive)
        self._alive = alive.copy()
        self._live = int(np.count_nonzero(alive))

    @property
    def is_complete(self) -> bool:
        """Whether a search has nothing to fetch before."""
        return self._later is None

    def complete(self) -> None:
        """Fetch what searches need. Raises what fetching raises, and `SnapshotDamaged` when what was fetched is no
        keypoints; nothing has changed then."""
        if self._later is not None:
            try:
                self._base = self._later()
            except ValueError as error:
                raise SnapshotDamaged("corners of a snapshot") from error
            self._later = None

    def __len__(self) -> int:
        return self._live

    def add(self, keypoints: Keypoints) -> int:
        """Store one picture's; returns the row that searches will name."""
        row = self._rows
        if row == len(self._alive):
            self._alive = np.resize(self._alive, max(64, row * 5 // 4))
        self._added.add(to_bytes(keypoints))
        self._alive[row] = True
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
        if row >= self._base_rows:
            return from_bytes(self._added.picture(row - self._base_rows))
        self.complete()
        return from_bytes(self._base.picture(row))

    def _require(self, row: int) -> None:
        if not (0 <= row < self._rows and self._alive[row]):
            raise KeyError(row)

    def candidates(self, features: Features, limit: int = MAX_CANDIDATES) -> list[int]:
        """Rows of the pictures that most corners agree about, the most likely first."""
        if not len(features) or not self._live:
            return []
        self.complete()
        self._added.settle()
        base, added = self._base.neighbours(features), self._added.neighbours(features)
        asked, places = (np.concatenate([base[at], added[at]]) for at in (0, 2))
        owners = np.concatenate([base[1], added[1] + self._base_rows])
        alive = self._alive[owners]
        return most_likely(asked[alive], owners[alive], places[alive], features, limit)


def _sorted(
    stored: NDArray[np.uint8], begins: NDArray[np.int64], tables: Iterable[int], *, bits: int
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint32]]]:
    """The corners of pictures in their stored form that each of the tables lists, by their key, as numbers among those
    listed, and where each key begins. `begins` are the pictures' first corners."""
    begins = begins - begins[0]
    whole, rest = divmod(int(begins[-1]), TABLES)
    # New memory takes longer to get than to write to, so one table after the other uses the same.
    room = np.empty(2 * _LISTED * (whole + 1) + (1 << bits), np.uint32)
    found = []
    for table in tables:
        count = whole * _LISTED + int(np.count_nonzero(_PLACES[table] < rest))
        order = np.empty((count, 3 if count <= 1 << 24 else 4), np.uint8)
        if _KERNEL is not None:
            sizes, key = (HEAD_BYTES, CORNER_BYTES, PLACE_BYTES), (int(table) * _KEY_BYTES, bits)
            starts = _KERNEL.sort(stored, begins, sizes, int(table), key, order, room)
        else:
            starts = _sorted_here(stored, begins, table, bits, order)
        found.append((order, starts))
    return found


def _sorted_here(
    stored: NDArray[np.uint8], begins: NDArray[np.int64], table: int, bits: int, order: NDArray[np.uint8]
) -> NDArray[np.uint32]:
    """What the kernel's `sort` does."""
    # Block by block: sorting 14 million at once takes twice the memory of the tables.
    blocks = [slice(at, at + _BLOCK) for at in range(0, len(order), _BLOCK)]
    keys = np.empty(len(order), np.int32)
    for block in blocks:
        corners = _corners(np.arange(len(order), dtype=np.uint32)[block], table)
        first, last = np.searchsorted(begins, corners[[0, -1]], side="right") - 1
        owners = np.repeat(np.arange(first, last + 1), np.diff(begins[first : last + 2]))[corners - begins[first]]
        descriptors = (owners + 1) * HEAD_BYTES + corners * CORNER_BYTES + PLACE_BYTES
        keys[block] = _keys(stored[descriptors[:, None] + np.arange(_KEY_BYTES) + table * _KEY_BYTES], bits)
    starts = np.zeros((1 << bits) + 1, np.uint32)
    starts[1:] = np.bincount(keys, minlength=1 << bits)
    np.cumsum(starts, out=starts)
    free = starts[:-1].copy()
    for block in blocks:
        by_key = _order(keys[block])
        sorted_keys = keys[block][by_key]
        firsts = np.flatnonzero(np.diff(sorted_keys, prepend=-1))
        counts = np.diff(firsts, append=len(sorted_keys))
        places = np.arange(len(by_key)) + np.repeat(free[sorted_keys[firsts]] - firsts, counts)
        numbers = (by_key + block.start).astype("<u4").view(np.uint8).reshape(-1, 4)
        order[places] = numbers[:, : order.shape[1]]
        free[sorted_keys[firsts]] += counts.astype(np.uint32)
    return starts


def _corners(listed: NDArray[np.uint32], table: int) -> NDArray[np.intp]:
    """The corners with these numbers among those that the table lists."""
    numbers = listed.astype(np.intp)
    return np.asarray(numbers // _LISTED * TABLES + _PLACES[table][numbers % _LISTED])


def _widened(numbers: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Numbers of three or four bytes."""
    wide = np.zeros((len(numbers), 4), np.uint8)
    wide[:, : numbers.shape[1]] = numbers
    return wide.view("<u4")[:, 0]


def _order(keys: NDArray[np.int32]) -> NDArray[np.intp]:
    """What sorts the keys, the lower half of their bits first: NumPy counts numbers of 16 bits, others it compares."""
    lower = np.argsort(keys.astype(np.uint16), kind="stable")
    return lower[np.argsort((keys >> 16).astype(np.uint16)[lower], kind="stable")]


def _keys(parts: NDArray[np.uint8], bits: int) -> NDArray[np.int32]:
    """So many bits of what the first bytes of each row are."""
    bytes_of = parts[:, :_KEY_BYTES].astype(np.int32)
    return (bytes_of[:, 0] << 16 | bytes_of[:, 1] << 8 | bytes_of[:, 2]) >> (8 * _KEY_BYTES - bits)
