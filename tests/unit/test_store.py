"""The store: every state change is one conditional write, whatever else happens at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from optout import deadlines
from optout.decisions import AcceptReason, Decision, ExtendReason, RejectReason, RevokeReason, UpholdReason
from optout.errors import (
    AlreadyConfirmed,
    AlreadyDecided,
    DraftIncomplete,
    NothingToExclude,
    OptOutError,
    PhotoNotFound,
    RequestInvalid,
    RequestNotFound,
    SameReviewer,
    StateConflict,
    TooManyPhotos,
)
from optout.exclusions import fold
from optout.exclusions.entry import State
from optout.exclusions.log import CurrentList, ExclusionLog, Version, to_attributes
from optout.fingerprint import Fingerprint
from optout.requests import (
    DECIDED_AGAINST,
    MAX_PHOTOS,
    OPEN,
    Answers,
    Extension,
    Kind,
    Letter,
    OptOutRequest,
    Photo,
    ProposedCrop,
    Revocation,
    SeenFace,
    Status,
    Step,
)
from optout.settings import aws
from optout.store import LetterKey, Photos, Requests
from tests.storage import storage

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org")
LINKS = replace(ANSWERS, links=("https://a.example/x", "https://a.example/y"), good_faith=True)
PHOTO = Photo("t1", "ab" * 32, "cd" * 32, 640, 480, 90, tuple(bytes([n] * 32) for n in range(8)), None)
FACE = SeenFace((10, 20, 30, 40), 0.934, bytes(512))


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield store()


def store() -> Requests:
    return Requests("Requests", ExclusionLog.from_settings(), aws("dynamodb"), pause=lambda seconds: None)


def confirmed(requests: Requests, answers: Answers = ANSWERS, photo: Photo = PHOTO) -> OptOutRequest:
    kind = Kind.LINKS if answers.links else Kind.IMAGE
    draft = requests.create_draft(kind, answers, "hash", NOW)
    if kind is Kind.IMAGE:
        requests.add_photo(draft.id, photo, NOW)
    return requests.confirm(draft.id, NOW)


def decision(step: Step, reviewer: str = "anna", decision_id: str = "d1") -> Decision:
    reasons = {Step.REJECT: RejectReason.NO_MATCH, Step.UPHOLD: UpholdReason.FACTS_STAND}
    return Decision(decision_id, step, reasons.get(step, AcceptReason.SHOWS_REQUESTER), "because", reviewer)


def revocation(reviewer: str = "anna") -> Revocation:
    return Revocation(RevokeReason.EXCLUDES_OTHERS, "it hits others", reviewer, NOW)


def in_force(exclusion_ids: tuple[str, ...]) -> bool:
    """Whether a lookup that starts now finds all of these on the list (True) or none (False)."""
    current = CurrentList(ExclusionLog.from_settings(), false_exclusions_per_million=1000).refresh()
    fingerprints = [
        (Fingerprint.from_signals(sha256=PHOTO.sha256, pdq=PHOTO.dihedral[0].hex()), url) for url in LINKS.links
    ]
    found = {match.exclusion_id for verdict in current.list.check_many(fingerprints) for match in verdict.matches}
    hits = [exclusion_id in found for exclusion_id in exclusion_ids]
    assert all(hits) or not any(hits)
    return bool(hits) and all(hits)


def letters(requests: Requests, request_id: str) -> list[str]:
    return [item["letter"] for item in requests._items(request_id, "letter#")]


# ---- drafts


def test_a_draft_comes_back_as_it_was_written(requests: Requests) -> None:
    answers = replace(LINKS, phone="+49 30 123", represented="Child", biometric_consent="I agree")
    draft = requests.create_draft(Kind.LINKS, answers, "hash", NOW)
    assert requests.get(draft.id, NOW) == draft


def test_a_photo_comes_back_as_it_was_seen(requests: Requests) -> None:
    draft = requests.create_draft(Kind.FACE, ANSWERS, "hash", NOW)
    photo = replace(PHOTO, faces=(FACE, FACE), face_model="sface", chosen_face=1, face_problem="too_small")
    requests.add_photo(draft.id, photo, NOW)
    assert requests.photos(draft.id) == [photo]


def test_a_photo_recorded_before_problems_of_faces_were_still_comes_back(requests: Requests) -> None:
    draft = requests.create_draft(Kind.FACE, ANSWERS, "hash", NOW)
    requests.add_photo(draft.id, replace(PHOTO, faces=(), face_problem="too_small"), NOW)
    requests._client.update_item(
        TableName=requests._table,
        Key=to_attributes({"pk": f"case#{draft.id}", "sk": f"photo#{PHOTO.ticket}"}),
        UpdateExpression="REMOVE face_problem",
    )
    assert requests.photos(draft.id) == [replace(PHOTO, faces=())]


def test_the_faces_in_force_are_counted_and_no_others(requests: Requests) -> None:
    answers = replace(ANSWERS, biometric_consent="I agree")
    before = requests.listed_faces()
    for photos, step in ((2, Step.ACCEPT), (1, Step.ACCEPT), (1, Step.REJECT), (1, None)):
        draft = requests.create_draft(Kind.FACE, answers, "hash", NOW)
        for place in range(photos):
            seen = replace(PHOTO, ticket=f"t{place}", faces=(FACE,), face_model="sface", chosen_face=0)
            requests.add_photo(draft.id, seen, NOW)
        case = requests.confirm(draft.id, NOW)
        if step is not None:
            requests.decide(case.id, decision(step, decision_id=case.id), None, NOW)
    requests.decide(confirmed(requests).id, decision(Step.ACCEPT, decision_id="picture"), None, NOW)
    assert tuple(np.subtract(requests.listed_faces(), before)) == (2, 3)


def test_photos_stay_in_the_order_of_upload(requests: Requests) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    tickets = ["z", "a", "m"]
    for ticket in tickets:
        requests.add_photo(draft.id, replace(PHOTO, ticket=ticket), NOW)
    assert [photo.ticket for photo in requests.photos(draft.id)] == tickets


def test_the_first_record_of_a_ticket_stands(requests: Requests) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    requests.add_photo(draft.id, PHOTO, NOW)
    requests.add_photo(draft.id, replace(PHOTO, sha256="ff" * 32), NOW)
    assert requests.photos(draft.id) == [PHOTO]


def test_a_sixth_photo_is_refused(requests: Requests) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    for n in range(MAX_PHOTOS):
        requests.add_photo(draft.id, replace(PHOTO, ticket=f"t{n}"), NOW)
    with pytest.raises(TooManyPhotos):
        requests.add_photo(draft.id, replace(PHOTO, ticket="t9"), NOW)
    requests.remove_photo(draft.id, "t0", NOW)
    requests.add_photo(draft.id, replace(PHOTO, ticket="t9"), NOW)


PART = ProposedCrop((10, 20, 300, 200), "ef" * 32, 300, 200, 80, tuple(bytes([9 + n] * 32) for n in range(8)), b"\x01p")


def test_a_proposed_part_comes_back_as_it_was_proposed(requests: Requests) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    photos = [replace(PHOTO, proposed=PART), replace(PHOTO, ticket="t2", proposed=replace(PART, keypoints=None))]
    for photo in photos:
        requests.add_photo(draft.id, photo, NOW)
    assert requests.photos(draft.id) == photos


@pytest.mark.parametrize("cropped", [True, False])
def test_the_first_word_about_a_proposed_part_stands_and_the_other_one_is_forgotten(
    requests: Requests, cropped: bool
) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    photo = replace(PHOTO, proposed=PART)
    requests.add_photo(draft.id, photo, NOW)
    with pytest.raises(DraftIncomplete) as incomplete:
        requests.confirm(draft.id, NOW)
    assert list(incomplete.value.missing) == ["crop:t1"]
    assert requests.choose_crop(draft.id, "t1", NOW, cropped=cropped) == photo
    assert requests.choose_crop(draft.id, "t1", NOW, cropped=not cropped) == photo.settled(cropped=cropped)
    assert requests.photos(draft.id) == [photo.settled(cropped=cropped)]
    with pytest.raises(PhotoNotFound):
        requests.choose_crop(draft.id, "t2", NOW, cropped=cropped)
    requests.confirm(draft.id, NOW)
    with pytest.raises(AlreadyConfirmed):
        requests.choose_crop(draft.id, "t1", NOW, cropped=cropped)


def test_only_a_face_that_is_there_can_be_chosen(requests: Requests) -> None:
    draft = requests.create_draft(Kind.FACE, ANSWERS, "hash", NOW)
    requests.add_photo(draft.id, replace(PHOTO, faces=(FACE, FACE), face_model="sface"), NOW)
    requests.choose_face(draft.id, "t1", 1, NOW)
    assert requests.photos(draft.id)[0].chosen_face == 1
    for face in (-1, 2):
        with pytest.raises(RequestInvalid):
            requests.choose_face(draft.id, "t1", face, NOW)
    with pytest.raises(PhotoNotFound):
        requests.choose_face(draft.id, "t2", 0, NOW)
    with pytest.raises(PhotoNotFound):
        requests.remove_photo(draft.id, "t2", NOW)


def test_a_draft_is_gone_after_a_day(requests: Requests) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    requests.get(draft.id, NOW + timedelta(hours=23))
    with pytest.raises(RequestNotFound):
        requests.get(draft.id, NOW + deadlines.DRAFT_LIFETIME)
    with pytest.raises(RequestNotFound):
        requests.confirm(draft.id, NOW + deadlines.DRAFT_LIFETIME)


def test_an_incomplete_draft_stays_a_draft(requests: Requests) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    with pytest.raises(DraftIncomplete):
        requests.confirm(draft.id, NOW)
    assert requests.get(draft.id, NOW).status is Status.DRAFT


# ---- confirming


def test_confirming_sets_the_due_date_and_the_letter_in_the_same_write(requests: Requests) -> None:
    case = confirmed(requests)
    assert case.status is Status.PENDING
    assert case.due_at == NOW + timedelta(days=7)
    assert letters(requests, case.id) == [Letter.RECEIVED]
    assert requests.letters_due(NOW) == [LetterKey(case.id, case.version)]
    assert requests.by_number(case.number.lower(), NOW) == requests.get(case.id, NOW) == case
    assert [event.name for event in requests.history(case.id)] == ["confirm"]


def test_confirming_twice_is_confirming_once(requests: Requests) -> None:
    case = confirmed(requests)
    assert requests.confirm(case.id, NOW + timedelta(hours=1)) == case
    assert letters(requests, case.id) == [Letter.RECEIVED]


def test_a_confirmed_case_no_longer_expires(requests: Requests) -> None:
    case = confirmed(requests)
    items = requests._items(case.id)
    assert not [item for item in items if "expires_at" in item]
    assert requests.get(case.id, NOW + timedelta(days=30)).status is Status.PENDING


@pytest.mark.parametrize(
    "change",
    [
        lambda store, case: store.edit_draft(case.id, ANSWERS, "hash", NOW),
        lambda store, case: store.add_photo(case.id, replace(PHOTO, ticket="t2"), NOW),
        lambda store, case: store.choose_face(case.id, "t1", 0, NOW),
        lambda store, case: store.choose_crop(case.id, "t1", NOW, cropped=True),
        lambda store, case: store.remove_photo(case.id, "t1", NOW),
    ],
)
def test_a_confirmed_case_can_no_longer_be_edited(
    requests: Requests, change: Callable[[Requests, OptOutRequest], object]
) -> None:
    case = confirmed(requests)
    with pytest.raises(AlreadyConfirmed):
        change(requests, case)
    assert requests.get(case.id, NOW) == case


# ---- deciding


def test_an_acceptance_is_in_force_for_the_next_lookup(requests: Requests) -> None:
    case = confirmed(requests)
    after = requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    assert after.status is Status.ACCEPTED
    assert after.decision is not None
    assert after.decision.list_version == "1.1"
    assert requests.get(case.id, NOW) == after
    assert in_force(after.exclusions)
    assert letters(requests, case.id) == [Letter.RECEIVED, Letter.ACCEPTED]


def test_the_first_decision_stands_and_the_second_is_told(requests: Requests) -> None:
    case = confirmed(requests)
    requests.decide(case.id, decision(Step.REJECT, "anna", "d1"), case.version, NOW)
    with pytest.raises(AlreadyDecided) as refused:
        requests.decide(case.id, decision(Step.ACCEPT, "ben", "d2"), case.version, NOW + timedelta(minutes=1))
    assert (refused.value.status, refused.value.reviewer, refused.value.at) == ("rejected", "anna", NOW)
    assert requests.get(case.id, NOW).status is Status.REJECTED
    assert letters(requests, case.id) == [Letter.RECEIVED, Letter.REJECTED]


def test_the_same_decision_again_gets_the_first_answer(requests: Requests) -> None:
    case = confirmed(requests)
    first = requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    again = requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW + timedelta(minutes=1))
    assert again == first
    assert ExclusionLog.from_settings().head() == Version(1, 1)
    assert letters(requests, case.id) == [Letter.RECEIVED, Letter.ACCEPTED]


def test_an_acceptance_that_excludes_nothing_changes_nothing(requests: Requests) -> None:
    draft = requests.create_draft(Kind.FACE, replace(ANSWERS, biometric_consent="I agree"), "hash", NOW)
    requests.add_photo(draft.id, replace(PHOTO, faces=(FACE,), face_model="sface", chosen_face=0), NOW)
    case = requests.confirm(draft.id, NOW)
    aws("dynamodb").delete_item(TableName="Requests", Key={"pk": {"S": f"case#{case.id}"}, "sk": {"S": "photo#t1"}})
    with pytest.raises(NothingToExclude):
        requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    assert requests.get(case.id, NOW) == case
    assert ExclusionLog.from_settings().head() == Version(1, 0)


def test_an_unknown_reason_is_refused(requests: Requests) -> None:
    case = confirmed(requests)
    with pytest.raises(RequestInvalid):
        requests.decide(case.id, replace(decision(Step.ACCEPT), reason="because"), case.version, NOW)


def test_a_draft_cannot_be_decided(requests: Requests) -> None:
    draft = requests.create_draft(Kind.LINKS, LINKS, "hash", NOW)
    with pytest.raises(RequestNotFound):
        requests.decide(draft.id, decision(Step.ACCEPT), 1, NOW)


def test_an_appeal_is_decided_by_another_reviewer(requests: Requests) -> None:
    case = confirmed(requests)
    rejected = requests.decide(case.id, decision(Step.REJECT), case.version, NOW)
    with pytest.raises(SameReviewer):
        requests.decide(case.id, decision(Step.ACCEPT_ON_APPEAL, "anna", "d2"), rejected.version, NOW)
    after = requests.decide(case.id, decision(Step.ACCEPT_ON_APPEAL, "ben", "d2"), rejected.version, NOW)
    assert after.status is Status.ACCEPTED
    assert in_force(after.exclusions)


# ---- taking back


def test_a_withdrawal_takes_the_exclusions_off_the_list(requests: Requests) -> None:
    case = confirmed(requests)
    accepted = requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    after = requests.withdraw(case.id, NOW)
    assert after.status is Status.WITHDRAWN
    assert requests.withdraw(case.id, NOW) == after
    assert not in_force(accepted.exclusions)
    assert letters(requests, case.id) == [Letter.RECEIVED, Letter.ACCEPTED, Letter.WITHDRAWN]


def test_a_pending_case_can_be_withdrawn_and_then_not_decided(requests: Requests) -> None:
    case = confirmed(requests)
    requests.withdraw(case.id, NOW)
    with pytest.raises(AlreadyDecided) as refused:
        requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    assert refused.value.status == "withdrawn"


def test_a_rejected_case_has_nothing_to_withdraw(requests: Requests) -> None:
    case = confirmed(requests)
    requests.decide(case.id, decision(Step.REJECT), case.version, NOW)
    with pytest.raises(StateConflict):
        requests.withdraw(case.id, NOW)


def test_the_same_picture_stays_excluded_while_another_case_supports_it(requests: Requests) -> None:
    first, second = confirmed(requests), confirmed(requests)
    requests.decide(first.id, decision(Step.ACCEPT), first.version, NOW)
    kept = requests.decide(second.id, decision(Step.ACCEPT), second.version, NOW)
    requests.withdraw(first.id, NOW)
    assert in_force(kept.exclusions)


def test_a_revocation_needs_two_reviewers(requests: Requests) -> None:
    case = confirmed(requests)
    accepted = requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    with pytest.raises(AlreadyDecided):
        requests.confirm_revocation(case.id, "ben", NOW)
    proposed = requests.propose_revocation(case.id, revocation(), accepted.version, NOW)
    assert in_force(accepted.exclusions)
    assert requests.queue("revocation") == [proposed]
    with pytest.raises(SameReviewer):
        requests.confirm_revocation(case.id, "anna", NOW)
    after = requests.confirm_revocation(case.id, "ben", NOW)
    assert after.status is Status.REVOKED
    assert (requests.queue("revocation"), requests.queue("revoked")) == ([], [after])
    assert not in_force(accepted.exclusions)
    assert letters(requests, case.id)[-1] == Letter.REVOKED
    with pytest.raises(AlreadyDecided):
        requests.confirm_revocation(case.id, "ben", NOW)


def test_an_appeal_against_a_revocation_is_decided_by_another_than_who_proposed_it(requests: Requests) -> None:
    case = confirmed(requests)
    accepted = requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    requests.propose_revocation(case.id, revocation("anna"), accepted.version, NOW)
    later = NOW + timedelta(days=100)
    revoked = requests.confirm_revocation(case.id, "ben", later)
    assert requests.falling_due("photos", NOW + deadlines.APPEAL_WINDOW) == [], "photos stay while an appeal is open"
    with pytest.raises(SameReviewer):
        requests.decide(case.id, decision(Step.ACCEPT_ON_APPEAL, "anna", "d2"), revoked.version, later)
    again = requests.decide(case.id, decision(Step.ACCEPT_ON_APPEAL, "ben", "d2"), revoked.version, later)
    assert again.revocation is None
    assert in_force(again.exclusions)


def test_a_proposed_revocation_can_be_dropped(requests: Requests) -> None:
    case = confirmed(requests)
    accepted = requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    requests.propose_revocation(case.id, revocation(), accepted.version, NOW)
    with pytest.raises(AlreadyDecided):
        requests.propose_revocation(case.id, revocation("ben"), accepted.version, NOW)
    assert requests.cancel_revocation(case.id, "anna", NOW).revocation is None
    assert in_force(accepted.exclusions)
    assert requests.queue("revocation") == []
    assert [found.id for found in requests.queue("accepted")] == [case.id]


# ---- what reviewers see


def test_the_queue_shows_the_most_urgent_case_first(requests: Requests) -> None:
    late = confirmed(requests)
    draft = requests.create_draft(Kind.FACE, replace(ANSWERS, biometric_consent="I agree"), "hash", NOW)
    requests.add_photo(draft.id, replace(PHOTO, faces=(FACE,), face_model="sface", chosen_face=0), NOW)
    urgent = requests.confirm(draft.id, NOW)
    assert [case.id for case in requests.queue("pending")] == [urgent.id, late.id]


def test_drafts_are_never_shown_to_reviewers(requests: Requests) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    requests.add_photo(draft.id, PHOTO, NOW)
    case = confirmed(requests)
    assert requests.queue("draft") == []
    assert requests.related(case, [PHOTO]) == []


def test_other_cases_of_the_same_address_or_picture_are_shown(requests: Requests) -> None:
    case = confirmed(requests)
    other = confirmed(requests)
    (found,) = requests.related(case, requests.photos(case.id))
    assert (found.id, found.same) == (other.id, {"address", "picture"})


def test_every_look_at_a_photo_is_noted(requests: Requests) -> None:
    case = confirmed(requests)
    requests.record_view(case.id, "t1", "anna", NOW + timedelta(minutes=1))
    assert [(event.name, event.actor) for event in requests.history(case.id)] == [
        ("confirm", "requester"),
        ("view_photo", "anna"),
    ]


# ---- letters


LEASE = timedelta(seconds=60)


def test_a_letter_is_claimed_by_one_sender_at_a_time(requests: Requests) -> None:
    case = confirmed(requests)
    (key,) = requests.letters_due(NOW)
    claimed = requests.claim_letter(key, NOW, LEASE)
    assert claimed is not None
    assert (claimed.letter, claimed.request) == (Letter.RECEIVED, case)
    assert requests.claim_letter(key, NOW + LEASE / 2, LEASE) is None
    assert requests.claim_letter(key, NOW + LEASE, LEASE) is not None


def test_a_sent_letter_is_never_sent_again(requests: Requests) -> None:
    confirmed(requests)
    (key,) = requests.letters_due(NOW)
    requests.claim_letter(key, NOW, LEASE)
    requests.letter_sent(key, "m1", NOW)
    requests.letter_failed(key, NOW, final=False)
    assert requests.letters_due(NOW + timedelta(days=1)) == []
    assert requests.claim_letter(key, NOW + timedelta(days=1), LEASE) is None


def test_a_failed_letter_can_be_claimed_at_once_and_a_parked_one_when_revived(requests: Requests) -> None:
    confirmed(requests)
    (key,) = requests.letters_due(NOW)
    requests.claim_letter(key, NOW, LEASE)
    requests.letter_failed(key, NOW, final=False)
    assert requests.claim_letter(key, NOW, LEASE) is not None
    requests.letter_failed(key, NOW, final=True)
    assert requests.letters_due(NOW) == []
    assert requests.claim_letter(key, NOW, LEASE) is None
    assert not requests.forward_letter(key, NOW)
    requests.letter_revived(key, NOW)
    assert requests.letters_due(NOW) == [key]
    assert requests.claim_letter(key, NOW, LEASE) is not None


def test_a_late_letter_is_forwarded_once_while_sqs_has_it(requests: Requests) -> None:
    confirmed(requests)
    (key,) = requests.letters_due(NOW)
    requests.claim_letter(key, NOW - LEASE / 2, LEASE)
    assert not requests.forward_letter(key, NOW), "a sender has it"
    assert requests.forward_letter(key, NOW + LEASE / 2)
    assert requests.letters_due(NOW + timedelta(minutes=19)) == []
    assert requests.letters_due(NOW + timedelta(minutes=21)) == [key]


def test_the_message_of_a_letter_leads_back_to_it() -> None:
    key = LetterKey("abc", 3)
    assert LetterKey.from_json(key.to_json()) == key
    assert LetterKey.of_item(key.keys["pk"], key.keys["sk"]) == key
    assert "abc" not in key.letter_id


# ---- retention


def test_a_draft_that_is_being_deleted_can_no_longer_be_confirmed(requests: Requests) -> None:
    draft = requests.create_draft(Kind.LINKS, LINKS, "hash", NOW)
    assert requests.falling_due("draft", NOW + timedelta(hours=23)) == []
    assert requests.falling_due("draft", NOW + deadlines.DRAFT_LIFETIME) == [draft.id]
    assert requests.expire(draft.id, "draft", NOW)
    with pytest.raises(RequestNotFound):
        requests.confirm(draft.id, NOW)
    requests.delete_case(draft.id)
    assert requests._items(draft.id) == []


def test_a_confirmed_case_is_no_draft_to_expire(requests: Requests) -> None:
    case = confirmed(requests)
    assert requests.falling_due("draft", NOW + timedelta(days=30)) == []
    assert not requests.expire(case.id, "draft", NOW)
    assert requests.get(case.id, NOW) == case


def test_photos_fall_due_after_the_appeal_window_and_cases_after_three_years(requests: Requests) -> None:
    case = confirmed(requests)
    requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    end = NOW + deadlines.APPEAL_WINDOW
    assert requests.falling_due("photos", end - timedelta(seconds=1)) == []
    assert requests.falling_due("photos", end) == [case.id]
    requests.forget_photos(case.id, end)
    assert requests.photos(case.id) == []
    assert requests.falling_due("photos", end) == []
    assert requests.falling_due("case", NOW + deadlines.CASE_KEPT) == [case.id]
    requests.delete_case(case.id)
    with pytest.raises(RequestNotFound):
        requests.by_number(case.number, NOW)


def test_photos_of_a_withdrawn_case_fall_due_after_a_week(requests: Requests) -> None:
    case = confirmed(requests)
    requests.withdraw(case.id, NOW)
    assert requests.falling_due("photos", NOW + timedelta(days=7)) == [case.id]


# ---- faults


class Faulty:
    """A DynamoDB client that fails some calls: before they reach the table, or after (the answer is lost)."""

    def __init__(self, client: Any, faults: list[str]) -> None:
        self._client = client
        self.faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name != "transact_write_items":
            return method

        def call(**arguments: Any) -> Any:
            fault = self.faults.pop(0) if self.faults else "none"
            if fault == "conflict":
                reasons = [{"Code": "TransactionConflict"}] + [{"Code": "None"}] * (len(arguments["TransactItems"]) - 1)
                body = {
                    "Error": {"Code": "TransactionCanceledException", "Message": ""},
                    "CancellationReasons": reasons,
                }
                raise ClientError(body, name)  # type: ignore[arg-type]
            answer = method(**arguments)
            if fault == "lost":
                raise TimeoutError
            return answer

        return call


def faulty(*faults: str) -> Requests:
    return Requests(
        "Requests", ExclusionLog.from_settings(), Faulty(aws("dynamodb"), list(faults)), pause=lambda seconds: None
    )


def test_a_conflicting_transaction_is_tried_again(requests: Requests) -> None:
    case = confirmed(requests)
    after = faulty("conflict", "conflict").decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    assert after.status is Status.ACCEPTED


def test_a_decision_whose_answer_was_lost_is_not_made_twice(requests: Requests) -> None:
    case = confirmed(requests)
    with pytest.raises(TimeoutError):
        faulty("lost").decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    again = requests.decide(case.id, decision(Step.ACCEPT), case.version, NOW)
    assert again.decision is not None
    assert again.decision.list_version == "1.1"
    assert ExclusionLog.from_settings().head() == Version(1, 1)


def test_a_moved_head_is_told_apart_from_a_decided_case(requests: Requests) -> None:
    """Somebody else's decision between reading the head and writing: the same decision goes through behind it."""
    first, second = confirmed(requests), confirmed(requests)

    class Overtaken(ExclusionLog):
        overtaken = False

        def head(self) -> Version:
            seen = super().head()
            if not self.overtaken:
                self.overtaken = True
                requests.decide(second.id, decision(Step.ACCEPT), second.version, NOW)
            return seen

    behind = Requests("Requests", Overtaken("Exclusions", aws("dynamodb")), aws("dynamodb"), pause=lambda seconds: None)
    after = behind.decide(first.id, decision(Step.ACCEPT), first.version, NOW)
    assert after.decision is not None
    assert after.decision.list_version == "1.2"


