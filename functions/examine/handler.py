"""Looks at one uploaded photo. The only site function that parses strangers' bytes, with rights to little else."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from optout.errors import (
    AlreadyConfirmed,
    EnoughTested,
    FacesOff,
    NothingToExclude,
    PhotoNotFound,
    PhotoUnreadable,
    TooManyPhotos,
)
from optout.examination import examine, examine_tested
from optout.http import page, require_open, resolver, secret_id, see_other
from optout.store import Photos, Requests

logger = Logger()
metrics = Metrics()
app = resolver(translated=True)


@cache
def _store() -> tuple[Requests, Photos]:
    return Requests.from_settings(), Photos.from_settings()


@app.get("/opt-out/<draft>/photos/<ticket>")
def look_at(draft: str, ticket: str) -> Response[Any]:
    """Where S3 sends a browser after an upload. What the query says about it is anybody's claim and is not read."""
    require_open()
    draft, ticket = secret_id(draft), secret_id(ticket)
    if _by_script():
        return _nothing_to_read()
    here = f"/opt-out/{draft}/photos"
    try:
        examine(*_store(), draft, ticket, datetime.now(UTC))
    except PhotoUnreadable as unreadable:
        metrics.add_metric("PhotosUnreadable", MetricUnit.Count, 1)
        return see_other(f"{here}?problem={unreadable.code}")
    except PhotoNotFound:
        return see_other(f"{here}?problem=nothing_arrived")
    except TooManyPhotos:
        return see_other(f"{here}?problem=too_many_photos")
    except AlreadyConfirmed:
        return see_other(f"/opt-out/{draft}/done")
    metrics.add_metric("PhotosExamined", MetricUnit.Count, 1)
    return see_other(f"{here}#photo-{ticket}")


_NOT_TESTED = {
    PhotoNotFound: "nothing_arrived",
    FacesOff: "faces_off",
    NothingToExclude: "nothing_left",
    EnoughTested: "enough_tested",
}


@app.get("/test/<test>/<ticket>")
def look_at_tested(test: str, ticket: str) -> Response[Any]:
    """Where S3 sends a browser after an upload that is only tested: what the case would do with the picture."""
    require_open()
    test, ticket = secret_id(test), secret_id(ticket)
    if _by_script():
        return _nothing_to_read()
    here = f"/test/{test}"
    try:
        kind, caught = examine_tested(*_store(), test, ticket, datetime.now(UTC))
    except PhotoUnreadable as unreadable:
        return see_other(f"{here}?problem={unreadable.code}")
    except tuple(_NOT_TESTED) as refused:
        return see_other(f"{here}?problem={_NOT_TESTED[type(refused)]}")
    metrics.add_metric("PicturesTested", MetricUnit.Count, 1)
    # The answer is gone with the picture; in another language there is the question again.
    return page("tested.html", test=test, kind=kind.value, caught=caught.value, page_in_other_languages=here)


def _by_script() -> bool:
    return app.current_event.headers.get("Sec-Fetch-Mode") == "cors"


def _nothing_to_read() -> Response[Any]:
    """A script that uploaded follows the redirect too; the page it belongs to comes by itself next. The origin of a
    request redirected from another site is "null", and there is nothing to read in this answer."""
    return Response(204, None, "", {"Access-Control-Allow-Origin": "null"})


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """One request of the public site."""
    return app.resolve(event, context)
