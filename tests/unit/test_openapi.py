"""The published description of the API: that it is whole, and that template, handlers and description are one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from local import template
from local.place import REPOSITORY
from optout import openapi
from optout.errors import OptOutError
from optout.openapi import OPERATIONS, Access
from optout.web.forms import FIELDS
from tests.storage import storage
from tests.unit.functions.api import load

API = REPOSITORY / "docs" / "api"
ACCESS = {None: Access.REVIEWERS, "NONE": Access.ANYBODY, "AWS_IAM": Access.CRAWLERS}


def folder(properties: dict[str, Any]) -> str:
    return str(properties["CodeUri"]).removeprefix("../functions/")


def in_the_template() -> Iterator[tuple[str, str, str, Access]]:
    for properties in template.resources("AWS::Serverless::Function").values():
        for event in properties["Events"].values():
            # What catches every other address answers 404 and is no operation of its own.
            if event["Type"] == "Api" and event["Properties"]["Path"] != "/{proxy+}":
                route = event["Properties"]
                who = ACCESS[route.get("Auth", {}).get("Authorizer")]
                yield route["Method"], route["Path"], folder(properties), who


def of_the_handlers() -> Iterator[tuple[str, str, str]]:
    """Method, path and function of every route that a handler answers, its parameters without names."""
    for function in sorted({operation.function for operation in OPERATIONS}):
        app = load(function).app
        for route in app._static_routes + app._dynamic_routes:
            yield route.method, re.sub(r"<[^>]+>", "{}", route.path), function


def test_the_template_and_the_description_name_the_same_routes_functions_and_callers() -> None:
    described = [(each.method, each.path, each.function, each.access) for each in OPERATIONS]
    assert sorted(described) == sorted(in_the_template())


def test_the_handlers_answer_every_route_of_the_description_and_no_other() -> None:
    with storage():
        found = sorted(of_the_handlers())
    assert found == sorted((each.method, re.sub(r"{[^}]+}", "{}", each.path), each.function) for each in OPERATIONS)


def test_the_written_description_is_the_present_one() -> None:
    """Write it again with `python -m optout.openapi > docs/api/openapi.json`."""
    assert (API / "openapi.json").read_text() == json.dumps(openapi.document(), indent=2) + "\n"


def test_the_written_table_of_routes_is_the_present_one() -> None:
    """Write it again with `python -m optout.openapi --routes > docs/routes.md`."""
    assert (API.parent / "routes.md").read_text() == openapi.routes()


def test_there_is_one_description() -> None:
    assert [path.name for path in API.iterdir()] == ["openapi.json"]


def test_the_command_writes_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert openapi.main([]) == 0
    assert json.loads(capsys.readouterr().out) == openapi.document()
    assert openapi.main(["--routes"]) == 0
    assert capsys.readouterr().out == openapi.routes()


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_schema_that_is_named_is_there_and_no_other() -> None:
    document = openapi.document()
    named = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert named == set(document["components"]["schemas"])


@pytest.mark.parametrize("path", ["/opt-out", "/opt-out/{draft}"])
def test_the_described_form_has_the_fields_that_are_read(path: str) -> None:
    (form,) = [each.form for each in OPERATIONS if each.method == "POST" and each.path == path]
    assert form is not None
    assert set(form["properties"]) - {"kind", "lane"} == set(FIELDS)
    assert set(form["required"]) <= set(form["properties"])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_no_operation_is_described_as_failing_by_itself(operation: openapi.Operation) -> None:
    responses = openapi.document()["paths"][operation.path][operation.method.lower()]["responses"]
    assert "500" not in responses
    assert any(status in responses for status in ("200", "303"))
    assert all(issubclass(error, OptOutError) for error in operation.refuses)
