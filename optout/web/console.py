"""The reviewers' console: what each of its routes does and shows.

The page at /console is static; everything about cases arrives in fragments (`pages/console/*`), each fetched with the
reviewer's token. A fragment is for a request that accepts text/html; a decision is also answered to programs, as JSON.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatch
from typing import Any, Literal, TypeVar

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optout import deadlines, http, settings
from optout.decisions import (
    MAX_TEXT,
    REASONS,
    AcceptReason,
    Decision,
    ExtendReason,
    RejectReason,
    RevokeReason,
    UpholdReason,
    exclusion_id,
    exclusions_for,
    require_reason,
)
from optout.disposable import is_disposable
from optout.errors import (
    AlreadyDecided,
    DecisionTooLarge,
    ExclusionNotFound,
    HeadContended,
    NoExtension,
    NothingToExclude,
    OptOutError,
    PhotoNotFound,
    RequestInvalid,
    RequestNotFound,
    ReviewNotFound,
    SameReviewer,
    StateConflict,
    Unavailable,
)
from optout.exclusions.entry import Scope
from optout.exclusions.face_rates import face_threshold, false_share, review_threshold
from optout.likeness import alike, disagreeing
from optout.listed import alike_on_the_list
from optout.provisional import HELD_PER_ADDRESS, HELD_PER_DAY
from optout.requests import (
    TRANSITIONS,
    Actor,
    Extension,
    Kind,
    Lane,
    MailTrouble,
    OptOutRequest,
    Photo,
    RelatedCase,
    Relation,
    Revocation,
    Status,
    Step,
    Unheld,
)
from optout.reviews import Review
from optout.store import Photos, Requests
from optout.web import wording

GROUP = "reviewers"

# Related cases whose faces one page compares: each is a read of its photos.
_COMPARED = 20

# Possible copies on one page: each costs three reads, and nobody answers more at a sitting.
_REVIEWS_SHOWN = 20

# A third of the shortest promise, 72 hours for a face: what is not looked at today will be late.
DUE_SOON = timedelta(hours=24)

VIEWS: dict[str, str] = {
    "pending": "To decide",
    Status.WAITING: "Waiting",
    "appeal": "Appeals",
    "revocation": "Revocations to confirm",
    "suspended": "Suspended",
    "added": "Photos added",
    Status.ACCEPTED: "Accepted",
    Status.REJECTED: "Rejected",
    Status.WITHDRAWN: "Withdrawn",
    Status.REVOKED: "Revoked",
}

KINDS: dict[Kind, str] = {Kind.FACE: "Face", Kind.IMAGE: "Picture", Kind.LINKS: "Links"}

# The lanes that are decided first. The badges are read in the open office: what is in the pictures stands in the case.
LANES: dict[Lane, str] = {
    Lane.INTIMATE: "24 hours: intimate",
    Lane.CHILD: "24 hours: minor",
    Lane.ABUSE: "24 hours: abuse report",
}

# Who a requester is to the person whom they ask for.
RELATIONS: dict[Relation, str] = {
    Relation.PARENT: "as a parent",
    Relation.GUARDIAN: "as a guardian",
    Relation.REPRESENTATIVE: "as a representative",
    Relation.OTHER: "for somebody else",
}

STATUSES: dict[Status, str] = {
    Status.PENDING: "To decide",
    Status.WAITING: "Waiting for an answer",
    Status.ACCEPTED: "Accepted",
    Status.REJECTED: "Rejected",
    Status.WITHDRAWN: "Withdrawn by the requester",
    Status.REVOKED: "Revoked",
}

EVENTS: dict[str, str] = {
    Step.CONFIRM: "Sent in",
    Step.ASK: "Asked the requester",
    Step.INFORM: "The requester told more",
    Step.EXTEND: "Date put off",
    Step.APPEAL: "Appealed",
    Step.UPHOLD: "Upheld after an appeal",
    Step.ACCEPT: "Accepted",
    Step.REJECT: "Rejected",
    Step.ACCEPT_ON_APPEAL: "Accepted on appeal",
    Step.WITHDRAW: "Withdrawn",
    Step.REVOKE: "Revoked",
    "propose_revocation": "Revocation proposed",
    "cancel_revocation": "Revocation cancelled",
    "verify": "Address verified",
    "send_again": "First letter sent again on request",
    "release": "No longer held back",
    "view_photo": "Looked at a photo",
    "suspend": "Exclusion suspended",
    "resume": "Exclusion resumed",
    "mail_temporary": "A letter came back for now",
    "mail_rejected": "A letter was refused",
    "mail_unusable": "A letter could not be addressed",
    "mail_suppressed": "A letter was not sent",
    "mail_bounced": "A letter came back",
    "mail_complained": "A letter was called spam",
    "revoke_links": "Mailed links revoked",
    "answer_same": "A picture found by a crawler was called the same",
    "answer_different": "A picture found by a crawler was called different",
    "add_photos": "Photos added",
    "accept_added": "Added photos accepted",
    "reject_added": "Added photos not used",
    "measure_again": "Faces measured again",
    "ask_new_photo": "Asked for a new photo",
}

# Why letters of a case do not arrive, and what that means for the reviewer.
MAIL_TROUBLES: dict[MailTrouble, str] = {
    MailTrouble.TEMPORARY: "A letter could not be delivered for hours and came back. The next one is sent as usual.",
    MailTrouble.REJECTED: "The mail service would not send a letter of this case. The next one is tried as usual.",
    MailTrouble.UNUSABLE: "No letter can be sent to this address: it is not one that mail can be sent to.",
    MailTrouble.SUPPRESSED: "Letters of this case are not sent: others to this address came back or were called spam.",
    MailTrouble.BOUNCED: "The mailbox does not exist. A letter came back, and no other is sent to this address.",
    MailTrouble.COMPLAINED: "The reader called a letter spam. No other is sent to this address.",
}

# What a reviewer said about a possible copy, as the one who came second reads it.
ANSWERS: dict[str, str] = {"same": "Called the same", "different": "Called different"}

# What a lookup has found, in the reviewers' terms; `distance` and `threshold` are those of the lookup's answer.
SIGNALS: dict[str, str] = {"face": "The face", "picture": "The picture", "pdq": "The picture's hash"}

# Why a case with a verified address is not held back.
UNHELD: dict[Unheld, str] = {
    Unheld.OFF: "Not held back: switched off by the operator",
    Unheld.ADDRESS: f"Not held back: above the limit of {HELD_PER_ADDRESS} for one address",
    Unheld.DAY: f"Not held back: above the limit of {HELD_PER_DAY:,} for one day",
    Unheld.NOTHING: "Not held back: it has no signal to hold back by",
}

# Short names of the reasons; beside each stands the sentence that the requester reads (`wording.reason`).
REASON_NAMES: dict[str, str] = {
    AcceptReason.SHOWS_REQUESTER: "It shows the requester",
    AcceptReason.REQUESTERS_PICTURE: "It is the requester's picture",
    AcceptReason.REPRESENTED_PERSON: "Asked for a represented person",
    AcceptReason.UNLAWFUL_CONTENT: "Unlawful content",
    AcceptReason.GOODWILL: "Goodwill",
    RejectReason.SUSPECTED_FRAUD: "Suspected fraud",
    RejectReason.INSUFFICIENT_VERIFICATION: "Not verified well enough",
    RejectReason.NO_MATCH: "Not found in the search",
    RejectReason.CLAIM_NOT_COVERED: "Claim not covered",
    RejectReason.OUTSIDE_JURISDICTION: "Outside jurisdiction",
    RejectReason.TOO_MANY_REQUESTS: "Asked and answered before",
    RejectReason.FACE_NOT_RECOGNISABLE: "Face not recognisable",
    RejectReason.PUBLIC_INTEREST: "Public interest",
    RejectReason.OTHER: "Another reason",
    RevokeReason.ACCEPTED_BY_MISTAKE: "Accepted by mistake",
    RevokeReason.EXCLUDES_OTHERS: "Excludes other people",
    UpholdReason.FACTS_STAND: "The facts stand",
    UpholdReason.RULES_APPLY: "The rules lead to the same",
    ExtendReason.COMPLEX: "The case is complex",
    ExtendReason.MANY_REQUESTS: "Too many requests at once",
}

PROBLEMS: dict[tuple[str, str], str] = {
    ("reason", "choose_one"): "Choose one of the listed reasons.",
    ("reason", "required"): "Choose one of the listed reasons.",
    ("text", "required"): "Explain the decision in your own words; the requester reads them in the letter.",
    ("until", "required"): "Choose the new date.",
    ("until", "not_valid"): "Choose the new date.",
    ("until", "not_allowed"): "The new date must be after the present one, and no later than the law allows.",
    ("text", "too_long"): f"The text is too long: at most {MAX_TEXT:,} characters.",
}


# --- who asks, and how ------------------------------------------------------------------------------------------------


def reviewer(app: APIGatewayRestResolver) -> str | None:
    """The signed-in reviewer's user name; None when the caller is not in the reviewers' group.

    The group claim arrives as text: `a,b` from API Gateway, `[a, b]` from the embedded AWS.
    """
    authorizer = app.current_event.raw_event.get("requestContext", {}).get("authorizer") or {}
    claims = authorizer.get("claims") or {}
    groups = re.split(r"[\s,]+", str(claims.get("cognito:groups", "")).strip("[] "))
    name = claims.get("cognito:username") or claims.get("email")
    return str(name) if name and GROUP in groups else None


def _signed_in(app: APIGatewayRestResolver) -> str:
    name = reviewer(app)
    if name is None:
        raise RequestNotFound
    return name


def _wants_page(app: APIGatewayRestResolver) -> bool:
    return "text/html" in (app.current_event.headers.get("Accept") or "")


def _query(app: APIGatewayRestResolver, name: str) -> str:
    return str((app.current_event.query_string_parameters or {}).get(name) or "")


# --- what is sent -----------------------------------------------------------------------------------------------------


class _Sent(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)


class _DecisionSent(_Sent):
    decision_id: uuid.UUID
    version: int = Field(ge=1)
    step: Literal[Step.ACCEPT, Step.REJECT, Step.ACCEPT_ON_APPEAL, Step.UPHOLD]
    reason: str = ""
    text: str = ""


class _RevocationSent(_Sent):
    version: int = Field(ge=1)
    reason: str = ""
    text: str = ""


class _QuestionSent(_Sent):
    version: int = Field(ge=1)
    text: str = ""


class _ExtensionSent(_Sent):
    version: int = Field(ge=1)
    reason: str = ""
    text: str = ""
    until: date


class _SettlementSent(_Sent):
    action: Literal["confirm", "cancel"]


class _AddedSent(_Sent):
    version: int = Field(ge=1)
    action: Literal["accept", "reject"]


class _SuspensionSent(_Sent):
    exclusion: str = Field(min_length=1, max_length=64)
    action: Literal["suspend", "resume"]


class _AnswerSent(_Sent):
    answer: Literal["same", "different"]


_Body = TypeVar("_Body", bound=_Sent)


def _sent(app: APIGatewayRestResolver, model: type[_Body]) -> _Body:
    """The body, url-encoded or JSON, as the model. Raises `RequestInvalid`; its codes never hold what was sent."""
    if "application/json" in (app.current_event.headers.get("Content-Type") or ""):
        try:
            fields: Any = json.loads(http.body(app, http.MAX_FORM_BYTES))
        except (ValueError, RecursionError) as error:
            raise RequestInvalid({"body": "unreadable"}) from error
    else:
        # Browsers send line ends as CRLF; the limit counts what the reviewer typed.
        fields = {name: values[-1].replace("\r\n", "\n") for name, values in http.form(app).items()}
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problems = {
            str(found["loc"][0]) if found["loc"] else "body": "required" if found["type"] == "missing" else "not_valid"
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        }
        raise RequestInvalid(problems) from error


# --- fragments --------------------------------------------------------------------------------------------------------


def _fragment(template: str, status: int = 200, **values: Any) -> Response[str]:
    statuses: dict[str, str] = {str(status): words for status, words in STATUSES.items()} | ANSWERS
    return http.page(
        f"console/{template}.html",
        status,
        kinds=KINDS,
        lanes=LANES,
        relations=RELATIONS,
        statuses=statuses,
        span=span,
        unheld=UNHELD,
        **values,
    )


def span(length: timedelta) -> str:
    """A length of time in its largest unit: `3 days`, `1 hour`, `12 minutes`."""
    minutes = int(abs(length).total_seconds() // 60)
    for unit, size in (("day", 24 * 60), ("hour", 60)):
        if minutes >= 2 * size or (unit == "hour" and minutes >= size):
            count = minutes // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{minutes} minute{'' if minutes == 1 else 's'}"


def urgency(request: OptOutRequest, now: datetime) -> str:
    """`overdue`, `soon` or `later`; `none` for a case that nobody waits for."""
    if request.due_at is None or not request.undecided:
        return "none"
    if request.due_at <= now:
        return "overdue"
    return "soon" if request.due_at - now <= DUE_SOON else "later"


def shell(photos: Photos) -> Response[str]:
    """The console's page: signs the reviewer in, then shows fragments. Holds nothing about anybody."""
    login = settings.console_login_url()
    policy = http.content_security_policy(
        # The bucket's origin depends on region and endpoint; the one place that knows it is the client that signs.
        storage=[http.origin(photos.view_url("-", "-"))],
        images=settings.engine_picture_hosts(),
        connect=[http.origin(login)],
        form_action=[http.origin(login)],
    )
    return http.page(
        "console/shell.html",
        policy=policy,
        client_id=settings.console_client_id(),
        login_url=login,
        redirect_uri=f"{settings.site_url()}/console",
        views=VIEWS,
    )


