"""The catalogues hold every sentence of the site and of the letters, in every language, with nothing lost or broken."""

from __future__ import annotations

import io
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from local.place import REPOSITORY
from optout.languages import ENGLISH, LANGUAGES

LOCALES = REPOSITORY / "optout" / "web" / "locales"
TRANSLATED = sorted(set(LANGUAGES) - {ENGLISH})
PLACEHOLDER = re.compile(r"%\(\w+\)s|%%|%")
TAG = re.compile(r"<[^>]*>")


def file(code: str, kind: str) -> Path:
    return LOCALES / code / "LC_MESSAGES" / f"optout.{kind}"


@cache
def catalogue(code: str) -> Catalog:
    with file(code, "po").open("rb") as text:
        return read_po(text, locale=code, domain="optout")


def messages(code: str) -> list[Message]:
    return [message for message in catalogue(code) if message.id]


def forms(message: Message) -> list[tuple[str, str]]:
    """Each translation with the English sentence that it stands for; those that are not translated yet are left out."""
    if isinstance(message.id, str):
        pairs = [(message.id, message.string)]
    else:
        one, many = message.id
        pairs = [(one if index == 0 else many, said) for index, said in enumerate(message.string)]
    return [(english, said) for english, said in pairs if said]


def in_the_sources() -> set[str | tuple[str, ...]]:
    """Every sentence that is marked, found as `make catalogues` finds them."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    methods: list[tuple[str, str]] = []
    options: dict[str, dict[str, str]] = {}
    for mapping in settings:
        patterns = [mapping["pattern"]] if isinstance(mapping["pattern"], str) else mapping["pattern"]
        methods += [(pattern, mapping["method"]) for pattern in patterns]
        options |= {pattern: {"trimmed": "true"} for pattern in patterns if "trimmed" in mapping}
    found = extract_from_dir(REPOSITORY / "optout", methods, options)
    return {sentence for _file, _line, sentence, _comments, _context in found}


def test_there_is_a_catalogue_for_every_language_and_no_other() -> None:
    assert sorted(path.name for path in LOCALES.iterdir()) == TRANSLATED
    makefile = (REPOSITORY / "Makefile").read_text()
    assert sorted(re.search(r"(?m)^TRANSLATED := (.*)$", makefile)[1].split()) == TRANSLATED  # type: ignore[index]


@pytest.mark.parametrize("code", TRANSLATED)
def test_what_is_deployed_is_what_was_written(code: str) -> None:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue(code))
    assert file(code, "mo").read_bytes() == compiled.getvalue(), "run `make catalogues`"


@pytest.mark.parametrize("code", TRANSLATED)
def test_no_translation_is_a_guess_and_every_plural_is_whole(code: str) -> None:
    assert [message.id for message in messages(code) if message.fuzzy] == []
    plurals = [message for message in messages(code) if message.pluralizable]
    assert [message.id for message in plurals if len(message.string) != catalogue(code).num_plurals] == []
    assert [message.id for message in plurals if any(message.string) and not all(message.string)] == []


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_placeholder_survives(code: str) -> None:
    for message in messages(code):
        # What is counted may be a word: "one photo", "two photos", where a language has a form for just that many.
        countless = {"%(num)s"} if message.pluralizable else set()
        all_of_it = set(PLACEHOLDER.findall(" ".join([message.id] if isinstance(message.id, str) else message.id)))
        for english, said in forms(message):
            kept = set(PLACEHOLDER.findall(said))
            assert set(PLACEHOLDER.findall(english)) - countless <= kept <= all_of_it, (english, said)


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_tag_survives_and_no_sentence_breaks_out_of_an_attribute(code: str) -> None:
    for message in messages(code):
        for english, said in forms(message):
            assert TAG.findall(said) == TAG.findall(english), (english, said)
            assert not set('"<>') & set(TAG.sub("", said)), said
            assert said == said.strip(), said


@pytest.mark.parametrize("code", TRANSLATED)
def test_no_sentence_is_missing_and_none_is_unused(code: str) -> None:
    written = {message.id if isinstance(message.id, str) else tuple(message.id) for message in messages(code)}
    marked = in_the_sources()
    assert marked - written == set(), "run `make catalogues` and translate what is new"
    assert written - marked == set(), "run `make catalogues`"
    assert [message.id for message in messages(code) if not forms(message)] == [], "translate these"
    assert list(catalogue(code).obsolete) == []
