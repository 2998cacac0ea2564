"""Whether what a verified requester asks for is held back until it is decided, and within which limits.

Pure. Who verifies an address can hold pictures back from a search before anybody has looked at the case. The limits see
to it that nobody can hold back a search engine by filing cases; above them a case waits as it would without.
"""

from __future__ import annotations

from optout.requests import MAX_LINKS, Unheld

# As many as the largest case has, so that everybody's first case is held back whole, and ten cases with five pictures.
HELD_PER_ADDRESS = MAX_LINKS
# For all addresses together: whoever owns a domain has as many addresses as they like. A day's flood then adds a
# thousandth to a list of a million, and is no more than a few reviewers decide in a day.
HELD_PER_DAY = 1_000


def refusal(wanted: int, held_by_address: int, held_today: int, *, on: bool) -> Unheld | None:
    """Why a case with this many exclusions is not held back; None when it is.

    `held_by_address` counts those in force for the same address now, `held_today` those that began today (UTC) for
    anybody.
    """
    if not on:
        return Unheld.OFF
    if not wanted:
        return Unheld.NOTHING
    if held_by_address + wanted > HELD_PER_ADDRESS:
        return Unheld.ADDRESS
    return Unheld.DAY if held_today + wanted > HELD_PER_DAY else None
