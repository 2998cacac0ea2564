import json
from pathlib import Path

import pytest

from optout.cli import _IN_WORDS, main
from optout.errors import FacesOff
from optout.fingerprint.image import PHOTO_PROBLEMS
from tests.pictures import picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg", "coffee.png"):
        (tmp_path / name).write_bytes(picture(name))
    (tmp_path / "broken.jpg").write_bytes(picture("obama.jpg")[:5000])
    (tmp_path / "text.txt").write_text("hello")
    return tmp_path


def test_every_problem_has_its_sentence() -> None:
    assert set(_IN_WORDS) == set(PHOTO_PROBLEMS)


def test_fingerprint_prints_one_json_object_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fingerprint", str(folder / "obama.jpg"), str(folder / "coffee.png")]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["file"].endswith("obama.jpg")
    assert len(first["faces"]) == 1
    assert len(first["pdq"]) == 64
    assert second["faces"] == []


def test_check_tells_copies_and_faces_from_strangers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(folder / name) for name in ("obama.jpg", "obama2.jpg", "biden.jpg")]
    assert main(["check", *files, "--against", files[0], str(folder / "coffee.png"), "--json"]) == 0
    verdicts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [verdict["verdict"] for verdict in verdicts] == ["exclude", "exclude", "allow"]
    assert [match["signal"] for match in verdicts[1]["matches"]] == ["face"]


def test_check_can_be_read_by_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder / "coffee.png"), "--no-faces", "--against", str(folder / "coffee.png")]) == 0
    line = capsys.readouterr().out
    assert "coffee.png: exclude (match): " in line
    assert "by pdq, distance 0 of 31" in line


def test_an_unreadable_file_is_one_sentence_and_the_others_are_still_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(folder / name) for name in ("broken.jpg", "text.txt", "missing.jpg", "coffee.png")]
    for command in (["fingerprint", *files, "--no-faces"], ["check", *files, "--no-faces", "--against", files[3]]):
        assert main(command) == 1
        printed = capsys.readouterr()
        assert len(printed.out.splitlines()) == 1
        problems = printed.err.splitlines()
        assert [line.rpartition(": ")[2] for line in problems] == [
            "the picture is damaged or incomplete.",
            "this is not a picture.",
            "No such file or directory.",
        ]


def test_nothing_is_checked_against_a_list_that_could_not_be_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    against = [str(folder / "coffee.png"), str(folder / "broken.jpg")]
    assert main(["check", str(folder / "biden.jpg"), "--no-faces", "--against", *against]) == 1
    assert capsys.readouterr().out == ""


def test_without_face_models_nothing_is_checked_unless_faces_are_not_wanted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(rgb: object) -> None:
        raise FacesOff("missing")

    monkeypatch.setattr("optout.fingerprint.find_faces", off)
    command = ["check", str(folder / "biden.jpg"), "--against", str(folder / "obama.jpg")]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--no-faces" in printed.err
    assert main([*command, "--no-faces"]) == 0


@pytest.mark.parametrize("arguments", [[], ["check", "a.jpg"], ["fingerprint"], ["nonsense"]])
def test_a_wrong_command_line_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: optout" in capsys.readouterr().err
