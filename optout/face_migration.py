"""A change of the face model: what each case needs, and doing it; docs/face-model.md has the procedure.

Vectors of two models cannot be compared, so every listed face is measured anew: from photos that are still kept, else
from a new photo, which only the requester has. Each case is one conditional write, so a run may be interrupted anywhere
and repeated: what is done needs nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from optout.errors import FacesOff, PhotoNotFound, PhotoUnreadable
from optout.examination import look_at
from optout.requests import OPEN, Kind, OptOutRequest, Photo, SeenFace, Status
from optout.store import CASE_ROUNDS, Photos, Requests

# Two detectors frame one face a little differently, and faces of two people beside each other hardly overlap.
SAME_FACE_OVERLAP = 0.3

# The usable faces on a kept copy, measured by the new model. Raises `PhotoUnreadable`, `FacesOff`.
Measure = Callable[[bytes], Sequence[SeenFace]]


class Need(StrEnum):
    """What has to be done for one case before the list is of one model again."""

    NOTHING = "nothing"
    MEASURE_AGAIN = "measure_again"
    NEW_PHOTO = "new_photo"


@dataclass
class Migrated:
    """Numbers of the cases that were measured again, whose requesters were asked for a new photo now or before, and
    that kept changing and are left to the next run."""

    measured: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    asked_before: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def need(case: OptOutRequest, photos: Sequence[Photo], model: str) -> Need:
    """What one case needs when lookups compare faces of `model`. `photos` are those that are still kept."""
    if case.kind is not Kind.FACE or case.status not in OPEN | {Status.ACCEPTED}:
        return Need.NOTHING
    used = [photo for photo in photos if photo.own_face is not None]
    if any(photo.face_model != model for photo in used):
        return Need.MEASURE_AGAIN
    waiting = case.added if case.status is Status.ACCEPTED else ()
    return Need.NOTHING if any(photo.ticket not in waiting for photo in used) else Need.NEW_PHOTO


def needs(requests: Requests, model: str) -> Iterator[tuple[OptOutRequest, Need]]:
    """Every face case that is open or in force with what it needs. Looks at the whole table: for an operator, not for a
    page."""
    for case in requests.face_cases():
        if case.status in OPEN | {Status.ACCEPTED}:
            yield case, need(case, requests.photos(case.id), model)


def migrate(requests: Requests, photos: Photos, now: datetime, *, model: str, measure: Measure) -> Migrated:
    """Measure the kept photos of every case again, and ask for a new one where none is kept or shows the face to
    `model`. Raises `FacesOff`, and botocore's errors."""
    migrated = Migrated()
    for found, first in needs(requests, model):
        case, wanted = found, first
        for _ in range(CASE_ROUNDS):
            if wanted is Need.NOTHING:
                break
            if wanted is Need.MEASURE_AGAIN:
                seen = [_measured(case, photo, photos, model, measure) for photo in requests.photos(case.id)]
                if requests.measured_again(case, seen, now):
                    migrated.measured.append(case.number)
            elif case.new_photo_asked_at is not None:
                migrated.asked_before.append(case.number)
                break
            elif requests.ask_new_photo(case, now):
                migrated.asked.append(case.number)
                break
            # It changed meanwhile, or measuring has shown that the face is not found any more: look again.
            case = requests.get(case.id, now)
            wanted = need(case, requests.photos(case.id), model)
        else:
            migrated.left.append(case.number)
    return migrated


def usable_faces(copy: bytes) -> Sequence[SeenFace]:
    """The usable faces on a kept copy by the model of this code. Raises `PhotoUnreadable`, `FacesOff`."""
    faces = look_at(copy, "", Kind.FACE)[0].faces
    if faces is None:
        raise FacesOff
    return faces


def _measured(case: OptOutRequest, photo: Photo, photos: Photos, model: str, measure: Measure) -> Photo:
    """The photo as the new model sees it; the face in the place of the chosen one is the chosen one."""
    own = photo.own_face
    if own is None or photo.picture is None or photo.face_model == model:
        return photo
    try:
        faces = tuple(measure(photos.read_copy(case.home, photo.picture)))
    except (PhotoNotFound, PhotoUnreadable):
        faces = ()
    overlaps = [_overlap(own.box, face.box) for face in faces]
    best = max(overlaps, default=0.0)
    chosen = overlaps.index(best) if best >= SAME_FACE_OVERLAP else None
    return replace(photo, faces=faces, face_model=model, chosen_face=chosen)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Shared area of two boxes (x, y, width, height), as a share of what both cover together."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    together = one[2] * one[3] + other[2] * other[3] - shared
    return shared / together if together else 0.0
