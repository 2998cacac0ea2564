"""What a change of the face model asks for, case by case; docs/face-model.md has the procedure.

Vectors of two models cannot be compared, so every listed face is measured anew: from photos that are still kept, else
from a new photo, which only the requester has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from optout.requests import Kind, OptOutRequest, Photo, Status
from optout.store import Requests


class Need(StrEnum):
    """What has to be done for one case before the list is of one model again."""

    NOTHING = "nothing"
    MEASURE_AGAIN = "measure_again"
    NEW_PHOTO = "new_photo"


def need(case: OptOutRequest, photos: Sequence[Photo], model: str) -> Need:
    """What one case needs when lookups compare faces of `model`. `photos` are those that are still kept."""
    in_force_or_to_decide = case.status in {Status.PENDING, Status.ACCEPTED}
    if case.kind is not Kind.FACE or not in_force_or_to_decide:
        return Need.NOTHING
    used = [photo for photo in photos if photo.own_face is not None]
    if not used:
        return Need.NEW_PHOTO
    return Need.NOTHING if all(photo.face_model == model for photo in used) else Need.MEASURE_AGAIN


def needs(requests: Requests, model: str) -> Iterator[tuple[OptOutRequest, Need]]:
    """Every face case in force with what it needs. Looks at the whole table: for an operator, not for a page."""
    for case in requests.with_exclusions():
        if case.kind is Kind.FACE and case.status is Status.ACCEPTED:
            yield case, need(case, requests.photos(case.id), model)
