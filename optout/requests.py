"""Opt-out requests: what a case is, which states it passes through, and who may move it.

Pure: no AWS, no clock (every function is given `now`). The one transition table below is what the pages, the
console and the database conditions read; nothing else decides whether a step is allowed.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from optout.errors import DraftIncomplete

MAX_PHOTOS = 5
MAX_LINKS = 50
# Pictures that one address may send as codes only in a month of the calendar. Nobody can look at them, so whoever hides
# strangers' pictures with false ones shall not get far before a reviewer or a hit count notices. Somebody whose
# pictures are passed around rarely has more than a few, and can send the rest as pictures or links.
HASHED_PER_MONTH = 20
MAX_NAME = 100
MAX_EXPLANATION = 5_000
# The first letter, sent again on request: whoever has the status link could else fill a stranger's mailbox. Letters
# mostly arrive within seconds, and mail servers that greylist let them in within ten minutes.
MAX_SENT_AGAIN = 3
SEND_AGAIN_PAUSE = timedelta(minutes=10)
# Texts that a requester adds to a case after it was sent. Each may have 5,000 characters, 20 kB: the history of a case
# stays one page of DynamoDB, 1 MB, and nobody has to read a book.
MAX_MESSAGES = 20

# Letters and digits that survive being read out on a phone: no 0/O, 1/I/L, U/V.
_NUMBER_ALPHABET = "23456789ABCDEFGHJKMNPQRSTWXYZ"


class Kind(StrEnum):
    """What should go: a person's face, a picture with all its copies, or the content behind specific links."""

    FACE = "face"
    IMAGE = "image"
    LINKS = "links"


class Lane(StrEnum):
    """How soon a case must be decided, and what is never asked of its requester.

    `intimate` is about intimate pictures of an adult, `child` about pictures of somebody under 18 with nothing sexual
    in them, `abuse` about sexual pictures of somebody under 18: links only, never an upload, and neither name nor
    address is required (DSA Art 16(2)(c), offences of Directive 2011/93 Arts 3-7).
    """

    ORDINARY = "ordinary"
    INTIMATE = "intimate"
    CHILD = "child"
    ABUSE = "abuse"

    @property
    def urgent(self) -> bool:
        """Whether its cases are decided before others, within a day."""
        return self is not Lane.ORDINARY

    @property
    def kinds(self) -> frozenset[Kind]:
        """What may be asked for in this lane."""
        return frozenset({Kind.LINKS}) if self is Lane.ABUSE else frozenset(Kind)

    def takes_uploads(self, kind: Kind) -> bool:
        """Whether a picture may be asked for: links to intimate pictures need none, and of abuse none may come."""
        return not (kind is Kind.LINKS and self in {Lane.INTIMATE, Lane.ABUSE})


class Relation(StrEnum):
    """Who the requester is to the person concerned."""

    SELF = "self"
    PARENT = "parent"
    GUARDIAN = "guardian"
    REPRESENTATIVE = "representative"
    OTHER = "other"


class Status(StrEnum):
    """Where a case stands."""

    DRAFT = "draft"
    PENDING = "pending"
    WAITING = "waiting_for_requester"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"


# Nobody has decided yet: the requester waits for us, or we wait for the requester's answer.
OPEN = frozenset({Status.PENDING, Status.WAITING})
# Decided against the requester, who may appeal.
DECIDED_AGAINST = frozenset({Status.REJECTED, Status.REVOKED})


class Actor(StrEnum):
    """Who may take a step. `OTHER_REVIEWER` is one who did not take the step before it; `OPERATOR` runs the service and
    takes none of the steps of the table."""

    REQUESTER = "requester"
    REVIEWER = "reviewer"
    OTHER_REVIEWER = "other_reviewer"
    OPERATOR = "operator"


class ListEffect(StrEnum):
    """What a step does to the exclusion list, in the same transaction."""

    NONE = "none"
    ADD = "add"
    REMOVE = "remove"


