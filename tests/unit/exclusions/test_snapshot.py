"""Snapshots: what a list starts from is what the log said, or nothing is answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from optout.deadlines import LIST_LOG_KEPT, LIST_SEGMENTS_KEPT, LIST_WITHDRAWN_KEPT, WITHDRAWN_SIGNALS_GONE
from optout.errors import NotFresh, SnapshotDamaged
from optout.exclusions import compaction
from optout.exclusions.compaction import Compacted, compact
from optout.exclusions.entry import FaceExclusion, ImageExclusion, LinkExclusion, State
from optout.exclusions.fold import Record, after, concerns, in_force, record_digest, set_digest
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
    from_attributes,
    to_attributes,
)
from optout.exclusions.matcher import ExclusionList
from optout.exclusions.segment import Segment
from optout.exclusions.snapshot import HEADER_BYTES, Manifest, SegmentRef, Snapshots
from optout.fingerprint.keypoints import (
    DESCRIPTOR_BYTES,
    KEYPOINTS_VERSION,
    Features,
    Keypoints,
    from_bytes,
    to_bytes,
)
from optout.fingerprint.sketch import SKETCH_BYTES
from tests.doubles import Bucket, Faults, Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Place:
    """A log and its snapshots."""

    def __init__(self) -> None:
        self.table, self.bucket = Table(), Bucket()
        self.snapshots = Snapshots("snapshots", self.bucket)
        self.log = ExclusionLog("Exclusions", self.table, lambda: self.snapshots)

    def append(self, *changes: Change) -> Version:
        head = self.log.head()
        self.table.transact_write_items(TransactItems=self.log.writes(list(changes), head, NOW))
        return Version(head.epoch, head.seq + 1)

    def compact(self, *, after: timedelta = timedelta()) -> Compacted:
        self.bucket.pass_by(after)
        return compact(self.log, self.snapshots)

    def instance(self) -> CurrentList:
        return CurrentList(self.log, false_exclusions_per_million=1000, pause=lambda seconds: None)

    def fresh(self) -> Current:
        """What an instance that starts now answers from."""
        return self.instance().refresh()

    def refuses(self) -> bool:
        """Whether an instance that starts now says that it cannot know."""
        try:
            self.fresh()
        except NotFresh:
            return True
        return False

    def spoil(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """Change what is stored under a key behind everybody's back."""
        found = self.bucket.latest(key)
        assert found is not None
        found["Body"] = change(found["Body"])

    @property
    def segment_keys(self) -> list[str]:
        return [key for key in self.bucket.versions if key.startswith("segments/")]

    def kept(self, secret: bytes) -> bool:
        """Whether these bytes are anywhere: in the log, in any version of any object."""
        bodies = [one["Body"] for versions in self.bucket.versions.values() for one in versions]
        logged = [from_attributes(item) for item in self.table.items.values()]
        return any(secret in body for body in bodies) or any(repr(secret)[2:-1] in repr(item) for item in logged)

    @property
    def manifest(self) -> Manifest:
        found = self.snapshots.newest(self.log.head().epoch)
        assert found is not None
        return found.manifest


@pytest.fixture
def place() -> Place:
    return Place()


def picture(name: str, state: State = State.ACCEPTED, seed: int = 1) -> ImageExclusion:
    codes = tuple(bytes([seed, turn] * 16) for turn in range(8))
    return ImageExclusion(name, f"{seed:064x}", codes, state)


def plain(name: str, state: State = State.ACCEPTED, seed: int = 9) -> ImageExclusion:
    return ImageExclusion(name, f"{seed:064x}", (), state)


def link(name: str, state: State = State.ACCEPTED, seed: int = 1) -> LinkExclusion:
    return LinkExclusion(name, bytes([seed]) * 32, state)


def face(name: str, state: State = State.ACCEPTED, seed: int = 1) -> FaceExclusion:
    vector = bytearray(512)
    vector[4 * seed : 4 * seed + 4] = b"\0\0\x80\x3f"  # 1.0
    return FaceExclusion(name, (bytes(vector),), "model", state)


