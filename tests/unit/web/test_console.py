"""What the console says: urgency, lengths of time, and words for everything that can come up."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, cast

import pytest
from aws_lambda_powertools.event_handler import APIGatewayRestResolver

from optout import errors, http
from optout.decisions import REASONS
from optout.requests import OPEN, Answers, Kind, OptOutRequest, Status, Step
from optout.web import console, wording
from tests.storage import ENVIRONMENT

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
CASE = OptOutRequest(
    "A" * 22, "K7MQ-29XD", Kind.FACE, Status.PENDING, 2, Answers("DE", "x", "A", "B", "a@example.org"), "h", NOW
)


@pytest.mark.parametrize(
    ("due_in", "expected"),
    [
        (timedelta(0), "overdue"),
        (timedelta(seconds=-1), "overdue"),
        (timedelta(seconds=1), "soon"),
        (timedelta(hours=24), "soon"),
        (timedelta(hours=24, seconds=1), "later"),
    ],
)
def test_a_case_is_soon_in_its_last_day_and_overdue_from_the_second_on(due_in: timedelta, expected: str) -> None:
    assert console.urgency(replace(CASE, due_at=NOW + due_in), NOW) == expected


@pytest.mark.parametrize("status", sorted(set(Status) - OPEN))
def test_a_case_that_nobody_waits_for_is_never_urgent(status: Status) -> None:
    case = replace(CASE, status=status, due_at=NOW - timedelta(days=9))
    assert console.urgency(case, NOW) == "none"
    assert console.urgency(replace(case, appealed_at=NOW), NOW) == "overdue", "an appeal has a date of its own"


def test_a_case_that_waits_for_an_answer_is_overdue_like_any_other() -> None:
    assert console.urgency(replace(CASE, status=Status.WAITING, due_at=NOW), NOW) == "overdue"


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (timedelta(seconds=5), "0 minutes"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=59), "59 minutes"),
        (timedelta(minutes=60), "1 hour"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(hours=48), "2 days"),
        (-timedelta(days=3), "3 days"),
    ],
)
def test_a_length_of_time_is_said_in_its_largest_fitting_unit(length: timedelta, expected: str) -> None:
    assert console.span(length) == expected


def test_every_reason_step_kind_and_status_has_its_words() -> None:
    for step, reasons in REASONS.items():
        for reason in reasons:
            assert console.REASON_NAMES[reason]
            assert wording.reason(step, reason)
    assert set(Step) <= set(console.EVENTS)
    assert set(console.KINDS) == set(Kind)
    assert set(console.STATUSES) == set(Status) - {Status.DRAFT}


def _built(kind: type[errors.OptOutError]) -> errors.OptOutError:
    arguments: dict[Any, tuple[Any, ...]] = {
        errors.RequestInvalid: ({"reason": "choose_one"},),
        errors.AlreadyDecided: ("accepted", "bo", NOW),
        errors.DraftIncomplete: (["photo"],),
        errors.PhotoUnreadable: ("empty",),
    }
    return kind(*arguments.get(kind, ()))


def _all_errors(kind: type[errors.OptOutError]) -> list[type[errors.OptOutError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _all_errors(child))]


@pytest.mark.parametrize("kind", _all_errors(errors.OptOutError))
def test_reviewers_and_programs_get_the_same_status_for_the_same_refusal(
    kind: type[errors.OptOutError], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    app = http.resolver()

    def refused(app: APIGatewayRestResolver, following: Any) -> Any:
        try:
            return following(app)
        except errors.OptOutError as error:
            return console.refusal(app, error)

    @app.get("/x", middlewares=[refused])
    def refuse() -> None:
        raise _built(kind)

    statuses = {app.resolve(_event(accept), cast("Any", None))["statusCode"] for accept in ("text/html", "*/*")}
    assert len(statuses) == 1


def _event(accept: str) -> dict[str, Any]:
    return {
        "path": "/x",
        "httpMethod": "GET",
        "headers": {"Accept": accept},
        "multiValueHeaders": {"Accept": [accept]},
        "requestContext": {"stage": "live"},
        "body": None,
    }


def test_no_console_template_has_anything_inline_that_the_policy_would_block() -> None:
    pages = list(files("optout").joinpath("web", "pages", "console").iterdir())
    assert len(pages) >= 6
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:|hx-on|hx-vals=.js:", text), page.name
        assert not re.search(r"\|\s*safe|Markup|autoescape false", text), page.name
