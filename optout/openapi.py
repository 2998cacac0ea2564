"""What the API takes and answers, route by route: the published contract.

    python -m optout.openapi > docs/api/openapi.json            for programs, OpenAPI 3.1
    python -m optout.openapi --routes > docs/routes.md          for people, one table

`OPERATIONS` is the one list. Bodies come from the models and limits that the handlers read with, refusals from the
table that `optout.http` answers with. tests/unit/test_openapi.py holds the list against `infra/template.yaml` and the
handlers' own routes, and tests/integration/test_contracts.py holds the answers of the deployed API against it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from optout import errors, hashed, http, lookups
from optout.decisions import MAX_TEXT, REASONS
from optout.fingerprint import FINGERPRINT_VERSION
from optout.languages import LANGUAGES
from optout.requests import MAX_EXPLANATION, MAX_NAME, Kind, Lane, Relation, Status, Step
from optout.web import console, forms, site, wording
from optout.web.countries import countries

Schema = dict[str, Any]


class Access(StrEnum):
    """Who may ask."""

    ANYBODY = "anybody"
    REVIEWERS = "a reviewer's token"
    CRAWLERS = "a crawler's signature"


class Shape(StrEnum):
    """What an operation answers when it does what it is for."""

    PAGE = "text/html"
    JSON = "application/json"


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    `pages` and `moved` say what a success looks like: a page (200), a redirect (303), or either. `refuses` names the
    errors that a caller can meet here; every operation may also be refused by the gateway in front of it.
    """

    method: str
    path: str
    function: str
    access: Access
    does: str
    page: str = ""
    moved: str = ""
    empty: str = ""
    json: tuple[str, Schema] | None = None
    form: Schema | None = None
    form_or_json: bool = False
    body: Schema | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    refuses: tuple[type[errors.OptOutError], ...] = ()
    wrong: str = ""

    @property
    def name(self) -> str:
        """`GET /help`."""
        return f"{self.method} {self.path}"


def _text(longest: int | None = None, says: str = "") -> Schema:
    schema: Schema = {"type": "string"}
    if longest is not None:
        schema["maxLength"] = longest
    if says:
        schema["description"] = says
    return schema


def _one_of(values: Any, says: str = "") -> Schema:
    return {"type": "string", "enum": [str(value) for value in values]} | ({"description": says} if says else {})


def _form(required: tuple[str, ...], **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, **({"required": list(required)} if required else {})}


_ANSWERS_TYPED: dict[str, Schema] = {
    "explanation": _text(MAX_EXPLANATION, "Why it should go."),
    "links": _text(says="One web address a line; asked for when the kind is `links`."),
    "on_behalf_of": _one_of(Relation, "Whom the request is for, and as what; not asked in the lane `abuse`."),
    "represented": _text(MAX_NAME, "Their name; asked for when `on_behalf_of` is another than `self`."),
    "first_name": _text(MAX_NAME),
    "last_name": _text(MAX_NAME),
    "email": _text(forms.MAX_EMAIL, "Where the letters go."),
    "phone": _text(40, "May be left empty."),
    "country": {"$ref": "#/components/schemas/Country"},
    "biometric_consent": _one_of(("yes",), "Consent to measuring the face; asked for when the kind is `face`."),
    "good_faith": _one_of(("yes",), "What is said is accurate; asked for when the kind is `links`."),
}
_ASKED_ALWAYS = ("explanation", "on_behalf_of", "first_name", "last_name", "email", "country")
_KIND = _one_of(Kind, "What should go: a face, a picture with all its copies, or the content behind links.")
_LANE = _one_of(
    Lane,
    "What makes it urgent. In the lane `abuse` the kind is `links`, and neither name, address nor country is required.",
)
_NUMBER = _text(says="The number of a case, as letters quote it; then only that case is shown.")
_PROBLEM = _one_of(
    sorted({*wording.PHOTO_PROBLEMS, *wording.TEST_PROBLEMS, "crop", "face", "incomplete"}),
    "Why the last step did not work.",
)
_REPEATED = _text(says="Numbers of the lines that repeated a link, as in `3.7`.")


