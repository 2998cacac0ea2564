"""Countries to choose from, by their names in the language being spoken."""

from __future__ import annotations

import unicodedata
from functools import cache

from optout.languages import LANGUAGES, spoken

# CLDR's territories that are no country to live in: the European and United Nations, islands with no code in
# ISO 3166-1 of their own, and test regions. Kosovo (XK) is in no ISO list either, but people live there.
_NOT_COUNTRIES = frozenset(("AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"))
# Letters that have a place of their own in the alphabet, after the one they look like; elsewhere marks do not count.
_OWN_LETTERS = {"pl": "ąćęłńóśź", "es": "ñ"}
_LAST = "\uffff"


def countries() -> dict[str, str]:
    """Two-letter code -> name, sorted by name as people look for it ("Åland Islands" among the A's)."""
    return _countries(spoken())


@cache
def _countries(language: str) -> dict[str, str]:
    from babel import Locale  # 40 ms with its data; loaded with the first form that needs it

    names = {
        code: name
        for code, name in Locale.parse(LANGUAGES[language].locale).territories.items()
        if len(code) == 2 and code.isalpha() and code not in _NOT_COUNTRIES
    }
    return dict(sorted(names.items(), key=lambda item: _place(item[1], language)))


def _place(name: str, language: str) -> str:
    """What to compare names by: letters without their marks, as the alphabets of our languages have them."""
    own = {letter: _plain(letter) + _LAST for letter in _OWN_LETTERS.get(language, "")} | {"ż": f"z{_LAST}{_LAST}"}
    return "".join(own.get(letter, _plain(letter)) for letter in name.casefold())


def _plain(letter: str) -> str:
    """The letter without accents, or with Arabic the alif without its hamza; empty for what is no letter."""
    letter = unicodedata.normalize("NFD", letter.replace("ł", "l"))
    return "".join(part for part in letter if part.isalnum() or part == " ")
