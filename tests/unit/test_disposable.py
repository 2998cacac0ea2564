"""Which addresses are of a service that gives them away for a while."""

from __future__ import annotations

import pytest

from optout.disposable import is_disposable


@pytest.mark.parametrize(
    "email", ["a@mailinator.com", "a@MAILINATOR.com", "a@box.mailinator.com", "a@10minutemail.com."]
)
def test_addresses_of_such_a_service_and_of_its_hosts_are_known(email: str) -> None:
    assert is_disposable(email)


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.org",
        "ada@gmail.com",
        "ada@mymailinator.example",
        "mailinator.com@example.org",
        "ada@müller.de",
        "com",
        "",
    ],
)
def test_other_addresses_are_not_taken_for_one(email: str) -> None:
    assert not is_disposable(email)
