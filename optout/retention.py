"""Deletes what has been kept long enough: drafts after a day, requests whose address nobody verified after ten, photos
after the appeal window, cases after three years, possible copies after three months or when their exclusion is off the
list, SES's message ids after 90 days.

The periods are in `optout.deadlines`; the table itself says which case falls due when. Every step may be killed: photos
go before the note that they are gone, and a case's own item goes last, so the next sweep finds what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from optout.store import Photos, Requests

# The function has 30 s; what is not reached is the next sweep's.
SWEEP_SECONDS = 20.0
_BATCH = 100


@dataclass
class Swept:
    """How many drafts, unverified requests, cases and reviews were deleted, and of how many cases the photos; `failed`
    are left to the next sweep."""

    drafts: int = 0
    unverified: int = 0
    photos: int = 0
    cases: int = 0
    reviews: int = 0
    failed: int = 0


def sweep(requests: Requests, photos: Photos, now: datetime, *, clock: Callable[[], float] = time.monotonic) -> Swept:
    """Delete everything whose time is over, for at most `SWEEP_SECONDS`. A case that fails holds up no other."""
    until = clock() + SWEEP_SECONDS
    swept = Swept()

    def forget_draft(request_id: str) -> None:
        # From here on it can no longer be confirmed; a draft that was confirmed in time is a case and stays.
        if requests.expire(request_id, "draft", now):
            for case_id, picture in requests.unused_copies(request_id):
                photos.delete_copy(case_id, picture)
            photos.delete_all(request_id)
            requests.delete_case(request_id)
            swept.drafts += 1

    def forget_unverified(request_id: str) -> None:
        # From here on it can no longer be verified; one that was verified in time has no such date any more.
        if requests.expire(request_id, "unverified", now):
            photos.delete_all(request_id)
            requests.delete_case(request_id)
            swept.unverified += 1

    def forget_photos(request_id: str) -> None:
        photos.delete_all(request_id)
        requests.forget_photos(request_id, now)
        swept.photos += 1

    def forget_case(request_id: str) -> None:
        photos.delete_all(request_id)
        requests.delete_case(request_id)
        swept.cases += 1

    for key in requests.message_ids_over(now, _BATCH):
        try:
            requests.forget_message_id(key)
        except (BotoCoreError, ClientError):
            swept.failed += 1

    periods = {
        "draft": forget_draft,
        "unverified": forget_unverified,
        "photos": forget_photos,
        "case": forget_case,
    }
    for period, forget in periods.items():
        seen: set[str] = set()
        while fresh := [found for found in requests.falling_due(period, now, _BATCH) if found not in seen]:
            for request_id in fresh:
                if clock() >= until:
                    return swept
                seen.add(request_id)
                try:
                    forget(request_id)
                except (BotoCoreError, ClientError):
                    swept.failed += 1
    while clock() < until and (forgotten := requests.forget_reviews(now, _BATCH)):
        swept.reviews += forgotten
    return swept
