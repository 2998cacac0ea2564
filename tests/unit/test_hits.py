"""The share of lookups that one exclusion excludes: counted right, and reported only where it means something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from optout.hits import MIN_CANDIDATES, MIN_HITS, HitWindow, Share, candidate, hits
from optout.lookups import Answer


def filled(hit: int, others: int) -> HitWindow:
    """A window in which one exclusion excluded the first `hit` of all candidates."""
    window = HitWindow()
    for number in range(hit + others):
        window.add(str(number).encode(), ["x"] if number < hit else [])
    return window


def test_a_share_is_the_part_of_the_different_candidates() -> None:
    (found,) = filled(30, 1_470).shares()
    assert found == Share("x", 30, 1_500)
    assert found.share == 0.02
    assert filled(30, 1_470).shares(above=0.019) == [found]
    assert filled(30, 1_470).shares(above=0.02) == []


def test_nothing_is_said_of_few_candidates_or_few_hits() -> None:
    assert filled(MIN_CANDIDATES - 1, 0).shares() == []
    assert not filled(MIN_CANDIDATES - 1, 0).ready
    assert filled(MIN_HITS - 1, MIN_CANDIDATES).shares() == []
    assert [found.hits for found in filled(MIN_HITS, MIN_CANDIDATES - MIN_HITS).shares()] == [MIN_HITS]


def test_a_popular_picture_counts_once() -> None:
    window = filled(0, MIN_CANDIDATES)
    for _ in range(5_000):
        window.add(b"popular", ["x"])
    assert window.shares() == []


candidates = st.lists(
    st.tuples(st.integers(0, 40), st.frozensets(st.sampled_from("abc"), max_size=3)), min_size=1, max_size=200
)


@given(asked=candidates, size=st.integers(1, 30))
def test_the_window_holds_the_newest_answer_of_the_last_candidates(
    asked: list[tuple[int, frozenset[str]]], size: int
) -> None:
    """Against the plain computation: the last `size` different candidates, each with its newest answer."""
    window = HitWindow(size)
    for number, ids in asked:
        window.add(bytes([number]), ids)
    newest: dict[int, frozenset[str]] = {}
    for number, ids in asked:
        newest.pop(number, None)
        newest[number] = ids
    kept = list(newest.values())[-size:]
    counted = {name: sum(name in ids for ids in kept) for name in "abc"}
    assert dict(window._hits) == {name: count for name, count in counted.items() if count}
    assert len(window._seen) == len(kept)


def result(name: str, verdict: str, reason: str, *ids: str) -> dict[str, Any]:
    matches = [{"exclusion_id": one, "scope": "image", "signal": "pdq", "distance": 0, "threshold": 31} for one in ids]
    empty: dict[str, Any] = {"retry_after_s": None, "coverage": [], "depth": "hashes", "missing": []}
    return {"id": name, "verdict": verdict, "reason": reason, "matches": matches} | empty


def test_only_what_was_answered_counts_and_only_exclusions_hit() -> None:
    answers = [
        result("a", "exclude", "match", "x", "y", "x"),
        result("b", "allow", "no_match"),
        result("c", "defer", "pending_case", "x"),
        result("d", "defer", "suspended", "x"),
        result("e", "defer", "time_budget"),
        result("g", "review", "doubtful_match", "z"),
        result("f", "invalid", "pdq:not_64_hex_digits"),
    ]
    items = [{"id": answer["id"], "pdq": answer["id"] * 64} for answer in answers]
    answer = Answer.model_validate({"version": "1.1", "as_of": datetime.now(UTC), "results": answers})
    assert [ids for _, ids in hits(items, answer)] == [("x", "y"), (), (), (), ("z",)]


def test_a_candidate_is_known_again_by_what_it_is_and_not_by_its_name() -> None:
    first = {"id": "a", "pdq": "ab" * 32, "sha256": "cd" * 32, "url": "https://a.example/1"}
    assert candidate(first) == candidate(first | {"id": "b", "url": "https://b.example/2", "sha256": "ef" * 32})
    different = [
        first,
        first | {"pdq": "cd" * 32},
        {"sha256": "ab" * 32},
        {"sha256": "ef" * 32},
        {"picture": "QUJD"},
        {"faces": ["AAAA"]},
        {"url": "https://a.example/1"},
        {"url": "https://a.example/\ud800"},
        {},
    ]
    assert len({candidate(item) for item in different}) == len(different)
