"""Functions start from snapshots: many instances begin with the same memory, so nothing random may lie in it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from samtranslator.translator.transform import transform  # type: ignore[import-untyped]

from local import template
from local.place import REPOSITORY

loaded = template.load()
functions = template.resources("AWS::Serverless::Function")
SOURCES = sorted(
    [
        *(REPOSITORY / "optout").rglob("*.py"),
        *(REPOSITORY / "functions").glob("*/handler.py"),
    ]
)
RANDOM = {"random", "secrets", "uuid", "urandom", "getrandbits", "default_rng", "token_urlsafe", "uuid4", "choice"}


def test_published_versions_start_from_snapshots_where_the_operator_wants_it() -> None:
    shared = loaded["Globals"]["Function"]
    assert shared["SnapStart"] == {"ApplyOn": {"Fn::If": ["HasSnapStart", "PublishedVersions", "None"]}}
    assert shared["AutoPublishAlias"] == "live"
    assert shared["VersionDeletionPolicy"] == "Delete", "old versions' snapshots are paid for"
    # From Python 3.12 on, with at most 512 MB of /tmp.
    assert shared["Runtime"] == "python3.13"
    assert all("EphemeralStorage" not in properties for properties in functions.values())


@pytest.mark.parametrize("name", sorted(functions))
def test_whatever_changes_is_published(name: str) -> None:
    """A version is made anew only when its name changes, and SAM's own name for it does not change with a layer."""
    assert functions[name]["AutoPublishCodeSha256"] == {"Ref": "Release"}


def test_every_event_reaches_the_version_behind_the_alias(tmp_path: Path) -> None:
    translated = _translated("one")
    aliases = {f"{name}Aliaslive" for name in functions}
    assert aliases <= translated.keys()
    mappings = [part for part in translated.values() if part["Type"] == "AWS::Lambda::EventSourceMapping"]
    rules = {
        name: [target["Arn"] for target in part["Properties"]["Targets"]]
        for name, part in translated.items()
        if part["Type"] == "AWS::Events::Rule" and "ScheduleExpression" in part["Properties"]
    }
    assert len(mappings) >= 2
    for mapping in mappings:
        assert mapping["Properties"]["FunctionName"] == {"Ref": "NotifyAliaslive"}
    assert sorted(str(targets) for targets in rules.values()) == [
        str([{"Ref": name}]) for name in ("CompactAliaslive", "NotifyAliaslive", "NotifyAliaslive")
    ]
    (api,) = (part for part in translated.values() if part["Type"] == "AWS::ApiGateway::RestApi")
    called = set(re.findall(r"\$\{(\w+)(?:\.Arn)?\}/invocations", json.dumps(api["Properties"]["Body"])))
    assert called == aliases - {"CompactAliaslive", "NotifyAliaslive"}


def test_another_release_is_another_version() -> None:
    def versions(release: str) -> set[str]:
        return {name for name, part in _translated(release).items() if part["Type"] == "AWS::Lambda::Version"}

    assert len(versions("one")) == len(functions)
    assert versions("one") == versions("one")
    assert not versions("one") & versions("two")


def _translated(release: str) -> dict[str, dict[str, object]]:
    body = template.load()
    for resource in body["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = "s3://bucket/key"
    found: dict[str, dict[str, object]] = transform(body, {"Release": release}, None)["Resources"]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_nothing_random_is_drawn_while_a_module_is_loaded(path: Path) -> None:
    """Calls inside functions are fine; at module or class level, and as a parameter's default, they run once."""
    assert [f"line {call.lineno}" for call in _calls_while_loading(ast.parse(path.read_text()))] == []


def test_the_search_for_randomness_finds_it() -> None:
    drawn = "SEED = random.random()\nclass A:\n    x = secrets.token_urlsafe(4)\ndef f(x=uuid.uuid4()): ...\n"
    assert [call.lineno for call in _calls_while_loading(ast.parse(drawn))] == [1, 3, 4]
    assert _calls_while_loading(ast.parse("import random\ndef f():\n    return random.random()\n")) == []


def _calls_while_loading(node: ast.AST) -> list[ast.Call]:
    found: list[ast.Call] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            defaults = [*child.args.defaults, *(default for default in child.args.kw_defaults if default)]
            decorators = [] if isinstance(child, ast.Lambda) else child.decorator_list
            for part in [*defaults, *decorators]:
                found += _calls_while_loading(ast.Expression(part))
            continue
        if isinstance(child, ast.Call):
            words = {name.id for name in ast.walk(child.func) if isinstance(name, ast.Name)}
            words |= {name.attr for name in ast.walk(child.func) if isinstance(name, ast.Attribute)}
            if words & RANDOM:
                found.append(child)
        found += _calls_while_loading(child)
    return found


def test_what_is_drawn_later_comes_from_the_system_and_not_from_a_state_in_memory() -> None:
    """`random` keeps its state in memory, so that instances of one snapshot would draw the same numbers: all of them
    would wait equally long for the head of the list, and meet there again."""
    for path in SOURCES:
        source = path.read_text()
        for used in re.findall(r"(?<![\w.])random\.(\w+)", source):
            assert used in ("SystemRandom", "seed"), f"{path.name}: random.{used}"


def test_what_libraries_draw_differs_between_instances_of_one_snapshot(tmp_path: Path) -> None:
    """With a stand-in for the module of Lambda's runtime, and a snapshot that is restored twice."""
    (tmp_path / "snapshot_restore_py.py").write_text(
        "hooks, before = [], []\nregister_after_restore, register_before_snapshot = hooks.append, before.append\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "import random, snapshot_restore_py; from optout import settings;"
        "state = random.getstate(); drawn = []\n"
        "for _ in range(2):\n"
        "    random.setstate(state)\n"
        "    for hook in snapshot_restore_py.hooks: hook()\n"
        "    drawn.append(random.random())\n"
        "assert 'boto3' not in sys.modules\n"
        "for hook in snapshot_restore_py.before: hook()\n"
        "assert 'boto3' in sys.modules\n"
        "print(len(set(drawn)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPOSITORY)  # noqa: S603  its words are all in this file
    assert done.stdout.strip() == "2"


@pytest.mark.parametrize("service", sorted(path.parent.name for path in SOURCES if path.name == "handler.py"))
def test_loading_a_handler_opens_no_connection_makes_no_client_and_loads_nothing_large(service: str) -> None:
    """A connection or credentials of a snapshot would be old when it is restored."""
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'functions' / service)!r});"
        "import socket; socket.socket.connect = None; import handler; from optout import settings;"
        "print(settings.aws.cache_info().currsize, *{'boto3', 'numpy', 'cv2', 'jsonschema'} & sys.modules.keys())"
    )
    done = subprocess.run(  # noqa: S603  its words are all in this file
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={"POWERTOOLS_METRICS_NAMESPACE": "Test", "POWERTOOLS_SERVICE_NAME": "test", "AWS_REGION": "us-east-1"},
    )
    clients, *loaded_early = done.stdout.split()
    assert clients == "0"
    if service not in ("compact", "examine", "exclude_check"):
        assert loaded_early == [], "what a page does not need before its first request, it must not wait for"
