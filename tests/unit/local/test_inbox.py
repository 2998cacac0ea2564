from __future__ import annotations

import asyncio
import mailbox
from collections.abc import MutableMapping
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from local import inbox

HOSTILE = "<script>alert(1)</script>"


def letter(subject: str = "Your request", to: str = "jo@example.org", text: str = "Hello", page: str = "") -> bytes:
    message = EmailMessage()
    message["From"] = "letters@optout.example"
    message["To"] = to
    message["Subject"] = subject
    message.set_content(text)
    if page:
        message.add_alternative(page, subtype="html")
    return message.as_bytes()


def keep(folder: Path, *letters: bytes) -> list[str]:
    box = mailbox.Maildir(folder, create=True)
    return [box.add(content) for content in letters]


def get(folder: Path, path: str) -> tuple[int, dict[str, str], str]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("the page reads no body")

    asyncio.run(inbox.InboxPage(folder)({"type": "http", "path": path}, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"].decode()


def test_letters_are_read_in_the_order_they_came(tmp_path: Path) -> None:
    subjects = [f"letter {number}" for number in range(12)]
    keep(tmp_path / "mail", *(letter(subject) for subject in subjects))
    assert [str(message["Subject"]) for message in inbox.letters(tmp_path / "mail")] == subjects


def test_letters_to_one_address_are_found_whatever_its_case(tmp_path: Path) -> None:
    keep(tmp_path / "mail", letter("for Jo", to="Jo@example.org"), letter("for Al", to="al@example.org"))
    assert [str(message["Subject"]) for message in inbox.letters(tmp_path / "mail", "jo@EXAMPLE.org")] == ["for Jo"]


def test_an_inbox_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert inbox.letters(tmp_path / "not" / "yet") == []
    status, _headers, page = get(tmp_path / "not" / "yet", "/")
    assert status == 200
    assert "No letter has been sent yet" in page


@pytest.mark.parametrize("path", ["/", "/inbox", "/letter/{key}"])
def test_nothing_in_a_letter_becomes_markup_of_the_page(tmp_path: Path, path: str) -> None:
    (key,) = keep(tmp_path / "mail", letter(f"s{HOSTILE}", f'"{HOSTILE}" <jo@example.org>', f"t{HOSTILE}", HOSTILE))
    status, headers, page = get(tmp_path / "mail", path.format(key=key))
    assert status == 200
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]


def test_the_html_part_is_shown_in_a_sandbox_that_runs_nothing(tmp_path: Path) -> None:
    (key,) = keep(tmp_path / "mail", letter(page="<p>Your case</p>"))
    assert f"sandbox='{inbox.SANDBOX}'" in get(tmp_path / "mail", f"/letter/{key}")[2]
    status, headers, page = get(tmp_path / "mail", f"/letter/{key}/html")
    assert (status, page.strip()) == (200, '<base target="_blank"><p>Your case</p>')
    assert headers["content-security-policy"].startswith(f"sandbox {inbox.SANDBOX}; default-src 'none'")
    for right in ("allow-scripts", "allow-same-origin", "allow-top-navigation", "allow-forms"):
        assert right not in headers["content-security-policy"]


def test_a_link_in_the_text_can_be_clicked_and_no_other_scheme_can(tmp_path: Path) -> None:
    (key,) = keep(tmp_path / "mail", letter(text="See\nhttp://app.localhost:1/status/a'b\njavascript:alert(1)\n"))
    page = get(tmp_path / "mail", f"/letter/{key}")[2]
    assert "<a href='http://app.localhost:1/status/a&#x27;b' rel='noreferrer'>" in page
    assert "href='javascript" not in page


@pytest.mark.parametrize("path", ["/letter/none", "/letter/../keys.json", "/letter/none/html", "/elsewhere"])
def test_what_is_no_letter_is_not_found(tmp_path: Path, path: str) -> None:
    keep(tmp_path / "mail", letter())
    (tmp_path / "keys.json").write_text("{}")
    assert get(tmp_path / "mail", path)[0] == 404


def test_a_letter_that_arrives_is_on_disk_at_once(tmp_path: Path) -> None:
    class Envelope:
        original_content = letter("on disk")

    answer = asyncio.run(inbox.Arrivals(tmp_path / "mail").handle_DATA(None, None, Envelope()))
    assert answer.startswith("250 ")
    assert [str(message["Subject"]) for message in inbox.letters(tmp_path / "mail")] == ["on disk"]
