"""After a restore: old versions are noticed, no exclusion is lost, an interruption leaves the old epoch in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from optout.decisions import AcceptReason, Decision, RevokeReason
from optout.errors import HeadContended, NotFresh
from optout.exclusions.compaction import compact
from optout.exclusions.entry import LinkExclusion, State, url_hash
from optout.exclusions.log import Add, Change, CurrentList, ExclusionLog, Remove, Suspend, Version, to_attributes
from optout.exclusions.matcher import ExclusionList
from optout.exclusions.snapshot import Snapshots
from optout.fingerprint import Fingerprint
from optout.recovery import Differences, LogBroken, new_epoch, put_back, reconcile
from optout.requests import Answers, Kind, OptOutRequest, Photo, Revocation, Status, Step
from optout.reviews import Doubt, Sign
from optout.settings import aws
from optout.store import Requests
from tests.storage import create_tables, storage

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org", good_faith=True)
PHOTO = Photo("t1", "ab" * 32, "cd" * 32, 640, 480, 90, tuple(bytes([n] * 32) for n in range(8)), None)
HEAD = {"pk": {"S": "head"}, "seq": {"N": "0"}}


@pytest.fixture
def log() -> Iterator[ExclusionLog]:
    with storage():
        yield ExclusionLog("Exclusions", aws("dynamodb"), snapshots)


def snapshots() -> Snapshots:
    return Snapshots("snapshots", aws("s3"))


@pytest.fixture
def requests(log: ExclusionLog) -> Requests:
    return Requests("Requests", log, aws("dynamodb"), pause=lambda seconds: None)


def link(name: str) -> Change:
    return Add(LinkExclusion(name, url_hash(f"https://example.org/{name}"), State.ACCEPTED))


def append(log: ExclusionLog, *changes: Change) -> None:
    aws("dynamodb").transact_write_items(TransactItems=log.writes(changes, log.head(), NOW))


def current(log: ExclusionLog) -> CurrentList:
    return CurrentList(log, false_exclusions_per_million=1000, pause=lambda seconds: None)


def verdict(exclusions: ExclusionList, url: str) -> str:
    return exclusions.check(Fingerprint.from_signals(), url, scopes=["link"]).verdict


def listed(log: ExclusionLog) -> set[str]:
    exclusions = current(log).refresh().list
    return {name for name in "abcdefgh" if verdict(exclusions, f"https://example.org/{name}") == "exclude"}


def begin(client: Any = None, **options: Any) -> Version:
    return new_epoch(
        "Exclusions", client or aws("dynamodb"), snapshots(), pause=lambda seconds: None, **options
    ).version


def copy_table(source: str, target: str, keep: int) -> None:
    """What a restore leaves: another table that holds the state of an earlier time."""
    client = aws("dynamodb")
    description = client.describe_table(TableName=source)["Table"]
    client.create_table(
        TableName=target,
        BillingMode="PAY_PER_REQUEST",
        **{name: description[name] for name in ("KeySchema", "AttributeDefinitions")},
    )
    for item in client.scan(TableName=source)["Items"]:
        if int(item["seq"]["N"]) <= keep:
            client.put_item(
                TableName=target, Item=item | ({"head": {"N": str(keep)}} if item["pk"] == HEAD["pk"] else {})
            )


class Dying:
    """A client that dies before its n-th write."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def __getattr__(self, name: str) -> Any:
        if name in {"put_item", "update_item", "delete_item", "transact_write_items"}:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
        return getattr(aws("dynamodb"), name)


def test_a_new_epoch_says_what_the_old_one_said(log: ExclusionLog) -> None:
    append(log, link("a"), link("b"))
    append(log, link("c"))
    append(log, Remove("a"))
    assert begin() == Version(2, 3) == log.head()
    assert listed(log) == {"b", "c"}
    append(log, link("d"))
    assert log.head() == Version(2, 4)
    assert listed(log) == {"b", "c", "d"}


def test_warm_instances_start_over_and_whoever_names_the_old_epoch_is_told(log: ExclusionLog) -> None:
    append(log, link("a"))
    append(log, link("b"))
    warm = current(log)
    old = warm.refresh().version
    begin()
    for copy in (warm, current(log)):
        with pytest.raises(NotFresh):
            copy.refresh(old)
        assert copy.refresh().version == Version(2, 2)
        assert copy.refresh(Version(2, 2)).version == Version(2, 2)
    append(log, Remove("b"))
    assert verdict(warm.refresh().list, "https://example.org/b") == "allow"
    assert verdict(warm.refresh().list, "https://example.org/a") == "exclude"


