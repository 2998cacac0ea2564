"""Would this case catch that picture? What "test a picture" on the status page asks.

Compared is with the requester's own exclusions only, never with the list: an answer says nothing about anybody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from optout.decisions import exclusions_for
from optout.exclusions.entry import Scope
from optout.exclusions.matcher import ExclusionList, Outcome
from optout.fingerprint import Fingerprint
from optout.requests import Kind, OptOutRequest, Photo, Status

# How sure a face match must be rises with the list, whose length a requester may not learn. Both ends are tried: a list
# of their own photos only, and one of a million photos (docs/accuracy.md has what the threshold is there).
_LONG_LIST_PHOTOS = 1_000_000
_PER_MILLION = 1_000.0


class Caught(StrEnum):
    """What lookups would do with the picture because of the case alone.

    `surely`: it is left out. `perhaps`: it is left out or a person looks at it first; for a face, that depends on how
    many people are listed. `not`: it comes through. `no_face`: there is no face on it that can be recognised.
    """

    SURELY = "surely"
    PERHAPS = "perhaps"
    NOT = "not"
    NO_FACE = "no_face"


def would_catch(request: OptOutRequest, photos: Sequence[Photo], fingerprint: Fingerprint) -> Caught:
    """Compare a picture with what the case excludes, or would exclude once it is accepted.

    Photos that were added to an accepted case count once they are accepted too. Raises `NothingToExclude` for
    a case without anything to compare with, such as one whose photos have been deleted.
    """
    counted = [photo for photo in photos if request.status is not Status.ACCEPTED or photo.ticket not in request.added]
    exclusions = exclusions_for(request, counted)
    scope = Scope(request.kind.value)
    if scope is Scope.FACE and not fingerprint.faces:
        return Caught.NO_FACE
    enrolled = sum(photo.own_face is not None for photo in counted) if request.kind is Kind.FACE else 1
    # The threshold follows from photos per wrongly excluded face: so few photos and a target so much stricter give the
    # threshold of a long list.
    strict = ExclusionList(false_exclusions_per_million=_PER_MILLION * enrolled / _LONG_LIST_PHOTOS)
    lenient = ExclusionList(false_exclusions_per_million=_PER_MILLION)
    for each in (strict, lenient):
        for exclusion in exclusions:
            each.add(exclusion)
    alone = replace(fingerprint, faces=fingerprint.faces if scope is Scope.FACE else ())
    if strict.check(alone, scopes=[scope]).verdict is Outcome.EXCLUDE:
        return Caught.SURELY
    if lenient.check(alone, scopes=[scope]).verdict in {Outcome.EXCLUDE, Outcome.REVIEW}:
        return Caught.PERHAPS
    return Caught.NOT
