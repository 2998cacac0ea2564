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

Slots. Memory is what a search waits for, so a list is one place in it: a slot of so many lanes that nearly every list
fits, 64 bytes at a million codes. Lane 0 holds the length, lane n the next band of the list's n-th code. What passes
finds its row in the compact `rows`. A list that does not fit has `_RUN` for its length, and its slot says where it is:
in a run of boxes, which are like slots and have the rows beside them.

Added codes. They fill free lanes of their slots; their rows are chained, list by list. A list that is full moves to a
run with room to double. So a search does not know two kinds of codes, and an addition writes to 16 places and waits for
nothing. What a list keeps of removed codes goes when it moves.

Crowds. Thousands of near-duplicates share their bands, so a search near them would walk the same codes in band after
band. They are taken out of the lists and kept apart with one centre c: when the lists are built, and again when
additions make a list as long. Let x = m xor c and y = q xor c for a member m and a query q, and |x| the ones in x. Then
d(q, m) = |y| - |x| + 2 * |x and not y|, so d(q, m) <= r exactly if |x and not y| <= (r - |y| + |x|) / 2. Members are
kept in the order of |x|: those where the right side is negative (the triangle inequality) are never touched, and of the
others the words of the left side, laid over each other, rule out nearly all.

File format (`save`, `open`), little-endian, version 2: one header page of 4,096 bytes, then the sections in the order
of `_SECTIONS`, each starting on a page of 4,096 bytes and padded with zeros.

    0     8   magic "OPTOUTHX"
    8     4   format version, 2
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
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from optout.errors import IndexDamaged
from optout.exclusions import kernel
from optout.fingerprint.pdq import PDQ_RADIUS

Kind = TypeVar("Kind", bound=np.generic)
Words = NDArray[np.uint64]  # (n, 4): codes of 256 bits
Hits = tuple[NDArray[np.int64], NDArray[np.integer]]  # numbers of queries and rows, pairwise
Listed = Callable[[NDArray[np.integer], int], NDArray[np.bool_]]  # of rows and the number of a list
Measured = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # and their distances

_FIRST_ROWS = 64
_BANDS = 16
_VALUES = 1 << 16
_NEXT = np.append(np.arange(1, _BANDS), 0)
# One list looked up costs as much as comparing so many codes; below 3,264 codes lists do not pay for radius 31.
_LOOKUP_COST = 12
# Bytes of slots looked at together, 1.5 times faster than a quarter of that; and codes in a scan.
_TOGETHER = 1 << 20
_SCANNED = 1 << 15
_LANES = 32  # of a line of the cache
_FEW = 2 * 16 * 17  # lists of two queries
_RUN = 65535  # instead of a list's length in its slot
# So many lanes hold nearly every list; bands of PDQ hashes are alike, so some lists are long. In slots of 32 lanes a
# search meets four lists in runs among 272 at 800,000 codes and eleven at a million, which costs the kernel next to
# nothing and NumPy a third of a single search. 64 lanes would take 67 MB more, and a new instance 0.3 s longer.
_SLOT_MEAN, _SLOT_MORE = 1.6, 6
_MOST_LANES = 256
# A list this much longer than the average is a crowd's; shorter ones cost no more than a few usual searches.
_CROWDED = 32
_CROWD = 1024
_CROWD_BANDS = 6
_CROWD_SPREAD = 40
_CROWDS = 256
_CROWD_FEW = 4  # bits are struck out one by one; counting costs as much as so many
_TAIL = 1 << 10  # boxes and late rows that there are at least once something is added

# Searches run in the compiled kernel where there is one, else here.
_KERNEL = kernel.load()

