"""Every operation of docs/api/openapi.json, asked over HTTP what its description allows and what it does not.

`make test` asks a little; `CONTRACT_EXAMPLES=500 .venv/bin/pytest tests/integration/test_contracts.py` asks a lot.
"""

from __future__ import annotations

import io
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from local.actors import HTML, Requester, Reviewer, expect
from local.embedded_aws import EmbeddedAws
from local.place import REGION
from local.running import Running
from optout import openapi
from optout.openapi import OPERATIONS, Access, Operation
from optout.reviews import Doubt, Sign
from optout.store import Requests
from tests.pictures import picture

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "8"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DOCUMENT = schemathesis.openapi.from_dict(openapi.document())
Negative, Positive = schemathesis.GenerationMode.NEGATIVE, schemathesis.GenerationMode.POSITIVE


class Signed(requests.auth.AuthBase):
    """Signs a request as the crawler."""

    def __init__(self, running: Running) -> None:
        self._keys = Credentials(running.keys.crawler_key, running.keys.crawler_secret)
        self._site = running.site

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        kept = {name: value for name, value in request.headers.items() if name.lower() == "content-type"}
        signed = AWSRequest(request.method, self._site + request.path_url, kept, request.body)
        SigV4Auth(self._keys, "execute-api", REGION).add_auth(signed)
        request.headers.update(dict(signed.headers))
        return request


@dataclass(frozen=True)
class Api:
    """The deployed API, and path parameters that lead to something: name -> values."""

    running: Running
    real: dict[str, list[str]]
    token: str

    def session(self, access: Access) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.headers["Host"] = self.running.site.removeprefix("http://")
        match access:
            case Access.REVIEWERS:
                session.headers["Authorization"] = self.token
            case Access.CRAWLERS:
                session.auth = Signed(self.running)
        return session


def photo() -> bytes:
    small = Image.open(io.BytesIO(picture("obama.jpg"))).convert("RGB")
    small.thumbnail((300, 300))
    out = io.BytesIO()
    small.save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def api(embedded_aws: EmbeddedAws) -> Api:
    """The API with two drafts, one ready to be sent, and three cases in its store: to decide, accepted, withdrawn;
    two possible copies wait for an answer."""
    running = embedded_aws.running
    anna = Reviewer(running, "anna")

    def person(name: str) -> Requester:
        return Requester(running, f"{name}@contracts.example")

    ready, empty = person("ready").begin("image"), person("empty").begin("face")
    ready.upload(photo())
    pending, accepted, withdrawn = person("pending"), person("accepted"), person("withdrawn")
    numbers = [
        pending.file("image", photo()),
        accepted.file("links", links="https://contracts.example/accepted"),
        withdrawn.file("links", links="https://contracts.example/withdrawn"),
    ]
    anna.accept(numbers[1])
    withdrawn.withdraw()
    with running.http(headers=HTML) as client:
        test = expect(client.post(f"{pending.status_link()}/test"), 303, "a test begins").headers["location"]
    store = Requests(running.outputs["RequestsTable"], None, running.client("dynamodb"))
    [excluded] = store.get(anna.find(numbers[1]), datetime.now(UTC)).exclusions
    doubted = ["ab" * 32, "cd" * 32]
    for sha256 in doubted:
        doubt = Doubt(sha256, excluded, "https://contracts.example/found.jpg", (Sign("picture", 0.6, 0.7),))
        assert store.add_review(doubt, datetime.now(UTC))
    tickets = running.client("dynamodb").scan(TableName=running.outputs["RequestsTable"])["Items"]
    return Api(
        running,
        {
            "draft": [ready.draft, empty.draft, pending.draft],
            "id": [anna.find(number) for number in numbers],
            "token": [each.status_link().removeprefix("/status/") for each in (pending, accepted, withdrawn)],
            "ticket": [item["sk"]["S"].partition("#")[2] for item in tickets if item["sk"]["S"].startswith("photo#")],
            "test": [re.split("[/?]", test.partition("/test/")[2])[0]],
            "sha256": doubted,
            "exclusion": [excluded],
            "file": ["site.css", "console.js", "icon.svg", "htmx.min.js"],
        },
        running.id_token("anna"),
    )


def send(case: schemathesis.Case[Any], api: Api, session: requests.Session, accept: str) -> schemathesis.Response:
    return case.call(
        base_url=f"http://127.0.0.1:{api.running.place.port}",
        session=session,
        headers={"Accept": accept},
        allow_redirects=False,
    )


def asked(operation: Operation) -> st.SearchStrategy[schemathesis.Case[Any]]:
    """Requests that the description allows and, where it asks for anything, such that it does not."""
    described = DOCUMENT[operation.path][operation.method]
    allowed = described.as_strategy(generation_mode=Positive)
    if operation.form is None and operation.body is None and not operation.query:
        return allowed
    return allowed | described.as_strategy(generation_mode=Negative)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_answers_as_it_is_described_and_never_fails(operation: Operation, api: Api) -> None:
    statuses: Counter[int] = Counter()
    session = api.session(operation.access)

    # Some descriptions leave hypothesis little to choose from, and the emulator has its slow moments.
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=asked(operation), data=st.data())
    def ask(case: schemathesis.Case[Any], data: st.DataObject) -> None:
        for name in case.path_parameters or {}:
            # What the description generates leads nowhere nearly always.
            if data.draw(st.integers(0, 3)):
                case.path_parameters[name] = data.draw(st.sampled_from(api.real[name]))
        accept = data.draw(st.sampled_from(["text/html,*/*;q=0.8", "application/json"]))
        answer = send(case, api, session, accept)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    ask()
    assert not any(status >= 500 for status in statuses)


def test_a_decision_and_its_way_back_are_answered_to_programs_as_described(api: Api) -> None:
    """What chance does not find: the right version of a case, and a reason that fits the step."""
    number = Requester(api.running, "decided@contracts.example").file(
        "links", links="https://contracts.example/decided"
    )
    anna = Reviewer(api.running, "anna")
    case_id = anna.find(number)
    seen = {"reason": "goodwill", "text": "We do this for you."}
    decision = {"decision_id": str(uuid.uuid4()), "version": anna.version(case_id), "step": "accept", **seen}
    steps: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("decision", lambda: decision),
        ("revocation", lambda: {"version": anna.version(case_id), "reason": "other", "text": "It was a mistake."}),
        ("revocation/confirmation", lambda: {"action": "cancel"}),
    ]
    for step, body in steps:
        operation = DOCUMENT[f"/requests/{{id}}/{step}"]["POST"]
        case = operation.Case(path_parameters={"id": case_id}, body=body(), media_type="application/json")
        answer = send(case, api, api.session(Access.REVIEWERS), "application/json")
        assert answer.status_code == 200
        case.validate_response(answer, checks=CHECKS)


def test_the_checks_would_notice(api: Api) -> None:
    """An answer that is described nowhere fails, so that the tests above cannot pass by looking at nothing."""
    case = DOCUMENT["/help"]["GET"].Case()
    answer = send(case, api, api.session(Access.ANYBODY), "text/html")
    case.validate_response(answer, checks=CHECKS)
    answer.status_code = 418
    with pytest.raises(BaseException, match="Undocumented status code"):
        case.validate_response(answer, checks=CHECKS)
