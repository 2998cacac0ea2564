"""Looking at one uploaded photo: bytes of a stranger -> what was seen on it, recorded on the draft.

The order of the steps makes every one of them repeatable: the upload is discarded last, so that whatever dies in
between leaves it for the next try, and a second run writes the same copy under the same name.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import datetime

from PIL import Image

from optout.errors import AlreadyConfirmed, FacesOff, PhotoUnreadable, TooManyPhotos
from optout.fingerprint import FACE_MODEL, PDQ_MIN_QUALITY, Fingerprint, Picture, decode, reencode
from optout.fingerprint.crop import proposed_crop
from optout.requests import Kind, Photo, ProposedCrop, SeenFace
from optout.self_test import Caught, would_catch
from optout.store import Photos, Requests


def examine(requests: Requests, photos: Photos, draft_id: str, ticket: str, now: datetime) -> None:
    """Look at the upload under this ticket once, keep a clean copy, record what was seen, and discard the upload.

    A ticket that is recorded already changes nothing, whatever has been uploaded under it since. Raises
    `PhotoUnreadable` (nothing of the file is kept), `PhotoNotFound` when nothing was uploaded, `TooManyPhotos`,
    `AlreadyConfirmed` and `RequestNotFound`.
    """
    draft = requests.get(draft_id, now)
    if ticket in draft.photos:
        return
    if draft.sent:
        raise AlreadyConfirmed
    raw = photos.read_raw(draft_id, ticket)
    try:
        if len(draft.photos) >= requests.room(draft, now):
            raise TooManyPhotos
        photo, copies = look_at(raw.data, ticket, draft.kind)
        for copy in copies:
            photos.keep(draft.home, hashlib.sha256(copy).hexdigest(), copy)
        requests.add_photo(draft_id, photo, now)
    except (PhotoUnreadable, TooManyPhotos, AlreadyConfirmed):
        photos.discard_raw(draft_id, ticket)
        raise
    photos.discard_raw(draft_id, ticket)


def examine_tested(requests: Requests, photos: Photos, test_id: str, ticket: str, now: datetime) -> tuple[Kind, Caught]:
    """What the case that a test is about would do with the upload under this ticket, and the case's kind. The upload is
    discarded: nothing of it is kept.

    Raises `PhotoUnreadable`, `PhotoNotFound` when nothing was uploaded, `EnoughTested`, `NothingToExclude` when nothing
    of the case's photos is left to compare with, and what `Requests.tested_case` raises.
    """
    case = requests.tested_case(test_id, now)
    raw = photos.read_raw(test_id, ticket)
    try:
        requests.count_tested(test_id)
        faces = case.kind is Kind.FACE
        fingerprint = Fingerprint.of_picture(decode(raw.data), hashlib.sha256(raw.data).hexdigest(), faces=faces)
        if faces and fingerprint.faces is None:
            raise FacesOff
        return case.kind, would_catch(case, requests.photos(case.id), fingerprint)
    finally:
        photos.discard_raw(test_id, ticket)


def look_at(data: bytes, ticket: str, kind: Kind) -> tuple[Photo, tuple[bytes, ...]]:
    """What is seen on a picture in a case of this kind, and the copy of it that everybody else sees; second one of the
    part that is proposed, if any. Raises `PhotoUnreadable`."""
    picture = decode(data)
    # A face is measured only where its owner consented to that: in a case about a face.
    faces = kind is Kind.FACE
    copy = reencode(picture)
    with Image.open(io.BytesIO(copy)) as kept:  # the header only
        width, height = kept.size
    fingerprint = Fingerprint.of_picture(picture, hashlib.sha256(data).hexdigest(), faces=faces)
    across, down = width / picture.width, height / picture.height
    seen = None
    problem = None
    if fingerprint.faces is not None:
        # Faces that nobody can be recognised by are not offered for choice: listed, they would exclude others.
        seen = tuple(
            SeenFace(_scaled(face.box, across, down), face.score, face.embedding.astype("<f4").tobytes())
            for face in fingerprint.faces
            if not face.problems
        )
        # Of several such faces the largest is the likeliest to be the one that was meant.
        unusable = [face for face in fingerprint.faces if face.problems]
        if unusable:
            problem = str(max(unusable, key=lambda face: min(face.box[2:])).problems[0])
    quality = fingerprint.quality or 0
    photo = Photo(
        ticket=ticket,
        sha256=hashlib.sha256(data).hexdigest(),
        picture=hashlib.sha256(copy).hexdigest(),
        width=width,
        height=height,
        quality=quality,
        dihedral=fingerprint.dihedral if quality >= PDQ_MIN_QUALITY else (),
        faces=seen,
        # Where a face is excluded, nobody looks for copies of the picture.
        keypoints=None if faces else fingerprint.keypoints,
        face_model=FACE_MODEL if seen is not None else None,
        chosen_face=0 if seen is not None and len(seen) == 1 else None,
        face_problem=problem,
    )
    # Only a picture that is excluded itself is worth the question.
    part = _part(picture, (width, height)) if kind is Kind.IMAGE else None
    if part is None:
        return photo, (copy,)
    proposed, part_copy = part
    return replace(photo, proposed=proposed), (copy, part_copy)


def _part(picture: Picture, whole: tuple[int, int]) -> tuple[ProposedCrop, bytes] | None:
    """The part that seems to be the picture, with its copy; `whole` is the size of the whole's copy."""
    found = proposed_crop(picture.rgb)
    if found is None:
        return None
    x, y, width, height = found
    part = Picture(picture.rgb[y : y + height, x : x + width], width, height, picture.format)
    copy = reencode(part)
    with Image.open(io.BytesIO(copy)) as kept:
        size = kept.size
    fingerprint = Fingerprint.of_picture(part, None, faces=False)
    proposed = ProposedCrop(
        box=_scaled(found, whole[0] / picture.rgb.shape[1], whole[1] / picture.rgb.shape[0]),
        picture=hashlib.sha256(copy).hexdigest(),
        width=size[0],
        height=size[1],
        quality=fingerprint.quality or 0,
        dihedral=fingerprint.codes,
        keypoints=fingerprint.keypoints,
    )
    return proposed, copy


def _scaled(box: tuple[int, int, int, int], across: float, down: float) -> tuple[int, int, int, int]:
    x, y, width, height = box
    return round(x * across), round(y * down), round(width * across), round(height * down)
