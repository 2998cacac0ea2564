"""The functions of the public site over moto, and a store to look behind them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from optout.store import Photos, Requests
from tests.storage import storage
from tests.unit.functions.api import Api, load


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tables, bucket and secret in moto."""
    with storage():
        monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ImageOptout")
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "unit")
        yield


@pytest.fixture
def requests(aws: None) -> Requests:
    return Requests.from_settings()


@pytest.fixture
def photos(aws: None) -> Photos:
    return Photos.from_settings()


@pytest.fixture
def submit(aws: None) -> Api:
    return Api(load("submit"))


@pytest.fixture
def examine(aws: None) -> Api:
    return Api(load("examine"))


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)
