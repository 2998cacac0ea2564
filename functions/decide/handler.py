"""Reviewers: the queue, a case, questions, decisions, appeals, revocations, possible copies, and what is on the list.

The API's Cognito authorizer has verified the token of every route but the console's own static page; that the person
is in the reviewers' group is checked here, because the authorizer lets every user of the pool through.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.middlewares import NextMiddleware
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from optout.errors import OptOutError
from optout.http import in_our_terms, resolver
from optout.store import Photos, Requests
from optout.web import console

logger = Logger()
metrics = Metrics()
app = resolver()


def reviewers_only(app: APIGatewayRestResolver, next_middleware: NextMiddleware) -> Response[Any]:
    """Let only reviewers through, and tell browsers in a fragment what was refused."""
    if console.reviewer(app) is None:
        return console.not_a_reviewer(app)
    try:
        return next_middleware(app)
    except Exception as failed:
        error = in_our_terms(failed)
        if isinstance(error, OptOutError):
            return console.refusal(app, error)
        raise


guarded = [reviewers_only]


@app.get("/console")
def sign_in() -> Response[str]:
    return console.shell(Photos.from_settings())


@app.get("/requests", middlewares=guarded)
def queue() -> Response[str]:
    return console.queue(app, Requests.from_settings(), datetime.now(UTC))


@app.get("/requests/<request_id>", middlewares=guarded)
def case(request_id: str) -> Response[str]:
    return console.case(app, Requests.from_settings(), request_id, datetime.now(UTC))


@app.get("/requests/<request_id>/listed", middlewares=guarded)
def listed_faces(request_id: str) -> Response[str]:
    return console.listed_faces(Requests.from_settings(), request_id, datetime.now(UTC))


@app.get("/requests/<request_id>/photos/<ticket>", middlewares=guarded)
def photo(request_id: str, ticket: str) -> Response[str]:
    return console.photo(app, Requests.from_settings(), Photos.from_settings(), request_id, ticket, datetime.now(UTC))


@app.post("/requests/<request_id>/decision", middlewares=guarded)
def decide(request_id: str) -> Response[str]:
    answer = console.decide(app, Requests.from_settings(), request_id, datetime.now(UTC))
    metrics.add_metric("Decisions", MetricUnit.Count, 1)
    return answer


@app.post("/requests/<request_id>/question", middlewares=guarded)
def ask(request_id: str) -> Response[str]:
    return console.ask(app, Requests.from_settings(), request_id, datetime.now(UTC))


@app.post("/requests/<request_id>/extension", middlewares=guarded)
def extend(request_id: str) -> Response[str]:
    return console.extend(app, Requests.from_settings(), request_id, datetime.now(UTC))


@app.post("/requests/<request_id>/revocation", middlewares=guarded)
def propose_revocation(request_id: str) -> Response[str]:
    return console.propose_revocation(app, Requests.from_settings(), request_id, datetime.now(UTC))


@app.post("/requests/<request_id>/revocation/confirmation", middlewares=guarded)
def settle_revocation(request_id: str) -> Response[str]:
    return console.settle_revocation(app, Requests.from_settings(), request_id, datetime.now(UTC))


@app.post("/requests/<request_id>/added", middlewares=guarded)
def decide_added(request_id: str) -> Response[str]:
    answer = console.decide_added(app, Requests.from_settings(), request_id, datetime.now(UTC))
    metrics.add_metric("Decisions", MetricUnit.Count, 1)
    return answer


@app.post("/requests/<request_id>/suspension", middlewares=guarded)
def suspend(request_id: str) -> Response[str]:
    answer = console.suspend(app, Requests.from_settings(), request_id, datetime.now(UTC))
    metrics.add_metric("Suspensions", MetricUnit.Count, 1)
    return answer


@app.get("/reviews", middlewares=guarded)
def possible_copies() -> Response[str]:
    return console.possible_copies(Requests.from_settings(), datetime.now(UTC))


@app.post("/reviews/<sha256>/<exclusion_id>", middlewares=guarded)
def answer_review(sha256: str, exclusion_id: str) -> Response[str]:
    answer = console.answer_review(app, Requests.from_settings(), sha256, exclusion_id, datetime.now(UTC))
    metrics.add_metric("ReviewsAnswered", MetricUnit.Count, 1)
    return answer


@app.get("/exclusions", middlewares=guarded)
def exclusions() -> Response[str]:
    return console.exclusions(app, Requests.from_settings(), datetime.now(UTC))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    metrics.add_metric("ConsoleRequests", MetricUnit.Count, 1)
    return app.resolve(event, context)
