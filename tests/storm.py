"""What people and machines do to the exclusion list at the same time, and what goes wrong meanwhile.

Deciders, watchers and compactors act on a real log and real snapshots through clients that fail, answer late, lose
answers and kill whoever asked. What each of them did and saw is noted as a `tests.history.History`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

import numpy as np
from botocore.exceptions import ClientError

from optout import Fingerprint
from optout.errors import HeadContended, NotFresh
from optout.exclusions.compaction import compact
from optout.exclusions.entry import Exclusion, FaceExclusion, ImageExclusion, LinkExclusion, Scope, State, url_hash
from optout.exclusions.log import (
    Add,
    Answer,
    Change,
    Current,
    CurrentList,
    ExclusionLog,
    Remove,
    Resume,
    Suspend,
    Version,
)
from optout.exclusions.matcher import Reason
from optout.exclusions.snapshot import Snapshots
from optout.fingerprint.faces import FACE_MODEL
from optout.recovery import LogBroken, new_epoch
from tests.doubles import Bucket, Faults, Table, refusal
from tests.history import DOUBTFUL, Begun, History, Look, Seen, Step, Write, copy_of, is_copy

_SEEN: dict[str, Seen] = {
    Reason.MATCH: State.ACCEPTED,
    Reason.PENDING_CASE: State.PENDING,
    Reason.SUSPENDED: State.SUSPENDED,
    Reason.DOUBTFUL_MATCH: DOUBTFUL,
}

FACES = ("face-0", "face-1")
NAMES = (*(f"{kind}-{number}" for kind in ("link", "image") for number in range(3)), *FACES)
LOOKS_AFTERWARDS = 8
# How much more often the swift go on.
SWIFTER = 5
# The likeness of a face's doubtful copy: with two faces listed, .450 excludes and .426 goes to a person.
DOUBTFUL_COSINE = 0.445
_ANSWERS = (Step.SAME, Step.DIFFERENT)
_CHANGES = tuple(step for step in Step if step is not Step.PUT_BACK)


class Killed(BaseException):
    """Whoever made this call does not go on. What the call did, stands."""


class Turns:
    """Threads of which one runs at a time, so that a run can be repeated: at every call of AWS `chance` says which of
    them goes on. `now()` counts everything that happens."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self._back = threading.Semaphore(0)
        self._turns: dict[int, threading.Semaphore] = {}
        self._moment = 0

    def now(self) -> int:
        self._moment += 1
        return self._moment

    @property
    def taken(self) -> bool:
        """Whether the calling thread is one of those that take turns, and not one that such a one waits for."""
        return threading.get_ident() in self._turns

    def run(self, actors: Sequence[Callable[[], None]], swift: Sequence[Callable[[], None]] = ()) -> None:
        """Let all act until they are done; the swift ones go on more often, so that what takes them many calls is done
        while the others still act. Raises what one of them raised."""
        failed: list[BaseException] = []
        done: set[threading.Semaphore] = set()

        def act(actor: Callable[[], None], turn: threading.Semaphore) -> None:
            self._turns[threading.get_ident()] = turn
            turn.acquire()
            try:
                actor()
            except BaseException as error:  # raised again below
                failed.append(error)
            finally:
                del self._turns[threading.get_ident()]  # another thread may get the same number
                done.add(turn)
                self._back.release()

        every = [*actors, *swift]
        turns = [threading.Semaphore(0) for _ in every]
        threads = [threading.Thread(target=act, args=pair) for pair in zip(every, turns, strict=True)]
        for thread in threads:
            thread.start()
        waiting = [*turns, *turns[len(actors) :] * (SWIFTER - 1)]
        while waiting:
            turn = self.chance.choice(waiting)
            turn.release()
            self._back.acquire()
            if turn in done:
                waiting = [other for other in waiting if other is not turn]
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def pause(self) -> None:
        """Let another one go on."""
        if turn := self._turns.get(threading.get_ident()):
            self._back.release()
            turn.acquire()


@dataclass
class Weather(Faults):
    """How often what goes wrong, of a thousand calls; and how often it did (`met`)."""

    turns: Turns
    fails: int = 25
    loses: int = 25  # it took effect, and nobody is told
    kills: int = 25
    calm: bool = False
    spared: set[int] = field(default_factory=set)  # threads that nothing happens to
    met: Counter[str] = field(default_factory=Counter)

    def happens(self, what: str, per_thousand: int) -> bool:
        """Whether this goes wrong now."""
        if self.calm or threading.get_ident() in self.spared or not self.turns.taken:
            return False
        if self.turns.chance.randrange(1000) >= per_thousand:
            return False
        self.met[what] += 1
        return True

    def before(self, call: str, arguments: dict[str, Any]) -> None:
        self.turns.pause()
        if self.happens("killed before", self.kills):
            raise Killed
        if self.happens(f"failed {call}", self.fails):
            raise refusal("InternalError", call)

    def after(self, call: str, arguments: dict[str, Any]) -> None:
        self.turns.pause()
        if self.happens("killed after", self.kills):
            raise Killed
        if self.happens(f"lost {call}", self.loses):
            raise refusal("RequestTimeout", call)