# ---- the bucket


def test_an_upload_goes_to_one_key_of_one_size_and_a_type_no_browser_shows() -> None:
    with storage():
        upload = Photos.from_settings().ticket("case", "https://optout.example.org/opt-out/case/photos")
        assert upload.fields["key"] == f"raw/case/{upload.ticket}"
        assert upload.fields["Content-Type"] == "application/octet-stream"
        assert (
            upload.fields["success_action_redirect"]
            == f"https://optout.example.org/opt-out/case/photos/{upload.ticket}"
        )


def test_exactly_one_version_is_read_and_all_are_discarded() -> None:
    with storage():
        photos, s3 = Photos.from_settings(), aws("s3")
        with pytest.raises(PhotoNotFound):
            photos.read_raw("case", "t1")
        s3.put_object(Bucket="photos", Key="raw/case/t1", Body=b"one")
        s3.put_object(Bucket="photos", Key="raw/case/t1", Body=b"two")
        s3.put_object(Bucket="photos", Key="raw/case/t10", Body=b"another ticket")
        assert photos.read_raw("case", "t1").data == b"two"
        photos.discard_raw("case", "t1")
        with pytest.raises(PhotoNotFound):
            photos.read_raw("case", "t1")
        assert photos.read_raw("case", "t10").data == b"another ticket"


