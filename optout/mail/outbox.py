"""The way of a letter: due with the state change, forwarded to the mail queue, sent, and noted as sent.

A letter is sent at least once. It can be sent twice only when a sender dies between SES's answer and the note, and then
under the same letter id. The stream makes it fast, the sweep makes it sure, the claim keeps the two from both sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from optout import settings
from optout.errors import AddressUnusable
from optout.mail.send import overtaken, render, send, status_url, verify_url
from optout.requests import MailTrouble
from optout.store import LetterKey, Requests

# The mail queue's maxReceiveCount: after this many failures SQS moves the message to the dead letters.
MAX_RECEIVES = 5
# Longer than the function may run (30 s): no letter is taken from a sender who is still at it. Shorter than the queue's
# visibility timeout (180 s): when the message of a sender who died comes again, it finds its letter free.
LEASE = timedelta(seconds=60)


class Fate(StrEnum):
    """What became of one message of the mail queue."""

    SENT = "sent"
    DONE_BEFORE = "done_before"
    OVERTAKEN = "overtaken"
    UNDELIVERABLE = "undeliverable"
    SUPPRESSED = "suppressed"


def forward(keys: Sequence[LetterKey]) -> None:
    """Put letters on the mail queue. Raises when it did not take one: forward them all again."""
    for key in keys:
        # One by one: IAM knows one action for both calls, but the embedded AWS wants another for the batch.
        settings.aws("sqs").send_message(QueueUrl=settings.mail_queue_url(), MessageBody=key.to_json())


def deliver(requests: Requests, key: LetterKey, received: int, now: datetime) -> Fate:
    """Send one letter that is due. `received` counts how often its message has been received, from 1.

    Whatever fails is raised, after the letter was given back or, with the last receipt, parked: SQS then holds its
    message among the dead letters. A redrive starts the count again, and that is how a parked letter becomes due again.
    """
    due = requests.claim_letter(key, now, LEASE)
    if due is None and received == 1:
        requests.letter_revived(key, now)
        due = requests.claim_letter(key, now, LEASE)
    if due is None:
        return Fate.DONE_BEFORE
    if overtaken(due):
        requests.letter_overtaken(key, now)
        return Fate.OVERTAKEN
    if requests.is_suppressed(due.request.email_hash, now):
        requests.mail_troubled(key.request_id, MailTrouble.SUPPRESSED, now)
        requests.letter_failed(key, now, final=True)
        return Fate.SUPPRESSED
    try:
        message = render(
            due,
            now,
            engine=settings.engine_name(),
            support=settings.support_address(),
            status_url=status_url(due.request),
            verify_url=verify_url(due.request),
        )
        message_id = send(message, due.request.answers.email)
    except AddressUnusable:
        # No later attempt can succeed, so none is made.
        requests.mail_troubled(key.request_id, MailTrouble.UNUSABLE, now)
        requests.letter_failed(key, now, final=True)
        return Fate.UNDELIVERABLE
    except Exception:
        requests.letter_failed(key, now, final=received >= MAX_RECEIVES)
        raise
    requests.letter_sent(key, message_id, now)
    return Fate.SENT
