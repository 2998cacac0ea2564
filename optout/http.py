"""Everything about HTTP that all functions share: the resolver, error -> status and words, pages, security headers.

A handler makes its `app = resolver()`, its routes return `page(...)`, `see_other(...)` or `json_answer(...)` and raise
the errors of `optout.errors`; the one table below says what each of them means to a browser and to a program.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import RequestEntityTooLargeError, ServiceError
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from optout import errors, languages, settings
from optout.languages import N_

if TYPE_CHECKING:
    from jinja2 import Environment

logger = Logger()
# Shares its numbers with the handler's own, whose `log_metrics` writes them; so no invocation is without one.
metrics = Metrics()

# The longest honest form is 50 links of 2,000 characters and 5,000 characters of explanation, percent-encoded: 360 kB.
MAX_FORM_BYTES = 512_000
# Our forms have at most 14 fields; parsing thousands would cost time for nothing.
_MAX_FORM_FIELDS = 100

_HEADERS = {
    # Nobody's case may stay in a shared cache or in the browser of a borrowed computer.
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # Addresses hold draft ids and link tokens. Makes browsers send `Origin: null` with our forms.
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class _Answer(NamedTuple):
    status: int
    code: str
    sentence: str
    # What stands above it on a page, where the status alone would say too little.
    heading: str = ""


# error class -> what it means outside. A class without a row has its nearest parent's. Marked to be translated is what
# can become a page of the public site; programs and reviewers are answered in English.
_ANSWERS: dict[type[errors.OptOutError], _Answer] = {
    errors.OptOutError: _Answer(500, "refused", N_("We could not do this.")),
    errors.PhotoUnreadable: _Answer(422, "photo_unreadable", N_("We could not read this file as a picture.")),
    errors.FacesOff: _Answer(503, "faces_off", N_("We cannot look for faces just now. Please try again later.")),
    errors.RequestInvalid: _Answer(400, "request_invalid", N_("Something in what was sent is missing or not right.")),
    errors.RequestNotFound: _Answer(
        404,
        "request_not_found",
        N_("There is no request at this address. A request that is started but not sent within 24 hours is deleted."),
    ),
    errors.ExclusionNotFound: _Answer(404, "exclusion_not_found", "No exclusion with this id is in force."),
    errors.ReviewNotFound: _Answer(404, "review_not_found", "There is no such possible copy to look at."),
    errors.PhotoNotFound: _Answer(404, "photo_not_found", N_("There is no such photo in this request.")),
    errors.LinkInvalid: _Answer(
        404, "link_invalid", N_("This link does not work. Please check that the whole link was copied from our letter.")
    ),
    errors.LinkExpired: _Answer(
        410, "link_expired", N_("This link was ours, but its time is over. Write to us and we will help you.")
    ),
    errors.VerificationExpired: _Answer(
        410,
        "verification_expired",
        N_(
            "The link that confirms your email address works for 7 days. In the same letter, open your case: there you "
            "can have the letter sent again, with a fresh link."
        ),
    ),
    errors.StateConflict: _Answer(
        409, "state_conflict", N_("This can no longer be done, because the request has moved on in the meantime.")
    ),
    errors.AlreadyConfirmed: _Answer(
        409,
        "already_confirmed",
        N_(
            "This request has been sent, so it can no longer be changed here. To add or correct something, answer our "
            "letter."
        ),
    ),
    errors.LetterNotSentAgain: _Answer(
        409,
        "letter_not_sent_again",
        N_(
            "We do not send this letter again now: we did so a few minutes ago or several times already, or the case "
            "does not need it any more. Look in your spam folder too, or write to us."
        ),
    ),
    errors.AlreadyDecided: _Answer(409, "already_decided", N_("This request has already been decided.")),
    errors.TooManyPhotos: _Answer(
        409, "too_many_photos", N_("A request can hold five photos. Remove one before you add another.")
    ),
    errors.EnoughTested: _Answer(
        409, "enough_tested", N_("You have tested many pictures. Begin a new test from the page of your request.")
    ),
    errors.TooManyMessages: _Answer(
        409,
        "too_many_messages",
        N_("You have added as much text to this request as it can hold. Answer our letter instead, or write to us."),
    ),
    errors.NoExtension: _Answer(409, "no_extension", "The date of this case cannot be put off."),
    errors.AppealClosed: _Answer(409, "appeal_closed", "This decision can no longer be appealed against here."),
    errors.TooManyHashed: _Answer(
        409,
        "too_many_hashed",
        N_(
            "One email address can send 20 pictures by code in a month, and these would be more. Nobody can look at "
            "such pictures, so there must be a limit. Remove some, or send us the pictures themselves or the links."
        ),
    ),
    errors.DraftIncomplete: _Answer(
        409, "draft_incomplete", N_("Something is still missing before this request can be sent.")
    ),
    errors.SameReviewer: _Answer(409, "same_reviewer", "This second look must be another reviewer's."),
    errors.NothingToExclude: _Answer(
        409, "nothing_to_exclude", "Accepting this would exclude nothing, so it cannot be accepted."
    ),
    errors.DecisionTooLarge: _Answer(409, "decision_too_large", "This request is too large to be accepted at once."),
    errors.TooManyRequests: _Answer(
        429,
        "too_many_requests",
        N_(
            "Very many requests have come from your network in a short time, perhaps from other people who share your "
            "connection, or for your email address. Nothing that you sent before is lost. Please try again in a few "
            "minutes or tomorrow, or write to us."
        ),
    ),
    errors.FromElsewhere: _Answer(
        403,
        "from_elsewhere",
        N_("This form was sent from another website, so we did nothing. Please use our own pages."),
    ),
    errors.AddressUnusable: _Answer(409, "address_unusable", "Letters to this email address cannot be sent."),
    errors.Unavailable: _Answer(503, "unavailable", N_("We cannot answer just now. Please try again in a moment.")),
    errors.UnderMaintenance: _Answer(
        503,
        "under_maintenance",
        N_(
            "We are working on this site, so nothing can be sent or changed just now. What you sent before is safe, "
            "and the link in our letters still shows you your request."
        ),
        N_("Our forms are closed just now"),
    ),
    errors.NotFresh: _Answer(503, "not_fresh", "The exclusion list is not up to date here. Please ask again."),
    errors.IndexDamaged: _Answer(503, "index_damaged", "The exclusion list is not at hand here. Please ask again."),
    errors.SnapshotDamaged: _Answer(
        503, "snapshot_damaged", "The exclusion list is not at hand here. Please ask again."
    ),
    errors.HeadContended: _Answer(
        503,
        "head_contended",
        N_("Too many decisions are being written just now. Nothing was changed; please try again."),
    ),
}
_UNEXPECTED = _Answer(500, "unexpected", N_("Something went wrong on our side. What you sent before is safe."))
_BY_STATUS = {
    400: _Answer(400, "request_invalid", N_("Something in what was sent is missing or not right.")),
    404: _Answer(404, "not_found", N_("There is no page at this address. Please check that it was copied whole.")),
    413: _Answer(413, "too_large", N_("What was sent is larger than we can take.")),
}
_HEADINGS = {
    400: N_("Something was not right"),
    403: N_("We did not do this"),
    404: N_("Page not found"),
    409: N_("This cannot be done now"),
    410: N_("This link has expired"),
    413: N_("That was too large"),
    422: N_("We could not read this picture"),
    429: N_("Too many requests just now"),
    500: N_("Sorry, something went wrong"),
    503: N_("Please try again in a moment"),
}


# What an AWS service says when it is too busy or not well: it did nothing, and the same call may work in a moment
# (docs.aws.amazon.com, "Error handling with DynamoDB" and "Amazon S3 error responses"; botocore's retry rules).
_PASSING = {
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingError",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionConflict",
    "TransactionConflictException",
    "TransactionInProgressException",
}


def in_our_terms(error: Exception) -> Exception:
    """`Unavailable` for a call of AWS that got no answer, or one that says "not now", after its bounded retries; any
    other error as it is."""
    # Not imported: a page that asks AWS nothing starts without it, and then the error cannot be one of its.
    aws = sys.modules.get("botocore.exceptions")
    if aws is None:
        return error
    passing = isinstance(error, (aws.HTTPClientError, aws.ConnectionError))
    if isinstance(error, aws.ClientError):
        response: Any = error.response
        reasons = {reason.get("Code") for reason in response.get("CancellationReasons", ())}
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passing = status >= 500 or bool(_PASSING & {response.get("Error", {}).get("Code"), *reasons})
    if not passing:
        return error
    logger.warning("a service of AWS did not answer", extra={"error_type": type(error).__name__})
    return errors.Unavailable()


def _answer_to(error: Exception) -> _Answer:
    for known in type(error).__mro__:
        if known in _ANSWERS:
            return _ANSWERS[known]
    if isinstance(error, ServiceError):
        return _BY_STATUS.get(error.status_code, _UNEXPECTED)
    return _UNEXPECTED


def sentence(error: errors.OptOutError) -> str:
    """What an error means, to a person."""
    return languages.gettext(_answer_to(error).sentence)


def _facts(error: Exception) -> dict[str, Any]:
    """What a program may want to know besides; never a value that somebody typed."""
    match error:
        case errors.RequestInvalid(problems=problems):
            return {"problems": problems}
        case errors.PhotoUnreadable(code=problem):
            return {"problem": problem}
        case errors.DraftIncomplete(missing=missing):
            return {"missing": missing}
        case errors.AlreadyDecided(status=status, reviewer=reviewer, at=at):
            return {"status": status, "reviewer": reviewer, "at": at.isoformat() if at else None}
        case errors.UnderMaintenance(until=until):
            return {"until": until.isoformat()}
    return {}


class _Resolver(APIGatewayRestResolver):
    """Powertools' resolver, with our headers on every answer and an answer to every error, its own ones included.

    `translated` says whether it speaks the visitor's language, or English only.
    """

    def __init__(self, *, translated: bool) -> None:
        super().__init__()
        self._translated = translated

    def resolve(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        visitor = _visitor(event) if self._translated else languages.Spoken()
        here = _here.set(_address(event) if self._translated else "/")
        try:
            with languages.speaking(visitor.code, asked=visitor.asked):
                return self._answered(event, context)
        finally:
            _here.reset(here)

    def _answered(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        try:
            answer = super().resolve(event, context)
        except Exception as error:  # e.g. an error page that cannot be rendered, or an event Powertools cannot read
            _log(error)
            answer = {
                "statusCode": _UNEXPECTED.status,
                "body": json.dumps({"error": _UNEXPECTED.code, "message": _UNEXPECTED.sentence}),
                "isBase64Encoded": False,
                "multiValueHeaders": {"Content-Type": ["application/json"]},
            }
        headers = answer["multiValueHeaders"]
        for name, value in {**_HEADERS, "Content-Security-Policy": content_security_policy()}.items():
            headers.setdefault(name, [value])
        metrics.add_metric(f"Answered{answer['statusCode'] // 100}xx", MetricUnit.Count, 1)
        return answer


def _visitor(event: Mapping[str, Any]) -> languages.Spoken:
    """The language that the sender of an event asks for or accepts."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return languages.chosen(event.get("queryStringParameters") or {}, headers.get("accept-language") or "")


