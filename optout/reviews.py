"""Doubtful hits on their way to a person, and what comes back.

A lookup that answers `review` puts what it doubts on a queue, because it may write to no table; the consumer keeps one
review for each candidate and exclusion, so that nobody is asked twice; a reviewer's answer goes into the exclusion log.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optout.errors import RequestInvalid
from optout.exclusions.entry import MAX_URL_LENGTH, canonical_url

if TYPE_CHECKING:
    from optout.lookups import Answer

# Of one call, and all in one message: with the longest address and a match each that is 115 kB of SQS's 256.
MAX_DOUBTS = 50
# Pairs that a warm instance remembers having passed on; 2 MB. A crawler asks again after a day, another one sooner.
WINDOW = 10_000


@dataclass(frozen=True)
class Sign:
    """Why a hit is doubted: a signal and its distance, as a lookup's answer has them."""

    signal: str
    distance: float
    threshold: float


@dataclass(frozen=True)
class Doubt:
    """One candidate that one exclusion may apply to. `sha256` (hex) is of the candidate, `url` where it can be seen."""

    sha256: str
    exclusion_id: str
    url: str
    signs: tuple[Sign, ...]


@dataclass(frozen=True)
class Review:
    """A doubt that waits for a person since `found_at`, or that `reviewer` has answered."""

    doubt: Doubt
    found_at: datetime
    same: bool | None = None
    reviewer: str | None = None
    answered_at: datetime | None = None


def doubts(items: Sequence[Any], answer: Answer) -> tuple[list[Doubt], int]:
    """The doubtful hits of a call, and how many items have some that nobody can look at, because the crawler named
    neither the candidate's bytes nor where it can be seen."""
    found: list[Doubt] = []
    unseen = 0
    for item, result in zip(items, answer.results, strict=True):
        if result.verdict != "review":
            continue
        url, sha256 = _url(item), _sha256(item)
        if url is None or sha256 is None:
            unseen += 1
            continue
        signs: dict[str, list[Sign]] = {}
        for match in result.matches:
            signs.setdefault(match.exclusion_id, []).append(Sign(match.signal, match.distance, match.threshold))
        found += [Doubt(sha256, exclusion_id, url, tuple(why)) for exclusion_id, why in signs.items()]
    return found, unseen


def _url(item: dict[str, Any]) -> str | None:
    """The address in its canonical form, which holds no user and no password. None when it is too long so."""
    try:
        url = canonical_url(item["url"]) if item.get("url") else None
    except RequestInvalid:
        return None
    return url if url is not None and len(url) <= MAX_URL_LENGTH else None


def _sha256(item: dict[str, Any]) -> str | None:
    """Of the candidate, by the same rule as the lookup's: as named, else of the bytes that were sent."""
    if item.get("sha256"):
        return str(item["sha256"]).lower()
    picture = item.get("picture")
    return None if not picture else hashlib.sha256(base64.b64decode(picture)).hexdigest()


class PassedOn:
    """What this warm instance has put on the queue lately."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def new(self, found: Iterable[Doubt]) -> list[Doubt]:
        """Those that are not known to be on the queue, each once."""
        fresh = {(doubt.sha256, doubt.exclusion_id): doubt for doubt in found}
        return [doubt for pair, doubt in fresh.items() if pair not in self._known]

    def note(self, sent: Iterable[Doubt]) -> None:
        """Remember what the queue has taken; the oldest beyond the window is forgotten."""
        for doubt in sent:
            self._known[doubt.sha256, doubt.exclusion_id] = None
            if len(self._known) > WINDOW:
                self._known.popitem(last=False)


def to_message(found: Iterable[Doubt]) -> str:
    """The message on the reviews' queue."""
    return json.dumps([asdict(doubt) for doubt in found])


def from_message(text: str) -> list[Doubt]:
    """The doubts of a message. Raises `ValueError` for what is none of ours."""
    try:
        return [
            Doubt(
                _matching(r"[0-9a-f]{64}", each["sha256"]),
                _matching(r"[\w.-]{1,64}", each["exclusion_id"]),
                canonical_url(each["url"]),
                tuple(
                    Sign(_matching(r"\w{1,16}", sign["signal"]), float(sign["distance"]), float(sign["threshold"]))
                    for sign in each["signs"]
                ),
            )
            for each in json.loads(text)
        ]
    except (KeyError, TypeError, RequestInvalid) as error:
        raise ValueError("not doubts") from error


def _matching(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError("not a doubt")
    return text
