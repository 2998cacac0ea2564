"""Countries to choose from, by their English names."""

from __future__ import annotations

from functools import cache

# CLDR's territories that are no country to live in: the European and United Nations, islands with no code in
# ISO 3166-1 of their own, and test regions. Kosovo (XK) is in no ISO list either, but people live there.
_NOT_COUNTRIES = frozenset(("AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"))


@cache
def countries() -> dict[str, str]:
    """Two-letter code -> name, sorted by name as people look for it ("Åland Islands" among the A's)."""
    from babel import Locale  # 40 ms with its data; loaded with the first form that needs it

    names = {
        code: name
        for code, name in Locale("en").territories.items()
        if len(code) == 2 and code.isalpha() and code not in _NOT_COUNTRIES
    }
    return dict(sorted(names.items(), key=lambda item: _plain(item[1])))


def _plain(name: str) -> str:
    from unicodedata import normalize

    return normalize("NFD", name).encode("ascii", "ignore").decode().casefold()