def resolver(*, translated: bool = False) -> APIGatewayRestResolver:
    """A resolver that answers every error of `optout.errors`, unknown routes and unexpected failures.

    A request that accepts text/html gets a page, any other {"error": code, "message": sentence, ...facts}. The public
    site is `translated`: its pages are in the visitor's language. What programs read is in English everywhere.
    """
    app = _Resolver(translated=translated)

    def answer(error: Exception) -> Response[str]:
        error = in_our_terms(error)
        found = _answer_to(error)
        if found is _UNEXPECTED:
            _log(error)
        accepts = app.current_event.headers.get("Accept") or ""
        if "text/html" in accepts:
            said = {
                "heading": languages.gettext(found.heading or _HEADINGS[found.status]),
                "sentence": languages.gettext(found.sentence),
            }
            response = page("error.html", found.status, **said, until=_until(error))
        else:
            response = json_answer({"error": found.code, "message": found.sentence, **_facts(error)}, found.status)
        retry_after = _retry_after(error, found.status)
        if retry_after:
            response.headers["Retry-After"] = str(retry_after)
        return response

    app.exception_handler([errors.OptOutError, ServiceError, Exception])(answer)
    return app


def _until(error: Exception) -> datetime | None:
    """When the operator expects to be ready; None where that is not the matter, or is over."""
    if isinstance(error, errors.UnderMaintenance) and error.until > datetime.now(UTC):
        return error.until
    return None


