"""What each function may do, as it was reviewed. Whoever changes a role changes this table with it, on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from local import template

# Function -> Sid -> actions. Log and Trace are the same for all and stand below.
REVIEWED: dict[str, dict[str, set[str]]] = {
    "Submit": {
        "Requests": {
            "dynamodb:ConditionCheckItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        },
        "RequestsBy": {"dynamodb:Query"},
        "Exclusions": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"},
        "UploadTickets": {"s3:PutObject"},
        "Photos": {"s3:DeleteObject", "s3:GetObject"},
        "Links": {"secretsmanager:GetSecretValue"},
    },
    "Examine": {
        "Requests": {
            "dynamodb:ConditionCheckItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        },
        "Uploads": {"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectVersion"},
        "UploadsOfATicket": {"s3:ListBucket", "s3:ListBucketVersions"},
        "Photos": {"s3:PutObject"},
    },
    "Decide": {
        "Requests": {
            "dynamodb:ConditionCheckItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        },
        "RequestsBy": {"dynamodb:Query"},
        "Exclusions": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"},
        "ListedFaces": {"lambda:InvokeFunction"},
        "Photos": {"s3:GetObject"},
        "Snapshots": {"s3:GetObject"},
        "SnapshotsThereOrNot": {"s3:ListBucket"},
        "Links": {"secretsmanager:GetSecretValue"},
    },
    "ExcludeCheck": {
        "Exclusions": {"dynamodb:GetItem", "dynamodb:Query"},
        "Snapshots": {"s3:GetObject"},
        "SnapshotsThereOrNot": {"s3:ListBucket"},
        "Reviews": {"sqs:SendMessage"},
    },
    "Compact": {
        "Exclusions": {"dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:Query"},
        "Snapshots": {"s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"},
        "SnapshotsThereOrNot": {"s3:ListBucket", "s3:ListBucketVersions"},
    },
    "Notify": {
        # Putting: the history of a case whose letter came back, and which letter a message id is.
        "Requests": {
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        },
        "RequestsBy": {"dynamodb:Query"},
        "Stream": {
            "dynamodb:DescribeStream",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
            "dynamodb:ListStreams",
        },
        "Mail": {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"},
        "Receipts": {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"},
        "Reviews": {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"},
        "StreamFailures": {"sqs:SendMessage"},
        "Letters": {"ses:SendEmail", "ses:SendRawEmail"},
        "Retention": {"s3:DeleteObject", "s3:DeleteObjectVersion"},
        "RetentionOfVersions": {"s3:ListBucket", "s3:ListBucketVersions"},
        "Links": {"secretsmanager:GetSecretValue"},
    },
}
EVERYONE = {
    "Log": {"logs:CreateLogStream", "logs:PutLogEvents"},
    "Trace": {"xray:PutTelemetryRecords", "xray:PutTraceSegments"},
}
FUNCTIONS = sorted(REVIEWED)

# What DynamoDB asks of whoever reads, or reads and writes, a table with a customer's key.
READING = {"kms:Decrypt", "kms:DescribeKey"}
WRITING = READING | {"kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"}
# Function -> the services through which alone it may use the key.
KEY: dict[str, tuple[set[str], set[str]]] = {
    "Submit": (WRITING, {"dynamodb", "s3", "secretsmanager"}),
    "Examine": (WRITING, {"dynamodb", "s3"}),
    "Decide": (WRITING, {"dynamodb", "s3", "secretsmanager"}),
    # What SQS asks of whoever sends to a queue with a customer's key.
    "ExcludeCheck": (READING | {"kms:GenerateDataKey"}, {"dynamodb", "s3", "sqs"}),
    "Compact": (WRITING, {"dynamodb", "s3"}),
    "Notify": (WRITING, {"dynamodb", "secretsmanager", "sqs"}),
}

roles = template.resources("AWS::IAM::Role")
functions = template.resources("AWS::Serverless::Function")


def statements(function: str) -> list[dict[str, Any]]:
    (policy,) = roles[f"{function}Role"]["Policies"]
    found: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def resource_words(statement: dict[str, Any]) -> str:
    """Everything a statement's resources name, as one text to search."""
    return str(statement["Resource"])


