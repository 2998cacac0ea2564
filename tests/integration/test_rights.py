"""Who may ask what, and what each function may reach: every route by every identity, every right by every role.

The embedded AWS verifies signatures and tokens and evaluates the template's policies as AWS does. The expired token is
a real one: a second client of the reviewers' pool issues tokens that live for a second (AWS's least is five minutes),
and the test waits until the token's own `exp` has passed.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local.deploy import SENDER
from local.embedded_aws import EmbeddedAws
from local.people import GROUP
from local.place import REGION
from local.running import Running
from optout.openapi import OPERATIONS, Access, Operation, document

PASSWORD = "Reviewers-2026-only"
PATHS = document()["paths"]

# Who comes, and what the gateway or the function says to them at a reviewer's and at a crawler's route; None: come in.
IDENTITIES: dict[str, tuple[int | None, int | None]] = {
    "nobody": (401, 403),
    "a wrong key": (401, 403),
    "the crawler": (401, None),
    "a reviewer": (None, 403),
    "a reviewer of another pool": (401, 403),
    "a reviewer whose time is over": (401, 403),
    "a forged reviewer": (401, 403),
    "a user outside the group": (403, 403),
    "a user outside the group who says otherwise": (401, 403),
}


def claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def with_claims(token: str, **changed: Any) -> str:
    """The token with other claims and the signature of its own ones."""
    head, _, signature = token.split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(token) | changed).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


@dataclass(frozen=True)
class Pool:
    """A user pool to make people in, and a client of it that takes passwords."""

    cognito: Any
    pool: str
    client: str

    @classmethod
    def of(cls, running: Running, pool: str, **settings: Any) -> Pool:
        cognito = running.client("cognito-idp")
        made = cognito.create_user_pool_client(
            UserPoolId=pool, ClientName="rights", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"], **settings
        )
        return cls(cognito, pool, made["UserPoolClient"]["ClientId"])

    def person(self, name: str, group: str | None) -> None:
        self.cognito.admin_create_user(
            UserPoolId=self.pool, Username=name, TemporaryPassword=PASSWORD, MessageAction="SUPPRESS"
        )
        self.cognito.admin_set_user_password(UserPoolId=self.pool, Username=name, Password=PASSWORD, Permanent=True)
        if group:
            self.cognito.admin_add_user_to_group(UserPoolId=self.pool, Username=name, GroupName=group)

    def token(self, name: str) -> str:
        answer = self.cognito.initiate_auth(
            ClientId=self.client,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
        )
        return str(answer["AuthenticationResult"]["IdToken"])


@dataclass(frozen=True)
class Callers:
    """Every identity as the headers that it sends."""

    running: Running
    http: httpx.Client
    tokens: dict[str, str]

    def headers(self, identity: str, method: str, path: str, body: bytes) -> dict[str, str]:
        sent = {"Content-Type": "application/json"} if body else {}
        secrets = {"a wrong key": "forged", "the crawler": self.running.keys.crawler_secret}
        if identity in secrets:
            request = AWSRequest(method, self.running.site + path, sent, body)
            keys = Credentials(self.running.keys.crawler_key, secrets[identity])
            SigV4Auth(keys, "execute-api", REGION).add_auth(request)
            return dict(request.headers)
        return sent | ({"Authorization": self.tokens[identity]} if identity in self.tokens else {})

    def status(self, identity: str, operation: Operation) -> int:
        path = operation.path.format(
            draft="A" * 22,
            ticket="B" * 22,
            id="C" * 22,
            token="no-token",
            file="site.css",
            sha256="0" * 64,
            exclusion="e",
            test="D" * 22,
        )
        body = b'{"items": []}' if operation.method == "POST" else b""
        headers = self.headers(identity, operation.method, path, body)
        return self.http.request(operation.method, path, content=body, headers=headers).status_code


@pytest.fixture(scope="module")
def callers(embedded_aws: EmbeddedAws) -> Callers:
    running = embedded_aws.running
    cognito = running.client("cognito-idp")
    elsewhere = cognito.create_user_pool(PoolName="elsewhere")["UserPool"]["Id"]
    cognito.create_group(UserPoolId=elsewhere, GroupName=GROUP)
    other, ours = Pool.of(running, elsewhere), Pool.of(running, running.outputs["ReviewersPool"])
    brief = Pool.of(running, ours.pool, IdTokenValidity=1, TokenValidityUnits={"IdToken": "seconds"})
    other.person("carla", GROUP)
    ours.person("dora", None)
    ours.person("emil", GROUP)
    expired, outside, reviewer = brief.token("emil"), ours.token("dora"), running.id_token("anna")
    time.sleep(max(0.0, claims(expired)["exp"] + 1 - time.time()))
    return Callers(
        running,
        running.http(),
        {
            "a reviewer": reviewer,
            "a reviewer of another pool": other.token("carla"),
            "a reviewer whose time is over": expired,
            "a forged reviewer": with_claims(reviewer, sub="somebody"),
            "a user outside the group": outside,
            "a user outside the group who says otherwise": with_claims(outside, **{"cognito:groups": [GROUP]}),
        },
    )


def test_the_tokens_differ_only_in_what_they_are_to_differ_in(callers: Callers) -> None:
    """An expired, foreign or outside token that was refused for another reason would prove nothing."""
    good = claims(callers.tokens["a reviewer"])
    expired, foreign, outside = (
        claims(callers.tokens[name])
        for name in ("a reviewer whose time is over", "a reviewer of another pool", "a user outside the group")
    )
    assert GROUP in expired["cognito:groups"]
    assert (expired["iss"], expired["token_use"]) == (good["iss"], good["token_use"])
    assert expired["exp"] < time.time() < good["exp"]
    assert GROUP in foreign["cognito:groups"]
    assert foreign["iss"] != good["iss"]
    assert foreign["exp"] > time.time()
    assert GROUP not in outside.get("cognito:groups", [])
    assert (outside["iss"], outside["exp"] > time.time()) == (good["iss"], True)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_route_lets_in_whom_it_is_for_and_nobody_else(operation: Operation, callers: Callers) -> None:
    found = {identity: callers.status(identity, operation) for identity in IDENTITIES}
    refused = {
        Access.ANYBODY: dict.fromkeys(IDENTITIES),
        Access.REVIEWERS: {identity: refusals[0] for identity, refusals in IDENTITIES.items()},
        Access.CRAWLERS: {identity: refusals[1] for identity, refusals in IDENTITIES.items()},
    }[operation.access]
    let_in = {int(status) for status in PATHS[operation.path][operation.method.lower()]["responses"]} - {401, 403}
    for identity, status in found.items():
        expected = refused[identity]
        if expected is None:
            assert status in let_in, identity
        else:
            assert status == expected, identity


# ---------------------------------------------------------------- what each function's role may do

FUNCTIONS = ("Submit", "Examine", "Decide", "ExcludeCheck", "Compact", "Notify")


def role_of(running: Running, function: str) -> str:
    found = running.client("lambda").get_function_configuration(FunctionName=running.outputs[f"{function}Function"])
    return str(found["Role"])


@dataclass(frozen=True)
class Acting:
    """Clients that act with one function's role, and the names of what the stack made."""

    running: Running
    function: str
    session: boto3.Session
    clients: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def as_function(cls, running: Running, function: str) -> Acting:
        made = running.client("sts").assume_role(RoleArn=role_of(running, function), RoleSessionName="rights")
        keys = made["Credentials"]
        session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGION)
        return cls(running, function, session)

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = self.session.client(
                service,  # type: ignore[call-overload]
                endpoint_url=self.running.place.endpoint,
                config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 1}),
            )
        return self.clients[service]

    def table(self, name: str) -> str:
        return self.running.outputs[f"{name}Table"]

    @property
    def bucket(self) -> str:
        return self.running.outputs["PhotosBucket"]

    @property
    def snapshots(self) -> str:
        return self.running.outputs["SnapshotsBucket"]

    @property
    def secret(self) -> str:
        functions = self.running.client("lambda")
        found = functions.get_function_configuration(FunctionName=self.running.outputs["SubmitFunction"])
        return str(found["Environment"]["Variables"]["LINK_SECRET"])


