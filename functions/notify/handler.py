"""Letters: table stream -> mail queue -> SES, the sweep for letters that are late, what SES reports about letters that
came back, doubtful hits of lookups that a person must look at, and the retention sweep.

Logs and metrics count and name kinds of letters only: no case, no name, no address.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from optout import retention, reviews, settings
from optout.mail import outbox, receipts
from optout.requests import MailTrouble, Status
from optout.store import LETTER_GRACE, LetterKey, Photos, Requests

logger = Logger()
metrics = Metrics()

# Enough to send one letter with all its attempts; what is not begun by then comes again.
_TIME_FOR_ONE_MS = 8_000


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """One of: a batch of the table's stream, of the mail queue, of SES's reports, of doubtful hits, a schedule's
    `{"sweep": ...}`."""
    match event:
        case {"sweep": "letters"}:
            return sweep_letters()
        case {"sweep": "retention"}:
            return sweep_retention()
        case {"Records": [{"eventSource": "aws:dynamodb"}, *_] as records}:
            return forward(records)
        case {"Records": [{"eventSource": "aws:sqs", "eventSourceARN": queue}, *_] as records}:
            if queue == settings.receipts_queue_arn():
                return note_receipts(records)
            if queue == settings.reviews_arn():
                return keep_reviews(records)
            return deliver(records, context)
    raise ValueError("an event that no source of this function sends")


def forward(records: list[dict[str, Any]]) -> dict[str, Any]:
    """New letters of the table's stream go to the mail queue. Raises when it did not take them: the stream repeats."""
    images = [record["dynamodb"]["Keys"] for record in records if record["eventName"] == "INSERT"]
    keys = [(image["pk"]["S"], image["sk"]["S"]) for image in images]
    letters = [LetterKey.of_item(pk, sk) for pk, sk in keys if sk.startswith("letter#")]
    outbox.forward(letters)
    metrics.add_metric("LettersForwarded", MetricUnit.Count, len(letters))
    return {"batchItemFailures": []}


def deliver(records: list[dict[str, Any]], context: LambdaContext) -> dict[str, Any]:
    """Send the letters of a batch. Those that could not be sent are named, and SQS brings only them again."""
    requests = Requests.from_settings()
    failed: list[str] = []
    sent = 0
    for record in records:
        try:
            if context.get_remaining_time_in_millis() < _TIME_FOR_ONE_MS:
                raise TimeoutError
            key = LetterKey.from_json(record["body"])
            received = int(record["attributes"]["ApproximateReceiveCount"])
            fate = outbox.deliver(requests, key, received, datetime.now(UTC))
        except Exception as error:  # whatever it is, the other letters of the batch are sent
            failed.append(record["messageId"])
            logger.error("letter not sent", extra={"error_type": type(error).__name__})
        else:
            sent += fate is outbox.Fate.SENT
            if fate is outbox.Fate.UNDELIVERABLE:
                metrics.add_metric("LettersUndeliverable", MetricUnit.Count, 1)
            if fate is outbox.Fate.SUPPRESSED:
                metrics.add_metric("LettersSuppressed", MetricUnit.Count, 1)
    metrics.add_metric("LettersSent", MetricUnit.Count, sent)
    metrics.add_metric("LettersFailed", MetricUnit.Count, len(failed))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


_COUNTED = {MailTrouble.BOUNCED: "Bounces", MailTrouble.COMPLAINED: "Complaints", MailTrouble.REJECTED: "Rejects"}


def note_receipts(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Mark the cases whose letters came back. A report that cannot be noted yet is named, and SQS brings it again."""
    requests, now = Requests.from_settings(), datetime.now(UTC)
    failed: list[str] = []
    for record in records:
        try:
            receipt = receipts.read(record["body"])
            noted = receipts.note(requests, receipt, now)
        except Exception as error:  # whatever it is, the other reports of the batch are noted
            failed.append(record["messageId"])
            logger.warning("report not noted", extra={"error_type": type(error).__name__})
        else:
            if noted is receipts.Noted.MARKED:
                metrics.add_metric(_COUNTED.get(receipt.trouble, "BouncesTemporary"), MetricUnit.Count, 1)
            elif noted is receipts.Noted.UNMATCHED:
                metrics.add_metric("ReceiptsUnmatched", MetricUnit.Count, 1)
    metrics.add_metric("ReceiptsFailed", MetricUnit.Count, len(failed))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def keep_reviews(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep the doubtful hits of a batch for a reviewer, each once. What could not be kept is named and comes again."""
    requests, now = Requests.from_settings(), datetime.now(UTC)
    failed: list[str] = []
    kept = 0
    for record in records:
        try:
            kept += sum(requests.add_review(doubt, now) for doubt in reviews.from_message(record["body"]))
        except Exception as error:  # whatever it is, the others of the batch are kept
            failed.append(record["messageId"])
            logger.warning("doubtful hits not kept", extra={"error_type": type(error).__name__})
    metrics.add_metric("ReviewsKept", MetricUnit.Count, kept)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def sweep_letters() -> dict[str, Any]:
    """Letters that should have been sent by now go to the mail queue again; whoever sends them first, wins."""
    now, requests = datetime.now(UTC), Requests.from_settings()
    late = [letter for letter in requests.letters_due(now - LETTER_GRACE) if requests.forward_letter(letter, now)]
    outbox.forward(late)
    metrics.add_metric("LettersLate", MetricUnit.Count, len(late))
    # Below zero when it is overdue. An appeal, or a case that waits for its requester's answer, has a date, too. Urgent
    # cases are given hours and the others days, so each kind has a number of its own, and the first of a view that
    # holds both must not hide the other: as many are read as the queue shows.
    views = (Status.PENDING, Status.WAITING, "appeal")
    open_cases = [case for view in views for case in requests.queue(view)]
    due: dict[bool, datetime] = {}
    for case in open_cases:
        if case.due_at:
            due[case.lane.urgent] = min(case.due_at, due.get(case.lane.urgent, case.due_at))
    if True in due:
        metrics.add_metric("UrgentMinutesToDue", MetricUnit.Count, (due[True] - now).total_seconds() // 60)
    if False in due:
        metrics.add_metric("OldestUndecidedMinutesToDue", MetricUnit.Count, (due[False] - now).total_seconds() // 60)
    metrics.add_metric("ReviewsOpen", MetricUnit.Count, requests.count_open_reviews())
    for waiting in requests.open_reviews(1):
        metrics.add_metric("OldestReviewMinutes", MetricUnit.Count, (now - waiting.found_at).total_seconds() // 60)
    return {"late": len(late)}


def sweep_retention() -> dict[str, Any]:
    """Delete what has been kept long enough."""
    swept = vars(retention.sweep(Requests.from_settings(), Photos.from_settings(), datetime.now(UTC)))
    for name, count in swept.items():
        metrics.add_metric(f"Retention{name.capitalize()}", MetricUnit.Count, count)
    if swept["failed"]:
        # A failed run raises the function's alarm; the next sweep tries again.
        raise RuntimeError(f"{swept['failed']} cases could not be deleted")
    return swept
