"""Public site: forms, upload tickets, check answers, status, questions and answers, appeal, withdraw."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from optout import limits
from optout.http import form, guard, resolver, secret_id, source
from optout.limits import Action
from optout.web import site, urgent

logger = Logger()
metrics = Metrics()
app = resolver(translated=True)
app.use(middlewares=[guard])


@cache
def _site() -> site.Site:
    return site.Site.from_settings()


def _now() -> datetime:
    return datetime.now(UTC)


def _query() -> dict[str, str]:
    return app.current_event.query_string_parameters or {}


app.get("/")(site.start_page)
app.get("/privacy")(site.privacy_page)
app.get("/help")(site.help_page)
app.get("/accessibility")(site.accessibility_page)
app.get("/static/<name>")(site.static_file)


@app.get("/urgent")
def urgent_page() -> Response[Any]:
    return urgent.urgent_page(_query())


@app.get("/support")
def support_page() -> Response[Any]:
    return urgent.support_page(_query())


@app.get("/static/vendor/<name>")
def vendor_file(name: str) -> Response[Any]:
    return site.static_file(f"vendor/{name}")


@app.get("/opt-out")
def empty_form() -> Response[Any]:
    return site.empty_form(_query().get("kind", ""), _query().get("lane", ""))


@app.post("/opt-out")
def new() -> Response[Any]:
    return _site().new(form(app), source(app), _now())


@app.get("/opt-out/<draft>")
def edit(draft: str) -> Response[Any]:
    return _site().edit(secret_id(draft), _now())


@app.post("/opt-out/<draft>")
def change(draft: str) -> Response[Any]:
    return _site().change(secret_id(draft), form(app), _now())


@app.get("/opt-out/<draft>/photos")
def photos(draft: str) -> Response[Any]:
    return _site().photos_page(secret_id(draft), _query(), source(app), _now())


@app.post("/opt-out/<draft>/codes")
def add_codes(draft: str) -> Response[Any]:
    limits.take(Action.UPLOAD, source(app), _now())
    return _site().add_codes(secret_id(draft), form(app), _now())


@app.post("/opt-out/<draft>/photos/<ticket>/face")
def choose_face(draft: str, ticket: str) -> Response[Any]:
    return _site().choose_face(secret_id(draft), secret_id(ticket), form(app), _now())


@app.post("/opt-out/<draft>/photos/<ticket>/crop")
def choose_crop(draft: str, ticket: str) -> Response[Any]:
    return _site().choose_crop(secret_id(draft), secret_id(ticket), form(app), _now())


@app.post("/opt-out/<draft>/photos/<ticket>/remove")
def remove_photo(draft: str, ticket: str) -> Response[Any]:
    return _site().remove_photo(secret_id(draft), secret_id(ticket), _now())


@app.get("/opt-out/<draft>/check")
def check(draft: str) -> Response[Any]:
    return _site().check_page(secret_id(draft), _query(), _now())


@app.post("/opt-out/<draft>/confirm")
def confirm(draft: str) -> Response[Any]:
    limits.take(Action.CONFIRM, source(app), _now())
    answer = _site().confirm(secret_id(draft), form(app), _now())
    metrics.add_metric("ConfirmationsAsked", MetricUnit.Count, 1)
    return answer


@app.get("/opt-out/<draft>/done")
def done(draft: str) -> Response[Any]:
    return _site().done_page(secret_id(draft), _now())


@app.get("/status/<token>")
def status(token: str) -> Response[Any]:
    return _site().status_page(token, _now())


@app.post("/status/<token>/photos")
def add_photos(token: str) -> Response[Any]:
    limits.take(Action.DRAFT, source(app), _now())
    return _site().add_photos(token, _now())


@app.post("/status/<token>/test")
def begin_test(token: str) -> Response[Any]:
    limits.take(Action.TEST, source(app), _now())
    return _site().begin_test(token, _now())


@app.get("/test/<test>")
def test_page(test: str) -> Response[Any]:
    return _site().test_page(secret_id(test), _query(), _now())


@app.post("/status/<token>/letter")
def send_again(token: str) -> Response[Any]:
    limits.take(Action.LETTER, source(app), _now())
    return _site().send_again(token, _now())


@app.get("/verify/<token>")
def ask_to_verify(token: str) -> Response[Any]:
    return _site().verify_page(token, _now())


@app.post("/verify/<token>")
def verify(token: str) -> Response[Any]:
    limits.take(Action.VERIFY, source(app), _now())
    return _site().verify(token, _now())


@app.get("/status/<token>/information")
def ask_for_information(token: str) -> Response[Any]:
    return _site().information_page(token, _now(), told=_query().get("told") == "yes")


@app.post("/status/<token>/information")
def inform(token: str) -> Response[Any]:
    return _site().inform(token, form(app), source(app), _now())


@app.get("/status/<token>/appeal")
def ask_for_appeal(token: str) -> Response[Any]:
    return _site().appeal_page(token, _now())


@app.post("/status/<token>/appeal")
def appeal(token: str) -> Response[Any]:
    return _site().appeal(token, form(app), source(app), _now())


@app.get("/status/<token>/withdraw")
def ask_to_withdraw(token: str) -> Response[Any]:
    return _site().withdraw_page(token, _now())


@app.post("/status/<token>/withdraw")
def withdraw(token: str) -> Response[Any]:
    return _site().withdraw(token, _now())


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """One request of the public site."""
    return app.resolve(event, context)
