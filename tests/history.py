"""Histories of the exclusion list: what everybody asked and was told, and what must hold in every one of them.

In the spirit of Jepsen and Elle (Kingsbury & Alvaro, VLDB 2020): whoever writes or looks something up notes when it
began, when it was answered and what the answer was; nothing else is known. Times are numbers that grow. Acknowledged
writes name their version where the answer does, and every lookup names the version it answers for, so most of the
order follows from the history itself. Other writes have to be searched for: one that was acknowledged without its
version took effect at a version that nobody else has, between what was seen before it began and what was seen after it
was acknowledged; one whose answer never came (the writer was killed, or the answer was lost) did so too, or never.

A new epoch begins with what the old one held. One that was begun with an older copy of the log may lack whatever was
written after that copy, until the operator has put it back: see `Begun`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate, pairwise, product

from optout.exclusions.entry import State
from optout.exclusions.log import Version


class Step(StrEnum):
    """What is done to one exclusion."""

    FILE = "file"  # a case was handed in: its exclusion holds back
    ACCEPT = "accept"
    WITHDRAW = "withdraw"
    SUSPEND = "suspend"
    RESUME = "resume"
    SAME = "same"  # a person looked at its doubtful copy: it is the same
    DIFFERENT = "different"  # and: it is another
    PUT_BACK = "put back"  # after a restore: what the list lacked, whichever exclusions these were


class Rule(StrEnum):
    """What every history must keep."""

    FRESH = "a lookup that began after a write was acknowledged saw it"
    FORWARD = "the versions that one client sees never go back"
    LOST = "what is on the list stays on it until it is taken off"
    RESURRECTED = "what was taken off the list does not come back by itself"
    ONCE = "every acknowledged write has a version of its own, and no version is without a write"
    NOTICED = "a lookup that began after a new epoch had begun answers from it"
    ANSWERED = "what a person answered about a doubtful file is remembered as long as the exclusion is listed"


# What is asked about besides the exclusions themselves: of each, one file that is doubtful as long as nobody answered.
DOUBTFUL = "doubtful"
_COPY = "copy of "
Seen = State | str | None


def copy_of(name: str) -> str:
    """How the doubtful file of an exclusion is called."""
    return _COPY + name


def is_copy(name: str) -> bool:
    """Whether a name is a doubtful file's."""
    return name.startswith(_COPY)


@dataclass
class Write:
    """One change of the list. Without `completed` nobody knows whether it took effect, without `version` nobody knows
    where."""

    client: str
    step: Step
    name: str
    invoked: int
    completed: int | None = None
    version: Version | None = None


@dataclass(frozen=True)
class Look:
    """One lookup that was answered: how each thing that it asked about is listed, None for what is not."""

    client: str
    invoked: int
    completed: int
    version: Version
    seen: dict[str, Seen]


@dataclass
class Begun:
    """A new epoch that an operator has begun, at `version`.

    Begun with the log of the table itself, it holds all that the old one held. Begun with a restored copy whose head
    was at `copied`, it may lack any of what was written after that (a snapshot that was ahead of the copy brings some
    of it along). Only from `whole` on, the head as it was when the operator had put everything back, it holds all.
    """

    invoked: int
    completed: int
    version: Version
    copied: Version | None = None
    whole: Version | None = None


@dataclass
class History:
    """Everything that was noted, in no order. `refused` lookups were answered 503, which says nothing of the list."""

    writes: list[Write] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)
    refused: int = 0


@dataclass(frozen=True)
class Violation:
    """A rule that a history breaks, and where."""

    rule: Rule
    where: str


Held = frozenset[State | Step]


def after(held: Held, step: Step) -> Held:
    """What a step makes of the states in which an exclusion is listed, and of the answer about its doubtful file. A
    case handed in anew does not end what was accepted before; its acceptance ends everything else but the answer."""
    answer = held & {Step.SAME, Step.DIFFERENT}
    made = held
    match step:
        case Step.FILE:
            made = held | {State.PENDING}
        case Step.ACCEPT:
            made = answer | {State.ACCEPTED}
        case Step.WITHDRAW:
            made = frozenset()
        case Step.SUSPEND if State.ACCEPTED in held:
            made = held - {State.ACCEPTED} | {State.SUSPENDED}
        case Step.RESUME if State.SUSPENDED in held:
            made = held - {State.SUSPENDED} | {State.ACCEPTED}
        case Step.SAME | Step.DIFFERENT if held:
            made = held - answer | {step}
    return made


