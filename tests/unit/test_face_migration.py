"""What a change of the face model asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from optout.cli import main
from optout.exclusions.entry import FaceExclusion, State
from optout.exclusions.fold import in_force
from optout.exclusions.log import Add, ExclusionLog, Remove, Version
from optout.exclusions.matcher import ExclusionList
from optout.face_migration import Migrated, Need, migrate, need
from optout.fingerprint import FACE_MODEL, Fingerprint
from optout.requests import Answers, Kind, OptOutRequest, Photo, SeenFace, Status, Step
from optout.store import Photos, Requests
from tests.storage import storage
from tests.unit.test_added_photos import LATER, add, photo, sent
from tests.unit.test_store import decision, letters, store

CASE = OptOutRequest(
    id="c" * 22,
    number="K7MQ-29XD",
    kind=Kind.FACE,
    status=Status.ACCEPTED,
    version=3,
    answers=Answers("DE", "because", "Ada", "Lovelace", "ada@people.example", biometric_consent="I agree"),
    email_hash="hash",
    created_at=datetime(2026, 11, 24, tzinfo=UTC),
)
OLD = Photo("t", "a" * 64, "b" * 64, 9, 9, 90, (), (SeenFace((0, 0, 9, 9), 0.9, bytes(512)),), "old-model", 0)
NEW = replace(OLD, face_model=FACE_MODEL)


@pytest.mark.parametrize(
    ("case", "photos", "expected"),
    [
        (CASE, [NEW], Need.NOTHING),
        (CASE, [OLD], Need.MEASURE_AGAIN),
        (CASE, [NEW, OLD], Need.MEASURE_AGAIN),
        (CASE, [NEW, replace(OLD, chosen_face=None, faces=())], Need.NOTHING),
        (CASE, [], Need.NEW_PHOTO),
        (replace(CASE, status=Status.PENDING), [OLD], Need.MEASURE_AGAIN),
        (replace(CASE, status=Status.WITHDRAWN), [OLD], Need.NOTHING),
        (replace(CASE, kind=Kind.IMAGE), [], Need.NOTHING),
        # A photo that no reviewer has seen is in force for nobody.
        (replace(CASE, added=("t",)), [NEW], Need.NEW_PHOTO),
        (replace(CASE, status=Status.PENDING, added=("t",)), [NEW], Need.NOTHING),
    ],
)
def test_a_case_is_measured_again_as_long_as_its_photos_are_kept(
    case: OptOutRequest, photos: list[Photo], expected: Need
) -> None:
    assert need(case, photos, FACE_MODEL) is expected


def test_while_a_face_of_another_model_is_listed_nothing_slips_through() -> None:
    excluded = ExclusionList()
    excluded.add(FaceExclusion("person-1", (bytes(512),), "old-model", State.ACCEPTED))
    looked = excluded.check(Fingerprint(faces=()))
    assert (looked.verdict, looked.reason) == ("defer", "model_mismatch")
    excluded.remove("person-1")
    assert excluded.check(Fingerprint(faces=())).verdict == "allow"


# --- the migration itself, to a model that does not exist ------------------------------------------------------------

NEXT = "next-model"


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield store()


def seen_by_the_next_model(copy: bytes) -> list[SeenFace]:
    """It sees a stranger first, and the person of photo n a little further to the right; on photo 9 nobody."""
    number = copy[0]
    vectors = [np.eye(128, dtype="<f4")[place].tobytes() for place in (127, number + 60)]
    return (
        []
        if number == 9
        else [SeenFace((300, 20, 30, 40), 0.9, vectors[0]), SeenFace((12, 21, 30, 40), 0.9, vectors[1])]
    )


def kept(requests: Requests, *numbers: int, accept: bool = True) -> OptOutRequest:
    """A case about the face on these photos, their copies in the bucket."""
    case = sent(requests, *map(photo, numbers))
    for number in numbers:
        Photos.from_settings().keep(case.id, photo(number).picture, bytes([number]))
    return requests.decide(case.id, decision(Step.ACCEPT), None, LATER) if accept else case


def migrated(requests: Requests) -> Migrated:
    return migrate(requests, Photos.from_settings(), LATER, model=NEXT, measure=seen_by_the_next_model)


def on_the_list() -> dict[str, tuple[str, set[int]]]:
    """Model and measurements of every face on the list, each by the place of its 1."""
    listed: dict[str, tuple[str, set[int]]] = {}
    log = ExclusionLog.from_settings()
    for item in log.tail(Version(log.head().epoch, 0)):
        for change in item.changes:
            if isinstance(change, Remove):
                del listed[change.exclusion_id]
            elif isinstance(change, Add) and isinstance(change.exclusion, FaceExclusion):
                entry = change.exclusion
                places = {int(np.frombuffer(each, "<f4").argmax()) for each in entry.embeddings}
                listed[entry.exclusion_id] = entry.model, places
    return listed


def test_kept_photos_are_measured_again_and_each_entry_replaced_in_one_change(requests: Requests) -> None:
    case, pending = kept(requests, 1, 2), kept(requests, 3, accept=False)
    before = ExclusionLog.from_settings().head()
    done = migrated(requests)
    assert sorted(done.measured) == sorted([case.number, pending.number])
    assert on_the_list() == {case.exclusions[0]: (NEXT, {61, 62})}
    assert ExclusionLog.from_settings().head() == Version(before.epoch, before.seq + 1)
    # The chosen face is the one in the same place, though it is another number now.
    assert [(each.face_model, each.chosen_face) for each in requests.photos(case.id)] == [(NEXT, 1)] * 2
    assert requests.decide(pending.id, decision(Step.ACCEPT), None, LATER).status is Status.ACCEPTED
    assert {model for model, _ in on_the_list().values()} == {NEXT}


def test_a_second_run_finds_nothing_to_do(requests: Requests) -> None:
    case, gone = kept(requests, 1), kept(requests, 2)
    requests.forget_photos(gone.id, LATER)
    first = migrated(requests)
    written = requests.history(case.id), requests.history(gone.id), ExclusionLog.from_settings().head()
    assert (first.measured, first.asked) == ([case.number], [gone.number])
    second = migrated(requests)
    assert (second.measured, second.asked, second.asked_before) == ([], [], [gone.number])
    assert (requests.history(case.id), requests.history(gone.id), ExclusionLog.from_settings().head()) == written


def test_a_run_that_died_goes_on_where_it_was(requests: Requests) -> None:
    cases = [kept(requests, number) for number in (1, 2, 3)]
    seen = 0

    def dies(copy: bytes) -> list[SeenFace]:
        nonlocal seen
        seen += 1
        if seen == 2:
            raise KeyboardInterrupt
        return seen_by_the_next_model(copy)

    with pytest.raises(KeyboardInterrupt):
        migrate(requests, Photos.from_settings(), LATER, model=NEXT, measure=dies)
    assert len(migrated(requests).measured) == 2
    assert on_the_list() == {case.exclusions[0]: (NEXT, {60 + number}) for number, case in enumerate(cases, 1)}


def test_a_new_photo_is_asked_for_once_and_takes_the_place_of_what_cannot_be_compared(requests: Requests) -> None:
    gone, unseen = kept(requests, 1), kept(requests, 9)
    requests.forget_photos(gone.id, LATER)
    assert sorted(migrated(requests).asked) == sorted([gone.number, unseen.number])
    assert [letters(requests, case.id).count("new_photo") for case in (gone, unseen)] == [1, 1]
    joined = add(requests, gone, replace(photo(5), face_model=NEXT))
    assert migrated(requests).asked_before == [
        each.number for each in requests.face_cases() if each.id in {gone.id, unseen.id}
    ]
    after = requests.decide_added(gone.id, "berta", joined.version, LATER, accept=True)
    assert (after.photos, after.new_photo_asked_at) == (("t5",), None)
    assert on_the_list()[gone.exclusions[0]] == (NEXT, {5})
    assert migrated(requests).asked_before == [unseen.number]


def test_what_is_suspended_stays_so_under_another_model_and_added_photos_still_wait(requests: Requests) -> None:
    case = kept(requests, 1)
    requests.suspend(case.exclusions[0], "anna", LATER)
    add(requests, case, photo(2))
    Photos.from_settings().keep(case.id, photo(2).picture, bytes([2]))
    migrated(requests)
    log = ExclusionLog.from_settings()
    assert on_the_list() == {case.exclusions[0]: (NEXT, {61})}
    assert in_force(log, log.head()) == {case.exclusions[0]: State.SUSPENDED}
    assert [each.face_model for each in requests.photos(case.id)] == [NEXT, NEXT]
    assert requests.get(case.id, LATER).added == ("t2",)


def test_the_command_counts_first_and_changes_only_with_write(
    requests: Requests, capsys: pytest.CaptureFixture[str]
) -> None:
    case = kept(requests, 1)
    requests.forget_photos(case.id, LATER)
    assert main(["faces", "migrate"]) == 1
    assert "1 cases, 0 to measure again, 1 of which no usable photo is kept." in capsys.readouterr().out
    assert letters(requests, case.id) == ["received", "accepted"]
    assert main(["faces", "migrate", "--write"]) == 0
    assert "0 measured again; 1 asked for a new photo" in capsys.readouterr().out
    assert letters(requests, case.id) == ["received", "accepted", "new_photo"]
    assert main(["faces", "migrate", "--write"]) == 0
    assert f"Asked before and still without a new photo in force: {case.number}." in capsys.readouterr().out
