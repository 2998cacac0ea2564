"""Limits: what a bucket lets through, whom it counts, and what it stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from optout import limits, settings
from optout.decisions import Decision
from optout.errors import TooManyRequests
from optout.limits import Action, Limit
from optout.requests import Kind, Step
from optout.store import Requests
from tests.storage import storage
from tests.unit.functions.api import Answer, Api, event, load
from tests.unit.functions.cases import FILLED, draft, pending, photo, status_path, verify_path

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
SMALL = Limit(burst=3, per_hour=60)
in_moto = hypothesis_settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    with storage():
        yield


@pytest.fixture(scope="module")
def submit(aws: None) -> Api:
    return Api(load("submit"))


@pytest.fixture(autouse=True)
def as_published(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMITS_PERCENT", "100")


@pytest.fixture
def one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network and every mailbox may do each thing once an hour."""
    once = Limit(burst=1, per_hour=1)
    monkeypatch.setattr(limits, "NETWORK_LIMITS", dict.fromkeys(Action, once))


def refused(whose: str, at: datetime, limit: Limit = SMALL) -> bool:
    try:
        limits._take(Action.TEST, whose, limit, at)
    except TooManyRequests:
        return True
    finally:
        limits.metrics.clear_metrics()  # outside of a handler nobody writes them down
    return False


def sent_from(submit: Api, address: str, method: str, path: str, body: str = "", **headers: str) -> Answer:
    given: dict[str, Any] = event(method, path, body, {"Content-Type": "application/x-www-form-urlencoded", **headers})
    given["requestContext"]["identity"]["sourceIp"] = address
    return submit.send(given)


def form(**more: str) -> str:
    return urlencode({**FILLED, "kind": "links", **more})


@in_moto
@given(gaps=st.lists(st.integers(0, 200), min_size=1, max_size=12), whose=st.uuids())
def test_no_span_of_time_lets_through_more_than_a_full_bucket_and_what_it_regained(
    aws: None, gaps: list[int], whose: Any
) -> None:
    now, taken = START, []
    for gap in gaps:
        now += timedelta(seconds=gap)
        if not refused(str(whose), now):
            taken.append(now)
    for first, start in enumerate(taken):
        for count, end in enumerate(taken[first:], 1):
            regained = (end - start).total_seconds() * SMALL.per_hour / 3600
            assert count <= SMALL.burst + regained


@in_moto
@given(waited=st.lists(st.integers(60, 10_000), min_size=1, max_size=8), whose=st.uuids())
def test_who_waits_a_token_long_between_two_is_never_refused(aws: None, waited: list[int], whose: Any) -> None:
    now = START
    for seconds in waited:
        assert not refused(str(whose), now)
        now += timedelta(seconds=seconds)


def test_a_bucket_is_full_at_first_then_refuses_until_it_says(aws: None) -> None:
    assert [refused("crowd", START) for _ in range(5)] == [False, False, False, True, True]
    with pytest.raises(TooManyRequests) as told:
        limits._take(Action.TEST, "crowd", SMALL, START)
    assert not refused("crowd", START + timedelta(seconds=told.value.retry_after_s))


def test_actions_do_not_share_a_bucket(aws: None) -> None:
    once = Limit(1, 1)
    limits._take(Action.TEST, "two actions", once, START)
    limits._take(Action.DRAFT, "two actions", once, START)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("::ffff:192.0.2.1", "192.0.2.9", True),
        ("2001:db8:1:200::1", "2001:db8:1:2ff:ffff::9", True),
        ("2001:db8:1:200::1", "2001:db8:1:300::1", False),
        ("", "", True),
        ("no address", "192.0.2.1", False),
    ],
)
def test_a_household_is_one_network_and_its_neighbours_are_others(one: str, other: str, same: bool) -> None:
    assert (limits.network(one) == limits.network(other)) is same


def test_neither_address_nor_prefix_is_stored_and_the_bucket_expires(aws: None) -> None:
    later = START + timedelta(days=30)  # later than any other test
    limits.take(Action.DRAFT, "198.51.100.77", later)
    items = settings.aws("dynamodb").scan(TableName=settings.requests_table())["Items"]
    [bucket] = [item for item in items if int(item.get("full_at", {"N": "0"})["N"]) >= 1000 * later.timestamp()]
    assert "198.51" not in json.dumps(bucket)
    assert int(bucket["expires_at"]["N"]) == (later + timedelta(hours=1)).timestamp()


