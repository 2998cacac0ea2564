"""The Requests table and the photos bucket: every condition of every state change lives here.

    pk = "case#<id>"   sk = "case"              the case: state, version, answers, decision
                       sk = "photo#<ticket>"    an examined photo and what was seen on it; not of the case any more
                                                unless the case names its ticket
                       sk = "event#<version>"   one line of its history
                       sk = "letter#<version>"  a letter that is due, then sent: the outbox
                       sk = "view#<time>#<n>"   a reviewer looked at a photo
    pk = "number#<number>", sk = "case"         which case a quoted number belongs to
    pk = "exclusion#<id>",  sk = "case"         which case put an exclusion on the list
    pk = "mail#<hash>",     sk = "letter"       which letter a message id of SES belongs to
    pk = "suppressed#<email hash>", sk = "mail" no letter goes to this address
    pk = "review#<sha256>", sk = "<exclusion>"  a doubtful hit that a person looks at: candidate, exclusion, answer
    pk = "held#<email hash>",   sk = "address"  how many exclusions hold back for this address, by case
    pk = "held#<day>",          sk = "day"      how many exclusions began to hold back on this day
    pk = "hashed#<email hash>", sk = "<month>"  how many pictures this address sent by code only

A change reads the case, asks the transition table, and writes in ONE transaction: the case (on condition that its
version is still the one that was read), the event, the letter that became due, and - when the exclusion list is
affected - the log item and the log's head. If the case has changed in between, it is read and judged again, so no
decision rests on an earlier read; a moved head is told apart from a changed case by DynamoDB's cancellation reasons.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from optout import deadlines, settings
from optout.decisions import Decision, exclusions_for, require_reason
from optout.errors import (
    AlreadyConfirmed,
    AlreadyDecided,
    AppealClosed,
    DecisionTooLarge,
    EnoughTested,
    ExclusionNotFound,
    HeadContended,
    LetterNotSentAgain,
    LinkInvalid,
    NoExtension,
    NothingToExclude,
    PhotoNotFound,
    RequestInvalid,
    RequestNotFound,
    ReviewNotFound,
    SameReviewer,
    StateConflict,
    TooManyHashed,
    TooManyMessages,
    TooManyPhotos,
)
from optout.exclusions.entry import Exclusion, State
from optout.exclusions.fold import in_force
from optout.exclusions.log import (
    Add,
    Answer,
    Change,
    ExclusionLog,
    Remove,
    Resume,
    Suspend,
    Version,
    from_attributes,
    to_attributes,
)
from optout.provisional import HELD_PER_DAY, refusal
from optout.requests import (
    DECIDED_AGAINST,
    HASHED_PER_MONTH,
    MAX_PHOTOS,
    OPEN,
    TRANSITIONS,
    Actor,
    Answers,
    CaseEvent,
    DecisionRecord,
    Extension,
    Hold,
    Kind,
    Lane,
    Letter,
    ListEffect,
    MailProblem,
    MailTrouble,
    OptOutRequest,
    Photo,
    ProposedCrop,
    Question,
    RelatedCase,
    Relation,
    Revocation,
    SeenFace,
    Status,
    Step,
    Suspension,
    Unheld,
    copies_of,
    new_number,
    new_request_id,
    new_ticket,
    require_complete,
)
from optout.reviews import Doubt, Review, Sign

# The view of the queue index that holds the open reviews.
_OPEN_REVIEWS = "reviews"
# Distances in items are whole numbers of this part of 1.
_FINE = 10_000

MAX_UPLOAD_BYTES = 25_000_000
UPLOAD_LIFETIME_S = 15 * 60
# Pictures that can be tested before a new test is begun: each costs about a second of a processor.
MAX_TESTED = 20
VIEW_LIFETIME_S = 5 * 60

# The log has one head, so decisions of the same instant queue up behind it: of those that saw the same head one gets
# through. A hundred at once take a few seconds so; API Gateway gives up after 29.
HEAD_PATIENCE_S = 20.0
# Full jitter (AWS Architecture Blog, "Exponential Backoff and Jitter"): many contenders waste the fewest tries with it.
_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.02, 1.0
# A case is changed by one requester and a few reviewers; more rounds than this are a fault, not a race.
CASE_ROUNDS = 10

# Cases and drafts of an address, the newest, in which a picture is looked for that was sent before: two reads each.
EARLIER_CASES = 20

# A letter is late, and the sweep forwards it, when the stream has not got it sent within this time (usually 1 s).
LETTER_GRACE = timedelta(seconds=30)
# Then SQS has it: five receipts, 180 s apart. Only when it has had time for all of them is it forwarded once more.
LETTER_FORWARDED_AGAIN = timedelta(minutes=20)


# --------------------------------------------------------------------------------------------- items and their models


def _case_key(request_id: str) -> str:
    return f"case#{request_id}"


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _iso(value: datetime) -> str:
    """UTC with microseconds, always the same width, so that text order is time order."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def _present(item: dict[str, Any]) -> dict[str, Any]:
    """Without the attributes that say nothing: DynamoDB keys of sparse indexes must be absent, not null."""
    return {name: value for name, value in item.items() if value is not None}


def _decision(item: dict[str, Any]) -> DecisionRecord:
    return DecisionRecord(**(item | {"step": Step(item["step"]), "at": datetime.fromisoformat(item["at"])}))


def _decision_item(record: DecisionRecord) -> dict[str, Any]:
    return _present(
        {
            "decision_id": record.decision_id,
            "step": record.step.value,
            "reason": record.reason,
            "text": record.text,
            "reviewer": record.reviewer,
            "at": _iso(record.at),
            "list_version": record.list_version,
        }
    )


def _revocation_item(revocation: Revocation) -> dict[str, Any]:
    return _present(
        {
            "reason": revocation.reason,
            "text": revocation.text,
            "reviewer": revocation.reviewer,
            "at": _iso(revocation.at),
            "confirmed_by": revocation.confirmed_by,
            "confirmed_at": _iso(revocation.confirmed_at) if revocation.confirmed_at else None,
        }
    )


def _case_item(request: OptOutRequest) -> dict[str, Any]:
    answers = request.answers
    item = {
        "pk": _case_key(request.id),
        "sk": "case",
        "id": request.id,
        "number": request.number,
        "kind": request.kind.value,
        "status": request.status.value,
        "version": request.version,
        "answers": _present(
            {
                "country": answers.country,
                "explanation": answers.explanation,
                "first_name": answers.first_name,
                "last_name": answers.last_name,
                "email": answers.email,
                "phone": answers.phone,
                "represented": answers.represented,
                "biometric_consent": answers.biometric_consent,
                "good_faith": answers.good_faith,
                "links": list(answers.links),
                "relation": answers.relation.value,
            }
        ),
        "email_hash": request.email_hash,
        "created_at": _iso(request.created_at),
        "photos": list(request.photos),
        "confirmed_at": _iso(request.confirmed_at) if request.confirmed_at else None,
        "due_at": _iso(request.due_at) if request.due_at else None,
        "due_rule": request.due_rule,
        "decision": _decision_item(request.decision) if request.decision else None,
        "revocation": _revocation_item(request.revocation) if request.revocation else None,
        "withdrawn_at": _iso(request.withdrawn_at) if request.withdrawn_at else None,
        "exclusions": list(request.exclusions),
        "link_version": request.link_version,
        "suspensions": [
            {"exclusion_id": each.exclusion_id, "actor": each.actor, "at": _iso(each.at), "version": each.list_version}
            for each in request.suspensions
        ],
        "verified_at": _iso(request.verified_at) if request.verified_at else None,
        "hold": {
            "exclusions": list(request.hold.exclusions),
            "since": _iso(request.hold.since),
            "list_version": request.hold.list_version,
        }
        if request.hold
        else None,
        "unheld": request.unheld.value if request.unheld else None,
        "unproven": request.unproven or None,
        "repeats": list(request.repeats) or None,
        "suspected": request.suspected or None,
        "sent_again": [_iso(at) for at in request.sent_again] or None,
        "mail_problem": {"trouble": request.mail_problem.trouble.value, "at": _iso(request.mail_problem.at)}
        if request.mail_problem
        else None,
        "adds_to": request.adds_to,
        "added": list(request.added) or None,
        "photos_decided_at": _iso(request.photos_decided_at) if request.photos_decided_at else None,
        "new_photo_asked_at": _iso(request.new_photo_asked_at) if request.new_photo_asked_at else None,
        "language": request.language,
        "lane": request.lane.value if request.lane.urgent else None,
        "question": {
            "text": request.question.text,
            "reviewer": request.question.reviewer,
            "at": _iso(request.question.at),
        }
        if request.question
        else None,
        "messages": request.messages or None,
        "extension": {
            "before": _iso(request.extension.before),
            "reason": request.extension.reason,
            "text": request.extension.text,
            "reviewer": request.extension.reviewer,
            "at": _iso(request.extension.at),
        }
        if request.extension
        else None,
        "appealed_at": _iso(request.appealed_at) if request.appealed_at else None,
        "upheld": _decision_item(request.upheld) if request.upheld else None,
        "hashed": list(request.hashed) or None,
    }
    if request.status is Status.DRAFT:
        item["expires_at"] = int((request.created_at + deadlines.DRAFT_BACKSTOP).timestamp())
    else:
        accepted = request.status is Status.ACCEPTED
        views = {
            "appeal": request.appealed_at,
            "revocation": accepted and request.revocation,
            "suspended": accepted and request.suspensions,
            "added": accepted and request.added,
            "urgent": request.status is Status.PENDING and request.lane.urgent,
        }
        if not request.waits_for_address:
            item["queue"] = next((view for view, applies in views.items() if applies), request.status.value)
    return _present(item | _falls_due(request))


def _falls_due(request: OptOutRequest) -> dict[str, str]:
    """What the retention sweep does next with a case, and when."""
    if request.status is Status.DRAFT:
        return {"sweep": "draft", "sweep_at": _iso(request.created_at + deadlines.DRAFT_LIFETIME)}
    if request.withdrawn_at:
        return {"sweep": "photos", "sweep_at": _iso(request.withdrawn_at + deadlines.WITHDRAWN_PHOTOS_KEPT)}
    if request.waits_for_address and request.confirmed_at:
        return {"sweep": "unverified", "sweep_at": _iso(request.confirmed_at + deadlines.UNVERIFIED_KEPT)}
    last = _last_decided_at(request)
    waiting = request.undecided or (request.status is Status.ACCEPTED and request.added)
    if last is not None and not waiting:
        return {"sweep": "photos", "sweep_at": _iso(last + deadlines.APPEAL_WINDOW)}
    return {}


def _last_decided_at(request: OptOutRequest) -> datetime | None:
    """When reviewers last decided about the case: an acceptance, a rejection, the revocation after it, an appeal, added
    photos."""
    if request.upheld is not None:
        return request.upheld.at
    if request.revocation is not None and request.revocation.confirmed_at is not None:
        return request.revocation.confirmed_at
    if request.decision is None:
        return None
    return max(request.decision.at, request.photos_decided_at or request.decision.at)


