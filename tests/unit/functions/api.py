"""Functions called as API Gateway (REST) calls them, without HTTP in between."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.unit.functions.events import Context

_instances = count(1)
FUNCTIONS = Path(__file__).parents[3] / "functions"
# What Chromium sends with a navigation.
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CONTEXT = Context()


@dataclass(frozen=True)
class Answer:
    """What a function answered."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The page's words, without its markup."""
        return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", self.body)))


def load(name: str) -> ModuleType:
    """A new instance of a function, as a cold start makes one. Call it inside `storage()`: it sets `os.environ`."""
    # Loggers are kept by service name, with the output of the test that made them: a name of its own for each.
    os.environ["POWERTOOLS_SERVICE_NAME"] = f"{name}-{next(_instances)}"
    spec = importlib.util.spec_from_file_location(f"{name}_handler", FUNCTIONS / name / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def event(
    method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None, *, encoded: bool = False
) -> dict[str, Any]:
    """A REST proxy event; `path` may have a query."""
    parts = urlsplit(path)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    sent = {"Accept": BROWSER, **(headers or {})}
    return {
        "resource": "/{proxy+}",
        "path": parts.path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "stage": "live",
            "path": parts.path,
            "httpMethod": method,
            "requestId": "r",
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": base64.b64encode(body.encode()).decode() if body is not None and encoded else body,
        "isBase64Encoded": encoded,
    }


@dataclass(frozen=True)
class Api:
    """One warm instance of a function."""

    module: ModuleType

    def send(self, given: dict[str, Any]) -> Answer:
        answer = self.module.lambda_handler(given, CONTEXT)
        body = answer["body"] or ""
        if answer.get("isBase64Encoded"):
            body = base64.b64decode(body).decode()
        headers = {name: values[-1] for name, values in answer["multiValueHeaders"].items()}
        return Answer(answer["statusCode"], headers, body)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send(event("GET", path, None, headers))

    def post(self, path: str, fields: Mapping[str, Any] | None = None) -> Answer:
        return self.send(
            event(
                "POST", path, urlencode(fields or {}, doseq=True), {"Content-Type": "application/x-www-form-urlencoded"}
            )
        )
