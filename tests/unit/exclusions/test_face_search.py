import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from optout.exclusions import face_search
from optout.exclusions.face_search import FaceIndex


def unit(count: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, 128)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 89), unique=True), st.floats(0.01, 0.4))
def test_what_is_added_and_removed_in_whatever_order_is_found_as_in_a_list(
    seed: int, removed: list[int], cosine: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_search, "BLOCK_ROWS", 16)
        patch.setattr(face_search, "QUERIES_AT_ONCE", 7)
        index = FaceIndex(128)
        vectors = unit(120, seed)
        held = {index.add(vector): vector for vector in vectors[:90]}
        for row in removed:
            index.remove(row)
            del held[row]
        for vector in vectors[90:]:
            row = index.add(vector)
            assert row not in held
            held[row] = vector
        assert len(index) == len(held)
        queries = np.concatenate([unit(8, seed ^ 1), vectors[:5]])
        expected = [
            {row for row, vector in held.items() if vector.astype(float) @ query.astype(float) >= cosine}
            for query in queries
        ]
        found = index.within(queries, cosine)
        assert [{row for row, _ in near} for near in found] == expected
        for query, near in zip(queries, found, strict=True):
            for row, likeness in near:
                assert likeness == pytest.approx(float(held[row] @ query), abs=1e-6)
                assert cosine <= likeness <= 1


def test_one_query_gets_the_very_answer_that_it_gets_among_others() -> None:
    index = FaceIndex(128)
    vectors = unit(3_000, 3)
    for vector in vectors:
        index.add(vector)
    together = index.within(vectors[:200], 0.2)
    assert together == [index.within(vectors[place : place + 1], 0.2)[0] for place in range(200)]


def test_a_row_is_removed_once_and_found_no_more() -> None:
    index = FaceIndex(128)
    [vector] = unit(1, 4)
    row = index.add(vector)
    index.remove(row)
    assert index.within(vector[np.newaxis], 0.01) == [[]]
    with pytest.raises(KeyError):
        index.remove(row)


def test_an_empty_index_finds_nothing_and_nothing_is_asked_without_vectors() -> None:
    index = FaceIndex(128)
    assert index.within(unit(3, 5), 0.5) == [[], [], []]
    index.add(unit(1, 6)[0])
    assert index.within(np.zeros((0, 128), dtype=np.float32), 0.5) == []


def test_a_threshold_that_tells_nobody_apart_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        FaceIndex(128).within(unit(1, 7), 0.0)
