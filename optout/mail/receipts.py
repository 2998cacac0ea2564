"""What SES reports about letters it took: those that came back, and those that were called spam.

SES reports through EventBridge and a queue, at least once, in any order, and now and then before its own answer to the
sender has been noted. Whatever a report says about the reader's mailbox stays with SES; we keep the kind and the time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from optout.errors import RequestNotFound
from optout.requests import MailTrouble
from optout.store import Requests

# A report can overtake the note of its letter, which is one write after SES's answer. A message id that nobody knows
# after this time never will be: its sender died in between, and the letter was sent again under another one.
NOTED_WITHIN = timedelta(minutes=5)


class TooEarly(Exception):
    """The letter of this report is not known yet; the queue brings the report again."""


class Noted(StrEnum):
    """What became of a report."""

    MARKED = "marked"
    KNOWN_BEFORE = "known_before"
    UNMATCHED = "unmatched"


@dataclass(frozen=True)
class Receipt:
    """A report that a letter did not arrive as it should. `at` is when it happened, in UTC."""

    message_id: str
    trouble: MailTrouble
    at: datetime


def read(body: str) -> Receipt:
    """The report in a message of the queue, as EventBridge wraps it. Raises ValueError for anything else.

    Format: SES Developer Guide, "Contents of event data that Amazon SES publishes"; EventBridge holds it as `detail`.
    """
    try:
        event = json.loads(body)
        detail = event["detail"]
        message_id, at = str(detail["mail"]["messageId"]), datetime.fromisoformat(event["time"])
        trouble = _trouble(detail)
        if not message_id or at.tzinfo is None:
            raise ValueError("without message id or time zone")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a report of SES") from error
    return Receipt(message_id, trouble, at.astimezone(UTC))


def _trouble(detail: dict[str, Any]) -> MailTrouble:
    match detail["eventType"]:
        case "Bounce":
            # `Transient`: SES has tried for hours and given up, a full mailbox for example. `Undetermined`: it cannot
            # tell. Neither says that the mailbox is gone, so later letters are still sent.
            permanent = detail["bounce"]["bounceType"] == "Permanent"
            return MailTrouble.BOUNCED if permanent else MailTrouble.TEMPORARY
        case "Complaint":
            return MailTrouble.COMPLAINED
        case "Reject":
            return MailTrouble.REJECTED
    raise ValueError("a report of a kind that is not asked for")


def note(requests: Requests, receipt: Receipt, now: datetime) -> Noted:
    """Mark the case of the letter, once. Raises `TooEarly` for a letter that may still become known."""
    letter = requests.letter_of(receipt.message_id)
    if letter is None:
        if now - receipt.at < NOTED_WITHIN:
            raise TooEarly
        return Noted.UNMATCHED
    try:
        marked = requests.mail_troubled(letter.request_id, receipt.trouble, receipt.at)
    except RequestNotFound:
        return Noted.UNMATCHED
    return Noted.MARKED if marked else Noted.KNOWN_BEFORE
