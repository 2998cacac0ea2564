"""Finding 256-bit codes by the number of bits that differ, exactly and without reading all of them.

How the search works
--------------------
A code is 16 bands of 16 bits. Every code is listed 16 times, once by the value of each band, so the codes that share a
band's value lie side by side (multi-index hashing, Norouzi, Punjani & Fleet, CVPR 2012). With each listing goes a copy
of the code's *next* band (after the last comes the first), so most candidates fall without their code being read.

Claim. Let d_0 .. d_15 be the differing bits per band and d_0 + .. + d_15 <= r. Then for some band i both
d_i <= r // 16 and d_i + d_(i+1 mod 16) <= 2 * r // 16.

Proof (the cycle lemma; Qin & Xiao, "Pigeonring", VLDB 2018). Let x_i = d_i - r / 16, so that their sum is <= 0, and
P_k = x_0 + .. + x_(k-1). Start at the i in 0..15 where P_i is greatest. Going l <= 16 steps from i sums up to
P_(i+l) - P_i while i + l <= 15, which is <= 0 by the choice of i. Past the end it is P_16 + P_(i+l-16) - P_i, and both
P_16 <= 0 and P_(i+l-16) - P_i <= 0. So for every l the next l bands hold at most l * r / 16 bits; take l = 1 and 2.
They are whole numbers, so the bound may be rounded down.

So a search for r = 31 looks up each band's value and its 16 neighbours at one bit: 17 * 16 = 272 lists, where a
candidate passes if its next band differs by <= 3 bits, <= 2 in the lists of neighbours; who passes is measured in full.
No code within r is missed and none beyond r is returned. For r = 32 one more bit would be needed (sixteen bands of two
bits each), and r // 16 = 2 grants it: 137 * 16 lists up to r = 47, 697 * 16 up to 63. Beyond, and wherever the lists
would cost more than reading everything (few codes, wide radius), all codes are compared.

Added codes. The lists that were built or opened are never written. The first code that a list gets more copies it to
the tail, a run of blocks with room to double, where further ones only fill a free place; `_heads` tells where each list
is now. So a search does not know two kinds of codes, an addition writes to 16 short lists and waits for nothing, and
what a list keeps of removed codes goes when it is copied.

Crowds. Thousands of near-duplicates share their bands, so a search near them would walk the same codes in band after
band. They are taken out of the lists and kept apart with one centre c: when the lists are built, and again when
additions make a list as long. Let x = m xor c and y = q xor c for a member m and a query q, and |x| the ones in x. Then
d(q, m) = |y| - |x| + 2 * |x and not y|, so d(q, m) <= r exactly if |x and not y| <= (r - |y| + |x|) / 2. Members are
kept in the order of |x|: those where the right side is negative (the triangle inequality) are never touched, and of the
others half of the left side, where y has the fewest ones, rules out most.

File format (`save`, `open`), little-endian, version 1: one header page of 4,096 bytes, then the sections in the order
of `_SECTIONS`, each starting on a page of 4,096 bytes and padded with zeros.

    0     8   magic "OPTOUTHX"
    8     4   format version, 1
    12    4   zero
    16    8   number of rows
    24    8   size of the file
    32    48  each section: offset, bytes (8 each), SHA-256 with its padding (32)
    4064  32  SHA-256 of the header's first 4,064 bytes

Removed rows keep their number; their codes are written as zeros.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import combinations
from math import comb, prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from optout.errors import IndexDamaged
from optout.exclusions import kernel
from optout.fingerprint.pdq import PDQ_RADIUS

Kind = TypeVar("Kind", bound=np.generic)
Words = NDArray[np.uint64]  # (n, 4): codes of 256 bits
Hits = tuple[NDArray[np.int64], NDArray[np.int64]]  # numbers of queries and rows, pairwise
Listed = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]  # of rows and numbers of lists
Measured = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # and their distances

_FIRST_ROWS = 64
_BANDS = 16
_VALUES = 1 << 16
_NEXT = np.append(np.arange(1, _BANDS), 0)
# One list looked up costs as much as comparing so many codes; below 3,264 codes lists do not pay for radius 31.
_LOOKUP_COST = 12
# Entries of lists, and codes in a scan, looked at together: half of a second-level cache.
_TOGETHER = 1 << 17
_BLOCK = 16  # a usual one
# A list this much longer than the average is a crowd's; shorter ones cost no more than a few usual searches.
_CROWDED = 32
_CROWD = 1024
_CROWD_BANDS = 6
_CROWD_SPREAD = 40
_CROWDS = 256
_CROWD_FEW = 4  # bits are struck out one by one; counting costs as much as so many
_TAIL = 1 << 16  # blocks there are at least once something is added
# A head is a list's first block and, in so many low bits, the number of its blocks.
_HEAD = 24

# Searches run in the compiled kernel where there is one, else here.
_KERNEL = kernel.load()

_LINE = 64
_PAGE = 4096
_MAGIC = b"OPTOUTHX"
_VERSION = 1
_SECTIONS: dict[str, np.dtype[np.generic]] = {
    "words": np.dtype("<u8"),  # (rows, 4)
    "live": np.dtype("u1"),  # one bit per row, most significant first
    "starts": np.dtype("<u4"),  # (16 * 65536 + 1): where the list of each band's value begins; empty without lists
    "rows": np.dtype("<u4"),  # the lists, one after the other
    "following": np.dtype("<u2"),  # of each listed row the next band; each list filled up to whole blocks
    "crowd_rows": np.dtype("<u4"),  # crowd by crowd, nearest to the centre first
    "crowd_sizes": np.dtype("<u4"),
}


class Matches(NamedTuple):
    """Pairs of a query and a stored code within the radius, by query and row."""

    query: NDArray[np.int64]
    row: NDArray[np.int64]
    distance: NDArray[np.int64]


class HammingIndex:
    """256-bit codes, found by the number of bits that differ. One writer, any number of readers between writes.

    The base was built or opened at once and is never changed; row numbers run on through what was added since.
    """

    _base: Words
    _added: Words
    _lists: _Lists | None
    _live: NDArray[np.bool_]
    _end: int  # rows given out so far
    _free: list[int]  # removed rows above the base, given out again first
    _count: int
    _base_count: int  # live rows when the base was made
    _view: kernel.View | None  # of the arrays as they are, for the kernel
    _probes: dict[int, kernel.Probes]  # for each radius, as long as no code was added

    def __init__(self) -> None:
        self._rebase(np.zeros((0, 4), dtype=np.uint64), np.zeros(0, dtype=bool), None)

    @classmethod
    def build(cls, *codes: NDArray[np.uint8]) -> HammingIndex:
        """An index of the codes (n, 32), of one array or of several one after the other, in rows 0 .. n - 1."""
        index = cls()
        words = _zeros((sum(map(len, codes)), 4), np.uint64)
        end = 0
        for part in codes:
            words[end : (end := end + len(part))] = _as_words(part)
        index._rebase(words, np.ones(len(words), dtype=bool), _Lists.of(words, np.arange(len(words))))
        return index

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> HammingIndex:
        """A saved index, mapped into memory and read as it is needed.

        `verify=False` reads only the header, for a file whose digest the caller has just checked.
        Raises IndexDamaged when the file is cut off, changed, or of a version that is not known here.
        """
        return cls.from_arrays(_read(path, verify=verify))

    def save(self, path: Path) -> None:
        """Write everything to one file, which `open` maps. Row numbers stay; codes of removed rows are not in it."""
        arrays = self.to_arrays()
        _write(path, len(arrays["words"]), arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> HammingIndex:
        """An index over what `to_arrays` gave, without a copy: the arrays may be mapped files, read-only, and must stay
        as they are. Their content is trusted: check a digest before.

        Raises IndexDamaged when their kinds or lengths do not fit together.
        """
        if any(arrays[name].dtype != kind for name, kind in _SECTIONS.items()):
            raise IndexDamaged("sections of another kind")
        words = arrays["words"].reshape(-1, 4)
        live, starts, rows = arrays["live"], arrays["starts"], arrays["rows"]
        if len(live) != -(-len(words) // 8) or len(starts) not in (0, _BANDS * _VALUES + 1):
            raise IndexDamaged("sections of other lengths")
        lists = None
        if len(starts):
            blocks = int(_first_blocks(starts, bits := _block_bits(len(rows)))[-1])
            crowded = int(arrays["crowd_sizes"].sum())
            if len(rows) != starts[-1] or len(arrays["following"]) != blocks << bits:
                raise IndexDamaged("sections of other lengths")
            if len(arrays["crowd_rows"]) != crowded:
                raise IndexDamaged("sections of other lengths")
            lists = _Lists(words, *(arrays[name] for name in list(_SECTIONS)[2:]))
        index = cls()
        index._rebase(words, np.unpackbits(live, count=len(words)).astype(bool), lists)
        return index

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as plain little-endian arrays, by the names in `_SECTIONS`. Row numbers stay; codes of removed
        rows are zeros."""
        words, live, lists = self._folded()
        words[~live] = 0
        parts: dict[str, NDArray[Any]] = {"words": words, "live": np.packbits(live)}
        for name in list(_SECTIONS)[2:]:
            parts[name] = np.zeros(0) if lists is None else getattr(lists, name)
        return {name: parts[name].astype(kind, copy=False) for name, kind in _SECTIONS.items()}

    def __len__(self) -> int:
        return self._count

    def add(self, code: bytes) -> int:
        """Store 32 bytes; returns the row that searches will name."""
        return int(self.extend(np.frombuffer(code, dtype=np.uint8)[None])[0])

    def extend(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Store the codes (n, 32); returns the rows that searches will name. Together they cost less than alone."""
        words = _as_words(codes)
        again = [self._free.pop() for _ in range(min(len(words), len(self._free)))]
        new = len(words) - len(again)
        rows = np.array([*again, *range(self._end, self._end + new)], dtype=np.int64)
        self._end += new
        self._live = _with_room(self._live, self._end)
        self._added = _with_room(self._added, self._end - len(self._base))
        # Lists may still name these rows for codes removed before. That does no harm: what is measured is these codes.
        self._added[rows - len(self._base)] = words
        self._view, self._probes = None, {}
        self._live[rows] = True
        self._count += len(rows)
        if self._lists is not None:
            for number in self._lists.add(words, rows, self._listed):
                self._lists.take_apart(number, self._codes, self._listed)
        elif self._count > _LISTS_PAY:
            self._rebase(*self._folded())
        return rows

    def remove(self, row: int) -> None:
        """Raises KeyError when the row holds nothing."""
        if not 0 <= row < self._end or not self._live[row]:
            raise KeyError(row)
        self._live[row] = False
        self._count -= 1
        if row >= len(self._base):
            self._free.append(row)

    def code(self, row: int) -> bytes:
        """The 32 bytes in a row. Raises KeyError when it holds nothing."""
        if not 0 <= row < self._end or not self._live[row]:
            raise KeyError(row)
        return self._codes(np.array([row])).tobytes()

    def any_match(self, codes: NDArray[np.uint8], radius: int = PDQ_RADIUS) -> NDArray[np.int64]:
        """For each code (n, 32) the row of one stored code at most `radius` bits away, or -1: is it there at all?

        Looks no further for a code once it has a witness. Removed rows are none.
        """
        queries = _as_words(codes)
        if _KERNEL is not None:
            return _KERNEL.any_match(self._viewed(), queries, radius, self._probed(radius))
        witness = np.full(len(queries), -1, dtype=np.int64)
        for query, row, _ in self._hits(queries, radius, witness):
            witness[query] = row
        return witness

    def matches(self, codes: NDArray[np.uint8], radius: int = PDQ_RADIUS) -> Matches:
        """Every stored code at most `radius` bits away from each of the codes (n, 32)."""
        queries = _as_words(codes)
        if _KERNEL is not None:
            query, row, distance = _KERNEL.matches(self._viewed(), queries, radius, self._probed(radius)).T
        else:
            hits = [np.zeros((3, 0), dtype=np.int64), *map(np.array, self._hits(queries, radius, None))]
            query, row, distance = np.concatenate(hits, axis=1)
        # A code is met once in every list that it shares with the query.
        _, once = np.unique(query * max(1, self._end) + row, return_index=True)
        return Matches(query[once], row[once], distance[once])

    def within(self, code: bytes, radius: int) -> list[tuple[int, int]]:
        """(row, distance) of every stored code at most `radius` bits away, by row."""
        found = self.matches(np.frombuffer(code, dtype=np.uint8)[None], radius)
        return list(zip(found.row.tolist(), found.distance.tolist(), strict=True))

    def _viewed(self) -> kernel.View:
        if self._view is None:
            self._view = kernel.View(
                self._lists.crowds_viewed() if self._lists else [],
                base=self._base,
                added=self._added,
                base_rows=len(self._base),
                end=self._end,
                live=self._live,
                **(self._lists.viewed() if self._lists else {}),
            )
        return self._view

    def _probed(self, radius: int) -> kernel.Probes:
        found = self._probes.get(radius)
        if found is None:
            worth = self._lists is not None and self._lists.pay(radius, self._count)
            found = self._probes[radius] = _probes(radius if worth else -1)
        return found

    def _hits(self, queries: Words, radius: int, witness: NDArray[np.int64] | None) -> Iterator[Measured]:
        """What is within the radius, maybe more than once; of no more interest are queries that have a `witness`."""
        lists = self._lists
        columns = max(1, _TOGETHER // _BLOCK // _lookups(radius) * _BANDS)
        step = columns if len(queries) * _BANDS > columns else max(1, len(queries))
        for first in range(0, len(queries), step):
            part = queries[first : first + step]
            known = None if witness is None else witness[first : first + step]
            if lists is None or not lists.pay(radius, self._count):
                for offset, words in ((0, self._base), (len(self._base), self._added[: self._end - len(self._base)])):
                    candidates = ((query, row + offset) for query, row in _scan(words, part, radius, known))
                    yield from self._measured(first, part, radius, candidates)
                continue
            yield from self._measured(first, part, radius, lists.crowded(part, radius, known))
            # Few queries: all bands at once. Many: band by band, since the lists of one band stay in the cache.
            bands = max(1, min(_BANDS, columns // len(part)))
            who = None
            for band in range(0, _BANDS, bands):
                if band and known is not None and (known >= 0).any():
                    who = np.flatnonzero(known < 0)
                probes = _Probes(part, who, radius, range(band, min(band + bands, _BANDS)))
                yield from self._measured(first, part, radius, lists.candidates(probes, known))

    def _measured(self, first: int, part: Words, radius: int, candidates: Iterator[Hits]) -> Iterator[Measured]:
        """Those of the candidates that are near and were not removed."""
        for query, row in candidates:
            distance = _distance(part.take(query, axis=0), self._codes(row))
            near = np.flatnonzero(distance <= radius)
            if len(near):
                near = near[self._live[row[near]]]
                if len(near):
                    yield first + query[near], row[near], distance[near]

    def _codes(self, rows: NDArray[np.int64]) -> Words:
        if self._end == len(self._base):
            return self._base.take(rows, axis=0)
        words = self._base.take(rows, axis=0, mode="clip") if len(self._base) else np.empty((len(rows), 4), np.uint64)
        late = np.flatnonzero(rows >= len(self._base))
        if len(late):
            words[late] = self._added.take(rows[late] - len(self._base), axis=0)
        return words

    def _listed(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the rows belong in these lists: not the removed ones, nor those given out again for another code."""
        bands = self._codes(rows).view(np.uint16)
        values = bands[np.arange(len(rows)), numbers >> 16]
        return np.asarray(self._live[rows] & (values == (numbers & (_VALUES - 1))))

    def _folded(self) -> tuple[Words, NDArray[np.bool_], _Lists | None]:
        """Codes, live rows and lists as of now, with everything in the base."""
        live = self._live[: self._end].copy()
        words = np.concatenate([self._base, self._added[: self._end - len(self._base)]])
        if self._end == len(self._base) and self._count == self._base_count:
            return words, live, self._lists
        return words, live, _Lists.of(words, np.flatnonzero(live))

    def _rebase(self, words: Words, live: NDArray[np.bool_], lists: _Lists | None) -> None:
        """Start anew on this base, with nothing added to it."""
        self._base, self._lists = words, lists
        self._view, self._probes = None, {}
        self._added = np.zeros((_FIRST_ROWS, 4), dtype=np.uint64)
        self._live = live
        self._end = len(words)
        self._free = []
        self._count = self._base_count = int(np.count_nonzero(live))


class _Lists:
    """Rows listed by each band's value, crowds apart. Searches give candidates, to be measured and to be live."""

    def __init__(
        self,
        words: Words,
        starts: NDArray[np.uint32],
        rows: NDArray[np.uint32],
        following: NDArray[np.uint16],
        crowd_rows: NDArray[np.uint32],
        crowd_sizes: NDArray[np.uint32],
    ) -> None:
        self.starts, self.rows, self.following = starts, rows, following
        self.crowd_rows, self.crowd_sizes = crowd_rows, crowd_sizes
        self._bits = _block_bits(len(rows))
        self._blocks = following.reshape(-1, 1 << self._bits)
        self._first_blocks = _first_blocks(starts, self._bits)
        self._heads = self._first_blocks[:-1] << _HEAD | np.diff(self._first_blocks)
        self._base_blocks = self._end = len(self._blocks)
        # Of the tail, which is made with the first addition: the rows, and of all lists how long they are.
        self._tail_rows = np.zeros(0, dtype=np.uint32)
        self._sizes = np.zeros(0, dtype=np.int64)
        self._set_crowds(
            [
                _Crowd(words[members[0]], words[members], members)
                for members in np.split(crowd_rows.astype(np.int64), np.cumsum(crowd_sizes)[:-1])
                if len(members)
            ]
        )

    def _set_crowds(self, crowds: list[_Crowd]) -> None:
        self._crowds = crowds
        self._centres = np.array([crowd.centre for crowd in crowds], dtype=np.uint64).reshape(-1, 4)
        self._spreads = np.array([crowd.spread for crowd in crowds], dtype=np.int64)

    @classmethod
    def of(cls, words: Words, members: NDArray[np.int64]) -> _Lists | None:
        """Lists of these rows, or None where they are so few that comparing all is faster."""
        if len(members) <= _LISTS_PAY:
            return None
        listed = _listed(words, members)
        crowds = _crowds(words, members, *listed[:2])
        if crowds:
            apart = np.zeros(len(words), dtype=bool)
            apart[np.concatenate(crowds)] = True
            listed = _listed(words, members[~apart[members]])
        crowd_rows = np.concatenate([np.zeros(0, dtype=np.uint32), *crowds]).astype(np.uint32)
        return cls(words, *listed, crowd_rows, np.array([len(crowd) for crowd in crowds], dtype=np.uint32))

    def pay(self, radius: int, count: int) -> bool:
        """Whether looking up is faster than comparing all `count` codes."""
        lookups = _lookups(radius) * max(1.0, count / _VALUES / (1 << self._bits))
        return lookups * _LOOKUP_COST < count

    def viewed(self) -> dict[str, NDArray[Any] | int]:
        """What the kernel reads of the lists."""
        return {
            "heads": self._heads,
            "following": self._blocks,
            "first_blocks": self._first_blocks,
            "starts": self.starts,
            "rows": self.rows,
            "listings": len(self.rows),
            "tail_rows": self._tail_rows,
            "base_blocks": self._base_blocks,
            "bits": self._bits,
        }

    def crowds_viewed(self) -> list[dict[str, Any]]:
        """What the kernel reads of the crowds."""
        return [crowd.viewed() for crowd in self._crowds]

    def candidates(self, probes: _Probes, witness: NDArray[np.int64] | None) -> Iterator[Hits]:
        """Queries and rows that may be within the radius, some of them repeatedly; crowds apart."""
        first_block = self._heads.take(probes.lists)
        blocks = first_block & ((1 << _HEAD) - 1)
        which = np.repeat(probes.numbers, blocks)
        # Blocks of one list lie side by side: what is read at place n is n plus how far its list's first is from there.
        first_block >>= _HEAD
        first_block -= blocks.cumsum()
        first_block += blocks
        at = first_block.take(which)
        at += np.arange(len(which))
        together = _TOGETHER >> self._bits
        for first in range(0, len(at), together):
            some, places = which[first : first + together], at[first : first + together]
            if first and witness is not None:
                wanted = np.flatnonzero(witness[probes.query(some)] < 0)
                some, places = some[wanted], places[wanted]
            query, row = self._passing(probes, some, places)
            if len(query):
                yield query, row

    def _passing(self, probes: _Probes, which: NDArray[np.int64], at: NDArray[np.int64]) -> Hits:
        """What passes by its next band, in these blocks of these lists."""
        next_bands = self._blocks.take(at, axis=0)
        next_bands ^= probes.following.take(probes.column.take(which))[:, None]
        differing = np.bitwise_count(next_bands)
        passes = differing <= probes.allowed[-1]
        begin = 0
        for end, allowed in zip(which.searchsorted(probes.ends[:-1]), probes.allowed, strict=False):
            np.less_equal(differing[begin:end], allowed, out=passes[begin:end])
            begin = end
        hit = np.flatnonzero(passes)
        block = hit >> self._bits
        number = which.take(block)
        place = at.take(block)
        place <<= self._bits
        place += hit & ((1 << self._bits) - 1)
        return probes.query(number), self._rows_at(probes.lists.take(number), place)

    def _rows_at(self, numbers: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows in these lists at these places of `_blocks`."""
        # What fills up the last block of a list names rows of other lists: candidates like any others.
        at = places - (self._first_blocks.take(numbers) << self._bits)
        at += self.starts.take(numbers)
        rows = self.rows.take(at, mode="clip").astype(np.int64) if len(self.rows) else np.zeros_like(at)
        if len(self._tail_rows):
            tail = places - (self._base_blocks << self._bits)
            late = np.flatnonzero(tail >= 0)
            rows[late] = self._tail_rows.take(tail[late])
        return rows

    def add(self, words: Words, rows: NDArray[np.int64], listed: Listed) -> NDArray[np.int64]:
        """List more rows. Returns the lists that have just become a crowd's by their length, or twice that, and so on.
        `listed` says which rows still belong in their lists, so that the others go when a list is copied."""
        if not len(self._sizes):
            self._sizes = np.asarray(np.diff(self.starts), dtype=np.int64)
            self._make_room(0)
        bands = words.view(np.uint16)
        numbers = (bands.astype(np.int64) + np.arange(_BANDS) * _VALUES).reshape(-1)
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        once, begins, more = np.unique(numbers, return_index=True, return_counts=True)
        tight = np.flatnonzero(self._blocks_for(self._sizes[once] + more) > self._room(once))
        if len(tight):
            self._copy(once[tight], more[tight], listed)
        before, first = self._sizes[once], self._heads[once] >> _HEAD
        places = np.repeat((first << self._bits) + before - begins, more) + np.arange(len(numbers))
        self._blocks.reshape(-1)[places] = bands.take(_NEXT, axis=1).reshape(-1)[order]
        self._tail_rows[places - (self._base_blocks << self._bits)] = np.repeat(rows, _BANDS)[order]
        after = before + more
        self._sizes[once] = after
        self._heads[once] = first << _HEAD | self._blocks_for(after)
        return np.asarray(once[(after >= _CROWD) & (np.frexp(after)[1] > np.frexp(before)[1])])

    def _copy(self, numbers: NDArray[np.int64], more: NDArray[np.int64], listed: Listed) -> None:
        """Write these lists anew with only what belongs there, each where there is room for so many more."""
        which, places = self._spread(self._heads[numbers] >> _HEAD, self._sizes[numbers])
        rows, following = self._rows_at(numbers[which], places), self._blocks.reshape(-1).take(places)
        kept = np.flatnonzero(listed(rows, numbers[which]))
        # A row that was given out again for the same band's value is there twice.
        kept = kept[np.unique(which[kept] << 32 | rows[kept], return_index=True)[1]]
        which, rows, following = which[kept], rows[kept], following[kept]
        sizes = np.bincount(which, minlength=len(numbers))
        first, needed = self._heads[numbers] >> _HEAD, self._blocks_for(sizes + more)
        moved = np.flatnonzero(needed > self._room(numbers))
        runs = _run(needed[moved])
        first[moved] = self._end + runs.cumsum() - runs
        self._make_room(int(runs.sum()))
        self._heads[numbers] = first << _HEAD | self._blocks_for(sizes)
        self._sizes[numbers] = sizes
        _, places = self._spread(first, sizes)
        self._blocks.reshape(-1)[places] = following
        self._tail_rows[places - (self._base_blocks << self._bits)] = rows

    def _spread(
        self, first: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of every entry of lists with these first blocks and sizes: the number of its list among these, its place."""
        which = np.repeat(np.arange(len(sizes)), sizes)
        return which, np.repeat((first << self._bits) - sizes.cumsum() + sizes, sizes) + np.arange(len(which))

    def _blocks_for(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray((sizes + ((1 << self._bits) - 1)) >> self._bits)

    def _room(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Blocks that each of these lists may fill: none in the base, a power of two in the tail."""
        in_tail = self._heads[numbers] >> _HEAD >= self._base_blocks
        return np.where(in_tail, _run(self._blocks_for(self._sizes[numbers])), np.int64(0))

    def _make_room(self, blocks: int) -> None:
        """So many blocks at the end. The system hands out memory when it is written to, so room ahead costs nothing."""
        self._end += blocks
        if self._end > len(self._blocks) or not len(self._tail_rows):
            grown = _zeros((max(2 * self._end, _TAIL), 1 << self._bits), np.uint16)
            grown[: len(self._blocks)] = self._blocks
            rows = np.zeros((len(grown) - self._base_blocks) << self._bits, dtype=np.uint32)
            rows[: len(self._tail_rows)] = self._tail_rows
            self._blocks, self._tail_rows = grown, rows

    def take_apart(self, number: int, codes: Callable[[NDArray[np.int64]], Words], listed: Listed) -> None:
        """Move what crowds together in a long list into a crowd."""
        _, places = self._spread(self._heads[[number]] >> _HEAD, self._sizes[[number]])
        numbers = np.full(len(places), number)
        rows = self._rows_at(numbers, places)
        rows = np.unique(rows[listed(rows, numbers)])
        words = codes(rows)
        # Is any of a few the middle of most of them?
        near = [_distance(words, words[at]) <= _CROWD_SPREAD for at in range(0, len(rows), max(1, len(rows) // 8))]
        around = max(near, key=np.count_nonzero) if near else np.zeros(0, dtype=bool)
        if np.count_nonzero(around) < _CROWD // 2:
            return
        centre = words[around][_distance(words[around], _typical(words[around])).argmin()]
        crowds = list(self._crowds)
        known = np.flatnonzero(_distance(self._centres, centre) <= _CROWD_SPREAD // 2)
        if len(known):
            crowd = crowds.pop(int(known[0]))
            centre, rows = crowd.centre, np.unique(np.concatenate([crowd.rows, rows]))
            words = codes(rows)
        elif len(crowds) >= _CROWDS:
            return
        near_rows = np.flatnonzero(_distance(words, centre) <= _CROWD_SPREAD)
        near_rows = near_rows[np.argsort(_distance(words[near_rows], centre), kind="stable")]
        members = rows[near_rows]
        self._set_crowds([*crowds, _Crowd(centre, words[near_rows], members)])
        emptied = np.unique(words[near_rows].view(np.uint16) + np.arange(_BANDS) * _VALUES)
        self._copy(
            emptied,
            np.zeros_like(emptied),
            lambda rows, numbers: listed(rows, numbers) & np.isin(rows, members, invert=True),
        )

    def crowded(self, queries: Words, radius: int, witness: NDArray[np.int64] | None) -> Iterator[Hits]:
        """Queries and rows of crowds within the radius."""
        if not self._crowds:
            return
        distances = np.bitwise_count(queries[:, None] ^ self._centres).sum(axis=2, dtype=np.int64)
        for query, crowd in zip(*np.nonzero(distances <= radius + self._spreads), strict=True):
            if witness is None or witness[query] < 0:
                for rows in self._crowds[crowd].around(queries[query], distances[query, crowd], radius):
                    yield np.full(len(rows), query), rows
                    if witness is not None and witness[query] >= 0:
                        break


class _Crowd:
    """Near-duplicates: a centre and the members by their distance from it, nearest first."""

    def __init__(self, centre: NDArray[np.uint64], words: Words, rows: NDArray[np.int64]) -> None:
        self.centre, self.rows = centre, rows
        self._parts = np.ascontiguousarray((words ^ centre).view(np.uint32).T)
        self._distances = _distance(words, centre)
        self.spread = int(self._distances[-1])
        # Where members at each distance begin; nobody is nearer than 0 or farther than 256.
        self._begins = self._distances.searchsorted(np.arange(258))

    def viewed(self) -> dict[str, Any]:
        """What the kernel reads."""
        return {
            "parts": self._parts,
            "distances": self._distances,
            "begins": self._begins,
            "rows": self.rows,
            "centre": self.centre,
            "members": len(self.rows),
        }

    def around(self, query: NDArray[np.uint64], distance: int, radius: int) -> Iterator[NDArray[np.int64]]:
        """Rows of members within the radius of a query that is so far from the centre."""
        first, end = self._begins[[max(0, distance - radius), min(256, distance + radius) + 1]].tolist()
        bits = (query ^ self.centre).view(np.uint32)
        others = ~bits
        # Where the query has few bits, a member has the most that are not the query's.
        telling = np.bitwise_count(bits).argsort()[:4].tolist()
        size = 64
        while first < end:
            last = min(end, first + size)
            most = (int(self._distances[last - 1]) + radius - distance) >> 1
            near = np.arange(last - first)
            if most <= _CROWD_FEW:
                # Here hardly anyone is near, so many are looked at together. Half of the bits are laid over each other,
                # which makes them no more, and `most` of them struck out.
                last = min(end, first + _TOGETHER // 8)
                most = (int(self._distances[last - 1]) + radius - distance) >> 1
                left = self._parts[telling[0], first:last] & others[telling[0]]
                for part in telling[1:]:
                    left |= self._parts[part, first:last] & others[part]
                for _ in range(most):
                    left &= left - np.uint32(1)
                near = np.flatnonzero(left == 0)
            if len(near):
                near += first
                left = self._parts.take(near, axis=1)
                left &= others[:, None]
                count = np.bitwise_count(left).sum(axis=0, dtype=np.int64)
                near = near[count <= (self._distances[near] + (radius - distance)) >> 1]
                if len(near):
                    yield self.rows[near]
            first = last
            size = min(size * 16, _TOGETHER // 8)


class _Probes:
    """Which lists a part of the queries looks up in some of the bands, those of the band's own value first.

    A column is one band of one query; the probes are all columns with no bit flipped, then with the first, and so on.
    """

    def __init__(self, part: Words, who: NDArray[np.int64] | None, radius: int, bands: range) -> None:
        self._who = who
        values = part.view(np.uint16) if who is None else part[who].view(np.uint16)
        flips, levels = _flips(radius // _BANDS, bands)
        own = values[:, bands.start : bands.stop].astype(np.int64)
        self.lists = (own ^ flips).reshape(-1)
        self.following = values.take(_NEXT[bands.start : bands.stop], axis=1).reshape(-1)
        self.numbers, self.column = _layout(own.size, len(flips))
        self._bands = len(bands)
        self.ends = levels * own.size  # of the probes with 0, 1, .. flipped bits
        self.allowed = [2 * radius // _BANDS - flipped for flipped in range(len(levels))]

    def query(self, which: NDArray[np.int64]) -> NDArray[np.int64]:
        """The query, in its part, of each of these probes."""
        query = self.column.take(which)
        query //= self._bands
        return query if self._who is None else self._who.take(query)


@lru_cache(maxsize=32)
def _layout(columns: int, masks: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The probes' numbers and columns."""
    return np.arange(columns * masks), np.tile(np.arange(columns), masks)


@cache
def _flips(most: int, bands: range) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(masks, 1, bands): what turns a band's value into the number of a list to look up; and `_masks`' levels."""
    masks, levels = _masks(most)
    # Lists are numbered by band and value, which is a multiple of 65,536 and what is below it: no bit in common.
    return masks.astype(np.int64)[:, None, None] ^ np.arange(bands.start, bands.stop) * _VALUES, levels


@cache
def _masks(flips: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """All 16-bit values with at most so many ones, fewest first, and how many have 0, <= 1, .. ones."""
    masks = [sum(1 << bit for bit in bits) for ones in range(flips + 1) for bits in combinations(range(_BANDS), ones)]
    return np.array(masks, dtype=np.uint16), np.cumsum([comb(_BANDS, ones) for ones in range(flips + 1)])


@cache
def _probes(radius: int) -> kernel.Probes:
    """For the kernel: what it flips in a band, and what the next band may then differ by; nothing below radius 0."""
    masks = _masks(radius // _BANDS)[0] if radius >= 0 else np.zeros(0, dtype=np.uint16)
    return kernel.Probes(masks, (2 * radius // _BANDS - np.bitwise_count(masks).astype(np.int64)).astype(np.uint8))


def _lookups(radius: int) -> int:
    """How many lists a search of one code looks up; as good as endless where nobody would make their masks."""
    return _BANDS * len(_masks(radius // _BANDS)[0]) if radius < 4 * _BANDS else 1 << 62


# Below so many codes, comparing all is faster than looking lists up for the usual radius.
_LISTS_PAY = _lookups(PDQ_RADIUS) * _LOOKUP_COST


def _block_bits(listings: int) -> int:
    """Binary logarithm of a block's length: about the mean list, since every block costs like fifty entries."""
    return min(6, max(2, (listings // _BANDS // _VALUES).bit_length()))


def _first_blocks(starts: NDArray[np.uint32], bits: int) -> NDArray[np.int64]:
    """The number of each list's first block, and of all blocks."""
    blocks = np.zeros(len(starts), dtype=np.int64)
    np.cumsum((np.diff(starts) + np.uint32((1 << bits) - 1)) >> np.uint32(bits), out=blocks[1:])
    return blocks


def _listed(
    words: Words, members: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint16]]:
    """Starts of the lists of each band's value, the rows in them, and in blocks the next band of each."""
    if len(members) >= 1 << 28:
        raise ValueError("places in the lists are counted in 32 bits")
    starts = np.zeros(_BANDS * _VALUES + 1, dtype=np.uint32)
    if _KERNEL is not None:
        _KERNEL.count(words, members, starts[1:])
    else:
        bands = np.ascontiguousarray(words[members].view(np.uint16).T)
        for band in range(_BANDS):
            starts[1 + band * _VALUES : 1 + (band + 1) * _VALUES] = np.bincount(bands[band], minlength=_VALUES)
    np.cumsum(starts, out=starts)
    bits = _block_bits(len(members) * _BANDS)
    blocks = _first_blocks(starts, bits)
    rows = np.empty((_BANDS, len(members)), dtype=np.uint32)
    following = _zeros((int(blocks[-1]) << bits,), np.uint16)
    if _KERNEL is not None:
        _KERNEL.list(words, members, starts, blocks, bits, rows, following)
        return starts, rows.reshape(-1), following
    ahead = (blocks << bits) - starts
    for band in range(_BANDS):
        order = np.argsort(bands[band], kind="stable")
        rows[band] = members[order]
        places = np.arange(band * len(members), (band + 1) * len(members))
        places += ahead[bands[band][order].astype(np.int64) + band * _VALUES]
        following[places] = bands[_NEXT[band]][order]
    return starts, rows.reshape(-1), following


def _crowds(
    words: Words, members: NDArray[np.int64], starts: NDArray[np.uint32], rows: NDArray[np.uint32]
) -> list[NDArray[np.int64]]:
    """Rows that crowd together in most of their lists, crowd by crowd, nearest to the crowd's centre first."""
    sizes = np.diff(starts.astype(np.int64))
    long = np.flatnonzero(sizes >= max(_CROWD, _CROWDED * len(members) // _VALUES))
    if not len(long):
        return []
    times = np.zeros(len(words), dtype=np.uint8)
    for number in long:
        times[rows[starts[number] : starts[number + 1]]] += 1
    # Of a crowd that is twelve bits wide every member is in some long list, but only most of them in six or more.
    left = np.flatnonzero(times)
    crowds: list[NDArray[np.int64]] = []
    for _ in range(_CROWDS):
        # The most typical of those around one that is in as many long lists as any.
        if len(left) < _CROWD or times[left].max() < _CROWD_BANDS:
            break
        around = left[_distance(words[left], words[left[times[left].argmax()]]) <= _CROWD_SPREAD]
        centre = words[around[_distance(words[around], _typical(words[around])).argmin()]]
        distances = _distance(words[left], centre)
        near = distances <= _CROWD_SPREAD
        if np.count_nonzero(near) >= _CROWD:
            crowds.append(left[near][np.argsort(distances[near], kind="stable")])
        near |= np.isin(left, around)
        left = left[~near]
    return crowds


def _typical(words: Words) -> Words:
    """What most of the codes have, bit by bit."""
    return np.packbits(np.unpackbits(words.view(np.uint8), axis=1).mean(axis=0) > 0.5).view(np.uint64)


def _run(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The next power of two; 0 for 0."""
    return np.asarray((blocks > 0).astype(np.int64) << np.frexp(blocks - 1)[1])


def _zeros(shape: tuple[int, ...], kind: type[Kind]) -> NDArray[Kind]:
    """Zeros of which no block or code crosses a line of the cache without need."""
    size = prod(shape) * np.dtype(kind).itemsize
    held = np.zeros(size + _LINE, dtype=np.uint8)
    ahead = -held.ctypes.data % _LINE
    return held[ahead : ahead + size].view(kind).reshape(shape)


def _with_room(array: NDArray[Any], length: int) -> NDArray[Any]:
    """The array, or a copy with room to double when it is shorter."""
    if length <= len(array):
        return array
    grown = _zeros((2 * length, *array.shape[1:]), array.dtype.type)
    grown[: len(array)] = array
    return grown


def _scan(words: Words, queries: Words, radius: int, witness: NDArray[np.int64] | None) -> Iterator[Hits]:
    """Queries and rows within the radius by comparing everything, first half before second."""
    for first in range(0, len(words), _TOGETHER // 4):
        block = words[first : first + _TOGETHER // 4]
        some = max(1, _TOGETHER // 4 // len(block))
        for start in range(0, len(queries), some):
            part = queries[start : start + some]
            half = np.bitwise_count(block[:, 0] ^ part[:, 0, None])
            half += np.bitwise_count(block[:, 1] ^ part[:, 1, None])
            query, row = np.nonzero(half <= radius)
            if not len(query):
                continue
            near = np.flatnonzero(_distance(block[row], part[query]) <= radius)
            query, row = query[near] + start, row[near] + first
            if witness is not None:
                wanted = witness[query] < 0
                query, row = query[wanted], row[wanted]
            if len(query):
                yield query, row


def _distance(one: Words, other: Words) -> NDArray[np.int64]:
    """Number of differing bits, row by row."""
    return np.asarray(np.bitwise_count(one ^ other).sum(axis=1, dtype=np.int64))


def _as_words(codes: NDArray[np.uint8]) -> Words:
    if codes.ndim != 2 or codes.shape[1] != 32 or codes.dtype != np.uint8:
        raise ValueError("codes are an array (n, 32) of bytes")
    return np.ascontiguousarray(codes).view(np.uint64)


def _write(path: Path, rows: int, sections: dict[str, NDArray[Any]]) -> None:
    entries, offset = b"", _PAGE
    for part in sections.values():
        digest = hashlib.sha256(part.data)
        digest.update(bytes(-part.nbytes % _PAGE))
        entries += struct.pack("<QQ32s", offset, part.nbytes, digest.digest())
        offset += -(-part.nbytes // _PAGE) * _PAGE
    header = (struct.pack("<8sIIQQ", _MAGIC, _VERSION, 0, rows, offset) + entries).ljust(_PAGE - 32, b"\0")
    with path.open("wb") as file:
        file.write(header + hashlib.sha256(header).digest())
        for part in sections.values():
            file.write(part.data)
            file.write(bytes(-part.nbytes % _PAGE))


def _read(path: Path, *, verify: bool) -> dict[str, NDArray[Any]]:
    if path.stat().st_size < _PAGE:
        raise IndexDamaged("cut off")
    file: NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    header = file[:_PAGE].tobytes()
    magic, version, _, _, size = struct.unpack_from("<8sIIQQ", header)
    if magic != _MAGIC:
        raise IndexDamaged("not an index")
    if version != _VERSION:
        raise IndexDamaged("unknown version")
    if hashlib.sha256(header[:-32]).digest() != header[-32:]:
        raise IndexDamaged("header changed")
    if size != len(file):
        raise IndexDamaged("cut off")
    sections: dict[str, NDArray[Any]] = {}
    for at, (name, kind) in enumerate(_SECTIONS.items()):
        offset, length, digest = struct.unpack_from("<QQ32s", header, 32 + 48 * at)
        if verify and hashlib.sha256(file[offset : offset + length + -length % _PAGE].data).digest() != digest:
            raise IndexDamaged(f"{name} changed")
        sections[name] = file[offset : offset + length].view(kind)
    return sections
