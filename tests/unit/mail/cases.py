"""Cases to write letters about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from optout.decisions import REASONS
from optout.requests import (
    Answers,
    DecisionRecord,
    Extension,
    Kind,
    Letter,
    OptOutRequest,
    Question,
    Revocation,
    Status,
    Step,
)
from optout.store import DueLetter, LetterKey

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
ANSWERS = Answers("DE", "This is private", "Amélie", "Müller", "amelie@example.org")
TEXT = "Both photos show you from behind.\nPlease <b>send</b> one from the front."

# Every letter, with the step that makes it due.
STEPS: dict[Letter, tuple[Step, ...]] = {
    Letter.RECEIVED: (Step.CONFIRM,),
    Letter.ACCEPTED: (Step.ACCEPT, Step.ACCEPT_ON_APPEAL),
    Letter.REJECTED: (Step.REJECT,),
    Letter.WITHDRAWN: (Step.WITHDRAW,),
    Letter.REVOKED: (Step.REVOKE,),
    Letter.QUESTION: (Step.ASK,),
    Letter.EXTENDED: (Step.EXTEND,),
    Letter.APPEAL_RECEIVED: (Step.APPEAL,),
    Letter.UPHELD: (Step.UPHOLD,),
}
# A new photo is asked for where a face was accepted, by a change of the model and no step.
ASKED = (Kind.FACE, Letter.NEW_PHOTO, Step.ACCEPT, None)
ALL = [ASKED] + [
    (kind, letter, step, reason)
    for kind in Kind
    for letter, steps in STEPS.items()
    for step in steps
    for reason in list(REASONS.get(step, [None]))
]


def due_letter(kind: Kind, letter: Letter, step: Step, reason: str | None, *, answers: Answers = ANSWERS) -> DueLetter:
    """The letter that a step of this kind makes due."""
    if kind is Kind.LINKS:
        answers = replace(answers, links=("https://a.example/1", "https://a.example/2"))
    request = OptOutRequest(
        id="case-id-of-22-letters.",
        number="K7MQ-29XD",
        kind=kind,
        status=Status.PENDING,
        version=3,
        answers=answers,
        email_hash="hash",
        created_at=NOW,
        photos=() if kind is Kind.LINKS else ("ticket",),
        confirmed_at=NOW,
        due_at=NOW + timedelta(hours=72),
        due_rule="house_face",
    )
    accepted = DecisionRecord("d", Step.ACCEPT, "shows_requester", "", "anna", NOW)
    if letter is Letter.REVOKED and reason is not None:
        request = replace(
            request, status=Status.REVOKED, decision=accepted, revocation=Revocation(reason, TEXT, "bo", NOW)
        )
    elif letter is Letter.NEW_PHOTO:
        request = replace(request, status=Status.ACCEPTED, decision=accepted, new_photo_asked_at=NOW)
    elif letter is Letter.QUESTION:
        request = replace(request, status=Status.WAITING, question=Question(TEXT, "anna", NOW))
    elif letter is Letter.EXTENDED and reason is not None:
        later = Extension(NOW + timedelta(hours=72), reason, TEXT, "anna", NOW)
        request = replace(request, extension=later, due_at=NOW + timedelta(days=20), due_rule="extended")
    elif letter in {Letter.APPEAL_RECEIVED, Letter.UPHELD}:
        refused = DecisionRecord("d", Step.REJECT, "no_match", "first words", "anna", NOW - timedelta(days=1))
        request = replace(request, status=Status.REJECTED, decision=refused)
        if reason is None:
            due = NOW + timedelta(days=14)
            request = replace(request, appealed_at=NOW, due_at=due, due_rule="house_appeal")
        else:
            request = replace(request, upheld=DecisionRecord("u", step, reason, TEXT, "bo", NOW))
    elif letter is Letter.WITHDRAWN:
        request = replace(request, status=Status.WITHDRAWN, decision=accepted, withdrawn_at=NOW)
    elif reason is not None:
        decision = DecisionRecord("d", step, reason, TEXT, "anna", NOW)
        request = replace(request, status=Status(letter.value), decision=decision)
    return DueLetter(LetterKey(request.id, 3), letter, request)
