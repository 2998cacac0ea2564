"""How the functions are set up: the same for all, and each told only what it needs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local import template
from local.place import REPOSITORY

loaded = template.load()
functions = template.resources("AWS::Serverless::Function")
logs = template.resources("AWS::Logs::LogGroup")
FUNCTIONS = sorted(functions)

# Variable -> what it holds. The first word is the resource's, so that a reader finds one from the other.
VARIABLES: dict[str, Any] = {
    "REQUESTS_TABLE": {"Ref": "Requests"},
    "EXCLUSIONS_TABLE": {"Ref": "Exclusions"},
    "PHOTOS_BUCKET": {"Ref": "Photos"},
    "SNAPSHOTS_BUCKET": {"Ref": "Snapshots"},
    "MAIL_QUEUE_URL": {"Ref": "Mail"},
    "LINK_SECRET": {"Fn::GetAtt": ["LinkSecret", "Id"]},
    "SENDER": {"Ref": "Sender"},
    "LETTERS_CONFIGURATION_SET": {"Ref": "Letters"},
    "CONSOLE_CLIENT_ID": {"Ref": "Console"},
    "SITE_URL": {"Ref": "SiteUrl"},
    "ENGINE_NAME": {"Ref": "EngineName"},
    "SUPPORT_ADDRESS": {"Ref": "SupportAddress"},
    "FALSE_EXCLUSIONS_PER_MILLION": {"Ref": "FalseExclusionsPerMillion"},
    "REVIEWS_PER_DAY": {"Ref": "ReviewsPerDay"},
    "PROVISIONAL": {"Ref": "Provisional"},
    "EXIT_URL": {"Ref": "ExitUrl"},
    "LIMITS_PERCENT": {"Ref": "LimitsPercent"},
    "MAINTENANCE": {"Ref": "Maintenance"},
    "CRAWLED_FACES_PER_DAY": {"Ref": "CrawledFacesPerDay"},
    "HIT_SHARE_ALARM_PERCENT": {"Ref": "HitShareAlarmPercent"},
    "RECEIPTS_QUEUE_ARN": {"Fn::GetAtt": ["Receipts", "Arn"]},
    "REVIEWS_URL": {"Ref": "Reviews"},
    "REVIEWS_ARN": {"Fn::GetAtt": ["Reviews", "Arn"]},
    "EXCLUDE_CHECK_ALIAS": {"Ref": "ExcludeCheck.Alias"},
    "ENGINE_PICTURE_HOSTS": {"Ref": "EnginePictureHosts"},
}


def variables(function: str) -> dict[str, Any]:
    found: dict[str, Any] = functions[function]["Environment"]["Variables"]
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_variable_is_named_after_the_resource_it_points_to(function: str) -> None:
    for name, value in variables(function).items():
        if name in ("POWERTOOLS_SERVICE_NAME", "CONSOLE_LOGIN_URL"):
            continue
        assert value == VARIABLES[name]
        target = value.get("Ref") or value["Fn::GetAtt"][0]
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", target).upper().replace(".", "_")
        assert name == words or name.startswith(f"{words}_")


def test_every_variable_is_used_by_some_function() -> None:
    used = set().union(*(variables(function) for function in FUNCTIONS))
    assert used == VARIABLES.keys() | {"POWERTOOLS_SERVICE_NAME", "CONSOLE_LOGIN_URL"}


def test_a_lookup_is_told_of_the_exclusions_and_whom_to_ask_alone() -> None:
    assert set(variables("ExcludeCheck")) == {
        "POWERTOOLS_SERVICE_NAME",
        "EXCLUSIONS_TABLE",
        "SNAPSHOTS_BUCKET",
        "FALSE_EXCLUSIONS_PER_MILLION",
        "REVIEWS_PER_DAY",
        "CRAWLED_FACES_PER_DAY",
        "HIT_SHARE_ALARM_PERCENT",
        "REVIEWS_URL",
    }


def test_the_functions_share_runtime_architecture_entry_and_tracing() -> None:
    shared = loaded["Globals"]["Function"]
    assert shared["Runtime"] == "python3.13"
    assert shared["Architectures"] == ["arm64"]
    assert shared["Handler"] == "handler.lambda_handler"
    assert shared["Tracing"] == "Active"
    for properties in functions.values():
        assert not {"Runtime", "Architectures", "Handler", "Tracing"} & properties.keys()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_a_folder_with_its_entry(function: str) -> None:
    folder = (REPOSITORY / "infra" / functions[function]["CodeUri"]).resolve()
    assert folder.parent == REPOSITORY / "functions"
    assert folder.name == variables(function)["POWERTOOLS_SERVICE_NAME"]
    assert "def lambda_handler(" in (folder / "handler.py").read_text()


def test_every_folder_of_functions_is_deployed() -> None:
    folders = {path.parent.name for path in (REPOSITORY / "functions").glob("*/handler.py")}
    assert folders == {variables(function)["POWERTOOLS_SERVICE_NAME"] for function in FUNCTIONS}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_writes_to_a_log_group_that_forgets(function: str) -> None:
    assert functions[function]["LoggingConfig"] == {"LogGroup": {"Ref": f"{function}Log"}}
    assert logs[f"{function}Log"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_page_functions_start_without_the_vision_layer() -> None:
    assert {name for name, properties in functions.items() if {"Ref": "Vision"} in properties["Layers"]} == {
        "Compact",
        "Examine",
        "ExcludeCheck",
    }
    assert all({"Ref": "Core"} in properties["Layers"] for properties in functions.values())


def test_every_page_answers_before_the_gateway_gives_up() -> None:
    for name, properties in functions.items():
        if any(event["Type"] == "Api" for event in properties["Events"].values()):
            assert properties.get("Timeout", loaded["Globals"]["Function"]["Timeout"]) < 29, name


def test_strangers_photos_cannot_use_up_the_accounts_concurrency() -> None:
    assert functions["Examine"]["ReservedConcurrentExecutions"] == {"Ref": "ExamineConcurrency"}


def test_what_every_function_is_told_alike_are_the_operators_choices() -> None:
    assert loaded["Globals"]["Function"]["Environment"]["Variables"] == {
        "POWERTOOLS_METRICS_NAMESPACE": "ImageOptout",
        "POWERTOOLS_LOG_LEVEL": {"Ref": "LogLevel"},
        "APPEAL_WINDOW_DAYS": {"Ref": "AppealWindowDays"},
        "CASE_KEPT_YEARS": {"Ref": "CaseKeptYears"},
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }
