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
from itertools import accumulate, pairwise

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
# No version is higher.
LAST = Version(10**9, 0)


def copy_of(name: str) -> str:
    """How the doubtful file of an exclusion is called."""
    return _COPY + name


def is_copy(name: str) -> bool:
    """Whether a name is a doubtful file's."""
    return name.startswith(_COPY)


@dataclass
class Write:
    """One change of the list. Without `completed` nobody knows whether it took effect, without `version` nobody knows
    where. An `idle` one is acknowledged too where there was nothing to change, such as no exclusion to withdraw."""

    client: str
    step: Step
    name: str
    invoked: int
    completed: int | None = None
    version: Version | None = None
    idle: bool = False


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
                    # The address of a case that is decided already can be verified too, and then holds nothing back.
                    decided = [write for write in ordered if not (write.idle and write.step is Step.FILE)]
                    if seen not in {state, _replayed(asked, decided)}:
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
    restored = [begun for begun in history.begun if begun.copied is not None]
    for name, about in looks.items():
        known = {write.version: write.step for write in writes[name] if write.version is not None}
        unknown = [write for write in writes[name] if write.version is None]
        # Nobody need have seen the last writes of an epoch before the next one took them over.
        beyond = [Version(epoch, end + more) for epoch, end in ends.items() for more in range(1, len(unknown) + 1)]
        every = sorted([*free, *beyond])
        places = [bounds.of(write, every) for write in unknown]
        yield from _Search(name, known, unknown, places, restored).violations(about)


@dataclass(frozen=True)
class _Possible:
    """One way in which it can have been: what is listed, what may be listed instead since each restore, and the writes
    that have not taken effect yet."""

    held: Held
    instead: tuple[frozenset[Held], ...]
    left: frozenset[int]


class _Search:
    """Looks for an order of one exclusion's writes by which everybody saw what they should, along the versions."""

    def __init__(
        self,
        name: str,
        known: dict[Version, Step],
        unknown: Sequence[Write],
        places: Sequence[Sequence[Version]],
        restored: Sequence[Begun],
    ) -> None:
        self._name, self._known, self._unknown, self._places, self._restored = name, known, unknown, places, restored

    def violations(self, looks: Sequence[tuple[str, Look]]) -> Iterator[Violation]:
        """What is wrong in the best of all orders."""
        seen: dict[Version, list[tuple[str, Look]]] = defaultdict(list)
        for asked, look in looks:
            seen[look.version].append((asked, look))
        turns = {turn for begun in self._restored for turn in (begun.copied, begun.version, begun.whole) if turn}
        marks = sorted({*self._known, *seen, *turns})
        # Between two marks nobody looked or wrote, so it does not matter where.
        between = [Counter(bisect_left(marks, place) for place in places) for places in self._places]
        room = Counter(bisect_left(marks, place) for place in {place for places in self._places for place in places})
        none: tuple[frozenset[Held], ...] = (frozenset(),) * len(self._restored)
        ways = {_Possible(frozenset(), none, frozenset(range(len(self._unknown))))}
        for at, mark in enumerate(marks):
            ways = self._filled(ways, mark, [index for index, each in enumerate(between) if each[at]], room[at])
            if mark in self._known:
                ways = {self._stepped(way, self._known[mark], mark) for way in ways}
            ways = {self._turned(way, mark) for way in ways}
            for asked, look in seen[mark]:
                fits = {way for way in ways if self._fits(way, asked, look)}
                if not fits:
                    yield self._wrong(next(iter(ways)), asked, look)
                ways = fits or ways
        last = Version(10**9, 0)
        ways = self._filled(
            ways, last, [index for index, each in enumerate(between) if each[len(marks)]], room[len(marks)]
        )
        must = {index for index, write in enumerate(self._unknown) if write.completed is not None and not write.idle}
        if all(must & way.left for way in ways):
            lost = [self._unknown[index] for index in must & next(iter(ways)).left]
            yield Violation(Rule.LOST, f"{self._name}: there is no version at which {lost} can have taken effect")

    def _filled(self, ways: set[_Possible], mark: Version, some: Sequence[int], room: int) -> set[_Possible]:
        """With some of the writes that may have taken effect before this mark, in any order."""
        found, fresh = set(ways), ways
        for _ in range(min(room, len(some))):
            fresh = {
                replace(self._stepped(way, self._unknown[index].step, mark), left=way.left - {index})
                for way in fresh
                for index in some
                if index in way.left
            } - found
            found |= fresh
        return found

    def _stepped(self, way: _Possible, step: Step, version: Version) -> _Possible:
        held = after(way.held, step)
        instead = tuple(
            others
            if not others
            # A copy lacks any number of the last writes; those since the restore are on top of what it has.
            else (others | {held} if version <= begun.version else frozenset(after(other, step) for other in others))
            for begun, others in zip(self._restored, way.instead, strict=True)
        )
        return replace(way, held=held, instead=instead)

    def _turned(self, way: _Possible, mark: Version) -> _Possible:
        instead = list(way.instead)
        for place, begun in enumerate(self._restored):
            if mark == begun.copied:
                instead[place] = frozenset({way.held})
            if mark == begun.whole:
                instead[place] = frozenset()
        return replace(way, instead=tuple(instead))

    def _fits(self, way: _Possible, asked: str, look: Look) -> bool:
        states = [way.held]
        for begun, others in zip(self._restored, way.instead, strict=True):
            if _may_lack(begun, look.version):
                states += others
        return any(look.seen[asked] == _answer(asked, held) for held in states)

    def _wrong(self, way: _Possible, asked: str, look: Look) -> Violation:
        state, seen = _answer(asked, way.held), look.seen[asked]
        what = f"{look.client} at {look.invoked}, version {look.version}, saw {asked} {seen}, not {state}"
        if is_copy(asked):
            return Violation(Rule.ANSWERED, what)
        strength: dict[Seen, int] = {None: 0, State.PENDING: 1, State.SUSPENDED: 1, State.ACCEPTED: 2}
        return Violation(Rule.LOST if strength[seen] < strength[state] else Rule.RESURRECTED, what)


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


def _may_lack(begun: Begun, version: Version) -> bool:
    """Whether the list may lack something at a version, because it was restored and not all has been put back."""
    return begun.copied is not None and begun.version <= version and (begun.whole is None or version < begun.whole)


def _answer(asked: str, held: Held) -> Seen:
    return shown_of_copy(held) if is_copy(asked) else shown(held)


def _replayed(asked: str, writes: Iterable[Write]) -> Seen:
    held: Held = frozenset()
    for write in writes:
        held = after(held, write.step)
    return _answer(asked, held)


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
