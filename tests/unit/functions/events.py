"""What AWS hands to the functions."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from itertools import count
from types import ModuleType
from typing import Any

from local.place import REPOSITORY

_instances = count(1)


def load(function: str) -> ModuleType:
    """A new instance of a function, as a cold start makes one. Call it inside `storage()`: it sets `os.environ`."""
    path = REPOSITORY / "functions" / function / "handler.py"
    # Loggers are kept by service name, with the output of the test that made them: a name of its own for each.
    os.environ["POWERTOOLS_SERVICE_NAME"] = f"{function}-{next(_instances)}"
    os.environ["POWERTOOLS_METRICS_NAMESPACE"] = "ImageOptout"
    spec = importlib.util.spec_from_file_location(f"{function}_handler", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Context:
    """Lambda's context, with as much time left as is said."""

    remaining_ms: int = 30_000
    function_name: str = "function"
    function_version: str = "1"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:function"
    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


def rest_event(method: str, path: str, body: str | None = None, **headers: str) -> dict[str, Any]:
    """A request through the REST API."""
    return {
        "httpMethod": method,
        "path": path,
        "resource": path,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "requestContext": {"requestId": "request", "stage": "live", "path": path, "identity": {}},
        "body": body,
        "isBase64Encoded": False,
    }


def stream_record(pk: str, sk: str, name: str = "INSERT") -> dict[str, Any]:
    """A change of the Requests table."""
    keys = {"pk": {"S": pk}, "sk": {"S": sk}}
    return {"eventSource": "aws:dynamodb", "eventName": name, "dynamodb": {"Keys": keys}}


def queue_record(body: str | dict[str, Any], received: int = 1, message_id: str = "m1") -> dict[str, Any]:
    """A message of the mail queue."""
    return {
        "eventSource": "aws:sqs",
        "messageId": message_id,
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"ApproximateReceiveCount": str(received)},
    }


def metric_values(output: str) -> dict[str, float]:
    """What was counted, read from what a function printed; cold starts, which depend on the tests before, left out."""
    found: dict[str, float] = {}
    for line in output.splitlines():
        entry = json.loads(line)
        for group in entry.get("_aws", {}).get("CloudWatchMetrics", []):
            found |= {metric["Name"]: sum(entry[metric["Name"]]) for metric in group["Metrics"]}
    found.pop("ColdStart", None)
    return found
