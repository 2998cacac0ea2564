"""After a restore: a new epoch for the exclusion list's log, and a list that says again what the cases say.

An operator's steps (`optout new-epoch`, `reconcile`, `put-back`; docs/operating.md); no function uses them. Both may be
interrupted anywhere and run again: until the head moves, and it moves in one conditional write, nothing has changed for
lookups and decisions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any

from botocore.exceptions import ClientError

from optout.decisions import exclusions_for
from optout.errors import HeadContended, NothingToExclude
from optout.exclusions.entry import Exclusion, State
from optout.exclusions.fold import in_force
from optout.exclusions.log import (
    REREAD_PAUSE_S,
    REREADS,
    START,
    Add,
    Answer,
    Change,
    CurrentList,
    ExclusionLog,
    Remove,
    Resume,
    Suspend,
    Version,
    from_attributes,
    to_attributes,
)
from optout.exclusions.snapshot import Manifest, Snapshots
from optout.requests import OPEN, OptOutRequest, Status
from optout.store import Requests

_HEAD = {"pk": "head", "seq": 0}
# Decisions that are taken while the log is copied are copied too; more rounds than this are a fault, not a busy hour.
ROUNDS = 10
# Exclusions put back into one log item; one exclusion has at most five embeddings of 512 bytes.
_BATCH = 50


class LogBroken(Exception):
    """The log to copy has no head, or changes are missing from it. `missing` names what."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(", ".join(missing))
        self.missing = tuple(missing)


@dataclass(frozen=True)
class Epoch:
    """A new epoch: the version it starts at, and the numbers of the old one's changes that could not be found."""

    version: Version
    lost: tuple[int, ...]


