"""The exclusion list's log in DynamoDB: how changes are written, and how a lookup knows that it has seen them all.

    pk = "head",          seq = 0   epoch and seq of the newest change
    pk = "log#<epoch>",   seq = n   all changes of one decision, numbered without a gap from 1

A writer puts item `head + 1` and moves the head in one transaction (`writes`, which `optout.store` completes with the
case's own state). A reader reads the head strongly, then the tail, and answers only when it has applied every change up
to that head: a Query may show items 5 and 7 of transactions that are still committing and not yet 6, so only the
contiguous prefix counts (DynamoDB Developer Guide, "Isolation levels for transactions": a Query is read-committed, not
serializable, with respect to a transaction). The log never expires by TTL: what is old leaves it only when a snapshot
(`optout.exclusions.snapshot`) holds it, and a list begins with that snapshot and applies the changes above it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from optout import settings
from optout.errors import DecisionTooLarge, NotFresh, RequestInvalid, SnapshotDamaged
from optout.exclusions.entry import Exclusion, UnknownEntry, from_item, to_item
from optout.exclusions.face_rates import CRAWLED_FACES_PER_DAY, REVIEWS_PER_DAY

if TYPE_CHECKING:
    from optout.exclusions.matcher import ExclusionList
    from optout.exclusions.snapshot import Found, SegmentRef, Snapshots

# DynamoDB refuses items above 400 KB; what is left is for the attribute names and the item's own fields.
MAX_ITEM_BYTES = 350_000
# How often a reader looks again for a change that is committing, and how long it waits between: a transaction becomes
# visible within milliseconds, and a crawler waits for the answer.
REREADS = 8
REREAD_PAUSE_S = 0.05
# Changes that one run of the compaction takes out of the log; the next goes on.
TRUNCATED_AT_ONCE = 1_000


@cache
def _translators() -> tuple[Any, Any]:
    # With this boto3 is loaded, which takes longer than all else: a page that reads no table does not wait for it.
    from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

    return TypeSerializer(), TypeDeserializer()


def to_attributes(item: dict[str, Any]) -> dict[str, Any]:
    """A plain item in DynamoDB's attribute-value form."""
    serializer, _ = _translators()
    return {name: serializer.serialize(value) for name, value in item.items()}


def from_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """The plain item behind DynamoDB's attribute-value form; binary values as bytes, whole numbers as int."""
    _, deserializer = _translators()
    return {name: _plain(deserializer.deserialize(value)) for name, value in attributes.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, (str, bool, bytes)) or value is None:
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return bytes(value)  # boto3's Binary