def contents(exclusions: ExclusionList) -> set[Record]:
    """Everything on a list, as records."""
    found: set[Record] = {Answer(*answer) for answer in exclusions.answers}
    for name in exclusions._ids():
        for state in State:
            found |= set(exclusions._shelves[state].take(name))
    return found


def folded(changes: list[Change]) -> set[Record]:
    """Everything that should be on the list after these changes."""
    held: dict[str, tuple[Record, ...]] = {}
    for change in changes:
        held[concerns(change)] = after(held.get(concerns(change), ()), change)  # type: ignore[assignment]
    return {record for records in held.values() for record in records}


NAMES = ("a", "b", "c")
CHANGES = st.one_of(
    st.builds(
        lambda make, name, state, seed: Add(make(name, state, seed)),
        st.sampled_from((picture, plain, link, face)),
        st.sampled_from(NAMES),
        st.sampled_from(State),
        st.integers(1, 2),
    ),
    st.sampled_from(NAMES).map(Remove),
    st.sampled_from(NAMES).map(Suspend),
    st.sampled_from(NAMES).map(Resume),
    st.builds(Answer, st.sampled_from(NAMES), st.sampled_from(("aa" * 32, "bb" * 32)), st.booleans()),
)


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(st.tuples(CHANGES, st.booleans()), max_size=12))
def test_a_list_that_starts_from_a_snapshot_is_the_list_that_the_log_says(history: list[tuple[Change, bool]]) -> None:
    place = Place()
    warm = place.instance()
    changes: list[Change] = []
    for change, compacted in history:
        place.append(change)
        changes.append(change)
        if compacted:
            place.compact()
            assert int(place.manifest.digest, 16) == set_digest(map(record_digest, folded(changes)))
            assert place.manifest.records == len(folded(changes))
            warm.refresh()
    expected = folded(changes)
    states = in_force(place.log, place.log.head())
    assert states.keys() == {record.exclusion_id for record in expected}
    assert contents(place.fresh().list) == expected
    assert contents(warm.refresh().list) == expected


def test_an_answer_and_every_state_live_through_the_snapshot(place: Place) -> None:
    place.append(Add(picture("accepted")), Add(picture("waiting", State.PENDING, 2)), Add(link("held")))
    place.append(Suspend("held"), Answer("accepted", "aa" * 32, True))
    place.compact()
    assert {ref.shelf for ref in place.manifest.segments} == {"accepted", "pending", "suspended", "answers"}
    assert contents(place.fresh().list) == {
        picture("accepted"),
        picture("waiting", State.PENDING, 2),
        link("held", State.SUSPENDED),
        Answer("accepted", "aa" * 32, True),
    }


def test_a_list_reads_only_what_came_after_its_snapshot(place: Place) -> None:
    place.append(Add(link("old")))
    place.compact()
    del place.table.items["log#1", 1]
    place.append(Add(link("new", seed=2)))
    assert contents(place.fresh().list) == {link("old"), link("new", seed=2)}


def test_an_exclusion_of_the_snapshot_can_be_suspended_resumed_and_removed(place: Place) -> None:
    place.append(Add(picture("a")), Add(picture("b", seed=2)))
    place.compact()
    warm = place.instance()
    for change, expected in (
        (Suspend("a"), {picture("a", State.SUSPENDED), picture("b", seed=2)}),
        (Resume("a"), {picture("a"), picture("b", seed=2)}),
        (Remove("a"), {picture("b", seed=2)}),
        (Add(picture("a")), {picture("a"), picture("b", seed=2)}),
    ):
        place.append(change)
        now = warm.refresh()
        states = {name: state for state in State for name in now.list._shelves[state].ids(None)}
        assert states == {record.exclusion_id: record.state for record in expected}
        place.compact()
        assert contents(place.fresh().list) == expected


# --- what is damaged is not answered from -----------------------------------------------------------------------------


@pytest.fixture
def damaged(place: Place) -> Place:
    """A snapshot with a log that begins above it, to be damaged."""
    place.append(Add(picture("a")), Add(link("b")))
    place.append(Add(picture("c", seed=2)), Remove("b"))
    place.compact()
    place.compact(after=LIST_LOG_KEPT)
    assert not place.refuses()
    return place


