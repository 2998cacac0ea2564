"""Storms through the service's own doors: reviewers at the console, requesters at the links of their letters, crawlers
at `POST /exclusions/check`, compactions and an operator, all at once.

Who acts here knows only what the service answers: a decision counts from the moment at which its 200 was there, and a
lookup says what its verdicts say. A `Door` is the service as HTTP shows it: functions in this process over moto
(`tests.in_process`), or a deployed instance. What happened is noted as a `tests.history.History`.
"""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from random import Random
from typing import Any, Protocol

from optout import links
from optout.decisions import exclusions_for
from optout.errors import HeadContended, NotFresh
from optout.exclusions.log import ExclusionLog, Version
from optout.exclusions.snapshot import Snapshots
from optout.fingerprint.faces import FACE_MODEL
from optout.recovery import Differences, LogBroken, new_epoch, reconcile
from optout.requests import Answers, Kind, OptOutRequest, Photo, SeenFace
from optout.store import Requests
from tests.history import Begun, History, Look, Seen, Step, Write, copy_of
from tests.storm import _SEEN, FACES, face

LINKS = tuple(f"link-{number}" for number in range(4))
FIRST = "first"
TRIES = 6
LOOKS_AFTERWARDS = 4


class Unanswered(Exception):
    """Nobody will ever say what became of this."""


