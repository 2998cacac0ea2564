"""A small part of bench/fuzz.py, always the same: what comes from strangers is used or refused, and nothing breaks.

docs/pictures.md has the result of the whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import fuzz
from optout.examination import look_at
from optout.openapi import OPERATIONS, Access
from optout.requests import Kind
from tests.storage import storage

PICTURES = 300
BODIES = 40


@pytest.fixture(scope="module")
def public_site() -> Iterator[fuzz.PublicSite]:
    with storage():
        yield fuzz.PublicSite()


@pytest.mark.parametrize("place", range(len(fuzz.seeds())))
def test_every_picture_that_is_mutated_is_one_that_is_accepted(place: int) -> None:
    form, data = fuzz.seeds()[place]
    assert look_at(data, "ticket", Kind.IMAGE)[0].width > 0
    assert b"".join(fuzz.pieces(data, form)) == data
    assert len(fuzz.pieces(data, form)) > 1


def test_mutated_pictures_are_looked_at_or_refused() -> None:
    outcomes: Counter[str] = Counter()
    for number in range(PICTURES):
        outcomes[fuzz.look(2, number)] += 1
    # Mutations that no decoder accepts, or that every decoder does, would find nothing.
    assert outcomes["looked at"] > PICTURES / 10
    assert outcomes["damaged"] > PICTURES / 10


def test_every_public_post_gets_mutated_bodies() -> None:
    public = {each.path for each in OPERATIONS if each.method == "POST" and each.access is Access.ANYBODY}
    assert fuzz.PUBLIC_POSTS.keys() == public


@pytest.mark.parametrize("operation", fuzz.PUBLIC_POSTS)
def test_mutated_bodies_are_answered_below_500(operation: str, public_site: fuzz.PublicSite) -> None:
    answers = Counter(public_site.answer(operation, 2, number) for number in range(BODIES))
    assert answers.total() == BODIES


def test_some_mutated_forms_are_taken_and_some_are_not(public_site: fuzz.PublicSite) -> None:
    answers = Counter(public_site.answer("/opt-out", 3, number) for number in range(BODIES))
    assert answers["303"] > 0
    assert answers["400"] > 0


def test_an_input_is_the_same_whenever_it_is_asked_for() -> None:
    assert fuzz.mutated_picture(2, 7) == fuzz.mutated_picture(2, 7) != fuzz.mutated_picture(2, 8)
    assert fuzz.mutated_body(2, 7, fuzz.FORM) == fuzz.mutated_body(2, 7, fuzz.FORM)


def test_what_must_not_happen_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    progress.write_bytes(b"-")

    def broken(_data: bytes, _ticket: str, *, faces: bool) -> None:
        raise ZeroDivisionError(faces)

    monkeypatch.setattr(fuzz, "look_at", broken)
    found = fuzz.run_block("pictures", 2, 0, 3, progress)
    assert found.inputs == len(found.wrong) == 3
    assert progress.read_text() == "000000000002"


def test_a_body_that_breaks_the_site_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, public_site: fuzz.PublicSite
) -> None:
    from optout.web import forms

    def broken(*_given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(forms, "typed", broken)
    with pytest.raises(AssertionError, match="500"):
        Counter(public_site.answer("/opt-out", 3, number) for number in range(BODIES))