class Letter(StrEnum):
    """The letters a requester can get; each has a folder in `optout/mail/letters`."""

    RECEIVED = "received"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    NEW_PHOTO = "new_photo"
    QUESTION = "question"
    EXTENDED = "extended"
    APPEAL_RECEIVED = "appeal_received"
    UPHELD = "upheld"


class Step(StrEnum):
    """The steps in a case's life. Some leave its status: a date is extended, an appeal is made, a decision upheld."""

    CONFIRM = "confirm"
    ASK = "ask"
    INFORM = "inform"
    EXTEND = "extend"
    ACCEPT = "accept"
    REJECT = "reject"
    APPEAL = "appeal"
    ACCEPT_ON_APPEAL = "accept_on_appeal"
    UPHOLD = "uphold"
    WITHDRAW = "withdraw"
    REVOKE = "revoke"


@dataclass(frozen=True)
class Transition:
    """One row of the transition table: from, to, by whom, and what it brings about. Without `letter` it brings none."""

    source: Status
    target: Status
    actor: Actor
    effect: ListEffect
    letter: Letter | None


def _rows(
    step: Step, actor: Actor, letter: Letter | None, *moves: tuple[Status, Status, ListEffect]
) -> dict[tuple[Step, Status], Transition]:
    return {(step, source): Transition(source, target, actor, effect, letter) for source, target, effect in moves}


_NONE, _ADD, _REMOVE = ListEffect.NONE, ListEffect.ADD, ListEffect.REMOVE
TRANSITIONS: dict[tuple[Step, Status], Transition] = {
    **_rows(Step.CONFIRM, Actor.REQUESTER, Letter.RECEIVED, (Status.DRAFT, Status.PENDING, _NONE)),
    **_rows(Step.ASK, Actor.REVIEWER, Letter.QUESTION, (Status.PENDING, Status.WAITING, _NONE)),
    **_rows(
        Step.INFORM,
        Actor.REQUESTER,
        None,
        (Status.PENDING, Status.PENDING, _NONE),
        (Status.WAITING, Status.PENDING, _NONE),
        # While an appeal is open.
        (Status.REJECTED, Status.REJECTED, _NONE),
        (Status.REVOKED, Status.REVOKED, _NONE),
    ),
    **_rows(
        Step.EXTEND,
        Actor.REVIEWER,
        Letter.EXTENDED,
        (Status.PENDING, Status.PENDING, _NONE),
        (Status.WAITING, Status.WAITING, _NONE),
    ),
    **_rows(
        Step.ACCEPT,
        Actor.REVIEWER,
        Letter.ACCEPTED,
        (Status.PENDING, Status.ACCEPTED, _ADD),
        (Status.WAITING, Status.ACCEPTED, _ADD),
    ),
    **_rows(
        Step.REJECT,
        Actor.REVIEWER,
        Letter.REJECTED,
        (Status.PENDING, Status.REJECTED, _NONE),
        (Status.WAITING, Status.REJECTED, _NONE),
    ),
    **_rows(
        Step.APPEAL,
        Actor.REQUESTER,
        Letter.APPEAL_RECEIVED,
        (Status.REJECTED, Status.REJECTED, _NONE),
        (Status.REVOKED, Status.REVOKED, _NONE),
    ),
    **_rows(
        Step.ACCEPT_ON_APPEAL,
        Actor.OTHER_REVIEWER,
        Letter.ACCEPTED,
        (Status.REJECTED, Status.ACCEPTED, _ADD),
        (Status.REVOKED, Status.ACCEPTED, _ADD),
    ),
    **_rows(
        Step.UPHOLD,
        Actor.OTHER_REVIEWER,
        Letter.UPHELD,
        (Status.REJECTED, Status.REJECTED, _NONE),
        (Status.REVOKED, Status.REVOKED, _NONE),
    ),
    **_rows(
        Step.WITHDRAW,
        Actor.REQUESTER,
        Letter.WITHDRAWN,
        (Status.PENDING, Status.WITHDRAWN, _NONE),
        (Status.WAITING, Status.WITHDRAWN, _NONE),
        (Status.ACCEPTED, Status.WITHDRAWN, _REMOVE),
    ),
    **_rows(Step.REVOKE, Actor.OTHER_REVIEWER, Letter.REVOKED, (Status.ACCEPTED, Status.REVOKED, _REMOVE)),
}