def queue(app: APIGatewayRestResolver, requests: Requests, now: datetime) -> Response[str]:
    """One view of the queue by due date, or the case with the number asked for."""
    number = _query(app, "number")
    if number:
        return _fragment(
            "queue",
            view="",
            title="Search",
            found=_by_number(requests, number, now),
            number=number,
            now=now,
            urgency=urgency,
        )
    view = _query(app, "view") or "pending"
    if view not in VIEWS:
        raise RequestInvalid({"view": "choose_one"})
    return _fragment(
        "queue", view=view, title=VIEWS[view], found=requests.queue(view), number="", now=now, urgency=urgency
    )


def _by_number(requests: Requests, number: str, now: datetime) -> list[OptOutRequest]:
    """The confirmed case with this number, however its dash and letters were typed; empty when there is none."""
    plain = re.sub(r"[^0-9A-Z]", "", number.upper())
    if len(plain) != 8:
        return []
    try:
        found = requests.by_number(f"{plain[:4]}-{plain[4:]}", now)
    except RequestNotFound:
        return []
    return [found]


def _by_exclusion(requests: Requests, exclusion_id: str, now: datetime) -> list[OptOutRequest]:
    """The case behind an id that a crawler or an alarm named; empty when there is none."""
    found = requests.by_exclusion(exclusion_id.strip(), now) if exclusion_id.isascii() else None
    return [found] if found else []