class Shimmering(Table):
    """A table whose transactions become visible one after the other: a query may miss a change that is committing
    while it shows later ones. `hides` of a thousand changes are missed by the first looks."""

    def __init__(self, weather: Weather, hides: int) -> None:
        super().__init__(weather)
        self._weather = weather
        self._hides = hides
        self._missed: dict[tuple[str, int], int] = {}  # by change, how many more looks miss it

    def query(self, **arguments: Any) -> dict[str, Any]:
        page = super().query(**arguments)
        return page | {
            "Items": [item for item in page["Items"] if not self._misses((item["pk"]["S"], item["seq"]["N"]))]
        }

    def _misses(self, change: tuple[str, str]) -> bool:
        if change not in self._missed:
            hidden = self._weather.happens("hidden", self._hides)
            self._missed[change] = self._weather.turns.chance.randrange(1, 8) if hidden else 0
        self._missed[change] -= 1
        return self._missed[change] >= 0


@dataclass
class Storm:
    """Everybody at once, on a log and its snapshots."""

    log: ExclusionLog
    snapshots: Snapshots
    table: Table
    bucket: Bucket
    weather: Weather
    history: History = field(default_factory=History)
    running: int = 0  # compactions and new epochs under way
    did: Counter[str] = field(default_factory=Counter)

    @property
    def chance(self) -> Random:
        return self.weather.turns.chance

    @property
    def met(self) -> Counter[str]:
        """What went wrong, and how often."""
        return self.weather.met

    def now(self) -> int:
        return self.weather.turns.now()

    # ---------------------------------------------------------------- who writes

    def write(self, client: str, step: Step, name: str, patience: int = 20) -> bool:
        """One change of the list, tried until it is written. Returns whether it was acknowledged."""
        note = Write(client, step, name, self.now())
        self.history.writes.append(note)
        # Nothing may depend on what the writer takes for the time.
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=self.chance.randrange(-9000, 9000))
        for _ in range(patience):
            tried = False
            try:
                head = self.log.head()
                parts = self.log.writes([change(step, name)], head, at)
                tried = True
                self.table.transact_write_items(TransactItems=parts)
            except Killed:
                if not tried:
                    self.history.writes.remove(note)
                return False
            except ClientError as error:
                # Only of a lost answer nobody knows whether it was written.
                if tried and error.response["Error"]["Code"] == "RequestTimeout":
                    return False
                continue
            note.version, note.completed = Version(head.epoch, head.seq + 1), self.now()
            return True
        self.history.writes.remove(note)
        return False

    def decide(self, client: str, names: Sequence[str], steps: int) -> None:
        """Somebody who files, accepts, withdraws, suspends, resumes and answers in any order."""
        for _ in range(steps):
            step = self.chance.choice([Step.FILE, Step.ACCEPT, Step.ACCEPT, *_ANSWERS, *_CHANGES])
            self.write(client, step, self.chance.choice(FACES if step in _ANSWERS else names))

    # ---------------------------------------------------------------- who looks

    def watch(self, client: str, names: Sequence[str], looks: int, make: Callable[[ExclusionLog], CurrentList]) -> None:
        """Somebody who asks one of a few instances at a time; instances come and go."""
        instances = [make(self.log), make(self.log)]
        newest: Version | None = None
        for _ in range(looks):
            at = self.chance.randrange(len(instances))
            if self.chance.randrange(8) == 0:
                instances[at] = make(self.log)
            asked = self.chance.sample([*names, *map(copy_of, FACES)], 4)
            invoked = self.now()
            # What the handler does: whatever cannot be read is refused, and so is what it does not know.
            try:
                current = instances[at].refresh(newest if self.chance.randrange(2) else None)
            except Killed:
                instances[at] = make(self.log)
                continue
            except (NotFresh, ClientError):
                self.history.refused += 1
                continue
            seen = states(current, asked)
            self.history.looks.append(Look(client, invoked, self.now(), current.version, seen))
            newest = current.version

    # ---------------------------------------------------------------- who compacts

    def compact(self, runs: int, make: Callable[[ExclusionLog, Snapshots], Any] = compact) -> None:
        """Somebody who compacts; days pass between the runs, now and then more than a week."""
        for _ in range(runs):
            if not self.running:
                hours = self.chance.choice([1, 6, 24, 9 * 24])
                self.bucket.pass_by(timedelta(hours=hours))
                self.weather.met["a week passed"] += hours > 7 * 24
            self.running += 1
            try:
                done = make(self.log, self.snapshots)
                self.did["swapped" if done.swapped else "not swapped"] += 1
                self.did["truncated"] += done.truncated
                self.did["collected"] += done.collected
            except Killed:
                self.did["compaction killed"] += 1
            except (NotFresh, ClientError):
                self.did["compaction failed"] += 1
            finally:
                self.running -= 1

    # ---------------------------------------------------------------- who begins a new epoch

    def begin_epochs(self, count: int, patience: int = 6) -> None:
        """An operator who begins new epochs from the very log, and tries again when that was interrupted."""
        for _ in range(count):
            for _ in range(self.chance.randrange(20)):
                self.weather.turns.pause()
            for _ in range(patience):
                if self.begin_epoch():
                    break

    def begin_epoch(self) -> bool:
        """One try. Returns whether it is known to have begun."""
        invoked = self.now()
        self.running += 1
        try:
            begun = new_epoch(self.log._table, self.table, self.snapshots, pause=lambda seconds: None)
        except Killed:
            self.did["operator killed"] += 1
            return False
        except (LogBroken, HeadContended, NotFresh, ClientError):
            self.did["no epoch begun"] += 1
            return False
        finally:
            self.running -= 1
        self.history.begun.append(Begun(invoked, self.now(), begun.version))
        self.did["epochs"] += 1
        return True

    def play(self, names: Sequence[str], make: Callable[[ExclusionLog], CurrentList], compactions: int = 5) -> None:
        """Three who decide, two who look, two who compact and one who begins new epochs, in a storm and in the calm
        after it."""

        def decider(number: int) -> Callable[[], None]:
            return lambda: self.decide(f"decider {number}", names, 12)

        def watcher(number: int) -> Callable[[], None]:
            return lambda: self.watch(f"watcher {number}", names, 12, make)

        compactor, operator = lambda: self.compact(compactions), lambda: self.begin_epochs(2)
        self.weather.turns.run([*map(decider, range(3)), *map(watcher, range(2)), *[compactor] * 2], [operator])
        self.weather.calm = True
        self.compact(2)
        self.watch("afterwards", names, LOOKS_AFTERWARDS, make)

    @property
    def unanswered(self) -> int:
        """How many lookups in the calm were refused: then nothing is wrong any more, so none may be."""
        return LOOKS_AFTERWARDS - sum(look.client == "afterwards" for look in self.history.looks)


