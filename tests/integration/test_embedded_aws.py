"""The embedded AWS itself: that it stands for AWS where we rely on it, and that it keeps what it was given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from local import deploy, template
from local.embedded_aws import EmbeddedAws
from local.people import sign_in
from local.place import REGION, REPOSITORY, Place
from local.running import Running, redrive

WITHIN_S = 30.0


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come within {WITHIN_S:.0f} s")
        time.sleep(0.05)


def refused(call: Callable[[], Any]) -> str:
    """The code with which AWS refuses a call that must be refused."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """An instance that may be stopped and killed without disturbing other tests."""
    with EmbeddedAws(tmp_path_factory.mktemp("own")) as aws:
        yield aws


# ---------------------------------------------------------------- addresses and who may use them


def test_the_site_answers_at_the_root_of_its_own_domain(running: Running) -> None:
    with running.http() as http:
        answer = http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_the_instance_listens_on_the_loopback_address_alone(running: Running) -> None:
    tables = [Path("/proc/net/tcp").read_text(), Path("/proc/net/tcp6").read_text()]
    listening = [line.split()[1] for table in tables for line in table.splitlines()[1:] if line.split()[3] == "0A"]
    for port in (running.place.port, running.place.inbox_port):
        assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_an_address_that_is_none_is_refused_with_the_security_headers(running: Running) -> None:
    with running.http() as http:
        page, refused = http.get("/no/such/route"), http.post("/no/such/route")
    assert (page.status_code, page.json()["error"]) == (404, "not_found")
    # Nothing of ours takes this one; the gateway answers by itself.
    assert (refused.status_code, refused.json()["error"]) == (403, "MISSING_AUTHENTICATION_TOKEN")
    for name in ("cache-control", "content-security-policy", "referrer-policy", "x-content-type-options"):
        assert name in page.headers
        assert name in refused.headers


def test_a_reviewer_route_asks_for_a_reviewers_token(running: Running) -> None:
    with running.http() as http:
        assert http.get("/requests").status_code == 401
        assert http.get("/requests", headers={"Authorization": "Bearer forged"}).status_code == 401
        for name in ("anna", "ben"):
            assert http.get("/requests", headers={"Authorization": running.id_token(name)}).status_code == 200


def test_a_wrong_password_opens_nothing(running: Running) -> None:
    with pytest.raises(PermissionError):
        sign_in(running.place, running.outputs, "anna", running.keys.passwords["ben"])


def test_a_lookup_needs_the_crawlers_signature(running: Running) -> None:
    assert running.lookup({"items": []}).status_code == 200
    forged = Running(
        running.place, running.outputs, type(running.keys)(running.keys.passwords, running.keys.crawler_key, "forged")
    )
    assert forged.lookup({"items": []}).status_code == 403
    with running.http() as http:
        assert http.post("/exclusions/check", json={"items": []}).status_code == 403


def test_the_crawlers_keys_open_no_other_door(running: Running) -> None:
    keys = {"aws_access_key_id": running.keys.crawler_key, "aws_secret_access_key": running.keys.crawler_secret}
    session = boto3.Session(region_name=REGION, **keys)
    dynamodb = session.client("dynamodb", endpoint_url=running.place.endpoint)
    s3 = session.client("s3", endpoint_url=running.place.endpoint)
    assert refused(lambda: dynamodb.scan(TableName=running.outputs["RequestsTable"])) == "AccessDeniedException"
    assert refused(lambda: s3.list_objects_v2(Bucket=running.outputs["PhotosBucket"])) == "AccessDenied"


# ---------------------------------------------------------------- roles are enforced


def acting_as(running: Running, function: str) -> boto3.Session:
    """A session with a function's rights."""
    role = running.client("lambda").get_function_configuration(FunctionName=running.outputs[f"{function}Function"])
    made = running.client("sts").assume_role(RoleArn=role["Role"], RoleSessionName="test")["Credentials"]
    return boto3.Session(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"], region_name=REGION)


def test_a_lookup_cannot_read_cases_or_photos(running: Running) -> None:
    session = acting_as(running, "ExcludeCheck")
    dynamodb = session.client("dynamodb", endpoint_url=running.place.endpoint)
    s3 = session.client("s3", endpoint_url=running.place.endpoint)
    key = {"pk": {"S": "case#1"}, "sk": {"S": "case"}}
    assert (
        refused(lambda: dynamodb.get_item(TableName=running.outputs["RequestsTable"], Key=key))
        == "AccessDeniedException"
    )
    assert refused(lambda: s3.get_object(Bucket=running.outputs["PhotosBucket"], Key="photos/1")) == "AccessDenied"


def test_the_function_that_reads_strangers_bytes_cannot_read_the_list_or_the_secret(running: Running) -> None:
    session = acting_as(running, "Examine")
    dynamodb = session.client("dynamodb", endpoint_url=running.place.endpoint)
    secrets = session.client("secretsmanager", endpoint_url=running.place.endpoint)
    submit = running.client("lambda").get_function_configuration(FunctionName=running.outputs["SubmitFunction"])
    secret = submit["Environment"]["Variables"]["LINK_SECRET"]
    key = {"pk": {"S": "log"}, "seq": {"N": "0"}}
    assert (
        refused(lambda: dynamodb.get_item(TableName=running.outputs["ExclusionsTable"], Key=key))
        == "AccessDeniedException"
    )
    assert refused(lambda: secrets.get_secret_value(SecretId=secret)) == "AccessDeniedException"


def test_a_ticket_cannot_write_where_kept_photos_lie(running: Running) -> None:
    s3 = acting_as(running, "Submit").client(
        "s3", endpoint_url=running.place.endpoint, config=boto3.session.Config(s3={"addressing_style": "path"})
    )
    bucket = running.outputs["PhotosBucket"]
    for key, status in (("raw/ticket", 204), ("photos/ticket", 403)):
        ticket = s3.generate_presigned_post(bucket, key)
        answer = httpx.post(ticket["url"], data=ticket["fields"], files={"file": ("a.jpg", b"bytes")}, trust_env=False)
        assert answer.status_code == status


def test_a_table_forgets_what_has_expired_as_the_template_says(running: Running) -> None:
    dynamodb = running.client("dynamodb")
    wanted = template.resources("AWS::DynamoDB::Table")["Requests"]["TimeToLiveSpecification"]
    found = dynamodb.describe_time_to_live(TableName=running.outputs["RequestsTable"])["TimeToLiveDescription"]
    assert found == {"AttributeName": wanted["AttributeName"], "TimeToLiveStatus": "ENABLED"}
    found = dynamodb.describe_time_to_live(TableName=running.outputs["ExclusionsTable"])["TimeToLiveDescription"]
    assert found["TimeToLiveStatus"] == "DISABLED"


# ---------------------------------------------------------------- what was given to it is there again


def keep(aws: EmbeddedAws, name: str) -> None:
    running = aws.running
    running.client("dynamodb").put_item(
        TableName=running.outputs["RequestsTable"], Item={"pk": {"S": name}, "sk": {"S": "kept"}}
    )
    running.client("s3").put_object(Bucket=running.outputs["PhotosBucket"], Key=f"photos/{name}", Body=b"kept")


def is_kept(aws: EmbeddedAws, name: str) -> bool:
    running = aws.running
    key = {"pk": {"S": name}, "sk": {"S": "kept"}}
    item = running.client("dynamodb").get_item(TableName=running.outputs["RequestsTable"], Key=key)
    body = running.client("s3").get_object(Bucket=running.outputs["PhotosBucket"], Key=f"photos/{name}")["Body"].read()
    return "Item" in item and body == b"kept"


def saves(aws: EmbeddedAws) -> int:
    return int((aws.place.state / "current").read_text().removeprefix("save-"))


def test_ctrl_c_keeps_everything_and_the_next_start_is_quick(own: EmbeddedAws) -> None:
    keep(own, "before-ctrl-c")
    keys, outputs = own.running.keys, own.running.outputs
    own.stop()
    started = time.monotonic()
    own.start()
    assert time.monotonic() - started < 10
    assert is_kept(own, "before-ctrl-c")
    assert (own.running.keys, own.running.outputs) == (keys, outputs)
    assert own.running.lookup({"items": []}).status_code == 200


def test_a_kill_loses_no_more_than_what_came_since_the_last_save(own: EmbeddedAws) -> None:
    keep(own, "before-kill")
    # The save after the next one began when the item was there for sure.
    seen = saves(own)
    until(lambda: saves(own) >= seen + 2, "the next save")
    own.restart(killed=True)
    assert is_kept(own, "before-kill")
    assert own.running.lookup({"items": []}).status_code == 200


def test_a_kill_in_the_middle_of_a_save_leaves_the_last_whole_one(own: EmbeddedAws) -> None:
    keep(own, "before-half-a-save")
    own.stop()
    half = own.place.state / f"save-{saves(own) + 1}"
    half.mkdir()
    (half / "dynamodb.json").write_text('{"__ministack_format__": 2, "payl')
    own.start()
    assert is_kept(own, "before-half-a-save")


def test_the_tables_stream_speaks_again_after_a_restart(own: EmbeddedAws) -> None:
    own.restart()

    def forwarded() -> int:
        return sum('"LettersForwarded":[' in line.replace(" ", "") for line in own.running.log_lines())

    before = forwarded()
    own.running.client("dynamodb").put_item(
        TableName=own.running.outputs["RequestsTable"],
        Item={"pk": {"S": "case#nobody"}, "sk": {"S": "letter#000001"}},
    )
    until(lambda: forwarded() > before, "the letter's key on its way to the queue")


def test_a_changed_stack_is_updated_and_keeps_what_it_holds(own: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(own, "before-update")
    given = deploy.parameters(own.place)
    monkeypatch.setattr(deploy, "parameters", lambda _place: {**given, "EngineName": "Otherwise Search"})
    assert deploy.deploy(own.place)["RequestsTable"] == own.running.outputs["RequestsTable"]
    with own.running.http() as http:
        assert "Otherwise Search" in http.get("/").text
        assert http.post("/no/such/route").json()["error"] == "MISSING_AUTHENTICATION_TOKEN"
    assert is_kept(own, "before-update")


def test_letters_that_could_not_be_sent_are_sent_again_by_redrive(own: EmbeddedAws) -> None:
    sqs, outputs = own.running.client("sqs"), own.running.outputs
    body = json.dumps({"request_id": "nobody", "version": 1})
    sqs.send_message(QueueUrl=outputs["MailDeadLettersUrl"], MessageBody=body)
    assert redrive(own.running) == 1
    assert redrive(own.running) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stop_in_the_middle_of_a_deployment_does_no_harm(tmp_path: Path, how: signal.Signals) -> None:
    aws = EmbeddedAws(tmp_path)
    output = tmp_path / "half.txt"
    with output.open("w") as said:
        half = subprocess.Popen(
            [sys.executable, "-m", "local", "run"],
            cwd=REPOSITORY,
            env=environment(aws.place),
            stdout=said,
            stderr=said,
        )
    until(lambda: "Deploying" in output.read_text(), "the deployment")
    half.send_signal(how)
    half.wait(WITHIN_S)
    assert "Traceback" not in output.read_text()
    assert not (aws.place.state / "current").exists()
    with aws:
        assert aws.running.lookup({"items": []}).status_code == 200


# ---------------------------------------------------------------- one clear sentence when it cannot run


def environment(place: Place) -> dict[str, str]:
    return {
        **os.environ,
        "OPTOUT_FOLDER": str(place.folder),
        "OPTOUT_PORT": str(place.port),
        "OPTOUT_INBOX_PORT": str(place.inbox_port),
    }


def run_local(command: str, place: Place) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "local", command],
        cwd=REPOSITORY,
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """What a refusal says; fails unless it is one line, without a traceback, with exit code 2."""
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.strip().splitlines()
    return line


def test_a_busy_port_is_named_with_the_way_out(running: Running, tmp_path: Path) -> None:
    said = sentence(run_local("run", Place(tmp_path, running.place.port, running.place.inbox_port)))
    assert said == f"Port {running.place.port} is busy; choose another with OPTOUT_PORT=... ."


def test_two_instances_do_not_share_a_folder(running: Running) -> None:
    said = sentence(run_local("deploy-only", Place(running.place.folder, 1, 2)))
    assert said == f"Another instance uses {running.place.folder}; stop it with Ctrl-C in its window."


def test_nothing_is_deleted_under_an_instance_that_runs(running: Running) -> None:
    assert "Another instance uses" in sentence(run_local("reset", running.place))
    with running.http() as http:
        assert http.get("/").status_code == 200


def test_a_broken_state_is_said_and_reset_mends_it(tmp_path: Path) -> None:
    with EmbeddedAws(tmp_path) as aws:
        place = aws.place
    (place.state / "current").write_text("nonsense")
    assert "`make reset` starts over" in sentence(run_local("deploy-only", place))
    (tmp_path / "pictures").mkdir()
    assert run_local("reset", place).returncode == 0
    assert not place.state.exists()
    assert (tmp_path / "pictures").is_dir()
    with EmbeddedAws(tmp_path) as aws:
        assert aws.running.lookup({"items": []}).status_code == 200


def test_a_lookup_without_an_instance_says_how_to_start_one(tmp_path: Path) -> None:
    assert sentence(run_local("redrive", Place(tmp_path))) == "The embedded AWS does not run; `make run` starts it."