def _confirmed(requests: Requests, request_id: str, now: datetime) -> OptOutRequest:
    """The case. What a requester has not sent in yet is none of a reviewer's business: a draft is not found."""
    request = requests.get(http.secret_id(request_id), now)
    if request.status is Status.DRAFT:
        raise RequestNotFound
    return request


def case(app: APIGatewayRestResolver, requests: Requests, request_id: str, now: datetime) -> Response[str]:
    """Everything a reviewer needs to decide one case."""
    return _case(app, requests, _confirmed(requests, request_id, now), now)


def _case(
    app: APIGatewayRestResolver, requests: Requests, request: OptOutRequest, now: datetime, notice: str = ""
) -> Response[str]:
    photos = requests.photos(request.id)
    related = requests.related(request, photos)
    name = _signed_in(app)
    return _fragment(
        "case",
        request=request,
        photos=photos,
        related=related,
        remarks=remarks(request),
        signals=face_signals(requests, request, photos, related),
        history=requests.history(request.id),
        reviewer=name,
        steps=_steps(request, name, now),
        latest=deadlines.latest_extension(request, now),
        empty=_excludes_nothing(request, photos),
        decision_id=str(uuid.uuid4()),
        now=now,
        notice=notice,
        urgency=urgency(request, now),
        events=EVENTS,
        reasons={step: list(codes) for step, codes in REASONS.items()},
        reason_names=REASON_NAMES,
        mail_troubles=MAIL_TROUBLES,
        reason=wording.reason,
        due_rule=wording.due_rule,
        max_text=MAX_TEXT,
    )