def new_epoch(
    table: str,
    client: Any,
    snapshots: Snapshots,
    *,
    source: str | None = None,
    despite_gaps: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Epoch:
    """Copy the log of `source` (this very table, or a restored one) into the next epoch, then let that epoch begin.

    The new epoch begins with what the old one's newest snapshot holds, under a manifest of its own, and goes on with
    the changes above it, in their order and numbered from 1. A snapshot that is ahead of a restored log is what was
    decided since, so nothing of it is lost. The old epoch stays where it is. Raises `LogBroken` when changes are
    missing, unless `despite_gaps`, `HeadContended` when another operator does the same at this moment, and
    `SnapshotDamaged` for a snapshot that cannot be read.
    """
    source = source or table
    seen = _head(table, client)
    origin = seen if source == table else _head(source, client)
    if origin is None:
        # Without a head nobody can say which epoch was in force, nor where it ended.
        raise LogBroken(["head"])
    epoch = _unused(table, client, snapshots, after=max(origin.epoch, seen.epoch if seen else 0))
    base = snapshots.newest(origin.epoch)
    above = 0 if base is None else base.manifest.seq
    items, lost = _changes(source, client, origin, above, pause)
    if base is not None and (despite_gaps or not lost) and not _adopt(snapshots, base.manifest, epoch):
        raise HeadContended
    copied = 0
    for _ in range(ROUNDS):
        if lost and not despite_gaps:
            raise LogBroken([str(seq) for seq in lost])
        _copy(table, client, items[copied:], epoch, copied + 1)
        copied = len(items)
        if _move_head(table, client, seen, Version(epoch, copied)):
            _leave_mark(table, client)
            return Epoch(Version(epoch, copied), lost)
        seen = _head(table, client)
        if source != table or seen is None or seen.epoch != origin.epoch:
            break
        # A decision was taken meanwhile: what it wrote comes along.
        before = items
        items, lost = _changes(source, client, seen, above, pause)
        if items[:copied] != before:
            break
    raise HeadContended


def _head(table: str, client: Any) -> Version | None:
    answer = client.get_item(TableName=table, Key=to_attributes(_HEAD), ConsistentRead=True)
    if "Item" not in answer:
        return None
    item = from_attributes(answer["Item"])
    return Version(item["epoch"], item["head"])


def _adopt(snapshots: Snapshots, manifest: Manifest, epoch: int) -> bool:
    """Give a new epoch the segments of an old one as what it is at before its first change; False when it has some."""
    history = ((0, snapshots.time().isoformat()),)
    return snapshots.replace(replace(manifest, epoch=epoch, seq=0, history=history, retired=()), None)


def _changes(
    table: str, client: Any, head: Version, above: int, pause: Callable[[float], None]
) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    """All items of the head's epoch above a number in order, and the numbers that are missing among them.

    The items are as they are stored: also those of a format that this code does not know. What is committing at this
    moment may take a few looks (see `optout.exclusions.log`).
    """
    for reread in range(REREADS + 1):
        if reread:
            pause(REREAD_PAUSE_S)
        items = [item for item in _query(table, client, head.epoch) if int(item["seq"]["N"]) > above]
        found = {int(item["seq"]["N"]) for item in items}
        lost = tuple(seq for seq in range(above + 1, max(head.seq, *found, 0) + 1) if seq not in found)
        if not lost:
            break
    return items, lost


def _query(table: str, client: Any, epoch: int, **limit: int) -> Iterator[dict[str, Any]]:
    pages = client.get_paginator("query").paginate(
        TableName=table,
        ConsistentRead=True,
        KeyConditionExpression="pk = :log",
        ExpressionAttributeValues=to_attributes({":log": f"log#{epoch}"}),
        **limit,
    )
    for page in pages:
        yield from page["Items"]


def _unused(table: str, client: Any, snapshots: Snapshots, after: int) -> int:
    """The next epoch that no interrupted copy has begun to fill."""

    def begun(epoch: int) -> bool:
        return next(_query(table, client, epoch, Limit=1), None) is not None or snapshots.newest(epoch) is not None

    return next(epoch for epoch in count(after + 1) if not begun(epoch))


def _copy(table: str, client: Any, items: list[dict[str, Any]], epoch: int, first: int) -> None:
    for seq, item in enumerate(items, first):
        try:
            client.put_item(
                TableName=table,
                Item=item | to_attributes({"pk": f"log#{epoch}", "seq": seq}),
                ConditionExpression="attribute_not_exists(pk)",
            )
        except client.exceptions.ConditionalCheckFailedException as error:
            raise HeadContended from error


def _move_head(table: str, client: Any, seen: Version | None, to: Version) -> bool:
    """The one write that counts. False when the head is no longer where it was seen."""
    values = {":epoch": to.epoch, ":head": to.seq}
    condition = "attribute_not_exists(pk)"
    if seen is not None:
        condition = "epoch = :seen_epoch AND head = :seen_head"
        values |= {":seen_epoch": seen.epoch, ":seen_head": seen.seq}
    try:
        client.update_item(
            TableName=table,
            Key=to_attributes(_HEAD),
            UpdateExpression="SET epoch = :epoch, head = :head",
            ConditionExpression=condition,
            ExpressionAttributeValues=to_attributes(values),
        )
    except client.exceptions.ConditionalCheckFailedException:
        return False
    return True


def _leave_mark(table: str, client: Any) -> None:
    """See to it that epoch 1 is not empty: a log without a head and without changes is taken for a new, empty one, and
    a list that has lost its head later must not be."""
    mark = {"pk": f"log#{START.epoch}", "seq": 1, "changes": []}
    try:
        client.put_item(TableName=table, Item=to_attributes(mark), ConditionExpression="attribute_not_exists(pk)")
    except client.exceptions.ConditionalCheckFailedException:
        return


def put_back(table: str, client: Any, source: str) -> int:
    """Copy into `table` what a restored table holds and it does not; what is there stays as it is. Returns how many.

    Letters among it that were sent after the time of the backup are sent once more, under the same letter id.
    """
    copied = 0
    for page in client.get_paginator("scan").paginate(TableName=source, ConsistentRead=True):
        for item in page["Items"]:
            with suppress(client.exceptions.ConditionalCheckFailedException):
                client.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(pk)")
                copied += 1
    return copied


@dataclass
class Differences:
    """What the list lacks of the accepted cases and of those that hold back (`missing`, their state and what reviewers
    answered about possible copies included), what it holds of cases that are over (`left_over`), and the numbers of
    cases whose exclusions cannot be made again, because their photos are gone."""

    missing: list[Change] = field(default_factory=list)
    left_over: list[Change] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def reconcile(requests: Requests, log: ExclusionLog, client: Any, now: datetime, *, write: bool) -> Differences:
    """Compare the list with the cases; with `write` make the list agree.

    What no case knows stays: cases are deleted after their time, their exclusions are not. Every write names the head
    that was read before anything else, so a decision that is taken meanwhile is never undone: then `HeadContended` is
    raised, and what is left is for the next run. Raises `NotFresh` for a log that cannot be read.
    """
    head = log.head()
    listed = in_force(log, head)
    differences = Differences()
    held: set[str] = set()
    accepted: set[str] = set()
    for case in requests.with_exclusions():
        if case.status is Status.ACCEPTED:
            _compare(case, requests, listed, differences)
            accepted |= set(case.exclusions)
        elif case.status in {Status.WITHDRAWN, Status.REVOKED}:
            differences.left_over += [Remove(one) for one in case.exclusions if one in listed]
        elif case.status in OPEN and case.hold is not None:
            held |= set(case.hold.exclusions)
            _compare_held(case, requests, listed, differences)
    # What holds back without an open case would do so for ever: no decision would end it.
    added = {change.exclusion.exclusion_id for change in differences.missing if isinstance(change, Add)}
    removed = {change.exclusion_id for change in differences.left_over if isinstance(change, Remove)}
    _compare_answers(requests, log, accepted & (listed.keys() | added), differences)
    pending = [one for one, state in listed.items() if state is State.PENDING]
    differences.left_over += [Remove(one) for one in pending if one not in held | added | removed]
    changes = [*differences.missing, *differences.left_over]
    for at in range(0, len(changes) if write else 0, _BATCH):
        try:
            client.transact_write_items(TransactItems=log.writes(changes[at : at + _BATCH], head, now))
        except ClientError as error:
            if error.response["Error"]["Code"] != "TransactionCanceledException":
                raise
            raise HeadContended from error
        head = Version(head.epoch, head.seq + 1)
    return differences


def _compare(case: OptOutRequest, requests: Requests, listed: dict[str, State], differences: Differences) -> None:
    """Note what the list lacks of one accepted case."""
    lacking = {one for one in case.exclusions if listed.get(one, State.PENDING) is State.PENDING}
    made = _make_again(case, requests, lacking, State.ACCEPTED, differences)
    for one in case.exclusions:
        state = State.ACCEPTED if one in made else listed.get(one)
        suspended = case.suspension(one) is not None
        if state is State.ACCEPTED and suspended:
            differences.missing.append(Suspend(one))
        elif state is State.SUSPENDED and not suspended:
            differences.missing.append(Resume(one))


def _compare_held(case: OptOutRequest, requests: Requests, listed: dict[str, State], differences: Differences) -> None:
    """Note what the list lacks of one open case that holds back."""
    lacking = {one for one in case.hold.exclusions if one not in listed} if case.hold else set()
    _make_again(case, requests, lacking, State.PENDING, differences)


def _compare_answers(requests: Requests, log: ExclusionLog, listed: set[str], differences: Differences) -> None:
    """Note which answers about possible copies of what is listed the list has lost: nobody would be asked again, since
    the cases' table knows that a person has answered."""
    given = [review for review in requests.answered_reviews() if review.doubt.exclusion_id in listed]
    if not given:
        return
    # How much the list may exclude wrongly does not matter to what it remembers.
    current = CurrentList(log, false_exclusions_per_million=1).refresh()
    kept = {(exclusion_id, sha256): same for exclusion_id, sha256, same in current.list.answers}
    for review in given:
        exclusion_id, sha256 = review.doubt.exclusion_id, review.doubt.sha256
        if review.same is not None and kept.get((exclusion_id, sha256)) is not review.same:
            differences.missing.append(Answer(exclusion_id, sha256, review.same))


def _make_again(
    case: OptOutRequest, requests: Requests, lacking: set[str], state: State, differences: Differences
) -> set[str]:
    """Note these exclusions of a case as missing in a state, or the case as lost when its photos do not give them all
    any more. Returns the ids of those that are made again."""
    made: list[Exclusion] = []
    if lacking:
        with suppress(NothingToExclude):
            # Photos added to a case that is decided wait for a decision of their own; an open case's are part of it.
            waiting = case.added if state is State.ACCEPTED else ()
            photos = [photo for photo in requests.photos(case.id) if photo.ticket not in waiting]
            made = [one for one in exclusions_for(case, photos, state) if one.exclusion_id in lacking]
    differences.missing += [Add(exclusion) for exclusion in made]
    if len(made) < len(lacking):
        differences.lost.append(case.number)
    return {exclusion.exclusion_id for exclusion in made}
