"""What tells the operator that something is wrong: alarms, a dashboard, and what to do about each."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from local import template
from local.place import REPOSITORY

alarms = template.resources("AWS::CloudWatch::Alarm")
functions = template.resources("AWS::Serverless::Function")
queues = template.resources("AWS::SQS::Queue")
(dashboard,) = template.resources("AWS::CloudWatch::Dashboard").values()
OWN = "ImageOptout"


def emitted(service: str) -> set[str]:
    """The names of all metrics of one function; a name that is made while it runs, as a pattern."""
    source = (REPOSITORY / "functions" / service / "handler.py").read_text()
    names = set(re.findall(r'add_metric\(\s*"(\w+)"', source))
    for table in re.findall(r"(?m)^_COUNTED = \{(.+)\}$", source):
        names |= set(re.findall(r': "(\w+)"', table))
    names |= set(re.findall(r'_COUNTED\.get\([^,]+, "(\w+)"\)', source))
    for verdict in ("Allow", "Exclude", "Review", "Defer", "Invalid"):
        if 'f"Verdict{' in source:
            names.add(f"Verdict{verdict}")
    if 'f"Retention{' in source:
        names |= {f"Retention{what}" for what in ("Drafts", "Unverified", "Photos", "Cases", "Reviews", "Failed")}
    return names


def watched() -> list[tuple[str, str, str, dict[str, Any]]]:
    """Alarm, namespace, metric and dimensions of every alarm."""
    return [
        (
            name,
            alarm["Namespace"],
            alarm["MetricName"],
            {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]},
        )
        for name, alarm in alarms.items()
    ]


def widgets() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]
    return found


def test_every_function_that_fails_raises_an_alarm() -> None:
    raised = {str(where["FunctionName"]) for _, _, metric, where in watched() if metric == "Errors"}
    assert raised == {str({"Ref": name}) for name in functions}


def test_every_queue_of_what_could_not_be_done_raises_an_alarm() -> None:
    parked = {name for name in queues if name.endswith(("DeadLetters", "Failures"))}
    parked |= {
        queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for queue in queues.values()
        if "RedrivePolicy" in queue
    }
    raised = {str(where["QueueName"]) for _, space, _, where in watched() if space == "AWS/SQS"}
    assert raised == {str({"Fn::GetAtt": [name, "QueueName"]}) for name in parked}
    assert len(parked) >= 3


def test_an_alarm_looks_at_a_metric_that_the_code_emits() -> None:
    own = [(name, metric, where) for name, space, metric, where in watched() if space == OWN]
    assert len(own) > 5
    for name, metric, where in own:
        assert set(where) == {"service"}, "Powertools adds this dimension and no other"
        assert metric in emitted(where["service"]), name


def test_the_dashboard_shows_metrics_that_the_code_emits_and_all_that_raise_alarms() -> None:
    shown = set()
    for widget in widgets():
        for metric in widget["properties"]["metrics"]:
            shown.add((metric[0], metric[1]))
            if metric[0] == OWN:
                assert metric[2] == "service"
                assert metric[1] in emitted(metric[3])
    assert {(space, metric) for _, space, metric, _ in watched()} <= shown


def test_the_widgets_of_the_dashboard_lie_side_by_side() -> None:
    fields = [
        (x, y)
        for widget in widgets()
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(fields) == len(set(fields))
    assert max(x for x, _ in fields) < 24


@pytest.mark.parametrize("name", sorted(alarms))
def test_an_alarm_reaches_the_operator_and_stays_quiet_without_traffic(name: str) -> None:
    assert alarms[name]["AlarmActions"] == {
        "Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]
    }
    assert alarms[name]["TreatMissingData"] == "notBreaching"
    assert alarms[name]["AlarmDescription"].endswith(".")


def test_every_alarm_says_what_it_means_and_what_to_do_in_the_operators_table() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \| (.+?) \| (.+?) \|$", (REPOSITORY / "docs" / "alarms.md").read_text())
    assert [name for name, _, _ in rows] == list(alarms), "one row an alarm, in the template's order"
    for name, means, do in rows:
        assert len(means) > 20, name
        assert len(do) > 20, name


def test_the_alarm_on_the_oldest_case_leaves_a_day() -> None:
    alarm = alarms["CaseNearlyDue"]
    assert (alarm["Threshold"], alarm["ComparisonOperator"], alarm["Statistic"]) == (
        24 * 60,
        "LessThanThreshold",
        "Minimum",
    )


def test_the_alarm_on_urgent_cases_leaves_half_of_what_was_promised() -> None:
    alarm = alarms["UrgentCaseNearlyDue"]
    assert (alarm["Threshold"], alarm["ComparisonOperator"], alarm["Statistic"]) == (
        12 * 60,
        "LessThanThreshold",
        "Minimum",
    )
