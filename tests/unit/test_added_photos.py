"""Photos that a requester adds to a request after it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from optout import deadlines, retention
from optout.errors import AlreadyDecided, DraftIncomplete, LinkInvalid, RequestNotFound, StateConflict, TooManyPhotos
from optout.exclusions.log import Add, CurrentList, ExclusionLog, Version
from optout.fingerprint import FACE_MODEL, Fingerprint
from optout.recovery import reconcile
from optout.requests import MAX_PHOTOS, Answers, Kind, OptOutRequest, Photo, SeenFace, Status, Step
from optout.settings import aws
from optout.store import Photos, Requests
from tests.storage import storage
from tests.unit.test_store import NOW, decision, letters, revocation, store

ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org", biometric_consent="I agree")
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield store()


def vector(number: int) -> list[float]:
    return [float(each) for each in np.eye(128, dtype=np.float32)[number]]


def photo(number: int) -> Photo:
    """A photo that shows one face, which is like no other's."""
    face = SeenFace((10, 20, 30, 40), 0.9, np.asarray(vector(number), dtype="<f4").tobytes())
    picture = f"{number:02x}" * 32
    return Photo(f"t{number}", picture, picture, 640, 480, 90, (bytes([number]) * 32,) * 8, (face,), FACE_MODEL, 0)


def sent(requests: Requests, *photos: Photo, kind: Kind = Kind.FACE) -> OptOutRequest:
    draft = requests.create_draft(kind, ANSWERS, "hash", NOW)
    for each in photos:
        requests.add_photo(draft.id, each, NOW)
    return requests.confirm(draft.id, NOW)


def accepted(requests: Requests, *photos: Photo, kind: Kind = Kind.FACE) -> OptOutRequest:
    return requests.decide(sent(requests, *photos, kind=kind).id, decision(Step.ACCEPT), None, NOW)


def add(requests: Requests, case: OptOutRequest, *photos: Photo) -> OptOutRequest:
    draft = requests.begin_addition(requests.get(case.id, LATER), LATER)
    for each in photos:
        requests.add_photo(draft.id, each, LATER)
    return requests.confirm(draft.id, LATER)


def excluded(*numbers: int) -> list[bool]:
    """Which of the faces a lookup that starts now excludes."""
    current = CurrentList(ExclusionLog.from_settings(), false_exclusions_per_million=1000).refresh()
    asked = [(Fingerprint.from_signals(faces=[vector(number)]), None) for number in numbers]
    return [bool(verdict.matches) for verdict in current.list.check_many(asked)]


def test_photos_added_to_an_open_case_join_it_and_nobody_decides_without_having_seen_them(requests: Requests) -> None:
    case = sent(requests, photo(1))
    joined = add(requests, case, photo(2))
    assert (joined.photos, joined.added, joined.status) == (("t1", "t2"), ("t2",), Status.PENDING)
    assert requests.photos(case.id) == [photo(1), photo(2)]
    with pytest.raises(StateConflict) as refused:
        requests.decide(case.id, decision(Step.ACCEPT), case.version, LATER)
    assert not isinstance(refused.value, AlreadyDecided)
    decided = requests.decide(case.id, decision(Step.ACCEPT), joined.version, LATER)
    assert decided.added == ()
    assert excluded(1, 2) == [True, True]


def test_photos_added_to_an_accepted_case_wait_and_then_join_its_exclusion_in_one_change(requests: Requests) -> None:
    case = accepted(requests, photo(1))
    joined = add(requests, case, photo(2))
    assert excluded(1, 2) == [True, False]
    assert [each.id for each in requests.queue("added")] == [case.id]
    head = ExclusionLog.from_settings().head()
    after = requests.decide_added(case.id, "berta", joined.version, LATER, accept=True)
    assert excluded(1, 2) == [True, True]
    assert (after.exclusions, after.added) == (case.exclusions, ())
    assert ExclusionLog.from_settings().head() == Version(head.epoch, head.seq + 1)
    assert requests.listed_faces() == (1, 2)
    requests.withdraw(case.id, LATER)
    assert excluded(1, 2) == [False, False]