@dataclass(frozen=True)
class Answers:
    """What the requester wrote in the form. All of it is personal data.

    `country` is ISO 3166-1 alpha-2. `represented` names the person on whose behalf an agent, parent or guardian
    asks, None when people ask for themselves. `biometric_consent` holds the text that was agreed to (kind face),
    `good_faith` is the statement of DSA Art 16(2)(d) (kind links). Names and address are empty where none were given,
    which only a report of the lane `abuse` may do.
    """

    country: str
    explanation: str
    first_name: str
    last_name: str
    email: str
    phone: str | None = None
    represented: str | None = None
    biometric_consent: str | None = None
    good_faith: bool = False
    links: tuple[str, ...] = ()
    relation: Relation = Relation.SELF


@dataclass(frozen=True)
class SeenFace:
    """A face that the examination found: box (x, y, width, height) in pixels of the kept copy, detector score 0-1,
    embedding as 128 little-endian float32 (512 bytes)."""

    box: tuple[int, int, int, int]
    score: float
    embedding: bytes


@dataclass(frozen=True)
class ProposedCrop:
    """The part of an upload that seems to be the picture: what the photo would be with it.

    `box` is (x, y, width, height) in pixels of the whole's kept copy; the rest is as in `Photo`, of the part.
    """

    box: tuple[int, int, int, int]
    picture: str
    width: int
    height: int
    quality: int
    dihedral: tuple[bytes, ...]
    keypoints: bytes | None = None


@dataclass(frozen=True)
class Photo:
    """One examined photo of a case.

    `sha256` is of the bytes as uploaded (hex), `picture` of the re-encoded copy that everybody else sees; None when
    only the codes of the picture reached us (`optout.hashed`). `width` and `height` are the copy's. `dihedral` holds
    the eight PDQ codes (32 bytes each), empty when the picture has too little structure (PDQ quality < 50) and is
    matched by SHA-256 and keypoints only. `faces` is None when faces are off, and else holds the faces good enough to
    recognise somebody by; `face_problem` says what is wrong with another one (`FaceProblem` of
    optout.fingerprint.faces). `chosen_face` is the index of the requester's own face. `keypoints` find crops and
    collages (`optout.fingerprint.keypoints`); None when there are too few, and in cases about a face. `proposed` waits
    for its requester's word, `cropped` says what that was: True when all of the above but `sha256` is of the part they
    confirmed, False when they kept the whole, None when nothing was proposed or said.
    """

    ticket: str
    sha256: str
    picture: str | None
    width: int
    height: int
    quality: int
    dihedral: tuple[bytes, ...]
    faces: tuple[SeenFace, ...] | None
    face_model: str | None = None
    chosen_face: int | None = None
    face_problem: str | None = None
    keypoints: bytes | None = None
    proposed: ProposedCrop | None = None
    cropped: bool | None = None

    def settled(self, *, cropped: bool) -> Photo:
        """The photo once its requester has said whether to use the proposed part or to keep the whole."""
        if self.proposed is None or not cropped:
            return replace(self, proposed=None, cropped=cropped)
        part = self.proposed
        return replace(
            self,
            picture=part.picture,
            width=part.width,
            height=part.height,
            quality=part.quality,
            dihedral=part.dihedral,
            keypoints=part.keypoints,
            proposed=None,
            cropped=True,
        )

    @property
    def own_face(self) -> SeenFace | None:
        """The face the requester chose as theirs, if any."""
        if self.chosen_face is None or not self.faces:
            return None
        return self.faces[self.chosen_face]


