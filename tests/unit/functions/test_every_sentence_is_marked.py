"""No word of a page or a letter is left in English: with a language that puts ⟦ ⟧ around what it says, none is outside.

Templates are read as well, for the branches that no page here comes to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from gettext import NullTranslations
from html import unescape

import pytest
from jinja2 import Environment, nodes

from optout import http, languages
from optout.decisions import Decision
from optout.mail import send
from optout.requests import Extension, Kind, OptOutRequest, ProposedCrop, Step
from optout.store import Requests
from tests.unit.functions.api import Api
from tests.unit.functions.cases import draft, face, pending, photo, status_path, verify_path
from tests.unit.mail.cases import ALL, ANSWERS, TEXT, due_letter
from tests.unit.mail.test_send import written

SPOKEN_ATTRIBUTES = re.compile(r'\b(?:alt|title|aria-label|placeholder|data-say-[a-z-]+)="([^"]*)"')
# What people typed, what they are called, and what CLDR says: days, countries and languages.
OTHERS = re.compile(
    r"<(style|script|option|time|bdi|blockquote|summary)\b.*?</\1>|<span lang=.*?</span>|<a [^>]*\blang=.*?</a>"
    r"|English|Lens Search|Amélie Müller|This is private\.|I agree|Germany",
    re.DOTALL,
)


class Marked(NullTranslations):
    """A language that says everything in English, between marks."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "_catalogue", lambda _code: Marked())


def unmarked(text: str, *, page: bool) -> list[str]:
    """Words outside of the marks."""
    left = []
    if page:
        left = [words for words in SPOKEN_ATTRIBUTES.findall(text) if not words.startswith("⟦")]
        text = unescape(re.sub("<[^>]*>", " ", OTHERS.sub(" ", text)))
    while (shorter := re.sub("⟦[^⟦⟧]*⟧", " ", text)) != text:  # a sentence may stand in another one
        text = shorter
    return [word for word in [*left, *text.split()] if re.search("[^\\W\\d_]{2}", word)]


@pytest.mark.usefixtures("marked")
@pytest.mark.parametrize(("kind", "letter", "step", "reason"), ALL)
@pytest.mark.parametrize("represented", [None, "Zoë"])
def test_no_word_of_a_letter_is_left_in_english(
    kind: Kind, letter: str, step: Step, reason: str | None, represented: str | None
) -> None:
    answers = replace(ANSWERS, represented=represented)
    message = written(due_letter(kind, letter, step, reason, answers=answers))  # type: ignore[arg-type]
    paths = ("status/token", "status/token/appeal", "status/token/information", "verify/token")
    theirs = {*(f"https://optout.example.org/{path}" for path in paths), "Lens", "Search"}
    reviewers = {word for line in TEXT.splitlines() for word in line.split()}
    assert set(unmarked(message.text, page=False)) <= theirs | reviewers
    assert unmarked(message.html, page=True) == []
    assert unmarked(message.subject, page=False) == []