@dataclass(frozen=True, order=True)
class Version:
    """A state of the exclusion list: the `seq`-th change of one `epoch`. A restore from backup starts a new epoch."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """`"1.17"` -> `Version(1, 17)`. Raises `RequestInvalid`."""
        epoch, dot, seq = text.partition(".")
        if not (dot and epoch.isascii() and epoch.isdigit() and seq.isascii() and seq.isdigit() and len(text) < 40):
            raise RequestInvalid({"min_version": "not_a_version"})
        return cls(int(epoch), int(seq))


# What the list is before its first change: empty, and known to be.
START = Version(1, 0)


@dataclass(frozen=True)
class Add:
    """An exclusion comes into force."""

    exclusion: Exclusion


@dataclass(frozen=True)
class Remove:
    """An exclusion is no longer in force."""

    exclusion_id: str


@dataclass(frozen=True)
class Suspend:
    """An accepted exclusion holds back instead of excluding, until it is resumed or removed."""

    exclusion_id: str


@dataclass(frozen=True)
class Resume:
    """A suspended exclusion excludes again."""

    exclusion_id: str


@dataclass(frozen=True)
class Answer:
    """A person looked at a doubtful hit: the file with this SHA-256 (hex) shows what the exclusion is about, or not."""

    exclusion_id: str
    candidate_sha256: str
    same: bool


Change = Add | Remove | Suspend | Resume | Answer

# How the changes that only name an exclusion stand in the log.
_NAMED: dict[str, type[Remove | Suspend | Resume]] = {"remove": Remove, "suspend": Suspend, "resume": Resume}


@dataclass(frozen=True)
class LogItem:
    """All changes of one decision, at its place in the log."""

    seq: int
    changes: tuple[Change, ...]


def _weight(value: Any) -> int:
    """DynamoDB's size of a value, rounded up: names and strings in UTF-8, a few bytes a container."""
    if isinstance(value, dict):
        return sum(len(key) + _weight(inner) + 4 for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return sum(_weight(inner) + 4 for inner in value)
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else 24


def _write_change(change: Change) -> dict[str, Any]:
    if isinstance(change, Add):
        return {"op": "add", "exclusion": to_item(change.exclusion)}
    if isinstance(change, Answer):
        return {
            "op": "answer",
            "exclusion_id": change.exclusion_id,
            "sha256": bytes.fromhex(change.candidate_sha256),
            "same": change.same,
        }
    op = next(name for name, kind in _NAMED.items() if isinstance(change, kind))
    return {"op": op, "exclusion_id": change.exclusion_id}


def _read_change(item: dict[str, Any]) -> Change:
    if item["op"] == "add":
        return Add(from_item(item["exclusion"]))
    if item["op"] in _NAMED:
        return _NAMED[item["op"]](item["exclusion_id"])
    if item["op"] == "answer":
        return Answer(item["exclusion_id"], item["sha256"].hex(), item["same"])
    # Skipping it would answer from another list than the one that was decided.
    raise UnknownEntry(item["op"])


class ExclusionLog:
    """The log table."""

    def __init__(self, table: str, client: Any, snapshots: Callable[[], Snapshots] | None = None) -> None:
        """`snapshots` gives what the log continues; without, it is complete from its first change."""
        self._table = table
        self._client = client
        self._snapshots = snapshots

    @classmethod
    def from_settings(cls) -> ExclusionLog:
        """The log of this deployment."""
        return cls(settings.exclusions_table(), settings.aws("dynamodb"), _snapshots_of_settings)

    @property
    def snapshots(self) -> Snapshots | None:
        """The snapshots that the log continues. Who only writes the log never asks, and needs no right to them."""
        return None if self._snapshots is None else self._snapshots()

    def head(self) -> Version:
        """The newest version, read strongly. A log that was never written to is at `START`."""
        answer = self._client.get_item(
            TableName=self._table, Key=to_attributes({"pk": "head", "seq": 0}), ConsistentRead=True
        )
        if "Item" not in answer:
            return START
        item = from_attributes(answer["Item"])
        return Version(item["epoch"], item["head"])

    def tail(self, after: Version) -> Iterator[LogItem]:
        """The changes of this epoch after `after`, in order, as far as they can be seen: there may be gaps.

        Raises `NotFresh` for an item of a format that this code does not know.
        """
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :log AND seq > :after",
            ExpressionAttributeValues=to_attributes({":log": f"log#{after.epoch}", ":after": after.seq}),
        )
        for page in pages:
            for attributes in page["Items"]:
                item = from_attributes(attributes)
                try:
                    yield LogItem(item["seq"], tuple(_read_change(change) for change in item["changes"]))
                except (UnknownEntry, KeyError) as error:
                    raise NotFresh("a change in the log has an unknown format") from error

    def truncate(self, epoch: int, upto: int) -> int:
        """Delete the changes of an epoch up to and with this one, the oldest first and `TRUNCATED_AT_ONCE` at most.
        Returns how many. Only changes that a snapshot in force holds may be named."""
        page = self._client.query(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :log AND seq <= :upto",
            ExpressionAttributeValues=to_attributes({":log": f"log#{epoch}", ":upto": upto}),
            ProjectionExpression="pk, seq",
            Limit=TRUNCATED_AT_ONCE,
        )
        for item in page["Items"]:
            self._client.delete_item(TableName=self._table, Key={"pk": item["pk"], "seq": item["seq"]})
        return len(page["Items"])

    def writes(self, changes: Sequence[Change], head: Version, now: datetime) -> list[dict[str, Any]]:
        """The two transaction parts that put `changes` at `head + 1` and move the head there.

        Both carry a condition, so that of two writers that saw the same head only one succeeds. Raises
        `DecisionTooLarge`.
        """
        item = {
            "pk": f"log#{head.epoch}",
            "seq": head.seq + 1,
            "at": now.isoformat(),
            "changes": [_write_change(change) for change in changes],
        }
        if _weight(item) > MAX_ITEM_BYTES:
            raise DecisionTooLarge
        first = head.seq == 0
        return [
            {
                "Put": {
                    "TableName": self._table,
                    "Item": to_attributes(item),
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            },
            {
                "Update": {
                    "TableName": self._table,
                    "Key": to_attributes({"pk": "head", "seq": 0}),
                    "UpdateExpression": "SET head = :next, epoch = :epoch",
                    "ConditionExpression": "(attribute_not_exists(pk) OR (epoch = :epoch AND head = :seen))"
                    if first
                    else "epoch = :epoch AND head = :seen",
                    "ExpressionAttributeValues": to_attributes(
                        {":next": head.seq + 1, ":epoch": head.epoch, ":seen": head.seq}
                    ),
                }
            },
        ]


def _snapshots_of_settings() -> Snapshots:
    from optout.exclusions.snapshot import Snapshots

    return Snapshots.from_settings()


@dataclass(frozen=True)
class Current:
    """The list as it was at `as_of`, at exactly `version`."""

    list: ExclusionList
    version: Version
    as_of: datetime


class CurrentList:
    """One warm instance's copy of the exclusion list, brought up to date before every answer."""

    def __init__(
        self,
        log: ExclusionLog,
        *,
        false_exclusions_per_million: float,
        reviews_per_day: float = REVIEWS_PER_DAY,
        crawled_faces_per_day: float = CRAWLED_FACES_PER_DAY,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log = log
        self._rates = {
            "false_exclusions_per_million": false_exclusions_per_million,
            "reviews_per_day": reviews_per_day,
            "crawled_faces_per_day": crawled_faces_per_day,
        }
        self._pause = pause
        self._head = START
        self._list: ExclusionList | None = None
        self._applied = Version(START.epoch, 0)
        self._began: tuple[SegmentRef, ...] = ()

    @classmethod
    def from_settings(cls) -> CurrentList:
        """A copy of this deployment's list, empty until the first `refresh`."""
        return cls(
            ExclusionLog.from_settings(),
            false_exclusions_per_million=settings.false_exclusions_per_million(),
            reviews_per_day=settings.reviews_per_day(),
            crawled_faces_per_day=settings.crawled_faces_per_day(),
        )

    def _start_over(self, epoch: int, found: Found | None) -> ExclusionList:
        """Begin with a snapshot, or with nothing. Whatever goes wrong, what was there before stays."""
        from optout.exclusions.matcher import ExclusionList  # page functions write the log without NumPy
        from optout.exclusions.segment import load, load_corners

        fresh = ExclusionList(**self._rates)
        if found is not None and (snapshots := self._log.snapshots) is not None:
            fresh.load(load(snapshots, found.manifest), partial(load_corners, snapshots))
        self._list, self._applied = fresh, Version(epoch, 0 if found is None else found.manifest.seq)
        self._began = () if found is None else found.manifest.segments
        return fresh

    def _newest(self, epoch: int) -> Found | None:
        snapshots = self._log.snapshots
        return None if snapshots is None else snapshots.newest(epoch)

    @property
    def lag(self) -> int:
        """How many changes this copy lacks of the head that `refresh` saw last; 0 unless that raised `NotFresh`."""
        return max(0, self._head.seq - self._applied.seq)

    def refresh(self, min_version: Version | None = None, *, pictures: bool = False) -> Current:
        """Apply every change up to the head as it is now, and return the list at that version. With `pictures`, which
        takes longer at first, also fetch what only lookups of whole pictures need, if that is not there yet.

        Raises `NotFresh` when that cannot be shown: a change below the head cannot be seen yet, the log ends below
        `min_version`, the head went backwards (a lost or restored table must never be taken for an empty list), or the
        snapshot that the log continues is damaged, missing in part, or newer than the log.
        """
        as_of = datetime.now(UTC)
        head = self._head = self._log.head()
        if head.epoch < self._applied.epoch:
            raise NotFresh("the log went back to an older epoch")
        current = self._list
        if current is None or head.epoch != self._applied.epoch:
            current = self._start_over(head.epoch, self._newest(head.epoch))
        elif pictures and not current.is_complete:
            current = self._complete(current, head.epoch)
        if min_version is not None and min_version.epoch != head.epoch:
            raise NotFresh("the version asked for is of another epoch")
        needed = max(head.seq, min_version.seq if min_version else 0)
        for reread in range(REREADS + 1):
            if reread:
                self._pause(REREAD_PAUSE_S)
            self._apply(current, self._log.tail(self._applied))
            if self._applied.seq >= needed:
                break
            # What is missing is committing at this moment, or has left the log because a snapshot holds it.
            found = self._newest(head.epoch)
            if found is not None and found.manifest.seq > self._applied.seq:
                current = self._start_over(head.epoch, found)
                self._apply(current, self._log.tail(self._applied))
                if self._applied.seq >= needed:
                    break
        else:
            raise NotFresh("a change of the list cannot be seen yet")
        if self._applied.seq > head.seq and self._log.head() < self._applied:
            raise NotFresh("the log has gone backwards, or the snapshot is newer than its head")
        if pictures:
            current.complete()
        return Current(current, self._applied, as_of)

    def _complete(self, current: ExclusionList, epoch: int) -> ExclusionList:
        """The list, or another in its place where the snapshot that it began with is gone: compactions go on while an
        instance is asked by hashes only, and delete what was replaced."""
        try:
            current.complete()
        except SnapshotDamaged:
            found = self._newest(epoch)
            if found is None or found.manifest.segments == self._began:
                raise
            return self._start_over(epoch, found)
        return current

    def _apply(self, current: ExclusionList, items: Iterator[LogItem]) -> None:
        """Apply the contiguous prefix; a gap ends it."""
        for item in items:
            if item.seq != self._applied.seq + 1:
                return
            try:
                self._change(current, item)
            except BaseException:
                # A list that an item has changed by half is no version of the list: the next refresh starts over.
                self._list = None
                raise
            self._applied = Version(self._applied.epoch, item.seq)

    @staticmethod
    def _change(current: ExclusionList, item: LogItem) -> None:
        for change in item.changes:
            match change:
                case Add():
                    current.add(change.exclusion)
                case Remove():
                    current.remove(change.exclusion_id)
                case Suspend():
                    current.suspend(change.exclusion_id)
                case Resume():
                    current.resume(change.exclusion_id)
                case Answer():
                    current.remember(change.exclusion_id, change.candidate_sha256, same=change.same)
