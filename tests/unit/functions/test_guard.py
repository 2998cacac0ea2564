"""What the public site refuses before any route: forms of other websites, and changes during maintenance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bench.fuzz import PUBLIC_POSTS
from optout.requests import Kind
from optout.store import Requests
from tests.unit.functions.api import Answer, Api, event
from tests.unit.functions.cases import draft, face, pending, photo, status_path, verify_path


def new_places(requests: Requests) -> dict[str, str]:
    """What stands for the parts of a path, by what the path begins with."""
    one, now = photo(face(), face(300)), datetime.now(UTC)
    made, case = draft(requests, now, Kind.FACE, one), pending(requests, now)
    return {
        "draft": made.id,
        "ticket": one.ticket,
        "status": status_path(case).removeprefix("/status/"),
        "verify": verify_path(case).removeprefix("/verify/"),
        "appeal": status_path(case).removeprefix("/status/"),
    }


@pytest.fixture(scope="module")
def places(requests: Requests) -> dict[str, str]:
    """One draft and one case for all tests in which nothing may change."""
    return new_places(requests)


def post(submit: Api, operation: str, places: dict[str, str], **headers: str) -> Answer:
    token = places.get(operation.split("/")[1], "")
    path = operation.format(**places, token=token)
    return submit.send(event("POST", path, "", {"Content-Type": "application/x-www-form-urlencoded", **headers}))


@pytest.mark.parametrize("operation", sorted(PUBLIC_POSTS))
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_that_another_website_sent_is_refused(
    submit: Api, requests: Requests, places: dict[str, str], now: datetime, operation: str, site: str
) -> None:
    before = requests.get(places["draft"], now)
    answer = post(submit, operation, places, **{"Sec-Fetch-Site": site})
    assert answer.status == 403
    assert "another website" in answer.text
    assert requests.get(places["draft"], now) == before


@pytest.mark.parametrize("site", ["same-origin", "none", ""])
def test_our_own_forms_and_those_of_old_browsers_are_taken(submit: Api, requests: Requests, site: str) -> None:
    # Our Referrer-Policy makes browsers send this with our own forms.
    headers = {"Origin": "null"} | ({"Sec-Fetch-Site": site} if site else {})
    assert post(submit, "/opt-out/{draft}/photos/{ticket}/remove", new_places(requests), **headers).status == 303


def test_a_link_on_another_website_opens_our_pages(submit: Api, places: dict[str, str]) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    for path in ("/", "/opt-out?kind=face", f"/status/{places['status']}"):
        assert submit.get(path, headers).status == 200


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Until when the operator has closed the forms."""
    until = (datetime.now(UTC) + timedelta(hours=2)).replace(second=0, microsecond=0)
    monkeypatch.setenv("MAINTENANCE", until.strftime("%Y-%m-%dT%H:%MZ"))
    return until


@pytest.mark.parametrize("operation", sorted(PUBLIC_POSTS))
def test_nothing_is_changed_during_maintenance_and_people_are_told_until_when(
    submit: Api, places: dict[str, str], closed: datetime, operation: str
) -> None:
    answer = post(submit, operation, places)
    assert answer.status == 503
    assert f"We expect to be ready by {closed.day} " in answer.text
    assert f"{closed:%H:%M} UTC" in answer.text
    assert 6_000 < int(answer.headers["Retry-After"]) <= 7_200
    told = post(submit, operation, places, Accept="application/json").json
    assert (told["error"], told["until"]) == ("under_maintenance", closed.isoformat())


def test_reading_goes_on_during_maintenance(submit: Api, places: dict[str, str], closed: datetime) -> None:
    for path in ("/", "/privacy", "/help", f"/status/{places['status']}", f"/verify/{places['verify']}"):
        assert submit.get(path).status == 200


def test_nobody_fills_in_a_form_that_cannot_be_sent(submit: Api, closed: datetime) -> None:
    assert submit.get("/opt-out?kind=face").status == 503


def test_no_photo_is_looked_at_during_maintenance(examine: Api, places: dict[str, str], closed: datetime) -> None:
    assert examine.get(f"/opt-out/{places['draft']}/photos/{places['ticket']}").status == 503


def test_maintenance_lasts_until_the_operator_ends_it(
    submit: Api, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAINTENANCE", "2026-01-01T00:00Z")
    answer = post(submit, "/opt-out/{draft}/confirm", places)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "300")
    assert "We expect" not in answer.text  # that time is over
