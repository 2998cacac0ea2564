import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from optout.cli import _IN_WORDS, main
from optout.decisions import AcceptReason, Decision
from optout.errors import FacesOff, HeadContended
from optout.fingerprint.image import PHOTO_PROBLEMS
from optout.requests import Answers, Kind, OptOutRequest, Step
from optout.settings import aws
from optout.store import Requests
from tests.pictures import picture
from tests.storage import storage


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


# ---- an operator's commands

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ANSWERS = Answers(
    "DE", "It is me", "Ada", "Lovelace", "ada@example.org", links=("https://a.example/x",), good_faith=True
)


@pytest.fixture
def deployment() -> Iterator[Requests]:
    with storage():
        yield Requests.from_settings()


def accepted(requests: Requests) -> OptOutRequest:
    draft = requests.create_draft(Kind.LINKS, ANSWERS, "hash", NOW)
    requests.confirm(draft.id, NOW)
    return requests.decide(draft.id, Decision("d", Step.ACCEPT, AcceptReason.GOODWILL, "", "anna"), None, NOW)


def test_a_leaked_link_dies_at_a_word(deployment: Requests, capsys: pytest.CaptureFixture[str]) -> None:
    case = accepted(deployment)
    assert main(["revoke-links", case.number.lower()]) == 0
    assert deployment.get(case.id, NOW).link_version == 2
    assert main(["revoke-links", case.number, "--no-letter"]) == 0
    printed = capsys.readouterr()
    assert "A letter with a new link is on its way." in printed.out
    assert "No letter is sent." in printed.out
    assert main(["revoke-links", "AAAA-AAAA"]) == 1
    assert capsys.readouterr().err == "optout: there is no such case.\n"


def test_a_new_epoch_and_what_it_lost_are_said(deployment: Requests, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-epoch"]) == 1
    assert capsys.readouterr().err == "optout: nothing was changed; missing from the log: head.\n"
    case = accepted(deployment)
    assert main(["new-epoch"]) == 0
    assert "version 2.1 of a new epoch" in capsys.readouterr().out
    aws("dynamodb").delete_item(TableName="Exclusions", Key={"pk": {"S": "log#2"}, "seq": {"N": "1"}})
    assert main(["reconcile"]) == 1
    assert "cannot be read in full" in capsys.readouterr().err
    assert main(["new-epoch"]) == 1
    assert main(["new-epoch", "--despite-gaps"]) == 0
    assert "Changes that were not found: 1. Run `optout reconcile`." in capsys.readouterr().out
    assert main(["reconcile"]) == 1, "there are differences, and nothing was written"
    assert main(["reconcile", "--write"]) == 0
    assert main(["reconcile"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 changes missing")
    aws("dynamodb").delete_item(TableName="Exclusions", Key={"pk": {"S": "log#3"}, "seq": {"N": "1"}})
    deployment.forget_photos(case.id, NOW)
    assert main(["new-epoch", "--despite-gaps"]) == 0
    assert main(["reconcile", "--write"]) == 0, "links need no photo to come back"


def test_whatever_is_in_the_way_is_one_sentence(
    deployment: Requests, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["put-back", "--from", "Nowhere"]) == 1
    assert capsys.readouterr().err.startswith("optout: AWS refused: ")

    def contended(*_arguments: object, **_options: object) -> None:
        raise HeadContended

    monkeypatch.setattr("optout.recovery.reconcile", contended)
    assert main(["reconcile"]) == 1
    assert "run it again" in capsys.readouterr().err
    monkeypatch.delenv("EXCLUSIONS_TABLE")
    assert main(["reconcile"]) == 1
    assert capsys.readouterr().err == "optout: set EXCLUSIONS_TABLE to the names the stack puts out.\n"


def test_what_was_lost_is_put_back(deployment: Requests, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["put-back", "--from", "Requests"]) == 0
    assert capsys.readouterr().out == "0 items are back; nothing that was there has changed.\n"