def test_deleting_a_case_leaves_no_version_of_its_photos() -> None:
    with storage():
        photos, s3 = Photos.from_settings(), aws("s3")
        photos.keep("case", "aa", b"jpeg")
        photos.keep("other", "aa", b"jpeg")
        s3.put_object(Bucket="photos", Key="raw/case/t1", Body=b"one")
        photos.delete_all("case")
        left = s3.list_object_versions(Bucket="photos")
        assert [found["Key"] for found in left["Versions"]] == ["photos/other/aa.jpg"]
        assert "DeleteMarkers" not in left


# ---- everything at once


class Life(RuleBasedStateMachine):
    """Any order of steps on a few cases: the list holds exactly the accepted ones, and each change has its letter."""

    def __init__(self) -> None:
        super().__init__()
        self._storage = storage()
        self._storage.__enter__()
        self.requests = store()
        self.cases: list[str] = []

    def teardown(self) -> None:
        self._storage.__exit__(None, None, None)

    def attempt(self, step: Callable[[], OptOutRequest]) -> None:
        try:
            step()
        except OptOutError:
            return

    def picked(self, pick: int) -> list[tuple[str, int]]:
        return [(case, self.requests.get(case, NOW).version) for case in self.cases[pick : pick + 1]]

    @rule()
    def file(self) -> None:
        if len(self.cases) < 3:
            self.cases.append(confirmed(self.requests).id)

    @rule(
        pick=st.integers(0, 2),
        step=st.sampled_from([Step.ACCEPT, Step.REJECT, Step.ACCEPT_ON_APPEAL, Step.UPHOLD]),
        who=st.sampled_from("ab"),
    )
    def decide(self, pick: int, step: Step, who: str) -> None:
        for case, version in self.picked(pick):
            made = decision(step, who, f"{case}{version}{step}")
            self.attempt(partial(self.requests.decide, case, made, version, NOW))

    @rule(pick=st.integers(0, 2), step=st.sampled_from([Step.ASK, Step.INFORM, Step.EXTEND, Step.APPEAL]))
    def say(self, pick: int, step: Step) -> None:
        for case, version in self.picked(pick):
            later = Extension(NOW, ExtendReason.COMPLEX, "because", "a", NOW)
            says: dict[Step, Callable[[], OptOutRequest]] = {
                Step.ASK: partial(self.requests.ask, case, "When?", "a", version, NOW),
                Step.INFORM: partial(self.requests.inform, case, f"In 2019. {version}", NOW),
                Step.EXTEND: partial(self.requests.extend, case, later, NOW + timedelta(days=20), version),
                Step.APPEAL: partial(self.requests.appeal, case, "No.", NOW),
            }
            self.attempt(says[step])

    @rule(pick=st.integers(0, 2), provisional=st.booleans())
    def verify(self, pick: int, provisional: bool) -> None:
        for case, _ in self.picked(pick):
            self.requests.verify(case, NOW, provisional=provisional)

    @rule(pick=st.integers(0, 2))
    def release(self, pick: int) -> None:
        for case, _ in self.picked(pick):
            self.requests.release(case, NOW)

    @rule(pick=st.integers(0, 2))
    def withdraw(self, pick: int) -> None:
        for case, _ in self.picked(pick):
            self.attempt(partial(self.requests.withdraw, case, NOW))

    @rule(pick=st.integers(0, 2), who=st.sampled_from("ab"))
    def revoke(self, pick: int, who: str) -> None:
        for case, version in self.picked(pick):
            self.attempt(partial(self.requests.propose_revocation, case, revocation(who), version, NOW))

    @rule(pick=st.integers(0, 2), who=st.sampled_from("ab"))
    def second(self, pick: int, who: str) -> None:
        for case, _ in self.picked(pick):
            self.attempt(partial(self.requests.confirm_revocation, case, who, NOW))

    @invariant()
    def the_list_holds_exactly_the_accepted_cases_and_what_open_ones_hold_back(self) -> None:
        log = ExclusionLog.from_settings()
        assert [item.seq for item in log.tail(Version(1, 0))] == list(range(1, log.head().seq + 1))
        expected, held = set(), set()
        for case_id in self.cases:
            case = self.requests.get(case_id, NOW)
            told = [event for event in self.requests.history(case_id) if event.name in set(Step) - {Step.INFORM}]
            assert len(letters(self.requests, case_id)) == len(told)
            assert (case.question is not None) == (case.status is Status.WAITING)
            assert case.appealed_at is None or case.status in DECIDED_AGAINST
            if case.upheld is not None:
                assert case.status in DECIDED_AGAINST
                assert case.upheld.reviewer != case.decided_against_by
            if case.status is Status.ACCEPTED:
                expected |= set(case.exclusions)
            if case.hold is not None:
                assert case.status in OPEN
                held |= set(case.hold.exclusions)
        states = fold.in_force(log, log.head())
        assert {one for one, state in states.items() if state is State.ACCEPTED} == expected
        assert {one for one, state in states.items() if state is State.PENDING} == held
        current = CurrentList(log, false_exclusions_per_million=1000).refresh()
        known = Fingerprint.from_signals(sha256=PHOTO.sha256, pdq=PHOTO.dihedral[0].hex())
        assert {match.exclusion_id for match in current.list.check(known).matches} == (expected or held)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)


