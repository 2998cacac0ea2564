"""Tables and bucket of `infra/template.yaml` in moto, so that unit tests meet the indexes that will be deployed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import botocore.loaders
import botocore.session
from moto import mock_aws

from local import template
from optout import settings

# Every session reads the descriptions of AWS's services anew, which took half of the time of a test with tables.
botocore.session.create_loader = cache(botocore.loaders.create_loader)

REGION = "eu-central-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "unit",
    "AWS_SECRET_ACCESS_KEY": "unit",
    "AWS_DEFAULT_REGION": REGION,
    # boto3 would address tables by account, which moto's streams do not serve.
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
    "REQUESTS_TABLE": "Requests",
    "EXCLUSIONS_TABLE": "Exclusions",
    "PHOTOS_BUCKET": "photos",
    "SNAPSHOTS_BUCKET": "snapshots",
    "SITE_URL": "https://optout.example.org",
    "ENGINE_NAME": "Lens Search",
    "SENDER": "optout@example.org",
    "SUPPORT_ADDRESS": "help@example.org",
    "LETTERS_CONFIGURATION_SET": "Letters",
    "FALSE_EXCLUSIONS_PER_MILLION": "1000",
    "PROVISIONAL": "on",
    "EXIT_URL": "https://weather.example/",
    # Every test is at the same address, and fuzzing asks without end.
    "LIMITS_PERCENT": "1000000",
    "MAINTENANCE": "",
    "REVIEWS_PER_DAY": "100",
    "CRAWLED_FACES_PER_DAY": "1000000",
    "HIT_SHARE_ALARM_PERCENT": "1",
    "RECEIPTS_QUEUE_ARN": "arn:aws:sqs:eu-central-1:123456789012:Receipts",
    "REVIEWS_ARN": "arn:aws:sqs:eu-central-1:123456789012:Reviews",
    "ENGINE_PICTURE_HOSTS": "https://*.lens.example http://localhost:*",
    "POWERTOOLS_METRICS_NAMESPACE": "ImageOptout",
    "POWERTOOLS_SERVICE_NAME": "unit",
    "EXCLUDE_CHECK_ALIAS": "arn:aws:lambda:eu-central-1:123456789012:function:exclude_check:live",
    "CONSOLE_CLIENT_ID": "console",
    "CONSOLE_LOGIN_URL": "https://login.example.org",
}

_TABLE_PROPERTIES = (
    "AttributeDefinitions",
    "KeySchema",
    "BillingMode",
    "GlobalSecondaryIndexes",
)


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return template.resources("AWS::DynamoDB::Table")


def create_tables(client: Any) -> None:
    """Both tables as the template has them."""
    for name, properties in _tables().items():
        client.create_table(TableName=name, **{key: properties[key] for key in _TABLE_PROPERTIES if key in properties})


@contextmanager
def storage() -> Iterator[None]:
    """moto with the tables, the versioned buckets, the queues and the link secret; settings point there.

    The clients of `settings.aws` stay from one storage to the next, because making them took half of the time. Tests
    look behind the code with the same ones.
    """
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    settings._link_secrets.cache_clear()
    try:
        with mock_aws():
            create_tables(settings.aws("dynamodb"))
            s3 = settings.aws("s3")
            for bucket in ("photos", "snapshots"):
                s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
                s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            os.environ["MAIL_QUEUE_URL"] = settings.aws("sqs").create_queue(QueueName="Mail")["QueueUrl"]
            os.environ["REVIEWS_URL"] = settings.aws("sqs").create_queue(QueueName="Reviews")["QueueUrl"]
            secret = settings.aws("secretsmanager").create_secret(Name="LinkSecret", SecretString="unit-link-secret")
            os.environ["LINK_SECRET"] = secret["ARN"]
            settings.aws("sesv2").create_email_identity(EmailIdentity=ENVIRONMENT["SENDER"])
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings._link_secrets.cache_clear()