def test_the_operator_scales_all_limits(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMITS_PERCENT", "200")
    assert [refused("twice as many", START) for _ in range(7)] == [False] * 6 + [True]
    monkeypatch.setenv("LIMITS_PERCENT", "1")
    assert [refused("never nobody", START) for _ in range(2)] == [False, True]


def test_people_are_let_through_when_the_table_does_not_answer(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_TABLE", "there is no such table")
    for _ in range(5):
        assert not refused("table is gone", START)


@pytest.mark.usefixtures("one_only")
class TestOverTheLimit:
    def test_the_filled_in_form_comes_back_with_its_answers(self, submit: Api) -> None:
        assert sent_from(submit, "203.0.113.1", "POST", "/opt-out", form()).status == 303
        again = sent_from(submit, "203.0.113.2", "POST", "/opt-out", form(first_name="Ada Augusta"))
        assert again.status == 429
        assert int(again.headers["Retry-After"]) == 3600
        assert 'value="Ada Augusta"' in again.body
        assert "from your network" in again.text

    @pytest.mark.parametrize("path", ["appeal", "information"])
    def test_words_about_a_case_come_back_to_be_sent_later(self, submit: Api, path: str) -> None:
        requests, now = Requests.from_settings(), datetime.now(UTC)
        case = pending(requests, now)
        if path == "appeal":
            requests.decide(case.id, Decision("d", Step.REJECT, "no_match", "No.", "anna"), None, now)
        at, network = f"{status_path(case)}/{path}", f"203.0.{130 if path == 'appeal' else 131}"
        typed = urlencode({path: "That <b>is</b> me."})
        assert sent_from(submit, f"{network}.1", "POST", at, f"{path}=").status == 400, "nothing typed: it counts"
        again = sent_from(submit, f"{network}.2", "POST", at, typed)
        assert (again.status, again.headers["Retry-After"]) == (429, "3600")
        assert "That &lt;b&gt;is&lt;/b&gt; me.</textarea>" in again.body
        assert "from your network" in again.text
        assert sent_from(submit, "203.0.132.1" if path == "appeal" else "203.0.133.1", "POST", at, typed).status == 303

    def test_what_a_caller_claims_in_a_header_counts_for_nothing(self, submit: Api) -> None:
        for number, status in ((1, 303), (2, 429)):
            claimed = {"X-Forwarded-For": f"10.0.{number}.1", "Forwarded": f"for=10.0.{number}.1"}
            assert sent_from(submit, "203.0.114.1", "POST", "/opt-out", form(), **claimed).status == status

    def test_programs_get_json_and_when_to_ask_again(self, submit: Api) -> None:
        case = pending(Requests.from_settings(), datetime.now(UTC))
        sent_from(submit, "203.0.115.1", "POST", verify_path(case))
        answer = sent_from(submit, "203.0.115.1", "POST", verify_path(case), Accept="application/json")
        assert (answer.status, answer.json["error"]) == (429, "too_many_requests")
        assert int(answer.headers["Retry-After"]) > 0

    def test_each_thing_that_costs_something_is_counted(self, submit: Api) -> None:
        requests, now = Requests.from_settings(), datetime.now(UTC)
        for number, path in enumerate(("confirm", "photos")):
            made = draft(requests, now, Kind.LINKS)
            at = f"/opt-out/{made.id}/{path}"
            method = "POST" if path == "confirm" else "GET"
            answers = [sent_from(submit, f"203.0.{116 + number}.1", method, at).status for _ in range(2)]
            assert answers == [303 if path == "confirm" else 200, 429]
        case = pending(requests, now)
        for number, path in enumerate(("photos", "letter")):
            at = f"{status_path(case)}/{path}"
            answers = [sent_from(submit, f"203.0.{118 + number}.1", "POST", at).status for _ in range(2)]
            assert answers == [303, 429]

    def test_reading_and_withdrawing_are_never_refused(self, submit: Api) -> None:
        requests, now = Requests.from_settings(), datetime.now(UTC)
        case = pending(requests, now)
        sent_from(submit, "203.0.120.1", "POST", verify_path(case))
        made = draft(requests, now, Kind.IMAGE, photo())
        pages = (status_path(case), verify_path(case), f"/opt-out/{case.id}/done", f"/opt-out/{made.id}/check", "/")
        for path in pages * 3:
            assert sent_from(submit, "203.0.120.1", "GET", path).status == 200
        assert sent_from(submit, "203.0.120.1", "POST", f"{status_path(case)}/withdraw").status == 303


def test_a_mailbox_gets_only_so_many_first_letters(submit: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limits.MAILBOX_LIMITS, Action.CONFIRM, Limit(2, 1))
    requests, now = Requests.from_settings(), datetime.now(UTC)
    answers = []
    for number in range(3):
        made = requests.create_draft(Kind.LINKS, draft(requests, now, Kind.LINKS).answers, "one mailbox", now)
        # From three networks: it is the mailbox that is full.
        answers.append(sent_from(submit, f"198.51.{number}.1", "POST", f"/opt-out/{made.id}/confirm").status)
    assert answers == [303, 303, 429]


def test_pressing_the_button_again_costs_the_mailbox_nothing(submit: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limits.MAILBOX_LIMITS, Action.CONFIRM, Limit(1, 1))
    requests, now = Requests.from_settings(), datetime.now(UTC)
    made = requests.create_draft(Kind.LINKS, draft(requests, now, Kind.LINKS).answers, "pressed twice", now)
    for _ in range(3):
        assert submit.post(f"/opt-out/{made.id}/confirm").status == 303
