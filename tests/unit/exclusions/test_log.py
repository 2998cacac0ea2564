"""The log: numbered without a gap, and never answered from one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from optout.errors import DecisionTooLarge, NotFresh, RequestInvalid
from optout.exclusions.entry import FaceExclusion, LinkExclusion, State, url_hash
from optout.exclusions.fold import in_force
from optout.exclusions.log import (
    REREADS,
    START,
    Add,
    Answer,
    Change,
    CurrentList,
    ExclusionLog,
    LogItem,
    Remove,
    Resume,
    Suspend,
    Version,
    to_attributes,
)
from optout.exclusions.matcher import ExclusionList
from optout.fingerprint import Fingerprint
from optout.settings import aws
from tests.storage import storage

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def link(name: str) -> Change:
    return Add(LinkExclusion(name, url_hash(f"https://example.org/{name}"), State.ACCEPTED))


def listed(exclusions: ExclusionList, name: str) -> bool:
    return exclusions.check(Fingerprint.from_signals(), f"https://example.org/{name}").verdict == "exclude"


@pytest.fixture
def log() -> Iterator[ExclusionLog]:
    with storage():
        yield ExclusionLog("Exclusions", aws("dynamodb"))


def append(log: ExclusionLog, *changes: Change, head: Version | None = None) -> None:
    aws("dynamodb").transact_write_items(TransactItems=log.writes(changes, head or log.head(), NOW))


class PartlyVisible(ExclusionLog):
    """A log whose items become visible in an order of their own, as a Query may see committing transactions."""

    def __init__(self, appearing: list[int]) -> None:
        super().__init__("Exclusions", None)
        self.appearing = appearing
        self.visible: set[int] = set()
        self.at = START

    def head(self) -> Version:
        return self.at

    def tail(self, after: Version) -> Iterator[LogItem]:
        if self.appearing:
            self.visible.add(self.appearing.pop(0))
        return iter([LogItem(seq, (link(f"n{seq}"),)) for seq in sorted(self.visible) if seq > after.seq])


def current(log: ExclusionLog) -> CurrentList:
    return CurrentList(log, false_exclusions_per_million=1000, pause=lambda seconds: None)


def test_an_untouched_log_is_an_empty_list_at_its_start(log: ExclusionLog) -> None:
    now = current(log).refresh()
    assert now.version == START == Version(1, 0)
    assert len(now.list) == 0


def test_what_is_written_is_read_by_the_next_lookup(log: ExclusionLog) -> None:
    copy = current(log)
    copy.refresh()
    append(log, link("a"), link("b"))
    seen = copy.refresh()
    assert seen.version == Version(1, 1)
    assert listed(seen.list, "a")
    assert listed(seen.list, "b")
    append(log, Remove("a"))
    assert not listed(copy.refresh().list, "a")


def test_a_suspension_is_a_change_of_the_list_like_any_other(log: ExclusionLog) -> None:
    early = current(log)
    append(log, link("a"), link("b"))
    early.refresh()
    append(log, Suspend("a"))
    for copy in (early, current(log)):
        seen = copy.refresh()
        assert seen.version == Version(1, 2)
        assert (listed(seen.list, "a"), listed(seen.list, "b")) == (False, True)
        verdict = seen.list.check(Fingerprint.from_signals(), "https://example.org/a", scopes=["link"])
        assert (verdict.verdict, verdict.reason) == ("defer", "suspended")
    append(log, Resume("a"))
    assert listed(early.refresh().list, "a")


def test_a_persons_answer_is_a_change_of_the_list_like_any_other(log: ExclusionLog) -> None:
    early = current(log)
    append(log, link("a"), link("b"))
    early.refresh()
    append(log, Answer("a", "ab" * 32, True), Answer("b", "ab" * 32, False))
    for copy in (early, current(log)):
        seen = copy.refresh()
        assert sorted(seen.list.answers) == [("a", "ab" * 32, True), ("b", "ab" * 32, False)]
    assert in_force(log, log.head()) == {"a": State.ACCEPTED, "b": State.ACCEPTED}
    append(log, Remove("a"))
    assert list(early.refresh().list.answers) == [("b", "ab" * 32, False)]


def test_a_change_that_this_software_does_not_know_is_refused_and_not_skipped(log: ExclusionLog) -> None:
    """So did the software that knew no suspension: it answered 503 until it was replaced."""
    copy = current(log)
    append(log, link("a"))
    copy.refresh()
    writes = log.writes([Suspend("a")], log.head(), NOW)
    writes[0]["Put"]["Item"]["changes"] = to_attributes({"c": [{"op": "mend", "exclusion_id": "a"}]})["c"]
    aws("dynamodb").transact_write_items(TransactItems=writes)
    for _ in range(2):
        with pytest.raises(NotFresh):
            copy.refresh()


def test_of_two_writers_at_the_same_head_one_wins(log: ExclusionLog) -> None:
    append(log, link("a"), head=START)
    with pytest.raises(ClientError) as refused:
        append(log, link("b"), head=START)
    assert refused.value.response["Error"]["Code"] == "TransactionCanceledException"
    assert log.head() == Version(1, 1)
    assert not listed(current(log).refresh().list, "b")


def test_a_decision_that_no_item_can_hold_is_refused_before_anything_is_written(log: ExclusionLog) -> None:
    person = FaceExclusion("p", tuple(bytes(512) for _ in range(700)), "m", State.ACCEPTED)
    with pytest.raises(DecisionTooLarge):
        log.writes([Add(person)], START, NOW)
    half = FaceExclusion("p", tuple(bytes(512) for _ in range(600)), "m", State.ACCEPTED)
    append(log, Add(half))


@pytest.mark.parametrize("order", list(permutations((5, 6, 7))))
def test_lookups_never_answer_from_a_gap(order: tuple[int, ...]) -> None:
    """Items of committing transactions appear in any order; the answer waits for the last one below the head."""
    log = PartlyVisible([1, 2, 3, 4])
    copy = current(log)
    log.at = Version(1, 4)
    assert copy.refresh().version.seq == 4
    log.appearing = list(order)
    log.at = Version(1, 7)
    seen = copy.refresh()
    assert seen.version.seq == 7
    assert all(listed(seen.list, f"n{seq}") for seq in range(1, 8))


def test_a_gap_that_does_not_close_is_said() -> None:
    log = PartlyVisible([])
    log.visible = {1, 2, 3, 4, 5, 7}
    log.at = Version(1, 7)
    pauses: list[float] = []
    copy = CurrentList(log, false_exclusions_per_million=1000, pause=pauses.append)
    with pytest.raises(NotFresh):
        copy.refresh()
    assert len(pauses) == REREADS
    log.visible.add(6)
    assert copy.refresh().version.seq == 7


def test_instances_at_different_versions_both_catch_up(log: ExclusionLog) -> None:
    early, late = current(log), current(log)
    append(log, link("a"))
    early.refresh()
    append(log, link("b"))
    append(log, Remove("a"))
    for copy in (early, late):
        seen = copy.refresh()
        assert seen.version == Version(1, 3)
        assert (listed(seen.list, "a"), listed(seen.list, "b")) == (False, True)


def test_a_version_that_is_not_there_yet_is_not_answered(log: ExclusionLog) -> None:
    append(log, link("a"))
    copy = current(log)
    assert copy.refresh(Version(1, 1)).version == Version(1, 1)
    for asked in (Version(1, 2), Version(2, 1), Version(0, 1)):
        with pytest.raises(NotFresh):
            copy.refresh(asked)


def test_a_log_that_lost_its_head_is_not_taken_for_an_empty_list(log: ExclusionLog) -> None:
    append(log, link("a"))
    warm = current(log)
    warm.refresh()
    key = {"pk": {"S": "head"}, "seq": {"N": "0"}}
    aws("dynamodb").delete_item(TableName="Exclusions", Key=key)
    for copy in (warm, current(log)):
        with pytest.raises(NotFresh):
            copy.refresh()


def test_a_log_that_went_back_is_not_answered_from(log: ExclusionLog) -> None:
    for name in "abc":
        append(log, link(name))
    warm = current(log)
    warm.refresh()
    key: dict[str, Any] = {"pk": {"S": "head"}, "seq": {"N": "0"}}
    values = {":two": {"N": "2"}}
    aws("dynamodb").update_item(
        TableName="Exclusions", Key=key, UpdateExpression="SET head = :two", ExpressionAttributeValues=values
    )
    with pytest.raises(NotFresh):
        warm.refresh()


def test_a_new_epoch_starts_every_warm_instance_over(log: ExclusionLog) -> None:
    append(log, link("a"))
    warm = current(log)
    warm.refresh()
    key: dict[str, Any] = {"pk": {"S": "head"}, "seq": {"N": "0"}}
    aws("dynamodb").update_item(
        TableName="Exclusions",
        Key=key,
        UpdateExpression="SET head = :zero, epoch = :two",
        ExpressionAttributeValues={":zero": {"N": "0"}, ":two": {"N": "2"}},
    )
    assert len(warm.refresh().list) == 0
    append(log, link("b"))
    seen = warm.refresh()
    assert seen.version == Version(2, 1)
    assert (listed(seen.list, "a"), listed(seen.list, "b")) == (False, True)


def test_an_entry_of_a_later_format_is_not_skipped(log: ExclusionLog) -> None:
    append(log, link("a"))
    key: dict[str, Any] = {"pk": {"S": "log#1"}, "seq": {"N": "1"}}
    aws("dynamodb").update_item(
        TableName="Exclusions",
        Key=key,
        UpdateExpression="SET changes[0].exclusion.v = :later",
        ExpressionAttributeValues={":later": {"N": "99"}},
    )
    with pytest.raises(NotFresh):
        current(log).refresh()


@given(st.text(max_size=60))
def test_a_version_is_read_or_refused(text: str) -> None:
    try:
        version = Version.parse(text)
    except RequestInvalid as refused:
        assert refused.problems == {"min_version": "not_a_version"}  # noqa: PT017
    else:
        assert Version.parse(str(version)) == version


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=25))
@settings(deadline=None)
def test_the_list_is_what_the_history_says(steps: list[tuple[bool, int]]) -> None:
    """Any sequence of additions and removals, applied in any batches, ends in the same list."""
    log = PartlyVisible([])
    items = [LogItem(seq, (link(f"n{n}") if add else Remove(f"n{n}"),)) for seq, (add, n) in enumerate(steps, 1)]
    log.tail = lambda after: iter([item for item in items if after.seq < item.seq <= log.at.seq])  # type: ignore[method-assign]
    copy = current(log)
    expected: set[int] = set()
    for seq, (add, n) in enumerate(steps, 1):
        expected = expected | {n} if add else expected - {n}
        if seq % 3 == 0 or seq == len(steps):
            log.at = Version(1, seq)
            exclusions = copy.refresh().list
            assert {n for n in range(6) if listed(exclusions, f"n{n}")} == expected
