"""What an acceptance puts on the list, and which reasons a decision may have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from optout.decisions import MAX_TEXT, REASONS, AcceptReason, RejectReason, exclusion_id, exclusions_for, require_reason
from optout.errors import NothingToExclude, RequestInvalid
from optout.exclusions.entry import FaceExclusion, ImageExclusion, LinkExclusion, Scope
from optout.requests import Kind, Step
from tests.unit.test_requests import FACE, draft, photo


def test_an_image_case_excludes_each_photo() -> None:
    photos = [replace(photo(), ticket=ticket, sha256="ab" * 32) for ticket in ("t1", "t2")]
    found = exclusions_for(draft(), photos)
    assert [type(entry) for entry in found] == [ImageExclusion, ImageExclusion]
    assert len({entry.exclusion_id for entry in found}) == 2


def test_a_picture_with_too_little_structure_is_excluded_by_its_bytes() -> None:
    (entry,) = exclusions_for(draft(), [replace(photo(), sha256="ab" * 32, dihedral=())])
    assert isinstance(entry, ImageExclusion)
    assert entry.dihedral == ()
    assert entry.sha256 == "ab" * 32


def test_a_face_case_excludes_one_person_by_the_chosen_face_of_each_photo() -> None:
    other = replace(FACE, embedding=bytes([1] * 512))
    photos = [photo(FACE, other, chosen=1), photo(FACE, chosen=0), photo()]
    (entry,) = exclusions_for(draft(Kind.FACE), photos)
    assert isinstance(entry, FaceExclusion)
    assert entry.embeddings == (other.embedding, FACE.embedding)


def test_a_notice_excludes_each_address_once() -> None:
    links = ("https://a.example/x", "HTTPS://A.example/x#part", "https://a.example/y")
    found = exclusions_for(draft(Kind.LINKS, links=links), [])
    assert [type(entry) for entry in found] == [LinkExclusion, LinkExclusion]


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_is_accepted_that_lookups_would_not_honour(kind: Kind) -> None:
    with pytest.raises(NothingToExclude):
        exclusions_for(draft(kind), [photo(off=True)] if kind is Kind.FACE else [])


def test_ids_say_nothing_of_the_case_and_are_the_same_each_time() -> None:
    assert exclusion_id("case", Scope.IMAGE, "t1") == exclusion_id("case", Scope.IMAGE, "t1")
    assert "case" not in exclusion_id("case", Scope.IMAGE, "t1")


def test_a_rejection_must_be_put_in_words_and_an_acceptance_need_not() -> None:
    require_reason(Step.ACCEPT, AcceptReason.GOODWILL, "")
    with pytest.raises(RequestInvalid) as refused:
        require_reason(Step.REJECT, RejectReason.OTHER, "  ")
    assert refused.value.problems == {"text": "required"}


@pytest.mark.parametrize("step", list(REASONS))
def test_only_listed_reasons_are_taken(step: Step) -> None:
    with pytest.raises(RequestInvalid) as refused:
        require_reason(step, "because", "x" * (MAX_TEXT + 1))
    assert refused.value.problems == {"reason": "choose_one", "text": "too_long"}
