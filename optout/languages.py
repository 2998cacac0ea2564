"""The languages of the public site and the letters, and the one that is being spoken.

English is the source: the sentence in the code is the key of the catalogues in `optout/web/locales`, and stands in for
what is not translated. Who makes a page or a letter says `with speaking("pl")`; whatever is said inside it is Polish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from jinja2 import Environment


class Language(NamedTuple):
    """What a language calls itself, which way it is written (`ltr` or `rtl`), and the CLDR locale whose dates, numbers
    and country names go with it."""

    name: str
    direction: str
    locale: str


ENGLISH = "en"
# In the order in which they are offered. English with a day before its month, as most of its readers here write it.
LANGUAGES: dict[str, Language] = {
    ENGLISH: Language("English", "ltr", "en_GB"),
    "de": Language("Deutsch", "ltr", "de"),
    "pl": Language("Polski", "ltr", "pl"),
    "fr": Language("Français", "ltr", "fr"),
    "es": Language("Español", "ltr", "es"),
    "ar": Language("العربية", "rtl", "ar"),
}
# More wishes than these no browser sends.
_MAX_WISHES = 30


class Spoken(NamedTuple):
    """The language being spoken. `asked`: by `?lang=`, so that every link that follows must say it again."""

    code: str = ENGLISH
    asked: bool = False


_spoken: ContextVar[Spoken] = ContextVar("spoken", default=Spoken())  # noqa: B039  a named tuple does not change
Code = TypeVar("Code")


def chosen(query: Mapping[str, str], accept_language: str) -> Spoken:
    """The language of a visitor: the one that the address names, else the best of those that the browser accepts."""
    wish = query.get("lang", "")
    if wish in LANGUAGES:
        return Spoken(wish, asked=True)
    return Spoken(next((code for code in _wishes(accept_language) if code in LANGUAGES), ENGLISH))


def _wishes(accept_language: str) -> list[str]:
    """The languages of an Accept-Language header without their regions, the dearest first (RFC 9110, section 12.5.4).
    What is not well formed is left out."""
    wishes: list[tuple[float, str]] = []
    for part in accept_language.split(",")[:_MAX_WISHES]:
        tag, _, weight = part.partition(";")
        name, _, quality = weight.strip().partition("=")
        try:
            worth = float(quality) if name.strip().lower() == "q" else 1.0
        except ValueError:
            continue
        if 0 < worth <= 1:
            wishes.append((worth, tag.strip().partition("-")[0].lower()))
    return [code for _, code in sorted(wishes, key=lambda wish: -wish[0])]


@contextmanager
def speaking(code: str, *, asked: bool = False) -> Iterator[None]:
    """Whatever is said inside is said in this language, a key of `LANGUAGES`."""
    before = _spoken.set(Spoken(code, asked))
    try:
        yield
    finally:
        _spoken.reset(before)


def spoken() -> str:
    """The language being spoken, a key of `LANGUAGES`."""
    return _spoken.get().code


def wish() -> str:
    """`lang=pl` where the visitor asked for Polish, to be part of the query of every link; else empty."""
    code, asked = _spoken.get()
    return f"lang={code}" if asked else ""


def gettext(sentence: str) -> str:
    """The sentence in the language being spoken."""
    return _catalogue(spoken()).gettext(sentence)


def ngettext(one: str, many: str, count: int) -> str:
    """The sentence for this many, in the language being spoken."""
    return _catalogue(spoken()).ngettext(one, many, count)


def N_(sentence: str) -> str:  # noqa: N802  every tool of gettext knows it by this name
    """The sentence as it is, marked to be translated: for tables that are made before anybody speaks."""
    return sentence


class Sentences(Mapping[Code, str]):
    """Code -> sentence, said in the language that is spoken when it is looked up. The English ones are marked `N_`."""

    def __init__(self, english: Mapping[Code, str]) -> None:
        self._english = english

    def __getitem__(self, code: Code) -> str:
        return gettext(self._english[code])

    def __iter__(self) -> Iterator[Code]:
        return iter(self._english)

    def __len__(self) -> int:
        return len(self._english)


def translate(templates: Environment) -> None:
    """Let these templates say `_('...')`, with `%(name)s` in it for `name=`, and `{% trans %}`."""
    templates.add_extension("jinja2.ext.i18n")
    templates.policies["ext.i18n.trimmed"] = True
    templates.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]  # by extension


@cache
def _catalogue(code: str) -> NullTranslations:
    if code == ENGLISH:
        return NullTranslations()
    with files("optout").joinpath("web", "locales", code, "LC_MESSAGES", "optout.mo").open("rb") as catalogue:
        return GNUTranslations(catalogue)
