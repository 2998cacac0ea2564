"""The pictures and links of a snapshot in memory: one shelf's, as columns, found by exclusion, by key and by row.

What `optout.exclusions.matcher` keeps of exclusions that came since are plain dictionaries. For a million of them those
would be a million Python objects of each kind, made anew at each cold start; here are the columns as they were fetched,
and two orders of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optout.exclusions.entry import ImageExclusion, LinkExclusion, Scope, State
from optout.exclusions.index import HammingIndex
from optout.exclusions.keypoint_index import KeypointIndex
from optout.exclusions.segment import Kind, Part, Source
from optout.fingerprint.keypoints import to_bytes

# Fetches the corners of segments, one after the other.
Fetch = Callable[[Sequence[Source]], NDArray[np.uint8]]


class Bulk:
    """The pictures and links of some segments of one shelf, in rows 0 to n - 1. `codes` and `pictures` are indexes made
    of them, to which more may be added; what is asked here concerns the rows of those that were there at first.

    Corners are fetched when they are first asked for: they are most of the bytes, and a lookup by hashes needs none."""

    def __init__(self, state: State, parts: Sequence[Part] = (), fetch: Fetch | None = None) -> None:
        self._state = state
        segments = [part.segment for part in parts]
        kinds = _joined([segment.kinds for segment in segments], np.zeros(0, np.uint8))
        live = _joined([part.live for part in parts], np.zeros(0, bool))
        wanted = live & ((kinds == Kind.IMAGE) | (kinds == Kind.LINK))
        masks = np.split(wanted, np.cumsum([len(segment) for segment in segments])[:-1]) if parts else []

        def column(name: str, empty: NDArray[Any]) -> NDArray[Any]:
            columns = ((getattr(segment, name), mask) for segment, mask in zip(segments, masks, strict=True))
            return _joined([values if mask.all() else values[mask] for values, mask in columns], empty)

        self._ids = column("ids", np.zeros(0, "S1"))
        self._images = column("kinds", np.zeros(0, np.uint8)) == Kind.IMAGE
        self._keys = np.ascontiguousarray(column("keys", np.zeros((0, 32), np.uint8)))
        self._alive = np.ones(len(self._ids), bool)
        counts = column("code_counts", np.zeros(0, np.uint8))
        self._code_ends = np.cumsum(counts, dtype=np.int64)
        pairs = zip(segments, masks, strict=True)
        codes = [one.codes if mask.all() else one.codes[np.repeat(mask, one.code_counts)] for one, mask in pairs]
        self.codes = HammingIndex.build(*codes)
        self.code_rows = len(self.codes)  # rows of `codes` that are of what is here; above are what was added
        # Pictures with corners, those that have left the list among them, since their corners are between the others'.
        sizes = _joined([segment.corner_sizes for segment in segments], np.zeros(0, np.uint32))
        listed = np.flatnonzero(sizes)
        self.picture_rows = len(listed)
        self._records = np.where(wanted, np.cumsum(wanted) - 1, -1)[listed].astype(np.int32)
        self._pictures = np.full(len(self._ids), -1, np.int32)
        self._pictures[self._records[wanted[listed]]] = np.flatnonzero(wanted[listed])
        self.pictures = KeypointIndex()
        if self.picture_rows:
            if fetch is None:
                raise ValueError("pictures with corners and nowhere to fetch them from")
            sources = [part.source for part in parts if part.source is not None]
            ends = np.cumsum(sizes[listed], dtype=np.int64)
            self.pictures = KeypointIndex.later(wanted[listed], ends, partial(fetch, sources))
        self._prefixes = self._keys.view(">u8")[:, 0].astype(np.uint64)
        self._by_key = np.argsort(self._prefixes)
        self._prefixes = self._prefixes[self._by_key]
        # How many there are now of each kind that the matcher asks about.
        self.image_count = int(np.count_nonzero(self._images))
        self.link_count = len(self._ids) - self.image_count
        self.exact_only = int(np.count_nonzero(self._images & (counts == 0)))

    @cached_property
    def _by_id(self) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        # Numbers are sorted and searched much faster than strings; those that share eight letters are told apart after.
        padded = np.zeros((len(self._ids), max(8, self._ids.dtype.itemsize)), np.uint8)
        padded[:, : self._ids.dtype.itemsize] = self._ids.view(np.uint8).reshape(len(self._ids), -1)
        prefixes = np.ascontiguousarray(padded[:, :8]).view(">u8")[:, 0].astype(np.uint64)
        order = np.argsort(prefixes)
        return prefixes[order], order

    def rows(self, exclusion_id: str) -> list[int]:
        """The rows of an exclusion that are still there."""
        if not len(self._ids):
            return []
        prefixes, order = self._by_id
        name = exclusion_id.encode()
        found = order[_equal(prefixes, name)]
        return sorted(int(row) for row in found if self._alive[row] and self._ids[row] == name)

    def ids(self, scope: Scope | None) -> set[str]:
        """Of all that are still there, or of those of one scope."""
        wanted = self._alive
        if scope is not None:
            wanted = wanted & self._images if scope is Scope.IMAGE else wanted & ~self._images & (scope is Scope.LINK)
        return {name.decode() for name in self._ids[wanted].tolist()}

    def scopes(self, exclusion_id: str) -> set[Scope]:
        """What the records of an exclusion cover."""
        return {Scope.IMAGE if self._images[row] else Scope.LINK for row in self.rows(exclusion_id)}

    def of_key(self, key: bytes, *, images: bool) -> list[str]:
        """Of the pictures with this SHA-256, or the links with this hash: the exclusions."""
        found = self._by_key[_equal(self._prefixes, key)]
        rows = (row for row in sorted(found.tolist()) if self._alive[row] and bool(self._images[row]) is images)
        return [self._ids[row].decode() for row in rows if self._keys[row].tobytes() == key]

    def owner_of_code(self, row: int) -> str:
        """The exclusion of a row of `codes`."""
        return str(self._ids[self._record_of_code(row)].decode())

    def place_of_code(self, row: int) -> tuple[int, int] | None:
        """The row in `pictures` and the orientation of a row of `codes`; None when its picture has no keypoints."""
        record = self._record_of_code(row)
        picture = int(self._pictures[record])
        return None if picture < 0 else (picture, row - self._code_begin(record))

    def owner_of_picture(self, row: int) -> str:
        """The exclusion of a row of `pictures`."""
        return str(self._ids[self._records[row]].decode())

    def has_corners(self, row: int) -> bool:
        """Whether there are corners to a record."""
        return bool(self._pictures[row] >= 0)

    def take(self, row: int) -> ImageExclusion | LinkExclusion:
        """Take one out, of the indexes too. Raises what fetching its corners raises; nothing has changed then."""
        name, key = self._ids[row].decode(), self._keys[row].tobytes()
        if not self._images[row]:
            taken: ImageExclusion | LinkExclusion = LinkExclusion(name, key, self._state)
        else:
            picture = int(self._pictures[row])
            keypoints = None if picture < 0 else to_bytes(self.pictures.keypoints(picture))
            codes = tuple(map(self.codes.code, range(self._code_begin(row), int(self._code_ends[row]))))
            taken = ImageExclusion(name, key.hex(), codes, self._state, keypoints)
        self.remove(row)
        return taken

    def remove(self, row: int) -> None:
        """Take one out without looking at it."""
        self._alive[row] = False
        if not self._images[row]:
            self.link_count -= 1
            return
        begin, end = self._code_begin(row), int(self._code_ends[row])
        for code in range(begin, end):
            self.codes.remove(code)
        if (picture := int(self._pictures[row])) >= 0:
            self.pictures.remove(picture)
        self.image_count -= 1
        self.exact_only -= begin == end

    def _record_of_code(self, row: int) -> int:
        return int(np.searchsorted(self._code_ends, row, side="right"))

    def _code_begin(self, record: int) -> int:
        return int(self._code_ends[record - 1]) if record else 0


def _equal(prefixes: NDArray[np.uint64], name: bytes) -> slice:
    prefix = np.uint64(int.from_bytes(name[:8].ljust(8, b"\0"), "big"))
    return slice(int(np.searchsorted(prefixes, prefix)), int(np.searchsorted(prefixes, prefix, side="right")))


def _joined(columns: Sequence[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
    # Always a copy: a column as it was fetched keeps all that was fetched with it in memory.
    return np.concatenate(columns) if columns else empty
