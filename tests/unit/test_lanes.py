"""Urgent lanes: decided first and within a day; who reports the abuse of a child may stay unnamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout import deadlines
from optout.decisions import AcceptReason, Decision
from optout.errors import LetterNotSentAgain, RequestInvalid, TooManyPhotos
from optout.exclusions.log import ExclusionLog, from_attributes
from optout.requests import Answers, Kind, Lane, OptOutRequest, Photo, Relation, Status, Step
from optout.settings import aws
from optout.store import Requests
from optout.web import forms
from optout.web.console import LANES, RELATIONS
from optout.web.wording import ASKED_FOR
from tests.storage import storage

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ANSWERS = Answers(
    "DE", "It is me", "Ada", "Lovelace", "ada@example.org", good_faith=True, links=("https://a.example/",)
)
UNNAMED = Answers("", "A child is abused", "", "", "", good_faith=True, links=("https://a.example/",))
PHOTO = Photo("t1", "ab" * 32, "cd" * 32, 640, 480, 90, tuple(bytes([n] * 32) for n in range(8)), None)
REPORT = dict.fromkeys(forms.FIELDS, "") | {
    "explanation": "A child is abused",
    "links": "https://a.example/",
    "good_faith": "yes",
}


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield Requests("Requests", ExclusionLog.from_settings(), aws("dynamodb"), pause=lambda seconds: None)


def sent(
    requests: Requests, lane: Lane = Lane.ORDINARY, answers: Answers = ANSWERS, at: datetime = NOW
) -> OptOutRequest:
    return requests.confirm(requests.create_draft(Kind.LINKS, answers, "hash", at, lane=lane).id, at)


def letters() -> list[dict[str, object]]:
    items = [from_attributes(item) for item in aws("dynamodb").scan(TableName="Requests")["Items"]]
    return [item for item in items if str(item["sk"]).startswith("letter#")]


# ---- the clock and the queue


@given(
    st.sampled_from(list(Kind)),
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=0, max_size=2),
    st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_an_urgent_request_is_decided_within_24_hours_whatever_it_is_and_wherever(
    kind: Kind, country: str, received: datetime
) -> None:
    due = deadlines.due(kind, country, received, urgent=True)
    assert due == deadlines.Due(received + timedelta(hours=24), "house_urgent")


@pytest.mark.parametrize("lane", Lane)
def test_a_case_keeps_its_lane_and_its_clock(requests: Requests, lane: Lane) -> None:
    case = sent(requests, lane)
    assert requests.get(case.id, NOW) == case
    assert (case.lane, case.due_rule) == (lane, "house_urgent" if lane.urgent else "house_links")


def test_urgent_cases_come_first_even_when_another_falls_due_earlier(requests: Requests) -> None:
    old = sent(requests, at=NOW - timedelta(days=6, hours=12))
    late = sent(requests, Lane.INTIMATE, at=NOW)
    early = sent(requests, Lane.CHILD, at=NOW - timedelta(hours=1))
    assert old.due_at is not None
    assert late.due_at is not None
    assert old.due_at < late.due_at
    assert [case.id for case in requests.queue("pending")] == [early.id, late.id, old.id]
    assert [case.id for case in requests.queue("pending", 1)] == [early.id, old.id], "each lane has its own first"


def test_a_decided_case_leaves_the_urgent_part_of_the_queue(requests: Requests) -> None:
    case = sent(requests, Lane.ABUSE, UNNAMED)
    requests.decide(case.id, Decision("d", Step.ACCEPT, AcceptReason.UNLAWFUL_CONTENT, "", "anna"), None, NOW)
    assert requests.queue("pending") == []
    assert [case.id for case in requests.queue("accepted")] == [case.id]


# ---- reports without a name


def test_who_reports_abuse_need_not_say_who_they_are_or_where_or_for_whom() -> None:
    """DSA Art 16(2)(c): no name and no address for offences of Directive 2011/93, Articles 3 to 7."""
    assert forms.read(Kind.LINKS, REPORT, "Lens", Lane.ABUSE) == replace(UNNAMED, relation=Relation.OTHER)


def test_a_report_still_needs_the_links_the_explanation_and_good_faith() -> None:
    with pytest.raises(RequestInvalid) as caught:
        forms.read(Kind.LINKS, forms.typed({}), "Lens", Lane.ABUSE)
    assert caught.value.problems == {"explanation": "required", "links": "required", "good_faith": "required"}


def test_what_is_given_in_a_report_is_checked_all_the_same() -> None:
    with pytest.raises(RequestInvalid) as caught:
        forms.read(Kind.LINKS, REPORT | {"email": "nobody", "country": "ZZ"}, "Lens", Lane.ABUSE)
    assert caught.value.problems == {"email": "not_an_address", "country": "choose_one"}
    given_ = REPORT | {"email": "ada@example.org", "first_name": "Ada", "country": "DE"}
    answers = forms.read(Kind.LINKS, given_, "Lens", Lane.ABUSE)
    assert (answers.email, answers.first_name, answers.country) == ("ada@example.org", "Ada", "DE")


@pytest.mark.parametrize("lane", [lane for lane in Lane if lane is not Lane.ABUSE])
def test_every_other_lane_asks_for_name_and_address(lane: Lane) -> None:
    with pytest.raises(RequestInvalid) as caught:
        forms.read(Kind.LINKS, REPORT, "Lens", lane)
    assert {"first_name", "last_name", "email", "country", "on_behalf_of"} <= set(caught.value.problems)


def test_a_report_without_an_address_has_no_letter_and_needs_none(requests: Requests) -> None:
    case = sent(requests, Lane.ABUSE, UNNAMED)
    assert case.anonymous
    with pytest.raises(LetterNotSentAgain):
        requests.send_again(case.id, NOW)
    requests.decide(case.id, Decision("d", Step.ACCEPT, AcceptReason.UNLAWFUL_CONTENT, "", "anna"), None, NOW)
    requests.withdraw(case.id, NOW)
    assert letters() == []
    assert requests.get(case.id, NOW).status is Status.WITHDRAWN


def test_a_report_with_an_address_gets_its_letters(requests: Requests) -> None:
    sent(requests, Lane.ABUSE, replace(UNNAMED, email="ada@example.org"))
    assert [item["letter"] for item in letters()] == ["received"]


# ---- no upload


@pytest.mark.parametrize(
    ("kind", "lane", "takes"),
    [(kind, lane, not (kind is Kind.LINKS and lane in {Lane.INTIMATE, Lane.ABUSE})) for kind in Kind for lane in Lane],
)
def test_links_to_intimate_pictures_and_to_abuse_never_take_an_upload(
    requests: Requests, kind: Kind, lane: Lane, takes: bool
) -> None:
    draft = requests.create_draft(kind, ANSWERS, "hash", NOW, lane=lane)
    assert draft.takes_uploads is takes
    if takes:
        assert requests.add_photo(draft.id, PHOTO, NOW).photos == ("t1",)
    else:
        with pytest.raises(TooManyPhotos):
            requests.add_photo(draft.id, PHOTO, NOW)


def test_only_links_can_be_asked_for_in_the_lane_of_abuse() -> None:
    assert Lane.ABUSE.kinds == {Kind.LINKS}
    assert all(lane.kinds == set(Kind) for lane in Lane if lane is not Lane.ABUSE)


# ---- on behalf of


@pytest.mark.parametrize("relation", Relation)
def test_the_relation_is_kept_and_read_again(requests: Requests, relation: Relation) -> None:
    filled = REPORT | {
        "on_behalf_of": relation.value,
        "represented": "My child",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": "ada@example.org",
        "country": "DE",
    }
    answers = forms.read(Kind.LINKS, filled, "Lens")
    assert answers.relation is relation
    assert answers.represented == (None if relation is Relation.SELF else "My child")
    assert requests.get(sent(requests, answers=answers).id, NOW).answers == answers
    assert forms.read(Kind.LINKS, forms.typed_from(answers), "Lens") == answers


@pytest.mark.parametrize(
    ("represented", "relation"), [("My child", Relation.OTHER), (None, Relation.SELF)], ids=["other", "self"]
)
def test_cases_from_before_the_question_are_read(
    requests: Requests, represented: str | None, relation: Relation
) -> None:
    case = sent(requests, answers=replace(ANSWERS, represented=represented))
    aws("dynamodb").update_item(
        TableName="Requests",
        Key={"pk": {"S": f"case#{case.id}"}, "sk": {"S": "case"}},
        UpdateExpression="REMOVE answers.relation",
    )
    assert requests.get(case.id, NOW).answers.relation is relation


def test_every_relation_and_every_urgent_lane_has_words() -> None:
    assert set(ASKED_FOR) == set(Relation)
    assert set(RELATIONS) == set(Relation) - {Relation.SELF}
    assert set(LANES) == {lane for lane in Lane if lane.urgent}