def _schema_of(model: type[BaseModel], *steps: Step) -> Schema:
    """A model's schema without the names that only this code knows it by; `reason` is one of those for the steps."""
    schema = model.model_json_schema()
    if steps:
        reasons = sorted({reason for step in steps for reason in REASONS[step]})
        schema["properties"]["reason"] = _one_of(reasons, "Which fit the step; some ask for a text.")
        schema["properties"]["text"] = _text(MAX_TEXT, "The reviewer's own words; they stand in the letter.")
    schema.pop("title", None)
    schema.pop("description", None)
    for definition in schema.get("$defs", {}).values():
        definition.pop("description", None)
    return schema


_DECIDED: Schema = _form(
    ("status", "decision_id", "reviewer", "at", "list_version"),
    status=_one_of(Status),
    decision_id={"type": "string", "format": "uuid"},
    reviewer=_text(),
    at={"type": "string", "format": "date-time"},
    list_version={
        "type": ["string", "null"],
        "description": "`min_version` of a lookup that must see this decision; null when the list did not change.",
    },
)
_CHANGED: Schema = _form(("status", "version"), status=_one_of(Status), version={"type": "integer", "minimum": 1})

_ANSWERED: Schema = _form(
    ("answer", "reviewer", "at"),
    answer=_one_of(console.ANSWERS),
    reviewer=_text(),
    at={"type": "string", "format": "date-time"},
)

_NO_DRAFT = (errors.RequestNotFound, errors.Unavailable)
# Photos can be added to a sent request with its link, which may be revoked meanwhile.
_NO_PHOTO_DRAFT = (*_NO_DRAFT, errors.LinkInvalid)
_NO_CASE = (errors.RequestNotFound, errors.Unavailable)
_NO_TEST = (errors.RequestNotFound, errors.LinkInvalid, errors.StateConflict, errors.Unavailable)
_NO_LINK = (errors.LinkInvalid, errors.LinkExpired, errors.RequestNotFound, errors.Unavailable)
_ANYBODY, _REVIEWERS, _CRAWLERS = Access.ANYBODY, Access.REVIEWERS, Access.CRAWLERS

