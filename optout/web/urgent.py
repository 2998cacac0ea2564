"""The pages before a request of an urgent lane: what we do, what is never sent here, who helps besides.

They need no store and know nobody. What somebody chose stands in the query only, which no log holds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import cache
from importlib.resources import files
from typing import Any

from aws_lambda_powertools.event_handler import Response
from markupsafe import Markup

from optout import http, settings
from optout.languages import N_, Sentences, wish
from optout.requests import Lane
from optout.web import wording
from optout.web.countries import countries

EVERYWHERE = "*"

# What the codes of `support.toml` mean to whoever looks for help.
HELPING = Sentences(
    {
        "talk": N_("Listens and advises."),
        "remove": N_("Gets pictures taken down at other places."),
        "report": N_("Takes reports of the sexual abuse of children, also without your name."),
        "adults": N_("For adults."),
        "minors": N_("About people under 18."),
        "everybody": N_("For adults and for people under 18."),
    }
)


@dataclass(frozen=True)
class Organisation:
    """Somebody who helps with such pictures: `support.toml` says what the fields hold."""

    name: str
    url: str
    countries: tuple[str, ...]
    languages: tuple[str, ...]
    does: tuple[str, ...]
    whom: tuple[str, ...]
    source: str
    phone: str = ""

    @property
    def dial(self) -> str:
        """The phone number as a link dials it."""
        return "".join(char for char in self.phone if char.isdigit() or char == "+")


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("optout").joinpath("support.toml").read_text(encoding="utf-8"))


@cache
def organisations() -> tuple[Organisation, ...]:
    """Everybody in `support.toml`, in its order."""
    lists = ("countries", "languages", "does", "whom")
    return tuple(Organisation(**(row | {key: tuple(row[key]) for key in lists})) for row in _table()["organisation"])


def helping_in(country: str) -> list[Organisation]:
    """Who helps in one country, or `EVERYWHERE`."""
    return [each for each in organisations() if country in each.countries]


# Whose helpers are named on the page of a lane itself, and not only on the list by country.
_ELSEWHERE: dict[Lane | None, str] = {Lane.INTIMATE: "adults", Lane.ABUSE: "minors"}


def urgent_page(query: Mapping[str, str]) -> Response[Any]:
    """What is done within 24 hours and what is never sent here; `about` names a lane, and its page says how to ask."""
    about = query.get("about", "")
    lane = Lane(about) if about in list(Lane) and Lane(about).urgent else None
    return http.page(
        "urgent.html",
        about=lane.value if lane else "",
        elsewhere=[each for each in helping_in(EVERYWHERE) if _ELSEWHERE.get(lane) in each.whom],
        helping=HELPING,
        tel=_tel,
        exit_url=settings.exit_url(),
    )


def _tel(organisation: Organisation) -> Markup:
    """The phone number to press, written from left to right in every language."""
    return Markup('<a href="tel:{}" dir="ltr">{}</a>').format(organisation.dial, organisation.phone)


def support_page(query: Mapping[str, str]) -> Response[Any]:
    """Who helps in the chosen country, who helps everywhere, and the list of all countries."""
    names = countries()
    known = {code for each in organisations() for code in each.countries} - {EVERYWHERE}
    country = query.get("country", "")
    country = country if country in names else ""
    return http.page(
        "support.html",
        country=country,
        countries=names,
        here=helping_in(country) if country else [],
        everywhere=helping_in(EVERYWHERE),
        asked_language=wish().removeprefix("lang="),
        helping=HELPING,
        tel=_tel,
        checked=wording.date(datetime.combine(_table()["checked"], time(12), UTC)),
        others=[(code, name, helping_in(code)) for code, name in names.items() if code in known and code != country],
        exit_url=settings.exit_url(),
    )