@dataclass(frozen=True)
class DecisionRecord:
    """A decision as it stands in the case: who, when, why, and at which version of the exclusion list."""

    decision_id: str
    step: Step
    reason: str
    text: str
    reviewer: str
    at: datetime
    list_version: str | None = None


@dataclass(frozen=True)
class Revocation:
    """A revocation: proposed by one reviewer, waiting for or confirmed by a second one."""

    reason: str
    text: str
    reviewer: str
    at: datetime
    confirmed_by: str | None = None
    confirmed_at: datetime | None = None


@dataclass(frozen=True)
class Question:
    """What a reviewer asks the requester, whose answer the case waits for."""

    text: str
    reviewer: str
    at: datetime


@dataclass(frozen=True)
class Extension:
    """The one time that a due date was put off: from which date, why, by whom and when. The case holds the new one."""

    before: datetime
    reason: str
    text: str
    reviewer: str
    at: datetime


@dataclass(frozen=True)
class Suspension:
    """One exclusion of a case that holds back instead of excluding: who pulled the brake, when, and the version of the
    exclusion list since which it is so."""

    exclusion_id: str
    actor: str
    at: datetime
    list_version: str


class MailTrouble(StrEnum):
    """Why letters do not reach a requester, the gravest last: a graver one is not overwritten by a lesser one.

    `temporary`: SES gave up after trying for hours. `rejected`: SES would not send it. `unusable`: SES takes no such
    address. `suppressed`: not sent, because letters to this address came back before. `bounced`: there is no such
    mailbox. `complained`: the reader called it spam.
    """

    TEMPORARY = "temporary"
    REJECTED = "rejected"
    UNUSABLE = "unusable"
    SUPPRESSED = "suppressed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"

    @property
    def gravity(self) -> int:
        """Its place in the order."""
        return list(MailTrouble).index(self)

    @property
    def suppresses(self) -> bool:
        """Whether no other letter may go to the address."""
        return self in {MailTrouble.BOUNCED, MailTrouble.COMPLAINED}


@dataclass(frozen=True)
class MailProblem:
    """The gravest thing that happened to a letter of the case, and when."""

    trouble: MailTrouble
    at: datetime


class Unheld(StrEnum):
    """Why a verified case is not held back: the operator has switched that off, its address or the whole service holds
    back as much as it may, or there is nothing that could be held back."""

    OFF = "off"
    ADDRESS = "address"
    DAY = "day"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Hold:
    """The exclusions that hold back what an open case asks for: lookups that match them are deferred. Since when, and
    since which version of the exclusion list."""

    exclusions: tuple[str, ...]
    since: datetime
    list_version: str


