"""Histories of the exclusion list: what everybody asked and was told, and what must hold in every one of them.

In the spirit of Jepsen and Elle (Kingsbury & Alvaro, VLDB 2020): whoever writes or looks something up notes when it
began, when it was answered and what the answer was; nothing else is known. Times are numbers that grow. Every
acknowledged write names its version and every lookup the version it answers for, so the order of all that is known
follows from the history itself, and only writes whose answer never came (the writer was killed, or the answer was lost)
have to be searched for: each took effect at one of the versions that nobody else has, or never.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise, product

from optout.exclusions.entry import State
from optout.exclusions.log import Version


class Step(StrEnum):
    """What is done to one exclusion."""

    FILE = "file"  # a case was handed in: its exclusion holds back
    ACCEPT = "accept"
    WITHDRAW = "withdraw"
    SUSPEND = "suspend"
    RESUME = "resume"


class Rule(StrEnum):
    """What every history must keep."""

    FRESH = "a lookup that began after a write was acknowledged saw it"
    FORWARD = "the versions that one client sees never go back"
    LOST = "what is on the list stays on it until it is taken off"
    RESURRECTED = "what was taken off the list does not come back by itself"
    ONCE = "every acknowledged write has a version of its own, and no version is without a write"


@dataclass
class Write:
    """One change of the list. Without `completed` nobody knows whether it took effect."""

    client: str
    step: Step
    name: str
    invoked: int
    completed: int | None = None
    version: Version | None = None


@dataclass(frozen=True)
class Look:
    """One lookup that was answered: the states of the exclusions that it asked about, None for what is not listed."""

    client: str
    invoked: int
    completed: int
    version: Version
    seen: dict[str, State | None]


@dataclass
class History:
    """Everything that was noted, in no order. `refused` lookups were answered 503, which says nothing of the list."""

    writes: list[Write] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    refused: int = 0


@dataclass(frozen=True)
class Violation:
    """A rule that a history breaks, and where."""

    rule: Rule
    where: str


def after(held: frozenset[State], step: Step) -> frozenset[State]:
    """What a step makes of the states in which an exclusion is listed. A case handed in anew does not end what was
    accepted before; its acceptance ends everything else."""
    match step:
        case Step.FILE:
            return held | {State.PENDING}
        case Step.ACCEPT:
            return frozenset({State.ACCEPTED})
        case Step.WITHDRAW:
            return frozenset()
        case Step.SUSPEND:
            return held - {State.ACCEPTED} | {State.SUSPENDED} if State.ACCEPTED in held else held
        case Step.RESUME:
            return held - {State.SUSPENDED} | {State.ACCEPTED} if State.SUSPENDED in held else held


def shown(held: frozenset[State]) -> State | None:
    """What a lookup answers by."""
    return next((state for state in (State.ACCEPTED, State.PENDING, State.SUSPENDED) if state in held), None)


def violations(history: History) -> list[Violation]:
    """Everything in it that breaks a rule; empty for a history that may be."""
    return [
        *_not_fresh(history),
        *_backwards(history),
        *_not_once(history),
        *_lost_or_resurrected(history),
    ]


def _not_fresh(history: History) -> Iterator[Violation]:
    known = [write for write in history.writes if write.completed is not None and write.version is not None]
    for look in history.looks:
        for write in known:
            if write.completed < look.invoked and look.version < write.version:  # type: ignore[operator]
                where = (
                    f"{look.client} at {look.invoked} answered for {look.version}, before {write.version} of {write}"
                )
                yield Violation(Rule.FRESH, where)
        # The same by what was seen, whatever version the answer claims.
        for name, seen in look.seen.items():
            about = [write for write in history.writes if write.name == name and write.invoked < look.completed]
            if about and all(write.completed is not None and write.completed < look.invoked for write in about):
                ordered = sorted(about, key=lambda write: write.version or Version(0, 0))
                if all(one.completed < next_.invoked for one, next_ in pairwise(ordered)):  # type: ignore[operator]
                    state = _replayed(ordered)
                    if seen is not state:
                        yield Violation(Rule.FRESH, f"{look.client} at {look.invoked} saw {name} {seen}, not {state}")


def _backwards(history: History) -> Iterator[Violation]:
    by_client: dict[str, list[Look]] = defaultdict(list)
    for look in history.looks:
        by_client[look.client].append(look)
    for client, looks in by_client.items():
        for one, other in pairwise(sorted(looks, key=lambda look: look.invoked)):
            if one.completed < other.invoked and other.version < one.version:
                yield Violation(Rule.FORWARD, f"{client} saw {other.version} after {one.version}")


def _not_once(history: History) -> Iterator[Violation]:
    versions = Counter(write.version for write in history.writes if write.version is not None)
    for version, count in versions.items():
        if count > 1:
            yield Violation(Rule.ONCE, f"{version} was given {count} times")
    unknown = sum(write.version is None for write in history.writes)
    free = _free(history)
    if len(free) > unknown:
        yield Violation(Rule.ONCE, f"{len(free)} versions without a write and only {unknown} that may have written")


def _lost_or_resurrected(history: History) -> Iterator[Violation]:
    free = _free(history)
    writes: dict[str, list[Write]] = defaultdict(list)
    for write in history.writes:
        writes[write.name].append(write)
    seen: dict[str, list[Look]] = defaultdict(list)
    for look in history.looks:
        for name in look.seen:
            seen[name].append(look)
    for name, looks in seen.items():
        known = [write for write in writes[name] if write.version is not None]
        unknown = [write for write in writes[name] if write.version is None]
        # Each unknown write took effect at one of the free versions, or never. Hardly anyone has more than two.
        best: list[Violation] | None = None
        for places in product([None, *free], repeat=len(unknown)):
            used = [place for place in places if place is not None]
            if len(set(used)) < len(used):
                continue
            placed = [
                Write(write.client, write.step, name, write.invoked, write.completed, place)
                for write, place in zip(unknown, places, strict=True)
                if place is not None
            ]
            found = list(_against(name, [*known, *placed], looks))
            if best is None or len(found) < len(best):
                best = found
            if not best:
                break
        yield from best or ()


def _against(name: str, writes: Sequence[Write], looks: Iterable[Look]) -> Iterator[Violation]:
    ordered = sorted(writes, key=lambda write: write.version or Version(0, 0))
    for look in looks:
        state = _replayed(write for write in ordered if write.version is not None and write.version <= look.version)
        if look.seen[name] is not state:
            what = f"{look.client} at {look.invoked}, version {look.version}, saw {name} {look.seen[name]}, not {state}"
            strength = {None: 0, State.PENDING: 1, State.SUSPENDED: 1, State.ACCEPTED: 2}
            yield Violation(Rule.LOST if strength[look.seen[name]] < strength[state] else Rule.RESURRECTED, what)


def _replayed(writes: Iterable[Write]) -> State | None:
    held: frozenset[State] = frozenset()
    for write in writes:
        held = after(held, write.step)
    return shown(held)


def _free(history: History) -> list[Version]:
    """The versions that were there and that nobody says they wrote."""
    taken = {write.version for write in history.writes if write.version is not None}
    ends: dict[int, int] = {}
    for version in (*taken, *(look.version for look in history.looks)):
        ends[version.epoch] = max(ends.get(version.epoch, 0), version.seq)
    every = (Version(epoch, seq) for epoch, end in sorted(ends.items()) for seq in range(1, end + 1))
    return [version for version in every if version not in taken]
