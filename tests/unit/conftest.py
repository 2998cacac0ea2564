"""Unit tests reach no network: pytest-socket closes it also when pytest is called without the Makefile."""

from __future__ import annotations

import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def closed_sockets() -> None:
    """Only the socket pairs that event loops are made of stay open."""
    pytest_socket.disable_socket(allow_unix_socket=True)
