"""Puts what the exclusion list's log says into the snapshot that lookups start from, and keeps the log short.

Logs and metrics count; they name no exclusion.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from optout.exclusions.compaction import compact
from optout.exclusions.log import ExclusionLog
from optout.exclusions.snapshot import Snapshots

logger = Logger()
metrics = Metrics()


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Entry point. What a run cannot do, the next one does; a run that raises has changed nothing for lookups."""
    done = compact(ExclusionLog.from_settings(), Snapshots.from_settings())
    metrics.add_metric("ListRecords", MetricUnit.Count, done.records)
    metrics.add_metric("ListTruncated", MetricUnit.Count, done.truncated)
    metrics.add_metric("ListSegmentsDeleted", MetricUnit.Count, done.collected)
    return {"version": str(done.version), "swapped": done.swapped}
