"""Deploys `infra/template.yaml` to the embedded AWS, as `sam package` and `sam deploy` do to the real one."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from local import template
from local.place import DOMAIN, REGION, ROOT_KEY, ROOT_SECRET, STACK, CannotRun, Place

CODE_BUCKET = "image-optout-code"
DIGEST_TAG = "deployment"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold; the same sources give the same bytes

SENDER = "letters@optout.example"
SUPPORT = "support@optout.example"
ENGINE = "Lookalike"


@cache
def client(place: Place, service: str) -> Any:
    """The boto3 client of one service of the embedded AWS, made once; it acts as root."""
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=place.endpoint,
        region_name=REGION,
        aws_access_key_id=ROOT_KEY,
        aws_secret_access_key=ROOT_SECRET,
        # Path style, because "bucket.127.0.0.1" is no host name; neither proxy nor second attempt, because it is this
        # machine.
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            proxies={},
            retries={"total_max_attempts": 1},
        ),
    )


def parameters(place: Place) -> dict[str, str]:
    """What the operator of the embedded AWS fills into the template."""
    return {
        "SiteUrl": place.site,
        "DomainName": DOMAIN,
        "SenderAddress": SENDER,
        "SupportAddress": SUPPORT,
        "EngineName": ENGINE,
        "ReviewerDomainPrefix": "image-optout",
        "ReviewerLoginUrl": place.endpoint,
        # Whatever plays the engine on this machine.
        "EnginePictureHosts": "http://localhost:* http://127.0.0.1:*",
        # Everybody on this machine has one address, and tests and load runs are many visitors.
        "LimitsPercent": "100000",
        # MiniStack has neither.
        "Firewall": "off",
        "SnapStart": "off",
    }


def deploy(place: Place) -> dict[str, str]:
    """Creates or updates the stack and returns its outputs; the same sources a second time change nothing.

    Raises `CannotRun` when the stack cannot be deployed, with the reason of the first resource that failed.
    """
    body = _packaged(place)
    wanted = hashlib.sha256((body + json.dumps(parameters(place))).encode()).hexdigest()
    values = parameters(place) | {"Release": wanted[:16]}
    cloudformation = client(place, "cloudformation")
    stack = _stack(cloudformation)
    if stack is None or _tag(stack) != wanted:
        _apply(cloudformation, _uploaded(place, body), values, wanted, first=stack is None)
        _after_deployment(place)
    outputs = _outputs(cloudformation)
    _restart_streams(place, outputs)
    return outputs


def _uploaded(place: Place, body: str) -> str:
    """Where the template lies, as one longer than 51,200 bytes must."""
    key = f"{hashlib.sha256(body.encode()).hexdigest()}.json"
    client(place, "s3").put_object(Bucket=CODE_BUCKET, Key=key, Body=body.encode())
    return f"{place.endpoint}/{CODE_BUCKET}/{key}"


def _apply(cloudformation: Any, address: str, values: dict[str, str], digest: str, *, first: bool) -> None:
    change = cloudformation.create_stack if first else cloudformation.update_stack
    waiter = cloudformation.get_waiter("stack_create_complete" if first else "stack_update_complete")
    try:
        change(
            StackName=STACK,
            TemplateURL=address,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Tags=[{"Key": DIGEST_TAG, "Value": digest}],
        )
        waiter.wait(StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    except WaiterError as error:
        raise CannotRun(f"infra/template.yaml could not be deployed: {_first_failure(cloudformation)}") from error
    except ClientError as error:
        raise CannotRun(f"infra/template.yaml was refused: {error.response['Error']['Message']}") from error


def _stack(cloudformation: Any) -> dict[str, Any] | None:
    try:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def _tag(stack: dict[str, Any]) -> str | None:
    if not stack["StackStatus"].endswith("_COMPLETE") or "ROLLBACK" in stack["StackStatus"]:
        return None
    return next((tag["Value"] for tag in stack.get("Tags", []) if tag["Key"] == DIGEST_TAG), None)


def _outputs(cloudformation: Any) -> dict[str, str]:
    stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _first_failure(cloudformation: Any) -> str:
    events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
    failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
    if not failed:
        return "no resource says why"
    # Newest first; the oldest failure is the cause, the others are its consequences.
    return f"{failed[-1]['LogicalResourceId']}: {failed[-1].get('ResourceStatusReason', 'no reason given')}"


# ---------------------------------------------------------------- packaging


def _packaged(place: Place) -> str:
    """The template as JSON, with the sources of every function uploaded and named by their hash."""
    s3 = client(place, "s3")
    try:
        s3.head_bucket(Bucket=CODE_BUCKET)
        present = {item["Key"] for item in s3.list_objects_v2(Bucket=CODE_BUCKET).get("Contents", [])}
    except ClientError:
        s3.create_bucket(Bucket=CODE_BUCKET)
        present = set()

    def uploaded(content: bytes) -> str:
        key = f"{hashlib.sha256(content).hexdigest()}.zip"
        if key not in present:
            s3.put_object(Bucket=CODE_BUCKET, Key=key, Body=content)
        return f"s3://{CODE_BUCKET}/{key}"

    body = template.load()
    settled = json.dumps([body, parameters(place)], sort_keys=True).encode()
    for resource in body["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            properties["CodeUri"] = uploaded(zipped(sources(properties["CodeUri"])))
            # The embedded AWS does not look behind a Ref here, and so would never publish a second version: what the
            # alias serves must change with the sources and with every setting.
            release = hashlib.sha256(settled + properties["CodeUri"].encode()).hexdigest()
            properties["AutoPublishCodeSha256"] = release
        if resource["Type"] == "AWS::Serverless::LayerVersion":
            # Workers run on the packages of this virtual environment, so the layers are empty here.
            properties["ContentUri"] = uploaded(zipped([("python/README", b"the virtual environment takes its place")]))
    return json.dumps(body)


def sources(code_uri: str) -> Iterator[tuple[str, bytes]]:
    """The files of a function's folder by name, in order. Raises `CannotRun` when it has no `handler.py`."""
    folder = (template.TEMPLATE.parent / code_uri).resolve()
    if not (folder / "handler.py").is_file():
        name = folder.relative_to(template.TEMPLATE.parent.parent)
        raise CannotRun(f"{name}/handler.py is missing, so the stack cannot be deployed.")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def zipped(files: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]]) -> bytes:
    """A zip whose bytes depend on the names and contents alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


# ---------------------------------------------------------------- what MiniStack 1.5.33 needs besides


def _after_deployment(place: Place) -> None:
    """Sets what MiniStack reads from no template, and what it asks for beyond AWS."""
    outputs = _outputs(client(place, "cloudformation"))
    dynamodb = client(place, "dynamodb")
    for name, properties in template.resources("AWS::DynamoDB::Table").items():
        wanted = properties.get("TimeToLiveSpecification")
        table = outputs[f"{name}Table"]
        if wanted and dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"].get(
            "TimeToLiveStatus"
        ) not in ("ENABLED", "ENABLING"):
            dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=wanted)
    gateway = client(place, "apigateway")
    site = template.resources("AWS::Serverless::Api")["Site"]
    for kind, response in site["GatewayResponses"].items():
        headers = response["ResponseParameters"]["Headers"]
        gateway.put_gateway_response(
            restApiId=outputs["SiteApi"],
            responseType=kind,
            responseParameters={f"gatewayresponse.header.{name}": value for name, value in headers.items()},
            responseTemplates=response["ResponseTemplates"],
        )
    # It asks whether SendEmail is allowed on "*", while AWS asks for the identity and the configuration set.
    notify = client(place, "lambda").get_function_configuration(FunctionName=outputs["NotifyFunction"])["Role"]
    statement = {"Effect": "Allow", "Action": "ses:SendEmail", "Resource": "*"}
    client(place, "iam").put_role_policy(
        RoleName=notify.rpartition("/")[2],
        PolicyName="SendEmailOnMiniStack",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    gateway.create_deployment(restApiId=outputs["SiteApi"], stageName=site["StageName"])


def _restart_streams(place: Place, outputs: dict[str, str]) -> None:
    """Makes every table stream's mapping anew: after a restart MiniStack's stay silent, as it keeps their positions
    but not the records."""
    functions = client(place, "lambda")
    for mapping in functions.list_event_source_mappings(FunctionName=outputs["NotifyFunction"])["EventSourceMappings"]:
        if ":dynamodb:" not in mapping["EventSourceArn"]:
            continue
        functions.delete_event_source_mapping(UUID=mapping["UUID"])
        copied = ("EventSourceArn", "BatchSize", "FilterCriteria", "FunctionResponseTypes", "MaximumRetryAttempts")
        functions.create_event_source_mapping(
            FunctionName=mapping["FunctionArn"],
            StartingPosition="TRIM_HORIZON",
            **{name: mapping[name] for name in copied if mapping.get(name)},
        )
