"""Reports as SES publishes them through EventBridge (SES Developer Guide, "Examples of event data"), shortened.

They hold what must never be logged: the address, the subject, the mail server's answer.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

ADDRESS = "ada@example.org"

_TYPES = {
    "Bounce": "Email Bounced",
    "Complaint": "Email Complaint Received",
    "Reject": "Email Rejected",
    "Delivery": "Email Delivered",
}


def report(
    message_id: str,
    kind: str = "Bounce",
    *,
    bounce_type: str = "Permanent",
    at: datetime | None = None,
    configuration_set: str = "Letters",
) -> dict[str, Any]:
    """One event of EventBridge about one letter."""
    happened = (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    detail: dict[str, Any] = {
        "eventType": kind,
        "mail": {
            "timestamp": happened,
            "source": "Lens Search <optout@example.org>",
            "sourceArn": "arn:aws:ses:eu-central-1:123456789012:identity/optout@example.org",
            "sendingAccountId": "123456789012",
            "messageId": message_id,
            "destination": [ADDRESS],
            "headersTruncated": False,
            "headers": [{"name": "To", "value": ADDRESS}, {"name": "Subject", "value": "We have your request"}],
            "commonHeaders": {"to": [ADDRESS], "messageId": message_id, "subject": "We have your request"},
            "tags": {
                "ses:operation": ["SendEmail"],
                "ses:configuration-set": [configuration_set],
                "ses:from-domain": ["example.org"],
            },
        },
    }
    if kind == "Bounce":
        detail["bounce"] = {
            "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
            "bounceType": bounce_type,
            "bounceSubType": "General",
            "bouncedRecipients": [
                {
                    "emailAddress": ADDRESS,
                    "action": "failed",
                    "status": "5.1.1",
                    "diagnosticCode": "smtp; 550 5.1.1 user unknown",
                }
            ],
            "timestamp": happened,
            "reportingMTA": "dsn; mta.example.com",
        }
    elif kind == "Complaint":
        detail["complaint"] = {
            "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
            "complaintSubType": None,
            "complainedRecipients": [{"emailAddress": ADDRESS}],
            "timestamp": happened,
            "userAgent": "Amazon SES Mailbox Simulator",
            "complaintFeedbackType": "abuse",
            "arrivalDate": happened,
        }
    elif kind == "Reject":
        detail["reject"] = {"reason": "Bad content"}
    else:
        detail[kind.lower()] = {"timestamp": happened, "recipients": [ADDRESS]}
    return {
        "version": "0",
        "id": "00000000-0000-0000-0000-000000000000",
        "detail-type": _TYPES[kind],
        "source": "aws.ses",
        "account": "123456789012",
        "time": happened,
        "region": "eu-central-1",
        "resources": [f"arn:aws:ses:eu-central-1:123456789012:configuration-set/{configuration_set}"],
        "detail": detail,
    }


def message(*given: Any, **changes: Any) -> str:
    """The report as it lies on the queue."""
    return json.dumps(report(*given, **changes))