OPERATIONS: tuple[Operation, ...] = (
    # ---- the public site
    Operation("GET", "/", "submit", _ANYBODY, "Asks what should go, and leads to the right form", page="The question."),
    Operation(
        "GET",
        "/opt-out",
        "submit",
        _ANYBODY,
        "The empty form of one kind",
        page="The form.",
        moved="To the question, when no kind is named.",
        query={"kind": _KIND, "lane": _LANE},
        refuses=(errors.UnderMaintenance,),
    ),
    Operation(
        "POST",
        "/opt-out",
        "submit",
        _ANYBODY,
        "Starts a draft from a filled-in form",
        moved="To the draft's photos.",
        form=_form(("kind", *_ASKED_ALWAYS), kind=_KIND, lane=_LANE, **_ANSWERS_TYPED),
        refuses=(errors.RequestInvalid, errors.TooManyRequests, errors.Unavailable),
        wrong="The form again, with what is not right.",
    ),
    Operation(
        "GET",
        "/opt-out/{draft}",
        "submit",
        _ANYBODY,
        "The form with a draft's answers, to change them",
        page="The form.",
        moved="To the confirmation, when the request has been sent.",
        refuses=_NO_DRAFT,
    ),
    Operation(
        "POST",
        "/opt-out/{draft}",
        "submit",
        _ANYBODY,
        "Replaces the answers of a draft",
        moved="To the draft's photos, or to its check page when nothing is missing.",
        form=_form(_ASKED_ALWAYS, **_ANSWERS_TYPED),
        refuses=(errors.RequestInvalid, errors.AlreadyConfirmed, *_NO_DRAFT),
        wrong="The form again, with what is not right.",
    ),
    Operation(
        "GET",
        "/opt-out/{draft}/photos",
        "submit",
        _ANYBODY,
        "What was seen on the photos, and a ticket to upload one more",
        page="The photos; the upload form posts straight to the bucket.",
        moved="To the confirmation, when the request has been sent.",
        query={"problem": _PROBLEM, "repeated": _REPEATED},
        refuses=(errors.TooManyRequests, *_NO_PHOTO_DRAFT),
    ),
    Operation(
        "GET",
        "/opt-out/{draft}/photos/{ticket}",
        "examine",
        _ANYBODY,
        "Looks at an uploaded photo once; the bucket sends browsers here",
        moved="To the photos, with `problem` when it could not be used.",
        empty="Looked at, for a script that uploaded and needs no page.",
        refuses=(errors.FacesOff, errors.UnderMaintenance, *_NO_PHOTO_DRAFT),
    ),
    Operation(
        "POST",
        "/opt-out/{draft}/codes",
        "submit",
        _ANYBODY,
        "Adds an intimate picture by its codes, which the requester's device computed; the picture stays there",
        moved="To the photos.",
        form=_form(
            ("sha256", "codes", "quality", "width", "height"),
            sha256={"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Of the file."},
            codes={
                "type": "string",
                "pattern": "^[0-9a-f]{64}( [0-9a-f]{64}){7}$",
                "description": "PDQ codes of the picture, then of it turned by 90, 180 and 270 degrees "
                "counter-clockwise, flipped top to bottom, left to right, along the main and the other diagonal.",
            },
            quality={"type": "integer", "minimum": hashed.MIN_QUALITY, "maximum": 100},
            width={"type": "integer", "minimum": 1, "maximum": 99999},
            height={"type": "integer", "minimum": 1, "maximum": 99999},
        ),
        refuses=(
            errors.RequestInvalid,
            errors.StateConflict,
            errors.TooManyPhotos,
            errors.AlreadyConfirmed,
            errors.TooManyRequests,
            *_NO_PHOTO_DRAFT,
        ),
    ),
    Operation(
        "POST",
        "/opt-out/{draft}/photos/{ticket}/face",
        "submit",
        _ANYBODY,
        "Chooses which face of a photo is the requester's",
        moved="To the photos.",
        form=_form(("face",), face={"type": "string", "pattern": "^[0-9]{1,3}$", "description": "Counted from 0."}),
        refuses=(errors.RequestInvalid, errors.PhotoNotFound, errors.AlreadyConfirmed, *_NO_DRAFT),
    ),
    Operation(
        "POST",
        "/opt-out/{draft}/photos/{ticket}/crop",
        "submit",
        _ANYBODY,
        "Says whether to use the part of a photo that was proposed, or the whole",
        moved="To the photos.",
        form=_form(("use",), use={"type": "string", "enum": ["cropped", "whole"]}),
        refuses=(errors.PhotoNotFound, errors.AlreadyConfirmed, *_NO_DRAFT),
    ),
    Operation(
        "POST",
        "/opt-out/{draft}/photos/{ticket}/remove",
        "submit",
        _ANYBODY,
        "Takes a photo out of the draft and deletes it",
        moved="To the photos.",
        refuses=(errors.PhotoNotFound, errors.AlreadyConfirmed, *_NO_DRAFT),
    ),
    Operation(
        "GET",
        "/opt-out/{draft}/check",
        "submit",
        _ANYBODY,
        "All answers once more before they are sent",
        page="The answers.",
        moved="To the photos when something is missing, to the confirmation when the request has been sent.",
        query={"repeated": _REPEATED},
        refuses=_NO_DRAFT,
    ),
    Operation(
        "POST",
        "/opt-out/{draft}/confirm",
        "submit",
        _ANYBODY,
        "Sends the request; sending it twice is sending it once",
        moved="To the confirmation, or to the photos when something is missing.",
        form=_form(
            (), proof=_text(4_000, "ALTCHA payload. Without one the request waits for its address to be verified.")
        ),
        refuses=(errors.StateConflict, errors.TooManyRequests, *_NO_PHOTO_DRAFT),
    ),
    Operation(
        "GET",
        "/opt-out/{draft}/done",
        "submit",
        _ANYBODY,
        "Case number and what happens next",
        page="The confirmation.",
        moved="To the check page, when the request has not been sent.",
        refuses=_NO_DRAFT,
    ),
    Operation(
        "GET",
        "/status/{token}",
        "submit",
        _ANYBODY,
        "Where a case stands; the mailed link leads here",
        page="The case.",
        refuses=_NO_LINK,
    ),
    Operation(
        "POST",
        "/status/{token}/photos",
        "submit",
        _ANYBODY,
        "Begins to add photos to a case that is open or accepted",
        moved="To the photos of a new draft, or back to the case when it takes none.",
        refuses=(errors.TooManyRequests, *_NO_LINK),
    ),
    Operation(
        "POST",
        "/status/{token}/test",
        "submit",
        _ANYBODY,
        "Begins to test pictures against one's own case",
        moved="To the test, or back to the case when it excludes nothing by pictures.",
        refuses=(errors.TooManyRequests, *_NO_LINK),
    ),
    Operation(
        "GET",
        "/test/{test}",
        "submit",
        _ANYBODY,
        "Asks for a picture to test, with an upload ticket for it",
        page="The question.",
        query={"problem": _PROBLEM},
        refuses=_NO_TEST,
    ),
    Operation(
        "GET",
        "/test/{test}/{ticket}",
        "examine",
        _ANYBODY,
        "Tests an upload and discards it; S3 sends the browser here",
        page="Whether the case catches the picture.",
        moved="Back to the test, with what was not right.",
        refuses=_NO_TEST,
    ),
    Operation(
        "POST",
        "/status/{token}/letter",
        "submit",
        _ANYBODY,
        "Sends the first letter again, to the same address",
        moved="To the case.",
        refuses=(errors.StateConflict, errors.TooManyRequests, errors.LetterNotSentAgain, *_NO_LINK),
    ),
    Operation(
        "GET",
        "/verify/{token}",
        "submit",
        _ANYBODY,
        "Asks to verify an address, or says that it is verified; the first letter leads here",
        page="The question, or what was done.",
        refuses=(errors.VerificationExpired, *_NO_LINK),
    ),
    Operation(
        "POST",
        "/verify/{token}",
        "submit",
        _ANYBODY,
        "Verifies an address: from then on lookups are deferred while the case is open",
        moved="To what was done.",
        refuses=(errors.HeadContended, errors.TooManyRequests, errors.VerificationExpired, *_NO_LINK),
    ),
    Operation(
        "GET",
        "/status/{token}/information",
        "submit",
        _ANYBODY,
        "Asks for the answer to our question, or for what the requester wants to add",
        page="The question, or that we have what was written.",
        moved="To the case, when nothing can be added any more.",
        query={"told": _one_of(("yes",), "What was written has come.")},
        refuses=_NO_LINK,
    ),
    Operation(
        "POST",
        "/status/{token}/information",
        "submit",
        _ANYBODY,
        "Adds a text to a case that is not decided; one that waits for an answer waits for us again",
        moved="To the page that says that we have it.",
        form=_form(("information",), information=_text(MAX_EXPLANATION)),
        refuses=(
            errors.RequestInvalid,
            errors.StateConflict,
            errors.TooManyMessages,
            errors.TooManyRequests,
            *_NO_LINK,
        ),
        wrong="The form again, with what is not right.",
    ),
    Operation(
        "GET",
        "/status/{token}/appeal",
        "submit",
        _ANYBODY,
        "Asks why the decision is wrong, or says what became of the appeal",
        page="The question, what became of the appeal, or until when one was possible.",
        moved="To the case, when nothing stands against its requester.",
        refuses=_NO_LINK,
    ),
    Operation(
        "POST",
        "/status/{token}/appeal",
        "submit",
        _ANYBODY,
        "Appeals against the decision; appealing twice is appealing once",
        moved="To what became of it.",
        form=_form(("appeal",), appeal=_text(MAX_EXPLANATION, "Why the requester disagrees.")),
        refuses=(errors.RequestInvalid, errors.StateConflict, errors.TooManyRequests, *_NO_LINK),
        wrong="The form again, with what is not right.",
    ),
    Operation(
        "GET",
        "/status/{token}/withdraw",
        "submit",
        _ANYBODY,
        "Asks whether to withdraw, or says that it is withdrawn",
        page="The question, or what was done.",
        moved="To the case, when it can no longer be withdrawn.",
        refuses=_NO_LINK,
    ),
    Operation(
        "POST",
        "/status/{token}/withdraw",
        "submit",
        _ANYBODY,
        "Withdraws the case, and takes it off the list at once",
        moved="To what was done.",
        refuses=(errors.StateConflict, errors.HeadContended, *_NO_LINK),
    ),
    Operation(
        "GET",
        "/privacy",
        "submit",
        _ANYBODY,
        "What is stored, and for how long",
        page="What is stored, and for how long.",
    ),
    Operation("GET", "/help", "submit", _ANYBODY, "Answers, and whom to write to", page="Answers."),
    Operation(
        "GET",
        "/urgent",
        "submit",
        _ANYBODY,
        "Intimate pictures and pictures of minors: what is done in 24 hours, what is never sent",
        page="The choice, or with `about` how to ask.",
        query={"about": _one_of((lane for lane in Lane if lane.urgent), "What it is about.")},
    ),
    Operation(
        "GET",
        "/support",
        "submit",
        _ANYBODY,
        "Organisations that help, by country",
        page="Those of the country, and those of every country.",
        query={"country": {"$ref": "#/components/schemas/Country"}},
    ),
    Operation(
        "GET",
        "/accessibility",
        "submit",
        _ANYBODY,
        "How usable the site is for everybody, and whom to tell where it is not",
        page="The statement.",
    ),
    Operation(
        "GET",
        "/static/{file}",
        "submit",
        _ANYBODY,
        "Style sheets, scripts and the icon",
        refuses=(errors.RequestNotFound,),
    ),
    Operation(
        "GET",
        "/static/vendor/{file}",
        "submit",
        _ANYBODY,
        "Scripts of others, served from here",
        refuses=(errors.RequestNotFound,),
    ),
    # ---- reviewers
    Operation(
        "GET", "/console", "decide", _ANYBODY, "The reviewers' page: signs in, holds no case", page="The console."
    ),
    Operation(
        "GET",
        "/requests",
        "decide",
        _REVIEWERS,
        "One view of the queue by due date, or the case with one number",
        page="A fragment of the console.",
        query={"view": _one_of(console.VIEWS), "number": _NUMBER},
        refuses=(errors.RequestInvalid, errors.Unavailable),
    ),
    Operation(
        "GET",
        "/requests/{id}",
        "decide",
        _REVIEWERS,
        "Everything that is needed to decide one case",
        page="A fragment of the console.",
        refuses=_NO_CASE,
    ),
    Operation(
        "GET",
        "/requests/{id}/listed",
        "decide",
        _REVIEWERS,
        "Whose faces on the exclusion list look like those of a case",
        page="A fragment of the console.",
        refuses=_NO_CASE,
    ),
    Operation(
        "GET",
        "/requests/{id}/photos/{ticket}",
        "decide",
        _REVIEWERS,
        "Shows one photo for five minutes; every look is on record",
        page="A fragment of the console.",
        refuses=(errors.PhotoNotFound, *_NO_CASE),
    ),
    Operation(
        "POST",
        "/requests/{id}/decision",
        "decide",
        _REVIEWERS,
        "Decides a case, or its appeal, which must be another reviewer; the first decision stands",
        json=("What was decided. Browsers get the case as a fragment.", _DECIDED),
        form=_schema_of(console._DecisionSent, Step.ACCEPT, Step.REJECT, Step.ACCEPT_ON_APPEAL, Step.UPHOLD),
        form_or_json=True,
        refuses=(
            errors.RequestInvalid,
            errors.StateConflict,
            errors.AlreadyDecided,
            errors.SameReviewer,
            errors.NothingToExclude,
            errors.DecisionTooLarge,
            errors.HeadContended,
            *_NO_CASE,
        ),
    ),
    Operation(
        "POST",
        "/requests/{id}/question",
        "decide",
        _REVIEWERS,
        "Asks the requester something; the case waits for the answer, and its date stays",
        json=("The case as it stands. Browsers get it as a fragment.", _CHANGED),
        form=_schema_of(console._QuestionSent),
        form_or_json=True,
        refuses=(errors.RequestInvalid, errors.StateConflict, errors.AlreadyDecided, *_NO_CASE),
    ),
    Operation(
        "POST",
        "/requests/{id}/extension",
        "decide",
        _REVIEWERS,
        "Puts off the date of an open case, once, as far as the law allows, and tells the requester why",
        json=("The case as it stands. Browsers get it as a fragment.", _CHANGED),
        form=_schema_of(console._ExtensionSent, Step.EXTEND),
        form_or_json=True,
        refuses=(
            errors.RequestInvalid,
            errors.StateConflict,
            errors.AlreadyDecided,
            errors.NoExtension,
            *_NO_CASE,
        ),
    ),
    Operation(
        "POST",
        "/requests/{id}/revocation",
        "decide",
        _REVIEWERS,
        "Proposes to take an acceptance back",
        json=("The case as it stands. Browsers get it as a fragment.", _CHANGED),
        form=_schema_of(console._RevocationSent, Step.REVOKE),
        form_or_json=True,
        refuses=(errors.RequestInvalid, errors.StateConflict, *_NO_CASE),
    ),
    Operation(
        "POST",
        "/requests/{id}/revocation/confirmation",
        "decide",
        _REVIEWERS,
        "Confirms a proposed revocation, which must be another reviewer, or cancels it",
        json=("The case as it stands. Browsers get it as a fragment.", _CHANGED),
        form=_schema_of(console._SettlementSent),
        form_or_json=True,
        refuses=(
            errors.RequestInvalid,
            errors.StateConflict,
            errors.SameReviewer,
            errors.HeadContended,
            *_NO_CASE,
        ),
    ),
    Operation(
        "POST",
        "/requests/{id}/added",
        "decide",
        _REVIEWERS,
        "Lets photos that were added to an accepted case join what it excludes, or does not use them",
        json=("The case as it stands. Browsers get it as a fragment.", _CHANGED),
        form=_schema_of(console._AddedSent),
        form_or_json=True,
        refuses=(
            errors.RequestInvalid,
            errors.StateConflict,
            errors.NothingToExclude,
            errors.HeadContended,
            *_NO_CASE,
        ),
    ),
    Operation(
        "POST",
        "/requests/{id}/suspension",
        "decide",
        _REVIEWERS,
        "Lets an exclusion hold back instead of exclude, or, by another reviewer, exclude again",
        json=("The case as it stands. Browsers get it as a fragment.", _CHANGED),
        form=_schema_of(console._SuspensionSent),
        form_or_json=True,
        refuses=(
            errors.RequestInvalid,
            errors.ExclusionNotFound,
            errors.SameReviewer,
            errors.HeadContended,
            *_NO_CASE,
        ),
    ),
    Operation(
        "GET",
        "/reviews",
        "decide",
        _REVIEWERS,
        "The possible copies that wait for a reviewer's answer",
        page="A fragment of the console.",
        refuses=(errors.Unavailable,),
    ),
    Operation(
        "POST",
        "/reviews/{sha256}/{exclusion}",
        "decide",
        _REVIEWERS,
        "Says whether a possible copy is the same as what is excluded, or different",
        json=("The answer. Browsers get what waits next as a fragment.", _ANSWERED),
        form=_schema_of(console._AnswerSent),
        form_or_json=True,
        refuses=(
            errors.RequestInvalid,
            errors.ReviewNotFound,
            errors.ExclusionNotFound,
            errors.AlreadyDecided,
            errors.HeadContended,
            errors.Unavailable,
        ),
    ),
    Operation(
        "GET",
        "/exclusions",
        "decide",
        _REVIEWERS,
        "The accepted cases, and what each put on the exclusion list",
        page="A fragment of the console.",
        query={"number": _text(says="The number of a case or the id of an exclusion; then only that case is shown.")},
        refuses=(errors.Unavailable,),
    ),
    # ---- crawlers
    Operation(
        "POST",
        "/exclusions/check",
        "exclude_check",
        _CRAWLERS,
        "Whether pictures, faces and addresses may be indexed (docs/crawlers.md)",
        json=("A verdict for every item, in their order.", {"$ref": "#/components/schemas/Answer"}),
        body={"$ref": "#/components/schemas/Lookup"},
        refuses=(errors.NotFresh,),
    ),
)

