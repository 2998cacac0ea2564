"""What streams and queues hand to the functions, and the context that comes with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


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


def stream_record(pk: str, sk: str, name: str = "INSERT") -> dict[str, Any]:
    """A change of the Requests table."""
    keys = {"pk": {"S": pk}, "sk": {"S": sk}}
    return {"eventSource": "aws:dynamodb", "eventName": name, "dynamodb": {"Keys": keys}}


def queue_record(
    body: str | dict[str, Any], received: int = 1, message_id: str = "m1", queue: str = "Mail"
) -> dict[str, Any]:
    """A message of the mail queue, or of another one."""
    return {
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{queue}",
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
