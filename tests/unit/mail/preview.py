"""Every letter in every language, to be read before anybody gets it: `python -m tests.unit.mail.preview FOLDER`.

Writes each as text and as HTML with a list of them all, and puts them into the inbox of `make run` too.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator
from dataclasses import replace
from email.policy import SMTP
from pathlib import Path
from unittest.mock import patch

from local.inbox import open_maildir
from local.place import Place
from optout.languages import LANGUAGES
from optout.mail.send import compose, render
from optout.requests import Kind, Letter, Step
from optout.store import DueLetter
from tests.storage import ENVIRONMENT
from tests.unit.mail.cases import ALL, NOW, due_letter

READER = "reader@letters.example"


def main(arguments: list[str]) -> int:
    """Write the letters; 2 when no folder is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tests.unit.mail.preview FOLDER\n")
        return 2
    place = Place.from_environment()
    with patch.dict("os.environ", ENVIRONMENT):
        written = write(Path(arguments[0]), place.mail)
    sys.stdout.write(f"{written} letters are in {arguments[0]} (open index.html) and in the inbox of `make run`.\n")
    return 0


def write(folder: Path, maildir: Path) -> int:
    """Write every letter in every language into the folder, and a mail of each into the Maildir; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    inbox = open_maildir(maildir)
    rows: list[str] = []
    for code, language in LANGUAGES.items():
        rows.append(f"<h2>{html.escape(language.name)}</h2>")
        for name, due in one_of_each():
            request = replace(due.request, language=code)
            message = render(
                replace(due, request=request),
                NOW,
                engine=ENVIRONMENT["ENGINE_NAME"],
                support=ENVIRONMENT["SUPPORT_ADDRESS"],
                status_url=f"{ENVIRONMENT['SITE_URL']}/status/token?lang={code}",
                verify_url=f"{ENVIRONMENT['SITE_URL']}/verify/token?lang={code}",
            )
            for kind, words in (("html", message.html), ("txt", message.text)):
                (folder / f"{code}-{name}.{kind}").write_text(words, encoding="utf-8")
            inbox.add(compose(message, READER).as_bytes(policy=SMTP))
            links = f'<a href="{code}-{name}.html">HTML</a> <a href="{code}-{name}.txt">text</a>'
            rows.append(f"<p><bdi>{html.escape(message.subject)}</bdi> ({name}) {links}</p>")
    page = f"<!doctype html><meta charset=utf-8><title>Letters</title>{''.join(rows)}"
    (folder / "index.html").write_text(page, encoding="utf-8")
    return sum(row.startswith("<p>") for row in rows)


def one_of_each() -> Iterator[tuple[str, DueLetter]]:
    """Each letter of each kind of request, and of each step that brings it; one reason stands for all."""
    seen: set[tuple[Kind, Letter, Step]] = set()
    for kind, letter, step, reason in ALL:
        if (kind, letter, step) not in seen:
            seen.add((kind, letter, step))
            yield f"{letter}-{step}-{kind}", due_letter(kind, letter, step, reason)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
