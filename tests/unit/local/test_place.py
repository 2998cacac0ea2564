from __future__ import annotations

from pathlib import Path

import pytest

from local.place import CannotRun, Place


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "", "4566.0", "٤٥٦٦"])
def test_a_port_that_is_none_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OPTOUT_PORT", text)
    with pytest.raises(CannotRun, match=r"^OPTOUT_PORT must be a port number between 1 and 65535, not .*\.$"):
        Place.from_environment()


def test_an_instance_lives_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPTOUT_FOLDER", str(tmp_path))
    monkeypatch.setenv("OPTOUT_PORT", "5001")
    monkeypatch.setenv("OPTOUT_INBOX_PORT", "5002")
    place = Place.from_environment()
    assert place == Place(tmp_path.resolve(), 5001, 5002)
    assert place.site == "http://app.localhost:5001"
    assert place.endpoint == "http://127.0.0.1:5001"
    assert place.inbox == "http://127.0.0.1:5002/"


def test_all_that_an_instance_keeps_lies_in_its_folder(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for path in (place.state, place.mail, place.keys, place.ready, place.log):
        assert path.parent == tmp_path
