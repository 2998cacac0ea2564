"""Decisions: the listed reasons, and what exactly an acceptance puts on the exclusion list.

Pure. Reasons for refusing follow the Data Rights Protocol's list, extended for pictures and faces; every decision
also carries the reviewer's own words, because DSA Art 17(3) and GDPR Art 12(4) want the facts, not a label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from optout.errors import NothingToExclude, RequestInvalid
from optout.exclusions.entry import (
    Exclusion,
    FaceExclusion,
    ImageExclusion,
    LinkExclusion,
    Scope,
    State,
    url_hash,
)
from optout.requests import Kind, OptOutRequest, Photo, Step

MAX_TEXT = 2_000


class AcceptReason(StrEnum):
    """Why a request is accepted."""

    SHOWS_REQUESTER = "shows_requester"
    REQUESTERS_PICTURE = "requesters_picture"
    REPRESENTED_PERSON = "represented_person"
    UNLAWFUL_CONTENT = "unlawful_content"
    GOODWILL = "goodwill"


class RejectReason(StrEnum):
    """Why a request is rejected (Data Rights Protocol, extended)."""

    SUSPECTED_FRAUD = "suspected_fraud"
    INSUFFICIENT_VERIFICATION = "insufficient_verification"
    NO_MATCH = "no_match"
    CLAIM_NOT_COVERED = "claim_not_covered"
    OUTSIDE_JURISDICTION = "outside_jurisdiction"
    TOO_MANY_REQUESTS = "too_many_requests"
    FACE_NOT_RECOGNISABLE = "face_not_recognisable"
    PUBLIC_INTEREST = "public_interest"
    OTHER = "other"


class UpholdReason(StrEnum):
    """Why a decision stands after an appeal."""

    FACTS_STAND = "facts_stand"
    RULES_APPLY = "rules_apply"
    OTHER = "other"


class ExtendReason(StrEnum):
    """Why a decision needs more time. The law knows these two only: GDPR Art 12(3), CCPA regulations s.7021(b)."""

    COMPLEX = "complex"
    MANY_REQUESTS = "many_requests"


class RevokeReason(StrEnum):
    """Why an acceptance is taken back."""

    ACCEPTED_BY_MISTAKE = "accepted_by_mistake"
    EXCLUDES_OTHERS = "excludes_others"
    SUSPECTED_FRAUD = "suspected_fraud"
    OTHER = "other"


REASONS: dict[Step, type[StrEnum]] = {
    Step.ACCEPT: AcceptReason,
    Step.ACCEPT_ON_APPEAL: AcceptReason,
    Step.REJECT: RejectReason,
    Step.REVOKE: RevokeReason,
    Step.UPHOLD: UpholdReason,
    Step.EXTEND: ExtendReason,
}

# An acceptance explains itself by its reason; whatever takes something from a person must be put in words.
_NEEDS_TEXT = {Step.REJECT, Step.REVOKE, Step.UPHOLD, Step.EXTEND}


@dataclass(frozen=True)
class Decision:
    """What a reviewer decides. `decision_id` names this very act, so that sending it twice is deciding once."""

    decision_id: str
    step: Step
    reason: str
    text: str
    reviewer: str


def require_reason(step: Step, reason: str, text: str) -> None:
    """Raise `RequestInvalid` unless the reason is on the step's list and the text is there where it must be."""
    problems: dict[str, str] = {}
    if reason not in list(REASONS[step]):
        problems["reason"] = "choose_one"
    if step in _NEEDS_TEXT and not text.strip():
        problems["text"] = "required"
    if len(text) > MAX_TEXT:
        problems["text"] = "too_long"
    if problems:
        raise RequestInvalid(problems)


def exclusion_id(request_id: str, scope: Scope, part: str) -> str:
    """The public id of one exclusion: stable for its case, saying nothing of it (the case id is 128 secret bits)."""
    return hashlib.sha256(f"{request_id}/{scope}/{part}".encode()).hexdigest()[:24]


def exclusions_for(
    request: OptOutRequest, photos: Sequence[Photo], state: State = State.ACCEPTED, *, person: str = "person"
) -> list[Exclusion]:
    """All exclusions that accepting this case puts on the list; `PENDING`, those that hold it back until then.

    A face case excludes one person by the chosen face of each photo; an image case each picture by its SHA-256, its
    eight PDQ codes and its keypoints; a links case each address. `person` names the entry of a face within its case.
    Raises `NothingToExclude` rather than let an acceptance be mailed that no lookup would honour.
    """
    exclusions: list[Exclusion] = []
    if request.kind is Kind.FACE:
        own = [(photo.own_face, photo.face_model) for photo in photos]
        vectors = tuple(face.embedding for face, _ in own if face is not None)
        models = {model for face, model in own if face is not None and model is not None}
        if vectors and len(models) == 1:
            exclusions.append(FaceExclusion(exclusion_id(request.id, Scope.FACE, person), vectors, models.pop(), state))
    elif request.kind is Kind.IMAGE:
        exclusions += [
            ImageExclusion(
                exclusion_id(request.id, Scope.IMAGE, photo.ticket),
                photo.sha256,
                photo.dihedral,
                state,
                photo.keypoints,
            )
            for photo in photos
        ]
    else:
        exclusions += [
            LinkExclusion(exclusion_id(request.id, Scope.LINK, digest.hex()), digest, state)
            for digest in dict.fromkeys(url_hash(link) for link in request.answers.links)
        ]
    if not exclusions:
        raise NothingToExclude
    return exclusions