def listed_faces(requests: Requests, request_id: str, now: datetime) -> Response[str]:
    """Whose faces on the exclusion list look like those of this case: of all cases, not only of the related ones. A
    fragment of its own, because the case must not wait for it."""
    request = _confirmed(requests, request_id, now)
    try:
        ids = alike_on_the_list(requests.photos(request.id))
    except Exception as error:
        if not isinstance(http.in_our_terms(error), Unavailable):
            raise
        return _fragment("listed", failed=True, cases=[], deleted=0)
    found = {exclusion_id: requests.by_exclusion(exclusion_id, now) for exclusion_id in ids}
    cases = {each.id: each for each in found.values() if each is not None and each.id != request.id}
    deleted = sum(each is None for each in found.values())
    return _fragment("listed", failed=False, cases=list(cases.values()), deleted=deleted)


def face_signals(
    requests: Requests, request: OptOutRequest, photos: list[Photo], related: list[RelatedCase]
) -> list[str]:
    """What about the faces of a case asks for a second look: somebody else's face may be opted out. Compares with the
    related cases only, of which a page looks at twenty."""
    if request.kind is not Kind.FACE:
        return []
    faces = [(each, alike(photos, requests.photos(each.id))) for each in related[:_COMPARED] if each.kind is Kind.FACE]
    cases = {
        "The same face is on the list already by": [
            each for each, same in faces if same and each.status is Status.ACCEPTED
        ],
        "The same face is also asked for in": [
            each for each, same in faces if same and each.status is not Status.ACCEPTED
        ],
        "The same address asks for another face in": [
            each for each, same in faces if same is False and "address" in each.same
        ],
        "The same photo came from another address in": [each for each in related if "address" not in each.same],
    }
    disagree = wording.photos_disagree(disagreeing(photos))
    return [disagree] * bool(disagree) + [
        f"{sentence} {', '.join(each.number for each in found)}." for sentence, found in cases.items() if found
    ]