class Door(Protocol):
    """The service."""

    def decide(self, who: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """A reviewer's POST: the status and what the JSON says. Raises `Unanswered`, as all do."""

    def version(self, who: str, case_id: str) -> int | None:
        """The version of a case that the console shows; None when there is nothing to decide."""

    def press(self, path: str) -> int:
        """A button behind the link of a letter: the status."""

    def check(self, crawler: str, body: dict[str, Any]) -> tuple[int, Any]:
        """A crawler's lookup."""

    def compact(self) -> bool:
        """Let a compaction run; whether it was done."""


@dataclass
class Desk:
    """What a reviewer knows of one case."""

    accepted: bool = False
    suspended: bool = False
    answered: bool = False
    over: bool = False


@dataclass
class ServiceStorm:
    """Everybody at once, on a service. `storm` is the number of the storm: each has its own cases."""

    door: Door
    requests: Requests
    log: ExclusionLog
    snapshots: Snapshots
    client: Any
    secret: str
    storm: int
    now: Callable[[], int]
    wait: Callable[[], None]  # somebody else goes on
    names: Sequence[str] = (*LINKS, *FACES)
    met: Counter[str] = field(default_factory=Counter)  # what went wrong, and how often
    twice: int = 0  # letters that were sent more than once
    history: History = field(default_factory=History)
    did: Counter[str] = field(default_factory=Counter)
    cases: dict[str, OptOutRequest] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    running: int = 0  # compactions and new epochs under way

    # ---------------------------------------------------------------- the cases

    def file(self) -> None:
        """The cases, before the storm, and one that makes the log begin."""
        now = datetime.now(UTC)
        for name in (FIRST, *self.names):
            kind = Kind.FACE if name in FACES else Kind.LINKS
            answers = Answers(
                "DE",
                "why",
                "Ada",
                "Lovelace",
                f"{name}-{self.storm}@people.example",
                biometric_consent="yes" if kind is Kind.FACE else None,
                good_faith=True,
                links=(self.address(name),) if kind is Kind.LINKS else (),
            )
            draft = self.requests.create_draft(kind, answers, f"{name}-{self.storm}", now)
            if kind is Kind.FACE:
                seen = SeenFace((0, 0, 99, 99), 0.9, face(name, self.storm).tobytes())
                photo = Photo("t", self.digest(name), "b" * 64, 99, 99, 90, (), (seen,), FACE_MODEL, 0)
                self.requests.add_photo(draft.id, photo, now)
            case = self.requests.confirm(draft.id, now)
            (exclusion,) = exclusions_for(case, self.requests.photos(case.id))
            self.cases[name], self.ids[name] = case, exclusion.exclusion_id
        self.requests.verify(self.cases[FIRST].id, now, provisional=True)
        self.history.begun.append(Begun(0, 0, self.log.head()))

    def address(self, name: str) -> str:
        return f"https://storm-{self.storm}.example/{name.replace(' ', '-')}"

    def digest(self, name: str) -> str:
        return sha256(f"{name} {self.storm}".encode()).hexdigest()

    def item(self, asked: str) -> dict[str, Any]:
        """What a crawler sends about it."""
        if asked in LINKS:
            return {"id": asked, "url": self.address(asked)}
        vector = base64.b64encode(face(asked, self.storm).tobytes()).decode()
        given = {"id": asked, "url": self.address(asked), "sha256": self.digest(asked)}
        return given | {"faces": [vector], "faces_model": FACE_MODEL}

    # ---------------------------------------------------------------- who writes

    def told(self, note: Write, send: Callable[[], tuple[int, Any]]) -> Any:
        """What the service answered when it took this change. None when it refused it or nobody knows; only what is
        known to have been refused is not noted."""
        self.history.writes.append(note)
        unsure = False
        for _ in range(TRIES):
            try:
                status, body = send()
            except Unanswered:
                self.did["unanswered"] += 1
                unsure = True
                continue
            self.did[f"answered {status}"] += 1
            if status in {200, 303}:
                note.completed = self.now()
                return body
            if status < 500:
                if not unsure:
                    self.history.writes.remove(note)
                return None
            unsure = True
        return None

    def review(self, names: Sequence[str], steps: int, chance: Random) -> None:
        """The reviewers of some cases: anna, and ben where it takes a second one."""
        names = [name for name in names if name in self.names]
        desks = {name: Desk() for name in names}
        for _ in range(steps):
            name = chance.choice(names)
            desk = desks[name]
            if not desk.over:
                self._review(name, desk, chance)
            self.wait()

    def _review(self, name: str, desk: Desk, chance: Random) -> None:
        case, excluded = self.cases[name], self.ids[name]
        steps = [Step.ACCEPT] * 9 + [Step.WITHDRAW]
        if desk.accepted:
            steps = [Step.RESUME if desk.suspended else Step.SUSPEND]
            if name in FACES and not desk.answered:
                steps += [Step.SAME, Step.DIFFERENT]
        step = chance.choice(steps)
        note = Write("reviewer", step, name, self.now(), idle=step is Step.WITHDRAW)
        if step in {Step.ACCEPT, Step.WITHDRAW}:
            took = "accept" if step is Step.ACCEPT else "reject"
            decision_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))

            def decide() -> tuple[int, Any]:
                body = {"decision_id": decision_id, "version": self.door.version("anna", case.id) or 1, "step": took}
                body |= {"reason": "goodwill"} if took == "accept" else {"reason": "no_match", "text": "no"}
                return self.door.decide("anna", f"/requests/{case.id}/decision", body)

            answer = self.told(note, decide)
            if answer is not None and step is Step.ACCEPT:
                note.version = Version.parse(answer["list_version"])
                desk.accepted = True
            else:
                desk.over = True
        elif step in {Step.SAME, Step.DIFFERENT}:
            path, said = f"/reviews/{self.digest(copy_of(name))}/{excluded}", {"answer": str(step)}
            answer = self.told(note, lambda: self.door.decide("anna", path, said))
            # Until a crawler has met the file, there is nothing to answer.
            desk.answered, desk.over = answer is not None, note.completed is None and note in self.history.writes
        else:
            action, who = ("suspend", "anna") if step is Step.SUSPEND else ("resume", "ben")
            path, sent = f"/requests/{case.id}/suspension", {"exclusion": excluded, "action": action}
            answer = self.told(note, lambda: self.door.decide(who, path, sent))
            desk.suspended, desk.over = step is Step.SUSPEND, answer is None

    def ask_out(self, chance: Random) -> None:
        """The requesters: each verifies the address, and some withdraw."""
        for name in chance.sample(self.names, len(self.names)):
            self.press(name, Step.FILE)
            self.wait()
        for name in chance.sample(self.names, len(self.names) // 2):
            for _ in range(chance.randrange(12)):
                self.wait()
            self.press(name, Step.WITHDRAW)

    def press(self, name: str, step: Step) -> None:
        """One button of a letter."""
        case = self.cases[name]
        if step is Step.FILE:
            path = f"/verify/{links.verification_token(case, self.secret)}"
        else:
            path = f"/status/{links.status_token(case, self.secret)}/withdraw"
        self.told(Write("requester", step, name, self.now(), idle=True), lambda: (self.door.press(path), {}))

    # ---------------------------------------------------------------- who looks

    def crawl(self, client: str, looks: int, chance: Random) -> None:
        """A crawler who names the newest version it has seen, every other time."""
        newest: str | None = None
        things = [*self.names, *(copy_of(name) for name in self.names if name in FACES)]
        for _ in range(looks):
            asked = chance.sample(things, min(5, len(things)))
            body: dict[str, Any] = {"items": [self.item(each) for each in asked]}
            if newest is not None and chance.randrange(2):
                body["min_version"] = newest
            invoked = self.now()
            try:
                status, answer = self.door.check(client, body)
            except Unanswered:
                self.did["unanswered lookup"] += 1
                continue
            if status != 200:
                self.history.refused += 1
                newest = None  # of an epoch that is over, perhaps
                continue
            seen: dict[str, Seen] = {}
            for result in answer["results"]:
                name = result["id"].removeprefix(copy_of(""))
                matched = any(match["exclusion_id"] == self.ids[name] for match in result["matches"])
                seen[result["id"]] = _SEEN.get(result["reason"]) if matched else None
            newest = answer["version"]
            self.history.looks.append(Look(client, invoked, self.now(), Version.parse(newest), seen))
            self.wait()

    # ---------------------------------------------------------------- who operates

    def compact(self, runs: int, pass_by: Callable[[], None]) -> None:
        """Compactions; time passes between them."""
        for _ in range(runs):
            if not self.running:
                pass_by()
            self.running += 1
            try:
                self.did["compacted" if self.door.compact() else "compaction failed"] += 1
            except Unanswered:
                self.did["compaction killed"] += 1
            finally:
                self.running -= 1
            self.wait()

    def recover(self, table: str, back_up: Callable[[], tuple[str, Version]], chance: Random) -> None:
        """An operator who begins a new epoch: from the log as it is, and from an older copy of it, after which the list
        is made to say again what the cases say."""
        for restored in chance.sample([False, True], 2):
            source, copied = back_up() if restored else (None, None)
            for _ in range(chance.randrange(40, 120)):
                self.wait()
            if (begun := self.begin(table, source, copied)) is not None:
                self.did["restored epochs" if restored else "epochs"] += 1
                if restored:
                    self.put_back(begun)

    def begin(self, table: str, source: str | None, copied: Version | None) -> Begun | None:
        """A new epoch, tried until it has begun."""
        for _ in range(TRIES):
            invoked = self.now()
            self.running += 1
            try:
                epoch = new_epoch(table, self.client, self.snapshots, source=source, pause=lambda seconds: self.wait())
            except (HeadContended, LogBroken, NotFresh):
                continue
            finally:
                self.running -= 1
            begun = Begun(invoked, self.now(), epoch.version, copied)
            self.history.begun.append(begun)
            return begun
        return None

    def put_back(self, begun: Begun, patience: int = 40) -> None:
        """`optout reconcile --write`, until there is nothing left to write."""
        for _ in range(patience):
            self.history.writes.append(Write("operator", Step.PUT_BACK, "", self.now()))
            try:
                found = reconcile(self.requests, self.log, self.client, datetime.now(UTC), write=True)
            except (HeadContended, NotFresh):
                continue
            self.did["put back"] += len(found.missing) + len(found.left_over)
            if found == Differences():
                begun.whole = self.log.head()
                return

    def end(self, chance: Random) -> None:
        """The calm: everything is answered, and everybody withdraws."""
        self.compact(1, lambda: None)
        self.crawl("afterwards", LOOKS_AFTERWARDS, chance)
        for name in self.cases:
            self.press(name, Step.WITHDRAW)

    @property
    def unanswered(self) -> int:
        """How many lookups in the calm were refused: then nothing is wrong any more, so none may be."""
        return LOOKS_AFTERWARDS - sum(look.client == "afterwards" for look in self.history.looks)
