"""Integration tests speak HTTP and AWS to the real template on the embedded AWS (fixtures in tests/conftest.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import httpx
import pytest

from local.running import Running

# A letter lands after 0.6 s on an idle machine; two cores that are full of tests take longer.
ARRIVES_WITHIN_S = 30.0


@pytest.fixture
def site(running: Running) -> Any:
    """An HTTP client of the public site."""
    with running.http() as client:
        yield client


@pytest.fixture
def reviewer(running: Running) -> Callable[[str], httpx.Client]:
    """`reviewer("anna")`: an HTTP client that is signed in."""
    return lambda name: running.http(headers={"Authorization": running.id_token(name)})


@pytest.fixture
def letter_to(running: Running) -> Callable[[str, int], list[EmailMessage]]:
    """`letter_to(address, count)`: waits until that many letters have come and returns all to this address."""

    def wait(address: str, count: int = 1) -> list[EmailMessage]:
        deadline = time.monotonic() + ARRIVES_WITHIN_S
        while True:
            letters = running.letters(address)
            if len(letters) >= count:
                return letters
            if time.monotonic() > deadline:
                pytest.fail(f"{len(letters)} of {count} letters came within {ARRIVES_WITHIN_S:.0f} s")
            time.sleep(0.05)

    return wait
