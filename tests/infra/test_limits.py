"""Numbers that stand in the code and in the template, and must agree for either to be right."""

from __future__ import annotations

import re
from typing import Any

from local import template
from local.place import REPOSITORY
from optout import lookups, retention
from optout.mail import outbox

loaded = template.load()
queues = template.resources("AWS::SQS::Queue")
functions = template.resources("AWS::Serverless::Function")


def timeout(function: str) -> Any:
    return functions[function].get("Timeout", loaded["Globals"]["Function"]["Timeout"])


def test_a_letter_is_parked_with_the_receipt_after_which_its_message_is_among_the_dead() -> None:
    assert queues["Mail"]["RedrivePolicy"]["maxReceiveCount"] == outbox.MAX_RECEIVES


def test_a_lease_outlasts_its_sender_and_ends_before_the_message_comes_again() -> None:
    assert timeout("Notify") < outbox.LEASE.total_seconds() < queues["Mail"]["VisibilityTimeout"]


def test_work_under_a_time_budget_ends_before_the_function_is_ended() -> None:
    assert timeout("ExcludeCheck") > lookups.TIME_BUDGET_S
    assert timeout("Notify") > retention.SWEEP_SECONDS


def test_every_setting_the_code_reads_is_given_to_some_function() -> None:
    read = set(re.findall(r'os\.environ\["([A-Z_]+)"\]', (REPOSITORY / "optout" / "settings.py").read_text()))
    given = set().union(*(function["Environment"]["Variables"] for function in functions.values()))
    assert read == given - {"POWERTOOLS_SERVICE_NAME"}
