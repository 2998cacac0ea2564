"""The configuration, read in one typed place from the environment that `infra/template.yaml` sets.

Every function gets only the variables it needs; asking for one that is not set is a deployment fault and raises
`KeyError` with the variable's name.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

# Warm instances learn of a replaced link secret within this time.
LINK_SECRET_KEPT_S = 300


try:
    from snapshot_restore_py import (  # type: ignore[import-not-found]
        register_after_restore,
        register_before_snapshot,
    )
except ImportError:
    pass  # it is part of Lambda's runtime
else:
    # botocore draws the pauses between its attempts from `random`, whose state is the same in all instances that start
    # from one snapshot: they would all try again at the same moments.
    register_after_restore(random.seed)
    # With a snapshot it is the other way round: what is loaded before it is taken, nobody waits for.
    register_before_snapshot(lambda: __import__("boto3"))


@cache
def aws(service: str) -> Any:
    """The boto3 client of one AWS service, made when first used and kept: bounded in time and in retries."""
    # Half of what a function imports: a page that asks AWS for nothing does not wait for it.
    import boto3
    from botocore.config import Config

    # Each attempt is short and there are few, so that a function answers, or says it cannot, well within its own time.
    config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    if service == "sqs":
        # What a queue does not take at once comes again: by the stream, by the sweep, or with the crawler's next call,
        # whose answer may not wait for it.
        config = config.merge(Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}))
    if service == "s3":
        # Browsers follow presigned addresses without redirects, so these must name the bucket's own region.
        config = config.merge(Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
    return boto3.client(service, config=config)  # type: ignore[call-overload]


def requests_table() -> str:
    """Name of the table of opt-out requests."""
    return os.environ["REQUESTS_TABLE"]


def exclusions_table() -> str:
    """Name of the table of the exclusion list's log."""
    return os.environ["EXCLUSIONS_TABLE"]


def snapshots_bucket() -> str:
    """Name of the bucket of the exclusion list's snapshots."""
    return os.environ["SNAPSHOTS_BUCKET"]


def photos_bucket() -> str:
    """Name of the bucket of uploads and kept copies."""
    return os.environ["PHOTOS_BUCKET"]


def mail_queue_url() -> str:
    """Address of the queue of letters to send."""
    return os.environ["MAIL_QUEUE_URL"]


def receipts_queue_arn() -> str:
    """The queue of what SES reports about letters, by its ARN: so a function knows which queue a message is from."""
    return os.environ["RECEIPTS_QUEUE_ARN"]


def reviews_url() -> str:
    """Address of the queue of doubtful hits that a person must look at."""
    return os.environ["REVIEWS_URL"]


def exclude_check_alias() -> str:
    """ARN of the live version of the function that holds the exclusion list in memory."""
    return os.environ["EXCLUDE_CHECK_ALIAS"]


def reviews_arn() -> str:
    """The same queue by its ARN, as its consumer knows it."""
    return os.environ["REVIEWS_ARN"]


def engine_picture_hosts() -> tuple[str, ...]:
    """Where the reviewers' console may load candidates from: sources of a Content-Security-Policy."""
    return tuple(os.environ["ENGINE_PICTURE_HOSTS"].split())


def letters_configuration_set() -> str:
    """Name of the SES configuration set that letters are sent with."""
    return os.environ["LETTERS_CONFIGURATION_SET"]


def sender() -> str:
    """The From address of every letter."""
    return os.environ["SENDER"]


def support_address() -> str:
    """Whom people write to for help; the Reply-To of every letter."""
    return os.environ["SUPPORT_ADDRESS"]


def site_url() -> str:
    """The public site's address without a slash at the end, as in https://optout.example.org."""
    return os.environ["SITE_URL"].rstrip("/")


def engine_name() -> str:
    """What the search engine calls itself on pages and in letters."""
    return os.environ["ENGINE_NAME"]


def exit_url() -> str:
    """Where the button leads that leaves the pages about intimate pictures at once: something harmless to be seen."""
    return os.environ["EXIT_URL"]


def false_exclusions_per_million() -> float:
    """How many of a million crawled faces the whole list may exclude by mistake; sets the face threshold."""
    return float(os.environ["FALSE_EXCLUSIONS_PER_MILLION"])


def provisional() -> bool:
    """Whether what a verified requester asks for is held back until it is decided."""
    return os.environ["PROVISIONAL"] == "on"


def limits_percent() -> float:
    """How many percent of the limits in `optout.limits` hold."""
    return float(os.environ["LIMITS_PERCENT"])


def maintenance() -> datetime | None:
    """Until when the forms are closed; None when they are open."""
    until = os.environ["MAINTENANCE"]
    return datetime.fromisoformat(until).astimezone(UTC) if until else None


def reviews_per_day() -> float:
    """How many faces of strangers a day may go to a person; with `crawled_faces_per_day` it sets the review band."""
    return float(os.environ["REVIEWS_PER_DAY"])


def crawled_faces_per_day() -> float:
    """About how many faces crawlers look up a day."""
    return float(os.environ["CRAWLED_FACES_PER_DAY"])


def hit_share_alarm() -> float:
    """The share of lookups, of 1, above which one exclusion is reported for hitting too many pictures."""
    return float(os.environ["HIT_SHARE_ALARM_PERCENT"]) / 100


def console_client_id() -> str:
    """The reviewer console's client in the user pool."""
    return os.environ["CONSOLE_CLIENT_ID"]


def console_login_url() -> str:
    """Base address of the user pool's sign-in pages."""
    return os.environ["CONSOLE_LOGIN_URL"].rstrip("/")


def link_secret() -> str:
    """The key that signs mailed links and hashes addresses."""
    return link_secrets()[0]


def link_secrets() -> tuple[str, ...]:
    """The keys whose links are good: the one that signs, then the one before it if it has been replaced."""
    # By the clock on the wall: the monotonic one may stand still while an instance is frozen.
    return _link_secrets(int(time.time() // LINK_SECRET_KEPT_S))


@lru_cache(maxsize=1)
def _link_secrets(_period: int) -> tuple[str, ...]:
    secrets, name = aws("secretsmanager"), os.environ["LINK_SECRET"]
    found = [str(secrets.get_secret_value(SecretId=name)["SecretString"])]
    with suppress(secrets.exceptions.ResourceNotFoundException):  # it has never been replaced
        found.append(str(secrets.get_secret_value(SecretId=name, VersionStage="AWSPREVIOUS")["SecretString"]))
    return tuple(found)
