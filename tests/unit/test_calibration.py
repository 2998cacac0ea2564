"""What an operator learns about faces from labelled photos."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from optout import calibration
from optout.calibration import Scores, compare, propose, read
from optout.cli import main
from optout.exclusions.face_rates import face_threshold
from tests.pictures import picture

PEOPLE = {"anna": ("obama.jpg", "obama2.jpg", "obama3.jpg"), "ben": ("biden.jpg",), "cleo": ("astronaut.png",)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    for person, names in PEOPLE.items():
        (root / person).mkdir()
        for name in names:
            (root / person / name).write_bytes(picture(name))
    (root / "cleo" / "notes.txt").write_text("not a photo")
    with Image.open(io.BytesIO(picture("coffee.png"))) as image:
        image.save(root / "cleo" / "cup.png")
    return root


def made_up(people: int, photos: int, spread: float, seed: int = 0) -> tuple[list[str], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, 128))
    vectors = np.repeat(centres, photos, axis=0) + spread * rng.normal(size=(people * photos, 128))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [str(number) for number in range(people) for _ in range(photos)], vectors.astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 4))
def test_every_pair_is_compared_once_whatever_the_blocks(seed: int, people: int, photos: int) -> None:
    names, vectors = made_up(people, photos, 0.7, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "_BLOCK", 5)
        scores = compare(names, vectors)
    first, second = np.triu_indices(len(names), 1)
    cosines = (vectors @ vectors.T)[first, second]
    same = np.array(names)[first] == np.array(names)[second]
    assert np.sort(scores.genuine) == pytest.approx(np.sort(cosines[same]), abs=1e-6)
    assert scores.impostors == (~same).sum()
    for cosine in (-0.2, 0.0, 0.1, 0.3):
        expected = float((cosines[~same] >= cosine).mean()) if (~same).any() else 0
        assert scores.false_rate(cosine) == pytest.approx(expected, abs=2.1 / max(1, scores.impostors))


def test_a_measured_threshold_lets_through_what_was_wanted() -> None:
    scores = compare(*made_up(300, 2, 0.5))
    for rate in (1e-2, 1e-3):
        threshold = scores.threshold_at(rate)
        assert threshold is not None
        assert scores.false_rate(threshold) <= rate
        assert scores.false_rate(threshold - 0.002) > rate
    assert scores.threshold_at(1 / scores.impostors) is None


def test_the_interval_holds_the_recall_and_is_wider_for_fewer_people() -> None:
    many, few = compare(*made_up(300, 2, 0.9)), compare(*made_up(20, 2, 0.9))
    cosine = float(np.median(many.genuine))
    for scores in (many, few):
        low, high = scores.recall_interval(cosine)
        assert low <= scores.recall(cosine) <= high
    assert np.diff(few.recall_interval(cosine)) > np.diff(many.recall_interval(cosine))


def test_a_proposal_says_whether_it_is_measured_or_extrapolated() -> None:
    scores = compare(*made_up(300, 2, 0.5))
    near, far = propose(scores, 10, 100_000), propose(scores, 10_000, 1_000)
    assert near.measured
    assert not far.measured
    assert near.threshold is not None
    assert far.threshold is not None
    assert far.threshold > near.threshold
    assert far.in_force == face_threshold(10_000, 1_000)
    too_few = propose(compare(*made_up(3, 2, 0.5)), 10_000, 1_000)
    assert too_few.threshold is None


def test_photos_are_read_with_their_person_and_what_is_no_photo_is_named(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = read(folder, lambda done, total: seen.append((done, total)))
    assert Counter(found.people) == {"anna": 3, "ben": 1, "cleo": 1}
    assert found.seen == 6
    assert [Path(name).name for name in found.unreadable] == ["notes.txt"]
    assert seen == [(number, 7) for number in range(1, 8)]
    joined = read(folder, aliases={"ben": "anna"}, skip={"obama3.jpg"})
    assert Counter(joined.people) == {"anna": 3, "cleo": 1}


def test_the_command_prints_a_report_and_draws_the_curves(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "curves.png"
    assert main(["faces", "calibrate", str(folder), "--listed", "100", "--plot", str(plot)]) == 0
    out, err = capsys.readouterr()
    assert "6 photos, 5 with a face, of 3 people: 3 pairs of one person, 7 of two." in out
    assert f"In force for that: cosine {face_threshold(100):.3f}, recognising 1.000 of your pairs." in out
    assert "too few to propose" in out
    assert "notes.txt" in err
    with Image.open(plot) as image:
        assert image.size == (900, 560)


def test_more_look_alikes_than_expected_come_with_the_setting_that_mends_it() -> None:
    crowd = np.zeros(20_001, dtype=np.int64)
    crowd[10_000:17_000] = 100
    proposal = propose(Scores(np.ones(9, np.float32), np.zeros(9, np.int64), crowd), 100, 1_000)
    assert proposal.threshold is not None
    assert proposal.threshold > proposal.in_force
    assert "set FalseExclusionsPerMillion to 1." in calibration._advice(proposal, 1_000)


@pytest.mark.parametrize("arguments", [["--listed", "0"], ["--false-exclusions-per-million", "0"]])
def test_an_impossible_wish_is_refused(folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faces", "calibrate", str(folder), *arguments]) == 2
    assert "must be" in capsys.readouterr().err


def test_one_person_is_not_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "1.jpg").write_bytes(picture("obama.jpg"))
    assert main(["faces", "calibrate", str(tmp_path)]) == 1
    assert "two people" in capsys.readouterr().err