def shown(held: Held) -> Seen:
    """What a lookup answers by."""
    return next((state for state in (State.ACCEPTED, State.PENDING, State.SUSPENDED) if state in held), None)


def shown_of_copy(held: Held) -> Seen:
    """What a lookup of the doubtful file answers by. A suspended exclusion holds back all that it excluded or sent to a
    person, whatever was answered."""
    if Step.SAME in held:
        return shown(held)
    if State.ACCEPTED in held:
        return None if Step.DIFFERENT in held else DOUBTFUL
    return State.SUSPENDED if State.SUSPENDED in held else None


def violations(history: History) -> list[Violation]:
    """Everything in it that breaks a rule; empty for a history that may be."""
    return [
        *_not_fresh(history),
        *_not_noticed(history),
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
        if any(_may_lack(begun, look.version) for begun in history.begun):
            continue
        # The same by what was seen, whatever version the answer claims.
        for asked, seen in look.seen.items():
            name = asked.removeprefix(_COPY)
            about = [write for write in history.writes if write.name == name and write.invoked < look.completed]
            if about and all(write.completed is not None and write.completed < look.invoked for write in about):
                ordered = sorted(about, key=lambda write: write.invoked)
                if all(one.completed < next_.invoked for one, next_ in pairwise(ordered)):  # type: ignore[operator]
                    state = _replayed(asked, ordered)
                    if seen != state:
                        yield Violation(Rule.FRESH, f"{look.client} at {look.invoked} saw {asked} {seen}, not {state}")


def _not_noticed(history: History) -> Iterator[Violation]:
    for begun in history.begun:
        for look in history.looks:
            if begun.completed < look.invoked and look.version < begun.version:
                yield Violation(Rule.NOTICED, f"{look.client} at {look.invoked} answered for {look.version}: {begun}")


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
    free, bounds, ends = _free(history), _Bounds(history), _ends(history)
    writes: dict[str, list[Write]] = defaultdict(list)
    for write in history.writes:
        writes[write.name].append(write)
    looks: dict[str, list[tuple[str, Look]]] = defaultdict(list)
    for look in history.looks:
        for asked in look.seen:
            looks[asked.removeprefix(_COPY)].append((asked, look))
    for name, about in looks.items():
        known = [write for write in writes[name] if write.version is not None]
        unknown = [write for write in writes[name] if write.version is None]
        # Nobody need have seen the last writes of an epoch before the next one took them over.
        beyond = [Version(epoch, end + more) for epoch, end in ends.items() for more in range(1, len(unknown) + 1)]
        marks = {write.version for write in known} | {look.version for _, look in about}
        every = sorted([*free, *beyond])
        places = [
            [*_distinct(bounds.of(write, every), marks, len(unknown)), *([None] if write.completed is None else [])]
            for write in unknown
        ]
        best: list[Violation] | None = None
        for chosen in product(*places):
            used = [place for place in chosen if place is not None]
            if len(set(used)) < len(used):
                continue
            placed = [
                replace(write, version=place) for write, place in zip(unknown, chosen, strict=True) if place is not None
            ]
            found = list(_against([*known, *placed], about, history.begun))
            if best is None or len(found) < len(best):
                best = found
            if not best:
                break
        if best is None:
            yield Violation(Rule.LOST, f"{name}: there is no version at which {unknown} can have taken effect")
        yield from best or ()


class _Bounds:
    """Between which versions a write took effect, by what was seen before it began and after it was acknowledged."""

    def __init__(self, history: History) -> None:
        told = [(write.invoked, write.completed, write.version) for write in history.writes if write.completed]
        seen = [(look.invoked, look.completed, look.version) for look in history.looks]
        before = sorted((completed, version) for _, completed, version in [*told, *seen] if version and completed)
        self._completed = [at for at, _ in before]
        self._highest = list(accumulate((version for _, version in before), max))
        # A lookup of the version that a write has, has seen it; another write has another version.
        later = sorted(
            [(invoked, version, True) for invoked, _, version in seen]
            + [(invoked, version, False) for invoked, _, version in told if version],
            reverse=True,
        )
        self._invoked = [at for at, _, _ in reversed(later)]
        lowest = accumulate(((version, inclusive) for _, version, inclusive in later), min)
        self._lowest = list(reversed(list(lowest)))

    def of(self, write: Write, places: Sequence[Version]) -> list[Version]:
        """Those of the places at which it may have taken effect."""
        at = bisect_left(self._completed, write.invoked)
        if at:
            places = [place for place in places if place > self._highest[at - 1]]
        if write.completed is not None and (at := bisect_right(self._invoked, write.completed)) < len(self._invoked):
            last, inclusive = self._lowest[at]
            places = [place for place in places if place < last or (inclusive and place == last)]
        return list(places)


def _distinct(places: Sequence[Version], marks: Iterable[Version | None], count: int) -> list[Version]:
    """Of places between which nobody looked or wrote, so many."""
    stops = sorted(mark for mark in marks if mark is not None)
    taken: Counter[int] = Counter()
    left: list[Version] = []
    for place in places:
        interval = bisect_left(stops, place)
        taken[interval] += 1
        if taken[interval] <= count:
            left.append(place)
    return left


def _against(writes: Sequence[Write], looks: Iterable[tuple[str, Look]], begun: Sequence[Begun]) -> Iterator[Violation]:
    ordered = sorted(writes, key=lambda write: write.version or Version(0, 0))
    for asked, look in looks:
        so_far = [write for write in ordered if write.version is not None and write.version <= look.version]
        state = _replayed(asked, so_far)
        seen = look.seen[asked]
        if seen == state or any(seen == other for other in _without_lost(asked, so_far, look.version, begun)):
            continue
        what = f"{look.client} at {look.invoked}, version {look.version}, saw {asked} {seen}, not {state}"
        strength = {None: 0, State.PENDING: 1, State.SUSPENDED: 1, State.ACCEPTED: 2}
        if is_copy(asked):
            yield Violation(Rule.ANSWERED, what)
        else:
            yield Violation(Rule.LOST if strength[seen] < strength[state] else Rule.RESURRECTED, what)  # type: ignore[index]


def _may_lack(begun: Begun, version: Version) -> bool:
    """Whether the list may lack something at a version, because it was restored and not all has been put back."""
    return begun.copied is not None and begun.version <= version and (begun.whole is None or version < begun.whole)


def _without_lost(asked: str, writes: Sequence[Write], version: Version, begun: Sequence[Begun]) -> Iterator[Seen]:
    """What else may be shown at a version where the list lacks what a restored copy did not hold."""
    for one in begun:
        if _may_lack(one, version):
            kept = [write for write in writes if write.version <= one.copied]  # type: ignore[operator]
            since = [write for write in writes if write.version.epoch >= one.version.epoch]  # type: ignore[union-attr]
            between = writes[len(kept) : len(writes) - len(since)]
            for cut in range(len(between) + 1):
                yield _replayed(asked, [*kept, *between[:cut], *since])


def _replayed(asked: str, writes: Iterable[Write]) -> Seen:
    held: Held = frozenset()
    for write in writes:
        held = after(held, write.step)
    return shown_of_copy(held) if is_copy(asked) else shown(held)


def _ends(history: History) -> dict[int, int]:
    """The last change that is known of each epoch."""
    ends: dict[int, int] = {}
    taken = (write.version for write in history.writes if write.version is not None)
    begun = (each.version for each in history.begun)
    whole = (each.whole for each in history.begun if each.whole is not None)
    for version in (*taken, *begun, *whole, *(look.version for look in history.looks)):
        ends[version.epoch] = max(ends.get(version.epoch, 0), version.seq)
    return ends


def _free(history: History) -> list[Version]:
    """The versions that were there and that nobody says they wrote. What a new epoch took over is no write of its own;
    of one whose operator was killed nobody knows where it began: not above what was seen of it first."""
    taken = {write.version for write in history.writes if write.version is not None}
    begins = {begun.version.epoch: begun.version.seq for begun in history.begun}
    first: dict[int, int] = {1: 0}
    for version in taken:
        first[version.epoch] = min(first.get(version.epoch, version.seq), version.seq - 1)
    for look in history.looks:
        first[look.version.epoch] = min(first.get(look.version.epoch, look.version.seq), look.version.seq)
    begins = first | begins
    every = (
        Version(epoch, seq)
        for epoch, end in sorted(_ends(history).items())
        for seq in range(begins.get(epoch, 0) + 1, end + 1)
    )
    return [version for version in every if version not in taken]
