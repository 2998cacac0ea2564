"""Crawlers ask here before they index. What cannot be answered surely is refused or deferred, never allowed.

Logs and metrics count answers and name exclusions by their public ids; they hold no address, hash or vector.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.exceptions import RequestEntityTooLargeError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from optout import hits, http, lookups, reviews, settings
from optout.errors import NotFresh, RequestInvalid
from optout.exclusions.log import Current, CurrentList

logger = Logger()
metrics = Metrics()
app = http.resolver()

# Transactions become visible within milliseconds; a table that does not answer takes longer, but not for long.
RETRY_AFTER_S = 2
# Lines about hits in the log of one call; a crawl that meets more excluded pictures at once names its most hit ones.
MAX_HIT_LINES = 100


# What this warm instance was asked about lately, and the exclusions it has reported already for excluding too much.
window = hits.HitWindow()
reported: set[str] = set()
passed_on = reviews.PassedOn()


@cache
def current_list() -> CurrentList:
    """This warm instance's copy of the list; every lookup brings it up to date first."""
    return CurrentList.from_settings()


@app.post("/exclusions/check")
def check() -> Response[str]:
    """The verdict for every item of a lookup."""
    until = time.monotonic() + lookups.TIME_BUDGET_S
    try:
        lookup = lookups.parse(http.body(app, lookups.MAX_BODY_BYTES))
        answer = lookups.answer(lookup, refresh(lookup), until)
    except RequestEntityTooLargeError:
        limit = f"The body must not be larger than {lookups.MAX_BODY_BYTES} bytes. Send fewer items in one call."
        return http.json_answer({"error": "too_large", "message": limit, "limit": lookups.MAX_BODY_BYTES}, 413)
    except RequestInvalid as error:
        wrong = f"This is not a lookup: {error}."
        status = 400 if "body" in error.problems else 422
        return http.json_answer({"error": "request_invalid", "message": wrong, "problems": error.problems}, status)
    except NotFresh:
        later = "The exclusion list is not up to date here. Ask again; until then nothing that was asked is allowed."
        refusal = http.json_answer({"error": "not_fresh", "message": later}, 503)
        refusal.headers["Retry-After"] = str(RETRY_AFTER_S)
        return refusal
    metrics.add_metric("Lookups", MetricUnit.Count, len(answer.results))
    for verdict, count in Counter(result.verdict for result in answer.results).items():
        metrics.add_metric(f"Verdict{verdict.capitalize()}", MetricUnit.Count, count)
    count_hits(lookup, answer)
    pass_on_doubts(lookup, answer)
    return http.json_answer(answer.model_dump(mode="json"))


def answer_reviewers(asked: dict[str, Any]) -> dict[str, Any]:
    """The verdicts for the faces of a case. `decide` alone may call a function directly, so these are no crawler's
    pictures: nothing is counted, and doubts go nowhere. Raises `NotFresh`, which the caller sees as a failed call."""
    until = time.monotonic() + lookups.TIME_BUDGET_S
    lookup = lookups.parse(json.dumps(asked).encode())
    return lookups.answer(lookup, refresh(lookup), until).model_dump(mode="json")


def count_hits(lookup: lookups.Lookup, answer: lookups.Answer) -> None:
    """Every exclusion's hits of this call in the log, the largest share of the window as a metric, and a warning with
    the exclusion's id when that share is too large: once, until it has been below again."""
    counted = hits.hits(lookup.items, answer)
    for candidate, exclusion_ids in counted:
        window.add(candidate, exclusion_ids)
    of_call = Counter(exclusion_id for _, exclusion_ids in counted for exclusion_id in exclusion_ids)
    for exclusion_id, count in of_call.most_common(MAX_HIT_LINES):
        logger.info("exclusion hit", extra={"exclusion_id": exclusion_id, "hits": count})
    if not window.ready:
        return
    largest = window.shares()[:1]
    metrics.add_metric("ExclusionHitShare", MetricUnit.Percent, 100 * largest[0].share if largest else 0)
    excessive = window.shares(above=settings.hit_share_alarm())
    reported.intersection_update(each.exclusion_id for each in excessive)
    for each in excessive:
        if each.exclusion_id not in reported:
            reported.add(each.exclusion_id)
            logger.warning(
                "exclusion hits too much",
                extra={
                    "exclusion_id": each.exclusion_id,
                    "hits": each.hits,
                    "candidates": each.candidates,
                    "share_percent": round(100 * each.share, 2),
                },
            )


def pass_on_doubts(lookup: lookups.Lookup, answer: lookups.Answer) -> None:
    """Put what a person must look at on the reviews' queue. The crawler holds these pictures back and asks again, so
    what does not get there now is passed on then, and the answer is the same."""
    found, unseen = reviews.doubts(lookup.items, answer)
    fresh = passed_on.new(found)
    taken = fresh[: reviews.MAX_DOUBTS]
    if taken:
        try:
            settings.aws("sqs").send_message(QueueUrl=settings.reviews_url(), MessageBody=reviews.to_message(taken))
        except (BotoCoreError, ClientError) as error:
            logger.warning("doubtful hits not passed on", extra={"error_type": type(error).__name__})
            taken = []
        else:
            passed_on.note(taken)
    if found or unseen:
        metrics.add_metric("ReviewsAsked", MetricUnit.Count, len(taken))
        metrics.add_metric("ReviewsNotQueued", MetricUnit.Count, len(fresh) - len(taken))
        metrics.add_metric("ReviewsUnseen", MetricUnit.Count, unseen)


def refresh(lookup: lookups.Lookup) -> Current:
    """The list as it is now. Raises `NotFresh` for any doubt about that, a store that does not answer included."""
    try:
        current = current_list().refresh(lookup.oldest, pictures=lookup.has_pictures)
    except (NotFresh, BotoCoreError, ClientError) as error:
        metrics.add_metric("NotFresh", MetricUnit.Count, 1)
        metrics.add_metric("VersionLag", MetricUnit.Count, current_list().lag)
        logger.warning("list not fresh", extra={"error_type": type(error).__name__})
        raise NotFresh from error
    metrics.add_metric("VersionLag", MetricUnit.Count, current_list().lag)
    return current


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """A crawler's request, or the console's question about the faces of a case."""
    if "lookup" in event:
        return answer_reviewers(event["lookup"])
    return app.resolve(event, context)