_NO_CROWDS: list[dict[str, Any]] = []
_BOTH = np.uint16(0x0101)
_LINE = 64
_PAGE = 4096
_MAGIC = b"OPTOUTHX"
_VERSION = 2
_SECTIONS: dict[str, np.dtype[np.generic]] = {
    "words": np.dtype("<u8"),  # (rows, 4)
    "live": np.dtype("u1"),  # one bit per row, most significant first
    "slots": np.dtype("<u2"),  # (16 * 65536, lanes): the list of each band's value; empty without lists
    "starts": np.dtype("<u4"),  # (16 * 65536 + 1): where the rows of each slot begin
    "rows": np.dtype("<u4"),
    "boxes": np.dtype("<u2"),  # (n, lanes): runs
    "box_rows": np.dtype("<u4"),  # (n, lanes)
    "crowd_rows": np.dtype("<u4"),  # crowd by crowd, nearest to the centre first
    "crowd_sizes": np.dtype("<u4"),
}


_LISTED = list(_SECTIONS)[2:]


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
    _view: kernel.View  # of the arrays, for the kernel
    _view_is_current: bool
    _worth: dict[int, bool]  # for each radius whether lists are looked up, as long as no code was added

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
        arrays = _read(path, verify=verify)
        words, live, rows = arrays["words"].reshape(-1, 4), arrays["live"], arrays["rows"]
        lists, size = None, len(arrays["slots"])
        fits = len(live) == -(-len(words) // 8) and size % (8 * _BANDS * _VALUES) == 0
        if fits and size:
            fits = len(arrays["starts"]) == _BANDS * _VALUES + 1 and len(rows) == arrays["starts"][-1]
            fits = fits and len(arrays["boxes"]) == len(arrays["box_rows"])
            fits = fits and len(arrays["crowd_rows"]) == int(arrays["crowd_sizes"].sum())
        if not fits:
            raise IndexDamaged("sections of other lengths")
        if size:
            lists = _Lists(words, *(arrays[name] for name in _LISTED))
        index = cls()
        index._rebase(words, np.unpackbits(live, count=len(words)).astype(bool), lists)
        return index

    def save(self, path: Path) -> None:
        """Write everything to one file, which `open` maps. Row numbers stay; codes of removed rows are not in it."""
        words, live, lists = self._folded()
        words[~live] = 0
        parts: dict[str, NDArray[Any]] = {"words": words, "live": np.packbits(live)}
        for name in _LISTED:
            parts[name] = np.zeros(0) if lists is None else getattr(lists, name)
        _write(path, len(words), {name: parts[name].astype(kind, copy=False) for name, kind in _SECTIONS.items()})

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
        self._view_is_current, self._worth = False, {}
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
        if _KERNEL is not None:
            return _KERNEL.any_match(self._viewed(), _checked(codes), self._probed(radius))
        queries = _as_words(codes)
        witness = np.empty(len(queries), dtype=np.int64)
        witness.fill(-1)
        for query, row, _ in self._hits(queries, radius, witness):
            witness[query] = row
        return witness

    def matches(self, codes: NDArray[np.uint8], radius: int = PDQ_RADIUS) -> Matches:
        """Every stored code at most `radius` bits away from each of the codes (n, 32)."""
        if _KERNEL is not None:
            query, row, distance = _KERNEL.matches(self._viewed(), _checked(codes), self._probed(radius)).T
        else:
            queries = _as_words(codes)
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
        if not self._view_is_current:
            self._view.update(
                self._lists.crowds_viewed if self._lists else _NO_CROWDS,
                base=self._base,
                added=self._added,
                base_rows=len(self._base),
                end=self._end,
                live=self._live,
                **(self._lists.viewed() if self._lists else {}),
            )
            self._view_is_current = True
        return self._view

    def _probed(self, radius: int) -> kernel.Probes:
        return _flipping(radius, self._by_lists(radius))

    def _by_lists(self, radius: int) -> bool:
        found = self._worth.get(radius)
        if found is None:
            found = self._worth[radius] = self._lists is not None and self._lists.pay(radius, self._count)
        return found

    def _hits(self, queries: Words, radius: int, witness: NDArray[np.int64] | None) -> Iterator[Measured]:
        """What is within the radius, maybe more than once; of no more interest are queries that have a `witness`."""
        lists = self._lists if self._by_lists(radius) else None
        columns = _columns(radius)
        step = columns if len(queries) * _BANDS > columns else max(1, len(queries))
        for first in range(0, len(queries), step):
            part = queries[first : first + step]
            known = None if witness is None else witness[first : first + step]
            if lists is None:
                for offset, words in ((0, self._base), (len(self._base), self._added[: self._end - len(self._base)])):
                    candidates = ((query, row + offset) for query, row in _scan(words, part, radius, known))
                    yield from self._measured(first, part, radius, candidates)
                continue
            if lists.crowded:
                yield from self._measured(first, part, radius, lists.in_crowds(part, radius, known))
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
            distance = _distance(part if len(part) == 1 else part.take(query, axis=0), self._codes(row))
            near = (distance <= radius).nonzero()[0]
            if len(near):
                near = near[self._live[row[near]]]
                if len(near):
                    yield first + query[near], row[near].astype(np.int64), distance[near]

    def _codes(self, rows: NDArray[np.integer]) -> Words:
        if self._end == len(self._base):
            return self._base.take(rows, axis=0)
        words = self._base.take(rows, axis=0, mode="clip") if len(self._base) else np.empty((len(rows), 4), np.uint64)
        late = np.flatnonzero(rows >= len(self._base))
        if len(late):
            words[late] = self._added.take(rows[late] - len(self._base), axis=0)
        return words

    def _listed(self, rows: NDArray[np.integer], number: int) -> NDArray[np.bool_]:
        """Which of the rows belong in this list: not the removed ones, nor those given out again for another code."""
        values = self._codes(rows).view(np.uint16)[:, number >> 16]
        return np.asarray(self._live[rows] & (values == (number & (_VALUES - 1))))

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
        self._view, self._view_is_current, self._worth = kernel.View(), False, {}
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
        slots: NDArray[np.uint16],
        starts: NDArray[np.uint32],
        rows: NDArray[np.uint32],
        boxes: NDArray[np.uint16],
        box_rows: NDArray[np.uint32],
        crowd_rows: NDArray[np.uint32],
        crowd_sizes: NDArray[np.uint32],
    ) -> None:
        self.slots, self.starts, self.rows = slots.reshape(_BANDS * _VALUES, -1), starts, rows
        self.lanes = self.slots.shape[1]
        self.boxes, self.box_rows = boxes.reshape(-1, self.lanes), box_rows.reshape(-1, self.lanes)
        self.crowd_rows, self.crowd_sizes = crowd_rows, crowd_sizes
        self._box_end = len(self.boxes)
        # Of what is added: the last of each list, its row, and the one before it, all counted from 1.
        self._last = np.zeros(0, np.uint32)
        self._late_rows, self._late_before = np.zeros(0, np.uint32), np.zeros(0, np.uint32)
        self._late_end = 0
        self._set_crowds(
            [
                _Crowd(words[members[0]], words[members], members)
                for members in np.split(crowd_rows.astype(np.int64), np.cumsum(crowd_sizes)[:-1])
                if len(members)
            ]
        )

    def _set_crowds(self, crowds: list[_Crowd]) -> None:
        self._crowds = crowds
        # What the kernel reads of them.
        self.crowds_viewed = [crowd.viewed() for crowd in crowds]
        self._centres = np.array([crowd.centre for crowd in crowds], dtype=np.uint64).reshape(-1, 4)
        self._spreads = np.array([crowd.spread for crowd in crowds], dtype=np.int64)

    @classmethod
    def of(cls, words: Words, members: NDArray[np.int64]) -> _Lists | None:
        """Lists of these rows, or None where they are so few that comparing all is faster."""
        if len(members) <= _LISTS_PAY:
            return None
        listed = _listed(words, members)
        slots, _, _, boxes, box_rows = listed
        crowds = _crowds(words, members, slots, boxes, box_rows)
        if crowds:
            apart = np.zeros(len(words), dtype=bool)
            apart[np.concatenate(crowds)] = True
            listed = _listed(words, members[~apart[members]])
        crowd_rows = np.concatenate([np.zeros(0, dtype=np.uint32), *crowds]).astype(np.uint32)
        return cls(words, *listed, crowd_rows, np.array([len(crowd) for crowd in crowds], dtype=np.uint32))

    def pay(self, radius: int, count: int) -> bool:
        """Whether looking up is faster than comparing all `count` codes."""
        lookups = _lookups(radius) * max(1.0, count / _VALUES / 32)
        return lookups * _LOOKUP_COST < count

    def viewed(self) -> dict[str, NDArray[Any] | int]:
        """What the kernel reads of the lists."""
        mean = len(self.rows) // (_BANDS * _VALUES) + 1
        return {
            "slots": self.slots,
            "lanes": self.lanes,
            "ahead": 1 + min(mean, self.lanes - 1) // 32,
            "starts": self.starts,
            "rows": self.rows,
            "last": self._last,
            "late_rows": self._late_rows,
            "late_before": self._late_before,
            "boxes": self.boxes,
            "box_rows": self.box_rows,
        }

    def candidates(self, probes: _Probes, witness: NDArray[np.int64] | None) -> Iterator[Hits]:
        """Queries and rows that may be within the radius, some of them repeatedly; crowds apart."""
        lists, slots, width, parts = probes.lists, self.slots, self.lanes, 1
        # Of few queries all lanes are looked at, which takes fewer calls; of many those that most lists fill, and the
        # others afterwards.
        if width > _LANES and len(lists) > _FEW:
            width, parts = _LANES, width // _LANES
            slots, lists = slots.reshape(-1, width), lists * parts
        taken = slots.take(lists, axis=0)
        counts = taken[:, 0]
        longer = (counts >= width).nonzero()[0]
        if self._late_end or len(longer):
            counts = counts.copy()
            headers = taken.view(np.uint32).take(longer, axis=0)
        number, lane = probes.near(taken)
        rows = self._slot_rows(probes.lists, number, lane, counts)
        if not len(longer):
            yield probes.query(number), rows
            return
        # Together, since every look at codes takes its calls.
        found = [(number, rows)]
        if parts > 1:
            sizes = counts.take(longer)
            which, part = _spread(longer, np.where(sizes == _RUN, 0, sizes // width))
            part += 1
            number, lane = probes.near_of(which, slots.take(lists.take(which) + part, axis=0))
            lane += part.take(number) * width
            number = which.take(number)
            found.append((number, self._slot_rows(probes.lists, number, lane, counts)))
            runs = (sizes == _RUN).nonzero()[0]
            longer, headers = longer.take(runs), headers.take(runs, axis=0)
        which = longer.repeat(headers[:, 2])
        box: NDArray[np.integer] = headers[:, 1]
        if len(which) > len(longer):
            # Boxes of one run lie side by side.
            which, part = _spread(longer, headers[:, 2])
            box = box.repeat(headers[:, 2]) + part
        together = max(1, _TOGETHER // 2 // self.lanes)
        for begin in range(0, len(which), together):
            some, places = which[begin : begin + together], box[begin : begin + together]
            if begin and witness is not None:
                wanted = np.flatnonzero(witness[probes.query(some)] < 0)
                some, places = some[wanted], places[wanted]
            number, lane = probes.near_of(some, self.boxes.take(places, axis=0))
            found.append((some.take(number), self.box_rows[places.take(number), lane]))
            yield probes.query(np.concatenate([number for number, _ in found])), np.concatenate([r for _, r in found])
            found = []
        if found:
            yield probes.query(np.concatenate([number for number, _ in found])), np.concatenate([r for _, r in found])

    def _slot_rows(
        self,
        lists: NDArray[np.int64],
        which: NDArray[np.int64],
        lanes: NDArray[np.int64],
        counts: NDArray[np.uint16],
    ) -> NDArray[np.uint32]:
        """The rows in these lanes of the slots of some of these lists, which hold so many. Lanes that nothing fills get
        any row."""
        own = lists.take(which)
        places = self.starts.take(own) + lanes
        places -= 1
        rows = self.rows.take(places, mode="clip") if len(self.rows) else np.zeros(len(own), np.uint32)
        if self._late_end:
            count = counts.take(which)
            late = ((places >= self.starts.take(own + 1)) & (lanes <= count) & (count < _RUN)).nonzero()[0]
            place = self._last.take(own.take(late)) - np.uint32(1)
            steps = count.take(late) - lanes.take(late)
            while len(back := steps.nonzero()[0]):
                place[back] = self._late_before.take(place.take(back)) - np.uint32(1)
                steps[back] -= 1
            rows[late] = self._late_rows.take(place)
        return rows

    def add(self, words: Words, rows: NDArray[np.int64], listed: Listed) -> list[int]:
        """List more rows. Returns the lists that have just become a crowd's by their length, or twice that, and so on.
        `listed` says which rows still belong in a list, so that the others go when it moves."""
        if not len(self._last):
            self._last = np.zeros(_BANDS * _VALUES, np.uint32)
        end = self._late_end + _BANDS * len(rows)
        if end > len(self._late_rows):
            self._late_rows, self._late_before = (
                np.concatenate([held, np.zeros(max(end, _TAIL), np.uint32)])
                for held in (self._late_rows, self._late_before)
            )
        # One by one, as Python reads and writes single numbers through these faster than NumPy does.
        slots = self.slots.reshape(-1).data
        last, late_rows, late_before = self._last.data, self._late_rows.data, self._late_before.data
        full, late = self.lanes - 1, self._late_end
        crowded = []
        for row, bands in zip(rows.tolist(), words.view(np.uint16).tolist(), strict=True):
            for band, value in enumerate(bands):
                number, following = band << 16 | value, bands[band + 1 - _BANDS]
                at = self.lanes * number
                count = slots[at]
                if count < full:
                    slots[at] = count + 1
                    slots[at + count + 1] = following
                    late_rows[late], late_before[late] = row, last[number]
                    late += 1
                    last[number] = late
                    self._late_end = late
                elif self._add_to_run(number, row, following, listed):
                    crowded.append(number)
        return crowded

    def _add_to_run(self, number: int, row: int, following: int, listed: Listed) -> bool:
        """List a row in a list that is in a run or moves to one. Returns whether it may be a crowd's by its length."""
        header = self.slots[number].view(np.uint32)
        if self.slots[number, 0] != _RUN or header[3] == header[2] * (self.lanes - 1):
            self._move(number, listed)
        size = int(header[3])
        box, lane = self._places(int(header[1]), size)
        self.boxes[box, [0, lane]] = lane, following
        self.box_rows[box, lane] = row
        header[3] = size + 1
        return size + 1 >= _CROWD and size & (size + 1) == 0

    def _places(self, first: int, entry: Any) -> Any:
        """The box and the lane of an entry, or of several, of a run that begins with this box."""
        return first + entry // (self.lanes - 1), entry % (self.lanes - 1) + 1

    def _move(self, number: int, listed: Listed) -> None:
        """Write a list as a run of only what belongs there, with room for one more."""
        rows, following = self._entries(number)
        kept = np.flatnonzero(listed(rows, number))
        # A row that was given out again for the same band's value is there twice.
        kept = kept[np.unique(rows[kept], return_index=True)[1]]
        header = self.slots[number].view(np.uint32)
        needed = 1 << (len(kept) // (self.lanes - 1)).bit_length()
        if self.slots[number, 0] != _RUN or needed > header[2]:
            if self._box_end + needed > len(self.boxes):
                more = max(len(self.boxes), needed, _TAIL), self.lanes
                self.boxes = np.concatenate([self.boxes, np.zeros(more, np.uint16)])
                self.box_rows = np.concatenate([self.box_rows, np.zeros(more, np.uint32)])
            self.slots[number, 0] = _RUN
            header[1:3] = self._box_end, needed
            self._box_end += needed
        first, room = header[1:3].tolist()
        self.boxes[first : first + room] = 0
        places = self._places(first, np.arange(len(kept)))
        self.boxes[places], self.box_rows[places] = following[kept], rows[kept]
        counts = len(kept) - (self.lanes - 1) * np.arange(room)
        self.boxes[first : first + room, 0] = counts.clip(0, self.lanes - 1)
        header[3] = len(kept)

    def _entries(self, number: int) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        """The rows of a list, and their next bands."""
        slot = self.slots[number]
        if slot[0] == _RUN:
            _, first, _, size = slot.view(np.uint32)[:4].tolist()
            places = self._places(first, np.arange(size))
            return self.box_rows[places], self.boxes[places]
        lanes = np.arange(1, int(slot[0]) + 1)
        return self._slot_rows(np.array([number]), np.zeros_like(lanes), lanes, slot[:1]), slot[lanes]

    def take_apart(self, number: int, codes: Callable[[NDArray[np.integer]], Words], listed: Listed) -> None:
        """Move what crowds together in a long list into a crowd."""
        entries, _ = self._entries(number)
        rows = np.unique(entries[listed(entries, number)]).astype(np.int64)
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
        # In short lists they cost nothing.
        slots = self.slots[emptied]
        sizes = np.where(slots[:, 0] == _RUN, slots.view(np.uint32)[:, 3], 0)
        for long in emptied[sizes > _CROWD // 8].tolist():
            self._move(long, lambda rows, number: listed(rows, number) & np.isin(rows, members, invert=True))

    @property
    def crowded(self) -> bool:
        """Whether there are crowds."""
        return bool(self._crowds)

    def in_crowds(self, queries: Words, radius: int, witness: NDArray[np.int64] | None) -> Iterator[Hits]:
        """Queries and rows of crowds within the radius."""
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
        size = 64
        while first < end:
            last = min(end, first + size)
            most = (int(self._distances[last - 1]) + radius - distance) >> 1
            near = np.arange(last - first)
            if most <= _CROWD_FEW:
                # Here hardly anyone is near, so many are looked at together. Bits are laid over each other, which makes
                # them no more, and `most` of them struck out.
                last = min(end, first + _SCANNED // 4)
                most = (int(self._distances[last - 1]) + radius - distance) >> 1
                left = self._parts[0, first:last] & others[0]
                room = np.empty_like(left)
                for part in range(1, len(others)):
                    left |= np.bitwise_and(self._parts[part, first:last], others[part], out=room)
                for _ in range(most):
                    left &= np.subtract(left, 1, out=room)
                near = (left == 0).nonzero()[0]
            if len(near):
                near += first
                left = self._parts.take(near, axis=1)
                left &= others[:, None]
                count = np.bitwise_count(left).sum(axis=0, dtype=np.int64)
                near = near[count <= (self._distances[near] + (radius - distance)) >> 1]
                if len(near):
                    yield self.rows[near]
            first = last
            size = min(size * 16, _SCANNED // 4)


class _Probes:
    """Which lists a part of the queries looks up in some of the bands, those of the band's own value first.

    A column is one band of one query; the probes are all columns with no bit flipped, then with the first, and so on.
    """

    def __init__(self, part: Words, who: NDArray[np.int64] | None, radius: int, bands: range) -> None:
        self._who = who
        values = part.view(np.uint16) if who is None else part[who].view(np.uint16)
        flips, self._allowed, following = _flips(radius, bands)
        self.lists = (values[:, bands.start : bands.stop] ^ flips).reshape(-1)
        self._following = values.take(following, axis=1).reshape(-1)
        self._bands, self._columns = len(bands), len(self._following)

    def near(self, taken: NDArray[np.uint16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What passes by its next band: which of the slots that were taken for all probes, and in which lanes. Lanes
        that nothing fills are candidates like any others. Writes to what was taken."""
        words = taken.view(np.uint64).reshape(len(self._allowed), -1)
        words ^= self._following.repeat(taken.shape[1]).view(np.uint64)
        return _within(words.view(np.uint16), self._allowed, taken.shape[1])

    def near_of(
        self, which: NDArray[np.int64], taken: NDArray[np.uint16]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same of what was taken for some of the probes, few as a rule: as if no bit were flipped in any of them,
        which lets more pass and takes fewer calls."""
        taken ^= self._following.take(which % self._columns)[:, None]
        return _within(taken, self._allowed[0], taken.shape[1])

    def query(self, which: NDArray[np.int64]) -> NDArray[np.int64]:
        """The query, in its part, of each of these probes."""
        if self._columns == self._bands and self._who is None:
            return np.zeros(len(which), np.int64)
        query = which % self._columns
        query //= self._bands
        return query if self._who is None else self._who.take(query)


def _within(
    bands: NDArray[np.uint16], allowed: NDArray[np.uint16], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which have no more ones than allowed, as rows of this width: row and lane."""
    # Bytes are counted fastest. The upper byte of each product is the sum of both.
    ones = np.bitwise_count(bands.view(np.uint8)).view(np.uint16)
    ones *= _BOTH
    hits = (ones < allowed).reshape(-1).nonzero()[0]
    return hits // width, hits % width


def _spread(which: NDArray[np.int64], times: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each so many times, and the how manieth each is."""
    ends = times.cumsum(dtype=np.int64)
    return which.repeat(times), np.arange(ends[-1] if len(ends) else 0) - (ends - times).repeat(times)


@cache
def _flips(radius: int, bands: range) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.int64]]:
    """(masks, 1, bands): what turns a band's value into the number of a list to look up; (masks, 1): what the next band
    may then differ by, plus one, as the upper byte of two; (bands): which band is next."""
    masks, allowed = _masks(radius)
    # Lists are numbered by band and value, which is a multiple of 65,536 and what is below it: no bit in common.
    numbers = masks.astype(np.int64)[:, None, None] ^ np.arange(bands.start, bands.stop) * _VALUES
    return numbers, (allowed[:, None].astype(np.uint16) + np.uint16(1)) << np.uint16(8), _NEXT[bands.start : bands.stop]


@cache
def _masks(radius: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """What a band may differ by, fewest ones first, and by how many bits the next band may then."""
    most = radius // _BANDS
    masks = [sum(1 << bit for bit in bits) for ones in range(most + 1) for bits in combinations(range(_BANDS), ones)]
    allowed = [2 * radius // _BANDS - mask.bit_count() for mask in masks]
    return np.array(masks, dtype=np.uint16), np.array(allowed, dtype=np.uint8)


@cache
def _flipping(radius: int, worth: bool) -> kernel.Probes:
    """The same for the kernel; nothing where looking up is not worth it."""
    masks, allowed = _masks(radius) if worth else (np.zeros(0, np.uint16), np.zeros(0, np.uint8))
    return kernel.Probes(masks, allowed, radius)


def _lookups(radius: int) -> int:
    """How many lists a search of one code looks up; as good as endless where nobody would make their masks."""
    return _BANDS * len(_masks(radius)[0]) if radius < 4 * _BANDS else 1 << 62


@cache
def _columns(radius: int) -> int:
    """Bands of queries that are looked up together, all bands of one or more queries or one band of many."""
    return max(1, _TOGETHER // _LINE // _lookups(radius) * _BANDS)


# Below so many codes, comparing all is faster than looking lists up for the usual radius.
_LISTS_PAY = _lookups(PDQ_RADIUS) * _LOOKUP_COST


def _lanes_for(listed: int) -> int:
    """Lanes of a slot when so many codes are listed: of a list's length and what nearly every list holds."""
    lanes = 1 + _SLOT_MEAN * listed / _VALUES + _SLOT_MORE
    return next((few for few in (8, 16) if lanes <= few), min(_MOST_LANES, -(-int(lanes) // 32) * 32))


def _listed(
    words: Words, members: NDArray[np.int64]
) -> tuple[NDArray[np.uint16], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint32]]:
    """Slots, starts, rows, boxes and box_rows of the lists of these rows."""
    if len(members) >= 1 << 28:
        raise ValueError("places in the lists are counted in 32 bits")
    counts = np.zeros(_BANDS * _VALUES, dtype=np.uint32)
    if _KERNEL is not None:
        _KERNEL.count(words, members, counts)
    else:
        bands = np.ascontiguousarray(words[members].view(np.uint16).T)
        for band in range(_BANDS):
            counts[band * _VALUES : (band + 1) * _VALUES] = np.bincount(bands[band], minlength=_VALUES)
    lanes = _lanes_for(len(members))
    each = lanes - 1
    slots = _zeros((_BANDS * _VALUES, lanes), np.uint16)
    long = np.flatnonzero(counts > each)
    sizes = counts[long].astype(np.int64)
    runs = -(-sizes // each)
    firsts = runs.cumsum() - runs
    short = counts.copy()
    short[long] = 0
    starts = np.zeros(_BANDS * _VALUES + 1, dtype=np.uint32)
    np.cumsum(short, out=starts[1:])
    slots[:, 0] = short
    slots[long, 0] = _RUN
    slots.view(np.uint32)[long, 1:4] = np.stack([firsts, runs, sizes], axis=1)
    boxes, box_rows = (np.zeros((int(runs.sum()), lanes), kind) for kind in (np.uint16, np.uint32))
    left = sizes.repeat(runs) - each * (np.arange(len(boxes)) - firsts.repeat(runs))
    boxes[:, 0] = left.clip(max=each)
    rows = np.empty(int(starts[-1]), dtype=np.uint32)
    if _KERNEL is not None:
        _KERNEL.list(words, members, counts, slots, starts, rows, boxes, box_rows)
        return slots, starts, rows, boxes, box_rows
    for band in range(_BANDS):
        order = np.argsort(bands[band], kind="stable")
        value, following, own = bands[band][order], bands[_NEXT[band]][order], members[order]
        number = value.astype(np.int64) + band * _VALUES
        ends = counts[band * _VALUES : (band + 1) * _VALUES].cumsum(dtype=np.int64)
        entry = np.arange(len(members)) - np.append(0, ends)[value]
        held = counts[number] <= each
        slots[number[held], entry[held] + 1] = following[held]
        rows[(starts[number] + entry)[held]] = own[held]
        number, entry = number[~held], entry[~held]
        box = slots.view(np.uint32)[number, 1] + entry // each
        boxes[box, entry % each + 1], box_rows[box, entry % each + 1] = following[~held], own[~held]
    return slots, starts, rows, boxes, box_rows


def _crowds(
    words: Words,
    members: NDArray[np.int64],
    slots: NDArray[np.uint16],
    boxes: NDArray[np.uint16],
    box_rows: NDArray[np.uint32],
) -> list[NDArray[np.int64]]:
    """Rows that crowd together in most of their lists, crowd by crowd, nearest to the crowd's centre first."""
    headers = slots.view(np.uint32)[slots[:, 0] == _RUN]
    long = headers[headers[:, 3] >= max(_CROWD, _CROWDED * len(members) // _VALUES)]
    if not len(long):
        return []
    times = np.zeros(len(words), dtype=np.uint8)
    for _, first, room, _ in long[:, :4].tolist():
        run = slice(first, first + room)
        times[box_rows[run, 1:][np.arange(1, boxes.shape[1]) <= boxes[run, :1]]] += 1
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
    for first in range(0, len(words), _SCANNED):
        block = words[first : first + _SCANNED]
        some = max(1, _SCANNED // len(block))
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
    found: NDArray[np.int64] = np.add.reduce(np.bitwise_count(one ^ other), axis=1, dtype=np.int64)
    return found


def _checked(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if codes.ndim != 2 or codes.shape[1] != 32 or codes.dtype != np.uint8:
        raise ValueError("codes are an array (n, 32) of bytes")
    return codes


def _as_words(codes: NDArray[np.uint8]) -> Words:
    return np.ascontiguousarray(_checked(codes)).view(np.uint64)


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
    # What is added is written to pages of our own.
    file: NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="c"))
    header = file[:_PAGE].tobytes()
    magic, version, _, rows, size = struct.unpack_from("<8sIIQQ", header)
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
    if len(sections["words"]) != 4 * rows:
        raise IndexDamaged("sections of other lengths")
    return sections
