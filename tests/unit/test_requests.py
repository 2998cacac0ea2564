"""The transition table and what a draft still lacks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from optout.errors import DraftIncomplete
from optout.requests import (
    DECIDED_AGAINST,
    TRANSITIONS,
    Actor,
    Answers,
    Kind,
    Letter,
    ListEffect,
    OptOutRequest,
    Photo,
    SeenFace,
    Status,
    Step,
    missing,
    new_number,
    new_request_id,
    require_complete,
)

FACE = SeenFace((1, 2, 30, 40), 0.9, bytes(512))


def draft(kind: Kind = Kind.IMAGE, **answers: object) -> OptOutRequest:
    given_answers = Answers("DE", "why", "Ada", "Lovelace", "ada@example.org")
    return OptOutRequest(
        "id",
        "AAAA-AAAA",
        kind,
        Status.DRAFT,
        1,
        replace(given_answers, **answers),
        "hash",
        datetime(2026, 1, 1, tzinfo=UTC),
    )


def photo(*faces: SeenFace, chosen: int | None = None, off: bool = False) -> Photo:
    return Photo("t1", "aa", "bb", 100, 100, 90, (bytes(32),) * 8, None if off else faces, "sface", chosen)


def test_only_an_acceptance_adds_to_the_list_and_only_leaving_acceptance_removes() -> None:
    for row in TRANSITIONS.values():
        assert (row.effect is ListEffect.ADD) == (row.target is Status.ACCEPTED)
        assert (row.effect is ListEffect.REMOVE) == (row.source is Status.ACCEPTED)


def test_every_step_but_the_requesters_own_words_sends_a_letter_and_no_two_the_same() -> None:
    letters: dict[Step, Letter | None] = {}
    for (step, source), row in TRANSITIONS.items():
        assert row.source is source
        assert letters.setdefault(step, row.letter) is row.letter
    assert [step for step, letter in letters.items() if letter is None] == [Step.INFORM]
    told = [letter for step, letter in letters.items() if letter and step is not Step.ACCEPT_ON_APPEAL]
    assert len(told) == len(set(told))
    assert set(told) == set(Letter) - {Letter.NEW_PHOTO}, "which is asked for by a change of the face model"


def test_a_status_is_left_by_a_letter_that_names_the_new_one() -> None:
    for (step, _), row in TRANSITIONS.items():
        if row.source is not row.target and step not in {Step.CONFIRM, Step.ASK, Step.INFORM}:
            assert row.letter is not None
            assert row.letter.value == row.target.value


def test_taking_something_back_needs_another_reviewer() -> None:
    assert TRANSITIONS[Step.REVOKE, Status.ACCEPTED].actor is Actor.OTHER_REVIEWER
    for decided in DECIDED_AGAINST:
        for step in (Step.ACCEPT_ON_APPEAL, Step.UPHOLD):
            assert TRANSITIONS[step, decided].actor is Actor.OTHER_REVIEWER


def test_whatever_can_be_done_with_a_case_to_decide_can_be_done_while_it_waits_for_an_answer() -> None:
    for step in {step for step, source in TRANSITIONS if source is Status.PENDING} - {Step.ASK}:
        pending, waiting = TRANSITIONS[step, Status.PENDING], TRANSITIONS[step, Status.WAITING]
        assert (waiting.actor, waiting.effect, waiting.letter) == (pending.actor, pending.effect, pending.letter)


def test_a_withdrawn_case_leads_nowhere() -> None:
    assert not [step for step, source in TRANSITIONS if source is Status.WITHDRAWN]


def test_an_image_case_needs_a_photo() -> None:
    assert missing(draft(), []) == ["photo"]
    assert missing(draft(), [photo()]) == []


def test_a_face_case_needs_consent_and_the_requesters_own_face() -> None:
    face = draft(Kind.FACE)
    agreed = draft(Kind.FACE, biometric_consent="I agree")
    assert "consent" in missing(face, [photo(FACE, chosen=0)])
    assert missing(agreed, [photo()]) == ["usable_face"]
    assert missing(agreed, [photo(FACE, FACE)]) == ["face:t1"]
    assert missing(agreed, [photo(off=True)]) == ["faces_off"]
    assert missing(agreed, [photo(FACE, FACE, chosen=1)]) == []
    assert missing(agreed, [photo(), photo(FACE, chosen=0)]) == []


def test_a_notice_needs_links_and_good_faith_but_no_photo() -> None:
    assert missing(draft(Kind.LINKS), []) == ["links", "good_faith"]
    assert missing(draft(Kind.LINKS, links=("https://a.example/x",), good_faith=True), []) == []


def test_an_incomplete_draft_names_what_it_lacks() -> None:
    with pytest.raises(DraftIncomplete) as refused:
        require_complete(draft(), [])
    assert refused.value.missing == ["photo"]


def test_numbers_can_be_read_out_and_ids_cannot_be_guessed() -> None:
    for number in (new_number() for _ in range(200)):
        assert len(number) == 9
        assert number[4] == "-"
        assert not set(number) & set("01OILUV")
    assert len({new_request_id() for _ in range(200)}) == 200
    assert len(new_request_id()) >= 22
