"""How often one network, or one mailbox, may do what costs something: token buckets in the Requests table.

    pk = "limit#<keyed hash>"   sk = <action>   `full_at`: when the bucket is full again, in milliseconds since 1970

A bucket holds `burst` tokens and gets `per_hour` new ones an hour, never more than it holds. One number says all of it
(the generic cell rate algorithm, ITU-T I.371): the moment at which the bucket would be full. Taking a token moves it
later by the time one token needs; a token is left as long as it is no further ahead than the whole bucket needs.

A network is an address prefix, IPv4 /24 or IPv6 /56, which is what one household or company has at most. Schools,
companies and mobile networks put hundreds of people behind one address, so the limits are for a crowd, not for a
person: they stop a program that asks without end, and nobody else. They do not guard the exclusion list or anybody's
data. So when DynamoDB does not answer, people are let through.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from optout import settings
from optout.errors import TooManyRequests

logger = Logger()
metrics = Metrics()


class Action(StrEnum):
    """What is counted; each has a bucket of its own."""

    DRAFT = "draft"
    UPLOAD = "upload"
    CONFIRM = "confirm"
    LETTER = "letter"
    VERIFY = "verify"
    TEST = "test"
    WRITE = "write"


@dataclass(frozen=True)
class Limit:
    """How many at once, and how many more an hour."""

    burst: int
    per_hour: float


# A mobile network puts some 250,000 subscribers behind the 256 addresses of a /24. If one in a hundred opts out in a
# year, that is one an hour by day; a picture that a whole school of 300 shares is asked about by all of it within the
# hour. Both fit twice.
NETWORK_LIMITS: dict[Action, Limit] = {
    Action.DRAFT: Limit(600, 600),
    # A visit shows the page that holds a ticket about ten times: five photos, each looked at and perhaps chosen anew.
    Action.UPLOAD: Limit(3_000, 3_000),
    Action.CONFIRM: Limit(600, 600),
    Action.LETTER: Limit(300, 300),
    Action.VERIFY: Limit(600, 600),
    # Each costs a second of a processor and shows nothing that a person needs more than a few times.
    Action.TEST: Limit(100, 100),
    # Appeals, answers and what somebody adds. Whoever may send a request may also write about it.
    Action.WRITE: Limit(600, 600),
}

# Whoever types a stranger's address sends that stranger letters. The largest honest sender is a lawyer's office that
# asks for many clients with one address: thirty at once, and thirty more within the day.
MAILBOX_LIMITS: dict[Action, Limit] = {
    Action.CONFIRM: Limit(30, 1.25),
    Action.LETTER: Limit(10, 0.5),
}


def take(action: Action, source: str, now: datetime) -> None:
    """Take a token of the network that `source`, an IP address, belongs to. Raises `TooManyRequests`."""
    digest = hmac.new(settings.link_secret().encode(), f"network:{network(source)}".encode(), hashlib.sha256)
    _take(action, digest.hexdigest(), NETWORK_LIMITS[action], now)


def take_of_mailbox(action: Action, email_hash: str, now: datetime) -> None:
    """Take a token of an email address, named by its keyed hash (`links.email_hash`). Raises `TooManyRequests`."""
    _take(action, email_hash, MAILBOX_LIMITS[action], now)


def network(source: str) -> str:
    """The prefix that an address belongs to: IPv4 /24, IPv6 /56. What is no address is a network of its own."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    length = 24 if address.version == 4 else 56
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def _take(action: Action, whose: str, limit: Limit, now: datetime) -> None:
    scale = settings.limits_percent() / 100
    one_ms = round(3_600_000 / (limit.per_hour * scale))
    whole_ms = one_ms * max(1, math.floor(limit.burst * scale))
    now_ms = round(now.timestamp() * 1000)
    # From when on the bucket says nothing any more, at the latest: DynamoDB deletes it some time after that.
    forgotten = math.ceil((now_ms + whole_ms) / 1000)
    try:
        # Who has not been here lately has a full bucket, and is done after the first write. A busy bucket needs the
        # second. Each is one conditional update, so no two requests take the same token.
        if _update(
            action,
            whose,
            "SET full_at = :then, expires_at = :forgotten",
            "attribute_not_exists(full_at) OR full_at <= :now",
            {":now": now_ms, ":then": now_ms + one_ms, ":forgotten": forgotten},
        ) or _update(
            action,
            whose,
            "SET full_at = full_at + :one, expires_at = :forgotten",
            "full_at > :now AND full_at <= :last",
            {":now": now_ms, ":one": one_ms, ":last": now_ms + whole_ms - one_ms, ":forgotten": forgotten},
        ):
            return
    except Exception as error:  # whatever it is: a person who is upset must not be sent away because of it
        logger.warning("limits not asked", extra={"error_type": type(error).__name__})
        metrics.add_metric("LimitsNotAsked", MetricUnit.Count, 1)
        return
    metrics.add_metric("TooManyRequests", MetricUnit.Count, 1)
    raise TooManyRequests(retry_after_s=math.ceil(one_ms / 1000))


def _update(action: Action, whose: str, expression: str, condition: str, values: dict[str, Any]) -> bool:
    client = settings.aws("dynamodb")
    try:
        client.update_item(
            TableName=settings.requests_table(),
            Key={"pk": {"S": f"limit#{whose}"}, "sk": {"S": action.value}},
            UpdateExpression=expression,
            ConditionExpression=condition,
            ExpressionAttributeValues={name: {"N": str(value)} for name, value in values.items()},
        )
    except client.exceptions.ConditionalCheckFailedException:
        return False
    return True