def test_added_photos_that_are_not_used_leave_what_is_in_force_and_no_measurements(requests: Requests) -> None:
    case = accepted(requests, photo(1))
    joined = add(requests, case, photo(2))
    head = ExclusionLog.from_settings().head()
    after = requests.decide_added(case.id, "berta", joined.version, LATER, accept=False)
    assert (after.photos, after.exclusions, after.added) == (("t1",), case.exclusions, ())
    assert requests.photos(case.id) == [photo(1)]
    assert not [item for item in requests._items(case.id, "photo#t2") if "faces" in item or "picture" in item]
    assert ExclusionLog.from_settings().head() == head
    assert excluded(1, 2) == [True, False]


def test_added_pictures_are_exclusions_of_their_own(requests: Requests) -> None:
    case = accepted(requests, photo(1), kind=Kind.IMAGE)
    joined = add(requests, case, photo(2))
    after = requests.decide_added(case.id, "berta", joined.version, LATER, accept=True)
    assert after.exclusions[:1] == case.exclusions
    assert len(set(after.exclusions)) == 2


def test_who_has_not_seen_the_newest_photo_decides_nothing_about_added_ones(requests: Requests) -> None:
    case = accepted(requests, photo(1))
    seen = add(requests, case, photo(2))
    add(requests, case, photo(3))
    with pytest.raises(StateConflict):
        requests.decide_added(case.id, "berta", seen.version, LATER, accept=True)
    after = requests.decide_added(case.id, "berta", requests.get(case.id, LATER).version, LATER, accept=True)
    with pytest.raises(StateConflict):  # pressed twice
        requests.decide_added(case.id, "berta", after.version, LATER, accept=False)
    assert excluded(1, 2, 3) == [True, True, True]


def test_what_is_suspended_stays_suspended_when_photos_join(requests: Requests) -> None:
    case = accepted(requests, photo(1))
    joined = add(requests, case, photo(2))
    requests.suspend(case.exclusions[0], "anna", LATER)
    with pytest.raises(StateConflict):
        requests.decide_added(case.id, "berta", joined.version, LATER, accept=True)
    requests.decide_added(case.id, "berta", joined.version + 1, LATER, accept=True)
    current = CurrentList(ExclusionLog.from_settings(), false_exclusions_per_million=1000).refresh()
    verdict = current.list.check(Fingerprint.from_signals(faces=[vector(2)]))
    assert (verdict.verdict, verdict.reason) == ("defer", "suspended")
    requests.resume(case.exclusions[0], "carl", LATER)
    assert excluded(1, 2) == [True, True]


def test_a_case_holds_five_photos_however_they_came(requests: Requests) -> None:
    case = sent(requests, *map(photo, range(MAX_PHOTOS - 1)))
    one, other = (requests.begin_addition(case, LATER) for _ in range(2))
    for draft, number in ((one, 10), (other, 11)):
        requests.add_photo(draft.id, photo(number), LATER)
        with pytest.raises(TooManyPhotos):
            requests.add_photo(draft.id, photo(20), LATER)
    joined = requests.confirm(one.id, LATER)
    with pytest.raises(TooManyPhotos):
        requests.confirm(other.id, LATER)
    with pytest.raises(TooManyPhotos):
        requests.begin_addition(joined, LATER)


def test_adding_twice_is_adding_once_and_nothing_is_added_without_a_face(requests: Requests) -> None:
    case = sent(requests, photo(1))
    draft = requests.begin_addition(case, LATER)
    requests.add_photo(draft.id, replace(photo(2), faces=(), chosen_face=None), LATER)
    with pytest.raises(DraftIncomplete):
        requests.confirm(draft.id, LATER)
    requests.add_photo(draft.id, photo(3), LATER)
    assert requests.confirm(draft.id, LATER) == requests.confirm(draft.id, LATER)
    assert requests.get(case.id, LATER).photos == ("t1", "t2", "t3")


@pytest.mark.parametrize("step", [Step.REJECT, Step.WITHDRAW])
def test_a_case_that_is_over_takes_no_photos(requests: Requests, step: Step) -> None:
    case = sent(requests, photo(1))
    draft = requests.begin_addition(case, LATER)
    requests.add_photo(draft.id, photo(2), LATER)
    if step is Step.WITHDRAW:
        requests.withdraw(case.id, LATER)
    else:
        requests.decide(case.id, decision(step), None, LATER)
    with pytest.raises(StateConflict):
        requests.confirm(draft.id, LATER)
    with pytest.raises(StateConflict):
        requests.begin_addition(requests.get(case.id, LATER), LATER)
    with pytest.raises(AlreadyDecided):
        requests.decide_added(case.id, "berta", case.version, LATER, accept=True)