def _case(item: dict[str, Any]) -> OptOutRequest:
    answers = item["answers"]
    decision, revocation, problem = item.get("decision"), item.get("revocation"), item.get("mail_problem")
    hold, question, extension = item.get("hold"), item.get("question"), item.get("extension")
    return OptOutRequest(
        id=item["id"],
        number=item["number"],
        kind=Kind(item["kind"]),
        status=Status(item["status"]),
        version=item["version"],
        answers=Answers(**(answers | {"links": tuple(answers["links"]), "relation": _relation(answers)})),
        email_hash=item["email_hash"],
        created_at=datetime.fromisoformat(item["created_at"]),
        photos=tuple(item["photos"]),
        confirmed_at=_time(item.get("confirmed_at")),
        due_at=_time(item.get("due_at")),
        due_rule=item.get("due_rule"),
        decision=_decision(decision) if decision else None,
        revocation=Revocation(
            **(
                revocation
                | {
                    "at": datetime.fromisoformat(revocation["at"]),
                    "confirmed_at": _time(revocation.get("confirmed_at")),
                }
            )
        )
        if revocation
        else None,
        withdrawn_at=_time(item.get("withdrawn_at")),
        exclusions=tuple(item["exclusions"]),
        link_version=item["link_version"],
        suspensions=tuple(
            Suspension(each["exclusion_id"], each["actor"], datetime.fromisoformat(each["at"]), each["version"])
            for each in item.get("suspensions", ())
        ),
        mail_problem=MailProblem(MailTrouble(problem["trouble"]), datetime.fromisoformat(problem["at"]))
        if problem
        else None,
        adds_to=item.get("adds_to"),
        added=tuple(item.get("added", ())),
        photos_decided_at=_time(item.get("photos_decided_at")),
        new_photo_asked_at=_time(item.get("new_photo_asked_at")),
        verified_at=_time(item.get("verified_at")),
        hold=Hold(tuple(hold["exclusions"]), datetime.fromisoformat(hold["since"]), hold["list_version"])
        if hold
        else None,
        unheld=Unheld(item["unheld"]) if "unheld" in item else None,
        lane=Lane(item.get("lane", Lane.ORDINARY)),
        unproven=item.get("unproven", False),
        repeats=tuple(item.get("repeats", ())),
        suspected=item.get("suspected", False),
        hashed=tuple(item.get("hashed", ())),
        sent_again=tuple(datetime.fromisoformat(at) for at in item.get("sent_again", ())),
        language=item.get("language", "en"),  # older cases have none
        question=Question(question["text"], question["reviewer"], datetime.fromisoformat(question["at"]))
        if question
        else None,
        messages=item.get("messages", 0),
        extension=Extension(
            datetime.fromisoformat(extension["before"]),
            extension["reason"],
            extension["text"],
            extension["reviewer"],
            datetime.fromisoformat(extension["at"]),
        )
        if extension
        else None,
        appealed_at=_time(item.get("appealed_at")),
        upheld=_decision(item["upheld"]) if "upheld" in item else None,
    )


def _relation(answers: dict[str, Any]) -> Relation:
    """Cases of before the question was asked know only whether somebody is represented."""
    return Relation(answers.get("relation", Relation.OTHER if "represented" in answers else Relation.SELF))


def _photo_item(request: OptOutRequest, photo: Photo) -> dict[str, Any]:
    return _present(
        {
            "pk": _case_key(request.id),
            "sk": f"photo#{photo.ticket}",
            "ticket": photo.ticket,
            "sha256": photo.sha256,
            "picture": photo.picture,
            "width": photo.width,
            "height": photo.height,
            "quality": photo.quality,
            "dihedral": list(photo.dihedral),
            "keypoints": photo.keypoints,
            "faces": None
            if photo.faces is None
            else [
                {"box": list(face.box), "score": round(face.score * 1_000), "embedding": face.embedding}
                for face in photo.faces
            ],
            "face_model": photo.face_model,
            "chosen_face": photo.chosen_face,
            "face_problem": photo.face_problem,
            "proposed": None
            if photo.proposed is None
            else _present(asdict(photo.proposed) | {"dihedral": list(photo.proposed.dihedral)}),
            "cropped": photo.cropped,
            "expires_at": int((request.created_at + deadlines.DRAFT_BACKSTOP).timestamp()),
        }
    )


def _photo(item: dict[str, Any]) -> Photo:
    faces, proposed = item.get("faces"), item.get("proposed")
    return Photo(
        ticket=item["ticket"],
        sha256=item["sha256"],
        picture=item.get("picture"),
        width=item["width"],
        height=item["height"],
        quality=item["quality"],
        dihedral=tuple(item["dihedral"]),
        keypoints=item.get("keypoints"),
        faces=None
        if faces is None
        else tuple(SeenFace(tuple(face["box"]), face["score"] / 1_000, face["embedding"]) for face in faces),
        face_model=item.get("face_model"),
        chosen_face=item.get("chosen_face"),
        face_problem=item.get("face_problem"),
        proposed=None
        if proposed is None
        else ProposedCrop(**(proposed | {"box": tuple(proposed["box"]), "dihedral": tuple(proposed["dihedral"])})),
        cropped=item.get("cropped"),
    )


@dataclass(frozen=True)
class LetterKey:
    """Which letter: its case and the version of the case that made it due."""

    request_id: str
    version: int

    @property
    def letter_id(self) -> str:
        """The letter's public id: the same however often it has to be sent, and saying nothing of the case."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:20]

    def to_json(self) -> str:
        """The message on the mail queue."""
        return json.dumps({"request_id": self.request_id, "version": self.version})

    @classmethod
    def from_json(cls, text: str) -> LetterKey:
        """The letter named by a message of the mail queue."""
        message = json.loads(text)
        return cls(str(message["request_id"]), int(message["version"]))

    @classmethod
    def of_item(cls, pk: str, sk: str) -> LetterKey:
        """The letter whose item has these keys."""
        return cls(pk.removeprefix("case#"), int(sk.removeprefix("letter#")))

    @property
    def keys(self) -> dict[str, str]:
        """The item's keys."""
        return {"pk": _case_key(self.request_id), "sk": f"letter#{self.version:06d}"}


@dataclass(frozen=True)
class DueLetter:
    """A letter that this sender, and no other for the moment, is to send."""

    key: LetterKey
    letter: Letter
    request: OptOutRequest


def _mail_key(message_id: str) -> dict[str, str]:
    """Hashed, because a key may be any length and a message id is whatever SES says it is."""
    return {"pk": f"mail#{hashlib.sha256(message_id.encode()).hexdigest()}", "sk": "letter"}


def _review_key(sha256: str, exclusion_id: str) -> dict[str, str]:
    return {"pk": f"review#{sha256}", "sk": exclusion_id}


def _review_item(doubt: Doubt, now: datetime) -> dict[str, Any]:
    return {
        **_review_key(doubt.sha256, doubt.exclusion_id),
        "url": doubt.url,
        "signs": [
            {
                "signal": sign.signal,
                "distance": round(sign.distance * _FINE),
                "threshold": round(sign.threshold * _FINE),
            }
            for sign in doubt.signs
        ],
        "queue": _OPEN_REVIEWS,
        "due_at": _iso(now),
        "sweep": "review",
        "sweep_at": _iso(now + deadlines.REVIEWS_KEPT),
    }


def _review(item: dict[str, Any]) -> Review:
    signs = tuple(Sign(sign["signal"], sign["distance"] / _FINE, sign["threshold"] / _FINE) for sign in item["signs"])
    return Review(
        Doubt(item["pk"].removeprefix("review#"), item["sk"], item["url"], signs),
        datetime.fromisoformat(item["due_at"]),
        item.get("same"),
        item.get("reviewer"),
        _time(item.get("answered_at")),
    )


def _suppressed_key(email_hash: str) -> dict[str, str]:
    return {"pk": f"suppressed#{email_hash}", "sk": "mail"}


def _held_key(whose: str, kind: str) -> dict[str, str]:
    return {"pk": f"held#{whose}", "sk": kind}


def _conditions_failed(error: ClientError) -> list[Any]:
    """The cancellation reasons of a transaction, one for each of its parts."""
    if error.response["Error"]["Code"] != "TransactionCanceledException":
        raise error
    return list(error.response.get("CancellationReasons", []))


_PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


# ------------------------------------------------------------------------------------------------------------ requests


