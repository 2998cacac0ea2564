import numpy as np
import pytest

from optout.exclusions.keypoint_index import KeypointIndex
from optout.fingerprint.keypoints import DESCRIPTOR_BYTES, Features, Keypoints
from optout.fingerprint.sketch import SKETCH_BYTES


def features(seed: int, count: int = 100) -> Features:
    rng = np.random.default_rng(seed)
    return Features(
        rng.uniform(0, 500, (count, 2)).astype(np.float32),
        rng.integers(0, 256, count, dtype=np.uint8),
        rng.integers(0, 8, count, dtype=np.uint8),
        rng.integers(0, 256, (count, DESCRIPTOR_BYTES), dtype=np.uint8),
    )


def keypoints(seed: int) -> Keypoints:
    return Keypoints(500, 400, features(seed), bytes(SKETCH_BYTES))


def seen_again(seed: int, turn: int, flip: float) -> Features:
    """The same corners, turned, each bit flipped by chance."""
    own = features(seed)
    noise = np.packbits(np.random.default_rng(99).random((len(own), DESCRIPTOR_BYTES * 8)) < flip, axis=1)
    return Features(own.points, (own.angles.astype(int) + turn).astype(np.uint8), own.levels, own.descriptors ^ noise)


@pytest.mark.parametrize("turn", [0, 15, 128, 250])
def test_the_picture_with_the_same_corners_comes_first(turn: int) -> None:
    index = KeypointIndex()
    rows = [index.add(keypoints(seed)) for seed in range(50)]
    assert index.candidates(seen_again(7, turn, 0.05))[:1] == [rows[7]]


def test_strangers_are_no_candidates() -> None:
    index = KeypointIndex()
    for seed in range(50):
        index.add(keypoints(seed))
    assert index.candidates(features(1000)) == []


def test_what_is_added_between_searches_is_found_and_what_is_removed_is_not() -> None:
    index = KeypointIndex()
    for seed in range(30):
        row = index.add(keypoints(seed))
        assert index.candidates(features(seed))[:1] == [row]
        assert index.candidates(features(0))[:1] == [0]
    assert len(index) == 30
    index.remove(3)
    assert len(index) == 29
    assert index.candidates(features(3)) == []
    with pytest.raises(KeyError):
        index.remove(3)
    with pytest.raises(KeyError):
        index.keypoints(3)


def test_a_row_holds_what_was_added() -> None:
    index = KeypointIndex()
    given = keypoints(5)
    again = index.keypoints(index.add(given))
    assert (again.features.descriptors == given.features.descriptors).all()
    assert np.abs(again.features.points - given.features.points).max() <= 1
    assert (again.width, again.height, again.sketch) == (500, 400, given.sketch)


def test_an_empty_index_and_an_empty_picture_have_no_candidates() -> None:
    index = KeypointIndex()
    assert index.candidates(features(1)) == []
    index.add(keypoints(1))
    assert index.candidates(features(1, 0)) == []