CASE = {"pk": {"S": "case#nobody"}, "sk": {"S": "case"}}
CHANGE = {"pk": {"S": "log#nobody"}, "seq": {"N": "1"}}
# Fails in the table, after the right to try has been looked at.
NEVER = {"ConditionExpression": "attribute_exists(nothing_has_this)"}


def query(acting: Acting, index: str, key: str) -> Any:
    return acting.client("dynamodb").query(
        TableName=acting.table("Requests"),
        IndexName=index,
        KeyConditionExpression="#key = :value",
        ExpressionAttributeNames={"#key": key},
        ExpressionAttributeValues={":value": {"S": "nobody"}},
    )


def mail(acting: Acting) -> Any:
    message = f"From: {SENDER}\r\nTo: rights@example.org\r\nSubject: Rights\r\n\r\nNothing.\r\n".encode()
    return acting.client("sesv2").send_email(
        FromEmailAddress=SENDER,
        Destination={"ToAddresses": ["rights@example.org"]},
        Content={"Raw": {"Data": message}},
    )


EVERYBODY = set(FUNCTIONS)
# What is tried -> how, and which functions may do it.
ATTEMPTS: dict[str, tuple[Callable[[Acting], Any], set[str]]] = {
    "read one case": (
        lambda acting: acting.client("dynamodb").get_item(TableName=acting.table("Requests"), Key=CASE),
        EVERYBODY - {"Compact", "ExcludeCheck"},
    ),
    "read all cases": (lambda acting: acting.client("dynamodb").scan(TableName=acting.table("Requests")), set()),
    # Notify asks for the most urgent case, to raise the alarm.
    "list cases by due date": (lambda acting: query(acting, "Queue", "queue"), {"Decide", "Notify"}),
    # Submit asks when a request is sent: which earlier cases of the same address hold the same picture.
    "list cases by address": (lambda acting: query(acting, "Address", "email_hash"), {"Decide", "Submit"}),
    "list cases by picture": (lambda acting: query(acting, "Picture", "picture"), {"Decide"}),
    "list what is due": (lambda acting: query(acting, "Sweep", "sweep"), {"Notify"}),
    "change a case": (
        lambda acting: acting.client("dynamodb").update_item(
            TableName=acting.table("Requests"), Key=CASE, UpdateExpression="REMOVE x", **NEVER
        ),
        EVERYBODY - {"Compact", "ExcludeCheck"},
    ),
    "delete a case": (
        lambda acting: acting.client("dynamodb").delete_item(TableName=acting.table("Requests"), Key=CASE, **NEVER),
        {"Submit", "Notify"},
    ),
    "read the exclusion list": (
        lambda acting: acting.client("dynamodb").get_item(TableName=acting.table("Exclusions"), Key=CHANGE),
        {"Submit", "Decide", "Compact", "ExcludeCheck"},
    ),
    "write the exclusion list": (
        lambda acting: acting.client("dynamodb").put_item(TableName=acting.table("Exclusions"), Item=CHANGE, **NEVER),
        {"Submit", "Decide"},
    ),
    "delete from the exclusion list": (
        lambda acting: acting.client("dynamodb").delete_item(TableName=acting.table("Exclusions"), Key=CHANGE, **NEVER),
        {"Compact"},
    ),
    "read the list's snapshot": (
        lambda acting: acting.client("s3").get_object(Bucket=acting.snapshots, Key="clock"),
        {"Decide", "Compact", "ExcludeCheck"},
    ),
    "write the list's snapshot": (
        lambda acting: acting.client("s3").put_object(Bucket=acting.snapshots, Key="clock", Body=b""),
        {"Compact"},
    ),
    "read an upload": (
        lambda acting: acting.client("s3").get_object(Bucket=acting.bucket, Key="raw/rights/upload"),
        {"Examine"},
    ),
    "look at a photo": (
        lambda acting: acting.client("s3").get_object(Bucket=acting.bucket, Key="photos/rights/photo"),
        {"Submit", "Decide"},
    ),
    "upload": (
        lambda acting: acting.client("s3").put_object(Bucket=acting.bucket, Key="raw/rights/upload", Body=b"x"),
        {"Submit"},
    ),
    "keep a photo": (
        lambda acting: acting.client("s3").put_object(Bucket=acting.bucket, Key="photos/rights/photo", Body=b"x"),
        {"Examine"},
    ),
    "list all photos": (lambda acting: acting.client("s3").list_objects_v2(Bucket=acting.bucket), set()),
    "read the secret of links": (
        lambda acting: acting.client("secretsmanager").get_secret_value(SecretId=acting.secret),
        {"Submit", "Decide", "Notify"},
    ),
    "send a letter": (mail, {"Notify"}),
    "look at the reviewers": (
        lambda acting: acting.client("cognito-idp").list_users(UserPoolId=acting.running.outputs["ReviewersPool"]),
        set(),
    ),
    "take another role": (
        lambda acting: acting.client("sts").assume_role(
            RoleArn=role_of(acting.running, "Notify"), RoleSessionName="rights"
        ),
        set(),
    ),
}
REFUSALS = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}