def remarks(request: OptOutRequest) -> list[str]:
    """What about the way a request came asks for a second look. Each of it happens to honest people, too."""
    found = {
        "A field that people cannot see came back filled in: a program may have sent it, or a browser that fills in "
        "forms by itself.": request.suspected,
        "Sent without a proof of work, usually by a browser without scripts.": request.unproven,
        "The address is of a service that gives addresses away for a while.": is_disposable(request.answers.email),
        f"The same address sent the same picture before: {', '.join(request.repeats)}.": bool(request.repeats),
    }
    if request.waits_for_address:
        found["It is not in the queue, because the address is not verified yet."] = True
    return [sentence for sentence, applies in found.items() if applies]


def _steps(request: OptOutRequest, name: str, now: datetime) -> dict[str, str]:
    """The steps open in this case: `open`, or `other` when it must be another reviewer's."""
    found: dict[str, str] = {}
    for (step, status), row in TRANSITIONS.items():
        if status is not request.status or row.actor is Actor.REQUESTER:
            continue
        own = row.actor is Actor.OTHER_REVIEWER and request.decided_against_by == name
        found[step.value] = "other" if own else "open"
    if request.appealed_at is None:
        found.pop(Step.UPHOLD, None)
    if deadlines.latest_extension(request, now) is None:
        found.pop(Step.EXTEND, None)
    return found


def _excludes_nothing(request: OptOutRequest, photos: list[Photo]) -> bool:
    try:
        exclusions_for(request, photos)
    except (NothingToExclude, RequestInvalid):
        return True
    return False