def instance(log: ExclusionLog) -> CurrentList:
    """What a warm function keeps."""
    return CurrentList(log, false_exclusions_per_million=1000, pause=lambda seconds: None)


def exclusion(name: str, state: State) -> Exclusion:
    """Links, pictures and faces by turns."""
    if name.startswith("link"):
        return LinkExclusion(name, url_hash(f"https://storm.example/{name}"), state)
    if name.startswith("face"):
        return FaceExclusion(name, (face(name).tobytes(),), FACE_MODEL, state)
    digest = sha256(name.encode())
    codes = tuple(sha256(f"{name} {turn}".encode()).digest() for turn in range(8))
    return ImageExclusion(name, digest.hexdigest(), codes, state)


def change(step: Step, name: str) -> Change:
    """How the log says it."""
    match step:
        case Step.FILE:
            return Add(exclusion(name, State.PENDING))
        case Step.ACCEPT:
            return Add(exclusion(name, State.ACCEPTED))
        case Step.WITHDRAW:
            return Remove(name)
        case Step.SUSPEND:
            return Suspend(name)
        case Step.RESUME:
            return Resume(name)
        case Step.SAME | Step.DIFFERENT:
            return Answer(name, sha256(copy_of(name).encode()).hexdigest(), step is Step.SAME)
    raise ValueError(step)


def face(asked: str, storm: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The vector of a face or of its doubtful copy; those of two faces have nothing in common, and neither have those
    of so many storms."""
    place = (FACES.index(asked.removeprefix(copy_of(""))) + storm * len(FACES)) % 64
    vector = np.zeros(128, "<f4")
    vector[place] = DOUBTFUL_COSINE if is_copy(asked) else 1
    vector[64 + place] = np.sqrt(1 - vector[place] ** 2)
    return vector


def item(asked: str) -> tuple[Fingerprint | None, str | None, Scope]:
    """What a crawler says of it: its address, its bytes, or the faces on it; and what it wants to know."""
    if asked.startswith("link"):
        return None, f"https://storm.example/{asked}", Scope.LINK
    digest = sha256(asked.encode()).hexdigest()
    if asked.startswith("image"):
        return Fingerprint(sha256=digest), None, Scope.IMAGE
    return Fingerprint.from_signals(sha256=digest, faces=[face(asked).tolist()]), None, Scope.FACE


def states(current: Current, things: Sequence[str]) -> dict[str, Seen]:
    """What a lookup says of each: the answer that a crawler would get."""
    seen: dict[str, Seen] = {}
    for asked in things:
        picture, url, scope = item(asked)
        verdict = current.list.check(picture, url, scopes=[scope])
        matched = any(match.exclusion_id == asked.removeprefix(copy_of("")) for match in verdict.matches)
        seen[asked] = _SEEN.get(verdict.reason) if matched else None
    return seen