# ---- an operator's steps


def test_revoked_links_are_dead_and_the_next_letter_brings_one_that_works(requests: Requests) -> None:
    case = confirmed(requests)
    revoked = requests.revoke_links(case.id, NOW)
    assert (revoked.link_version, revoked.version, revoked.status) == (2, case.version + 1, Status.PENDING)
    assert requests.get(case.id, NOW) == revoked
    due = requests.claim_letter(LetterKey(case.id, revoked.version), NOW, timedelta(minutes=1))
    assert due is not None
    assert (due.letter, due.request.link_version) == (Letter.RECEIVED, 2)
    assert [(event.name, event.actor) for event in requests.history(case.id)][-1] == ("revoke_links", "operator")


def test_links_are_revoked_without_a_letter_when_the_mailbox_is_in_wrong_hands(requests: Requests) -> None:
    case = confirmed(requests)
    revoked = requests.revoke_links(case.id, NOW, letter=False)
    assert revoked.link_version == 2
    assert requests.claim_letter(LetterKey(case.id, revoked.version), NOW, timedelta(minutes=1)) is None


@pytest.mark.parametrize(
    ("step", "letter"), [(Step.ACCEPT, Letter.ACCEPTED), (Step.REJECT, Letter.REJECTED), (None, Letter.WITHDRAWN)]
)
def test_the_letter_that_comes_again_says_how_the_case_stands(
    requests: Requests, step: Step | None, letter: Letter
) -> None:
    case = confirmed(requests)
    if step is None:
        requests.withdraw(case.id, NOW)
    else:
        reason = AcceptReason.SHOWS_REQUESTER if step is Step.ACCEPT else RejectReason.NO_MATCH
        requests.decide(case.id, Decision("d", step, reason, "in words", "anna"), None, NOW)
    revoked = requests.revoke_links(case.id, NOW)
    due = requests.claim_letter(LetterKey(case.id, revoked.version), NOW, timedelta(minutes=1))
    assert due is not None
    assert due.letter is letter


def test_a_draft_has_no_links_to_revoke(requests: Requests) -> None:
    draft = requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)
    with pytest.raises(RequestNotFound):
        requests.revoke_links(draft.id, NOW)
