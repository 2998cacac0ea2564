"""Unit tests reach no network: pytest-socket closes it also when pytest is called without the Makefile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def closed_sockets() -> Iterator[None]:
    """Only the socket pairs that event loops are made of stay open; other kinds of test find theirs open again."""
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
