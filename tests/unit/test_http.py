"""Every answer has our headers, every error its status and words, and no log line says more than where."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from optout import errors, http
from tests.storage import ENVIRONMENT
from tests.unit.functions.api import CONTEXT, event

SECRET_WORDS = "Amélie Müller amelie@example.org"


def below(parent: type[errors.OptOutError]) -> Iterator[type[errors.OptOutError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from below(child)


ERRORS = [found for found in below(errors.OptOutError) if found.__module__ == errors.__name__]

EXAMPLES: dict[type[errors.OptOutError], Callable[[], errors.OptOutError]] = {
    errors.PhotoUnreadable: lambda: errors.PhotoUnreadable("heic"),
    errors.RequestInvalid: lambda: errors.RequestInvalid({"email": "required"}),
    errors.AlreadyDecided: lambda: errors.AlreadyDecided("accepted", "anna", datetime(2026, 11, 24, tzinfo=UTC)),
    errors.DraftIncomplete: lambda: errors.DraftIncomplete(["photo"]),
    errors.TooManyRequests: lambda: errors.TooManyRequests(60),
    errors.UnderMaintenance: lambda: errors.UnderMaintenance(datetime(2026, 11, 24, tzinfo=UTC)),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ImageOptout")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "unit")
    monkeypatch.setattr(http, "metrics", Uncounted())


class Uncounted:
    """Metrics that no handler writes out."""

    def add_metric(self, *_: object) -> None:
        pass


def answer(app: APIGatewayRestResolver, given_event: dict[str, Any]) -> dict[str, Any]:
    return app.resolve(given_event, CONTEXT)  # type: ignore[arg-type]


def raising(error: Exception) -> APIGatewayRestResolver:
    app = http.resolver()

    def fail() -> Response[str]:
        raise error

    app.get("/here")(fail)
    app.post("/here")(fail)
    return app


def reading() -> APIGatewayRestResolver:
    app = http.resolver()

    def read() -> Response[str]:
        return http.json_answer(http.form(app))

    app.post("/here")(read)
    return app


def header(found: dict[str, Any], name: str) -> str:
    return str(found["multiValueHeaders"][name][-1])


@pytest.mark.parametrize("error_class", ERRORS, ids=lambda found: found.__name__)
def test_every_error_has_a_row_of_its_own(error_class: type[errors.OptOutError]) -> None:
    assert error_class in http._ANSWERS
    assert http._ANSWERS[error_class].status in http._HEADINGS


@pytest.mark.parametrize("error_class", ERRORS, ids=lambda found: found.__name__)
@pytest.mark.parametrize("accept", ["text/html,*/*", "application/json"])
def test_an_error_is_a_page_for_people_and_json_for_programs(
    error_class: type[errors.OptOutError], accept: str
) -> None:
    error = EXAMPLES.get(error_class, error_class)()
    found = answer(raising(error), event("GET", "/here", None, {"Accept": accept}))
    row = http._ANSWERS[error_class]
    assert found["statusCode"] == row.status
    if "html" in accept:
        assert "<!doctype html>" in found["body"]
        assert (row.heading or http._HEADINGS[row.status]) in found["body"]
    else:
        body = json.loads(found["body"])
        assert (body["error"], body["message"]) == (row.code, row.sentence)


def test_programs_are_told_the_facts_of_an_error() -> None:
    def facts(error: Exception) -> Any:
        found = answer(raising(error), event("GET", "/here", None, {"Accept": "*/*"}))
        return json.loads(found["body"])

    assert facts(errors.RequestInvalid({"email": "required"}))["problems"] == {"email": "required"}
    assert facts(errors.PhotoUnreadable("heic"))["problem"] == "heic"
    assert facts(errors.DraftIncomplete(["photo"]))["missing"] == ["photo"]
    decided = facts(errors.AlreadyDecided("accepted", "anna", datetime(2026, 11, 24, tzinfo=UTC)))
    assert (decided["status"], decided["reviewer"], decided["at"]) == ("accepted", "anna", "2026-11-24T00:00:00+00:00")


def test_an_answer_that_may_come_later_says_when_to_ask_again() -> None:
    found = answer(raising(errors.NotFresh()), event("GET", "/here"))
    assert header(found, "Retry-After") == "5"


def refused_by_aws(code: str, status: int, reasons: Sequence[str] = ()) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": SECRET_WORDS},
        "ResponseMetadata": {"HTTPStatusCode": status},
        "CancellationReasons": [{"Code": reason} for reason in reasons],
    }
    return ClientError(response, "TransactWriteItems")


@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeoutError(endpoint_url="https://aws.example"),
        ReadTimeoutError(endpoint_url="https://aws.example"),
        EndpointConnectionError(endpoint_url="https://aws.example"),
        refused_by_aws("ThrottlingException", 400),
        refused_by_aws("SlowDown", 503),
        refused_by_aws("InternalServerError", 500),
        refused_by_aws("TransactionCanceledException", 400, ["None", "ThrottlingError"]),
    ],
    ids=repr,
)
def test_a_service_of_aws_that_does_not_answer_is_no_failure_of_ours_and_may_answer_soon(error: Exception) -> None:
    found = answer(raising(error), event("GET", "/here", None, {"Accept": "application/json"}))
    assert (found["statusCode"], json.loads(found["body"])["error"]) == (503, "unavailable")
    assert header(found, "Retry-After") == "5"
    assert SECRET_WORDS not in found["body"]


@pytest.mark.parametrize(
    "error",
    [
        refused_by_aws("AccessDeniedException", 400),
        refused_by_aws("ValidationException", 400),
        refused_by_aws("TransactionCanceledException", 400, ["None", "ConditionalCheckFailed"]),
    ],
    ids=repr,
)
def test_what_asking_again_will_not_mend_is_a_failure_of_ours(error: Exception) -> None:
    assert answer(raising(error), event("GET", "/here"))["statusCode"] == 500


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_an_unexpected_error_is_logged_by_type_and_place_only(accept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(http.logger.handlers[0], "stream", said)
    secret = ValueError(SECRET_WORDS)
    found = answer(raising(secret), event("GET", "/here?x=Amélie", None, {"Accept": accept}))
    assert found["statusCode"] == 500
    (line,) = said.getvalue().splitlines()
    logged = json.loads(line)
    assert logged["error_type"] == "ValueError"
    assert logged["where"].startswith("fail:")
    for word in (*SECRET_WORDS.split(), "/here"):
        assert word not in line + found["body"]


def test_an_error_page_that_cannot_be_rendered_is_still_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Response[str]:
        raise KeyError(SECRET_WORDS)

    monkeypatch.setattr(http, "page", broken)
    found = answer(raising(errors.RequestNotFound()), event("GET", "/here"))
    assert found["statusCode"] == 500
    assert json.loads(found["body"])["error"] == "unexpected"
    assert header(found, "X-Content-Type-Options") == "nosniff"


def test_an_event_that_is_no_request_is_still_answered() -> None:
    assert answer(http.resolver(), {})["statusCode"] == 500


@pytest.mark.parametrize("path", ["/here", "/nowhere"])
def test_every_answer_has_the_security_headers(path: str) -> None:
    found = answer(raising(errors.RequestNotFound()), event("GET", path))
    assert header(found, "Cache-Control") == "no-store"
    assert header(found, "X-Content-Type-Options") == "nosniff"
    assert header(found, "Referrer-Policy") == "no-referrer"
    assert header(found, "Strict-Transport-Security").startswith("max-age=63072000")
    assert "camera=()" in header(found, "Permissions-Policy")
    policy = header(found, "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "unsafe" not in policy


def test_a_policy_opens_exactly_the_origins_it_is_given() -> None:
    policy = http.content_security_policy(
        ["https://photos.example"], connect=["https://login.example"], form_action=["https://login.example"]
    )
    assert "img-src 'self' https://photos.example; " in policy
    assert "connect-src 'self' https://photos.example https://login.example; " in policy
    assert "form-action 'self' https://photos.example https://login.example; " in policy


def test_an_unknown_address_is_a_friendly_404() -> None:
    found = answer(http.resolver(), event("GET", "/nowhere"))
    assert found["statusCode"] == 404
    assert "Page not found" in found["body"]


def test_a_form_is_read_with_empty_and_repeated_fields() -> None:
    found = answer(reading(), event("POST", "/here", "a=1&a=2&b=&c=%C3%A9"))
    assert json.loads(found["body"]) == {"a": ["1", "2"], "b": [""], "c": ["é"]}


def test_a_base64_form_is_the_same_form() -> None:
    found = answer(reading(), event("POST", "/here", "c=%C3%A9", encoded=True))
    assert json.loads(found["body"]) == {"c": ["é"]}


@pytest.mark.parametrize(
    "change",
    [
        {"body": "%%%", "isBase64Encoded": True},
        {"body": "é", "isBase64Encoded": True},
        {"body": base64.b64encode(b"a=\xff").decode(), "isBase64Encoded": True},
        {"body": "a=%FF"},
        {"body": "a=\ud800"},
        {"body": "&".join(f"f{number}=1" for number in range(101))},
    ],
    ids=["no base64", "base64 not ASCII", "raw bytes not UTF-8", "escaped bytes not UTF-8", "half a pair", "too many"],
)
def test_a_body_that_is_no_form_is_a_bad_request(change: dict[str, Any]) -> None:
    assert answer(reading(), event("POST", "/here", "") | change)["statusCode"] == 400


@pytest.mark.parametrize("encoded", [False, True])
def test_a_body_above_the_limit_is_too_large_and_at_the_limit_is_not(encoded: bool) -> None:
    at_limit = "a=" + "x" * (http.MAX_FORM_BYTES - 2)
    assert answer(reading(), event("POST", "/here", at_limit, encoded=encoded))["statusCode"] == 200
    above = answer(reading(), event("POST", "/here", at_limit + "x", encoded=encoded))
    assert above["statusCode"] == 413
    assert "That was too large" in above["body"]


@given(st.text(), st.booleans())
def test_no_body_is_a_server_error(body: str, encoded: bool) -> None:
    found = answer(reading(), event("POST", "/here", "") | {"body": body, "isBase64Encoded": encoded})
    assert found["statusCode"] in {200, 400}


def test_redirects_and_links_stay_below_the_sites_own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_URL", "https://api.example.org/live/")
    assert http.see_other("/help").headers["Location"] == "/live/help"
    monkeypatch.setenv("SITE_URL", "https://optout.example.org/")
    assert http.see_other("/help").headers["Location"] == "/help"


@pytest.mark.parametrize("text", ["", "short", "x" * 33, "a b c d e f g h i j", "..", "ä" * 20, "a" * 20 + "\n"])
def test_what_cannot_be_an_id_is_not_found(text: str) -> None:
    with pytest.raises(errors.RequestNotFound):
        http.secret_id(text)


def translated() -> APIGatewayRestResolver:
    app = http.resolver(translated=True)
    app.get("/page")(
        lambda: http.page("withdrawn.html", request={"number": "K7MQ-29XD"}, token="t", photos_kept_days=7)
    )
    app.post("/page")(lambda: http.see_other("/status/t?x=1#photo"))
    return app


def test_a_page_says_which_language_it_is_in_and_what_that_came_from() -> None:
    found = answer(translated(), event("GET", "/page", None, {"Accept-Language": "ar"}))
    assert header(found, "Content-Language") == "ar"
    assert "Accept-Language" in header(found, "Vary")
    assert '<html lang="ar" dir="rtl">' in found["body"]
    assert 'href="/status/t"' in found["body"]


def test_a_language_that_was_asked_for_is_in_every_link_and_redirect() -> None:
    found = answer(translated(), event("GET", "/page?lang=pl", None, {"Accept-Language": "ar"}))
    assert '<html lang="pl" dir="ltr">' in found["body"]
    own = [link for link in re.findall(r'(?:href|action)="(/[^"]*)"', found["body"]) if "/static/" not in link]
    assert own
    assert all("lang=" in link for link in own)
    assert header(answer(translated(), event("POST", "/page?lang=pl", "")), "Location") == "/status/t?x=1&lang=pl#photo"
    assert header(answer(translated(), event("POST", "/page", "")), "Location") == "/status/t?x=1#photo"


@pytest.mark.parametrize(
    ("method", "path", "linked"),
    [
        ("GET", "/page?repeated=3.7&lang=pl", "/page?repeated=3.7&lang=de"),
        ("GET", "/page", "/page?lang=de"),
        ("GET", "/nowhere", "/nowhere?lang=de"),
        ("POST", "/nowhere", "/?lang=de"),
        ("GET", "//evil.example/", "/?lang=de"),
        ("GET", "/page?x=%22%3E%3Cscript%3E&problem=face", "/page?problem=face&lang=de"),
    ],
)
def test_the_other_languages_lead_to_the_same_page(method: str, path: str, linked: str) -> None:
    app = translated()
    given_event = event(method, "/page", None) | event(method, path, None)
    if path.startswith("//"):  # as API Gateway hands it over
        given_event |= {"path": path}
    found = answer(app, given_event)
    assert f'<li><a href="{linked.replace("&", "&amp;")}" lang="de" hreflang="de"' in found["body"]


def test_programs_and_reviewers_are_answered_in_english() -> None:
    app = http.resolver()
    app.get("/page")(lambda: http.page("withdrawn.html", request={"number": "K"}, token="t", photos_kept_days=7))
    found = answer(app, event("GET", "/page?lang=ar", None, {"Accept-Language": "ar"}))
    assert header(found, "Content-Language") == "en"