def test_while_a_revocation_is_proposed_nothing_is_added(requests: Requests) -> None:
    case = accepted(requests, photo(1))
    case = requests.propose_revocation(case.id, revocation(), case.version, LATER)
    with pytest.raises(StateConflict):
        requests.begin_addition(case, LATER)


def test_a_revoked_link_ends_what_it_began(requests: Requests) -> None:
    draft = requests.begin_addition(sent(requests, photo(1)), LATER)
    requests.add_photo(draft.id, photo(2), LATER)
    requests.revoke_links(draft.home, LATER)
    for use in (requests.confirm, lambda each, now: requests.room(requests.get(each, now), now)):
        with pytest.raises(LinkInvalid):
            use(draft.id, LATER)


def test_an_addition_that_is_not_sent_is_gone_after_a_day_and_the_case_keeps_its_own_copies(requests: Requests) -> None:
    photos = Photos.from_settings()
    case = sent(requests, photo(1))
    draft = requests.begin_addition(case, LATER)
    for number in (1, 2):
        photos.keep(draft.home, photo(number).picture, b"jpeg")
        requests.add_photo(draft.id, replace(photo(number), ticket=f"u{number}"), LATER)
    retention.sweep(requests, photos, LATER + deadlines.DRAFT_LIFETIME)
    kept = aws("s3").list_object_versions(Bucket="photos").get("Versions", [])
    assert [each["Key"] for each in kept] == [f"photos/{case.id}/{photo(1).picture}.jpg"]
    with pytest.raises(RequestNotFound):
        requests.get(draft.id, LATER)
    assert requests.get(case.id, LATER) == case
    assert requests.by_number(case.number, LATER) == case


def test_photos_that_wait_for_a_reviewer_outlive_the_appeal_window_and_join_beside_what_is_on_the_list(
    requests: Requests,
) -> None:
    case = accepted(requests, photo(1))
    over = NOW + deadlines.APPEAL_WINDOW
    retention.sweep(requests, Photos.from_settings(), over)
    assert requests.photos(case.id) == []
    joined = add(requests, case, photo(2))
    retention.sweep(requests, Photos.from_settings(), over)
    after = requests.decide_added(case.id, "berta", joined.version, over, accept=True)
    assert excluded(1, 2) == [True, True]
    assert len(after.exclusions) == 2
    assert requests.falling_due("photos", over + deadlines.APPEAL_WINDOW) == [case.id]
    assert requests.falling_due("photos", over + deadlines.APPEAL_WINDOW - timedelta(seconds=1)) == []
    requests.withdraw(case.id, over)
    assert excluded(1, 2) == [False, False]


def test_a_repaired_list_holds_no_photo_that_nobody_has_decided_about(requests: Requests) -> None:
    case = accepted(requests, photo(1))
    add(requests, case, photo(2))
    log = ExclusionLog("Exclusions", aws("dynamodb"))
    # As after a restore of an older list.
    aws("dynamodb").delete_item(TableName="Exclusions", Key={"pk": {"S": "log#1"}, "seq": {"N": "1"}})
    aws("dynamodb").delete_item(TableName="Exclusions", Key={"pk": {"S": "head"}, "seq": {"N": "0"}})
    found = reconcile(requests, log, aws("dynamodb"), LATER, write=True)
    assert [change.exclusion.exclusion_id for change in found.missing if isinstance(change, Add)] == [*case.exclusions]
    assert excluded(1, 2) == [True, False]


def test_no_letter_is_sent_about_added_photos(requests: Requests) -> None:
    case = accepted(requests, photo(1))
    before = letters(requests, case.id)
    joined = add(requests, case, photo(2))
    requests.decide_added(case.id, "berta", joined.version, LATER, accept=True)
    assert letters(requests, case.id) == before
    names = [event.name for event in requests.history(case.id)]
    assert names[-2:] == ["add_photos", "accept_added"]