def test_interrupted_at_any_write_the_old_epoch_stays_in_force_and_the_next_run_ends_it(log: ExclusionLog) -> None:
    for name in "abc":
        append(log, link(name))
    warm = current(log)
    for writes in range(4):  # three copies, then the head
        with pytest.raises(KeyboardInterrupt):
            begin(Dying(writes))
        assert log.head() == Version(1, 3)
        for copy in (warm, current(log)):
            assert copy.refresh(Version(1, 3)).version == Version(1, 3)
        assert listed(log) == {"a", "b", "c"}
    append(log, link("d"))
    with pytest.raises(KeyboardInterrupt):
        begin(Dying(5))  # the mark that is left after the head has moved
    moved = log.head()
    assert (moved.epoch > 1, moved.seq) == (True, 4)
    assert begin().epoch > moved.epoch
    assert listed(log) == {"a", "b", "c", "d"}


def test_a_decision_that_is_taken_while_the_log_is_copied_comes_along(log: ExclusionLog) -> None:
    append(log, link("a"))

    class Meanwhile(Dying):
        def __getattr__(self, name: str) -> Any:
            if name == "update_item" and log.head() == Version(1, 1):
                append(log, link("b"), link("c"))
            return super().__getattr__(name)

    assert begin(Meanwhile(100)) == Version(2, 2)
    assert listed(log) == {"a", "b", "c"}


def test_of_two_operators_one_begins_the_epoch_and_the_other_is_told(log: ExclusionLog) -> None:
    append(log, link("a"))

    class Second(Dying):
        def __getattr__(self, name: str) -> Any:
            if name == "update_item" and log.head().epoch == 1:
                # It finds the first one's copy begun, so it takes the epoch after it.
                assert begin() == Version(3, 1)
            return super().__getattr__(name)

    with pytest.raises(HeadContended):
        begin(Second(100))
    assert log.head() == Version(3, 1)
    assert listed(log) == {"a"}


def test_two_copies_into_one_epoch_are_never_mixed(log: ExclusionLog) -> None:
    append(log, link("a"))
    append(log, link("b"))
    written = to_attributes({"pk": "log#2", "seq": 2, "changes": []})

    class Second(Dying):
        def __getattr__(self, name: str) -> Any:
            if name == "put_item" and self.left == 99:  # another one chose the same epoch at the same moment
                aws("dynamodb").put_item(TableName="Exclusions", Item=written)
            return super().__getattr__(name)

    with pytest.raises(HeadContended):
        begin(Second(100))
    assert log.head() == Version(1, 2)
    assert listed(log) == {"a", "b"}


def test_no_epoch_is_used_again_when_its_changes_are_gone(log: ExclusionLog) -> None:
    append(log, link("a"))
    copy_table("Exclusions", "Restored", keep=1)
    begin()
    aws("dynamodb").delete_item(TableName="Exclusions", Key=to_attributes({"pk": "log#2", "seq": 1}))
    assert begin(source="Restored") == Version(3, 1)
    assert listed(log) == {"a"}


def test_a_restored_table_is_taken_over_under_a_higher_epoch_than_either_had(log: ExclusionLog) -> None:
    for name in "abc":
        append(log, link(name))
    copy_table("Exclusions", "Restored", keep=2)
    begin()
    append(log, Remove("a"))
    warm = current(log)
    warm.refresh()
    assert begin(source="Restored") == Version(3, 2)
    assert listed(log) == {"a", "b"}
    assert warm.refresh().version == Version(3, 2)


def test_a_wiped_table_is_filled_from_a_restored_one_and_never_again_taken_for_a_new_list(log: ExclusionLog) -> None:
    append(log, link("a"))
    copy_table("Exclusions", "Restored", keep=1)
    client = aws("dynamodb")
    client.delete_table(TableName="Exclusions")
    client.delete_table(TableName="Requests")
    create_tables(client)
    assert begin(source="Restored") == Version(2, 1)
    assert listed(log) == {"a"}
    client.delete_item(TableName="Exclusions", Key=HEAD)
    with pytest.raises(NotFresh):
        current(log).refresh()