def _retry_after(error: Exception, status: int) -> int | None:
    """After how many seconds it is worth to ask again; None when nothing says that it ever is."""
    if isinstance(error, errors.TooManyRequests):
        return error.retry_after_s
    if isinstance(error, errors.UnderMaintenance):
        # Once the time is over the operator may still need a few minutes.
        return max(300, math.ceil((error.until - datetime.now(UTC)).total_seconds()))
    return 5 if status == 503 else None


def _log(error: Exception) -> None:
    """Log what failed and where in the code. The error's own text is left out: it may quote what a person typed."""
    frames = extract_tb(error.__traceback__)
    where = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    logger.error("unexpected error", extra={"error_type": type(error).__name__, "where": where})


def content_security_policy(
    storage: Iterable[str] = (),
    *,
    images: Iterable[str] = (),
    connect: Iterable[str] = (),
    form_action: Iterable[str] = (),
    quiet: bool = False,
) -> str:
    """What a page may load and where it may send: ourselves, plus the origins given.

    `storage` holds origins that photos are shown from and posted to. Browsers check form-action again on the redirect
    after a POST, which brings the upload back to 'self'. The scripts of a `quiet` page can send nothing anywhere.
    """
    origins = "".join(f" {origin}" for origin in storage)
    connecting = "'none'" if quiet else f"'self'{origins}{''.join(f' {origin}' for origin in connect)}"
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; "
        f"img-src 'self'{origins}{''.join(f' {origin}' for origin in images)}; "
        f"connect-src {connecting}; "
        f"form-action 'self'{origins}{''.join(f' {origin}' for origin in form_action)}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