@dataclass(frozen=True)
class OptOutRequest:
    """One case. `id` is unguessable and is the key to the draft's pages; `number` is what people quote in letters.

    `version` counts the writes and is in the condition of each one. `link_version` revokes all mailed links when it
    rises. `exclusions` are the ids that an acceptance put on the list, `suspensions` those of them that hold back only.
    `verified_at` is when somebody who reads the address pressed the button; from then on an open case has either a
    `hold`, or `unheld` says why not. `sent_again` are the times at which its requester had the first letter sent again.

    `added` are the tickets of photos that came after the request was sent and that no reviewer has decided about; when
    reviewers last did so about photos of an accepted case is `photos_decided_at`. They come by a draft of their own,
    which names the case in `adds_to`. `new_photo_asked_at`: its photos are gone and the face model has changed.

    `hashed` are the tickets of pictures of which only the codes reached us.

    `language` is the one that its letters are written in, a key of `optout.languages.LANGUAGES`.

    `due_at` is the date of the decision that the requester waits for: of the first one, or, while an appeal is open
    (since `appealed_at`), of the one about it. `upheld` says that an appeal did not change what was decided, which
    stays in `decision` or `revocation`. `messages` counts the texts that the requester added.

    `unproven`: it was sent without a proof of work. `suspected`: a field that people cannot see came back filled in.
    `repeats` are the numbers of earlier cases of the same address with one of its pictures.
    """

    id: str
    number: str
    kind: Kind
    status: Status
    version: int
    answers: Answers
    email_hash: str
    created_at: datetime
    photos: tuple[str, ...] = ()
    confirmed_at: datetime | None = None
    due_at: datetime | None = None
    due_rule: str | None = None
    decision: DecisionRecord | None = None
    revocation: Revocation | None = None
    withdrawn_at: datetime | None = None
    exclusions: tuple[str, ...] = ()
    link_version: int = 1
    suspensions: tuple[Suspension, ...] = ()
    mail_problem: MailProblem | None = None
    adds_to: str | None = None
    added: tuple[str, ...] = ()
    photos_decided_at: datetime | None = None
    new_photo_asked_at: datetime | None = None
    language: str = "en"
    lane: Lane = Lane.ORDINARY
    hashed: tuple[str, ...] = ()

    @property
    def takes_codes(self) -> bool:
        """Whether pictures may come as codes only, which nobody can look at: intimate ones of adults."""
        return self.kind is Kind.IMAGE and self.lane is Lane.INTIMATE

    @property
    def hash_only(self) -> bool:
        """Whether nobody here has seen any of its pictures."""
        return bool(self.photos) and set(self.photos) <= set(self.hashed)

    @property
    def anonymous(self) -> bool:
        """Whether nobody can be written to: no letter is ever due."""
        return not self.answers.email

    @property
    def takes_uploads(self) -> bool:
        """Whether a picture may be asked for."""
        return self.lane.takes_uploads(self.kind)

    @property
    def sent(self) -> bool:
        """Whether the requester has sent it, so that it can no longer be changed."""
        return self.confirmed_at is not None

    @property
    def home(self) -> str:
        """The case under which copies of its photos are kept: its own, or the one that a draft adds photos to."""
        return self.adds_to or self.id

    @property
    def room(self) -> int:
        """How many photos can still be added to the case. Where a new photo was asked for, the old ones are gone."""
        return MAX_PHOTOS - len(self.added if self.new_photo_asked_at else self.photos)

    @property
    def takes_photos(self) -> bool:
        """Whether its requester may add photos to the case."""
        in_force = self.status is Status.ACCEPTED and self.revocation is None
        return (self.undecided or in_force) and self.kind is not Kind.LINKS and self.room > 0

    @property
    def tests_pictures(self) -> bool:
        """Whether its requester may test what it catches: it is in force or open, and about pictures."""
        return self.status in OPEN | {Status.ACCEPTED} and self.kind is not Kind.LINKS

    verified_at: datetime | None = None
    hold: Hold | None = None
    unheld: Unheld | None = None
    sent_again: tuple[datetime, ...] = ()
    question: Question | None = None
    messages: int = 0
    extension: Extension | None = None
    appealed_at: datetime | None = None
    upheld: DecisionRecord | None = None
    unproven: bool = False
    repeats: tuple[str, ...] = ()
    suspected: bool = False

    @property
    def waits_for_address(self) -> bool:
        """Whether no reviewer sees it before its requester has verified the address. Nobody waits who has none, or who
        has come back by the mailed link and added something: they read what we write."""
        untouched = self.status is Status.PENDING and self.verified_at is None and not self.messages and not self.added
        return self.unproven and untouched and not self.anonymous

    @property
    def undecided(self) -> bool:
        """Whether its requester waits for a decision: the first one, or the one about an appeal."""
        return self.status in OPEN or self.appealed_at is not None

    @property
    def takes_messages(self) -> bool:
        """Whether its requester may add another text."""
        return self.undecided and self.messages < MAX_MESSAGES

    @property
    def decided_against_by(self) -> str | None:
        """The reviewer against whose decision an appeal goes: who rejected, or who proposed to revoke."""
        if self.revocation is not None:
            return self.revocation.reviewer
        return self.decision.reviewer if self.decision else None

    def heard(self) -> OptOutRequest:
        """The case once its requester has told or shown something: if it waited for that, it waits for us again."""
        row = TRANSITIONS.get((Step.INFORM, self.status))
        return replace(self, status=row.target, question=None) if row else self

    def may_send_again(self, now: datetime) -> bool:
        """Whether the letter with the verification link may be sent to the requester once more."""
        waited = not self.sent_again or now - self.sent_again[-1] >= SEND_AGAIN_PAUSE
        open_and_unverified = self.status in OPEN and self.verified_at is None and not self.anonymous
        return open_and_unverified and waited and len(self.sent_again) < MAX_SENT_AGAIN

    def suspension(self, exclusion_id: str) -> Suspension | None:
        """The suspension of one of its exclusions, if it is suspended."""
        return next((found for found in self.suspensions if found.exclusion_id == exclusion_id), None)