def photo(
    app: APIGatewayRestResolver, requests: Requests, photos: Photos, request_id: str, ticket: str, now: datetime
) -> Response[str]:
    """One photo, unblurred for five minutes. The look is on record before the link exists."""
    request = _confirmed(requests, request_id, now)
    found = [(place, each) for place, each in enumerate(requests.photos(request.id), 1) if each.ticket == ticket]
    if not found:
        raise PhotoNotFound
    place, seen = found[0]
    if seen.picture is None:  # only its codes ever came
        raise PhotoNotFound
    requests.record_view(request.id, ticket, _signed_in(app), now)
    return _fragment("photo", photo=seen, place=place, url=photos.view_url(request.id, seen.picture))


_DECIDED = {Step.REJECT: "Rejected.", Step.UPHOLD: "Upheld. The decision stands."}


def decide(app: APIGatewayRestResolver, requests: Requests, request_id: str, now: datetime) -> Response[str]:
    """Take the reviewer's decision. The first one stands."""
    request = _confirmed(requests, request_id, now)
    sent = _sent(app, _DecisionSent)
    require_reason(sent.step, sent.reason, sent.text)
    decision = Decision(str(sent.decision_id), sent.step, sent.reason, sent.text, _signed_in(app))
    request = requests.decide(request.id, decision, sent.version, now)
    record = request.upheld if sent.step is Step.UPHOLD else request.decision
    if _wants_page(app) or record is None:
        notice = _DECIDED.get(sent.step, "Accepted. It is on the exclusion list now.")
        return _case(app, requests, request, now, f"{notice} The letter is on its way.")
    return http.json_answer(
        {
            "status": request.status.value,
            "decision_id": record.decision_id,
            "reviewer": record.reviewer,
            "at": record.at.isoformat(),
            "list_version": record.list_version,
        }
    )


def ask(app: APIGatewayRestResolver, requests: Requests, request_id: str, now: datetime) -> Response[str]:
    """Ask the requester something. The case waits for the answer; its date stays as it is."""
    request = _confirmed(requests, request_id, now)
    sent = _sent(app, _QuestionSent)
    if not sent.text or len(sent.text) > MAX_TEXT:
        raise RequestInvalid({"text": "too_long" if sent.text else "required"})
    request = requests.ask(request.id, sent.text, _signed_in(app), sent.version, now)
    return _changed(app, requests, request, now, "Asked. The letter is on its way, and the case waits for the answer.")


def extend(app: APIGatewayRestResolver, requests: Requests, request_id: str, now: datetime) -> Response[str]:
    """Put off the date of an open case, once, as far as the law allows."""
    request = _confirmed(requests, request_id, now)
    sent = _sent(app, _ExtensionSent)
    require_reason(Step.EXTEND, sent.reason, sent.text)
    latest = deadlines.latest_extension(request, now)
    # The whole of the day that is named; on the last day that the law allows, until its hour.
    to = latest if latest and latest.date() == sent.until else datetime.combine(sent.until, time(23, 59), UTC)
    extension = Extension(request.due_at or now, sent.reason, sent.text, _signed_in(app), now)
    request = requests.extend(request.id, extension, to, sent.version)
    return _changed(app, requests, request, now, "The date is put off. The letter that says so is on its way.")


def propose_revocation(
    app: APIGatewayRestResolver, requests: Requests, request_id: str, now: datetime
) -> Response[str]:
    """Propose to take an acceptance back. Nothing changes for anybody until another reviewer confirms."""
    request = _confirmed(requests, request_id, now)
    sent = _sent(app, _RevocationSent)
    require_reason(Step.REVOKE, sent.reason, sent.text)
    revocation = Revocation(sent.reason, sent.text, _signed_in(app), now)
    request = requests.propose_revocation(request.id, revocation, sent.version, now)
    return _changed(app, requests, request, now, "Revocation proposed. Another reviewer must confirm it.")


def settle_revocation(app: APIGatewayRestResolver, requests: Requests, request_id: str, now: datetime) -> Response[str]:
    """Confirm (another reviewer) or cancel (anybody) a proposed revocation."""
    request = _confirmed(requests, request_id, now)
    if _sent(app, _SettlementSent).action == "confirm":
        request = requests.confirm_revocation(request.id, _signed_in(app), now)
        return _changed(app, requests, request, now, "Revoked. It is off the exclusion list; the letter is on its way.")
    request = requests.cancel_revocation(request.id, _signed_in(app), now)
    return _changed(app, requests, request, now, "The proposal is cancelled. The acceptance stays.")


