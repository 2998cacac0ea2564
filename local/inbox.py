"""Every letter the embedded SES sends, kept in a Maildir, and a page to read them on.

MiniStack forgets sent mail when it stops; here it arrives over SMTP and lies on disk at once.
"""

from __future__ import annotations

import asyncio
import html
import mailbox
import re
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

# Letters hold what strangers typed, so nothing in them may run, load or leave: neither script nor picture nor form.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'"
SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
LETTER_POLICY = f"sandbox {SANDBOX}; default-src 'none'; style-src 'unsafe-inline'; img-src data:"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def open_maildir(folder: Path) -> mailbox.Maildir:
    """The Maildir in `folder`, made when it is missing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return mailbox.Maildir(folder, create=True)


def letters(folder: Path, to: str | None = None) -> list[EmailMessage]:
    """The letters that were sent, oldest first; only those to one address when `to` is given."""
    found = [message for _key, message in _keyed(folder)]
    return [message for message in found if to is None or to.lower() in str(message["To"]).lower()]


def _keyed(folder: Path) -> list[tuple[str, EmailMessage]]:
    box = open_maildir(folder)
    parser = BytesParser(policy=policy.default)
    return [(key, parser.parsebytes(box.get_bytes(key))) for key in sorted(box.keys(), key=_arrival)]


def _arrival(key: str) -> tuple[int, ...]:
    """Seconds and microseconds of a letter's arrival, from its name in the Maildir (`1764000000.M25P9Q1.host`)."""
    return tuple(int(number) for number in re.findall(r"\d+", key)[:2])


class Arrivals:
    """Takes letters from SMTP into the Maildir."""

    def __init__(self, folder: Path) -> None:
        self._box = open_maildir(folder)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd
        self._box.add(envelope.original_content or b"")
        return "250 kept"


async def serve_smtp(folder: Path) -> tuple[asyncio.Server, int]:
    """Starts the SMTP door on a free port of the loopback address; returns the server and its port."""
    arrivals = Arrivals(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(arrivals, hostname="localhost"), "127.0.0.1", 0)
    return server, int(server.sockets[0].getsockname()[1])


class InboxPage:
    """ASGI app: `/` and `/inbox` list the letters, `/letter/KEY` shows one, `/letter/KEY/html` its HTML part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, content_policy, page = await asyncio.to_thread(self._answer, str(scope["path"]))
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", content_policy.encode()),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": page.encode()})

    def _answer(self, path: str) -> tuple[int, str, str]:
        kept = _keyed(self._folder)
        if path in ("/", "/inbox", "/inbox/"):
            return 200, POLICY, _list(kept)
        match path.removeprefix("/inbox").split("/"):
            case ["", "letter", key]:
                for known, message in kept:
                    if known == key:
                        return 200, POLICY, _letter(key, message)
            case ["", "letter", key, "html"]:
                for known, message in kept:
                    if known == key:
                        # Links open beside the inbox, as a mail program opens them; inside the frame nothing may.
                        return 200, LETTER_POLICY, '<base target="_blank">' + _part(message, "html")
            case _:
                pass
        return 404, POLICY, _page("Not here", "<p>There is no such letter. <a href='/'>All letters</a></p>")


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    return str(part.get_content()) if part is not None else ""


def _list(kept: list[tuple[str, EmailMessage]]) -> str:
    rows = "".join(
        f"<tr><td>{_escaped(message['To'])}</td>"
        f"<td><a href='/letter/{html.escape(key, quote=True)}'>{_escaped(message['Subject'])}</a></td>"
        f"<td>{datetime.fromtimestamp(_arrival(key)[0], UTC):%d %B %Y, %H:%M UTC}</td></tr>"
        for key, message in reversed(kept)
    )
    table = f"<table><tr><th>To</th><th>Subject</th><th>Arrived</th></tr>{rows}</table>"
    return _page("Inbox", table if kept else "<p>No letter has been sent yet.</p>")


def _letter(key: str, message: EmailMessage) -> str:
    facts = "".join(
        f"<tr><th>{name}</th><td>{_escaped(message[name])}</td></tr>"
        for name in ("From", "To", "Reply-To", "Subject")
        if message[name]
    )
    address = html.escape(key, quote=True)
    return _page(
        str(message["Subject"]),
        f"<p><a href='/'>All letters</a></p><table>{facts}</table>"
        f"<h2>As text</h2><pre>{_linked(_part(message, 'plain'))}</pre>"
        f"<h2>As HTML</h2>"
        f"<iframe src='/letter/{address}/html' sandbox='{SANDBOX}' title='HTML part'></iframe>",
    )


def _linked(text: str) -> str:
    """The text escaped, with its web addresses made clickable."""
    words = []
    for word in text.replace("\r\n", "\n").split(" "):
        lines = []
        for piece in word.split("\n"):
            safe = html.escape(piece, quote=True)
            is_link = piece.startswith(("http://", "https://"))
            lines.append(f"<a href='{safe}' rel='noreferrer'>{safe}</a>" if is_link else safe)
        words.append("\n".join(lines))
    return " ".join(words)


def _escaped(value: object) -> str:
    return html.escape(str(value), quote=True)


def _page(title: str, body: str) -> str:
    style = (
        "body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse}td,th{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ccc}"
        "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f3f3f3;padding:1rem}"
        "iframe{width:100%;height:32rem;border:1px solid #ccc}"
    )
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{_escaped(title)}</title>"
        f"<style>{style}</style></head><body><h1>{_escaped(title)}</h1>{body}</body></html>"
    )
