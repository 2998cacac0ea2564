import platform
from pathlib import Path

import numpy as np
import pytest

from infra import build
from optout.errors import SnapshotDamaged
from optout.exclusions import kernel, keypoint_index
from optout.exclusions.keypoint_index import KeypointIndex
from optout.fingerprint.keypoints import DESCRIPTOR_BYTES, Features, Keypoints, to_bytes
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
    """The same corners, turned about the origin, each bit flipped by chance."""
    own = features(seed)
    angle = 2 * np.pi * turn / 256
    points = own.points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    noise = np.packbits(np.random.default_rng(99).random((len(own), DESCRIPTOR_BYTES * 8)) < flip, axis=1)
    return Features(points, (own.angles.astype(int) + turn).astype(np.uint8), own.levels, own.descriptors ^ noise)


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


def test_like_corners_in_other_places_make_no_candidate() -> None:
    index = KeypointIndex()
    row = index.add(keypoints(7))
    own = features(7)
    assert index.candidates(own) == [row]
    turned = np.float32(500) - own.points  # without turning with them
    assert index.candidates(Features(turned, own.angles, own.levels, own.descriptors)) == []


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


def stored(*pictures: Keypoints) -> tuple[np.ndarray, np.ndarray]:
    parts = [to_bytes(each) for each in pictures]
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum([len(part) for part in parts])


def test_an_index_of_stored_pictures_is_the_index_they_were_added_to() -> None:
    pictures = [
        Keypoints(512, 100 + seed, features(seed, 30 + seed), bytes([seed]) * SKETCH_BYTES) for seed in range(9)
    ]
    index = KeypointIndex.of(*stored(*pictures))
    assert len(index) == 9
    for row, given in enumerate(pictures):
        assert to_bytes(index.keypoints(row)) == to_bytes(given)
        assert index.candidates(given.features)[:1] == [row]
    assert index.add(keypoints(77)) == 9
    index.remove(4)
    assert index.candidates(features(77))[:1] == [9]
    assert index.candidates(pictures[4].features) == []


def test_an_index_of_nothing_is_an_empty_one() -> None:
    assert len(KeypointIndex.of(*stored())) == 0


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data ^ 1, lambda data: data[:5]])
def test_stored_pictures_of_another_version_or_broken_are_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    data, ends = stored(keypoints(1), keypoints(2))
    with pytest.raises(ValueError, match="version"):
        KeypointIndex.of(spoil(data), ends)


@pytest.fixture
def compiled(tmp_path: Path) -> kernel.Kernel:
    """The kernel as for a deployment."""
    path = tmp_path / "_kernel.so"
    path.write_bytes(build.kernel(platform.machine()))
    return kernel.Kernel(path)


@pytest.mark.parametrize("pictures", [[], [0], [1], [0, 3, 1], [2] * 5, [30, 0, 290, 24] * 40])
@pytest.mark.parametrize("bits", [8, 9, 13])
def test_corners_are_sorted_alike_by_the_kernel_at_once_and_block_by_block(
    pictures: list[int], bits: int, compiled: kernel.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = stored(*(Keypoints(512, 384, features(at, count), bytes(264)) for at, count in enumerate(pictures)))
    begins = 1_000 + np.cumsum([0, *pictures])  # a tier that is not the first
    monkeypatch.setattr(kernel, "_LOWER_BITS", 4)
    for table in range(keypoint_index.TABLES):
        found = []
        for engine, block in ((None, keypoint_index._BLOCK), (None, 700), (compiled, keypoint_index._BLOCK)):
            monkeypatch.setattr(keypoint_index, "_KERNEL", engine)
            monkeypatch.setattr(keypoint_index, "_BLOCK", block)
            found += keypoint_index._sorted(data, begins, [table], bits=bits)
        for order, starts in found[1:]:
            assert (order == found[0][0]).all()
            assert (starts == found[0][1]).all()
        corners = keypoint_index._corners(keypoint_index._widened(found[0][0]), table)
        assert sorted(corners) == [corner for corner in range(sum(pictures)) if (corner + table) % 4 < 2]
        keys = np.repeat(np.arange(1 << bits), np.diff(found[0][1]))
        own = np.concatenate(
            [
                np.zeros((0, DESCRIPTOR_BYTES), np.uint8),
                *(features(at, count).descriptors for at, count in enumerate(pictures)),
            ]
        )
        assert (keypoint_index._keys(own[corners][:, 3 * table :], bits) == keys).all()


# --- fetched later ----------------------------------------------------------------------------------------------------


class Later:
    """An index of pictures that are fetched when they are needed."""

    def __init__(self, *pictures: Keypoints, alive: list[bool] | None = None) -> None:
        self.data, ends = stored(*pictures)
        self.fetched = 0
        self.index = KeypointIndex.later(np.array(alive or [True] * len(pictures)), ends, self.fetch)

    def fetch(self) -> np.ndarray:
        self.fetched += 1
        return self.data


def test_what_needs_no_corners_fetches_none_and_what_does_fetches_them_once() -> None:
    later = Later(*map(keypoints, range(5)))
    later.index.remove(2)
    row = later.index.add(keypoints(77))
    assert (len(later.index), row, later.index.is_complete, later.fetched) == (5, 5, False, 0)
    assert later.index.candidates(features(3))[:1] == [3]
    assert later.index.candidates(features(77))[:1] == [row]
    assert later.index.candidates(features(2)) == []
    later.index.complete()
    assert (later.index.is_complete, later.fetched) == (True, 1)


def test_a_row_fetches_what_it_holds() -> None:
    later = Later(*map(keypoints, range(3)))
    assert to_bytes(later.index.keypoints(1)) == to_bytes(keypoints(1))
    assert later.fetched == 1


def test_rows_that_hold_nothing_from_the_beginning_are_no_candidates() -> None:
    later = Later(*map(keypoints, range(3)), alive=[True, False, True])
    assert len(later.index) == 2
    assert later.index.candidates(features(1)) == []
    assert later.index.candidates(features(2))[:1] == [2]
    with pytest.raises(KeyError):
        later.index.keypoints(1)


def test_without_live_rows_nothing_is_fetched() -> None:
    later = Later(keypoints(0), alive=[False])
    assert later.index.candidates(features(0)) == []
    assert later.fetched == 0


def test_a_fetch_that_fails_leaves_the_index_as_it_was_and_the_next_one_counts() -> None:
    later = Later(*map(keypoints, range(3)))
    whole, later.data = later.data, later.data[:-20]
    for ask in (lambda: later.index.candidates(features(1)), lambda: later.index.keypoints(1), later.index.complete):
        with pytest.raises(SnapshotDamaged):
            ask()
        assert not later.index.is_complete
    later.data = whole
    assert later.index.candidates(features(1))[:1] == [1]
