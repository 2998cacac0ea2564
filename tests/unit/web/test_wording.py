"""Every code that can reach a person has a sentence, and no sentence has our jargon."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from importlib.resources import files

import pytest

from optout.decisions import REASONS
from optout.fingerprint.faces import FaceProblem
from optout.fingerprint.image import MAX_BYTES, MAX_PIXELS, PHOTO_PROBLEMS
from optout.requests import MAX_LINKS, MAX_PHOTOS, Kind, Status, Step
from optout.web import console, forms, wording

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
        wording.DUE_RULES,
        wording.PHOTO_PROBLEMS,
        wording.MISSING,
        *wording.FORM_PROBLEMS.values(),
        {code: " ".join(sentences) for code, sentences in wording.FACE_PROBLEMS.items()},
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
    assert set(wording.FACE_PROBLEMS) == set(FaceProblem)
    assert all(len(sentences) == 2 for sentences in wording.FACE_PROBLEMS.values())


def test_photos_that_disagree_are_named() -> None:
    assert wording.photos_disagree([]) == ""
    assert wording.photos_disagree([(1, 2)]) == "Photos 1 and 2 do not seem to show the same person."
    assert wording.photos_disagree([(1, 3), (2, 3)]) == ("Photos 1 and 3; 2 and 3 do not seem to show the same person.")


def test_every_due_rule_of_the_table_has_a_sentence() -> None:
    table = tomllib.loads(files("optout").joinpath("deadlines.toml").read_text())
    rules = [table["default"], *table["regimes"], *table["promises"].values()]
    assert {rule["name"] for rule in rules} == set(wording.DUE_RULES)


def test_every_photo_problem_has_a_sentence_and_says_the_real_limits() -> None:
    assert set(PHOTO_PROBLEMS) <= set(wording.PHOTO_PROBLEMS)
    assert f"{MAX_BYTES // 1_000_000} MB" in wording.PHOTO_PROBLEMS["too_large"]
    assert f"{MAX_PIXELS // 1_000_000} million" in wording.PHOTO_PROBLEMS["too_many_pixels"]
    assert "five" in wording.PHOTO_PROBLEMS["too_many_photos"]
    assert MAX_PHOTOS == 5


def test_form_problems_say_the_real_limits() -> None:
    assert f"{forms.MAX_EXPLANATION:,}" in wording.FORM_PROBLEMS["explanation"]["too_long"]
    assert str(forms.MAX_NAME) in wording.FORM_PROBLEMS["first_name"]["too_long"]
    assert str(MAX_LINKS) in wording.FORM_PROBLEMS["links"]["too_many"]
    assert set(wording.FORM_PROBLEMS) <= set(forms.FIELDS)


@pytest.mark.parametrize("sentence", EVERYTHING)
def test_no_sentence_has_jargon(sentence: str) -> None:
    assert not re.search(r"\b(hash|fingerprint|embedding|vector|draft|requester|token|pdq|sha-?256)", sentence, re.I)


def test_days_and_times_are_said_in_utc() -> None:
    evening_in_new_york = datetime(2026, 11, 24, 21, 5, tzinfo=timezone(timedelta(hours=-5)))
    assert wording.date(evening_in_new_york) == "25 November 2026"
    assert wording.time(evening_in_new_york) == "25 November 2026, 02:05 UTC"
    assert wording.date(datetime(2027, 1, 3, tzinfo=UTC)) == "3 January 2027"


def test_lines_are_counted_as_people_say_it() -> None:
    assert wording.lines([3]) == "line 3"
    assert wording.lines([3, 7]) == "lines 3 and 7"
    assert wording.lines([3, 7, 9]) == "lines 3, 7 and 9"
    assert wording.form_problem("links", "not_links:3,7").startswith("Check lines 3 and 7:")