def may(attempt: Callable[[Acting], Any], acting: Acting) -> bool:
    """Whether an attempt got past the policies. That it failed behind them, in the table or the bucket, is nothing."""
    try:
        attempt(acting)
    except ClientError as error:
        return str(error.response["Error"]["Code"]) not in REFUSALS
    return True


@pytest.fixture(scope="module")
def roles(embedded_aws: EmbeddedAws) -> list[Acting]:
    running = embedded_aws.running
    for key in ("raw/rights/upload", "photos/rights/photo"):
        running.client("s3").put_object(Bucket=running.outputs["PhotosBucket"], Key=key, Body=b"x")
    running.client("s3").put_object(Bucket=running.outputs["SnapshotsBucket"], Key="clock", Body=b"")
    return [Acting.as_function(running, function) for function in FUNCTIONS]


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_function_reaches_what_it_works_with_and_nothing_else(name: str, roles: list[Acting]) -> None:
    attempt, allowed = ATTEMPTS[name]
    assert {acting.function for acting in roles if may(attempt, acting)} == allowed


def test_a_name_that_nobody_knows_is_no_proof(roles: list[Acting]) -> None:
    """Everything that is refused above is there: root reaches it."""
    running = roles[0].running
    root = Acting(running, "root", boto3.Session("test", "test", region_name=REGION))
    assert all(may(attempt, root) for attempt, _ in ATTEMPTS.values())