def origin(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


# --- what may come in -------------------------------------------------------------------------------------------------


def guard(
    app: APIGatewayRestResolver, next_middleware: Callable[[APIGatewayRestResolver], Response[Any]]
) -> Response[Any]:
    """Middleware of the public site, before every route: what another website sends is refused, and so is every change
    while the operator works on the service.

    There is no session that a foreign form could ride on: a draft's address and a letter's link are the only keys, and
    both are unguessable. But a page elsewhere could have its visitors start requests. Browsers say where a form comes
    from in `Sec-Fetch-Site`; `Origin` is of no use, since with our Referrer-Policy it is `null` for our own forms too.
    Old browsers and programs send neither, and are let in. Raises `FromElsewhere` and `UnderMaintenance`.
    """
    event = app.current_event
    if event.http_method == "POST" and event.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        raise errors.FromElsewhere
    # The empty form too: nobody should fill it in for nothing.
    if event.http_method == "POST" or event.path.endswith("/opt-out"):
        require_open()
    return next_middleware(app)


def require_open() -> None:
    """Raise `UnderMaintenance` while the operator has closed the forms."""
    until = settings.maintenance()
    if until is not None:
        raise errors.UnderMaintenance(until)


def source(app: APIGatewayRestResolver) -> str:
    """The IP address that API Gateway was called from. `X-Forwarded-For` is whatever its sender says, and not read."""
    return str(app.current_event.request_context.identity.source_ip)


# --- what a request holds ---------------------------------------------------------------------------------------------


def body(app: APIGatewayRestResolver, limit: int) -> bytes:
    """The request's body, decoded from base64 if it came so.

    Raises `RequestInvalid` for broken base64, and answers 413 when it has more than `limit` bytes.
    """
    event = app.current_event.raw_event
    text = event.get("body") or ""
    if len(text) > 2 * limit:  # before it is decoded
        raise RequestEntityTooLargeError("body")
    try:
        data = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    except (binascii.Error, ValueError) as error:  # ValueError: not ASCII, or a lone surrogate
        raise errors.RequestInvalid({"body": "unreadable"}) from error
    if len(data) > limit:
        raise RequestEntityTooLargeError("body")
    return data


def form(app: APIGatewayRestResolver) -> dict[str, list[str]]:
    """The fields of a url-encoded body, empty ones included. Raises `RequestInvalid` for bytes that are not UTF-8."""
    try:
        return parse_qs(
            body(app, MAX_FORM_BYTES).decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_FORM_FIELDS,
        )
    except ValueError as error:  # bad UTF-8 or too many fields
        raise errors.RequestInvalid({"body": "unreadable"}) from error


_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{16,32}")


def secret_id(text: str) -> str:
    """A case id or upload ticket from a path. Raises `RequestNotFound` when it cannot be one of ours."""
    if not _SECRET_ID.fullmatch(text):
        raise errors.RequestNotFound
    return text


# --- what an answer holds ---------------------------------------------------------------------------------------------


def site_path() -> str:
    """The path that the site lives under: empty on a domain of its own, `/live` on the API's own address."""
    return urlsplit(settings.site_url()).path


def to(path: str) -> str:
    """The address of a path of this site, such as `/opt-out?kind=face`, to link or to post to. It keeps the language
    that the visitor asked for."""
    before, mark, fragment = path.partition("#")
    wish = languages.wish()
    if wish:
        before += ("&" if "?" in before else "?") + wish
    return site_path() + before + mark + fragment


# The page that is being answered, by its path and query; the start page where nothing but a POST leads there.
_here: ContextVar[str] = ContextVar("here", default="/")
# What paths and queries of our own hold; anything else in an address is somebody else's idea.
_OWN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+|/")
_OWN_QUERY = re.compile(r"[A-Za-z0-9._-]+=[A-Za-z0-9._-]*")


def _address(event: Mapping[str, Any]) -> str:
    path = str(event.get("path") or "")
    if event.get("httpMethod") != "GET" or not _OWN_PATH.fullmatch(path):
        return "/"
    pairs = [f"{name}={value}" for name, value in (event.get("queryStringParameters") or {}).items() if name != "lang"]
    query = "&".join(pair for pair in pairs if _OWN_QUERY.fullmatch(pair))
    return path + (f"?{query}" if query else "")


def in_language(code: str, page: str | None = None) -> str:
    """The address of a page, by its path and query, in one of `LANGUAGES`; of the one that is being answered."""
    page = page or _here.get()
    return f"{site_path()}{page}{'&' if '?' in page else '?'}lang={code}"


@cache
def _pages() -> Environment:
    # Loaded with the first page: a function that only answers JSON starts without them.
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from optout.web import wording

    pages = Environment(
        loader=PackageLoader("optout.web", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    languages.translate(pages)
    pages.globals.update(
        engine=settings.engine_name(),
        support=settings.support_address(),
        base=site_path(),
        static=static_url,
        to=to,
        in_language=in_language,
        languages=languages.LANGUAGES,
        page_in_other_languages=None,
    )
    pages.globals.update(
        mailto=Markup('<a href="mailto:{0}"><bdi>{0}</bdi></a>').format(settings.support_address()),
        # What is named in a sentence and reads from left to right in every language.
        bdi=lambda words: Markup("<bdi>{}</bdi>").format(words),
        strong=lambda words: Markup("<strong>{}</strong>").format(words),
    )
    pages.filters["date"] = wording.date
    pages.filters["time"] = wording.time
    pages.filters["due"] = wording.due_at
    return pages


@cache
def static_url(file: str) -> str:
    """Address of a file in optout/web/static. Changes with the file's content, so browsers may keep it for good."""
    path = files("optout").joinpath("web", "static", file)
    digest = sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "0"
    return f"{site_path()}/static/{file}?v={digest}"


def page(template: str, status: int = 200, *, policy: str | None = None, **values: Any) -> Response[str]:
    """An HTML page from optout/web/pages. `policy` replaces the usual Content-Security-Policy."""
    language = languages.spoken()
    headers = {"Content-Language": language, "Vary": "Accept, Accept-Language"}
    if policy:
        headers["Content-Security-Policy"] = policy
    html = (
        _pages()
        .get_template(template)
        .render(values, language=language, direction=languages.LANGUAGES[language].direction)
    )
    return Response(status, "text/html; charset=utf-8", html, headers)


def see_other(path: str) -> Response[str]:
    """303 to a path of this site, such as `/status/...`: the browser then GETs it, in the language asked for."""
    return Response(303, None, "", {"Location": to(path)})


def json_answer(body: Mapping[str, Any], status: int = 200) -> Response[str]:
    """A JSON object."""
    return Response(status, "application/json", json.dumps(body, ensure_ascii=False, separators=(",", ":")))
