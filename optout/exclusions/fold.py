"""What a change makes of what is listed: the one rule that the snapshot, the reviewers and the operators go by.

Pure, and without NumPy, since page functions ask it too. Every change concerns one exclusion id, so the rule says what
is listed under an id after a change of it. `optout.exclusions.matcher` keeps the same by its indexes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from optout.errors import NotFresh
from optout.exclusions.entry import Exclusion, FaceExclusion, ImageExclusion, LinkExclusion, State
from optout.exclusions.log import Add, Answer, Change, ExclusionLog, Remove, Suspend, Version


@dataclass(frozen=True)
class Listed:
    """What a snapshot's list of names says of an exclusion: enough to know its state, not to find it by."""

    exclusion_id: str
    state: State


Record = ImageExclusion | FaceExclusion | LinkExclusion | Answer
Known = Exclusion | Listed | Answer
K = TypeVar("K", bound=Known)

# Which state counts where one id has exclusions of several: the one that excludes most.
_STRONGEST = (State.ACCEPTED, State.SUSPENDED, State.PENDING)


def after(held: tuple[Known, ...], change: Change) -> tuple[Known, ...]:
    """What is listed under an exclusion id after a change of it, in the order in which it came.

    An accepted exclusion ends what was pending or suspended under its id: the case has been decided. The same again
    changes nothing. An answer is kept as long as something is listed under its id.
    """
    match change:
        case Add(exclusion):
            if exclusion.state is State.ACCEPTED:
                held = tuple(one for one in held if isinstance(one, Answer) or one.state is State.ACCEPTED)
            return _once((*held, exclusion))
        case Remove():
            return ()
        case Answer():
            if all(isinstance(one, Answer) for one in held):
                return held
            others = (one for one in held if not (isinstance(one, Answer) and _same_question(one, change)))
            return (*others, change)
    moved = (State.ACCEPTED, State.SUSPENDED) if isinstance(change, Suspend) else (State.SUSPENDED, State.ACCEPTED)
    return _once(_moved(one, *moved) for one in held)


def _same_question(one: Answer, other: Answer) -> bool:
    return one.candidate_sha256 == other.candidate_sha256


def _moved(one: Known, source: State, target: State) -> Known:
    return one if isinstance(one, Answer) or one.state is not source else replace(one, state=target)


def _once(records: Iterable[Known]) -> tuple[Known, ...]:
    return tuple(dict.fromkeys(records))


def state_of(held: Iterable[Known]) -> State | None:
    """The state of an exclusion by what is listed under its id; None when nothing is."""
    states = {one.state for one in held if not isinstance(one, Answer)}
    return next((state for state in _STRONGEST if state in states), None)


def in_force(log: ExclusionLog, head: Version, only: str | None = None) -> dict[str, State]:
    """What is on the list at `head`, from the snapshot and the log above it; with `only`, no more than this exclusion.

    Raises `NotFresh` when that cannot be seen in full, or when the snapshot cannot be trusted.
    """
    held: dict[str, tuple[Known, ...]] = {}
    seen = 0
    snapshots = log.snapshots
    if snapshots is not None and (found := snapshots.newest(head.epoch)) is not None:
        manifest = found.manifest
        if manifest.seq > head.seq:
            raise NotFresh("the snapshot is newer than the log's head")
        seen = manifest.seq
        for exclusion_id, state in snapshots.names(manifest):
            if only in (None, exclusion_id):
                held[exclusion_id] = (*held.get(exclusion_id, ()), Listed(exclusion_id, state))
    for item in log.tail(Version(head.epoch, seen)):
        if item.seq != seen + 1 or item.seq > head.seq:
            break
        seen = item.seq
        for change in item.changes:
            name = concerns(change)
            if only in (None, name):
                held[name] = after(held.get(name, ()), change)
    if seen < head.seq:
        raise NotFresh("a change of the list cannot be seen")
    states = ((name, state_of(records)) for name, records in held.items())
    return {name: state for name, state in states if state is not None}


def concerns(change: Change) -> str:
    """The id of the exclusion that a change is about."""
    return change.exclusion.exclusion_id if isinstance(change, Add) else change.exclusion_id


def canonical(record: Record) -> bytes:
    """The bytes that stand for a record in the digest: every field with its length before it, in a fixed order, so that
    no two records have the same. They are the same for every format of the log and of segments."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in _parts(record))


def _parts(record: Record) -> Iterator[bytes]:
    yield record.exclusion_id.encode()
    match record:
        case Answer():
            yield from (b"answer", bytes.fromhex(record.candidate_sha256), b"same" if record.same else b"different")
        case ImageExclusion():
            yield from (b"image", record.state.encode(), bytes.fromhex(record.sha256), b"".join(record.dihedral))
            yield record.keypoints or b""
        case FaceExclusion():
            yield from (b"face", record.state.encode(), record.model.encode(), *record.embeddings)
        case LinkExclusion():
            yield from (b"link", record.state.encode(), record.url_hash)


def record_digest(record: Record) -> bytes:
    """SHA-256 of a record's canonical bytes."""
    return hashlib.sha256(canonical(record)).digest()


def set_digest(digests: Iterable[bytes]) -> int:
    """The digest of a whole set, whatever its order: the sum of its records' digests, modulo 2**256. What is added or
    removed is added or subtracted."""
    return sum(int.from_bytes(one, "big") for one in digests) % 2**256