@dataclass(frozen=True)
class CaseEvent:
    """One line of a case's history. `actor` is `requester`, `mail`, the reviewer's user name, or `operator/<name>`.
    `exclusion_id` names the exclusion, where it is about one only. `text` is what was said: a question, an answer, an
    appeal."""

    version: int
    name: str
    at: datetime
    actor: str
    status: Status
    exclusion_id: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class RelatedCase:
    """Another case by the same address or with the same picture, as the reviewer sees it."""

    id: str
    number: str
    kind: Kind
    status: Status
    same: frozenset[str] = field(default_factory=frozenset)


def copies_of(photos: Sequence[Photo]) -> set[str]:
    """Names of the copies that these photos are kept by."""
    return {copy for photo in photos for copy in (photo.picture, photo.proposed and photo.proposed.picture) if copy}


def new_request_id() -> str:
    """An unguessable id: 128 random bits, URL-safe."""
    return secrets.token_urlsafe(16)


def new_ticket() -> str:
    """The random name of one upload: 96 bits, URL-safe."""
    return secrets.token_urlsafe(12)


def new_number() -> str:
    """A case number to quote in letters, such as `K7MQ-29XD`: 29^8, about 5e11 of them."""
    letters = [secrets.choice(_NUMBER_ALPHABET) for _ in range(8)]
    return "".join(letters[:4]) + "-" + "".join(letters[4:])


def missing(request: OptOutRequest, photos: Sequence[Photo]) -> list[str]:
    """What a draft still lacks before it can be confirmed, as codes.

    `photo`: no photo yet. `crop:<ticket>`: a part is proposed and nothing said about it. `face:<ticket>`: several
    faces, none chosen. `usable_face`: no photo shows a face we can use. `faces_off`: faces cannot be looked at just
    now. `consent`, `good_faith`, `links`: answers.
    """
    lacks: list[str] = []
    if request.kind is not Kind.LINKS and not photos:
        lacks.append("photo")
    lacks += [f"crop:{photo.ticket}" for photo in photos if photo.proposed is not None]
    if request.kind is Kind.FACE:
        if not request.answers.biometric_consent:
            lacks.append("consent")
        if any(photo.faces is None for photo in photos):
            lacks.append("faces_off")
        lacks += [f"face:{photo.ticket}" for photo in photos if photo.faces and photo.chosen_face is None]
        if photos and not any(photo.faces for photo in photos) and "faces_off" not in lacks:
            lacks.append("usable_face")
    if request.kind is Kind.LINKS:
        if not request.answers.links:
            lacks.append("links")
        if not request.answers.good_faith:
            lacks.append("good_faith")
    return lacks


def require_complete(request: OptOutRequest, photos: Sequence[Photo]) -> None:
    """Raise `DraftIncomplete` unless the draft can be confirmed."""
    lacks = missing(request, photos)
    if lacks:
        raise DraftIncomplete(lacks)
