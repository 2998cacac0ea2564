"""Every refusal this project makes, each named for the fact it states.

    OptOutError
    ├── PhotoUnreadable        the bytes are not a picture we accept; `.code` says why
    ├── FacesOff               the face models are missing or not the published ones
    ├── RequestInvalid         a form or body is wrong; `.problems` maps field -> code
    ├── RequestNotFound        no such opt-out request (or its draft has expired)
    ├── ExclusionNotFound      no exclusion with this id is in force
    ├── ReviewNotFound         nobody was asked about this candidate, or it was too long ago
    ├── PhotoNotFound          no such photo in this request, or nothing was uploaded
    ├── LinkInvalid            a signed link is forged, of another purpose, or revoked
    │   └── LinkExpired        it was ours, but its time is over
    │       └── VerificationExpired   the one that verifies an address; it can be sent again
    ├── StateConflict          the request's state does not allow this
    │   ├── AlreadyConfirmed   the draft was confirmed before; it can no longer be changed
    │   ├── AlreadyDecided     another decision stands; says which, by whom and when
    │   ├── TooManyPhotos      a case holds at most five
    │   ├── EnoughTested       a test takes so many pictures; another can be begun
    │   ├── TooManyMessages    a requester has added as many texts to a case as it takes
    │   ├── NoExtension        the date can no longer be put off, or the law does not let us
    │   ├── AppealClosed       the time for an appeal is over, or one was decided before
    │   ├── TooManyHashed      an address has sent as many pictures by code as it may this month
    │   ├── DraftIncomplete    answers or photos are missing; `.missing` names them
    │   ├── LetterNotSentAgain the first letter was sent again just now or often enough, or is of no use any more
    │   └── SameReviewer       the second look must be another reviewer's
    ├── AddressUnusable        no letter can be sent to this address
    ├── NothingToExclude       accepting would exclude nothing, so nothing may be promised
    ├── DecisionTooLarge       more signals than one log item holds
    ├── TooManyRequests        one network or mailbox asks too often; `.retry_after_s` says when it may again
    ├── FromElsewhere          a form of another website was sent to us
    └── Unavailable            we cannot answer surely now; ask again
        ├── UnderMaintenance   the operator has closed the forms; `.until` says how long
        ├── NotFresh           the exclusion list is behind what was asked for
        │   └── SnapshotDamaged  a snapshot lacks a part, was changed, or is of another version or epoch
        ├── IndexDamaged       a saved index is cut off, changed or of an unknown version
        └── HeadContended      too many decisions at this moment

`optout.http` maps each to a status and a sentence; nothing matches on error text.
"""

from __future__ import annotations

from datetime import datetime


class OptOutError(Exception):
    """Root of everything this project refuses on purpose."""


class PhotoUnreadable(OptOutError):
    """The bytes are not a picture we accept.

    `code` is one of `PHOTO_PROBLEMS` in `optout.fingerprint.image`; never text from the file itself.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class FacesOff(OptOutError):
    """The face models are missing or are not the published files, so faces cannot be looked at."""


class RequestInvalid(OptOutError):
    """A form or a body is wrong. `problems` maps each field to a code, never to the value that was sent."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(", ".join(f"{field}: {code}" for field, code in problems.items()))
        self.problems = problems


class RequestNotFound(OptOutError):
    """There is no such opt-out request; a draft that was not confirmed within a day is gone."""


class ExclusionNotFound(OptOutError):
    """No exclusion with this id is in force: it never was, or its case was withdrawn or revoked."""


class ReviewNotFound(OptOutError):
    """Nobody was asked whether this candidate is the same, or its time was over."""


class PhotoNotFound(OptOutError):
    """There is no such photo in this request, or nothing arrived under this upload ticket."""


class LinkInvalid(OptOutError):
    """A signed link is forged, was made for another purpose, or has been revoked."""


class LinkExpired(LinkInvalid):
    """A signed link was ours, but its time is over."""


class VerificationExpired(LinkExpired):
    """The link that verifies an address is too old; the status page sends a new one."""


class StateConflict(OptOutError):
    """The request's present state does not allow what was asked."""


class LetterNotSentAgain(StateConflict):
    """The first letter is not sent again: it was just now, or often enough, or the case needs no verification."""


class AlreadyConfirmed(StateConflict):
    """The draft was confirmed before; it can no longer be changed."""


class AlreadyDecided(StateConflict):
    """Another decision stands. Says which, by whom and when, so that the second reviewer is told."""

    def __init__(self, status: str, reviewer: str | None, at: datetime | None) -> None:
        super().__init__(status)
        self.status = status
        self.reviewer = reviewer
        self.at = at


class TooManyPhotos(StateConflict):
    """A case holds at most five photos."""


class EnoughTested(StateConflict):
    """So many pictures were tested; a new test can be begun from the status page."""


class TooManyMessages(StateConflict):
    """Its requester has added as many texts to a case as it takes."""


class NoExtension(StateConflict):
    """The date of a case cannot be put off: it has come, it was put off before, or the law does not let us."""


class AppealClosed(StateConflict):
    """The time for an appeal is over, or an appeal against this decision was decided before."""


class TooManyHashed(StateConflict):
    """One address may send so many pictures a month of which only the codes reach us, and has."""


class DraftIncomplete(StateConflict):
    """The draft cannot be confirmed yet. `missing` names what is: `photo`, `face:<ticket>`, ..."""

    def __init__(self, missing: list[str]) -> None:
        super().__init__(", ".join(missing))
        self.missing = missing


class SameReviewer(StateConflict):
    """The reviewer who proposed a revocation cannot confirm it."""


class AddressUnusable(OptOutError):
    """No letter can be sent to this address, however often it is tried. The address itself is not in the text."""


class NothingToExclude(OptOutError):
    """Accepting would put nothing on the exclusion list, so no acceptance may be mailed."""


class DecisionTooLarge(OptOutError):
    """A decision has more signals than one log item can hold."""


class TooManyRequests(OptOutError):
    """One network or one mailbox has asked too often. It may ask again after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(str(retry_after_s))
        self.retry_after_s = retry_after_s


class FromElsewhere(OptOutError):
    """A browser says that another website's page sent this form."""


class Unavailable(OptOutError):
    """We cannot answer surely now; the caller should ask again."""


class UnderMaintenance(Unavailable):
    """The operator has closed the forms, and expects to open them at `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until.isoformat())
        self.until = until


class NotFresh(Unavailable):
    """The exclusion list could not be brought up to the version that the answer needs."""


class IndexDamaged(Unavailable):
    """A saved index is cut off, was changed, or is of a version not known here. Nothing is answered from it."""


class SnapshotDamaged(NotFresh):
    """A snapshot of the list lacks a part, was cut off or changed, or is of a version not known here. Nothing is
    answered from it. The text says which part, never what is in it."""


class HeadContended(Unavailable):
    """Too many decisions were being written at this moment; nothing was changed."""
