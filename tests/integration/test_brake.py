"""The emergency brake, and letters that come back, on the embedded AWS: over HTTP, queues and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.actors import HTML, Crawler, Requester, Reviewer, eventually, expect
from local.place import REGION, ROOT_KEY, ROOT_SECRET
from local.running import Running
from optout.exclusions.log import from_attributes
from tests.unit.mail.ses_reports import report


@pytest.fixture
def link() -> str:
    return f"https://brake.example/{uuid4()}"


def verdict(running: Running, link: str) -> tuple[str, str]:
    """What a crawler's next lookup of an address answers."""
    (found,) = Crawler(running).verdicts({"url": link}, scopes=["link"])
    return found["verdict"], found["reason"]


def optout(running: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as an operator has it, with credentials of their own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL": running.place.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
    }
    tables = [f"--{name}-table={running.outputs[f'{name.title()}Table']}" for name in ("requests", "exclusions")]
    bucket = f"--snapshots-bucket={running.outputs['SnapshotsBucket']}"
    command = [str(Path(sys.executable).with_name("optout")), *arguments, *tables, bucket]
    return subprocess.run(  # noqa: S603
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_brake_holds_in_the_next_lookup_whoever_pulls_it(running: Running, link: str) -> None:
    anna, ben = Reviewer(running, "anna"), Reviewer(running, "ben")
    requester = Requester(running, f"{uuid4()}@people.example")
    number = requester.file("links", links=link)
    anna.accept(number)
    assert verdict(running, link) == ("exclude", "match")
    case = anna.find(number)
    (found,) = Crawler(running).verdicts({"url": link}, scopes=["link"])
    (exclusion,) = {match["exclusion_id"] for match in found["matches"]}

    def brake(reviewer: Reviewer, action: str, status: int) -> None:
        sent = {"exclusion": exclusion, "action": action}
        expect(reviewer._http.post(f"/requests/{case}/suspension", json=sent), status, f"to {action}")

    brake(anna, "suspend", 200)
    assert verdict(running, link) == ("defer", "suspended")
    brake(anna, "resume", 409)
    assert verdict(running, link) == ("defer", "suspended")
    brake(ben, "resume", 200)
    assert verdict(running, link) == ("exclude", "match")

    done = optout(running, "suspend", exclusion)
    assert (done.returncode, done.stderr) == (0, "")
    assert number in done.stdout
    assert verdict(running, link) == ("defer", "suspended")
    assert number in ben._http.get("/requests?view=suspended", headers=HTML).text
    unknown = optout(running, "suspend", "nobody")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "optout: no exclusion with this id is in force.\n"
    requester.withdraw()
    assert verdict(running, link) == ("allow", "no_match")


def letter_items(running: Running, case: str) -> list[dict[str, Any]]:
    answer = running.client("dynamodb").query(
        TableName=running.outputs["RequestsTable"],
        KeyConditionExpression="pk = :case AND begins_with(sk, :letter)",
        ExpressionAttributeValues={":case": {"S": f"case#{case}"}, ":letter": {"S": "letter#"}},
        ConsistentRead=True,
    )
    return [from_attributes(item) for item in answer["Items"]]


def test_a_letter_that_comes_back_marks_its_case_and_the_next_one_is_not_sent(running: Running, link: str) -> None:
    """The embedded SES delivers everything and nobody may speak for it, so its report is put on the queue, after
    EventBridge has said that the rule takes it."""
    anna, requester = Reviewer(running, "anna"), Requester(running, f"{uuid4()}@people.example")
    number = requester.file("links", links=link)
    requester.letter(1)
    case = anna.find(number)
    (message_id,) = eventually(
        lambda: [item["message_id"] for item in letter_items(running, case) if "sent_at" in item] or None,
        "the letter is noted as sent",
    )
    assert "Letters do not arrive" not in anna.case(case)

    event = json.dumps(report(message_id, configuration_set=_letters_set(running)))
    foreign = json.dumps(report(message_id, "Complaint", configuration_set="of-another-stack"))
    assert _rule_takes(running, event)
    assert not _rule_takes(running, foreign)
    for _ in range(2):
        running.client("sqs").send_message(QueueUrl=running.outputs["ReceiptsQueueUrl"], MessageBody=event)
    eventually(lambda: "Letters do not arrive" in anna.case(case) or None, "the case is marked")
    assert "The mailbox does not exist." in anna.case(case)

    anna.accept(number)
    assert verdict(running, link) == ("exclude", "match"), "the decision does not wait for a letter"
    eventually(
        lambda: [item for item in letter_items(running, case) if "parked_at" in item] or None, "the next is parked"
    )
    assert len(running.letters(requester.email)) == 1
    again = Requester(running, requester.email)
    second = again.file("links", links=link + "/2")
    eventually(
        lambda: "others to this address came back" in anna.case(anna.find(second)) or None, "the reviewer is told"
    )
    assert len(running.letters(requester.email)) == 1
    assert anna.case(case).count("<span>A letter came back</span>") == 1, "two reports of one letter are one event"


def _letters_set(running: Running) -> str:
    """The configuration set of this stack's letters, with the destination that makes SES report."""
    ses = running.client("sesv2")
    for name in ses.list_configuration_sets()["ConfigurationSets"]:
        found = ses.get_configuration_set_event_destinations(ConfigurationSetName=name)["EventDestinations"]
        for destination in found:
            if destination["Name"] == "receipts":
                assert destination["Enabled"]
                assert set(destination["MatchingEventTypes"]) == {"BOUNCE", "COMPLAINT", "REJECT"}
                return str(name)
    raise AssertionError("no configuration set reports")


def _rule_takes(running: Running, event: str) -> bool:
    """Whether EventBridge would put this event on the queue of reports."""
    events = running.client("events")
    (rule,) = (found for found in events.list_rules()["Rules"] if "aws.ses" in found.get("EventPattern", ""))
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"].rpartition(":")[2] == running.outputs["ReceiptsQueueUrl"].rpartition("/")[2]
    return bool(events.test_event_pattern(EventPattern=rule["EventPattern"], Event=event)["Result"])
