"""When a case must be decided, and how long anything is kept.

Pure, but for two periods that an operator may lengthen by the environment. The table of countries and promises is
`deadlines.toml`; the law behind it is named there. Dates are in UTC.
"""

from __future__ import annotations

import os
import tomllib
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from optout.requests import OPEN, Kind, OptOutRequest, Status


def _at_least(variable: str, least: int) -> int:
    """What the operator set, or the least. Raises `ValueError` below it: what the law asks for is no choice."""
    wanted = int(os.environ.get(variable, least))
    if wanted < least:
        raise ValueError(f"{variable} must be at least {least}, not {wanted}")
    return wanted


# Drafts and raw uploads: long enough to find another photo, short enough that abandoned ones are gone tomorrow.
DRAFT_LIFETIME = timedelta(hours=24)
# DynamoDB's TTL deletes drafts that the sweep never reached; later than the sweep, which also deletes their photos.
DRAFT_BACKSTOP = timedelta(days=8)
# DSA Art 20(1): complaints against a decision stay open for at least six months; photos are kept until then.
APPEAL_WINDOW = timedelta(days=_at_least("APPEAL_WINDOW_DAYS", 184))
# After a withdrawal nobody needs the photos but the reviewer who handles a slip of the finger.
WITHDRAWN_PHOTOS_KEPT = timedelta(days=7)
# A complaint about a letter can arrive weeks after it; until then its message id leads to the case.
MESSAGE_IDS_KEPT = timedelta(days=90)
# How long no letter goes to an address from which one came back. Mailboxes are given anew; a year is long enough to
# spare who complained, and what came back will come back once more.
SUPPRESSED_KEPT = timedelta(days=365)
# How long a possible copy is kept for a reviewer, and how long it is known who answered: a crawler asks again every
# day, so what is still met comes back, and what was answered stands in the list and in the case's history.
REVIEWS_KEPT = timedelta(days=90)
# The link that verifies an address: long enough for a holiday weekend, and it can be sent again while the case is open.
VERIFICATION_LINK = timedelta(days=7)
# A request without a proof of work waits for its address so long, then it is deleted: the week of the link, and three
# days for a letter that was sent again. Shorter than what any law gives us for the decision (15 days, Brazil).
UNVERIFIED_KEPT = timedelta(days=10)
# How many pictures an address sent by code in a month of the calendar: until nobody counts in it any more.
HASHED_COUNTED = timedelta(days=35)
# How many exclusions hold back for an address, once there are none, and how many began on one day.
HOLDS_COUNTED = timedelta(days=2)
# Limitation period of most civil claims in the EU member states; then the case is deleted whole.
CASE_KEPT = timedelta(days=365 * _at_least("CASE_KEPT_YEARS", 3))
# What is withdrawn has left the log and the snapshots of the exclusion list, old versions included, after this time at
# the latest. It is more than what follows adds up to, so that a compaction that fails for days still keeps the promise.
WITHDRAWN_SIGNALS_GONE = timedelta(days=35)
# A segment of the list is written anew without what was withdrawn when the oldest of it has waited so long.
LIST_WITHDRAWN_KEPT = timedelta(days=7)
# A change stays in the log so long after it is in a snapshot: what is restored from a backup of a few days ago goes on
# from the same snapshot.
LIST_LOG_KEPT = timedelta(days=7)
# A segment is deleted so long after it was replaced: nobody who began to read it then still does.
LIST_SEGMENTS_KEPT = timedelta(days=1)


# The rule of a date that was put off; the letter about it said why.
EXTENDED = "extended"


@dataclass(frozen=True)
class Due:
    """A date by which a case must be decided, and the rule that set it (a name in `deadlines.toml`, or `EXTENDED`)."""

    at: datetime
    rule: str


def appeal_until(request: OptOutRequest) -> datetime | None:
    """Until when the decision against the requester that stands can be appealed; None when none stands, or an appeal
    was decided already: after that the ways are outside (DSA Art 21, authority, court)."""
    if request.upheld is not None:
        return None
    if request.status is Status.REVOKED and request.revocation:
        return (request.revocation.confirmed_at or request.revocation.at) + APPEAL_WINDOW
    if request.status is Status.REJECTED and request.decision:
        return request.decision.at + APPEAL_WINDOW
    return None


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("optout").joinpath("deadlines.toml").read_text(encoding="utf-8"))


def _add_months(start: datetime, months: int) -> datetime:
    """The corresponding date in a later month, or that month's last day (ICO, "How long do we have to comply?")."""
    month = start.month - 1 + months
    year, month = start.year + month // 12, month % 12 + 1
    return start.replace(year=year, month=month, day=min(start.day, monthrange(year, month)[1]))


def _after(start: datetime, rule: dict[str, Any]) -> datetime:
    if "months" in rule:
        return _add_months(start, rule["months"])
    return start + timedelta(days=rule.get("days", 0), hours=rule.get("hours", 0))


def _legal(country: str) -> dict[str, Any]:
    """The rule of the law for requests from a country; without one, what we promise everybody."""
    rules: list[dict[str, Any]] = _table()["regimes"]
    return next((rule for rule in rules if country in rule["countries"]), _table()["default"])


def due(
    kind: Kind, country: str, received_at: datetime, *, urgent: bool = False, begun_at: datetime | None = None
) -> Due:
    """The date by which a request of this kind from this country must be decided: the law's or ours, the earlier.

    `urgent` is what is said of its lane (`Lane.urgent`). The law's time runs from when we received it, ours from when
    we could begin, `begun_at`, if that is later: a request that waited until its address was verified."""
    ours = _table()["promises"]["urgent" if urgent else kind.value]
    rules = ((begun_at or received_at, ours), (received_at, _legal(country)))
    return min((Due(_after(start, rule), rule["name"]) for start, rule in rules), key=lambda found: found.at)


def appeal_due(received_at: datetime, *, urgent: bool = False) -> Due:
    """The date by which an appeal must be decided. What goes first (`Lane.urgent`) goes first on appeal, too."""
    rule = _table()["promises"]["urgent"] if urgent else _table()["appeal"]
    return Due(_after(received_at, rule), rule["name"])


def latest_extension(request: OptOutRequest, now: datetime) -> datetime | None:
    """The latest date that the decision about an open case may be put off to; None when it may not be put off.

    Our own promise may be put off to the law's date, and the law's date by what the law allows on top; once, and only
    before the date has come.
    """
    if request.status not in OPEN or request.extension is not None:
        return None
    if request.confirmed_at is None or request.due_at is None or now >= request.due_at:
        return None
    if any(rule.get("fixed") and rule["name"] == request.due_rule for rule in _table()["promises"].values()):
        return None
    legal = _legal(request.answers.country)
    at = _after(request.confirmed_at, legal)
    if request.due_rule == legal["name"]:
        if "extension" not in legal:
            return None
        at = _after(at, legal["extension"])
    return at if at > request.due_at else None