def pages(submit: Api, requests: Requests, now: datetime) -> Iterator[str]:
    """The public pages, in their states."""
    for path in ("/", "/help", "/privacy", "/accessibility", "/support", "/support?country=DE", "/nowhere"):
        yield submit.get(path).body
    for about in ("", "minor", "intimate", "abuse"):
        yield submit.get(f"/urgent?about={about}").body
    for kind in Kind:
        yield submit.get(f"/opt-out?kind={kind}").body
        yield submit.post("/opt-out", {"kind": kind}).body
        for photos in ((), (photo(face()),), (photo(face(), face(300)), photo(off=True), photo(quality=20))):
            made = draft(requests, now, kind, *photos)
            for problem in ("", "nothing_arrived", "incomplete", "face"):
                yield submit.get(f"/opt-out/{made.id}/photos?problem={problem}&repeated=3.7").body
            yield submit.get(f"/opt-out/{made.id}").body
            yield submit.get(f"/opt-out/{made.id}/check").body
    part = ProposedCrop((1, 2, 3, 4), "c" * 64, 3, 4, 90, ())
    proposed = draft(requests, now, Kind.IMAGE, replace(photo(), proposed=part))
    yield submit.get(f"/opt-out/{proposed.id}/photos").body
    case = pending(requests, now)
    yield submit.get(f"/opt-out/{case.id}/done").body
    yield from afterwards(submit, case)
    requests.ask(case.id, "Which one?", "anna", case.version, now)
    yield from afterwards(submit, case)
    case = requests.inform(case.id, "The left one.", now)
    later = Extension(now, "complex", "We ask a translator.", "anna", now)
    requests.extend(case.id, later, now + timedelta(days=20), case.version)
    requests.verify(case.id, now, provisional=True)
    yield from afterwards(submit, case)
    requests.decide(case.id, Decision("d", Step.ACCEPT, "shows_requester", "", "anna"), None, now)
    yield from afterwards(submit, case)
    requests.withdraw(case.id, now)
    yield from afterwards(submit, case)
    other = pending(requests, now)
    requests.decide(other.id, Decision("e", Step.REJECT, "no_match", "Nothing.", "anna"), None, now)
    yield from afterwards(submit, other)
    requests.appeal(other.id, "No.", now)
    yield from afterwards(submit, other)
    requests.decide(other.id, Decision("f", Step.UPHOLD, "facts_stand", "Nothing.", "ben"), None, now)
    yield from afterwards(submit, other)
    late = pending(requests, now - timedelta(days=200))
    requests.decide(late.id, Decision("g", Step.REJECT, "no_match", "Nothing.", "anna"), None, late.created_at)
    yield from afterwards(submit, late)


def afterwards(submit: Api, case: OptOutRequest) -> Iterator[str]:
    status = status_path(case)
    pages = ("", "/withdraw", "/appeal", "/information", "/information?told=yes")
    for path in (*(f"{status}{page}" for page in pages), verify_path(case)):
        answer = submit.get(path)
        yield answer.body


@pytest.mark.usefixtures("marked")
def test_no_word_of_a_page_is_left_in_english(submit: Api, requests: Requests, now: datetime) -> None:
    left = {word for page in pages(submit, requests, now) for word in unmarked(page, page=True)}
    assert left <= {"help@example.org", "amelie@example.org", "https://example.com/a"}


# --- what the templates hold, in every branch -------------------------------------------------------------------------


def literal_words(templates: Environment, name: str) -> list[str]:
    """Words that a template says without asking for their translation."""
    tree = templates.parse(templates.loader.get_source(templates, name)[0])  # type: ignore[union-attr]
    asked = {
        id(constant)
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name in {"_", "ngettext"}
        for constant in call.find_all(nodes.Const)
    }
    parts = [part for output in tree.find_all(nodes.Output) for part in output.nodes]
    text = "".join(part.data if isinstance(part, nodes.TemplateData) else "\0" for part in parts)
    said = [words for words in SPOKEN_ATTRIBUTES.findall(text) if re.search("[a-z]{2}", words)]
    text = re.sub(r"<!doctype html>|<style>.*?</style>|<[^>]*>|\S+=\"[^\"]*\"", " ", text, flags=re.DOTALL)
    said += re.findall("[A-Za-z]{2,}", text)
    constants = [each.value for each in tree.find_all(nodes.Const) if id(each) not in asked]
    said += [each for each in constants if isinstance(each, str) and re.search("[a-z] [a-z]|^[A-Z][a-z]", each)]
    return said


def test_no_template_holds_a_word_that_is_not_marked() -> None:
    names = [name for name in http._pages().list_templates() if not name.startswith("console/")]
    found = {name: literal_words(http._pages(), name) for name in names}
    found |= {name: literal_words(send._letters(), name) for name in send._letters().list_templates()}
    assert len(found) > 30
    assert {name: said for name, said in found.items() if said} == {}
