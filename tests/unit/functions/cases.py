"""Drafts and cases to call the public site with."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from optout import links, settings
from optout.requests import Answers, Kind, OptOutRequest, Photo, SeenFace, new_ticket
from optout.store import Requests

ANSWERS = Answers(
    "DE",
    "This is private.",
    "Amélie",
    "Müller",
    "amelie@example.org",
    biometric_consent="I agree",
    good_faith=True,
    links=("https://example.com/a",),
)

FILLED: dict[str, Any] = {
    "country": "DE",
    "explanation": "This is private.",
    "first_name": "Amélie",
    "last_name": "Müller",
    "email": "amelie@example.org",
    "phone": "",
    "on_behalf_of": "self",
    "represented": "",
    "biometric_consent": "yes",
    "good_faith": "yes",
    "links": "https://example.com/a",
}


def face(x: int = 100) -> SeenFace:
    return SeenFace((x, 50, 40, 60), 0.9, bytes(512))


def photo(*faces: SeenFace, quality: int = 90, off: bool = False) -> Photo:
    """A photo as the examination records it, 800 x 600."""
    return Photo(
        ticket=new_ticket(),
        sha256="a" * 64,
        picture="b" * 64,
        width=800,
        height=600,
        quality=quality,
        dihedral=tuple(bytes([number]) * 32 for number in range(8)) if quality >= 50 else (),
        faces=None if off else faces,
        face_model=None if off else "model",
        chosen_face=0 if len(faces) == 1 else None,
    )


def draft(requests: Requests, now: datetime, kind: Kind, *photos: Photo, answers: Answers = ANSWERS) -> OptOutRequest:
    """A draft with these photos."""
    made = requests.create_draft(kind, answers, "hash", now)
    for one in photos:
        made = requests.add_photo(made.id, one, now)
    return made


def pending(requests: Requests, now: datetime) -> OptOutRequest:
    """A confirmed case about one face."""
    return requests.confirm(draft(requests, now, Kind.FACE, photo(face())).id, now)


def verify_path(request: OptOutRequest) -> str:
    """The mailed link that verifies its requester's address."""
    return f"/verify/{links.verification_token(request, settings.link_secret())}"


def status_path(request: OptOutRequest) -> str:
    """The mailed link to its status page."""
    return f"/status/{links.status_token(request, settings.link_secret())}"