def decide_added(app: APIGatewayRestResolver, requests: Requests, request_id: str, now: datetime) -> Response[str]:
    """Let the photos that were added to an accepted case join what it excludes, or leave it as it is."""
    request = _confirmed(requests, request_id, now)
    sent = _sent(app, _AddedSent)
    accept = sent.action == "accept"
    request = requests.decide_added(request.id, _signed_in(app), sent.version, now, accept=accept)
    notice = (
        "Accepted. What was added is on the exclusion list now." if accept else "Not used. The rest stays in force."
    )
    return _changed(app, requests, request, now, notice)


def suspend(app: APIGatewayRestResolver, requests: Requests, request_id: str, now: datetime) -> Response[str]:
    """Let one exclusion of the case hold back instead of exclude, at once, or (another reviewer) exclude again."""
    request = _confirmed(requests, request_id, now)
    sent = _sent(app, _SuspensionSent)
    if sent.exclusion not in request.exclusions:
        raise ExclusionNotFound
    step = requests.suspend if sent.action == "suspend" else requests.resume
    request = step(sent.exclusion, _signed_in(app), now) or request
    if sent.action == "suspend":
        return _changed(app, requests, request, now, "Suspended. The next lookup holds its matches back.")
    return _changed(app, requests, request, now, "Resumed. The next lookup excludes its matches again.")


def _changed(
    app: APIGatewayRestResolver, requests: Requests, request: OptOutRequest, now: datetime, notice: str
) -> Response[str]:
    if _wants_page(app):
        return _case(app, requests, request, now, notice)
    return http.json_answer({"status": request.status.value, "version": request.version})


def exclusions(app: APIGatewayRestResolver, requests: Requests, now: datetime) -> Response[str]:
    """The accepted cases and what each put on the exclusion list."""
    number = _query(app, "number")
    if number:
        found = _by_number(requests, number, now) or _by_exclusion(requests, number, now)
    else:
        # A proposed revocation has not taken anything off the list yet, and neither has a suspension.
        views = (Status.ACCEPTED, "revocation", "suspended", "added")
        found = [case for view in views for case in requests.queue(view)]
    listed = [each for each in found if each.status is Status.ACCEPTED]
    return _fragment("exclusions", found=listed, number=number, faces=None if number else face_list(requests))


def face_list(requests: Requests) -> dict[str, Any]:
    """How many faces the list holds, how sure a match must be therefore, and what that is expected to cost."""
    people, photos = requests.listed_faces()
    cosine = face_threshold(photos, settings.false_exclusions_per_million())
    reviewed = review_threshold(photos, cosine, settings.reviews_per_day() / settings.crawled_faces_per_day())
    return {
        "people": people,
        "photos": photos,
        "cosine": cosine,
        "review_cosine": reviewed,
        "wrong_per_million": 1e6 * false_share(photos, cosine),
        "wanted_per_million": settings.false_exclusions_per_million(),
        "reviews_per_million": 1e6 * (false_share(photos, reviewed) - false_share(photos, cosine)),
    }


# --- possible copies --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _PossibleCopy:
    """A review with what a reviewer compares: the photos that the exclusion was made of, each with its place in the
    case, and whether this browser may load the candidate."""

    review: Review
    case: OptOutRequest
    photos: list[tuple[int, Photo]]
    loadable: bool


def possible_copies(requests: Requests, now: datetime, notice: str = "") -> Response[str]:
    """What lookups found that a person must look at, the oldest first."""
    found = []
    for review in requests.open_reviews(_REVIEWS_SHOWN):
        case = requests.excluding_case(review.doubt.exclusion_id, now)
        if case is not None:
            shown = _excluded_photos(requests, case, review.doubt.exclusion_id)
            found.append(_PossibleCopy(review, case, shown, _loadable(review.doubt.url)))
    return _fragment(
        "reviews", found=found, count=requests.count_open_reviews(), now=now, notice=notice, signals=SIGNALS
    )


