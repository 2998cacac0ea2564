"""Reads `infra/template.yaml`; the deployment and the tests take tables, indexes and limits from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from local.place import REPOSITORY

TEMPLATE = REPOSITORY / "infra" / "template.yaml"


def load(path: Path = TEMPLATE) -> dict[str, Any]:
    """The template as plain dicts, its short tags (`!Ref x`) in the long form (`{"Ref": "x"}`)."""
    template: dict[str, Any] = yaml_parse(path.read_text())
    return template


def resources(kind: str, template: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Logical id -> properties of every resource of one type, such as `AWS::DynamoDB::Table`."""
    everything = (template or load())["Resources"]
    return {name: resource["Properties"] for name, resource in everything.items() if resource["Type"] == kind}