def test_a_log_with_a_gap_or_without_a_head_is_not_copied_unasked(log: ExclusionLog) -> None:
    for name in "abc":
        append(log, link(name))
    client = aws("dynamodb")
    client.delete_item(TableName="Exclusions", Key=to_attributes({"pk": "log#1", "seq": 2}))
    with pytest.raises(LogBroken) as broken:
        begin()
    assert broken.value.missing == ("2",)
    assert log.head() == Version(1, 3)
    begun = new_epoch("Exclusions", client, snapshots(), despite_gaps=True, pause=lambda seconds: None)
    assert (begun.version, begun.lost) == (Version(2, 2), (2,))
    assert listed(log) == {"a", "c"}
    client.delete_item(TableName="Exclusions", Key=HEAD)
    with pytest.raises(LogBroken) as broken:
        begin(despite_gaps=True)
    assert broken.value.missing == ("head",)


def cut(log: ExclusionLog, *, upto: int) -> None:
    """As the compaction leaves it: what is in the snapshot is no longer in the log."""
    compact(log, snapshots())
    log.truncate(log.head().epoch, upto)


def test_a_new_epoch_goes_on_from_the_snapshot_of_a_log_that_was_cut(log: ExclusionLog) -> None:
    append(log, link("a"))
    append(log, link("b"))
    cut(log, upto=2)
    append(log, Remove("a"))
    append(log, link("c"))
    warm = current(log)
    warm.refresh()
    assert begin() == Version(2, 2)
    assert warm.refresh().list._ids() == current(log).refresh().list._ids() == {"b", "c"}
    append(log, Remove("b"))
    cut(log, upto=3)
    assert current(log).refresh().list._ids() == {"c"}


def test_a_log_restored_to_before_its_snapshot_loses_nothing_that_the_snapshot_holds(log: ExclusionLog) -> None:
    append(log, link("a"))
    append(log, link("b"))
    compact(log, snapshots())
    aws("dynamodb").delete_item(TableName="Exclusions", Key=to_attributes({"pk": "log#1", "seq": 2}))
    head = {"pk": "head", "seq": 0, "epoch": 1, "head": 1}
    aws("dynamodb").put_item(TableName="Exclusions", Item=to_attributes(head))
    with pytest.raises(NotFresh):
        current(log).refresh()
    assert begin() == Version(2, 0)
    assert current(log).refresh().list._ids() == {"a", "b"}


def test_a_snapshot_of_the_old_epoch_is_never_used_with_the_new_one(log: ExclusionLog) -> None:
    append(log, link("a"))
    compact(log, snapshots())
    begin()
    old = aws("s3").get_object(Bucket="snapshots", Key="epochs/1/manifest")["Body"].read()
    aws("s3").put_object(Bucket="snapshots", Key="epochs/2/manifest", Body=old)
    with pytest.raises(NotFresh):
        current(log).refresh()


def test_what_a_compaction_of_the_old_epoch_still_does_changes_nothing_of_the_new_one(log: ExclusionLog) -> None:
    append(log, link("a"))

    class Overtaken(ExclusionLog):
        def head(self) -> Version:
            return Version(1, 1)

    begin()
    compact(Overtaken("Exclusions", aws("dynamodb"), snapshots), snapshots())
    assert snapshots().newest(2) is None
    assert current(log).refresh().list._ids() == {"a"}


def test_changes_beyond_a_head_that_went_back_are_kept(log: ExclusionLog) -> None:
    for name in "abc":
        append(log, link(name))
    values = {":one": {"N": "1"}}
    aws("dynamodb").update_item(
        TableName="Exclusions", Key=HEAD, UpdateExpression="SET head = :one", ExpressionAttributeValues=values
    )
    assert begin() == Version(2, 3)
    assert listed(log) == {"a", "b", "c"}


def test_what_is_copied_is_copied_as_it_is(log: ExclusionLog) -> None:
    append(log, link("a"))
    later = to_attributes({"c": [{"op": "of a later version", "n": b"\x00\xff"}]})["c"]
    aws("dynamodb").update_item(
        TableName="Exclusions",
        Key=to_attributes({"pk": "log#1", "seq": 1}),
        UpdateExpression="SET changes = :later",
        ExpressionAttributeValues={":later": later},
    )
    begin()
    item = aws("dynamodb").get_item(TableName="Exclusions", Key=to_attributes({"pk": "log#2", "seq": 1}))["Item"]
    assert item["changes"] == later
    assert item["at"] == {"S": NOW.isoformat()}


# ---- the list and the cases


