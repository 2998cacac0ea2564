"""What every kind of test shares: no credentials of the machine's owner, and one embedded AWS for those that ask."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from local.embedded_aws import EmbeddedAws
from local.running import Running

# Before any test imports boto3: whatever it does by mistake, it does with keys that open nothing.
for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """The real template on an embedded AWS of this session's own, started by the first test that asks.

    Its state is shared: a test makes its own requests, addresses and pictures, and counts on no empty table.
    """
    with EmbeddedAws(tmp_path_factory.mktemp("embedded-aws")) as aws:
        yield aws
        # What the requesters of all tests typed, see `local.actors`: whatever went wrong, it went wrong unnamed.
        logged = "\n".join(aws.running.log_lines())
        assert not [typed for typed in ("Lovelace", "people.example", "never agreed") if typed in logged]


@pytest.fixture
def running(embedded_aws: EmbeddedAws) -> Running:
    """What runs now; after `embedded_aws.restart()` ask `embedded_aws.running` again."""
    return embedded_aws.running
