"""The preview of all letters."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.inbox import letters
from optout.languages import LANGUAGES
from optout.requests import Letter
from tests.storage import ENVIRONMENT
from tests.unit.mail.preview import main, one_of_each, write


def test_every_letter_is_there_in_every_language_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    count = write(tmp_path / "letters", tmp_path / "mail")
    assert {due.letter for _, due in one_of_each()} == set(Letter)
    assert count == len(LANGUAGES) * len(list(one_of_each()))
    for code, language in LANGUAGES.items():
        pages = list((tmp_path / "letters").glob(f"{code}-*.html"))
        assert len(pages) == count // len(LANGUAGES)
        assert all(f'lang="{code}" dir="{language.direction}"' in page.read_text() for page in pages)
    assert len(letters(tmp_path / "mail")) == count


def test_a_folder_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "FOLDER" in capsys.readouterr().err
