"""The pictures and links of a snapshot in memory: one shelf's, as columns, found by exclusion, by key and by row.

What `optout.exclusions.matcher` keeps of exclusions that came since are plain dictionaries. For a million of them those
would be a million Python objects of each kind, made anew at each cold start; here are the columns as they were fetched,
and two orders of their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optout.exclusions.entry import ImageExclusion, LinkExclusion, Scope, State
from optout.exclusions.index import HammingIndex
from optout.exclusions.keypoint_index import KeypointIndex
from optout.exclusions.segment import Kind, Part
from optout.fingerprint.keypoints import to_bytes


class Bulk:
    """The pictures and links of some segments of one shelf, in rows 0 to n - 1. `codes` and `pictures` are indexes made
    of them, to which more may be added; what is asked here concerns the rows of those that were there at first."""

    def __init__(self, state: State, parts: Sequence[Part] = ()) -> None:
        self._state = state
        segments = [part.segment for part in parts]
        kinds = _joined([segment.kinds for segment in segments], np.zeros(0, np.uint8))
        live = _joined([part.live for part in parts], np.zeros(0, bool))
        wanted = live & ((kinds == Kind.IMAGE) | (kinds == Kind.LINK))
        masks = np.split(wanted, np.cumsum([len(segment) for segment in segments])[:-1]) if parts else []

        def column(name: str, empty: NDArray[Any], counts: str | None = None) -> NDArray[Any]:
            columns = []
            for segment, mask in zip(segments, masks, strict=True):
                values = getattr(segment, name)
                many = mask if counts is None or mask.all() else np.repeat(mask, getattr(segment, counts))
                columns.append(values if mask.all() else values[many])
            return _joined(columns, empty)

        self._ids = column("ids", np.zeros(0, "S1"))
        self._images = column("kinds", np.zeros(0, np.uint8)) == Kind.IMAGE
        self._keys = np.ascontiguousarray(column("keys", np.zeros((0, 32), np.uint8)))
        self._alive = np.ones(len(self._ids), bool)
        counts = column("code_counts", np.zeros(0, np.uint8))
        self._code_ends = np.cumsum(counts, dtype=np.int64)
        self._codes = column("codes", np.zeros((0, 32), np.uint8), "code_counts")
        self.codes = HammingIndex.build(self._codes) if len(self._codes) else HammingIndex()
        sizes = column("corner_sizes", np.zeros(0, np.uint32))
        self._with_corners = np.flatnonzero(sizes)
        corners = column("corners", np.zeros(0, np.uint8), "corner_sizes")
        ends = np.cumsum(sizes[self._with_corners], dtype=np.int64)
        self.pictures = KeypointIndex.of(corners, ends) if len(ends) else KeypointIndex()
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
        picture = int(np.searchsorted(self._with_corners, record))
        if picture == len(self._with_corners) or self._with_corners[picture] != record:
            return None
        return picture, row - self._code_begin(record)

    def owner_of_picture(self, row: int) -> str:
        """The exclusion of a row of `pictures`."""
        return str(self._ids[self._with_corners[row]].decode())

    def take(self, row: int) -> ImageExclusion | LinkExclusion:
        """Take one out, of the indexes too."""
        name, key = self._ids[row].decode(), self._keys[row].tobytes()
        self._alive[row] = False
        if not self._images[row]:
            self.link_count -= 1
            return LinkExclusion(name, key, self._state)
        begin, end = self._code_begin(row), int(self._code_ends[row])
        for code in range(begin, end):
            self.codes.remove(code)
        keypoints = None
        picture = int(np.searchsorted(self._with_corners, row))
        if picture < len(self._with_corners) and self._with_corners[picture] == row:
            keypoints = to_bytes(self.pictures.keypoints(picture))
            self.pictures.remove(picture)
        self.image_count -= 1
        self.exact_only -= begin == end
        codes = tuple(code.tobytes() for code in self._codes[begin:end])
        return ImageExclusion(name, key.hex(), codes, self._state, keypoints)

    @property
    def code_rows(self) -> int:
        """How many rows of `codes` are of what was there at first; above are what was added."""
        return len(self._codes)

    @property
    def picture_rows(self) -> int:
        """The same of `pictures`."""
        return len(self._with_corners)

    def _record_of_code(self, row: int) -> int:
        return int(np.searchsorted(self._code_ends, row, side="right"))

    def _code_begin(self, record: int) -> int:
        return int(self._code_ends[record - 1]) if record else 0


def _equal(prefixes: NDArray[np.uint64], name: bytes) -> slice:
    prefix = np.uint64(int.from_bytes(name[:8].ljust(8, b"\0"), "big"))
    return slice(int(np.searchsorted(prefixes, prefix)), int(np.searchsorted(prefixes, prefix, side="right")))


def _joined(columns: Sequence[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
    if len(columns) == 1:
        return columns[0]
    return np.concatenate(columns) if columns else empty
