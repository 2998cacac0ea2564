"""The pages on which a requester answers, adds something, or appeals."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from optout import deadlines
from optout.decisions import Decision, ExtendReason
from optout.requests import MAX_EXPLANATION, Extension, OptOutRequest, Status, Step
from optout.store import Requests
from optout.web import wording
from tests.unit.functions.api import Answer, Api
from tests.unit.functions.cases import pending, status_path

WORDS = "That <b>is</b> me.\r\nLook at the scar."


def rejected(requests: Requests, now: datetime) -> OptOutRequest:
    made = Decision("d", Step.REJECT, "no_match", "We did not find you.", "anna")
    return requests.decide(pending(requests, now).id, made, None, now)


def upheld(requests: Requests, now: datetime) -> OptOutRequest:
    case = requests.appeal(rejected(requests, now).id, "That is me.", now)
    made = Decision("u", Step.UPHOLD, "facts_stand", "We looked again.", "ben")
    return requests.decide(case.id, made, None, now)


def events(requests: Requests, case: OptOutRequest) -> list[tuple[str, str]]:
    return [(event.name, event.text) for event in requests.history(case.id) if event.text]


def refused(page: Answer, field: str, sentence: str) -> None:
    """The page says that a field is not right, at its top and beside the field, as every form here does."""
    assert page.status == 400
    assert page.body.index("<title>Error: ") < page.body.index(f'href="#{field}"') < page.body.index(f'id="{field}"')
    assert page.text.count(sentence) == 2
    assert f'aria-describedby="{field}-hint {field}-error"' in page.body


def test_an_appeal_is_asked_for_taken_and_shown_with_its_date(submit: Api, requests: Requests, now: datetime) -> None:
    case = rejected(requests, now)
    path = status_path(case)
    assert f'href="{path}/appeal"' in submit.get(path).body
    asked = submit.get(f"{path}/appeal").text
    for words in ("Why do you disagree?", "We did not find you.", wording.date(now + deadlines.APPEAL_WINDOW, "DE")):
        assert words in asked
    assert requests.get(case.id, now) == case, "GET changes nothing"
    assert submit.post(f"{path}/appeal", {"appeal": WORDS}).location == f"{path}/appeal"
    assert submit.post(f"{path}/appeal", {"appeal": WORDS}).location == f"{path}/appeal"
    assert events(requests, case) == [("appeal", "That <b>is</b> me.\nLook at the scar.")]
    due = wording.date(now + timedelta(days=14), "DE")
    for page in (submit.get(f"{path}/appeal"), submit.get(path)):
        assert due in page.text
        assert "You appealed" in page.text
    shown = submit.get(path)
    assert "That &lt;b&gt;is&lt;/b&gt; me." in shown.body
    assert "Add a photo" in shown.text
    assert "We decide about your appeal" in shown.text


@pytest.mark.parametrize(
    ("typed", "code"),
    [("", "required"), (" \r\n\u200b\t".replace("\u200b", ""), "required"), ("x" * 5_001, "too_long")],
)
@pytest.mark.parametrize("field", ["appeal", "information"])
def test_a_text_that_cannot_be_taken_is_kept_on_the_page_with_what_is_wrong(
    submit: Api, requests: Requests, now: datetime, field: str, typed: str, code: str
) -> None:
    case = rejected(requests, now) if field == "appeal" else pending(requests, now)
    path = f"{status_path(case)}/{field}"
    page = submit.post(path, {field: typed})
    refused(page, field, wording.form_problem(field, code))
    assert typed.strip() in page.body
    assert f"{path}?lang=de" in page.body, "to the same page in another language"
    assert requests.get(case.id, now) == case


def test_the_longest_text_counts_characters_and_not_bytes(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    longest = "\U0001f642" * MAX_EXPLANATION
    assert submit.post(f"{status_path(case)}/information", {"information": longest}).status == 303
    assert events(requests, case) == [("inform", longest)]


def test_an_appeal_that_comes_too_late_is_told_until_when_it_was_possible_and_what_else_is(
    submit: Api, requests: Requests, now: datetime
) -> None:
    long_ago = now - deadlines.APPEAL_WINDOW - timedelta(days=1)
    case = rejected(requests, long_ago)
    path = status_path(case)
    assert submit.post(f"{path}/appeal", {"appeal": WORDS}).location == f"{path}/appeal"
    assert requests.get(case.id, now) == case
    page = submit.get(f"{path}/appeal").text
    for words in ("The time for an appeal is over", wording.date(long_ago + deadlines.APPEAL_WINDOW, "DE")):
        assert words in page
    for way in ("Make a new request", "data protection authority", "court"):
        assert way in page
    assert "/appeal" not in submit.get(path).body


def test_an_upheld_decision_says_why_and_where_else_to_go(submit: Api, requests: Requests, now: datetime) -> None:
    case = upheld(requests, now)
    shown = submit.get(status_path(case)).text
    for words in ("We did not find you.", "We looked again.", wording.reason(Step.UPHOLD, "facts_stand"), "court"):
        assert words in shown
    assert "ben" not in shown.split()
    page = submit.get(f"{status_path(case)}/appeal").text
    assert "Your appeal has been decided" in page
    assert "Send my appeal" not in page


@pytest.mark.parametrize("page", ["appeal", "information"])
def test_where_there_is_nothing_to_say_the_page_leads_back(
    submit: Api, requests: Requests, now: datetime, page: str
) -> None:
    case = pending(requests, now)
    if page == "information":
        case = requests.withdraw(case.id, now)
    path = status_path(case)
    assert submit.get(f"{path}/{page}").location == path
    assert submit.post(f"{path}/{page}", {page: "words"}).status == 409


def test_a_question_is_shown_and_its_answer_brings_the_case_back(
    submit: Api, requests: Requests, now: datetime
) -> None:
    case = pending(requests, now)
    requests.ask(case.id, "Which <i>one</i> are you?", "anna", case.version, now)
    path = status_path(case)
    for page in (submit.get(path), submit.get(f"{path}/information")):
        assert "Which &lt;i&gt;one&lt;/i&gt; are you?" in page.body
        assert case.due_at is not None
        assert wording.date(case.due_at, "DE") in page.text
    assert "Waiting for your answer" in submit.get(path).text
    answered = submit.post(f"{path}/information", {"information": "The left one."})
    assert answered.location == f"{path}/information?told=yes"
    thanks = submit.get(answered.location).text
    assert "We have what you wrote" in thanks
    assert wording.date(case.due_at, "DE") in thanks
    after = requests.get(case.id, now)
    assert (after.status, after.messages) == (Status.PENDING, 1)
    shown = submit.get(path).text
    assert "The left one." in shown
    assert "anna" not in shown.split()


def test_something_can_be_added_without_being_asked(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    path = status_path(case)
    assert f'href="{path}/information"' in submit.get(path).body
    submit.post(f"{path}/information", {"information": "It was in 2019."})
    assert events(requests, case) == [("inform", "It was in 2019.")]


def test_a_date_that_was_put_off_is_shown_with_the_old_one_and_the_reason(
    submit: Api, requests: Requests, now: datetime
) -> None:
    case = pending(requests, now)
    assert case.due_at is not None
    later = Extension(now, ExtendReason.COMPLEX, "We ask a translator.", "anna", now)
    requests.extend(case.id, later, now + timedelta(days=20), case.version)
    shown = submit.get(status_path(case)).text
    for words in (
        wording.date(case.due_at, "DE"),
        wording.date(now + timedelta(days=20), "DE"),
        "We ask a translator.",
    ):
        assert words in shown
    assert wording.reason(Step.EXTEND, ExtendReason.COMPLEX) in shown
    assert "you can complain to your data protection authority" in shown


@pytest.mark.parametrize("page", ["appeal", "information"])
def test_a_forged_link_opens_nothing(submit: Api, page: str) -> None:
    assert submit.get(f"/status/forged.token.here/{page}").status == 404
    assert submit.post(f"/status/forged.token.here/{page}", {page: "x"}).status == 404
