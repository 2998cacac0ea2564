"""Every command of docs/operating.md, run by bash as it stands there, on an embedded AWS of this file's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import people
from local.actors import Crawler, Requester, Reviewer, expect, status_path, text_of
from local.embedded_aws import EmbeddedAws
from local.place import REGION, REPOSITORY, ROOT_KEY, ROOT_SECRET
from local.running import Running
from optout import links, settings
from tests.integration.aws_command import aws_on_path, items

OPERATING = REPOSITORY / "docs" / "operating.md"
# A marker, then the fenced commands, both possibly inside a list.
_BLOCK = re.compile(r"^ *<!-- run: ([a-z-]+) -->\n *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

ran: set[str] = set()


def blocks() -> dict[str, str]:
    """The commands of each step, by its name."""
    found = _BLOCK.findall(OPERATING.read_text())
    assert len(dict(found)) == len(found), "each step has a name of its own"
    return {name: "\n".join(line.strip() for line in commands.splitlines()) for name, commands in found}


class Operator:
    """Whoever follows the document: a shell with `aws`, `optout` and the names of what was deployed."""

    def __init__(self, running: Running, path: Path, backups: dict[str, list[Any]]) -> None:
        self.running = running
        self.backups = backups
        self._environment = {
            "PATH": f"{path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(path),
            "AWS_ENDPOINT_URL": running.place.endpoint,
            "AWS_ACCESS_KEY_ID": ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def follow(self, step: str, **values: str) -> str:
        """Run one step's commands; what they print."""
        commands = blocks()
        ran.update({step, "names"})
        script = f"set -euo pipefail\n{commands['names']}\n{commands[step]}"
        done = subprocess.run(  # noqa: S603  the document's own words
            ["bash", "-c", script],  # noqa: S607
            env=self._environment | values,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{step}: {done.stderr}"
        return done.stdout

    def back_up(self, output: str) -> None:
        """Remember a table as it is now."""
        table = self.running.outputs[output]
        self.backups[table] = items(self.running.client("dynamodb"), table)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """An instance of its own: a new epoch and another link secret are not what other tests expect under way."""
    with EmbeddedAws(tmp_path_factory.mktemp("operating")) as instance:
        yield instance


@pytest.fixture(scope="module")
def operator(aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    backups: dict[str, list[Any]] = {}
    with aws_on_path(aws.running, tmp_path_factory.mktemp("bin") / "p", backups) as path:
        yield Operator(aws.running, path, backups)


@pytest.fixture(scope="module")
def anna(operator: Operator) -> Reviewer:
    return Reviewer(operator.running, "anna")


@pytest.fixture(scope="module")
def ben(operator: Operator) -> Reviewer:
    return Reviewer(operator.running, "ben")


@pytest.fixture(scope="module")
def crawler(operator: Operator) -> Crawler:
    return Crawler(operator.running)


def address(name: str) -> str:
    return f"https://operating.example/{name}"


def person(operator: Operator, name: str) -> Requester:
    return Requester(operator.running, f"{name}@people.example")


def verdict(crawler: Crawler, name: str, **more: str) -> str:
    (result,) = crawler.verdicts({"url": address(name)}, scopes=["link"], **more)
    return str(result["verdict"])


def test_a_reviewer_gets_in_with_the_first_password_and_is_out_when_they_leave(operator: Operator) -> None:
    running, name, password = operator.running, "carla", "first-Password-1234"
    operator.follow("reviewer", REVIEWER=name, PASSWORD=password)
    cognito, pool = running.client("cognito-idp"), running.outputs["ReviewersPool"]
    assert cognito.admin_get_user(UserPoolId=pool, Username=name)["UserStatus"] == "FORCE_CHANGE_PASSWORD"
    groups = cognito.admin_list_groups_for_user(UserPoolId=pool, Username=name)["Groups"]
    assert [group["GroupName"] for group in groups] == [people.GROUP]
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)
    assert people.sign_in(running.place, running.outputs, name, password)
    operator.follow("reviewer-leaves", REVIEWER=name)
    assert cognito.admin_get_user(UserPoolId=pool, Username=name)["Enabled"] is False


def test_a_crawlers_role_gets_the_one_right(operator: Operator) -> None:
    iam = operator.running.client("iam")
    iam.create_role(RoleName="frontier", AssumeRolePolicyDocument="{}")
    operator.follow("crawler", CRAWLER_ROLE="frontier")
    (attached,) = iam.list_attached_role_policies(RoleName="frontier")["AttachedPolicies"]
    assert attached["PolicyArn"] == operator.running.outputs["CrawlersPolicy"]


def test_what_is_held_back_is_let_go_when_holding_back_is_switched_off(operator: Operator, crawler: Crawler) -> None:
    requester = person(operator, "held")
    requester.file("links", links=address("held"))
    requester.verify()
    assert verdict(crawler, "held") == "defer"
    assert operator.follow("release").startswith("1 open case")
    assert verdict(crawler, "held") == "allow"
    assert operator.follow("release").startswith("0 open cases")


def test_a_leaked_link_is_dead_and_the_next_letter_has_one_that_works(operator: Operator) -> None:
    requester = person(operator, "leaked")
    number = requester.file("links", links=address("leaked"))
    leaked = requester.status_link()
    operator.follow("leaked-link", NUMBER=number)
    with operator.running.http() as stranger:
        expect(stranger.get(leaked), 404, "the leaked link is dead")
        fresh = status_path(requester.letter(2))
        assert fresh != leaked
        expect(stranger.get(fresh), 200, "the new link opens")


def test_a_wrong_acceptance_is_out_of_force_when_a_second_reviewer_agrees(
    operator: Operator, anna: Reviewer, ben: Reviewer, crawler: Crawler
) -> None:
    requester = person(operator, "wrong")
    number = requester.file("links", links=address("wrong"))
    anna.accept(number)
    case = anna.find(number)
    expect(anna.propose_revocation(case), 200, "the revocation is proposed")
    assert verdict(crawler, "wrong") == "exclude", "until the second reviewer agrees it stays in force"
    expect(ben.settle_revocation(case, "confirm"), 200, "the revocation is confirmed")
    assert verdict(crawler, "wrong") == "allow"
    assert number in text_of(requester.letter(3)), "the requester is told"


def test_the_brake_holds_back_at_once_and_somebody_else_lets_go(
    operator: Operator, anna: Reviewer, crawler: Crawler
) -> None:
    anna.accept(person(operator, "template").file("links", links=address("template")))
    (result,) = crawler.verdicts({"url": address("template")}, scopes=["link"])
    exclusion = result["matches"][0]["exclusion_id"]
    operator.follow("suspend", EXCLUSION=exclusion)
    (result,) = crawler.verdicts({"url": address("template")}, scopes=["link"])
    assert (result["verdict"], result["reason"]) == ("defer", "suspended")

    iam = operator.running.client("iam")
    iam.create_user(UserName="second")
    rights = {"Effect": "Allow", "Action": ["dynamodb:*", "kms:*"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
    iam.put_user_policy(UserName="second", PolicyName="tables", PolicyDocument=document)
    key = iam.create_access_key(UserName="second")["AccessKey"]
    second = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    operator.follow("resume", EXCLUSION=exclusion, **second)
    assert verdict(crawler, "template") == "exclude"


def test_parked_letters_go_back_to_the_mail_queue(operator: Operator) -> None:
    running = operator.running
    sqs = running.client("sqs")
    sqs.send_message(QueueUrl=running.outputs["MailDeadLettersUrl"], MessageBody='{"request_id": "gone", "version": 1}')
    operator.follow("redrive")
    # Its case is gone, so the sender has nothing to do with it but take it off the queue.
    for queue in ("MailDeadLettersUrl", "MailQueueUrl"):
        assert not sqs.receive_message(QueueUrl=running.outputs[queue], WaitTimeSeconds=1).get("Messages")


def test_the_damaged_list_is_restored_and_every_version_of_the_old_epoch_refused(
    operator: Operator, anna: Reviewer, crawler: Crawler
) -> None:
    running = operator.running
    people_ = {name: person(operator, name) for name in ("before", "withdrawn", "after")}
    numbers = {name: requester.file("links", links=address(name)) for name, requester in people_.items()}
    anna.accept(numbers["before"])
    anna.accept(numbers["withdrawn"])
    operator.back_up("ExclusionsTable")
    assert running.invoke("Compact", {"compact": "list"})["swapped"]
    old = anna.accept(numbers["after"])["list_version"]
    people_["withdrawn"].withdraw()
    assert [verdict(crawler, name, min_version=old) for name in people_] == ["exclude", "allow", "exclude"]

    dynamodb, table = running.client("dynamodb"), running.outputs["ExclusionsTable"]
    for item in items(dynamodb, table):
        dynamodb.delete_item(TableName=table, Key={"pk": item["pk"], "seq": item["seq"]})
    assert crawler.ask({"url": address("before")}, scopes=["link"]).status_code == 503, "never an empty list"

    operator.follow("stop-lookups")
    operator.follow("restore", BEFORE="2026-11-24T08:00:00Z")
    operator.follow("new-epoch")
    operator.follow("resume-lookups")
    assert [verdict(crawler, name) for name in people_] == ["exclude", "allow", "exclude"]
    refused = crawler.ask({"url": address("before")}, scopes=["link"], min_version=old)
    assert (refused.status_code, refused.json()["error"]) == (503, "not_fresh")
    assert crawler.ask().json()["version"].startswith("2.")
    operator.follow("clean-up")

    assert running.invoke("Compact", {"compact": "list"})["version"].startswith("2.")
    later = person(operator, "later")
    assert anna.accept(later.file("links", links=address("later")))["list_version"].startswith("2.")
    assert verdict(crawler, "later") == "exclude"


def test_lost_cases_are_put_back(operator: Operator, anna: Reviewer, crawler: Crawler) -> None:
    requester = person(operator, "lost")
    number = requester.file("links", links=address("lost"))
    link = requester.status_link()
    operator.back_up("RequestsTable")
    dynamodb, table = operator.running.client("dynamodb"), operator.running.outputs["RequestsTable"]
    for item in items(dynamodb, table):
        dynamodb.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
    with operator.running.http() as http:
        expect(http.get(link), 404, "the case is lost")
        said = operator.follow("put-back", BEFORE="2026-11-24T08:00:00Z")
        assert "0 changes missing from the list, 0 exclusions left over" in said
        expect(http.get(link), 200, "the case is back")
    anna.accept(number)
    assert verdict(crawler, "lost") == "exclude"


def test_another_link_secret_leaves_the_links_that_were_mailed_good(
    operator: Operator, aws: EmbeddedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    requester = person(operator, "secret")
    requester.file("links", links=address("secret"))
    mailed = requester.status_link()
    operator.follow("link-secret")
    aws.restart()  # instead of the minutes in which warm functions learn of it
    secrets = aws.running.client("secretsmanager")
    name = secrets.list_secrets()["SecretList"][0]["ARN"]
    newest = secrets.get_secret_value(SecretId=name)["SecretString"]
    assert re.fullmatch("[0-9a-f]{64}", newest)
    with aws.running.http() as http:
        expect(http.get(mailed), 200, "a link from before is good")
        case, version = links.read_status_token(
            mailed.rpartition("/")[2],
            secrets.get_secret_value(SecretId=name, VersionStage="AWSPREVIOUS")["SecretString"],
        )
        monkeypatch.setattr(settings, "_link_secrets", lambda _period: (newest,))
        fresh = Requester(aws.running, "secret-after@people.example")
        fresh.file("links", links=address("secret-after"))
        link = fresh.status_link()
        assert links.read_status_token(link.rpartition("/")[2], newest)[1] == version
        expect(http.get(link), 200, "a link that the new secret signed is good")
    assert case


def test_every_step_of_the_document_was_run() -> None:
    assert ran == set(blocks())