_PATH_PARAMETERS: dict[str, Schema] = {
    "draft": _text(says="The secret id of a draft, from the address that its form led to.") | {"minLength": 1},
    "ticket": _text(says="The ticket of one upload.") | {"minLength": 1},
    "test": _text(says="The secret id of a test, from the address that its form led to.") | {"minLength": 1},
    "token": _text(says="The signed link of a letter.") | {"minLength": 1},
    "id": _text(says="The id of a case, as the console's queue shows it.") | {"minLength": 1},
    "sha256": _text(says="The candidate's SHA-256, in lower-case hex.") | {"minLength": 1},
    "exclusion": _text(says="The id of the exclusion that may apply.") | {"minLength": 1},
    "file": _one_of(sorted({name.removeprefix("vendor/") for name in site.STATIC_FILES})),
}
_STATIC_TYPES = ("text/css", "text/javascript", "image/svg+xml")
_REFUSAL: Schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
_ONE_PAGE: Schema = {"text/html": {"schema": {"type": "string"}}}
_AFTER: Schema = {"Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "string"}}}
_TO: Schema = {"Location": {"description": "Where to go.", "required": True, "schema": {"type": "string"}}}

_SCHEMAS: dict[str, Schema] = {
    "Refusal": {
        "type": "object",
        "description": "Why something was not done. `error` is for programs and stays; `message` is for people.",
        "properties": {
            "error": _text(),
            "message": {"type": ["string", "null"]},
            "problems": {
                "type": "object",
                "additionalProperties": _text(),
                "description": "Field -> what is wrong with it, as a code.",
            },
        },
        "required": ["error", "message"],
    },
    "Country": _one_of(countries(), "ISO 3166-1, two letters."),
}


def document() -> dict[str, Any]:
    """The whole API as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "image-optout",
            "version": FINGERPRINT_VERSION,
            "description": "Refusals are pages for a request that accepts text/html, and JSON for all others.",
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted((_SCHEMAS | lookups.schemas()).items())),
            "securitySchemes": {
                "reviewers": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "The ID token of a person in the group `reviewers` of the stack's user pool.",
                },
                "crawlers": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "AWS Signature Version 4 for `execute-api`, by an identity with `CrawlersPolicy`.",
                },
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": operation.does, "operationId": operation.name, "tags": [operation.function]}
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name]} for name in names]
    query = dict(operation.query)
    if operation.function in {"submit", "examine"} and not operation.path.startswith("/static/"):
        query["lang"] = _text(says=f"The language to answer in: {', '.join(LANGUAGES)}. Else Accept-Language decides.")
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    if operation.form is not None:
        kinds = ["application/x-www-form-urlencoded", *(["application/json"] if operation.form_or_json else [])]
        described["requestBody"] = {"required": True, "content": {kind: {"schema": operation.form} for kind in kinds}}
    if operation.access is not Access.ANYBODY:
        described["security"] = [{operation.access.name.lower(): []}]
    described["responses"] = dict(sorted(_answers(operation).items()))
    return described


def _answers(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if operation.page:
        found["200"] = {"description": operation.page, "content": _ONE_PAGE}
    elif operation.json:
        sentence, schema = operation.json
        pages = _ONE_PAGE if operation.form_or_json else {}
        found["200"] = {"description": sentence, "content": {"application/json": {"schema": schema}} | pages}
    elif operation.path.startswith("/static/"):
        content = {kind: {"schema": _text()} for kind in _STATIC_TYPES}
        found["200"] = {"description": "The file. Its address changes with its content.", "content": content}
    if operation.empty:
        found["204"] = {"description": operation.empty}
    if operation.moved:
        found["303"] = {"description": operation.moved, "headers": _TO}
    for status, sentences in _refusals(operation).items():
        found[status] = {
            "description": " ".join(sentences),
            "content": _REFUSAL | _ONE_PAGE,
            **({"headers": _AFTER} if status in {"429", "503"} else {}),
        }
    return found


def _refusals(operation: Operation) -> dict[str, list[str]]:
    """Status -> what it can mean here."""
    found: dict[str, list[str]] = {
        # What the gateway says by itself.
        "403": ["The web firewall refused the request."],
        "429": ["Too many requests. Ask again later."],
    }
    if operation.access is Access.REVIEWERS:
        found["401"] = ["The token is missing, expired, or of another pool."]
        found["403"].append("The person is signed in, but not in the reviewers' group.")
    if operation.access is Access.CRAWLERS:
        found["403"].append("The request is not signed, or the identity may not ask.")
        found["400"] = ["The body is no JSON object in UTF-8."]
        found["422"] = ["A field of the lookup is wrong; `problems` says which and why."]
    if operation.wrong:
        found["400"] = [operation.wrong]
    guarded = operation.method == "POST" and operation.access is Access.ANYBODY
    closed = (errors.FromElsewhere, errors.UnderMaintenance) if guarded else ()
    for error in (*operation.refuses, *closed):
        answer = http._ANSWERS[error]
        found.setdefault(str(answer.status), []).append(answer.sentence)
    if operation.form is not None or operation.body is not None:
        limit = lookups.MAX_BODY_BYTES if operation.body is not None else http.MAX_FORM_BYTES
        found["413"] = [f"The body is larger than {limit:,} bytes."]
    return {status: list(dict.fromkeys(sentences)) for status, sentences in found.items()}


def routes() -> str:
    """The table of docs/routes.md."""
    lines = [
        "# Routes",
        "",
        "Written by `python -m optout.openapi --routes`; a test fails when it no longer agrees with the template and",
        "the handlers. What each takes and answers: [api/openapi.json](api/openapi.json).",
        "",
        "| method | path | function | who may ask | what it does |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.method} | `{each.path}` | {each.function} | {each.access} | {each.does} |" for each in OPERATIONS
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Writes the document, or with `--routes` the table, to the standard output."""
    text = routes() if arguments == ["--routes"] else json.dumps(document(), indent=2) + "\n"
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
