"""The configuration: what is read late, and how a replaced secret arrives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from optout import settings
from tests.storage import storage


@pytest.fixture(autouse=True)
def deployment() -> Iterator[None]:
    with storage():
        yield


def replace_secret(value: str) -> None:
    settings.aws("secretsmanager").put_secret_value(SecretId=os.environ["LINK_SECRET"], SecretString=value)


def test_a_replaced_link_secret_signs_within_five_minutes_and_the_one_before_stays_good() -> None:
    assert settings.LINK_SECRET_KEPT_S == 300
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with time_machine.travel(start, tick=False) as clock:
        assert settings.link_secrets() == ("unit-link-secret",)
        replace_secret("second")
        assert settings.link_secret() == "unit-link-secret", "a warm instance does not ask each time"
        clock.move_to(start + timedelta(seconds=settings.LINK_SECRET_KEPT_S))
        assert settings.link_secrets() == ("second", "unit-link-secret")
        replace_secret("third")
        clock.move_to(start + timedelta(seconds=2 * settings.LINK_SECRET_KEPT_S))
        assert settings.link_secrets() == ("third", "second"), "replacing it twice ends the first"


def test_a_setting_that_is_missing_is_named() -> None:
    del os.environ["SITE_URL"]
    with pytest.raises(KeyError, match="SITE_URL"):
        settings.site_url()