def test_every_flipped_byte_of_a_segment_is_noticed(damaged: Place) -> None:
    (key,) = damaged.segment_keys
    found = damaged.bucket.latest(key)
    assert found is not None
    whole = found["Body"]
    padding = 0
    for at in range(0, len(whole), 7):
        damaged.spoil(key, lambda body, at=at: whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        if not damaged.refuses():
            padding += 1
            assert contents(damaged.fresh().list) == {picture("a"), picture("c", seed=2)}
    # Only zeros between sections are nobody's.
    assert padding < 150


def test_every_truncation_of_a_segment_is_noticed(damaged: Place) -> None:
    (key,) = damaged.segment_keys
    found = damaged.bucket.latest(key)
    assert found is not None
    whole = found["Body"]
    for left in (0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, len(whole) // 2, len(whole) - 64):
        damaged.spoil(key, lambda body, left=left: whole[:left])
        assert damaged.refuses()


def test_a_missing_segment_is_noticed(damaged: Place) -> None:
    (key,) = damaged.segment_keys
    del damaged.bucket.versions[key]
    with pytest.raises(SnapshotDamaged):
        damaged.fresh()


def test_a_missing_manifest_is_noticed_when_the_log_is_short(damaged: Place) -> None:
    del damaged.bucket.versions["epochs/1/manifest"]
    assert damaged.refuses()


def manifest_with(**other: object) -> Callable[[bytes], bytes]:
    def change(stored: bytes) -> bytes:
        return replace(Manifest.from_json(stored), **other).to_json()  # type: ignore[arg-type]

    return change


def test_a_manifest_of_another_epoch_is_noticed(damaged: Place) -> None:
    damaged.spoil("epochs/1/manifest", manifest_with(epoch=2))
    assert damaged.refuses()


def test_a_manifest_newer_than_the_log_is_noticed(damaged: Place) -> None:
    damaged.spoil("epochs/1/manifest", manifest_with(seq=3))
    assert damaged.refuses()


def test_a_manifest_whose_digest_or_count_does_not_fit_is_noticed(damaged: Place) -> None:
    for other in ({"digest": f"{1:064x}"}, {"records": 1}, {"segments": ()}):
        before = damaged.bucket.latest("epochs/1/manifest")
        assert before is not None
        stored = before["Body"]
        damaged.spoil("epochs/1/manifest", manifest_with(**other))
        assert damaged.refuses()
        damaged.spoil("epochs/1/manifest", lambda body, stored=stored: stored)


def test_every_flipped_byte_and_every_truncation_of_the_manifest_is_noticed(damaged: Place) -> None:
    found = damaged.bucket.latest("epochs/1/manifest")
    assert found is not None
    whole = found["Body"]
    for at in range(len(whole)):
        for spoiled in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at]):
            with pytest.raises(SnapshotDamaged):
                Manifest.from_json(spoiled)


