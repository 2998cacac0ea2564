"""Whatever fails, and whoever is killed: a lookup sees what was acknowledged, and nothing is lost or comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from optout import recovery
from optout.exclusions import compaction
from optout.exclusions.fold import after, concerns
from optout.exclusions.log import Answer, Change, Current, CurrentList, ExclusionLog, LogItem, Remove, Version
from optout.exclusions.matcher import ExclusionList
from optout.exclusions.snapshot import Snapshots
from tests.doubles import Bucket
from tests.history import Rule, violations
from tests.storm import FACES, NAMES, Shimmering, Storm, Turns, Weather, instance

# A storm takes a fifteenth of a second; `make history` runs thousands.
LEAST = 20


def storm(
    seed: int,
    make: Callable[[ExclusionLog], CurrentList] = instance,
    kind_of_log: type[ExclusionLog] = ExclusionLog,
    hides: int = 100,
    kind_of_table: type[Shimmering] = Shimmering,
    compactions: int = 5,
    names: Sequence[str] = NAMES,
) -> Storm:
    """A storm in memory, and the calm after it."""
    weather = Weather(Turns(Random(seed)))  # noqa: S311  the same storm each time
    table, bucket = kind_of_table(weather, hides), Bucket(weather)
    snapshots = Snapshots("snapshots", bucket)
    found = Storm(kind_of_log("Exclusions", table, lambda: snapshots), snapshots, table, bucket, weather)

    found.play(names, make, compactions)
    return found


# A storm in which nothing happened would prove nothing.
HAPPENS = {
    *("killed before", "killed after", "hidden", "failed put_object", "lost transact_write_items"),
    *("a week passed", "swapped", "not swapped", "compaction killed", "truncated", "collected"),
    *("epochs", "no epoch begun", "operator killed"),
}


def test_in_no_storm_anything_is_stale_goes_back_is_lost_or_comes_back() -> None:
    met: Counter[str] = Counter()
    for seed in range(100):
        found = storm(seed)
        assert violations(found.history) == []
        assert found.unanswered == 0
        met += found.weather.met + found.did
        if seed >= LEAST and met.keys() >= HAPPENS:
            break
    assert met.keys() >= HAPPENS


# ---------------------------------------------------------------- what the checker would find


class Resting(CurrentList):
    """Looks at the log every other time only."""

    _said: Current | None = None

    def refresh(self, min_version: Version | None = None) -> Current:
        if self._said is not None:
            said, self._said = self._said, None
            return said
        self._said = super().refresh(min_version)
        return self._said


class Hasty(CurrentList):
    """Answers from the snapshot while the tail of the log is still on its way."""

    def refresh(self, min_version: Version | None = None) -> Current:
        if self._list is None and (newest := self._newest(1)) is not None:
            return Current(self._start_over(1, newest), self._applied, datetime.now(UTC))
        return super().refresh(min_version)


class Deaf(CurrentList):
    """Does not notice that a new epoch has begun."""

    def refresh(self, min_version: Version | None = None, *, pictures: bool = False) -> Current:
        if self._list is not None and self._log.head().epoch > self._applied.epoch:
            return Current(self._list, self._applied, datetime.now(UTC))
        return super().refresh(min_version)


class Leaping(CurrentList):
    """Does not wait for a change that is still committing."""

    def _apply(self, current: ExclusionList, items: Iterable[LogItem]) -> None:
        for item in items:
            self._applied = Version(self._applied.epoch, item.seq - 1)
            super()._apply(current, iter([item]))


class Careless(ExclusionLog):
    """Writes where somebody else may have written at this moment."""

    def writes(self, changes: Sequence[Change], head: Version, now: datetime) -> list[dict[str, Any]]:
        put, update = super().writes(changes, head, now)
        del put["Put"]["ConditionExpression"], update["Update"]["ConditionExpression"]
        del update["Update"]["ExpressionAttributeValues"][":seen"]
        return [put, update]


def made_by(kind: type[CurrentList]) -> Callable[[ExclusionLog], CurrentList]:
    return lambda log: kind(log, false_exclusions_per_million=1000, pause=lambda seconds: None)


def found_out(rule: Rule, make: Callable[[int], Storm]) -> bool:
    """Whether one of some storms shows that the rule is broken; most often one of the first does."""
    return any(rule in {each.rule for each in violations(make(seed).history)} for seed in range(20))


def test_an_instance_that_does_not_look_at_the_head_each_time_is_found_out() -> None:
    assert found_out(Rule.FRESH, lambda seed: storm(seed, made_by(Resting)))


def test_an_instance_that_answers_before_it_has_applied_the_tail_is_found_out() -> None:
    assert found_out(Rule.FORWARD, lambda seed: storm(seed, made_by(Hasty)))


def test_an_instance_that_passes_over_a_gap_in_the_log_is_found_out() -> None:
    assert found_out(Rule.LOST, lambda seed: storm(seed, made_by(Leaping), hides=500))


def test_a_compaction_that_does_not_name_what_has_left_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction._Draft, "_bury", lambda self, gone: None)
    assert found_out(Rule.RESURRECTED, storm)


def test_writers_that_do_not_look_whether_they_are_the_first_are_found_out() -> None:
    assert found_out(Rule.ONCE, lambda seed: storm(seed, kind_of_log=Careless))


def test_an_instance_that_does_not_notice_a_new_epoch_is_found_out() -> None:
    assert found_out(Rule.NOTICED, lambda seed: storm(seed, made_by(Deaf)))


def test_a_compaction_that_forgets_answers_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetting(held: Any, change: Change) -> Any:
        return held if isinstance(change, Answer) else after(held, change)

    monkeypatch.setattr(compaction, "after", forgetting)
    assert found_out(Rule.ANSWERED, storm)


def test_a_new_epoch_that_leaves_answers_behind_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetting(table: str, client: Any, items: list[Any], epoch: int, first: int) -> None:
        kept = [
            item | {"changes": {"L": [each for each in item["changes"]["L"] if each["M"]["op"]["S"] != "answer"]}}
            for item in items
        ]
        copy(table, client, kept, epoch, first)

    copy = recovery._copy
    monkeypatch.setattr(recovery, "_copy", forgetting)
    # What a compaction has put into the snapshot comes along another way.
    assert found_out(Rule.ANSWERED, lambda seed: storm(seed, compactions=0, names=FACES))


def test_a_new_epoch_that_leaves_the_last_decisions_behind_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(*arguments: Any) -> Any:
        items, lost = changes(*arguments)
        return items[:-3], lost

    changes = recovery._changes
    monkeypatch.setattr(recovery, "_changes", hasty)
    assert found_out(Rule.LOST, storm)


class Lying(Shimmering):
    """Takes one change in eight and does not write it."""

    def transact_write_items(self, **arguments: Any) -> None:
        if not self._weather.happens("lied", 125):
            super().transact_write_items(**arguments)


def test_a_decision_that_is_acknowledged_and_not_in_the_log_is_found_out() -> None:
    assert found_out(Rule.ONCE, lambda seed: storm(seed, kind_of_table=Lying))


class Repeating(Shimmering):
    """A change comes with an event, and the event sometimes late once more, to somebody who then takes the exclusion
    off the list."""

    def transact_write_items(self, **arguments: Any) -> None:
        super().transact_write_items(**arguments)
        if self._weather.happens("repeated", 125):
            log = ExclusionLog("Exclusions", self)
            removes = [
                Remove(concerns(change)) for item in log.tail(Version(log.head().epoch, 0)) for change in item.changes
            ]
            super().transact_write_items(TransactItems=log.writes(removes[-1:], log.head(), datetime.now(UTC)))


def test_a_repeated_event_that_changes_the_list_is_found_out() -> None:
    assert found_out(Rule.LOST, lambda seed: storm(seed, kind_of_table=Repeating))
