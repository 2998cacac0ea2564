"""The functions of the public site over moto, and a store to look behind them.

One storage serves all tests of a module, because making it takes longer than most of them: a test makes its own drafts
and cases, and counts on no empty table.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from optout.store import Photos, Requests
from tests.storage import storage
from tests.unit.functions.api import Api, load


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    """Tables, bucket and secret in moto."""
    with storage():
        yield


@pytest.fixture(scope="module")
def requests(aws: None) -> Requests:
    return Requests.from_settings()


@pytest.fixture(scope="module")
def photos(aws: None) -> Photos:
    return Photos.from_settings()


@pytest.fixture(scope="module")
def submit(aws: None) -> Api:
    return Api(load("submit"))


@pytest.fixture(scope="module")
def examine(aws: None) -> Api:
    return Api(load("examine"))


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)