def accepted(requests: Requests, name: str, *, photo: bool = False) -> OptOutRequest:
    if photo:
        draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
        requests.add_photo(draft.id, replace(PHOTO, ticket=name), NOW)
    else:
        links = replace(ANSWERS, links=(f"https://example.org/{name}",))
        draft = requests.create_draft(Kind.LINKS, links, "hash", NOW)
    requests.confirm(draft.id, NOW)
    decision = Decision(name, Step.ACCEPT, AcceptReason.GOODWILL, "", "anna")
    return requests.decide(draft.id, decision, None, NOW)


def restored(log: ExclusionLog, keep: int) -> None:
    """The list as it was after so many changes, under a new epoch."""
    copy_table("Exclusions", "Restored", keep)
    begin(source="Restored")


def compare(requests: Requests, log: ExclusionLog, *, write: bool = True) -> Differences:
    return reconcile(requests, log, aws("dynamodb"), NOW, write=write)


def test_decisions_since_the_backup_come_back_and_withdrawn_ones_stay_out(
    requests: Requests, log: ExclusionLog
) -> None:
    withdrawn, revoked = accepted(requests, "a"), accepted(requests, "b")
    accepted(requests, "c")
    append(log, link("h"))  # its case was deleted when its time was over
    keep = log.head().seq
    for name in "def":
        accepted(requests, name)
    requests.withdraw(withdrawn.id, NOW)
    proposal = Revocation(RevokeReason.OTHER, "a mistake", "anna", NOW)
    requests.propose_revocation(revoked.id, proposal, revoked.version, NOW)
    requests.confirm_revocation(revoked.id, "ben", NOW)
    before = listed(log)
    restored(log, keep)
    assert listed(log) == {"a", "b", "c", "h"}

    found = compare(requests, log, write=False)
    assert (len(found.missing), len(found.left_over), found.lost) == (3, 2, [])
    assert listed(log) == {"a", "b", "c", "h"}, "nothing is written unless it is asked for"
    compare(requests, log)
    assert listed(log) == before == {"c", "d", "e", "f", "h"}
    assert compare(requests, log) == Differences()


def test_a_suspension_since_the_backup_comes_back_too(requests: Requests, log: ExclusionLog) -> None:
    case = accepted(requests, "a")
    requests.suspend(case.exclusions[0], "operator/anna", NOW)
    restored(log, 1)
    assert listed(log) == {"a"}
    compare(requests, log)
    assert verdict(current(log).refresh().list, "https://example.org/a") == "defer"
    keep = log.head().seq
    requests.resume(case.exclusions[0], "operator/ben", NOW)
    aws("dynamodb").delete_table(TableName="Restored")
    restored(log, keep)
    compare(requests, log)
    assert listed(log) == {"a"}


def test_answers_about_possible_copies_since_the_backup_come_back_of_what_is_listed(
    requests: Requests, log: ExclusionLog
) -> None:
    """Without, the file would be doubtful again, and nobody asked again: the cases' table knows the answer."""
    before, since, over = accepted(requests, "a"), accepted(requests, "b"), accepted(requests, "c")

    def answer(case: OptOutRequest, candidate: str, *, same: bool) -> tuple[str, str, bool]:
        doubt = Doubt(candidate * 64, case.exclusions[0], "https://pictures.example/1", (Sign("picture", 0.6, 0.7),))
        requests.add_review(doubt, NOW)
        requests.answer_review(doubt.sha256, doubt.exclusion_id, same=same, reviewer="anna", now=NOW)
        return doubt.exclusion_id, doubt.sha256, same

    def answers() -> set[tuple[str, str, bool]]:
        return set(current(log).refresh().list.answers)

    kept = answer(before, "1", same=True)
    keep = log.head().seq
    given = {kept, answer(since, "2", same=False), answer(before, "3", same=False)}
    answer(over, "4", same=True)
    requests.withdraw(over.id, NOW)
    assert answers() == given
    restored(log, keep)
    assert answers() == {kept}

    assert len(compare(requests, log, write=False).missing) == 2
    compare(requests, log)
    assert answers() == given
    assert compare(requests, log) == Differences()


