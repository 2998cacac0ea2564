"""A reviewer sees that the face of a case is on the list already: `decide` asks `exclude_check`, over moto."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ReadTimeoutError

from optout.fingerprint.faces import FACE_MODEL
from optout.requests import Answers, Kind, OptOutRequest, Photo, SeenFace, new_ticket
from optout.store import Requests
from tests.storage import ENVIRONMENT, storage
from tests.unit.functions.api import Answer, Api, event, load
from tests.unit.functions.events import Context

NOW = datetime.now(UTC)
ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org", biometric_consent="I agree")
DRAWN = np.random.default_rng(7)


def face(like: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
    """A face of a new person, or another one of the same."""
    drawn = DRAWN.normal(size=128) if like is None else like + 0.02 * DRAWN.normal(size=128)
    unit: np.ndarray[Any, Any] = (drawn / np.linalg.norm(drawn)).astype("<f4")
    return unit


class Console:
    """`decide` in process, with an `exclude_check` behind it that can be made to fail."""

    def __init__(self) -> None:
        self.decide, self.check = Api(load("decide")), load("exclude_check")
        self.requests = Requests.from_settings()
        self.failing: str = ""
        self.asked: list[Any] = []

    def invoke(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert arguments["FunctionName"] == ENVIRONMENT["EXCLUDE_CHECK_ALIAS"]
        if self.failing == "no answer":
            raise ReadTimeoutError(endpoint_url="https://lambda.example")
        if self.failing:
            return {"FunctionError": self.failing, "Payload": io.BytesIO(b'{"errorType": "NotFresh"}')}
        self.asked.append(json.loads(arguments["Payload"]))
        return {"Payload": io.BytesIO(json.dumps(self.check.lambda_handler(self.asked[-1], Context())).encode())}

    def case(self, *faces: np.ndarray[Any, Any]) -> OptOutRequest:
        draft = self.requests.create_draft(Kind.FACE, ANSWERS, f"hash-{uuid4()}", NOW)
        for each in faces:
            seen = SeenFace((10, 20, 90, 90), 0.93, each.tobytes())
            photo = Photo(new_ticket(), uuid4().hex * 2, uuid4().hex * 2, 640, 480, 90, (), (seen,), FACE_MODEL, 0)
            self.requests.add_photo(draft.id, photo, NOW)
        return self.requests.confirm(draft.id, NOW)

    def accept(self, case: OptOutRequest) -> None:
        sent = {"decision_id": str(uuid4()), "version": case.version, "step": "accept", "reason": "shows_requester"}
        assert self.call("POST", f"/requests/{case.id}/decision", json.dumps(sent | {"text": ""})).status == 200

    def listed(self, case: OptOutRequest) -> Answer:
        return self.call("GET", f"/requests/{case.id}/listed")

    def call(self, method: str, path: str, body: str | None = None) -> Answer:
        given = event(method, path, body, {"Accept": "text/html", "Content-Type": "application/json"})
        claims = {"cognito:username": "anna", "cognito:groups": "[reviewers]"}
        given["requestContext"]["authorizer"] = {"claims": claims}
        return self.decide.send(given)


@pytest.fixture
def console() -> Iterator[Console]:
    real = BaseClient._make_api_call
    with storage(), pytest.MonkeyPatch.context() as patch:
        made = Console()

        def call(client: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
            return made.invoke(arguments) if operation == "Invoke" else real(client, operation, arguments)

        patch.setattr(BaseClient, "_make_api_call", call)
        yield made


def test_a_face_that_another_case_put_on_the_list_is_named_and_a_strangers_is_not(console: Console) -> None:
    person = face()
    first = console.case(face(person))
    console.accept(first)
    again, stranger = console.case(face(), face(person)), console.case(face())
    assert first.number in console.listed(again).body
    assert "No face on the exclusion list" in console.listed(stranger).body
    assert first.number not in console.listed(first).body


def test_a_listed_face_whose_case_is_deleted_is_said_too(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    person = face()
    console.accept(console.case(face(person)))
    again = console.case(face(person))
    monkeypatch.setattr(Requests, "by_exclusion", lambda *_: None)
    assert "1 whose case has been deleted since" in console.listed(again).text


def test_what_an_open_case_holds_back_is_not_called_a_listed_face(console: Console) -> None:
    case = console.case(face())
    console.requests.verify(case.id, NOW, provisional=True)
    assert console.requests.get(case.id, NOW).hold is not None
    answer = console.listed(case)
    assert "No face on the exclusion list" in answer.body
    assert "deleted since" not in answer.text


@pytest.mark.parametrize("failing", ["Unhandled", "no answer"])
def test_what_cannot_be_compared_now_is_not_said_to_be_new(console: Console, failing: str) -> None:
    case = console.case(face())
    console.failing = failing
    answer = console.listed(case)
    assert answer.status == 200
    assert "could not be compared just now" in answer.text
    assert "No face" not in answer.text


def test_a_reviewers_question_is_no_crawl(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    person = face()
    console.accept(console.case(face(person)))
    again = console.case(face(person))
    capsys.readouterr()
    console.listed(again)
    said = capsys.readouterr().out
    assert console.asked
    assert "exclusion hit" not in said
    assert "VerdictExclude" not in said
    assert not console.check.window.shares()


def test_the_case_asks_for_the_comparison_by_itself_and_only_before_it_is_decided(console: Console) -> None:
    case = console.case(face())
    asks = f"/requests/{case.id}/listed"
    assert asks in console.call("GET", f"/requests/{case.id}").body
    console.accept(case)
    assert asks not in console.call("GET", f"/requests/{case.id}").body