def test_every_function_has_a_reviewed_role() -> None:
    assert set(functions) == set(REVIEWED)
    assert set(roles) == {f"{name}Role" for name in REVIEWED}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_runs_under_its_own_role_and_no_other_policy(function: str) -> None:
    assert functions[function]["Role"] == {"Fn::GetAtt": [f"{function}Role", "Arn"]}
    assert "Policies" not in functions[function]
    assert "ManagedPolicyArns" not in roles[f"{function}Role"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_what_was_reviewed_and_no_more(function: str) -> None:
    allowed = {statement["Sid"]: set(listed(statement["Action"])) for statement in statements(function)}
    assert allowed == REVIEWED[function] | EVERYONE | {"Key": KEY[function][0]}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_key_serves_a_function_only_through_the_stores_it_uses(function: str) -> None:
    (statement,) = (statement for statement in statements(function) if statement["Sid"] == "Key")
    assert statement["Resource"] == {"Fn::GetAtt": ["Key", "Arn"]}
    services = statement["Condition"]["StringEquals"]["kms:ViaService"]
    assert services == [{"Fn::Sub": f"{name}.${{AWS::Region}}.amazonaws.com"} for name in sorted(KEY[function][1])]
    used = {action.partition(":")[0] for sid, actions in REVIEWED[function].items() for action in actions}
    assert KEY[function][1] <= used


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_action_and_no_resource_is_a_wildcard(function: str) -> None:
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in listed(statement["Action"]))
        if statement["Sid"] != "Trace":  # X-Ray knows no resources
            assert "*" not in listed(statement["Resource"])


def test_only_lambda_may_take_a_functions_role() -> None:
    for role in roles.values():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
        assert statement["Action"] == "sts:AssumeRole"


@pytest.mark.parametrize("function", ["Compact", "ExcludeCheck"])
def test_whoever_serves_the_list_reaches_neither_cases_nor_photos(function: str) -> None:
    for statement in statements(function):
        assert "Requests" not in resource_words(statement)
        assert "Photos" not in resource_words(statement)


def test_the_function_that_reads_strangers_bytes_reaches_neither_the_list_nor_mail_nor_links() -> None:
    for statement in statements("Examine"):
        for word in ("Exclusions", "Mail", "Letters", "LinkSecret", "/index/"):
            assert word not in resource_words(statement)


def test_uploads_and_kept_photos_are_told_apart_everywhere() -> None:
    for function in FUNCTIONS:
        for statement in statements(function):
            if "Snapshots" in statement["Sid"]:
                assert "Photos" not in resource_words(statement)
                continue
            actions = listed(statement["Action"])
            if any(action.startswith("s3:List") for action in actions):
                assert set(listed(statement["Condition"]["StringLike"]["s3:prefix"])) <= {"raw/*", "photos/*"}
            elif any(action.startswith("s3:") for action in actions):
                for resource in listed(statement["Resource"]):
                    assert resource["Fn::Sub"] in ("${Photos.Arn}/raw/*", "${Photos.Arn}/photos/*")


def test_no_upload_ticket_can_write_where_kept_photos_lie() -> None:
    writers = {
        function: statement["Resource"]["Fn::Sub"]
        for function in FUNCTIONS
        for statement in statements(function)
        if "s3:PutObject" in listed(statement["Action"])
    }
    # Snapshots are of the function alone that compacts: a lookup answers from what it cannot change.
    assert writers == {
        "Submit": "${Photos.Arn}/raw/*",
        "Examine": "${Photos.Arn}/photos/*",
        "Compact": "${Snapshots.Arn}/*",
    }


def test_crawlers_may_call_the_one_route_of_lookups() -> None:
    (policy,) = template.resources("AWS::IAM::ManagedPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == "execute-api:Invoke"
    assert statement["Resource"]["Fn::Sub"].endswith(":${Site}/live/POST/exclusions/check")