class Requests:
    """The table of opt-out requests. Each method is one read or one conditional write."""

    def __init__(
        self,
        table: str,
        log: ExclusionLog | None,
        client: Any,
        *,
        patience_s: float = HEAD_PATIENCE_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._given_log = log
        self._client = client
        self._patience_s = patience_s
        self._pause = pause

    @classmethod
    def from_settings(cls) -> Requests:
        """The table of this deployment. Its log is opened when a step needs it: most functions may not even see it."""
        return cls(settings.requests_table(), None, settings.aws("dynamodb"))

    @property
    def _log(self) -> ExclusionLog:
        return self._given_log or ExclusionLog.from_settings()

    # ---- reads

    def get(self, request_id: str, now: datetime) -> OptOutRequest:
        """The case with this id, read strongly. Raises `RequestNotFound`, also for a draft whose day is over."""
        answer = self._client.get_item(
            TableName=self._table,
            Key=to_attributes({"pk": _case_key(request_id), "sk": "case"}),
            ConsistentRead=True,
        )
        if "Item" not in answer:
            raise RequestNotFound
        item = from_attributes(answer["Item"])
        if item.get("expiring"):
            raise RequestNotFound
        request = _case(item)
        if request.status is Status.DRAFT and request.created_at + deadlines.DRAFT_LIFETIME <= now:
            raise RequestNotFound
        return request

    def by_number(self, number: str, now: datetime) -> OptOutRequest:
        """The confirmed case with this number. Raises `RequestNotFound`."""
        answer = self._client.get_item(
            TableName=self._table,
            Key=to_attributes({"pk": f"number#{number.strip().upper()}", "sk": "case"}),
            ConsistentRead=True,
        )
        if "Item" not in answer:
            raise RequestNotFound
        return self.get(from_attributes(answer["Item"])["id"], now)

    def photos(self, request_id: str) -> list[Photo]:
        """The case's examined photos, in the order of upload."""
        items = self._items(request_id, "photo#")
        order = {ticket: place for place, ticket in enumerate(self._order(request_id))}
        photos = [_photo(item) for item in items if item["ticket"] in order]
        return sorted(photos, key=lambda photo: order[photo.ticket])

    def _order(self, request_id: str) -> list[str]:
        answer = self._client.get_item(
            TableName=self._table,
            Key=to_attributes({"pk": _case_key(request_id), "sk": "case"}),
            ConsistentRead=True,
            ProjectionExpression="photos",
        )
        return list(from_attributes(answer.get("Item", {})).get("photos", []))

    def _items(self, request_id: str, prefix: str = "") -> list[dict[str, Any]]:
        condition, values = "pk = :pk", {":pk": _case_key(request_id)}
        if prefix:
            condition, values = f"{condition} AND begins_with(sk, :prefix)", {**values, ":prefix": prefix}
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=to_attributes(values),
        )
        return [from_attributes(attributes) for page in pages for attributes in page["Items"]]

    def history(self, request_id: str) -> list[CaseEvent]:
        """What happened to the case, oldest first; reviewers' looks at photos included."""
        events = [
            CaseEvent(
                item["version"],
                item["name"],
                datetime.fromisoformat(item["at"]),
                item["actor"],
                Status(item["status"]),
                item.get("exclusion_id"),
                item.get("text"),
            )
            for prefix in ("event#", "view#")
            for item in self._items(request_id, prefix)
        ]
        return sorted(events, key=lambda event: (event.at, event.version))

    def queue(self, view: str, limit: int = 100) -> list[OptOutRequest]:
        """The cases of one view by due date, the most urgent first: a status, `appeal` for open appeals, `revocation`
        for proposed ones, or `suspended` for accepted ones of which an exclusion holds back only, `added` for those
        with new photos.

        `pending` begins with those of the urgent lanes: at most `limit` of these, then at most `limit` of the others.
        """
        views = ("urgent", view) if view == Status.PENDING else (view,)
        return [_case(item) for each in views for item in self._queued(each, limit)]

    def _queued(self, view: str, limit: int) -> list[dict[str, Any]]:
        """The items of one view of the queue, the most urgent first."""
        answer = self._client.query(
            TableName=self._table,
            IndexName="Queue",
            KeyConditionExpression="queue = :view",
            ExpressionAttributeValues=to_attributes({":view": view}),
            Limit=limit,
        )
        return [from_attributes(item) for item in answer["Items"]]

    def related(self, request: OptOutRequest, photos: Sequence[Photo]) -> list[RelatedCase]:
        """Other confirmed cases with the same address or the same picture."""
        same: dict[str, set[str]] = {}
        lookups = [("Address", "email_hash", request.email_hash, "address")]
        lookups += [("Picture", "picture", photo.picture, "picture") for photo in photos if photo.picture]
        for index, attribute, value, name in lookups:
            answer = self._client.query(
                TableName=self._table,
                IndexName=index,
                KeyConditionExpression=f"{attribute} = :value",
                ExpressionAttributeValues=to_attributes({":value": value}),
                Limit=50,
            )
            for item in answer["Items"]:
                other = from_attributes(item)["pk"].removeprefix("case#")
                if other != request.id:
                    same.setdefault(other, set()).add(name)
        found = []
        for other, names in same.items():
            case = self._confirmed(other)
            if case is not None:
                found.append(RelatedCase(case.id, case.number, case.kind, case.status, frozenset(names)))
        return sorted(found, key=lambda case: case.number)

    def _confirmed(self, request_id: str) -> OptOutRequest | None:
        try:
            case = self.get(request_id, datetime.now(UTC))
        except RequestNotFound:
            return None
        return None if case.status is Status.DRAFT else case

    # ---- the draft

    def create_draft(
        self,
        kind: Kind,
        answers: Answers,
        email_hash: str,
        now: datetime,
        *,
        language: str = "en",
        lane: Lane = Lane.ORDINARY,
        adding_to: OptOutRequest | None = None,
        suspected: bool = False,
    ) -> OptOutRequest:
        """A new draft under a new unguessable id. `language` is its requester's, `adding_to` the case that its photos
        are for, if there is one."""
        request = OptOutRequest(
            id=new_request_id(),
            number=new_number(),
            kind=kind,
            status=Status.DRAFT,
            version=1,
            answers=answers,
            email_hash=email_hash,
            created_at=now,
            suspected=suspected,
            adds_to=adding_to.id if adding_to else None,
            link_version=adding_to.link_version if adding_to else 1,
            language=language,
            lane=adding_to.lane if adding_to else lane,
        )
        self._client.put_item(
            TableName=self._table,
            Item=to_attributes(_case_item(request)),
            ConditionExpression="attribute_not_exists(pk)",
        )
        return request

    def edit_draft(
        self, request_id: str, answers: Answers, email_hash: str, now: datetime, *, suspected: bool = False
    ) -> OptOutRequest:
        """The draft with other answers. Who was suspected once stays so. Raises `AlreadyConfirmed`."""

        def edit(draft: OptOutRequest) -> tuple[OptOutRequest, list[dict[str, Any]]]:
            changed = replace(draft, answers=answers, email_hash=email_hash, suspected=draft.suspected or suspected)
            return changed, []

        return self._change_draft(request_id, now, edit)

    def add_photo(self, request_id: str, photo: Photo, now: datetime) -> OptOutRequest:
        """Record an examined photo, or the codes of one. The first record of a ticket stands. Raises `TooManyPhotos`,
        `AlreadyConfirmed`, `StateConflict` for codes where none are taken, and what `room` raises."""

        def add(draft: OptOutRequest) -> tuple[OptOutRequest, list[dict[str, Any]]]:
            if photo.ticket in draft.photos:
                return draft, []
            if len(draft.photos) >= self.room(draft, now):
                raise TooManyPhotos
            if photo.picture is None and not draft.takes_codes:
                raise StateConflict
            put = {
                "Put": {
                    "TableName": self._table,
                    "Item": to_attributes(_photo_item(draft, photo)),
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            }
            hashed = (*draft.hashed, photo.ticket) if photo.picture is None else draft.hashed
            return replace(draft, photos=(*draft.photos, photo.ticket), hashed=hashed), [put]

        return self._change_draft(request_id, now, add)

    def choose_face(self, request_id: str, ticket: str, face: int, now: datetime) -> OptOutRequest:
        """Say which face is the requester's. Raises `PhotoNotFound`, `RequestInvalid`, `AlreadyConfirmed`."""

        def choose(draft: OptOutRequest) -> tuple[OptOutRequest, list[dict[str, Any]]]:
            photo = next((found for found in self.photos(draft.id) if found.ticket == ticket), None)
            if photo is None:
                raise PhotoNotFound
            if not photo.faces or not 0 <= face < len(photo.faces):
                raise RequestInvalid({"face": "choose_one"})
            update = {
                "Update": {
                    "TableName": self._table,
                    "Key": to_attributes({"pk": _case_key(draft.id), "sk": f"photo#{ticket}"}),
                    "UpdateExpression": "SET chosen_face = :face",
                    "ConditionExpression": "attribute_exists(pk)",
                    "ExpressionAttributeValues": to_attributes({":face": face}),
                }
            }
            return replace(draft), [update]

        return self._change_draft(request_id, now, choose)

    def choose_crop(self, request_id: str, ticket: str, now: datetime, *, cropped: bool) -> Photo:
        """Say whether the photo is the part that was proposed or the whole, and forget the other one; its copy is the
        caller's to discard. The first word stands. Returns the photo as it was before; raises `PhotoNotFound` and
        `AlreadyConfirmed`."""
        seen: list[Photo] = []

        def choose(draft: OptOutRequest) -> tuple[OptOutRequest, list[dict[str, Any]]]:
            photo = next((found for found in self.photos(draft.id) if found.ticket == ticket), None)
            if photo is None:
                raise PhotoNotFound
            seen.append(photo)
            if photo.proposed is None:
                return draft, []
            put = {
                "Put": {
                    "TableName": self._table,
                    "Item": to_attributes(_photo_item(draft, photo.settled(cropped=cropped))),
                    "ConditionExpression": "attribute_exists(proposed)",
                }
            }
            return replace(draft), [put]

        self._change_draft(request_id, now, choose)
        return seen[-1]

    def remove_photo(self, request_id: str, ticket: str, now: datetime) -> OptOutRequest:
        """Take a photo out of the draft again. Raises `PhotoNotFound`, `AlreadyConfirmed`."""

        def remove(draft: OptOutRequest) -> tuple[OptOutRequest, list[dict[str, Any]]]:
            if ticket not in draft.photos:
                raise PhotoNotFound
            delete = {
                "Delete": {
                    "TableName": self._table,
                    "Key": to_attributes({"pk": _case_key(draft.id), "sk": f"photo#{ticket}"}),
                }
            }
            photos, hashed = (tuple(each for each in of if each != ticket) for of in (draft.photos, draft.hashed))
            return replace(draft, photos=photos, hashed=hashed), [delete]

        return self._change_draft(request_id, now, remove)

    def _change_draft(
        self,
        request_id: str,
        now: datetime,
        change: Callable[[OptOutRequest], tuple[OptOutRequest, list[dict[str, Any]]]],
    ) -> OptOutRequest:
        """One write of the draft and what belongs to it; read and judged again when it changed in between."""
        for _ in self._rounds():
            draft = self.get(request_id, now)
            if draft.sent:
                raise AlreadyConfirmed
            changed, parts = change(draft)
            if changed is draft:
                return draft
            changed = replace(changed, version=draft.version + 1)
            if self._write([self._put_case(changed, draft.version), *parts]):
                return changed
        raise StateConflict

    def confirm(
        self, request_id: str, now: datetime, *, language: str | None = None, proven: bool = True
    ) -> OptOutRequest:
        """Turn the draft into a case: due date set, letter due, in one write. Confirming twice is confirming once.
        `language` is what its requester reads now, if that is known. A case that is not `proven` by work enters the
        reviewers' queue only when its address is verified.

        A draft of added photos joins its case instead, which is returned. Raises `DraftIncomplete`, `TooManyHashed`;
        for added photos also `TooManyPhotos`, `StateConflict` when the case takes none any more, and what `room`
        raises.
        """
        row = TRANSITIONS[Step.CONFIRM, Status.DRAFT]
        for attempt in self._rounds():
            draft = self.get(request_id, now)
            if draft.adds_to is not None:
                return self._join(draft.id, now)
            if draft.sent:
                return draft
            photos = self.photos(draft.id)
            require_complete(draft, photos)
            due = deadlines.due(draft.kind, draft.answers.country, now, urgent=draft.lane.urgent)
            case = replace(
                draft,
                status=row.target,
                version=draft.version + 1,
                number=draft.number if attempt == 0 else new_number(),
                confirmed_at=now,
                due_at=due.at,
                due_rule=due.rule,
                language=language or draft.language,
                unproven=not proven,
                repeats=self._repeated(draft, photos),
            )
            keep = [
                {
                    "Update": {
                        "TableName": self._table,
                        "Key": to_attributes({"pk": _case_key(draft.id), "sk": f"photo#{ticket}"}),
                        "UpdateExpression": "REMOVE expires_at",
                        "ConditionExpression": "attribute_exists(pk)",
                    }
                }
                for ticket in draft.photos
            ]
            number = {
                "Put": {
                    "TableName": self._table,
                    "Item": to_attributes({"pk": f"number#{case.number}", "sk": "case", "id": case.id}),
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            }
            if self._write(
                [
                    self._put_case(case, draft.version),
                    *keep,
                    *self._count_hashed(draft, now),
                    number,
                    self._put_event(case, Step.CONFIRM, Actor.REQUESTER, now),
                    *self._put_letter_of(case, Step.CONFIRM, draft.status, now),
                ]
            ):
                return case
        raise StateConflict

    def _repeated(self, draft: OptOutRequest, photos: Sequence[Photo]) -> tuple[str, ...]:
        """Numbers of earlier cases of the same address with one of these pictures, the newest first."""
        shown = {code for photo in photos for code in (photo.picture, photo.sha256) if code}
        if not shown:
            return ()
        answer = self._client.query(
            TableName=self._table,
            IndexName="Address",
            KeyConditionExpression="email_hash = :address",
            FilterExpression="#status <> :draft",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues=to_attributes({":address": draft.email_hash, ":draft": Status.DRAFT.value}),
            ScanIndexForward=False,
            Limit=EARLIER_CASES,
        )
        earlier = [from_attributes(item) for item in answer["Items"]]
        return tuple(
            case["number"]
            for case in earlier
            if any({photo.picture, photo.sha256} & shown for photo in self.photos(case["pk"].removeprefix("case#")))
        )

    def _count_hashed(self, draft: OptOutRequest, now: datetime) -> list[dict[str, Any]]:
        """What is written when a draft's pictures that came by code are sent. Raises `TooManyHashed`."""
        more = len(draft.hashed)
        if not more:
            return []
        month = {"pk": f"hashed#{draft.email_hash}", "sk": f"{now.astimezone(UTC):%Y-%m}"}
        if (self._get(**month) or {"sent": 0})["sent"] + more > HASHED_PER_MONTH:
            raise TooManyHashed
        count = {
            "Update": {
                "TableName": self._table,
                "Key": to_attributes(month),
                "UpdateExpression": "SET expires_at = :over ADD sent :more",
                "ConditionExpression": "attribute_not_exists(sent) OR sent <= :room",
                "ExpressionAttributeValues": to_attributes(
                    {
                        ":more": more,
                        ":room": HASHED_PER_MONTH - more,
                        ":over": int((now + deadlines.HASHED_COUNTED).timestamp()),
                    }
                ),
            }
        }
        return [count]

    # ---- photos that come later

    def begin_addition(self, case: OptOutRequest, now: datetime) -> OptOutRequest:
        """A draft for photos that are to be added to a case. It becomes a part of the case when it is confirmed.

        Raises `TooManyPhotos`, and `StateConflict` when the case takes no photos.
        """
        _require_takes_photos(case)
        return self.create_draft(case.kind, case.answers, case.email_hash, now, adding_to=case)

    def room(self, draft: OptOutRequest, now: datetime) -> int:
        """How many photos the draft can hold. Raises `LinkInvalid` when the link that began an addition was revoked
        since, `RequestNotFound` when its case is gone."""
        if not draft.takes_uploads:
            return 0
        return MAX_PHOTOS if draft.adds_to is None else self._added_to(draft, now).room

    def _added_to(self, draft: OptOutRequest, now: datetime) -> OptOutRequest:
        case = self.get(draft.home, now)
        if case.link_version != draft.link_version:
            raise LinkInvalid
        return case

    def _join(self, draft_id: str, now: datetime) -> OptOutRequest:
        """Move a draft's photos to the case they are added to. The case's version rises, so a reviewer who has not seen
        them decides nothing."""
        for _ in self._rounds():
            draft = self.get(draft_id, now)
            case = self._added_to(draft, now)
            if draft.sent:
                return case
            photos = self.photos(draft.id)
            require_complete(draft, photos)
            _require_takes_photos(case)
            if len(photos) > case.room:
                raise TooManyPhotos
            after = replace(
                case.heard(),
                version=case.version + 1,
                photos=(*case.photos, *draft.photos),
                added=(*case.added, *draft.photos),
                hashed=(*case.hashed, *draft.hashed),
            )
            moved: list[dict[str, Any]] = []
            for photo in photos:
                item = _present(_photo_item(case, photo) | {"expires_at": None})
                key = to_attributes({"pk": _case_key(draft.id), "sk": item["sk"]})
                moved.append({"Put": {"TableName": self._table, "Item": to_attributes(item)}})
                moved.append({"Delete": {"TableName": self._table, "Key": key}})
            joined = replace(draft, version=draft.version + 1, photos=(), hashed=(), confirmed_at=now)
            if self._write(
                [
                    self._put_case(after, case.version),
                    self._put_event(after, "add_photos", Actor.REQUESTER, now),
                    self._put_case(joined, draft.version),
                    *self._count_hashed(draft, now),
                    *moved,
                ]
            ):
                return after
        raise StateConflict

    # ---- testing a picture

    def begin_test(self, case: OptOutRequest, now: datetime) -> str:
        """Let the requester test pictures against their own case; the id of the test, which ends after a day.

        Raises `StateConflict` when the case excludes nothing by pictures, now or once it is accepted.
        """
        if not case.tests_pictures:
            raise StateConflict
        test_id = new_request_id()
        item = {
            "pk": f"test#{test_id}",
            "sk": "test",
            "case": case.id,
            "link_version": case.link_version,
            "left": MAX_TESTED,
            "expires_at": int((now + deadlines.DRAFT_LIFETIME).timestamp()),
        }
        self._client.put_item(TableName=self._table, Item=to_attributes(item))
        return test_id

    def tested_case(self, test_id: str, now: datetime) -> OptOutRequest:
        """The case that a test is about. Raises `RequestNotFound` when the test is over or its case gone,
        `LinkInvalid` when the case's links were revoked since, `StateConflict` as `begin_test`."""
        test = self._get(f"test#{test_id}", "test")
        if test is None or test["expires_at"] <= now.timestamp():
            raise RequestNotFound
        case = self.get(test["case"], now)
        if case.link_version != test["link_version"]:
            raise LinkInvalid
        if not case.tests_pictures:
            raise StateConflict
        return case

    def count_tested(self, test_id: str) -> None:
        """Count a picture that is going to be tested. Raises `EnoughTested` when there have been so many."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=to_attributes({"pk": f"test#{test_id}", "sk": "test"}),
                UpdateExpression="ADD #left :less",
                ConditionExpression="#left > :none",
                ExpressionAttributeNames={"#left": "left"},
                ExpressionAttributeValues=to_attributes({":less": -1, ":none": 0}),
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            raise EnoughTested from error

    def unused_copies(self, draft_id: str) -> list[tuple[str, str]]:
        """What a draft of added photos has kept under its case, and the case does not use: (case id, picture)."""
        draft = self._get(_case_key(draft_id), "case")
        if draft is None or "adds_to" not in draft:
            return []
        used = copies_of(self.photos(draft["adds_to"]))
        return [(draft["adds_to"], copy) for copy in sorted(copies_of(self.photos(draft_id)) - used)]

    def decide_added(
        self, request_id: str, reviewer: str, seen_version: int, now: datetime, *, accept: bool
    ) -> OptOutRequest:
        """Let the photos that were added to an accepted case join what it excludes, or not: then what is in force stays
        as it is, and what was measured on them is deleted.

        Raises `AlreadyDecided` when the case is not accepted (any more), `StateConflict` when it has changed or no
        photo waits, `NothingToExclude` and `HeadContended` (nothing was changed).
        """
        for _ in self._case_rounds():
            case = self.get(request_id, now)
            if case.status is not Status.ACCEPTED:
                raise _already(case)
            if case.version != seen_version or not case.added:
                raise StateConflict
            after = replace(case, version=case.version + 1, added=(), photos_decided_at=now)
            if accept:
                after, changes, parts = self._with_added(case, after)
            else:
                after = replace(after, photos=tuple(each for each in case.photos if each not in case.added))
                changes, parts = [], [self._forget_measurements(case, ticket) for ticket in case.added]
            name = "accept_added" if accept else "reject_added"
            log = self._log.writes(changes, self._log.head(), now) if changes else []
            event = self._put_event(after, name, reviewer, now)
            if self._write([self._put_case(after, case.version), event, *parts, *log]):
                return after
        raise HeadContended

    def _with_added(
        self, case: OptOutRequest, after: OptOutRequest
    ) -> tuple[OptOutRequest, list[Change], list[dict[str, Any]]]:
        """The case with its added photos in force, the changes of the list, and the other parts of the write."""
        kept = self.photos(case.id)
        new = [photo for photo in kept if photo.ticket in case.added]
        left: tuple[str, ...] = ()
        if case.kind is Kind.IMAGE:
            left, adding = case.exclusions, exclusions_for(case, new)
        elif case.new_photo_asked_at is not None:
            # Faces of two models cannot be compared: the old ones go.
            adding = exclusions_for(case, new)
            after = replace(after, photos=case.added, new_photo_asked_at=None)
        elif len(kept) == len(case.photos):
            adding = exclusions_for(case, kept)
        else:
            # The old photos were deleted in time, and what was measured on them is only on the list.
            left, adding = case.exclusions, exclusions_for(case, new, person=new[0].ticket)
        return self._replaced(case, after, adding, left)

    def _replaced(
        self, case: OptOutRequest, after: OptOutRequest, adding: Sequence[Exclusion], left: tuple[str, ...] = ()
    ) -> tuple[OptOutRequest, list[Change], list[dict[str, Any]]]:
        """`adding` in the place of all that the case has on the list, except for `left`. What is suspended stays so."""
        ids = (*left, *(exclusion.exclusion_id for exclusion in adding))
        suspensions = tuple(each for each in case.suspensions if each.exclusion_id in ids)
        changes: list[Change] = [Remove(each) for each in case.exclusions if each not in left]
        changes += [Add(exclusion) for exclusion in adding]
        changes += [Suspend(each.exclusion_id) for each in suspensions if each.exclusion_id not in left]
        after = replace(after, exclusions=ids, suspensions=suspensions)
        return after, changes, [self._put_pointer(after, exclusion.exclusion_id) for exclusion in adding]

    def _forget_measurements(self, case: OptOutRequest, ticket: str) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self._table,
                "Key": to_attributes({"pk": _case_key(case.id), "sk": f"photo#{ticket}"}),
                "UpdateExpression": "REMOVE faces, face_model, chosen_face, keypoints, dihedral, picture, sha256",
                "ConditionExpression": "attribute_exists(pk)",
            }
        }

    # ---- another face model (optout.face_migration)

    def face_cases(self) -> Iterator[OptOutRequest]:
        """Every case about a face, from a strongly consistent look at the whole table; drafts too."""
        yield from self._every_case("kind = :face", {":face": Kind.FACE.value})

    def _every_case(self, condition: str, values: dict[str, str]) -> Iterator[OptOutRequest]:
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table,
            ConsistentRead=True,
            FilterExpression=f"sk = :case AND {condition}",
            ExpressionAttributeValues=to_attributes({":case": "case", **values}),
        )
        for page in pages:
            yield from map(_case, map(from_attributes, page["Items"]))

    def measured_again(self, case: OptOutRequest, photos: Sequence[Photo], now: datetime) -> bool:
        """Write the case's photos as another face model sees them, and let its entry on the list be of that model, in
        one change. False, and nothing written, when the case or the list's head is not as it was any more.

        When no photo in force shows the face to the new model, the list stays: a new photo must be asked for.
        """
        after = replace(case, version=case.version + 1)
        changes: list[Change] = []
        parts: list[dict[str, Any]] = []
        in_force = [photo for photo in photos if photo.ticket not in case.added]
        if case.status is Status.ACCEPTED and any(photo.own_face for photo in in_force):
            after, changes, parts = self._replaced(case, after, exclusions_for(case, in_force))
        elif case.hold is not None:
            # An entry of the old model that nobody replaces would defer every lookup of a face.
            held = exclusions_for(case, photos, State.PENDING) if any(photo.own_face for photo in photos) else []
            changes = [Remove(each) for each in case.hold.exclusions]
            changes += [Add(exclusion) for exclusion in held]
            if held:
                ids = tuple(exclusion.exclusion_id for exclusion in held)
                after = replace(after, hold=replace(case.hold, exclusions=ids))
            else:
                after, parts = replace(after, hold=None, unheld=Unheld.NOTHING), self._let_go(case, now)
        for photo in photos:
            item = _present(_photo_item(case, photo) | {"expires_at": None})
            parts.append({"Put": {"TableName": self._table, "Item": to_attributes(item)}})
        log = self._log.writes(changes, self._log.head(), now) if changes else []
        event = self._put_event(after, "measure_again", Actor.OPERATOR, now)
        return self._write([self._put_case(after, case.version), event, *parts, *log])

    def ask_new_photo(self, case: OptOutRequest, now: datetime) -> bool:
        """Note that the case needs a new photo, and let the letter that says so be due. False when the case is not as
        it was any more."""
        after = replace(case, version=case.version + 1, new_photo_asked_at=now)
        event = self._put_event(after, "ask_new_photo", Actor.OPERATOR, now)
        letter = self._put_letter(after, Letter.NEW_PHOTO, now)
        return self._write([self._put_case(after, case.version), event, *letter])

    # ---- the requester's address

    def verify(self, request_id: str, now: datetime, *, provisional: bool) -> OptOutRequest:
        """Note that the requester reads the letters. From then on, if `provisional` and within the limits, what an open
        case asks for is held back, in the same write. Verifying twice is verifying once; a closed case stays as it is.

        Raises `RequestNotFound`, and `HeadContended` (nothing was changed).
        """
        for _ in self._case_rounds():
            case = self.get(request_id, now)
            if case.status is Status.DRAFT:
                raise RequestNotFound
            if case.status not in OPEN or case.verified_at is not None:
                return case
            after = replace(case, version=case.version + 1, verified_at=now)
            if case.waits_for_address and case.confirmed_at is not None:
                due = deadlines.due(
                    case.kind, case.answers.country, case.confirmed_at, urgent=case.lane.urgent, begun_at=now
                )
                after = replace(after, due_at=due.at, due_rule=due.rule)
            after, holding = self._hold(after, now, provisional=provisional)
            parts = [self._put_case(after, case.version), self._put_event(after, "verify", Actor.REQUESTER, now)]
            if self._write([*parts, *holding]):
                return after
        raise HeadContended

    def _hold(
        self, case: OptOutRequest, now: datetime, *, provisional: bool
    ) -> tuple[OptOutRequest, list[dict[str, Any]]]:
        """The verified case with its hold, or why it has none, and what is written with it."""
        try:
            holding = exclusions_for(case, self.photos(case.id), State.PENDING) if provisional else []
        except NothingToExclude:
            holding = []
        by_address = self._get(**_held_key(case.email_hash, "address")) or {"version": 0, "cases": {}}
        day = _held_key(now.astimezone(UTC).date().isoformat(), "day")
        today = (self._get(**day) or {"held": 0})["held"]
        refused = refusal(len(holding), sum(by_address["cases"].values()), today, on=provisional)
        if refused is None:
            head = self._log.head()
            try:
                log = self._log.writes([Add(exclusion) for exclusion in holding], head, now)
            except DecisionTooLarge:
                refused = Unheld.NOTHING
        if refused is not None:
            return replace(case, unheld=refused), []
        count = {
            "Update": {
                "TableName": self._table,
                "Key": to_attributes(day),
                "UpdateExpression": "SET expires_at = :over ADD held :more",
                "ConditionExpression": "attribute_not_exists(held) OR held <= :room",
                "ExpressionAttributeValues": to_attributes(
                    {
                        ":more": len(holding),
                        ":room": HELD_PER_DAY - len(holding),
                        ":over": int((now + deadlines.HOLDS_COUNTED).timestamp()),
                    }
                ),
            }
        }
        cases = by_address["cases"] | {case.id: len(holding)}
        ids = tuple(exclusion.exclusion_id for exclusion in holding)
        hold = Hold(ids, now, str(Version(head.epoch, head.seq + 1)))
        return replace(case, hold=hold), [self._put_held(case, by_address["version"], cases, now), count, *log]

    def _put_held(self, case: OptOutRequest, seen_version: int, cases: dict[str, int], now: datetime) -> dict[str, Any]:
        """The count of an address, on condition that it is still the one that was read."""
        item: dict[str, Any] = {**_held_key(case.email_hash, "address"), "version": seen_version + 1, "cases": cases}
        if not cases:
            item["expires_at"] = int((now + deadlines.HOLDS_COUNTED).timestamp())
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if seen_version:
            condition = {
                "ConditionExpression": "version = :seen",
                "ExpressionAttributeValues": to_attributes({":seen": seen_version}),
            }
        return {"Put": {"TableName": self._table, "Item": to_attributes(item), **condition}}

    def _let_go(self, case: OptOutRequest, now: datetime) -> list[dict[str, Any]]:
        """What is written besides the log when a case ceases to hold back."""
        by_address = self._get(**_held_key(case.email_hash, "address"))
        if case.hold is None or by_address is None or case.id not in by_address["cases"]:
            return []
        left = {other: held for other, held in by_address["cases"].items() if other != case.id}
        return [self._put_held(case, by_address["version"], left, now)]

    def release(self, request_id: str, now: datetime) -> bool:
        """End an open case's hold; it waits for its decision without. False when it has none.

        Raises `RequestNotFound`, and `HeadContended` (nothing was changed).
        """
        for _ in self._case_rounds():
            case = self.get(request_id, now)
            if case.hold is None:
                return False
            after = replace(case, version=case.version + 1, hold=None, unheld=Unheld.OFF)
            removing: list[Change] = [Remove(exclusion_id) for exclusion_id in case.hold.exclusions]
            parts = [
                self._put_case(after, case.version),
                self._put_event(after, "release", Actor.OPERATOR, now),
                *self._let_go(case, now),
                *self._log.writes(removing, self._log.head(), now),
            ]
            if self._write(parts):
                return True
        raise HeadContended

    def send_again(self, request_id: str, now: datetime) -> OptOutRequest:
        """Make the first letter, with a fresh verification link, due once more. Raises `LetterNotSentAgain`."""
        for _ in self._rounds():
            case = self.get(request_id, now)
            if not case.may_send_again(now):
                raise LetterNotSentAgain
            after = replace(case, version=case.version + 1, sent_again=(*case.sent_again, now))
            parts = [
                self._put_case(after, case.version),
                self._put_event(after, "send_again", Actor.REQUESTER, now),
                *self._put_letter(after, Letter.RECEIVED, now),
            ]
            if self._write(parts):
                return after
        raise StateConflict

    # ---- the case

    def withdraw(self, request_id: str, now: datetime) -> OptOutRequest:
        """Withdraw a case; its exclusions leave the list in the same write. Withdrawing twice is withdrawing once.

        Raises `StateConflict` where there is nothing to withdraw (a draft, or a case that is already over).
        """
        for _ in self._case_rounds():
            case = self.get(request_id, now)
            if case.status is Status.WITHDRAWN:
                return case
            if (Step.WITHDRAW, case.status) not in TRANSITIONS:
                raise StateConflict
            row = TRANSITIONS[Step.WITHDRAW, case.status]
            after = replace(case, status=row.target, version=case.version + 1, withdrawn_at=now, revocation=None)
            after = replace(after, suspensions=(), question=None)
            moved = self._move(case, after, Step.WITHDRAW, str(row.actor), row.effect, [], now)
            if moved is not None:
                return moved
        raise HeadContended

    def decide(self, request_id: str, decision: Decision, seen_version: int | None, now: datetime) -> OptOutRequest:
        """Accept or reject a case, or decide its appeal: state, history, letter and exclusion list change in one
        transaction, or nothing.

        `seen_version` is the version of the case that the reviewer looked at, if known. The same `decision_id` again
        returns the case as it was first decided. Raises `AlreadyDecided` (the first decision stands, or no open appeal
        is there to uphold it on), `StateConflict` (the case has changed since it was looked at, a photo was added for
        example), `NothingToExclude`, `SameReviewer` (an appeal is another reviewer's), `RequestInvalid` and
        `HeadContended` (nothing was changed).
        """
        require_reason(decision.step, decision.reason, decision.text)
        for _ in self._case_rounds():
            case = self.get(request_id, now)
            if case.status is Status.DRAFT:
                raise RequestNotFound
            if decision.decision_id in {made.decision_id for made in (case.decision, case.upheld) if made is not None}:
                return case
            row = TRANSITIONS.get((decision.step, case.status))
            if row is None or (decision.step is Step.UPHOLD and case.appealed_at is None):
                raise _already(case)
            if seen_version not in {None, case.version}:
                # Nobody has decided, but there is something in the case that this reviewer has not seen.
                raise StateConflict
            if row.actor is Actor.OTHER_REVIEWER and decision.reviewer == case.decided_against_by:
                raise SameReviewer
            adding = exclusions_for(case, self.photos(case.id)) if row.effect is ListEffect.ADD else []
            made = DecisionRecord(
                decision.decision_id, decision.step, decision.reason, decision.text, decision.reviewer, now
            )
            after = replace(
                case,
                status=row.target,
                version=case.version + 1,
                suspensions=(),
                added=(),
                new_photo_asked_at=None,
                question=None,
                appealed_at=None,
            )
            if decision.step is Step.UPHOLD:
                after = replace(after, upheld=made)
            else:
                ids = tuple(exclusion.exclusion_id for exclusion in adding)
                after = replace(after, decision=made, upheld=None, revocation=None, exclusions=ids)
            changes: list[Change] = [Add(exclusion) for exclusion in adding]
            moved = self._move(case, after, decision.step, decision.reviewer, row.effect, changes, now)
            if moved is not None:
                return moved
        raise HeadContended

    # ---- questions, answers, dates and appeals

    def ask(self, request_id: str, text: str, reviewer: str, seen_version: int, now: datetime) -> OptOutRequest:
        """Ask the requester something, in a letter; the case waits for the answer, and its date stays as it is.

        Raises `AlreadyDecided`, and `StateConflict` (the case has changed since it was looked at, or a question is
        open).
        """

        def asked(case: OptOutRequest) -> OptOutRequest:
            if case.status not in OPEN:
                raise _already(case)
            if case.version != seen_version:
                raise StateConflict
            return replace(case, question=Question(text, reviewer, now))

        return self._say(request_id, Step.ASK, reviewer, text, now, asked)

    def inform(self, request_id: str, text: str, now: datetime) -> OptOutRequest:
        """Add what the requester has to say to a case that is not decided, or whose appeal is not; if it waited for an
        answer, it waits for us again. Raises `TooManyMessages`, and `StateConflict` when there is nothing to decide."""

        def informed(case: OptOutRequest) -> OptOutRequest:
            last = self._get(_case_key(case.id), f"event#{case.version:06d}")
            if last is not None and (last["name"], last.get("text")) == (Step.INFORM, text):
                return case  # sent twice
            if not case.undecided:
                raise StateConflict
            if not case.takes_messages:
                raise TooManyMessages
            return replace(case.heard(), messages=case.messages + 1)

        return self._say(request_id, Step.INFORM, Actor.REQUESTER, text, now, informed)

    def extend(self, request_id: str, extension: Extension, to: datetime, seen_version: int) -> OptOutRequest:
        """Put off the date of an open case, once and before it has come, and tell the requester why.

        Raises `AlreadyDecided`, `StateConflict` (it has changed since it was looked at), `NoExtension`, and
        `RequestInvalid` for a date that is not after the present one or later than the law allows.
        """
        require_reason(Step.EXTEND, extension.reason, extension.text)
        now = extension.at

        def extended(case: OptOutRequest) -> OptOutRequest:
            if case.status not in OPEN:
                raise _already(case)
            if case.version != seen_version:
                raise StateConflict
            latest = deadlines.latest_extension(case, now)
            if latest is None or case.due_at is None:
                raise NoExtension
            if not case.due_at < to <= latest:
                raise RequestInvalid({"until": "not_allowed"})
            made = replace(extension, before=case.due_at)
            return replace(case, due_at=to, due_rule=deadlines.EXTENDED, extension=made)

        return self._say(request_id, Step.EXTEND, extension.reviewer, extension.text, now, extended)

    def appeal(self, request_id: str, text: str, now: datetime) -> OptOutRequest:
        """Appeal against the decision that stands against the requester. While an appeal is open, appealing again
        changes nothing. Raises `AppealClosed` when the time is over or an appeal was decided before, and
        `StateConflict` when nothing stands against the requester."""

        def appealed(case: OptOutRequest) -> OptOutRequest:
            if case.appealed_at is not None:
                return case
            if case.status not in DECIDED_AGAINST:
                raise StateConflict
            until = deadlines.appeal_until(case)
            if until is None or now >= until:
                raise AppealClosed
            due = deadlines.appeal_due(now, urgent=case.lane.urgent)
            return replace(case, appealed_at=now, due_at=due.at, due_rule=due.rule)

        return self._say(request_id, Step.APPEAL, Actor.REQUESTER, text, now, appealed)

    def _say(
        self,
        request_id: str,
        step: Step,
        actor: str,
        text: str,
        now: datetime,
        judged: Callable[[OptOutRequest], OptOutRequest],
    ) -> OptOutRequest:
        """A step that says something and leaves the exclusion list as it is. `judged` gives the case as it will be, or
        the very case when there is nothing to write."""
        for _ in self._rounds():
            case = self.get(request_id, now)
            if case.status is Status.DRAFT:
                raise RequestNotFound
            after = judged(case)
            if after is case:
                return case
            row = TRANSITIONS.get((step, case.status))
            if row is None:
                raise StateConflict
            after = replace(after, status=row.target, version=case.version + 1)
            parts = [
                self._put_case(after, case.version),
                self._put_event(after, step, actor, now, text=text),
                *self._put_letter_of(after, step, case.status, now),
            ]
            if self._write(parts):
                return after
        raise StateConflict

    def propose_revocation(
        self, request_id: str, revocation: Revocation, seen_version: int, now: datetime
    ) -> OptOutRequest:
        """Propose to take an acceptance back; another reviewer confirms. Raises `AlreadyDecided`, `RequestInvalid`."""
        require_reason(Step.REVOKE, revocation.reason, revocation.text)
        return self._revocation(
            request_id,
            "propose_revocation",
            revocation.reviewer,
            now,
            lambda case: revocation if case.revocation is None and case.version == seen_version else _refuse(case),
        )

    def cancel_revocation(self, request_id: str, reviewer: str, now: datetime) -> OptOutRequest:
        """Drop a proposed revocation; the acceptance stays."""
        return self._revocation(
            request_id,
            "cancel_revocation",
            reviewer,
            now,
            lambda case: None if case.revocation is not None else _refuse(case),
        )

    def _revocation(
        self,
        request_id: str,
        name: str,
        reviewer: str,
        now: datetime,
        become: Callable[[OptOutRequest], Revocation | None],
    ) -> OptOutRequest:
        for _ in self._rounds():
            case = self.get(request_id, now)
            if case.status is not Status.ACCEPTED:
                raise _already(case)
            after = replace(case, version=case.version + 1, revocation=become(case))
            if self._write([self._put_case(after, case.version), self._put_event(after, name, reviewer, now)]):
                return after
        raise StateConflict

    def confirm_revocation(self, request_id: str, reviewer: str, now: datetime) -> OptOutRequest:
        """The second reviewer's yes: the exclusions leave the list. Raises `SameReviewer`, `AlreadyDecided`."""
        for _ in self._case_rounds():
            case = self.get(request_id, now)
            row = TRANSITIONS.get((Step.REVOKE, case.status))
            if row is None or case.revocation is None:
                raise _already(case)
            if case.revocation.reviewer == reviewer:
                raise SameReviewer
            revocation = replace(case.revocation, confirmed_by=reviewer, confirmed_at=now)
            after = replace(case, status=row.target, version=case.version + 1, revocation=revocation, suspensions=())
            moved = self._move(case, after, Step.REVOKE, reviewer, row.effect, [], now)
            if moved is not None:
                return moved
        raise HeadContended

    def listed_faces(self) -> tuple[int, int]:
        """How many people are excluded by their face, and with how many photos at most. Costs a look at every case in
        force: 1 MB, a page, holds some five hundred."""
        people, photos = 0, 0
        for view in (Status.ACCEPTED.value, "revocation", "added"):
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                IndexName="Queue",
                KeyConditionExpression="queue = :view",
                FilterExpression="kind = :face",
                ProjectionExpression="photos",
                ExpressionAttributeValues=to_attributes({":view": view, ":face": Kind.FACE.value}),
            )
            for page in pages:
                people += len(page["Items"])
                photos += sum(len(from_attributes(item).get("photos", ())) for item in page["Items"])
        return people, photos

    def with_exclusions(self) -> Iterator[OptOutRequest]:
        """Every case that has put something on the list or holds something back, whatever became of it, from a strongly
        consistent look at the whole table: for recovery, not for a page."""
        every = self._every_case("attribute_exists(exclusions)", {})
        yield from (case for case in every if case.exclusions or case.hold)

    def revoke_links(self, request_id: str, now: datetime, *, letter: bool = True) -> OptOutRequest:
        """Make every mailed link of a case useless. With `letter` the letter that says how the case stands is due once
        more, and brings a link that works. Raises `RequestNotFound`."""
        for _ in self._rounds():
            case = self.get(request_id, now)
            if case.status is Status.DRAFT:
                raise RequestNotFound
            after = replace(case, version=case.version + 1, link_version=case.link_version + 1)
            parts = [self._put_case(after, case.version), self._put_event(after, "revoke_links", Actor.OPERATOR, now)]
            if letter:
                parts += self._put_letter(after, _newest_letter(case), now)
            if self._write(parts):
                return after
        raise StateConflict

    # ---- the emergency brake

    def suspend(self, exclusion_id: str, actor: str, now: datetime) -> OptOutRequest | None:
        """Let an exclusion hold back instead of exclude, from the next lookup on. Suspending twice is suspending once.

        Returns its case; None when its time was over and only the exclusion is left. Raises `ExclusionNotFound` when
        no such exclusion is in force, `NotFresh` and `HeadContended` (nothing was changed).
        """
        return self._brake(Suspend(exclusion_id), actor, now)

    def resume(self, exclusion_id: str, actor: str, now: datetime) -> OptOutRequest | None:
        """Let a suspended exclusion exclude again; what is not suspended stays as it is.

        Returns and raises as `suspend` does, and `SameReviewer` for whoever suspended it.
        """
        return self._brake(Resume(exclusion_id), actor, now)

    def _brake(self, change: Suspend | Resume, actor: str, now: datetime) -> OptOutRequest | None:
        """One change of the log and, in the same transaction, of the case that the exclusion comes from."""
        suspends, exclusion_id = isinstance(change, Suspend), change.exclusion_id
        for _ in self._case_rounds():
            case = self.by_exclusion(exclusion_id, now)
            head = self._log.head()
            parts: list[dict[str, Any]] = []
            if case is None:
                # The case was deleted when its time was over; its exclusions stay, and the log alone knows them.
                state = in_force(self._log, head, exclusion_id).get(exclusion_id)
                if state not in {State.ACCEPTED, State.SUSPENDED}:
                    raise ExclusionNotFound
                if suspends == (state is State.SUSPENDED):
                    return None
                after = None
            else:
                if case.status is not Status.ACCEPTED or exclusion_id not in case.exclusions:
                    raise ExclusionNotFound
                standing = case.suspension(exclusion_id)
                if suspends == (standing is not None):
                    return case
                if standing is not None and standing.actor == actor:
                    raise SameReviewer
                left = tuple(each for each in case.suspensions if each.exclusion_id != exclusion_id)
                if suspends:
                    left = (*left, Suspension(exclusion_id, actor, now, str(Version(head.epoch, head.seq + 1))))
                after = replace(case, version=case.version + 1, suspensions=left)
                name = "suspend" if suspends else "resume"
                parts = [self._put_case(after, case.version), self._put_event(after, name, actor, now, exclusion_id)]
            if self._write([*parts, *self._log.writes([change], head, now)]):
                return after
        raise HeadContended

    # ---- doubtful hits

    def add_review(self, doubt: Doubt, now: datetime) -> bool:
        """Keep a doubtful hit for a person. False when it is kept or answered already, or when its exclusion is no
        longer in force."""
        if self.excluding_case(doubt.exclusion_id, now) is None:
            return False
        try:
            self._client.put_item(
                TableName=self._table,
                Item=to_attributes(_review_item(doubt, now)),
                ConditionExpression="attribute_not_exists(pk)",
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def open_reviews(self, limit: int = 100) -> list[Review]:
        """What waits for a reviewer's answer, the oldest first."""
        return [_review(item) for item in self._queued(_OPEN_REVIEWS, limit)]

    def answered_reviews(self) -> Iterator[Review]:
        """Every answer that is kept, from a strongly consistent look at the whole table: for recovery, not for a
        page."""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._table,
            ConsistentRead=True,
            FilterExpression="begins_with(pk, :review) AND attribute_exists(answered_at)",
            ExpressionAttributeValues=to_attributes({":review": "review#"}),
        )
        for page in pages:
            yield from map(_review, map(from_attributes, page["Items"]))

    def count_open_reviews(self) -> int:
        """How many wait."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="Queue",
            KeyConditionExpression="queue = :view",
            ExpressionAttributeValues=to_attributes({":view": _OPEN_REVIEWS}),
            Select="COUNT",
        )
        return sum(page["Count"] for page in pages)

    def answer_review(self, sha256: str, exclusion_id: str, *, same: bool, reviewer: str, now: datetime) -> Review:
        """Take a person's answer: the review, its case's history and the exclusion list change in one transaction.

        The same answer of the same reviewer again changes nothing. Raises `ReviewNotFound`, `AlreadyDecided` (the first
        answer stands), `ExclusionNotFound` when the exclusion is no longer in force, and `HeadContended`.
        """
        key = _review_key(sha256, exclusion_id)
        for _ in self._case_rounds():
            item = self._get(**key)
            if item is None:
                raise ReviewNotFound
            review = _review(item)
            if review.answered_at is not None:
                if (review.same, review.reviewer) == (same, reviewer):
                    return review
                raise AlreadyDecided("same" if review.same else "different", review.reviewer, review.answered_at)
            # The head before the case: whatever takes the exclusion off the list after this look moves the head.
            head = self._log.head()
            case = self.excluding_case(exclusion_id, now)
            if case is None:
                raise ExclusionNotFound
            answered = {
                "Update": {
                    "TableName": self._table,
                    "Key": to_attributes(key),
                    "UpdateExpression": "SET same = :same, reviewer = :who, answered_at = :now, sweep_at = :until"
                    " REMOVE queue",
                    "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(answered_at)",
                    "ExpressionAttributeValues": to_attributes(
                        {
                            ":same": same,
                            ":who": reviewer,
                            ":now": _iso(now),
                            ":until": _iso(now + deadlines.REVIEWS_KEPT),
                        }
                    ),
                }
            }
            name = "answer_same" if same else "answer_different"
            looked = _look_item(case, name, reviewer, now, exclusion_id=exclusion_id)
            history = {"Put": {"TableName": self._table, "Item": to_attributes(looked)}}
            change = Answer(exclusion_id, sha256, same)
            if self._write([answered, history, *self._log.writes([change], head, now)]):
                return replace(review, same=same, reviewer=reviewer, answered_at=now)
        raise HeadContended

    def forget_reviews(self, now: datetime, limit: int = 100) -> int:
        """Delete reviews whose time is over, and open ones whose exclusion is no longer in force. Returns how many;
        call again until it is 0."""
        over = [(item["pk"], item["sk"]) for item in self._falling_due("review", now, limit)]
        moot = [
            tuple(_review_key(review.doubt.sha256, review.doubt.exclusion_id).values())
            for review in self.open_reviews(limit)
            if self.excluding_case(review.doubt.exclusion_id, now) is None
        ]
        for pk, sk in {*over, *moot}:
            self._client.delete_item(TableName=self._table, Key=to_attributes({"pk": pk, "sk": sk}))
        return len({*over, *moot})

    def excluding_case(self, exclusion_id: str, now: datetime) -> OptOutRequest | None:
        """The accepted case that this exclusion is in force for; None when there is none (any more)."""
        case = self.by_exclusion(exclusion_id, now)
        excludes = case is not None and case.status is Status.ACCEPTED and exclusion_id in case.exclusions
        return case if excludes else None

    def by_exclusion(self, exclusion_id: str, now: datetime) -> OptOutRequest | None:
        """The case that put an exclusion on the list; None when there is none any more."""
        pointer = self._get(f"exclusion#{exclusion_id}", "case")
        if pointer is None:
            return None
        try:
            return self.get(pointer["id"], now)
        except RequestNotFound:
            return None

    def _get(self, pk: str, sk: str) -> dict[str, Any] | None:
        answer = self._client.get_item(
            TableName=self._table, Key=to_attributes({"pk": pk, "sk": sk}), ConsistentRead=True
        )
        return from_attributes(answer["Item"]) if "Item" in answer else None

    def record_view(self, request_id: str, ticket: str, reviewer: str, now: datetime) -> None:
        """Note that a reviewer looked at a photo."""
        looked = _look_item(self.get(request_id, now), "view_photo", reviewer, now, ticket=ticket)
        self._client.put_item(TableName=self._table, Item=to_attributes(looked))

    # ---- the one write

    def _move(
        self,
        case: OptOutRequest,
        after: OptOutRequest,
        step: Step,
        actor: str,
        effect: ListEffect,
        adding: Sequence[Change],
        now: datetime,
    ) -> OptOutRequest | None:
        """One try at the transaction that moves a case and, with it, the exclusion list. None: judge again."""
        changes: list[Change] = list(adding)
        if effect is ListEffect.REMOVE:
            changes = [Remove(exclusion_id) for exclusion_id in case.exclusions]
        # Whatever became of the case, it holds nothing back any more; an acceptance replaces what has its id.
        if case.hold is not None:
            added = {change.exclusion.exclusion_id for change in adding if isinstance(change, Add)}
            changes = [*(Remove(one) for one in case.hold.exclusions if one not in added), *changes]
        after = replace(after, hold=None, unheld=None)
        log: list[dict[str, Any]] = []
        if changes:
            head = self._log.head()
            log = self._log.writes(changes, head, now)
            if after.decision is not None and step in {Step.ACCEPT, Step.ACCEPT_ON_APPEAL}:
                version = str(Version(head.epoch, head.seq + 1))
                after = replace(after, decision=replace(after.decision, list_version=version))
        parts = [
            self._put_case(after, case.version),
            self._put_event(after, step, actor, now),
            *self._put_letter_of(after, step, case.status, now),
            *(self._put_pointer(after, change.exclusion.exclusion_id) for change in adding if isinstance(change, Add)),
            *(self._let_go(case, now) if case.hold is not None else ()),
            *log,
        ]
        return after if self._write(parts) else None

    def _put_case(self, request: OptOutRequest, seen_version: int) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_attributes(_case_item(request)),
                "ConditionExpression": "version = :seen AND attribute_not_exists(expiring)",
                "ExpressionAttributeValues": to_attributes({":seen": seen_version}),
            }
        }

    def _put_pointer(self, request: OptOutRequest, exclusion_id: str) -> dict[str, Any]:
        item = {"pk": f"exclusion#{exclusion_id}", "sk": "case", "id": request.id}
        return {"Put": {"TableName": self._table, "Item": to_attributes(item)}}

    def _put_event(
        self,
        request: OptOutRequest,
        name: str,
        actor: str,
        now: datetime,
        exclusion_id: str | None = None,
        text: str | None = None,
    ) -> dict[str, Any]:
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_attributes(
                    _present(
                        {
                            "pk": _case_key(request.id),
                            "sk": f"event#{request.version:06d}",
                            "version": request.version,
                            "name": str(name),
                            "at": _iso(now),
                            "actor": str(actor),
                            "status": request.status.value,
                            "exclusion_id": exclusion_id,
                            "text": text,
                        }
                    )
                ),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def _put_letter_of(self, after: OptOutRequest, step: Step, source: Status, now: datetime) -> list[dict[str, Any]]:
        """The letter that a step from this status brings, if it brings one."""
        letter = TRANSITIONS[step, source].letter
        return [] if letter is None else self._put_letter(after, letter, now)

    def _put_letter(self, request: OptOutRequest, letter: Letter, now: datetime) -> list[dict[str, Any]]:
        """The letter that is due; none where there is nobody to write to."""
        if request.anonymous:
            return []
        key = LetterKey(request.id, request.version)
        put = {
            "Put": {
                "TableName": self._table,
                "Item": to_attributes(
                    {
                        **key.keys,
                        "letter": letter.value,
                        "due_since": _iso(now),
                        "sweep": "letter",
                        "sweep_at": _iso(now),
                    }
                ),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }
        return [put]

    def _write(self, parts: list[dict[str, Any]]) -> bool:
        """All parts or none. False when a condition failed or another transaction was in the way: judge again."""
        try:
            self._client.transact_write_items(TransactItems=parts)
        except ClientError as error:
            codes = {reason.get("Code") for reason in _conditions_failed(error)} - {"None", None}
            if codes <= _PASSING | {"ConditionalCheckFailed"}:
                return False
            raise
        return True

    def _rounds(self) -> Iterator[int]:
        for attempt in range(CASE_ROUNDS):
            if attempt:
                self._back_off(attempt)
            yield attempt

    def _case_rounds(self) -> Iterator[int]:
        """Rounds of judging and writing until patience ends; a pause with jitter between."""
        attempt, until = 0, time.monotonic() + self._patience_s
        while attempt == 0 or time.monotonic() < until:
            if attempt:
                self._back_off(attempt)
            yield attempt
            attempt += 1

    def _back_off(self, attempt: int) -> None:
        longest = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** min(attempt, 10))
        # The system's, since instances that start from one snapshot would draw the same from a state in memory.
        self._pause(random.SystemRandom().uniform(0, longest))

    # ---- letters

    def letters_due(self, before: datetime, limit: int = 100) -> list[LetterKey]:
        """Letters that have been due since before this time and are neither sent nor parked, the oldest first."""
        return [LetterKey.of_item(item["pk"], item["sk"]) for item in self._falling_due("letter", before, limit)]

    def forward_letter(self, key: LetterKey, now: datetime) -> bool:
        """Take a late letter for forwarding; the next sweeps leave it to SQS. False while a sender has it."""
        return self._update_letter(
            key,
            "SET sweep_at = :next",
            {":next": _iso(now + LETTER_FORWARDED_AGAIN), ":now": _iso(now)},
            "attribute_exists(sweep) AND (attribute_not_exists(claimed_until) OR claimed_until <= :now)",
        )

    def claim_letter(self, key: LetterKey, now: datetime, lease: timedelta) -> DueLetter | None:
        """Take a letter for sending; for the time of the lease no other sender gets it.

        None when it was sent, is parked, is being sent by another, or its case is gone.
        """
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=to_attributes(key.keys),
                UpdateExpression="SET claimed_until = :until",
                ConditionExpression=(
                    "attribute_exists(pk) AND attribute_not_exists(sent_at) AND attribute_not_exists(parked_at)"
                    " AND (attribute_not_exists(claimed_until) OR claimed_until <= :now)"
                ),
                ExpressionAttributeValues=to_attributes({":until": _iso(now + lease), ":now": _iso(now)}),
                ReturnValues="ALL_NEW",
            )
            request = self.get(key.request_id, now)
        except self._client.exceptions.ConditionalCheckFailedException:
            return None
        except RequestNotFound:
            return None
        return DueLetter(key, Letter(from_attributes(answer["Attributes"])["letter"]), request)

    def letter_sent(self, key: LetterKey, message_id: str, now: datetime) -> None:
        """Note that SES took the letter, and, in the same write, whose letter this message id is."""
        pointer = {
            "Put": {
                "TableName": self._table,
                "Item": to_attributes(
                    {
                        **_mail_key(message_id),
                        "letter": key.to_json(),
                        "expires_at": int((now + deadlines.MESSAGE_IDS_KEPT).timestamp()),
                    }
                ),
            }
        }
        sent = {
            "Update": {
                "TableName": self._table,
                "Key": to_attributes(key.keys),
                "UpdateExpression": "SET sent_at = :now, message_id = :message, sweep = :sweep, sweep_at = :over"
                " REMOVE claimed_until, parked_at",
                "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(sent_at)",
                "ExpressionAttributeValues": to_attributes(
                    {
                        ":now": _iso(now),
                        ":message": message_id,
                        ":sweep": "message",
                        ":over": _iso(now + deadlines.MESSAGE_IDS_KEPT),
                    }
                ),
            }
        }
        # A letter that another sender noted first was sent twice, and either message may come back.
        for _ in self._rounds():
            letter = self._get(**key.keys)
            parts = [pointer] if letter is None or "sent_at" in letter else [sent, pointer]
            if self._write(parts):
                return
        raise StateConflict

    def letter_overtaken(self, key: LetterKey, now: datetime) -> None:
        """Note that the letter need not be sent any more."""
        self._update_letter(
            key,
            "SET sent_at = :now, overtaken = :yes REMOVE claimed_until, parked_at, sweep, sweep_at",
            {":now": _iso(now), ":yes": True},
        )

    def letter_of(self, message_id: str) -> LetterKey | None:
        """The letter that SES gave this message id; None when none is known, which may only mean: not yet."""
        item = self._get(**_mail_key(message_id))
        return None if item is None else LetterKey.from_json(item["letter"])

    def mail_troubled(self, request_id: str, trouble: MailTrouble, now: datetime) -> bool:
        """Note on the case that its letters do not arrive, and, where that is for good, suppress the address.

        False when this or something graver was noted before. Raises `RequestNotFound`.
        """
        for _ in self._rounds():
            case = self.get(request_id, now)
            if case.mail_problem is not None and case.mail_problem.trouble.gravity >= trouble.gravity:
                return False
            after = replace(case, version=case.version + 1, mail_problem=MailProblem(trouble, now))
            parts = [self._put_case(after, case.version), self._put_event(after, f"mail_{trouble}", "mail", now)]
            if trouble.suppresses:
                marker = {
                    **_suppressed_key(case.email_hash),
                    "trouble": trouble.value,
                    "at": _iso(now),
                    "expires_at": int((now + deadlines.SUPPRESSED_KEPT).timestamp()),
                }
                parts.append({"Put": {"TableName": self._table, "Item": to_attributes(marker)}})
            if self._write(parts):
                return True
        raise StateConflict

    def is_suppressed(self, email_hash: str, now: datetime) -> bool:
        """Whether no letter may go to this address. DynamoDB deletes late, so the marker's own time counts."""
        marker = self._get(**_suppressed_key(email_hash))
        return marker is not None and marker["expires_at"] > now.timestamp()

    def letter_failed(self, key: LetterKey, now: datetime, *, final: bool) -> None:
        """Give back a letter that could not be sent; `final` parks it until it is revived: no sweep repeats it."""
        if final:
            expression = "SET parked_at = :now REMOVE claimed_until, sweep, sweep_at"
        else:
            expression = "SET failed_at = :now REMOVE claimed_until"
        self._update_letter(key, expression, {":now": _iso(now)})

    def letter_revived(self, key: LetterKey, now: datetime) -> None:
        """Make a parked letter due again."""
        self._update_letter(
            key,
            "SET sweep = :letter, sweep_at = :now REMOVE parked_at",
            {":letter": "letter", ":now": _iso(now)},
            "attribute_exists(parked_at)",
        )

    def _update_letter(
        self, key: LetterKey, expression: str, values: dict[str, Any], condition: str = "attribute_exists(pk)"
    ) -> bool:
        """Update a letter on a condition. A sent one stays sent, whatever a slower sender still has to say."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=to_attributes(key.keys),
                UpdateExpression=expression,
                ConditionExpression=f"{condition} AND attribute_not_exists(sent_at)",
                ExpressionAttributeValues=to_attributes(values),
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    # ---- retention

    def falling_due(self, sweep: str, before: datetime, limit: int = 100) -> list[str]:
        """Ids of the cases whose `draft`, `unverified`, `photos` or `case` period has ended, the longest overdue
        first."""
        return [item["pk"].removeprefix("case#") for item in self._falling_due(sweep, before, limit)]

    def _falling_due(self, sweep: str, before: datetime, limit: int) -> list[dict[str, Any]]:
        answer = self._client.query(
            TableName=self._table,
            IndexName="Sweep",
            KeyConditionExpression="sweep = :sweep AND sweep_at <= :before",
            ExpressionAttributeValues=to_attributes({":sweep": sweep, ":before": _iso(before)}),
            Limit=limit,
        )
        return [from_attributes(item) for item in answer["Items"]]

    def message_ids_over(self, before: datetime, limit: int = 100) -> list[LetterKey]:
        """Letters that were sent so long ago that nobody asks for their message id, the oldest first."""
        return [LetterKey.of_item(item["pk"], item["sk"]) for item in self._falling_due("message", before, limit)]

    def forget_message_id(self, key: LetterKey) -> None:
        """Delete the message id that SES gave a letter."""
        self._client.update_item(
            TableName=self._table,
            Key=to_attributes(key.keys),
            UpdateExpression="REMOVE message_id, sweep, sweep_at",
            ConditionExpression="sweep = :message",
            ExpressionAttributeValues=to_attributes({":message": "message"}),
        )

    def expire(self, request_id: str, sweep: str, now: datetime) -> bool:
        """Close a `draft` that is about to be deleted, so that it can no longer be confirmed, or an `unverified` case,
        so that it can no longer be verified. False: it is none any more."""
        return self._update_case(
            request_id,
            "SET expiring = :now",
            "sweep = :sweep",
            {":now": _iso(now), ":sweep": sweep},
        )

    def forget_photos(self, request_id: str, now: datetime) -> None:
        """Delete what was seen on the photos, and let the case itself fall due next."""
        case = self.get(request_id, now)
        over = case.withdrawn_at or _last_decided_at(case) or now
        for item in self._items(request_id, "photo#"):
            self._client.delete_item(TableName=self._table, Key=to_attributes({"pk": item["pk"], "sk": item["sk"]}))
        self._update_case(
            request_id,
            "SET sweep = :case, sweep_at = :at",
            "sweep = :photos",
            {":case": "case", ":photos": "photos", ":at": _iso(over + deadlines.CASE_KEPT)},
        )

    def delete_case(self, request_id: str) -> None:
        """Delete everything of a case; the case's own item last, so that a killed sweep finds it again."""
        for item in sorted(self._items(request_id), key=lambda item: item["sk"] == "case"):
            if item["sk"] == "case":
                pointers = [f"number#{item['number']}", *(f"exclusion#{each}" for each in item["exclusions"])]
                for pointer in pointers:
                    self._client.delete_item(TableName=self._table, Key=to_attributes({"pk": pointer, "sk": "case"}))
            self._client.delete_item(TableName=self._table, Key=to_attributes({"pk": item["pk"], "sk": item["sk"]}))

    def _update_case(self, request_id: str, expression: str, condition: str, values: dict[str, Any]) -> bool:
        try:
            self._client.update_item(
                TableName=self._table,
                Key=to_attributes({"pk": _case_key(request_id), "sk": "case"}),
                UpdateExpression=expression,
                ConditionExpression=f"attribute_exists(pk) AND {condition}",
                ExpressionAttributeValues=to_attributes(values),
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _already(case: OptOutRequest) -> AlreadyDecided:
    """What to tell the reviewer who came second."""
    decision = case.upheld or case.decision
    if case.status is Status.WITHDRAWN:
        return AlreadyDecided(case.status.value, None, case.withdrawn_at)
    return AlreadyDecided(case.status.value, decision.reviewer if decision else None, decision.at if decision else None)


def _newest_letter(case: OptOutRequest) -> Letter:
    """The letter that says how the case stands."""
    if case.appealed_at is not None:
        return Letter.APPEAL_RECEIVED
    if case.upheld is not None:
        return Letter.UPHELD
    came_by = (row for row in TRANSITIONS.values() if row.target is case.status and row.source is not case.status)
    return next(row.letter for row in came_by if row.letter is not None)


def _look_item(case: OptOutRequest, name: str, reviewer: str, now: datetime, **of: str) -> dict[str, Any]:
    """A line of a case's history that leaves the case's version as it is: a reviewer looked at something of it."""
    return {
        "pk": _case_key(case.id),
        "sk": f"view#{_iso(now)}#{new_ticket()}",
        "version": 0,
        "name": name,
        "at": _iso(now),
        "actor": reviewer,
        "status": case.status.value,
        **of,
    }


def _require_takes_photos(case: OptOutRequest) -> None:
    if not case.takes_photos:
        raise StateConflict if case.room > 0 else TooManyPhotos


def _refuse(case: OptOutRequest) -> Revocation:
    raise _already(case)


# -------------------------------------------------------------------------------------------------------------- photos


@dataclass(frozen=True)
class Upload:
    """Where and with which hidden fields a browser posts one photo."""

    ticket: str
    url: str
    fields: dict[str, str]


@dataclass(frozen=True)
class RawPhoto:
    """The bytes of exactly one version of an upload."""

    data: bytes
    version_id: str


class Photos:
    """The photos bucket: strangers upload to `raw/<case>/<ticket>`, kept copies are `photos/<case>/<sha256>.jpg`."""

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = bucket
        self._client = client

    @classmethod
    def from_settings(cls) -> Photos:
        """The bucket of this deployment."""
        return cls(settings.photos_bucket(), settings.aws("s3"))

    def ticket(self, request_id: str, pages: str, query: str = "") -> Upload:
        """A ticket for one upload straight from the browser to S3: one key, 1 byte to 25 MB, 15 minutes. The browser is
        then sent to the page of this ticket below the address `pages`, with `query`, to which S3 adds its own.

        The type is fixed to application/octet-stream: a form without JavaScript cannot name the file's own, and nothing
        that strangers upload should ever be shown by a browser. What it is, is decided by decoding it.
        """
        ticket = new_ticket()
        redirect = f"{pages}/{ticket}" + (f"?{query}" if query else "")
        fixed = {"Content-Type": "application/octet-stream", "success_action_redirect": redirect}
        post = self._client.generate_presigned_post(
            self._bucket,
            f"raw/{request_id}/{ticket}",
            Fields=dict(fixed),
            Conditions=[{name: value} for name, value in fixed.items()]
            + [["content-length-range", 1, MAX_UPLOAD_BYTES]],
            ExpiresIn=UPLOAD_LIFETIME_S,
        )
        return Upload(ticket, post["url"], post["fields"])

    def read_raw(self, request_id: str, ticket: str) -> RawPhoto:
        """Read one version of an upload. Raises `PhotoNotFound` when nothing arrived under this ticket."""
        key = f"raw/{request_id}/{ticket}"
        # Asking for the versions first tells "nothing arrived" from "not allowed", which GetObject alone does not.
        newest = next((found for found in self._versions(key) if found["Key"] == key and found.get("IsLatest")), None)
        if newest is None or "ETag" not in newest:
            raise PhotoNotFound
        answer = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=newest["VersionId"])
        with answer["Body"] as body:
            return RawPhoto(body.read(MAX_UPLOAD_BYTES + 1), newest["VersionId"])

    def keep(self, request_id: str, picture_sha256: str, jpeg: bytes) -> None:
        """Write the re-encoded copy under its own hash, where no upload ticket can write."""
        self._client.put_object(
            Bucket=self._bucket,
            Key=f"photos/{request_id}/{picture_sha256}.jpg",
            Body=jpeg,
            ContentType="image/jpeg",
        )

    def read_copy(self, request_id: str, picture_sha256: str) -> bytes:
        """A kept copy. Raises `PhotoNotFound` when it is gone."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=f"photos/{request_id}/{picture_sha256}.jpg")
        except self._client.exceptions.NoSuchKey as error:
            raise PhotoNotFound from error
        with answer["Body"] as body:
            return bytes(body.read())

    def discard_raw(self, request_id: str, ticket: str) -> None:
        """Delete every version of an upload."""
        key = f"raw/{request_id}/{ticket}"
        self._delete(found for found in self._versions(key) if found["Key"] == key)

    def discard_copy(self, request_id: str, picture_sha256: str) -> None:
        """Delete a kept copy; the bucket forgets its old version a week later, or retention does before."""
        self._client.delete_object(Bucket=self._bucket, Key=f"photos/{request_id}/{picture_sha256}.jpg")

    def delete_copy(self, request_id: str, picture_sha256: str) -> None:
        """Delete a kept copy in every version."""
        self._delete(self._versions(f"photos/{request_id}/{picture_sha256}.jpg"))

    def view_url(self, request_id: str, picture_sha256: str) -> str:
        """A link to a kept copy that works for five minutes."""
        return str(
            self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": f"photos/{request_id}/{picture_sha256}.jpg"},
                ExpiresIn=VIEW_LIFETIME_S,
            )
        )

    def delete_all(self, request_id: str) -> None:
        """Delete everything of a case, uploads and copies, in every version."""
        for prefix in ("raw", "photos"):
            self._delete(self._versions(f"{prefix}/{request_id}/"))

    def _versions(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Every version and delete marker under a prefix; markers have no ETag."""
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix):
            yield from page.get("Versions", [])
            yield from page.get("DeleteMarkers", [])

    def _delete(self, versions: Iterable[dict[str, Any]]) -> None:
        for version in versions:
            self._client.delete_object(Bucket=self._bucket, Key=version["Key"], VersionId=version["VersionId"])
