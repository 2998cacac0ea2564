"""Every code that can reach a person has a sentence, and no sentence has our jargon."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from importlib.resources import files

import pytest

from optout import deadlines
from optout.decisions import REASONS
from optout.fingerprint.faces import FaceProblem
from optout.fingerprint.image import MAX_BYTES, MAX_PIXELS, PHOTO_PROBLEMS
from optout.languages import speaking
from optout.requests import MAX_EXPLANATION, MAX_LINKS, MAX_NAME, MAX_PHOTOS, Kind, Status, Step
from optout.web import console, forms, wording
from optout.web.countries import countries

EVERYTHING = [
    sentence
    for words in (
        wording.KINDS,
        wording.COVERS,
        wording.STATUSES,
        wording.STATUS_SENTENCES,
        wording.TIMELINE,
        wording.ACCEPT_REASONS,
        wording.REJECT_REASONS,
        wording.REVOKE_REASONS,
        wording.UPHOLD_REASONS,
        wording.EXTEND_REASONS,
        wording.DUE_RULES,
        wording.PHOTO_PROBLEMS,
        wording.MISSING,
        *wording.FORM_PROBLEMS.values(),
        wording.FACE_PROBLEMS,
        wording.FACE_ADVICE,
    )
    for sentence in words.values()
]


@pytest.mark.parametrize(
    ("step", "code"), [(step, code) for step, reasons in REASONS.items() for code in reasons], ids=str
)
def test_every_reason_has_a_sentence(step: Step, code: StrEnum) -> None:
    assert wording.reason(step, code.value).endswith(".")


def test_every_kind_status_and_step_has_words() -> None:
    assert set(wording.KINDS) == set(wording.COVERS) == set(Kind)
    assert set(wording.STATUSES) == set(wording.STATUS_SENTENCES) == set(Status)
    assert set(wording.TIMELINE) >= set(Step)
    assert set(wording.TIMELINE) <= set(console.EVENTS)
    assert wording.label(Kind.FACE) == "My face"
    assert wording.label(Status.PENDING) == "Waiting for our decision"


def test_every_problem_of_a_face_has_a_sentence_and_an_advice() -> None:
    assert set(wording.FACE_PROBLEMS) == set(wording.FACE_ADVICE) == set(FaceProblem)


def test_photos_that_disagree_are_named() -> None:
    assert wording.photos_disagree([]) == ""
    assert wording.photos_disagree([(1, 2)]) == "Photos 1 and 2 do not seem to show the same person."
    assert wording.photos_disagree([(1, 3), (2, 3)]) == (
        "Photos 1 and 3 do not seem to show the same person. Photos 2 and 3 do not seem to show the same person."
    )


def test_every_due_rule_of_the_table_has_a_sentence() -> None:
    table = tomllib.loads(files("optout").joinpath("deadlines.toml").read_text())
    rules = [table["default"], table["appeal"], *table["regimes"], *table["promises"].values()]
    assert {rule["name"] for rule in rules} | {deadlines.EXTENDED} == set(wording.DUE_RULES)
    assert f"{table['appeal']['days']} days" in wording.DUE_RULES["house_appeal"]


def test_every_photo_problem_has_a_sentence_and_says_the_real_limits() -> None:
    assert set(PHOTO_PROBLEMS) <= set(wording.PHOTO_PROBLEMS)
    assert f"{MAX_BYTES // 1_000_000} MB" in wording.PHOTO_PROBLEMS["too_large"]
    assert f"{MAX_PIXELS // 1_000_000} million" in wording.PHOTO_PROBLEMS["too_many_pixels"]
    assert "five" in wording.PHOTO_PROBLEMS["too_many_photos"]
    assert MAX_PHOTOS == 5


def test_form_problems_say_the_real_limits() -> None:
    assert wording.form_problem("explanation", "too_long") == "Shorten your explanation to 5,000 characters"
    assert f"{MAX_EXPLANATION:,}" == "5,000"
    assert str(MAX_NAME) in wording.form_problem("first_name", "too_long")
    assert str(MAX_LINKS) in wording.form_problem("links", "too_many")
    for field in ("appeal", "information"):
        assert f"{MAX_EXPLANATION:,}" in wording.form_problem(field, "too_long")
    assert set(wording.FORM_PROBLEMS) <= {*forms.FIELDS, "appeal", "information"}


@pytest.mark.parametrize("sentence", EVERYTHING)
def test_no_sentence_has_jargon(sentence: str) -> None:
    assert not re.search(r"\b(hash|fingerprint|embedding|vector|draft|requester|token|pdq|sha-?256)", sentence, re.I)


EVENING_IN_NEW_YORK = datetime(2026, 11, 24, 21, 5, tzinfo=timezone(timedelta(hours=-5)))


def test_days_and_times_are_said_in_utc_where_no_country_is_given() -> None:
    assert wording.date(EVENING_IN_NEW_YORK) == "25 November 2026"
    assert wording.time(EVENING_IN_NEW_YORK) == "25 November 2026, 02:05 UTC"
    assert wording.date(datetime(2027, 1, 3, tzinfo=UTC)) == "3 January 2027"


@pytest.mark.parametrize(
    ("language", "country", "day", "moment"),
    [
        ("en", "DE", "25 November 2026", "25 November 2026, 03:05 (Central European Standard Time)"),
        ("en", "US", "25 November 2026 (UTC)", "25 November 2026, 02:05 UTC"),
        ("en", "CO", "24 November 2026", "24 November 2026, 21:05 (Colombia Standard Time)"),
        ("de", "AT", "25. November 2026", "25. November 2026, 03:05 (Mitteleuropäische Normalzeit)"),
        ("pl", "PL", "25 listopada 2026", "25 listopada 2026, 03:05 (czas środkowoeuropejski standardowy)"),
        ("fr", "FR", "25 novembre 2026", "25 novembre 2026, 03:05 (heure normale d\u2019Europe centrale)"),
        ("es", "ES", "25 de noviembre de 2026 (UTC)", "25 de noviembre de 2026, 2:05 UTC"),
        ("ar", "EG", "25 نوفمبر 2026", "25 نوفمبر 2026، 4:05 ص (توقيت شرق أوروبا الرسمي)"),
    ],
)
def test_days_and_times_are_those_of_a_country_with_one_time_and_else_utc_is_named(
    language: str, country: str, day: str, moment: str
) -> None:
    with speaking(language):
        assert wording.date(EVENING_IN_NEW_YORK, country) == day
        assert wording.time(EVENING_IN_NEW_YORK, country) == moment


def test_summer_time_is_told_apart() -> None:
    assert wording.time(datetime(2026, 7, 1, 12, 0, tzinfo=UTC), "DE") == (
        "1 July 2026, 14:00 (Central European Summer Time)"
    )


def test_there_is_a_time_for_every_country() -> None:
    for country in countries():
        assert wording.time(EVENING_IN_NEW_YORK, country)


def test_numbers_and_lists_are_written_as_the_language_does() -> None:
    assert wording.number(5_000) == "5,000"
    assert [wording.listed(lines) for lines in ([3], [3, 7], [3, 7, 9])] == ["3", "3 and 7", "3, 7 and 9"]
    with speaking("de"):
        assert wording.number(5_000) == "5.000"
        assert wording.listed([3, 7, 9]) == "3, 7 und 9"


def test_lines_are_counted_as_people_say_it() -> None:
    assert wording.form_problem("links", "not_links:3").startswith("Check line 3: it should")
    assert wording.form_problem("links", "not_links:3,7").startswith("Check lines 3 and 7: each should")
    assert wording.repeated([]) == ""
    assert wording.repeated([3]).startswith("Line 3 of your list repeats a link")
    assert wording.repeated([3, 7]).startswith("Lines 3 and 7 of your list repeat links")
