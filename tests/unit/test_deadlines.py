"""Due dates and retention periods against the law they come from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import template
from optout import deadlines
from optout.requests import Kind

RECEIVED = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def test_a_face_is_decided_within_72_hours_everywhere() -> None:
    for country in ("DE", "GB", "US", "BR", "JP"):
        assert deadlines.due(Kind.FACE, country, RECEIVED) == deadlines.Due(
            RECEIVED + timedelta(hours=72), "house_face"
        )


@pytest.mark.parametrize(
    ("country", "rule"), [("DE", "eu_gdpr"), ("GB", "uk_gdpr"), ("US", "us_ccpa"), ("BR", "br_lgpd")]
)
def test_the_law_of_the_country_is_in_the_table(country: str, rule: str) -> None:
    rows = deadlines._table()["regimes"]
    assert [row["name"] for row in rows if country in row["countries"]] == [rule]


def test_a_month_after_the_31st_ends_on_the_last_day() -> None:
    """ICO: the corresponding calendar date, or the last day of the following month."""
    assert deadlines._add_months(RECEIVED, 1) == datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    assert deadlines._add_months(datetime(2026, 12, 15, tzinfo=UTC), 1) == datetime(2027, 1, 15, tzinfo=UTC)


def test_all_countries_of_the_eea_fall_under_the_gdpr() -> None:
    assert len(deadlines._table()["regimes"][0]["countries"]) == 27 + 3


def test_no_country_stands_in_two_regimes() -> None:
    named = [country for row in deadlines._table()["regimes"] for country in row["countries"]]
    assert len(named) == len(set(named))


@given(
    st.sampled_from(list(Kind)),
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2),
    st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_every_request_has_a_due_date_no_later_than_the_law(kind: Kind, country: str, received: datetime) -> None:
    due = deadlines.due(kind, country, received)
    assert received < due.at <= received + timedelta(days=45)


@pytest.mark.parametrize(("variable", "least"), [("APPEAL_WINDOW_DAYS", 184), ("CASE_KEPT_YEARS", 3)])
def test_an_operator_may_keep_longer_but_not_shorter_than_the_least(
    variable: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    assert deadlines._at_least(variable, least) == least
    monkeypatch.setenv(variable, str(least + 1))
    assert deadlines._at_least(variable, least) == least + 1
    monkeypatch.setenv(variable, str(least - 1))
    with pytest.raises(ValueError, match=f"{variable} must be at least {least}, not {least - 1}"):
        deadlines._at_least(variable, least)
    parameter = template.load()["Parameters"][variable.title().replace("_", "")]
    assert parameter["Default"] == parameter["MinValue"] == least


def test_photos_outlive_the_six_months_of_appeal() -> None:
    """DSA Art 20(1): at least six months from being informed."""
    assert timedelta(days=184) <= deadlines.APPEAL_WINDOW < deadlines.CASE_KEPT
    assert deadlines.DRAFT_LIFETIME < deadlines.DRAFT_BACKSTOP
