"""Makes the log short: what it says goes into the snapshot, and what the snapshot has held long enough leaves the log.

A run reads the log above the newest manifest, writes one small segment per shelf of what is new, names in the manifest
what has left, and swaps the manifest. Like-sized segments become one, so that there are never many and each record is
written a few times only, whatever the list's size (a log-structured merge tree; O'Neil et al., 1996). A run may be
killed anywhere, and any number may run at once: only the swap counts, and of those who saw the same manifest one wins.
A lookup waits for nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from optout.deadlines import LIST_LOG_KEPT, LIST_SEGMENTS_KEPT, LIST_WITHDRAWN_KEPT
from optout.errors import NotFresh
from optout.exclusions.fold import Record, after, concerns
from optout.exclusions.log import START, Change, ExclusionLog, LogItem, Version
from optout.exclusions.segment import Part, Segment, live_rows, shelf_of
from optout.exclusions.snapshot import SHELVES, Manifest, SegmentRef, Snapshots

# Changes of one run: what is left is for the next. Their records take at most about 7 KB each.
MAX_CHANGES = 20_000
# Segments are merged up to this size: larger ones would be written again for every few records that leave them, and
# are fetched no faster than several side by side.
MAX_SEGMENT_BYTES = 64 << 20
# So many of like size become one, so that each record is written about log4(64 MB / 64 KB) = 5 times in its life.
MERGED_TOGETHER = 4
_SMALLEST = 64 << 10
# No change has a higher number.
LAST = 10**12
# Above this share of records that have left, a segment is written anew.
DEAD_SHARE = 0.25


@dataclass(frozen=True)
class Compacted:
    """What a run did: the version that the snapshot is at, whether this run brought it there, how many records it has,
    and how many changes left the log and how many old segments the bucket."""

    version: Version
    swapped: bool
    records: int
    truncated: int
    collected: int


def compact(log: ExclusionLog, snapshots: Snapshots) -> Compacted:
    """One run. Raises `NotFresh` when the log or the snapshot cannot be read in full: then nothing is changed."""
    now, head = snapshots.time(), log.head()
    seen = snapshots.newest(head.epoch)
    if seen is not None and seen.manifest.seq > head.seq and log.head().seq < seen.manifest.seq:
        raise NotFresh("the snapshot is newer than the log's head")
    before = seen.manifest if seen is not None else Manifest(head.epoch, 0, 0, f"{0:064x}", ())
    items = _changes(log, Version(head.epoch, before.seq), head)
    made = _Draft(snapshots, before, now, items[-1].seq if items else before.seq)
    made.apply([change for item in items for change in item.changes])
    made.tidy()
    swapped = False
    if items or made.changed or seen is None:
        manifest = made.manifest()
        swapped = snapshots.replace(manifest, seen)
        if not swapped:
            # Another run was faster; what this one wrote nobody names, and it is collected like any other.
            return Compacted(Version(before.epoch, before.seq), False, before.records, 0, 0)
    else:
        manifest = before
    point = truncation_point(manifest, now)
    truncated = log.truncate(head.epoch, point) if point else 0
    if any(_long_ago(at, now) for _, at in manifest.history):
        truncated += _forget_epochs(log, snapshots, head.epoch)
    needed = {ref.name for ref in manifest.segments} | {name for name, at in manifest.retired if _lately(at, now)}
    collected = snapshots.collect(needed, now - LIST_SEGMENTS_KEPT)
    return Compacted(Version(manifest.epoch, manifest.seq), swapped, manifest.records, truncated, collected)


def truncation_point(manifest: Manifest, now: datetime) -> int:
    """The newest change that has been in a snapshot long enough to leave the log; 0 when there is none."""
    return max((seq for seq, at in manifest.history if _long_ago(at, now)), default=0)


def _long_ago(at: str, now: datetime) -> bool:
    return datetime.fromisoformat(at) <= now - LIST_LOG_KEPT


def _forget_epochs(log: ExclusionLog, snapshots: Snapshots, before: int) -> int:
    """Delete the logs of the epochs before this one. Returns how many changes."""
    if before == START.epoch:
        return 0
    # A log without a head is at `START`. That must not be taken for a new list once its changes are gone, and it is not
    # while there is a snapshot that is newer.
    found = snapshots.newest(START.epoch)
    if found is None or found.manifest.seq == START.seq:
        bar = Manifest(START.epoch, START.seq + 1, 0, f"{0:064x}", ())
        if not snapshots.replace(bar, found):
            return 0
    return sum(log.truncate(epoch, LAST) for epoch in range(START.epoch, before))


def _lately(at: str, now: datetime) -> bool:
    return now - datetime.fromisoformat(at) < LIST_SEGMENTS_KEPT


def _changes(log: ExclusionLog, after_version: Version, head: Version) -> list[LogItem]:
    """The changes above a version, as far as they follow each other and are not above the head."""
    found: list[LogItem] = []
    count = 0
    seq = after_version.seq
    for item in log.tail(after_version):
        if item.seq != seq + 1:
            if not found:
                raise NotFresh("the log does not begin where the snapshot ends")
            break
        if item.seq > head.seq or count >= MAX_CHANGES:
            break
        found.append(item)
        seq, count = item.seq, count + len(item.changes)
    if not found and after_version.seq < head.seq:
        raise NotFresh("a change of the list cannot be seen")
    return found


class _Draft:
    """The next manifest in the making."""

    def __init__(self, snapshots: Snapshots, before: Manifest, now: datetime, seq: int) -> None:
        self._snapshots = snapshots
        self._before = before
        self._now = now
        self._seq = seq
        self._refs = list(before.segments)
        self._digest = int(before.digest, 16)
        self._records = before.records
        self.changed = False

    def apply(self, changes: Sequence[Change]) -> None:
        """Fold the changes; records that are new go to new segments, those that left are named."""
        touched = list(dict.fromkeys(map(concerns, changes)))
        if not touched:
            return
        found = self._find(touched)
        held: dict[str, tuple[Record, ...]] = {name: tuple(found.get(name, {})) for name in touched}
        for change in changes:
            name = concerns(change)
            held[name] = after(held[name], change)  # type: ignore[assignment]  # of records it makes records
        fresh: dict[str, list[Record]] = {shelf: [] for shelf in SHELVES}
        gone: dict[str, list[int]] = {}
        for name in touched:
            for record, (segment, row) in found.get(name, {}).items():
                if record not in held[name]:
                    gone.setdefault(segment, []).append(row)
            for record in held[name]:
                if record not in found.get(name, {}):
                    fresh[shelf_of(record)].append(record)
        self._bury(gone)
        for shelf, records in fresh.items():
            if records:
                self._store(Segment.of(shelf, records))
                self._records += len(records)

    def _find(self, names: Sequence[str]) -> dict[str, dict[Record, tuple[str, int]]]:
        """The records of these exclusions in the snapshot, and in which segment and row each is."""
        wanted = np.array([name.encode() for name in names])
        found: dict[str, dict[Record, tuple[str, int]]] = {}
        self._digests: dict[tuple[str, int], int] = {}
        for ref, sections in zip(self._refs, self._snapshots.read(self._refs, "ids", "ids"), strict=True):
            ids = np.frombuffer(sections.content["ids"], dtype=f"S{sections.header.id_bytes}")
            rows = np.flatnonzero(np.isin(ids, wanted) & live_rows(ref.records, ref.dead))
            if not len(rows):
                continue
            segment = self._read(ref)
            for row in rows.tolist():
                record = segment.record(row)
                found.setdefault(record.exclusion_id, {})[record] = ref.name, row
                self._digests[ref.name, row] = int.from_bytes(segment.digests[row].tobytes(), "big")
        return found

    def _bury(self, gone: dict[str, list[int]]) -> None:
        for at, ref in enumerate(self._refs):
            if rows := gone.get(ref.name):
                dead = tuple(sorted({*ref.dead, *rows}))
                self._refs[at] = replace(ref, dead=dead, dead_since=ref.dead_since or self._now.isoformat())
                self._records -= len(rows)
                self._digest -= sum(self._digests[ref.name, row] for row in rows)
                self.changed = True

    def _read(self, ref: SegmentRef) -> Segment:
        (sections,) = self._snapshots.read([ref], "ids", "corners")
        return Segment.read(ref.shelf, sections)

    def _store(self, segment: Segment, *, again: bool = False) -> None:
        name, content = segment.to_file(self._seq)
        self._snapshots.put_segment(name, content)
        self._refs.append(SegmentRef(name, segment.shelf, len(segment), len(content)))
        if not again:
            self._digest += segment.digest()
        self.changed = True

    def tidy(self) -> None:
        """Write segments anew without what has left, and like-sized ones as one."""
        for ref in list(self._refs):
            if _worn(ref, self._now):
                self._rewrite([ref])
        for shelf in SHELVES:
            while group := _alike([ref for ref in self._refs if ref.shelf == shelf]):
                self._rewrite(group)

    def _rewrite(self, refs: Sequence[SegmentRef]) -> None:
        parts = [Part(self._read(ref), live_rows(ref.records, ref.dead)) for ref in refs]
        self._refs = [ref for ref in self._refs if ref not in refs]
        merged = Segment.merged(parts)
        if len(merged):
            self._store(merged, again=True)
        self.changed = True

    def manifest(self) -> Manifest:
        """As it stands now."""
        before, now = self._before, self._now.isoformat()
        # Of what is old enough to cut the log by, only the newest is of use.
        point = truncation_point(before, self._now)
        history = {seq: at for seq, at in before.history if seq >= point}
        history.setdefault(self._seq, now)
        in_force = {ref.name for ref in self._refs}
        return Manifest(
            before.epoch,
            self._seq,
            self._records,
            f"{self._digest % 2**256:064x}",
            tuple(self._refs),
            tuple(history.items()),
            (
                *((name, at) for name, at in before.retired if _lately(at, self._now)),
                *((ref.name, now) for ref in before.segments if ref.name not in in_force),
            ),
        )


def _worn(ref: SegmentRef, now: datetime) -> bool:
    if ref.dead_since is None:
        return False
    too_long = now - datetime.fromisoformat(ref.dead_since) >= LIST_WITHDRAWN_KEPT
    return too_long or len(ref.dead) > DEAD_SHARE * ref.records


def _alike(refs: Iterable[SegmentRef]) -> list[SegmentRef]:
    """Segments that become one: as many as `MERGED_TOGETHER` of one tier, which together are not too large."""
    tiers: dict[int, list[SegmentRef]] = {}
    for ref in refs:
        tier, size = 0, _SMALLEST
        while ref.size > size:
            tier, size = tier + 1, size * MERGED_TOGETHER
        tiers.setdefault(tier, []).append(ref)
    for tier in sorted(tiers):
        group = tiers[tier][:MERGED_TOGETHER]
        if len(group) == MERGED_TOGETHER and sum(ref.size for ref in group) <= MAX_SEGMENT_BYTES:
            return group
    return []
