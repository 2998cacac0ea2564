"""The reviewers' function, in process: REST events in, answers out, the real store on moto behind it."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from optout import deadlines
from optout.decisions import AcceptReason, Decision, RejectReason, RevokeReason
from optout.exclusions.face_rates import face_threshold, false_share
from optout.fingerprint.faces import FACE_MODEL
from optout.requests import (
    Answers,
    Kind,
    Lane,
    MailTrouble,
    OptOutRequest,
    Photo,
    Relation,
    SeenFace,
    Status,
    Step,
    new_ticket,
)
from optout.reviews import Doubt, Sign
from optout.store import Requests
from optout.web.console import EVENTS, MAIL_TROUBLES
from tests.storage import storage
from tests.unit.functions.api import Answer, Api, event, load

ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org", biometric_consent="I agree")
CODES = tuple(bytes([n] * 32) for n in range(8))
FACE = SeenFace((10, 20, 30, 40), 0.934, bytes(512))

Call = Callable[..., Answer]


@pytest.fixture
def decide() -> Iterator[Api]:
    """One warm instance on tables and a bucket of this module's own."""
    with storage(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ImageOptout")
        patch.setenv("POWERTOOLS_SERVICE_NAME", "decide")
        yield Api(load("decide"))


@pytest.fixture
def call(decide: Api) -> Call:
    """One request of a signed-in reviewer, for a fragment or (`accept`) as a program."""

    def _call(
        method: str,
        path: str,
        body: str | dict[str, Any] | None = None,
        *,
        who: str = "anna",
        groups: str | None = "[reviewers]",
        accept: str = "text/html",
        encoded: bool = False,
        content_type: str | None = None,
    ) -> Answer:
        is_json = accept == "application/json"
        if isinstance(body, dict):
            body = json.dumps(body) if is_json else urlencode(body)
        kind = content_type or ("application/json" if is_json else "application/x-www-form-urlencoded")
        given = event(method, path, body, {"Accept": accept, "Content-Type": kind})
        given["isBase64Encoded"] = encoded
        claims = {"cognito:username": who} | ({} if groups is None else {"cognito:groups": groups})
        given["requestContext"]["authorizer"] = {"claims": claims}
        return decide.send(given)

    return _call


@pytest.fixture
def requests(decide: Api) -> Requests:
    return Requests.from_settings()


def photo(**changes: Any) -> Photo:
    return replace(Photo(new_ticket(), "ab" * 32, "cd" * 32, 640, 480, 90, CODES, None), **changes)


def draft(requests: Requests, kind: Kind, answers: Answers, *photos: Photo) -> OptOutRequest:
    now = datetime.now(UTC)
    made = requests.create_draft(kind, answers, f"hash-{uuid4()}", now)
    for each in photos:
        requests.add_photo(made.id, each, now)
    return made


def confirmed(requests: Requests, answers: Answers = ANSWERS, kind: Kind = Kind.IMAGE, *photos: Photo) -> OptOutRequest:
    if kind is Kind.IMAGE and not photos:
        photos = (photo(),)
    return requests.confirm(draft(requests, kind, answers, *photos).id, datetime.now(UTC))


def again(requests: Requests, case: OptOutRequest) -> OptOutRequest:
    return requests.get(case.id, datetime.now(UTC))


def decision(case: OptOutRequest, step: Step = Step.ACCEPT, /, **changes: Any) -> dict[str, Any]:
    reason = RejectReason.NO_MATCH if step is Step.REJECT else AcceptReason.REQUESTERS_PICTURE
    text = "We did not find it." if step is Step.REJECT else ""
    sent = {"decision_id": str(uuid4()), "version": case.version, "step": step.value, "reason": reason.value}
    return sent | {"text": text} | changes


def proposal(case: OptOutRequest, **changes: Any) -> dict[str, Any]:
    return {"version": case.version, "reason": RevokeReason.EXCLUDES_OTHERS.value, "text": "it hits others"} | changes


def accepted(requests: Requests, call: Call, who: str = "anna") -> OptOutRequest:
    case = confirmed(requests)
    assert call("POST", f"/requests/{case.id}/decision", decision(case), who=who).status == 200
    return again(requests, case)


@pytest.fixture
def waiting(requests: Requests) -> OptOutRequest:
    """A case that waits for its decision."""
    return confirmed(requests)


# --- deciding ---------------------------------------------------------------------------------------------------------


def test_a_decision_puts_the_case_on_the_list_and_names_the_version(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    sent = decision(case)
    answer = call("POST", f"/requests/{case.id}/decision", sent, accept="application/json")
    assert answer.status == 200
    stored = again(requests, case).decision
    assert stored
    assert answer.json == {
        "status": "accepted",
        "decision_id": sent["decision_id"],
        "reviewer": "anna",
        "at": stored.at.isoformat(),
        "list_version": stored.list_version,
    }
    assert re.fullmatch(r"1\.\d+", answer.json["list_version"])


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_the_first_decision_stands_and_the_second_is_told_who_and_when(
    requests: Requests, call: Call, accept: str
) -> None:
    case = confirmed(requests)
    first = call("POST", f"/requests/{case.id}/decision", decision(case, Step.REJECT), who="bo")
    second = call("POST", f"/requests/{case.id}/decision", decision(case), who="anna", accept=accept)
    stored = again(requests, case)
    assert (first.status, second.status) == (200, 409)
    assert stored.status is Status.REJECTED
    assert stored.decision
    assert stored.decision.reviewer == "bo"
    if accept == "text/html":
        assert "Rejected by bo on" in second.body
        assert f"{stored.decision.at:%H:%M} UTC" in second.body
        assert "<html" not in second.body
    else:
        assert second.json["error"] == "already_decided"
        assert second.json["status"] == "rejected"
        assert second.json["reviewer"] == "bo"
        assert second.json["at"] == stored.decision.at.isoformat()


def test_the_same_decision_id_gets_the_same_answer(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    sent = decision(case)
    answers = [call("POST", f"/requests/{case.id}/decision", sent, accept="application/json") for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert again(requests, case).version == case.version + 1


def test_a_decision_on_a_case_that_was_not_seen_as_it_is_is_not_recorded(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    answer = call("POST", f"/requests/{case.id}/decision", decision(case, version=case.version + 1))
    assert answer.status == 409
    assert "has changed since you opened it" in answer.body
    assert "Show the case as it is now" in answer.body
    program = call("POST", f"/requests/{case.id}/decision", decision(case, version=9), accept="application/json")
    assert program.json["error"] == "state_conflict"
    assert again(requests, case) == case


def test_a_case_that_its_requester_withdrew_cannot_be_decided(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    requests.withdraw(case.id, datetime.now(UTC))
    answer = call("POST", f"/requests/{case.id}/decision", decision(case))
    assert answer.status == 409
    assert "The requester withdrew this case" in answer.body


@pytest.mark.parametrize(
    ("step", "changes", "sentence"),
    [
        (Step.REJECT, {"text": " \r\n "}, "Explain the decision in your own words"),
        (Step.REJECT, {"reason": ""}, "Choose one of the listed reasons"),
        (Step.REJECT, {"reason": AcceptReason.GOODWILL.value}, "Choose one of the listed reasons"),
        (Step.ACCEPT, {"reason": RejectReason.NO_MATCH.value}, "Choose one of the listed reasons"),
        (Step.ACCEPT, {"text": "x" * 2001}, "at most 2,000 characters"),
        (Step.ACCEPT, {"decision_id": "mine"}, "missing or not right"),
        (Step.ACCEPT, {"step": "revoke"}, "missing or not right"),
        (Step.ACCEPT, {"version": "x"}, "missing or not right"),
    ],
)
def test_a_decision_without_a_listed_reason_or_its_words_is_not_recorded(
    requests: Requests, call: Call, step: Step, changes: dict[str, Any], sentence: str
) -> None:
    case = confirmed(requests)
    sent = decision(case, step, **changes)
    page = call("POST", f"/requests/{case.id}/decision", sent)
    program = call("POST", f"/requests/{case.id}/decision", sent, accept="application/json")
    assert (page.status, program.status) == (400, 400)
    assert sentence in page.body
    assert program.json["problems"]
    assert again(requests, case) == case


def test_line_ends_count_once_in_the_length_of_a_text(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    sent = decision(case, Step.REJECT, text="x\r\n" * 999 + "x")
    assert call("POST", f"/requests/{case.id}/decision", sent).status == 200
    stored = again(requests, case).decision
    assert stored
    assert stored.text == "x\n" * 999 + "x"


def test_an_appeal_is_another_reviewers(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    call("POST", f"/requests/{case.id}/decision", decision(case, Step.REJECT), who="bo")
    case = again(requests, case)
    own = call("POST", f"/requests/{case.id}/decision", decision(case, Step.ACCEPT_ON_APPEAL), who="bo")
    assert own.status == 409
    assert "another reviewer" in own.body
    assert 'value="accept_on_appeal"' not in call("GET", f"/requests/{case.id}", who="bo").body
    assert 'value="accept_on_appeal"' in call("GET", f"/requests/{case.id}", who="anna").body
    other = call("POST", f"/requests/{case.id}/decision", decision(case, Step.ACCEPT_ON_APPEAL), who="anna")
    assert other.status == 200
    assert again(requests, case).status is Status.ACCEPTED


def test_an_open_appeal_has_a_view_and_a_step_of_its_own_and_can_be_upheld(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    call("POST", f"/requests/{case.id}/decision", decision(case, Step.REJECT), who="bo")
    assert 'value="uphold"' not in call("GET", f"/requests/{case.id}").body, "nobody appealed"
    requests.appeal(case.id, "That <b>is</b> me.", datetime.now(UTC))
    case = again(requests, case)
    assert case.number in call("GET", "/requests?view=appeal").body
    assert "Another reviewer must decide about the appeal" in call("GET", f"/requests/{case.id}", who="bo").text
    page = call("GET", f"/requests/{case.id}", who="anna")
    assert 'value="uphold"' in page.body
    assert "That &lt;b&gt;is&lt;/b&gt; me." in page.body
    sent = decision(case, Step.UPHOLD, reason="facts_stand", text="We looked again.")
    assert call("POST", f"/requests/{case.id}/decision", sent, who="bo", accept="application/json").status == 409
    nothing_said = call("POST", f"/requests/{case.id}/decision", sent | {"text": ""}, accept="application/json")
    assert nothing_said.json["problems"] == {"text": "required"}
    answers = [call("POST", f"/requests/{case.id}/decision", sent, accept="application/json") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json == answers[1].json
    assert (answers[0].json["status"], answers[0].json["reviewer"]) == ("rejected", "anna")
    shown = call("GET", f"/requests/{case.id}").text
    for words in ("Upheld after an appeal by anna", "We looked again.", "Rejected by bo"):
        assert words in shown


def test_a_question_lets_the_case_wait_in_a_view_of_its_own(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    for text, code in (("", "required"), (" \n", "required"), ("x" * 2_001, "too_long")):
        sent = {"version": case.version, "text": text}
        refused = call("POST", f"/requests/{case.id}/question", sent, accept="application/json")
        assert (refused.status, refused.json["problems"]) == (400, {"text": code})
    sent = {"version": case.version, "text": "Which one?"}
    assert "Asked." in call("POST", f"/requests/{case.id}/question", sent).text
    assert case.number in call("GET", f"/requests?view={Status.WAITING}").body
    assert case.number not in call("GET", "/requests").body
    page = call("GET", f"/requests/{case.id}")
    assert "Which one?" in page.text
    assert "/question" not in page.body, "one question at a time"
    assert 'value="accept"' in page.body
    assert call("POST", f"/requests/{case.id}/question", sent | {"version": case.version + 1}).status == 409


def test_a_date_is_put_off_within_what_the_law_allows(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    latest = deadlines.latest_extension(case, datetime.now(UTC))
    assert latest is not None
    assert f'max="{latest.date().isoformat()}"' in call("GET", f"/requests/{case.id}").body
    sent = {"version": case.version, "reason": "complex", "text": "We ask a translator."}
    for until, code in (
        (None, "required"),
        ("soon", "not_valid"),
        ("2020-01-01", "not_allowed"),
        ((latest + timedelta(days=1)).date().isoformat(), "not_allowed"),
    ):
        body = sent | ({"until": until} if until else {})
        refused = call("POST", f"/requests/{case.id}/extension", body, accept="application/json")
        assert (refused.status, refused.json["problems"]) == (400, {"until": code})
    assert again(requests, case) == case
    last_day = sent | {"until": latest.date().isoformat()}
    assert "put off" in call("POST", f"/requests/{case.id}/extension", last_day).text
    assert again(requests, case).due_at == latest
    page = call("GET", f"/requests/{case.id}")
    assert "/extension" not in page.body, "once only"
    assert "We ask a translator." in page.text
    once_more = last_day | {"version": case.version + 1}
    assert call("POST", f"/requests/{case.id}/extension", once_more, accept="application/json").json["error"] == (
        "no_extension"
    )


def test_what_would_exclude_nothing_is_neither_offered_nor_accepted(requests: Requests, call: Call) -> None:
    # Faces of two models cannot be compared with each other, so they make no exclusion.
    photos = [photo(faces=(FACE,), face_model=model, chosen_face=0) for model in ("old", "new")]
    case = confirmed(requests, ANSWERS, Kind.FACE, *photos)
    page = call("GET", f"/requests/{case.id}").body
    assert "Accepting would exclude nothing" in page
    assert 'value="accept"' not in page
    assert 'value="reject"' in page
    answer = call("POST", f"/requests/{case.id}/decision", decision(case))
    assert answer.status == 409
    assert "would exclude nothing" in answer.body
    assert again(requests, case) == case


# --- revoking ---------------------------------------------------------------------------------------------------------


def test_a_proposer_cannot_confirm_a_revocation_and_another_can(requests: Requests, call: Call) -> None:
    case = accepted(requests, call)
    where = f"/requests/{case.id}/revocation"
    assert call("POST", where, proposal(case), who="bo").status == 200
    assert again(requests, case).status is Status.ACCEPTED
    own_page = call("GET", f"/requests/{case.id}", who="bo").body
    assert "Another reviewer must confirm it" in own_page
    assert 'value="confirm"' not in own_page
    own = call("POST", f"{where}/confirmation", {"action": "confirm"}, who="bo")
    assert own.status == 409
    assert again(requests, case).status is Status.ACCEPTED
    other = call("POST", f"{where}/confirmation", {"action": "confirm"}, who="anna")
    assert other.status == 200
    assert again(requests, case).status is Status.REVOKED


def test_a_proposed_revocation_can_be_cancelled(requests: Requests, call: Call) -> None:
    case = accepted(requests, call)
    call("POST", f"/requests/{case.id}/revocation", proposal(case), who="bo")
    answer = call(
        "POST", f"/requests/{case.id}/revocation/confirmation", {"action": "cancel"}, accept="application/json"
    )
    assert answer.json["status"] == "accepted"
    assert again(requests, case).revocation is None


def test_a_revocation_must_be_explained(requests: Requests, call: Call) -> None:
    case = accepted(requests, call)
    assert call("POST", f"/requests/{case.id}/revocation", proposal(case, text=" ")).status == 400
    assert again(requests, case) == case


# --- who may ----------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/requests"),
    ("GET", "/requests/{id}"),
    ("GET", "/requests/{id}/photos/{ticket}"),
    ("POST", "/requests/{id}/decision"),
    ("POST", "/requests/{id}/revocation"),
    ("POST", "/requests/{id}/revocation/confirmation"),
    ("GET", "/exclusions"),
]


@pytest.mark.parametrize("groups", [None, "", "[]", "[staff]", "[not-reviewers]", "reviewers-to-be", "Reviewers"])
@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_only_the_reviewers_group_gets_in(
    requests: Requests, call: Call, waiting: OptOutRequest, method: str, route: str, groups: str | None
) -> None:
    path = route.format(id=waiting.id, ticket=waiting.photos[0])
    for accept in ("text/html", "application/json"):
        answer = call(method, path, decision(waiting), groups=groups, accept=accept)
        assert answer.status == 403
        assert waiting.number not in answer.body
    assert again(requests, waiting) == waiting
    assert [event.name for event in requests.history(waiting.id)] == ["confirm"]


@pytest.mark.parametrize(
    "groups", ["reviewers", "[reviewers]", "[staff, reviewers]", "[staff reviewers]", "a,reviewers"]
)
def test_the_group_is_read_in_every_form_that_it_arrives_in(call: Call, groups: str) -> None:
    assert call("GET", "/requests", groups=groups).status == 200


@pytest.mark.parametrize(("method", "route"), [route for route in ROUTES if "{id}" in route[1]])
def test_what_is_not_sent_in_yet_is_none_of_a_reviewers_business(
    requests: Requests, call: Call, method: str, route: str
) -> None:
    unsent = draft(requests, Kind.IMAGE, ANSWERS, seen := photo())
    for request_id in (unsent.id, "A" * 22, "x", "..%2F"):
        answer = call(method, route.format(id=request_id, ticket=seen.ticket), decision(unsent))
        assert answer.status == 404
        assert "Lovelace" not in answer.body


# --- photos -----------------------------------------------------------------------------------------------------------


def test_every_look_at_a_photo_is_on_record(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    for who in ("anna", "bo", "anna"):
        answer = call("GET", f"/requests/{case.id}/photos/{case.photos[0]}", who=who)
        assert answer.status == 200
        assert f"photos/{case.id}/{'cd' * 32}.jpg" in answer.body
    looks = [event.actor for event in requests.history(case.id) if event.name == "view_photo"]
    assert looks == ["anna", "bo", "anna"]


def test_without_the_record_there_is_no_look(requests: Requests, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    case = confirmed(requests)

    def fail(*_: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(Requests, "record_view", fail)
    answer = call("GET", f"/requests/{case.id}/photos/{case.photos[0]}")
    assert answer.status == 500
    assert ".jpg" not in answer.body


def test_opening_a_case_shows_no_photo(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    body = call("GET", f"/requests/{case.id}").body
    assert "<img" not in body
    assert ".jpg" not in body
    assert [event.name for event in requests.history(case.id)] == ["confirm"]


def test_a_photo_of_another_case_is_not_found(requests: Requests, call: Call) -> None:
    mine, other = confirmed(requests), confirmed(requests)
    assert call("GET", f"/requests/{mine.id}/photos/{other.photos[0]}").status == 404
    assert [event.name for event in requests.history(mine.id)] == ["confirm"]


def test_the_boxes_of_faces_are_drawn_and_the_chosen_one_stands_out(requests: Requests, call: Call) -> None:
    other = replace(FACE, box=(300, 20, 50, 60))
    case = confirmed(
        requests, ANSWERS, Kind.FACE, photo(faces=(FACE, other), face_model="sface", chosen_face=1, quality=90)
    )
    for path in (f"/requests/{case.id}", f"/requests/{case.id}/photos/{case.photos[0]}"):
        boxes = re.findall(r'<g class="face( chosen)?">\s*<rect x="(\d+)"', call("GET", path).body)
        assert boxes == [("", "10"), (" chosen", "300")]


def test_a_picture_without_structure_is_marked_as_matched_by_exact_copies_only(requests: Requests, call: Call) -> None:
    plain, rich = confirmed(requests, ANSWERS, Kind.IMAGE, photo(quality=31, dihedral=())), confirmed(requests)
    assert "Exact copies only" in call("GET", f"/requests/{plain.id}").body
    assert "Exact copies only" not in call("GET", f"/requests/{rich.id}").body


# --- the brake, and letters that come back ----------------------------------------------------------------------------


def brake(case: OptOutRequest, action: str = "suspend") -> dict[str, str]:
    return {"exclusion": case.exclusions[0], "action": action}


def test_any_reviewer_suspends_at_once_and_another_one_resumes(requests: Requests, call: Call) -> None:
    case = accepted(requests, call, who="anna")
    path = f"/requests/{case.id}/suspension"
    assert "Suspend at once" in call("GET", f"/requests/{case.id}").body
    answer = call("POST", path, brake(case), who="anna")
    assert answer.status == 200
    assert "holds its matches back" in answer.body
    assert "Another reviewer must resume it" in answer.body
    refused = call("POST", path, brake(case, "resume"), who="anna")
    assert refused.status == 409
    assert again(requests, case).suspension(case.exclusions[0]) is not None
    assert ">Resume<" in call("GET", f"/requests/{case.id}", who="bo").body
    answer = call("POST", path, brake(case, "resume"), who="bo")
    assert answer.status == 200
    assert again(requests, case).suspensions == ()
    shown = call("GET", f"/requests/{case.id}").body
    assert shown.index("Exclusion suspended") < shown.index("Exclusion resumed")


def test_a_suspended_case_is_in_a_view_of_its_own_and_still_on_the_list(requests: Requests, call: Call) -> None:
    case = accepted(requests, call)
    call("POST", f"/requests/{case.id}/suspension", brake(case))
    assert case.number in call("GET", "/requests?view=suspended").body
    assert case.number not in call("GET", "/requests?view=accepted").body
    listed = call("GET", "/exclusions").body
    assert re.search(rf"{case.exclusions[0]}</code> <span[^>]*>Suspended", listed)


def test_programs_suspend_too_and_are_told_what_cannot_be(requests: Requests, call: Call) -> None:
    case, other, waits = accepted(requests, call), accepted(requests, call), confirmed(requests)
    path = f"/requests/{case.id}/suspension"
    answer = call("POST", path, brake(case), accept="application/json")
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "accepted")
    for wrong, status in (
        ({"exclusion": other.exclusions[0], "action": "suspend"}, 404),
        ({"exclusion": case.exclusions[0], "action": "stop"}, 400),
        ({"action": "suspend"}, 400),
        ({"exclusion": "", "action": "suspend"}, 400),
    ):
        assert call("POST", path, wrong, accept="application/json").status == status
    assert call("POST", f"/requests/{waits.id}/suspension", brake(case)).status == 404
    assert call("POST", path, brake(case), groups=None).status == 403
    assert again(requests, other).suspensions == ()


def test_a_reviewer_is_told_on_the_case_and_in_the_queue_that_letters_do_not_arrive(
    requests: Requests, call: Call
) -> None:
    for trouble, sentence in MAIL_TROUBLES.items():
        case = confirmed(requests)
        assert "Letters do not arrive" not in call("GET", f"/requests/{case.id}").body
        requests.mail_troubled(case.id, trouble, datetime.now(UTC))
        shown = call("GET", f"/requests/{case.id}").body
        assert "Letters do not arrive" in shown
        assert sentence in shown
        assert EVENTS[f"mail_{trouble}"] in shown
        assert "the mail service" in shown
        found = call("GET", f"/requests?{urlencode({'number': case.number})}").body
        assert "Letters do not arrive" in found
    assert set(MAIL_TROUBLES) == set(MailTrouble)


def test_a_decision_on_a_page_from_before_the_letter_came_back_is_looked_at_again(
    requests: Requests, call: Call
) -> None:
    case = confirmed(requests)
    requests.mail_troubled(case.id, MailTrouble.BOUNCED, datetime.now(UTC))
    answer = call("POST", f"/requests/{case.id}/decision", decision(case))
    assert answer.status == 409
    assert "has changed since you opened it" in answer.body
    assert call("POST", f"/requests/{case.id}/decision", decision(again(requests, case))).status == 200


# --- the queue and the list -------------------------------------------------------------------------------------------


def test_a_case_is_found_by_its_number_however_it_is_typed(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    for typed in (case.number, case.number.lower(), f" {case.number.replace('-', ' ')} "):
        assert f"#/requests/{case.id}" in call("GET", f"/requests?{urlencode({'number': typed})}").body


@pytest.mark.parametrize("number", ["ZZZZ-ZZZZ", "1", "x" * 5000, "<b>", "ÄÖÜ-ẞẞẞ"])
def test_an_unknown_number_finds_nothing_and_says_so(call: Call, number: str) -> None:
    answer = call("GET", f"/requests?{urlencode({'number': number})}")
    assert answer.status == 200
    assert "No case has the number" in answer.body
    assert "<b>" not in answer.body


def test_each_view_shows_the_cases_that_are_in_it(requests: Requests, call: Call) -> None:
    pending, on_list = confirmed(requests), accepted(requests, call)
    proposed = accepted(requests, call)
    call("POST", f"/requests/{proposed.id}/revocation", proposal(proposed))
    pages = {view: call("GET", f"/requests?view={view}").body for view in ("", "accepted", "revocation", "rejected")}
    shown = {
        view: {case.number for case in (pending, on_list, proposed) if case.number in body}
        for view, body in pages.items()
    }
    assert shown == {
        "": {pending.number},
        "accepted": {on_list.number},
        "revocation": {proposed.number},
        "rejected": set(),
    }
    assert call("GET", "/requests?view=draft").status == 400


def test_a_reviewer_is_told_what_about_the_faces_asks_for_a_second_look(requests: Requests, call: Call) -> None:
    answers = replace(ANSWERS, biometric_consent="I agree")
    vectors = [struct.pack("<128f", *([0.0] * place + [1.0] + [0.0] * (127 - place))) for place in (0, 1)]
    hers, his = (
        photo(faces=(replace(FACE, embedding=vector),), face_model="m", chosen_face=0, picture=f"{place:064x}")
        for place, vector in enumerate(vectors, uuid4().int)
    )
    hash_ = f"hash-{uuid4()}"

    def ask(email_hash: str, *photos: Photo) -> OptOutRequest:
        now = datetime.now(UTC)
        made = requests.create_draft(Kind.FACE, answers, email_hash, now)
        for each in photos:
            requests.add_photo(made.id, replace(each, ticket=new_ticket()), now)
        return requests.confirm(made.id, now)

    def signals(case: OptOutRequest) -> list[str]:
        return re.findall(r"Look twice</span> ([^<]+)</p>", call("GET", f"/requests/{case.id}").body)

    first = ask(hash_, hers)
    assert signals(first) == []
    call("POST", f"/requests/{first.id}/decision", decision(first))
    again_hers, other = ask(hash_, hers), ask(hash_, his)
    stranger = ask(f"hash-{uuid4()}", hers)
    assert signals(again_hers) == [
        f"The same face is on the list already by {first.number}.",
        f"The same face is also asked for in {stranger.number}.",
        f"The same address asks for another face in {other.number}.",
        f"The same photo came from another address in {stranger.number}.",
    ]
    assert signals(ask(f"hash-{uuid4()}", replace(hers, picture="1" * 64), replace(his, picture="2" * 64))) == [
        "Photos 1 and 2 do not seem to show the same person."
    ]


def test_the_list_says_how_many_faces_it_has_how_sure_a_match_must_be_and_what_that_costs(
    requests: Requests, call: Call
) -> None:
    answers = replace(ANSWERS, biometric_consent="I agree")
    people, photos = requests.listed_faces()
    seen = [photo(faces=(FACE,), face_model="m", chosen_face=0) for _ in range(2)]
    case = confirmed(requests, answers, Kind.FACE, *seen)
    call("POST", f"/requests/{case.id}/decision", decision(case))
    assert requests.listed_faces() == (people + 1, photos + 2)
    said = call("GET", "/exclusions").text
    assert f"{photos + 2} photos" in said
    cosine = face_threshold(photos + 2)
    assert f"cosine {cosine:.3f} on" in said
    assert f"{1e6 * false_share(photos + 2, cosine):.3g} of a million crawled faces, 1000 allowed" in said
    assert "about 100 strangers of a million" in said


def test_the_list_shows_what_is_in_force_and_nothing_else(requests: Requests, call: Call) -> None:
    on_list, proposed, revoked = (accepted(requests, call) for _ in range(3))
    for case in (proposed, revoked):
        call("POST", f"/requests/{case.id}/revocation", proposal(case), who="bo")
    call("POST", f"/requests/{revoked.id}/revocation/confirmation", {"action": "confirm"}, who="anna")
    body = call("GET", "/exclusions").body
    assert all(each in body for case in (on_list, proposed) for each in case.exclusions)
    assert not any(each in body for each in revoked.exclusions)
    assert on_list.exclusions[0] in call("GET", f"/exclusions?number={on_list.number}").body
    assert revoked.exclusions[0] not in call("GET", f"/exclusions?number={revoked.number}").body
    assert on_list.number in call("GET", f"/exclusions?number={on_list.exclusions[0]}").body
    assert revoked.number not in call("GET", f"/exclusions?number={revoked.exclusions[0]}").body
    assert call("GET", "/exclusions?number=%C3%A9%00").status == 200


def test_other_cases_with_the_same_picture_are_named(requests: Requests, call: Call) -> None:
    picture = uuid4().hex * 2
    first, second = (confirmed(requests, ANSWERS, Kind.IMAGE, photo(picture=picture)) for _ in range(2))
    body = call("GET", f"/requests/{first.id}").body
    assert second.number in body
    assert "same picture" in body


# --- strangers' words -------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Every element and attribute that a browser would make of a fragment."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


PLANT = (
    "\"'></textarea></code><script>alert(1)</script><img src=x onerror=alert(1)>"
    '<a href="javascript:alert(1)">{{7*7}}{% raw %}'
)


# ---- possible copies

CANDIDATE = "ef" * 32
FOUND_AT = "https://thumbs.lens.example/1.jpg"


def possible_copy(requests: Requests, url: str = FOUND_AT, kind: Kind = Kind.IMAGE) -> tuple[OptOutRequest, str]:
    """An accepted case of two photos, and the path of a possible copy of its first."""
    photos = [
        photo(sha256=f"{number:064x}", faces=(FACE,), face_model=FACE_MODEL, chosen_face=0) for number in range(2)
    ]
    case = confirmed(requests, ANSWERS, kind, *photos)
    made = Decision(str(uuid4()), Step.ACCEPT, AcceptReason.REQUESTERS_PICTURE, "", "anna")
    excluded = requests.decide(case.id, made, None, datetime.now(UTC)).exclusions[0]
    found = Doubt(CANDIDATE, excluded, url, (Sign("face" if kind is Kind.FACE else "picture", 0.55, 0.7),))
    assert requests.add_review(found, datetime.now(UTC))
    return again(requests, case), f"/reviews/{CANDIDATE}/{excluded}"


def test_possible_copies_show_no_picture_before_a_click(requests: Requests, call: Call) -> None:
    case, path = possible_copy(requests)
    page = call("GET", "/reviews").body
    assert path in page
    assert case.number in page
    assert f'data-candidate="{FOUND_AT}"' in page
    assert "<img" not in page
    assert page.count(f"/requests/{case.id}/photos/") == 1  # a picture is excluded by itself
    assert "45 % alike" in page


def test_a_face_is_compared_with_every_photo_of_its_case(requests: Requests, call: Call) -> None:
    case, _ = possible_copy(requests, kind=Kind.FACE)
    page = call("GET", "/reviews").body
    assert page.count(f"/requests/{case.id}/photos/") == 2
    assert "Is this the person of" in page


@pytest.mark.parametrize(
    ("url", "loadable"),
    [
        ("https://a.lens.example/x", True),
        ("https://a.lens.example:8443/x", False),
        ("http://a.lens.example/x", False),
        ("https://lens.example.evil.test/x", False),
        ("https://evil.test/.lens.example", False),
        ("http://localhost:8080/x", True),
        ("http://localhost/x", True),
    ],
)
def test_only_pictures_of_the_engines_hosts_are_loaded(
    requests: Requests, call: Call, url: str, loadable: bool
) -> None:
    possible_copy(requests, url)
    assert (f'data-candidate="{url}"' in call("GET", "/reviews").body) is loadable
    policy = call("GET", "/console").headers["Content-Security-Policy"]
    assert "https://*.lens.example http://localhost:*" in policy.partition("img-src")[2].partition(";")[0]


@pytest.mark.parametrize(("said", "event"), [("same", "answer_same"), ("different", "answer_different")])
def test_an_answer_is_taken_once_and_is_in_the_history(requests: Requests, call: Call, said: str, event: str) -> None:
    case, path = possible_copy(requests)
    answer = call("POST", path, {"answer": said})
    assert answer.status == 200
    assert f"Called {'the same' if said == 'same' else 'different'}" in answer.body
    assert path not in answer.body
    assert EVENTS[event] in call("GET", f"/requests/{case.id}").body
    second = call("POST", path, {"answer": "different" if said == "same" else "same"}, who="bo")
    assert second.status == 409
    assert "by anna" in second.body


def test_programs_answer_too(requests: Requests, call: Call) -> None:
    _, path = possible_copy(requests)
    answer = call("POST", path, {"answer": "same"}, accept="application/json")
    assert json.loads(answer.body) | {"at": ""} == {"answer": "same", "reviewer": "anna", "at": ""}


@pytest.mark.parametrize("body", [{}, {"answer": "maybe"}, {"answer": ""}])
def test_an_answer_is_one_of_two(requests: Requests, call: Call, body: dict[str, Any]) -> None:
    _, path = possible_copy(requests)
    assert call("POST", path, body).status == 400
    assert requests.count_open_reviews() == 1


@pytest.mark.parametrize("path", ["/reviews/x/y", f"/reviews/{CANDIDATE}/y", f"/reviews/{CANDIDATE}/a%23b"])
def test_what_nobody_was_asked_cannot_be_answered(call: Call, path: str) -> None:
    answer = call("POST", path, {"answer": "same"})
    assert answer.status == 404
    assert "no such possible copy" in answer.body


def test_a_possible_copy_of_what_was_withdrawn_is_not_shown(requests: Requests, call: Call) -> None:
    case, path = possible_copy(requests)
    requests.withdraw(case.id, datetime.now(UTC))
    assert path not in call("GET", "/reviews").body
    assert call("POST", path, {"answer": "different"}).status == 404


@pytest.mark.parametrize(
    "field", ["country", "explanation", "first_name", "last_name", "email", "phone", "represented", "links"]
)
def test_what_a_requester_wrote_stays_text(requests: Requests, call: Call, field: str) -> None:
    links = ("https://a.example/x", f"https://a.example/?q={PLANT}") if field == "links" else ("https://a.example/x",)
    changes: dict[str, Any] = {} if field == "links" else {field: PLANT}
    if field == "represented":
        changes["relation"] = Relation.PARENT
    planted = replace(ANSWERS, **changes)
    case = confirmed(requests, replace(planted, links=links, good_faith=True), Kind.LINKS)
    for path in (f"/requests/{case.id}", "/requests"):
        body = call("GET", path).body
        elements = Elements(body).found
        assert not {"script", "img"} & {tag for tag, _ in elements}
        assert not [
            name for _, attributes in elements for name in attributes if name.startswith("on") or name == "style"
        ]
        hrefs = {attributes["href"] or "" for tag, attributes in elements if tag == "a"}
        assert all(href.startswith("#/") for href in hrefs)
        assert (
            "49" not in re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|datetime=\S+|#/requests/\S+|\d\d:\d\d", "", body)
            or "{{7*7}}" in body
        )


def test_what_a_reviewer_wrote_stays_text(requests: Requests, call: Call) -> None:
    case = confirmed(requests)
    call("POST", f"/requests/{case.id}/decision", decision(case, text=PLANT))
    case = again(requests, case)
    call("POST", f"/requests/{case.id}/revocation", proposal(case, text=PLANT))
    elements = Elements(call("GET", f"/requests/{case.id}").body).found
    assert not {"script", "img"} & {tag for tag, _ in elements}


def test_nothing_personal_is_logged(
    requests: Requests,
    call: Call,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = Answers("DE", "planted-words", "Plantedfirst", "Plantedlast", "planted@example.org", phone="+49-planted")
    case = confirmed(requests, words)
    call("GET", "/requests")
    call("GET", f"/requests/{case.id}")
    call("GET", f"/requests/{case.id}/photos/{case.photos[0]}")
    call("POST", f"/requests/{case.id}/decision", decision(case, Step.REJECT, text="planted-words"))
    call("POST", f"/requests/{case.id}/decision", decision(case, text="planted-words"))
    call("POST", f"/requests/{case.id}/decision", decision(case, decision_id="planted-words"))
    monkeypatch.setattr(Requests, "related", lambda *_: 1 / 0)
    assert call("GET", f"/requests/{case.id}").status == 500
    captured = capsys.readouterr()
    logged = captured.out + captured.err + repr([vars(record) for record in caplog.records])
    assert "ZeroDivisionError" in logged
    assert "planted" not in logged.lower()
    assert case.id not in logged


BODIES = st.one_of(
    st.text(max_size=300),
    st.dictionaries(
        st.sampled_from(["decision_id", "version", "step", "reason", "text", "action", "x"]),
        st.one_of(
            st.text(max_size=40),
            st.integers(),
            st.floats(),
            st.none(),
            st.lists(st.text(max_size=3), max_size=2),
            st.sampled_from(["accept", "reject", "confirm", "cancel", "no_match", "goodwill", str(uuid4())]),
        ),
    ).map(json.dumps),
    st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode()),
)


# The bodies go to one case on purpose: whatever came before, the next one is answered.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    route=st.sampled_from(["decision", "revocation", "revocation/confirmation"]),
    body=BODIES,
    encoded=st.booleans(),
    accept=st.sampled_from(["text/html", "application/json", "*/*"]),
    content_type=st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain"]),
)
@example("decision", "[" * 100_000, False, "text/html", "application/json")
@example("decision", '{"text":"\\ud800","version":2}', False, "application/json", "application/json")
@example(
    "decision", "text=%ff&version=99999999999999999999999999", False, "text/html", "application/x-www-form-urlencoded"
)
@example("decision", '{"version":1e999}', False, "text/html", "application/json")
@example("decision", "9" * 5_000, False, "text/html", "application/json")
@example("revocation", "x" * 600_000, False, "text/html", "application/json")
def test_no_body_breaks_a_route(
    waiting: OptOutRequest, call: Call, route: str, body: str, encoded: bool, accept: str, content_type: str
) -> None:
    path = f"/requests/{waiting.id}/{route}"
    assert call("POST", path, body, accept=accept, content_type=content_type, encoded=encoded).status < 500


# --- the page itself --------------------------------------------------------------------------------------------------


def test_the_console_page_needs_no_sign_in_and_runs_nothing_inline(call: Call) -> None:
    answer = call("GET", "/console", groups=None)
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert "https://login.example.org" in rules["connect-src"]
    assert "https://login.example.org" in rules["form-action"]
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert re.search(r"https://\S*amazonaws\.com", rules["img-src"])
    scripts = [attributes for tag, attributes in Elements(answer.body).found if tag == "script"]
    assert scripts
    assert all(attributes.get("src") for attributes in scripts)
    config = next(
        attributes for tag, attributes in Elements(answer.body).found if attributes.get("name") == "htmx-config"
    )
    assert json.loads(config["content"] or "")["allowEval"] is False


def test_a_table_that_does_not_answer_is_said_in_the_console_as_a_refusal(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise ReadTimeoutError(endpoint_url="https://aws.example")

    monkeypatch.setattr(Requests, "queue", busy)
    refused = call("GET", "/requests")
    assert refused.status == 503
    assert "Please try again in a moment." in refused.text
    assert call("GET", "/requests", accept="application/json").json["error"] == "unavailable"


# --- urgent lanes and pictures that nobody can see --------------------------------------------------------------------


def urgent(requests: Requests, lane: Lane, kind: Kind, answers: Answers, *photos: Photo) -> OptOutRequest:
    now = datetime.now(UTC)
    made = requests.create_draft(kind, answers, f"hash-{uuid4()}", now, lane=lane)
    for each in photos:
        requests.add_photo(made.id, each, now)
    return requests.confirm(made.id, now)


def test_urgent_cases_are_marked_and_first(requests: Requests, call: Call) -> None:
    ordinary = confirmed(requests)
    links = replace(ANSWERS, links=("https://a.example/",), good_faith=True)
    case = urgent(requests, Lane.INTIMATE, Kind.LINKS, links)
    queue = call("GET", "/requests").body
    assert queue.index(case.number) < queue.index(ordinary.number)
    assert "24 hours: intimate" in queue
    assert "24 hours: intimate" in call("GET", f"/requests/{case.id}").text
    assert "24 hours" not in call("GET", f"/requests/{ordinary.id}").text


def test_a_report_without_a_name_is_shown_as_one(requests: Requests, call: Call) -> None:
    unnamed = Answers("", "A child is abused", "", "", "", good_faith=True, links=("https://a.example/",))
    case = urgent(requests, Lane.ABUSE, Kind.LINKS, unnamed)
    page = call("GET", f"/requests/{case.id}").text
    for words in ("No name given", "Not asked", "No letter can be sent", "Not given", "24 hours: abuse report"):
        assert words in page
    assert "No address given" in call("GET", "/requests").text
    sent = decision(case, reason=AcceptReason.UNLAWFUL_CONTENT.value)
    assert call("POST", f"/requests/{case.id}/decision", sent).status == 200


def test_the_relation_of_who_asks_is_shown(requests: Requests, call: Call) -> None:
    case = confirmed(requests, replace(ANSWERS, represented="Ben", relation=Relation.GUARDIAN))
    assert "Ben as a guardian" in call("GET", f"/requests/{case.id}").text
    assert "as a guardian" in call("GET", "/requests").text


def test_a_picture_that_came_by_code_is_marked_and_cannot_be_looked_at(requests: Requests, call: Call) -> None:
    seen = photo(picture=None)
    case = urgent(requests, Lane.INTIMATE, Kind.IMAGE, ANSWERS, seen)
    page = call("GET", f"/requests/{case.id}")
    assert "Hash only: nobody can look at it." in page.text
    assert "Show photo" not in page.text
    assert "Hash only" in call("GET", "/requests").text
    assert call("GET", f"/requests/{case.id}/photos/{seen.ticket}").status == 404
    assert [event.name for event in requests.history(case.id)] == ["confirm"], "no look that was none is on record"
    assert call("POST", f"/requests/{case.id}/decision", decision(case)).status == 200
