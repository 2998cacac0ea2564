"""Signed links: purpose, expiry, revocation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from optout import deadlines, links
from optout.errors import LinkExpired, LinkInvalid, VerificationExpired
from tests.unit.test_requests import draft

SECRET = "a secret"


def test_a_link_leads_back_to_its_case() -> None:
    assert links.read_status_token(links.status_token(draft(), SECRET), SECRET) == ("id", 1)


def test_a_link_ends_when_the_case_is_deleted() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with time_machine.travel(start, tick=False):
        token = links.status_token(draft(), SECRET)
    with time_machine.travel(start + deadlines.CASE_KEPT - timedelta(minutes=1), tick=False):
        links.read_status_token(token, SECRET)
    with (
        time_machine.travel(start + deadlines.CASE_KEPT + timedelta(minutes=1), tick=False),
        pytest.raises(LinkExpired),
    ):
        links.read_status_token(token, SECRET)


def test_a_link_of_another_secret_is_refused() -> None:
    with pytest.raises(LinkInvalid):
        links.read_status_token(links.status_token(draft(), "another"), SECRET)


def test_revoked_links_are_refused() -> None:
    links.require_current(draft(), 1)
    with pytest.raises(LinkInvalid):
        links.require_current(replace(draft(), link_version=2), 1)


def test_a_link_is_good_for_its_own_purpose_and_time_only() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with time_machine.travel(start, tick=False):
        token = links.verification_token(draft(), SECRET)
        assert links.read_verification_token(token, SECRET) == ("id", 1)
        with pytest.raises(LinkInvalid):
            links.read_status_token(token, SECRET)
        with pytest.raises(LinkInvalid):
            links.read_verification_token(links.status_token(draft(), SECRET), SECRET)
    with (
        time_machine.travel(start + deadlines.VERIFICATION_LINK + timedelta(minutes=1), tick=False),
        pytest.raises(VerificationExpired),
    ):
        links.read_verification_token(token, SECRET)


@given(st.text(max_size=300))
def test_no_forged_token_is_accepted_or_crashes(token: str) -> None:
    with pytest.raises(LinkInvalid):
        links.read_status_token(token, SECRET)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_character_breaks_the_signature(place: int, change: int) -> None:
    token = links.status_token(draft(), SECRET)
    place %= len(token) - 1  # the last character of base64 may carry unused bits
    altered = token[:place] + chr((ord(token[place]) + change) % 256) + token[place + 1 :]
    with pytest.raises(LinkInvalid):
        links.read_status_token(altered, SECRET)


def test_addresses_are_compared_without_case_and_need_the_key() -> None:
    assert links.email_hash(" Ada@Example.org", SECRET) == links.email_hash("ada@example.org", SECRET)
    assert links.email_hash("ada@example.org", SECRET) != links.email_hash("ada@example.org", "another")


def test_links_outlive_one_change_of_the_secret_and_are_signed_with_the_newest() -> None:
    old, new = links.status_token(draft(), "old"), links.status_token(draft(), "new")
    for token in (old, new):
        assert links.read_status_token(token, "new", "old") == ("id", 1)
    assert links.read_status_token(new, "new")
    with pytest.raises(LinkInvalid):
        links.read_status_token(old, "newest", "new")