def _excluded_photos(requests: Requests, case: OptOutRequest, excluded: str) -> list[tuple[int, Photo]]:
    """A face is excluded by all photos of its case, a picture by itself."""
    return [
        (place, photo)
        for place, photo in enumerate(requests.photos(case.id), 1)
        if case.kind is Kind.FACE or exclusion_id(case.id, Scope.IMAGE, photo.ticket) == excluded
    ]


def _loadable(url: str) -> bool:
    """Whether the console's policy lets it load this picture; close enough to what browsers do to say so beforehand."""
    origin = http.origin(url)
    full = origin if re.search(r":\d+$", origin) else f"{origin}:{443 if origin.startswith('https:') else 80}"
    return any(fnmatch(each, host) for host in settings.engine_picture_hosts() for each in (origin, full))


def answer_review(
    app: APIGatewayRestResolver, requests: Requests, sha256: str, excluded: str, now: datetime
) -> Response[str]:
    """Take a reviewer's answer about a possible copy. The first one stands."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256) or not re.fullmatch(r"[\w.-]{1,64}", excluded):
        raise ReviewNotFound
    said = _sent(app, _AnswerSent).answer
    review = requests.answer_review(sha256, excluded, same=said == "same", reviewer=_signed_in(app), now=now)
    if _wants_page(app):
        done = "The next lookup excludes it." if said == "same" else "It no longer holds this picture back."
        return possible_copies(requests, now, f"{ANSWERS[said]}. {done}")
    at = review.answered_at.isoformat() if review.answered_at else None
    return http.json_answer({"answer": said, "reviewer": review.reviewer, "at": at})


# --- refusals ---------------------------------------------------------------------------------------------------------


# What reviewers are told, in their terms; a class without a row has its nearest parent's. The status of each is the one
# that `optout.http` answers programs with.
_REFUSALS: dict[type, tuple[int, str]] = {
    StateConflict: (409, "The case has changed since you opened it. Nothing was recorded; please look again."),
    SameReviewer: (409, "This second look must be another reviewer's; you took the step before it."),
    NoExtension: (409, "The date of this case cannot be put off: it has come, or was put off, or the law allows none."),
    NothingToExclude: (409, "Accepting this would exclude nothing, so it cannot be accepted. Nothing was recorded."),
    DecisionTooLarge: (409, "This case has more signals than one decision can hold. Nothing was recorded."),
    RequestNotFound: (404, "There is no such case. It may have been deleted when its time was over."),
    ReviewNotFound: (404, "There is no such possible copy any more. Nothing was recorded."),
    PhotoNotFound: (404, "There is no such photo in this case."),
    ExclusionNotFound: (404, "This exclusion is no longer in force. Nothing was recorded."),
    Unavailable: (503, "We cannot answer surely just now. Please try again in a moment."),
    HeadContended: (503, "Too many decisions are being written just now. Nothing was recorded; please press again."),
}


def not_a_reviewer(app: APIGatewayRestResolver) -> Response[str]:
    """403: signed in, but not in the reviewers' group."""
    sentence = "You are signed in, but you are not in the reviewers' group."
    if _wants_page(app):
        return _fragment("refusal", 403, sentences=[sentence], decided=None, reload=False)
    return http.json_answer({"error": "not_a_reviewer", "message": sentence}, 403)


def refusal(app: APIGatewayRestResolver, error: OptOutError) -> Response[str]:
    """The error as a fragment that says what stands now; programs get the JSON that `optout.http` makes."""
    if not _wants_page(app):
        raise error
    if isinstance(error, AlreadyDecided):
        return _fragment("refusal", 409, sentences=[], decided=error, reload=True)
    if isinstance(error, RequestInvalid):
        return _fragment("refusal", 400, sentences=_problem_sentences(error.problems), decided=None, reload=False)
    for known in type(error).__mro__:
        if known in _REFUSALS:
            status, sentence = _REFUSALS[known]
            changed = known is StateConflict
            return _fragment("refusal", status, sentences=[sentence], decided=None, reload=changed)
    raise error


def _problem_sentences(problems: Mapping[str, str]) -> list[str]:
    general = "Something in what was sent is missing or not right. Open the case again."
    return list(dict.fromkeys(PROBLEMS.get(problem, general) for problem in problems.items()))