def test_a_later_format_is_refused(damaged: Place) -> None:
    inner = json.loads(json.loads(damaged.manifest.to_json())["manifest"]) | {"format": 2}
    text = json.dumps(inner, sort_keys=True)
    stored = json.dumps({"manifest": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()
    damaged.spoil("epochs/1/manifest", lambda body: stored)
    assert damaged.refuses()


def test_a_segment_of_a_later_format_is_refused(damaged: Place) -> None:
    (ref,) = damaged.manifest.segments
    found = damaged.bucket.latest(f"segments/{ref.name}")
    assert found is not None
    later = found["Body"][:8] + (2).to_bytes(4, "little") + found["Body"][12:]
    name = hashlib.sha256(later[:HEADER_BYTES]).hexdigest()
    damaged.snapshots.put_segment(name, later)
    damaged.spoil("epochs/1/manifest", manifest_with(segments=(replace(ref, name=name),)))
    assert damaged.refuses()


def test_a_gap_between_the_snapshot_and_the_log_is_noticed(damaged: Place) -> None:
    damaged.append(Add(link("d")))
    damaged.append(Add(link("e")))
    del damaged.table.items["log#1", 3]
    assert damaged.refuses()


# --- corners are fetched when they are needed -------------------------------------------------------------------------


def cornered(name: str, state: State = State.ACCEPTED, seed: int = 1) -> ImageExclusion:
    """A picture with its corners."""
    random = np.random.default_rng(seed)
    count = 30 + seed
    features = Features(
        random.uniform(0, 500, (count, 2)).astype(np.float32),
        *(random.integers(0, 256, count, dtype=np.uint8) for _ in range(2)),
        random.integers(0, 256, (count, DESCRIPTOR_BYTES), dtype=np.uint8),
    )
    keypoints = to_bytes(Keypoints(512, 384, features, random.bytes(SKETCH_BYTES)))
    return replace(picture(name, state, seed), keypoints=keypoints)


def corners_of(place: Place) -> tuple[str, int]:
    """The key of the segment with corners and where they begin."""
    (ref,) = [ref for ref in place.manifest.segments if ref.shelf == "accepted"]
    (sections,) = place.snapshots.read([ref], "corners", "corners")
    return f"segments/{ref.name}", sections.header.sections["corners"][0]


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda body: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def candidates(exclusions: ExclusionList, record: ImageExclusion) -> list[str]:
    """Who the corners of a picture are taken for."""
    shelf = exclusions._shelves[record.state]
    assert record.keypoints is not None
    return [shelf.picture_owner(row) for row in shelf.pictures.candidates(from_bytes(record.keypoints).features)]


@pytest.fixture
def listed(place: Place) -> Place:
    """A snapshot of three pictures, one of which has left it, and a log that begins above it."""
    place.append(*(Add(cornered(name, seed=seed)) for seed, name in enumerate(("a", "b", "c", "d", "e"), 1)))
    place.compact()
    place.append(Remove("b"))
    place.compact()
    return place


def test_a_list_starts_without_corners_and_fetches_them_for_pictures(listed: Place) -> None:
    spans: list[str] = []

    class Watching(Faults):
        def before(self, call: str, arguments: dict[str, Any]) -> None:
            if call == "get_object" and "Range" in arguments:
                spans.append(arguments["Range"])

    listed.bucket.faults = Watching()
    warm = listed.instance()
    assert not warm.refresh().list.is_complete
    assert len(spans) == 1  # header and columns at once
    for _ in range(2):
        now = warm.refresh(pictures=True).list
        assert now.is_complete
    assert len(spans) == 2
    assert candidates(now, cornered("c", seed=3)) == ["c"]
    assert candidates(now, cornered("b", seed=2)) == []
    assert contents(now) == {cornered(name, seed=seed) for seed, name in ((1, "a"), (3, "c"), (4, "d"), (5, "e"))}


def test_a_list_that_nobody_completed_fetches_corners_by_itself(listed: Place) -> None:
    assert candidates(listed.fresh().list, cornered("d", seed=4)) == ["d"]


def test_every_flipped_byte_of_the_corners_is_noticed_by_who_needs_them_and_by_nobody_else(listed: Place) -> None:
    key, begin = corners_of(listed)
    found = listed.bucket.latest(key)
    assert found is not None
    whole = found["Body"]
    warm = listed.instance()
    for at in range(begin, len(whole) - 64, 97):
        listed.spoil(key, lambda body, at=at: flip(at)(whole))
        assert len(warm.refresh().list) == 4
        with pytest.raises(SnapshotDamaged):
            warm.refresh(pictures=True)
        with pytest.raises(SnapshotDamaged):
            candidates(warm.refresh().list, cornered("a"))
    for left in (begin, begin + 1, len(whole) // 2):
        listed.spoil(key, lambda body, left=left: whole[:left])
        with pytest.raises(SnapshotDamaged):
            warm.refresh(pictures=True)
    listed.spoil(key, lambda body: whole)
    assert candidates(warm.refresh(pictures=True).list, cornered("a")) == ["a"]


def test_corners_of_another_segment_are_refused(listed: Place) -> None:
    place = Place()
    place.append(*(Add(cornered(name, seed=seed)) for name, seed in (("a", 5), ("b", 4), ("c", 3), ("d", 2), ("e", 1))))
    place.compact()
    key, _ = corners_of(listed)
    other = place.bucket.latest(corners_of(place)[0])
    assert other is not None
    warm = listed.instance()
    warm.refresh()
    listed.spoil(key, lambda body: other["Body"])
    with pytest.raises(SnapshotDamaged):
        warm.refresh(pictures=True)


def test_keypoints_of_a_form_not_known_here_are_refused(place: Place) -> None:
    later = cornered("a")
    assert later.keypoints is not None
    longer_descriptors = bytes([KEYPOINTS_VERSION, 2 * DESCRIPTOR_BYTES]) + later.keypoints[2:]
    place.append(Add(replace(later, keypoints=longer_descriptors)))
    place.compact()
    del place.table.items["log#1", 1]
    with pytest.raises(SnapshotDamaged):
        place.instance().refresh(pictures=True)


def test_a_list_whose_segments_were_replaced_and_deleted_meanwhile_goes_on_from_the_newest_snapshot(
    listed: Place,
) -> None:
    warm = listed.instance()
    before = warm.refresh()
    listed.append(Remove("a"), Remove("e"))  # so much has left that the segment is written anew
    listed.compact()
    listed.append(Add(cornered("f", seed=6)))
    listed.compact(after=LIST_SEGMENTS_KEPT)
    listed.compact(after=LIST_SEGMENTS_KEPT)
    now = warm.refresh(pictures=True)
    assert now.version > before.version
    assert contents(now.list) == {cornered("c", seed=3), cornered("d", seed=4), cornered("f", seed=6)}


@pytest.mark.parametrize("change", [Suspend("c"), Add(link("c"))])
def test_a_change_that_needs_corners_which_are_damaged_is_not_applied_by_half(listed: Place, change: Change) -> None:
    warm = listed.instance()
    warm.refresh()
    key, begin = corners_of(listed)
    listed.append(Remove("d"), change)
    listed.spoil(key, flip(begin + 300))
    for _ in range(2):
        with pytest.raises(SnapshotDamaged):
            warm.refresh()
    listed.spoil(key, flip(begin + 300))
    assert contents(warm.refresh().list) == folded(
        [*(Add(cornered(name, seed=seed)) for seed, name in ((1, "a"), (3, "c"), (5, "e"))), change]
    )


def test_the_corners_of_a_picture_that_came_since_are_kept_once_and_given_back_whole(place: Place) -> None:
    place.append(Add(cornered("a")), Add(cornered("a")), Add(picture("a", seed=2)))
    current = place.fresh().list
    assert all(getattr(one, "keypoints", None) is None for one, _ in current._shelves[State.ACCEPTED].held["a"])
    assert len(current._shelves[State.ACCEPTED].pictures) == 1
    place.append(Suspend("a"))
    place.append(Resume("a"))
    assert contents(place.fresh().list) == {cornered("a"), picture("a", seed=2)}


def test_a_removal_needs_no_corners(listed: Place) -> None:
    warm = listed.instance()
    warm.refresh()
    listed.append(Remove("c"))
    now = warm.refresh().list
    assert not now.is_complete
    assert candidates(now, cornered("c", seed=3)) == []


# --- a log that is cut ------------------------------------------------------------------------------------------------


def test_the_log_is_cut_below_what_the_snapshot_has_held_long_enough_and_no_higher(place: Place) -> None:
    place.append(Add(link("a")))
    place.compact()
    place.append(Add(link("b", seed=2)))
    place.compact(after=LIST_LOG_KEPT - timedelta(seconds=1))
    assert ("log#1", 1) in place.table.items
    place.append(Add(link("c", seed=3)))
    place.compact(after=timedelta(seconds=1))
    assert ("log#1", 1) not in place.table.items
    assert ("log#1", 2) in place.table.items
    assert contents(place.fresh().list) == {link("a"), link("b", seed=2), link("c", seed=3)}


def test_a_warm_instance_below_the_cut_goes_on_from_the_snapshot(place: Place) -> None:
    place.append(Add(link("a")))
    warm = place.instance()
    warm.refresh()
    place.append(Add(link("b", seed=2)))
    place.append(Remove("a"))
    place.compact()
    place.compact(after=LIST_LOG_KEPT)
    assert not [key for key in place.table.items if key[0] == "log#1"]
    assert contents(warm.refresh().list) == {link("b", seed=2)}


def test_of_two_compactions_at_once_one_counts_and_neither_does_harm(place: Place) -> None:
    place.append(Add(link("a")))
    other: list[Compacted] = []

    class Between(Faults):
        def before(self, call: str, arguments: dict[str, Any]) -> None:
            if call == "put_object" and arguments["Key"] == "epochs/1/manifest":
                place.bucket.faults = Faults()
                place.append(Add(link("b", seed=2)))
                other.append(place.compact())

    place.bucket.faults = Between()
    first = place.compact()
    assert (first.swapped, other[0].swapped) == (False, True)
    assert contents(place.fresh().list) == {link("a"), link("b", seed=2)}


def test_a_compaction_killed_at_any_call_harms_nothing_and_the_next_one_ends_it(place: Place) -> None:
    killed = 0
    for at in range(100):
        place = Place()
        place.append(Add(picture("a")), Add(link("b")))
        place.compact()
        place.append(Remove("b"), Add(picture("c", seed=2)))
        expected = {picture("a"), picture("c", seed=2)}

        class Killed(Faults):
            calls = 0

            def before(self, call: str, arguments: dict[str, Any], at: int = at) -> None:
                self.calls += 1
                if self.calls > at:
                    raise KeyboardInterrupt

        faults = place.bucket.faults = place.table.faults = Killed()
        try:
            place.compact(after=LIST_LOG_KEPT)
        except KeyboardInterrupt:
            killed += 1
        place.bucket.faults = place.table.faults = Faults()
        assert contents(place.fresh().list) == expected
        place.compact(after=LIST_LOG_KEPT)
        place.compact(after=LIST_LOG_KEPT)
        assert contents(place.fresh().list) == expected
        assert not [key for key in place.table.items if key[0] == "log#1"]
        if faults.calls <= at:
            break
    assert killed > 10


# --- withdrawn signals ------------------------------------------------------------------------------------------------


def test_what_is_withdrawn_is_nowhere_after_the_promised_time(place: Place) -> None:
    secret = bytes([77, 3] * 16)
    withdrawn = ImageExclusion("gone", "77" * 32, (secret,) * 8, State.ACCEPTED)
    place.append(Add(withdrawn), Add(picture("stays")))
    place.compact()
    place.append(Add(link("later")))
    place.compact()
    assert place.kept(secret)
    place.append(Remove("gone"))
    # Once a day is the least that an operator's schedule may do.
    for _ in range(WITHDRAWN_SIGNALS_GONE.days - 1):
        place.compact(after=timedelta(days=1))
    assert not place.kept(secret)
    assert contents(place.fresh().list) == {picture("stays"), link("later")}


def test_the_logs_of_earlier_epochs_are_gone_in_time_and_a_lost_head_is_still_noticed(place: Place) -> None:
    place.append(Add(link("a")))
    place.table.items["log#2", 1] = place.table.items["log#1", 1] | to_attributes({"pk": "log#2"})
    place.table.items["head", 0] = to_attributes({"pk": "head", "seq": 0, "epoch": 2, "head": 1})
    place.compact()
    assert ("log#1", 1) in place.table.items
    place.compact(after=LIST_LOG_KEPT)
    assert set(place.table.items) == {("head", 0)}
    assert contents(place.fresh().list) == {link("a")}
    del place.table.items["head", 0]
    assert place.refuses()


def test_the_parts_of_the_promise_leave_a_week_for_a_compaction_that_fails() -> None:
    assert LIST_LOG_KEPT + LIST_SEGMENTS_KEPT + timedelta(days=7) <= WITHDRAWN_SIGNALS_GONE
    assert LIST_WITHDRAWN_KEPT + LIST_SEGMENTS_KEPT + timedelta(days=7) <= WITHDRAWN_SIGNALS_GONE


def test_what_was_replaced_lately_can_still_be_fetched(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MERGED_TOGETHER", 2)
    place.append(Add(link("a")))
    place.compact(after=timedelta(days=30))
    old = place.manifest
    place.append(Add(link("b", seed=2)))
    place.compact(after=timedelta(days=30))
    assert len(place.manifest.segments) == 1
    assert place.snapshots.read(old.segments, "ids", "corners")
    place.compact(after=LIST_SEGMENTS_KEPT)
    with pytest.raises(SnapshotDamaged):
        place.snapshots.read(old.segments, "ids", "corners")


# --- what a compaction writes -----------------------------------------------------------------------------------------


def test_segments_stay_few_and_a_record_is_written_a_few_times_only(place: Place) -> None:
    written: list[int] = []

    class Counting(Faults):
        def after(self, call: str, arguments: dict[str, Any]) -> None:
            if call == "put_object" and arguments["Key"].startswith("segments/"):
                written.append(len(arguments["Body"]))

    place.bucket.faults = Counting()
    corners = bytes([1]) + bytes(6_000)
    for number in range(64):
        one = ImageExclusion(f"n{number}", f"{number:064x}", (), State.ACCEPTED, corners)
        place.append(*(Add(replace(one, exclusion_id=f"{number}.{each}")) for each in range(4)))
        place.compact()
    assert len(place.manifest.segments) < 3 * compaction.MERGED_TOGETHER
    assert sum(written) < 6 * sum(ref.size for ref in place.manifest.segments)
    assert place.manifest.records == 256


def test_a_segment_of_which_much_has_left_is_written_anew(place: Place) -> None:
    place.append(*(Add(link(f"n{number}", seed=number)) for number in range(8)))
    place.compact()
    place.append(Remove("n0"), Remove("n1"))
    place.compact()
    (ref,) = place.manifest.segments
    assert (ref.records, ref.dead) == (8, (0, 1))
    place.append(Remove("n2"))
    place.compact()
    (ref,) = place.manifest.segments
    assert (ref.records, ref.dead) == (5, ())


def test_a_record_added_again_after_its_removal_is_not_taken_for_the_removed_one(place: Place) -> None:
    for change in (Add(link("a")), Remove("a"), Add(link("a")), Remove("a"), Add(link("a"))):
        place.append(change)
        place.compact()
    assert contents(place.fresh().list) == {link("a")}


def test_records_longer_than_usual_are_read_in_full_and_checked(place: Place) -> None:
    people = [
        FaceExclusion(f"p{seed}", (face("", seed=seed).embeddings[0],) * 5, "model", State.ACCEPTED)
        for seed in range(1, 9)
    ]
    place.append(*map(Add, people))
    place.compact()
    del place.table.items["log#1", 1]
    assert contents(place.fresh().list) == set(people)
    (key,) = place.segment_keys
    found = place.bucket.latest(key)
    assert found is not None
    for at in (HEADER_BYTES + 1, HEADER_BYTES + 8 * 1_000, HEADER_BYTES + 8 * 2_500):
        place.spoil(key, flip(at))
        assert place.refuses()
        place.spoil(key, flip(at))


def test_a_segment_holds_what_was_put_into_it() -> None:
    keypoints = bytes([1]) + bytes(99)
    records: list[Record] = [
        picture("ä"),
        ImageExclusion("long-name", "ab" * 32, (), State.ACCEPTED, keypoints),
        face("f"),
        link("l"),
    ]
    name, stored = Segment.of("accepted", records).to_file(5)
    bucket = Bucket()
    snapshots = Snapshots("snapshots", bucket)
    snapshots.put_segment(name, stored)
    (sections,) = snapshots.read([SegmentRef(name, "accepted", 4, len(stored))], "ids", "corners")
    read = Segment.read("accepted", sections)
    assert [read.record(row) for row in range(4)] == records
    assert read.digest() == set_digest(map(record_digest, records))