def test_what_open_cases_hold_back_comes_back_and_what_none_answers_for_goes(
    requests: Requests, log: ExclusionLog
) -> None:
    def verified(name: str) -> OptOutRequest:
        asked = replace(ANSWERS, links=(f"https://example.org/{name}",))
        draft = requests.create_draft(Kind.LINKS, asked, "hash", NOW)
        requests.confirm(draft.id, NOW)
        return requests.verify(draft.id, NOW, provisional=True)

    over, accepted_since = verified("a"), verified("b")
    append(log, Add(LinkExclusion("c", url_hash("https://example.org/c"), State.PENDING)))  # of no case
    keep = log.head().seq
    verified("d")
    requests.withdraw(over.id, NOW)
    requests.decide(accepted_since.id, Decision("x", Step.ACCEPT, AcceptReason.GOODWILL, "", "anna"), None, NOW)
    restored(log, keep)
    found = compare(requests, log)
    assert (len(found.missing), len(found.left_over), found.lost) == (2, 2, [])
    answers = current(log).refresh().list
    verdicts = {name: verdict(answers, f"https://example.org/{name}") for name in "abcd"}
    assert verdicts == {"a": "allow", "b": "exclude", "c": "allow", "d": "defer"}
    assert compare(requests, log) == Differences()


def test_pictures_come_back_whole_and_those_without_photos_are_named(requests: Requests, log: ExclusionLog) -> None:
    kept, gone = accepted(requests, "t1", photo=True), accepted(requests, "t2", photo=True)
    whole = current(log).refresh().list
    requests.forget_photos(gone.id, NOW + timedelta(days=200))
    aws("dynamodb").delete_item(TableName="Exclusions", Key=to_attributes({"pk": "log#1", "seq": 1}))
    aws("dynamodb").delete_item(TableName="Exclusions", Key=to_attributes({"pk": "log#1", "seq": 2}))
    begun = new_epoch("Exclusions", aws("dynamodb"), snapshots(), despite_gaps=True, pause=lambda seconds: None)
    assert begun.lost == (1, 2)
    assert compare(requests, log).lost == [gone.number]
    again = current(log).refresh().list
    picture = Fingerprint.from_signals(sha256="ab" * 32)
    (match,) = [one for one in again.check(picture, scopes=["image"]).matches if one.exclusion_id in kept.exclusions]
    assert match in whole.check(picture, scopes=["image"]).matches


def test_a_decision_that_is_taken_meanwhile_is_never_undone(requests: Requests, log: ExclusionLog) -> None:
    case = accepted(requests, "a")
    append(log, Remove(case.exclusions[0]))
    scan = requests.with_exclusions

    def meanwhile() -> Iterator[OptOutRequest]:
        cases = list(scan())
        requests.withdraw(case.id, NOW)
        return iter(cases)

    requests.with_exclusions = meanwhile  # type: ignore[method-assign]
    with pytest.raises(HeadContended):
        compare(requests, log)
    requests.with_exclusions = scan  # type: ignore[method-assign]
    compare(requests, log)
    assert listed(log) == set()
    assert requests.get(case.id, NOW).status is Status.WITHDRAWN


def test_many_changes_take_several_items_and_each_names_the_head_before_it(
    requests: Requests, log: ExclusionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optout.recovery._BATCH", 2)
    for name in "abcde":
        accepted(requests, name)
    append(log, *(Remove(one) for case in requests.with_exclusions() for one in case.exclusions))
    compare(requests, log)
    assert log.head() == Version(1, 9)
    assert listed(log) == set("abcde")


def test_a_refusal_of_aws_is_not_taken_for_contention(requests: Requests, log: ExclusionLog) -> None:
    case = accepted(requests, "a")
    append(log, Suspend(case.exclusions[0]))

    class Refusing(Dying):
        def transact_write_items(self, **_parts: Any) -> None:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "TransactWriteItems")

    with pytest.raises(ClientError):
        reconcile(requests, log, Refusing(0), NOW, write=True)


def test_lost_cases_come_back_and_those_that_are_there_stay_as_they_are(requests: Requests, log: ExclusionLog) -> None:
    lost, moved = accepted(requests, "a"), accepted(requests, "b")
    client = aws("dynamodb")
    client.create_table(
        TableName="RestoredRequests",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=client.describe_table(TableName="Requests")["Table"]["KeySchema"],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
    )
    for item in client.scan(TableName="Requests")["Items"]:
        client.put_item(TableName="RestoredRequests", Item=item)
    history = requests.history(lost.id)
    requests.delete_case(lost.id)
    withdrawn = requests.withdraw(moved.id, NOW)
    assert put_back("Requests", client, "RestoredRequests") > 0
    assert requests.get(lost.id, NOW) == lost
    assert requests.by_number(lost.number, NOW) == lost
    assert requests.history(lost.id) == history
    assert requests.get(moved.id, NOW) == withdrawn
    assert put_back("Requests", client, "RestoredRequests") == 0
