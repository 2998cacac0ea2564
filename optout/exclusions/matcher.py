"""What a lookup answers: is this picture, this face or this address excluded?

Accepted, pending and suspended exclusions are searched apart, so that one never masks the other. `allow` is said only
when every signal that the list needs was given; whatever cannot be answered surely is `defer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from optout.exclusions.agreement import LIKELY_AGREEMENT, SURE_AGREEMENT, Likeness, place, shown_whole
from optout.exclusions.bulk import Bulk, Fetch
from optout.exclusions.entry import (
    Exclusion,
    FaceExclusion,
    ImageExclusion,
    LinkExclusion,
    Scope,
    State,
    url_hash,
)
from optout.exclusions.face_rates import (
    CRAWLED_FACES_PER_DAY,
    FACES_AGREE,
    FALSE_EXCLUSIONS_PER_MILLION,
    REVIEWS_PER_DAY,
    face_threshold,
    review_threshold,
)
from optout.exclusions.face_search import FaceIndex
from optout.exclusions.index import HammingIndex
from optout.exclusions.keypoint_index import KeypointIndex
from optout.exclusions.log import Answer
from optout.exclusions.segment import Kind, Part
from optout.fingerprint import FINGERPRINT_VERSION, PDQ_MIN_QUALITY, Fingerprint
from optout.fingerprint.faces import FACE_DIMENSIONS, FACE_MODEL, Face
from optout.fingerprint.keypoints import from_bytes, to_bytes
from optout.fingerprint.pdq import PDQ_RADIUS, negative

if TYPE_CHECKING:
    from optout.fingerprint.views import Views

# PDQ distances above its radius and up to this are copies more often than not (the nearest of 72,630 pairs of different
# photos is at 90), yet not surely: the pixels must agree too.
PDQ_CANDIDATE_RADIUS = 46

# An answer names the nearest matches; a cluster of near-duplicates would make it endless.
MAX_MATCHES = 20

Key = TypeVar("Key", str, bytes)


# Renditions of pictures below PDQ_MIN_QUALITY (512 and 256 px, grey, JPEG 80) had at most 2 more than the original (24
# blurred photographs); five times that much is a picture that was never plain.
STRUCTURED_QUALITY = PDQ_MIN_QUALITY + 10


class Outcome(StrEnum):
    """What the crawler does with the picture."""

    EXCLUDE = "exclude"
    REVIEW = "review"
    ALLOW = "allow"
    DEFER = "defer"
    INVALID = "invalid"


class Reason(StrEnum):
    """Why. The first four come with `matches`."""

    MATCH = "match"
    DOUBTFUL_MATCH = "doubtful_match"
    PENDING_CASE = "pending_case"
    SUSPENDED = "suspended"
    NO_MATCH = "no_match"
    MISSING_SIGNALS = "missing_signals"
    MODEL_MISMATCH = "model_mismatch"
    TIME_BUDGET = "time_budget"


class Depth(StrEnum):
    """How deep a picture was looked at. Cropped, framed and pasted copies are found in full depth only."""

    HASHES = "hashes"
    FULL = "full"


@dataclass(frozen=True)
class Match:
    """One exclusion that applies. `signal` is sha256, pdq, picture, face, url or answer (a person has said so); always
    `distance <= threshold`: differing bits for pdq, the share of the picture that does not agree for picture, 1 -
    cosine for face, 0 and 0 for what is matched exactly. `box` says where in the picture asked about the face is,
    (x, y, width, height) in pixels, when it was given with the face."""

    exclusion_id: str
    scope: Scope
    signal: str
    distance: float
    threshold: float
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer for one picture. `missing` names the signals whose absence made it uncertain, `coverage` the scopes
    that were searched in full."""

    verdict: Outcome
    reason: Reason
    matches: tuple[Match, ...] = ()
    missing: tuple[str, ...] = ()
    coverage: tuple[Scope, ...] = ()
    depth: Depth = Depth.HASHES

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "verdict": str(self.verdict),
            "reason": str(self.reason),
            "matches": [
                {
                    "exclusion_id": match.exclusion_id,
                    "scope": str(match.scope),
                    "signal": match.signal,
                    "distance": round(match.distance, 4),
                    "threshold": round(match.threshold, 4),
                    "box": None if match.box is None else list(match.box),
                }
                for match in self.matches
            ],
            "missing": list(self.missing),
            "coverage": [str(scope) for scope in self.coverage],
            "depth": str(self.depth),
        }


class ExclusionList:
    """The exclusion list in memory. One writer, any number of readers between writes."""

    def __init__(
        self,
        *,
        false_exclusions_per_million: float = FALSE_EXCLUSIONS_PER_MILLION,
        reviews_per_day: float = REVIEWS_PER_DAY,
        crawled_faces_per_day: float = CRAWLED_FACES_PER_DAY,
    ) -> None:
        """The operator's choices: how many of a million crawled faces the whole list may exclude wrongly; and how many
        wrong `review` answers a day, of so many crawled faces, people can look at (0: nothing goes to review)."""
        if not 0 < false_exclusions_per_million <= 1e6:
            raise ValueError("false_exclusions_per_million must be above 0 and at most 1,000,000")
        if reviews_per_day < 0 or crawled_faces_per_day <= 0:
            raise ValueError("reviews_per_day must be at least 0 and crawled_faces_per_day above 0")
        self._per_million = false_exclusions_per_million
        self._reviews_per_face = reviews_per_day / crawled_faces_per_day
        self._shelves = {state: _Shelf(Bulk(state)) for state in State}
        self._answers: dict[str, dict[str, bool]] = {}  # sha256 of a candidate -> exclusion id -> same
        self._answered: dict[str, set[str]] = {}  # exclusion id -> candidates

    def load(self, parts: Sequence[Part], fetch: Fetch) -> None:
        """Begin with what a snapshot holds; the list must be empty. `fetch` brings the corners of its pictures when
        they are first needed (`complete`)."""
        for state in State:
            self._shelves[state] = _Shelf(Bulk(state, [part for part in parts if part.segment.shelf == state], fetch))
        for part in parts:
            # Faces are searched by what several photos have in common, which is made one person after the other.
            few = np.flatnonzero(part.live & (part.segment.kinds != Kind.IMAGE) & (part.segment.kinds != Kind.LINK))
            for record in map(part.segment.record, few.tolist()):
                if isinstance(record, Answer):
                    self._keep_answer(record.exclusion_id, record.candidate_sha256, record.same)
                else:
                    self._shelves[record.state].add(record)

    @property
    def is_complete(self) -> bool:
        """Whether everything is here that any answer needs."""
        return all(shelf.pictures.is_complete for shelf in self._shelves.values())

    def complete(self) -> None:
        """Fetch what the list was loaded without: the corners, which only a lookup of a whole picture needs. Without
        being asked it does the same at the first such lookup. Raises `SnapshotDamaged` when something is missing or
        changed, and what fetching raises; the list answers everything else as before."""
        for shelf in self._shelves.values():
            shelf.pictures.complete()

    def __len__(self) -> int:
        """Number of exclusions of every state; what was added under one id counts once."""
        return len(self._ids())

    def counts(self) -> dict[Scope, int]:
        """Number of exclusions that cover each scope."""
        return {scope: len(self._ids(scope)) for scope in Scope}

    @property
    def face_threshold(self) -> float:
        """The cosine from which a face is excluded now; it rises with the list."""
        return self._cosine(self._shelves[State.ACCEPTED])

    @property
    def review_threshold(self) -> float:
        """The cosine from which a face that is not excluded goes to a person; the face threshold when none does."""
        photos = self._shelves[State.ACCEPTED].face_photos
        return review_threshold(photos, self.face_threshold, self._reviews_per_face)

    def add(self, exclusion: Exclusion) -> None:
        """Put an exclusion on the list. More under the same id adds to it; the same again changes nothing. Once an
        accepted one is added, the pending and suspended ones of its id are gone: the case has been decided."""
        if exclusion.state is State.ACCEPTED:
            self._shelves[State.PENDING].remove(exclusion.exclusion_id)
            self._shelves[State.SUSPENDED].remove(exclusion.exclusion_id)
        self._shelves[exclusion.state].add(exclusion)

    def add_image(self, exclusion_id: str, fingerprint: Fingerprint) -> None:
        """Exclude a picture, its copies and orientations; by its bytes only when it is too plain for PDQ.

        Raises ValueError when the fingerprint was not made from a picture's bytes.
        """
        if fingerprint.sha256 is None or fingerprint.quality is None:
            raise ValueError("only a fingerprint of a picture's own bytes can be excluded")
        sha256, codes = fingerprint.sha256, fingerprint.codes
        self.add(ImageExclusion(exclusion_id, sha256, codes, State.ACCEPTED, fingerprint.keypoints))

    def add_face(self, exclusion_id: str, faces: Face | Sequence[Face]) -> None:
        """Exclude a person by one face or by several of the same person, which together find more photos of them than
        each alone. Raises ValueError when there is none."""
        given = (faces,) if isinstance(faces, Face) else tuple(faces)
        embeddings = tuple(face.embedding.astype("<f4").tobytes() for face in given)
        self.add(FaceExclusion(exclusion_id, embeddings, FACE_MODEL, State.ACCEPTED))

    def add_link(self, exclusion_id: str, url: str) -> None:
        """Exclude an address. Raises RequestInvalid when it is none."""
        self.add(LinkExclusion(exclusion_id, url_hash(url), State.ACCEPTED))

    def remove(self, exclusion_id: str) -> None:
        """Take everything under this id off the list. Unknown ids are no error: removing twice is removing."""
        for shelf in self._shelves.values():
            shelf.remove(exclusion_id)
        for sha256 in self._answered.pop(exclusion_id, ()):
            left = self._answers[sha256]
            del left[exclusion_id]
            if not left:
                del self._answers[sha256]

    def remember(self, exclusion_id: str, candidate_sha256: str, *, same: bool) -> None:
        """Keep a person's answer about a doubtful hit. From now on the file with this SHA-256 (hex) matches the
        exclusion exactly (`same`), or is no longer doubtful because of it; surer hits count as before. The answer lasts
        as long as the exclusion is on the list, and is nothing when it is not."""
        if any(shelf.holds(exclusion_id) for shelf in self._shelves.values()):
            self._keep_answer(exclusion_id, candidate_sha256, same)

    def _keep_answer(self, exclusion_id: str, candidate_sha256: str, same: bool) -> None:
        self._answers.setdefault(candidate_sha256, {})[exclusion_id] = same
        self._answered.setdefault(exclusion_id, set()).add(candidate_sha256)

    @property
    def answers(self) -> Iterator[tuple[str, str, bool]]:
        """Every answer kept, as `remember` takes them: exclusion, candidate's SHA-256, and whether it is the same."""
        for sha256, by_exclusion in self._answers.items():
            for exclusion_id, same in by_exclusion.items():
                yield exclusion_id, sha256, same

    def suspend(self, exclusion_id: str) -> None:
        """Let an accepted exclusion hold back instead of exclude. Unknown or suspended ids stay as they are."""
        self._move(exclusion_id, State.ACCEPTED, State.SUSPENDED)

    def resume(self, exclusion_id: str) -> None:
        """Let a suspended exclusion exclude again. What is not suspended stays as it is."""
        self._move(exclusion_id, State.SUSPENDED, State.ACCEPTED)

    def _move(self, exclusion_id: str, source: State, target: State) -> None:
        held = self._shelves[source].take(exclusion_id)
        for exclusion in held:
            self._shelves[target].add(replace(exclusion, state=target))

    def check(
        self, fingerprint: Fingerprint | None, url: str | None = None, *, scopes: Iterable[Scope | str] | None = None
    ) -> Verdict:
        """Whether a picture, found at `url`, may be indexed. `scopes` narrows what is asked; without, all are.

        Raises RequestInvalid when `url` is not an address, ValueError for a scope that does not exist.
        """
        return self.check_many([(fingerprint, url)], scopes=scopes)[0]

    def _check(self, signals: _Signals, asked: tuple[Scope, ...], hits: _FaceHits, near: _CodeHits) -> Verdict:
        accepted, pending = self._shelves[State.ACCEPTED], self._shelves[State.PENDING]
        suspended = self._shelves[State.SUSPENDED]
        missing = {scope: signals.missing(scope, accepted, pending, suspended) for scope in asked}
        foreign = Scope.FACE in asked and any(shelf.foreign for shelf in (accepted, pending, suspended))
        coverage = tuple(scope for scope in asked if not missing[scope] and not (scope is Scope.FACE and foreign))
        views = signals.views if Scope.IMAGE in asked else None
        answers = self._answers.get(signals.fingerprint.sha256 or "", {})
        same = [exclusion_id for exclusion_id, yes in answers.items() if yes]

        found = accepted.search(
            signals, asked, near[State.ACCEPTED], hits[State.ACCEPTED], self.face_threshold, self.review_threshold
        )
        if not found.sure and views is not None:
            copies = accepted.copies(views, signals.code)
            found = _Found(copies.sure, found.doubtful + copies.doubtful)
        sure = accepted.named(same, asked) + found.sure
        if sure:
            return Verdict(Outcome.EXCLUDE, Reason.MATCH, sure[:MAX_MATCHES], coverage=coverage)
        lacking = tuple(dict.fromkeys(name for scope in asked for name in missing[scope]))
        held = pending.search(signals, asked, near[State.PENDING], hits[State.PENDING], self._cosine(pending)).sure
        held = pending.named(same, asked) + held
        if not held and views is not None:
            copies = pending.copies(views, signals.code)
            held = copies.sure + copies.doubtful
        if held:
            return Verdict(Outcome.DEFER, Reason.PENDING_CASE, held[:MAX_MATCHES], lacking, coverage)
        held = suspended.search(
            signals, asked, near[State.SUSPENDED], hits[State.SUSPENDED], self._suspended_cosine
        ).sure
        held = suspended.named(same, asked) + held
        if not held and views is not None:
            copies = suspended.copies(views, signals.code)
            held = copies.sure + copies.doubtful
        if held:
            return Verdict(Outcome.DEFER, Reason.SUSPENDED, held[:MAX_MATCHES], lacking, coverage)
        # Several doubtful signs of one exclusion do not make it sure: what two photos have in common is in their mean
        # already, and beyond it that both are near says nothing (docs/accuracy.md, 19 genuine and 707 other hits).
        doubtful = tuple(match for match in found.doubtful if match.exclusion_id not in answers)
        if doubtful:
            return Verdict(Outcome.REVIEW, Reason.DOUBTFUL_MATCH, doubtful[:MAX_MATCHES], lacking, coverage)
        if foreign or lacking:
            reason = Reason.MODEL_MISMATCH if foreign else Reason.MISSING_SIGNALS
            return Verdict(Outcome.DEFER, reason, (), lacking, coverage)
        return Verdict(Outcome.ALLOW, Reason.NO_MATCH, coverage=coverage)

    def check_many(
        self,
        items: Iterable[Fingerprint | tuple[Fingerprint | None, str | None]],
        *,
        scopes: Iterable[Scope | str] | None = None,
    ) -> list[Verdict]:
        """`check` for each fingerprint, or each pair of fingerprint and address, in order."""
        asked = tuple(Scope) if scopes is None else tuple(scope for scope in Scope if scope in set(map(Scope, scopes)))
        pairs = ((item, None) if isinstance(item, Fingerprint) else item for item in items)
        signals = [
            _Signals(fingerprint or Fingerprint(), None if url is None else url_hash(url)) for fingerprint, url in pairs
        ]
        hits = self._face_hits(signals if Scope.FACE in asked else [])
        near = self._code_hits(signals if Scope.IMAGE in asked else [])
        return [
            replace(
                self._check(
                    each,
                    asked,
                    {state: found.get(place, []) for state, found in hits.items()},
                    {state: found.get(place, []) for state, found in near.items()},
                ),
                depth=Depth.HASHES if each.views is None else Depth.FULL,
            )
            for place, each in enumerate(signals)
        ]

    def _code_hits(self, signals: Sequence[_Signals]) -> dict[State, dict[int, list[tuple[int, int]]]]:
        """For each state and place in `signals`, what its code is near: (row, bits). All codes of a call are searched
        at once, which costs a quarter of one after the other."""
        coded = [(place, each.code) for place, each in enumerate(signals) if each.code is not None]
        near: dict[State, dict[int, list[tuple[int, int]]]] = {}
        for state, shelf in self._shelves.items():
            found = shelf.near([code for _, code in coded], PDQ_RADIUS)
            near[state] = {place: hits for (place, _), hits in zip(coded, found, strict=True) if hits}
        return near

    def _face_hits(self, signals: Sequence[_Signals]) -> dict[State, dict[int, list[list[tuple[int, float]]]]]:
        """For each state and place in `signals`, what each of its faces is near: (row, cosine). All faces of a call are
        searched at once, which costs a tenth of one after the other."""
        faces = [(place, face.embedding) for place, each in enumerate(signals) for face in each.faces or ()]
        lowest = {
            State.ACCEPTED: self.review_threshold,
            State.PENDING: self._cosine(self._shelves[State.PENDING]),
            State.SUSPENDED: self._suspended_cosine,
        }
        hits: dict[State, dict[int, list[list[tuple[int, float]]]]] = {state: {} for state in State}
        if faces:
            vectors = np.stack([embedding for _, embedding in faces])
            for state, cosine in lowest.items():
                if len(self._shelves[state].faces):
                    found = self._shelves[state].faces.within(vectors, cosine)
                    for (place, _), near in zip(faces, found, strict=True):
                        hits[state].setdefault(place, []).append(near)
        return hits

    @property
    def _suspended_cosine(self) -> float:
        # What it excluded or sent to a person on the whole list, and no more: alone it would have a lower threshold.
        photos = self._shelves[State.ACCEPTED].face_photos + self._shelves[State.SUSPENDED].face_photos
        return review_threshold(photos, face_threshold(photos, self._per_million), self._reviews_per_face)

    def _cosine(self, shelf: _Shelf) -> float:
        return face_threshold(shelf.face_photos, self._per_million)

    def _ids(self, scope: Scope | None = None) -> set[str]:
        return set().union(*(shelf.ids(scope) for shelf in self._shelves.values()))


@dataclass(frozen=True)
class _Signals:
    fingerprint: Fingerprint
    url_hash: bytes | None

    @property
    def current(self) -> bool:
        return self.fingerprint.version == FINGERPRINT_VERSION

    @property
    def code(self) -> bytes | None:
        return self.fingerprint.pdq if self.current and not self.fingerprint.plain else None

    @property
    def views(self) -> Views | None:
        return self.fingerprint.views if self.current else None

    @property
    def faces(self) -> tuple[Face, ...] | None:
        return self.fingerprint.faces if self.current else None

    def missing(self, scope: Scope, *shelves: _Shelf) -> tuple[str, ...]:
        """Names of the signals that a sure answer about this scope needs and that were not given."""
        match scope:
            case Scope.IMAGE:
                if not any(shelf.pictures_listed for shelf in shelves):
                    return ()
                by_code = any(len(shelf.codes) for shelf in shelves)
                by_bytes = any(shelf.exact_only for shelf in shelves)
                needs_code = by_code and self.code is None and not (self.fingerprint.plain and self.current)
                # A picture with clearly more structure is none of those that are listed by their bytes for lack of it.
                structured = self.code is not None and (self.fingerprint.quality or 0) >= STRUCTURED_QUALITY
                unknown_bytes = self.fingerprint.sha256 is None or self.fingerprint.rendition
                needs_bytes = (by_bytes or self.fingerprint.plain) and not structured and unknown_bytes
                return ("sha256",) * needs_bytes + ("pdq",) * needs_code
            case Scope.FACE:
                return () if self.faces is not None or not any(len(shelf.faces) for shelf in shelves) else ("faces",)
            case Scope.LINK:
                return () if self.url_hash is not None or not any(shelf.links_listed for shelf in shelves) else ("url",)


_FaceHits = dict[State, list[list[tuple[int, float]]]]
_CodeHits = dict[State, list[tuple[int, int]]]


@dataclass(frozen=True)
class _Found:
    """What was near: surely, and only so that a person must look. Each whole, with the nearest first: what is cut off
    before answers are applied would hide behind what a person has called different."""

    sure: tuple[Match, ...]
    doubtful: tuple[Match, ...]


@dataclass
class _Shelf:
    """The exclusions of one state, by every key they are found by: those of the snapshot it began with in bulk, what
    came since one by one. What changes is taken out of the bulk first. `held` has no keypoints, which are most of a
    picture and are in `pictures` already, but the row where they are."""

    bulk: Bulk
    held: dict[str, list[tuple[Exclusion, int | None]]] = field(default_factory=dict)
    exact: dict[str, list[str]] = field(default_factory=dict)  # sha256 -> ids
    links: dict[bytes, list[str]] = field(default_factory=dict)
    codes: HammingIndex = field(init=False)
    pictures: KeypointIndex = field(init=False)
    faces: FaceIndex = field(default_factory=lambda: FaceIndex(FACE_DIMENSIONS))
    face_photos: int = 0  # photos behind `faces`
    _exact_only: int = 0  # pictures without codes
    foreign: int = 0  # faces made by another model, which cannot be compared
    _code_owner: dict[int, str] = field(default_factory=dict)
    _code_place: dict[int, tuple[int, int]] = field(default_factory=dict)  # code's row -> picture's row, orientation
    _picture_owner: dict[int, str] = field(default_factory=dict)
    _face_owner: dict[int, str] = field(default_factory=dict)
    _rows: dict[str, tuple[list[int], list[int], list[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.codes, self.pictures = self.bulk.codes, self.bulk.pictures

    @property
    def exact_only(self) -> int:
        """How many pictures are without codes."""
        return self._exact_only + self.bulk.exact_only

    @property
    def pictures_listed(self) -> bool:
        return bool(self.exact) or self.bulk.image_count > 0

    @property
    def links_listed(self) -> bool:
        return bool(self.links) or self.bulk.link_count > 0

    def holds(self, exclusion_id: str) -> bool:
        return exclusion_id in self.held or bool(self.bulk.rows(exclusion_id))

    def ids(self, scope: Scope | None) -> set[str]:
        """Of all exclusions, or of those of one scope."""
        held = self.held.items()
        own = {name for name, each in held if scope is None or any(one.scope is scope for one, _ in each)}
        return own | self.bulk.ids(scope)

    def add(self, exclusion: Exclusion) -> None:
        self._unpack(exclusion.exclusion_id)
        self._add(exclusion)

    def _unpack(self, exclusion_id: str) -> None:
        for exclusion in self._taken_out(exclusion_id):
            self._add(exclusion)

    def _taken_out(self, exclusion_id: str) -> list[Exclusion]:
        """Of the bulk: all of them, or none when their corners cannot be fetched."""
        rows = self.bulk.rows(exclusion_id)
        if any(self.bulk.has_corners(row) for row in rows):
            self.pictures.complete()
        return [self.bulk.take(row) for row in rows]

    def _add(self, exclusion: Exclusion) -> None:
        exclusion_id = exclusion.exclusion_id
        if exclusion in self._own(exclusion_id):
            return
        held = self.held.setdefault(exclusion_id, [])
        code_rows, face_rows, picture_rows = self._rows.setdefault(exclusion_id, ([], [], []))
        picture: int | None = None
        match exclusion:
            case ImageExclusion():
                self.exact.setdefault(exclusion.sha256, []).append(exclusion_id)
                self._exact_only += not exclusion.dihedral
                if exclusion.keypoints is not None:
                    picture_rows.append(picture := self.pictures.add(from_bytes(exclusion.keypoints)))
                    self._picture_owner[picture] = exclusion_id
                codes = np.frombuffer(b"".join(exclusion.dihedral), dtype=np.uint8).reshape(-1, 32)
                for orientation, row in enumerate(self.codes.extend(codes).tolist()):
                    code_rows.append(row)
                    self._code_owner[row] = exclusion_id
                    if picture is not None:
                        self._code_place[row] = picture, orientation
            case FaceExclusion() if exclusion.model != FACE_MODEL:
                self.foreign += 1
            case FaceExclusion():
                self.face_photos += len(exclusion.embeddings)
                for template in face_templates(exclusion):
                    face_rows.append(row := self.faces.add(template))
                    self._face_owner[row] = exclusion_id
            case LinkExclusion():
                self.links.setdefault(exclusion.url_hash, []).append(exclusion_id)
        bare = replace(exclusion, keypoints=None) if isinstance(exclusion, ImageExclusion) else exclusion
        held.append((bare, picture))

    def _own(self, exclusion_id: str) -> list[Exclusion]:
        """What came since under an id, keypoints included."""
        found: list[Exclusion] = []
        for exclusion, picture in self.held.get(exclusion_id, ()):
            if picture is not None and isinstance(exclusion, ImageExclusion):
                found.append(replace(exclusion, keypoints=to_bytes(self.pictures.keypoints(picture))))
            else:
                found.append(exclusion)
        return found

    def remove(self, exclusion_id: str) -> None:
        for row in self.bulk.rows(exclusion_id):
            self.bulk.remove(row)
        self._remove_own(exclusion_id)

    def take(self, exclusion_id: str) -> list[Exclusion]:
        """Remove everything under an id; returns what it was. Raises what fetching corners raises; nothing is removed
        then."""
        taken = self._taken_out(exclusion_id) + self._own(exclusion_id)
        self._remove_own(exclusion_id)
        return taken

    def _remove_own(self, exclusion_id: str) -> None:
        for exclusion, _ in self.held.pop(exclusion_id, []):
            match exclusion:
                case ImageExclusion():
                    _drop(self.exact, exclusion.sha256, exclusion_id)
                    self._exact_only -= not exclusion.dihedral
                case FaceExclusion() if exclusion.model != FACE_MODEL:
                    self.foreign -= 1
                case FaceExclusion():
                    self.face_photos -= len(exclusion.embeddings)
                case LinkExclusion():
                    _drop(self.links, exclusion.url_hash, exclusion_id)
        code_rows, face_rows, picture_rows = self._rows.pop(exclusion_id, ([], [], []))
        for row in code_rows:
            self.codes.remove(row)
            del self._code_owner[row]
            self._code_place.pop(row, None)
        for row in picture_rows:
            self.pictures.remove(row)
            del self._picture_owner[row]
        for row in face_rows:
            self.faces.remove(row)
            del self._face_owner[row]

    def exact_ids(self, sha256: str | None) -> list[str]:
        """Of the pictures whose file this is."""
        if sha256 is None:
            return []
        return [*self.bulk.of_key(bytes.fromhex(sha256), images=True), *self.exact.get(sha256, ())]

    def link_ids(self, url_hash: bytes) -> list[str]:
        """Of the addresses with this hash."""
        return [*self.bulk.of_key(url_hash, images=False), *self.links.get(url_hash, ())]

    def scopes(self, exclusion_id: str) -> set[Scope]:
        """What the exclusions under an id cover."""
        return {each.scope for each, _ in self.held.get(exclusion_id, ())} | self.bulk.scopes(exclusion_id)

    def code_owner(self, row: int) -> str:
        return self._code_owner[row] if row >= self.bulk.code_rows else self.bulk.owner_of_code(row)

    def code_place(self, row: int) -> tuple[int, int] | None:
        """The row in `pictures` and the orientation of a code; None when its picture has no keypoints."""
        return self._code_place.get(row) if row >= self.bulk.code_rows else self.bulk.place_of_code(row)

    def picture_owner(self, row: int) -> str:
        return self._picture_owner[row] if row >= self.bulk.picture_rows else self.bulk.owner_of_picture(row)

    def near(self, codes: Sequence[bytes], radius: int) -> list[list[tuple[int, int]]]:
        """Of each code the rows of codes within the radius, and how many bits away they are."""
        found: list[list[tuple[int, int]]] = [[] for _ in codes]
        if codes and len(self.codes):
            pairs = self.codes.matches(np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(-1, 32), radius)
            for query, row, bits in zip(*(part.tolist() for part in pairs), strict=True):
                found[query].append((row, bits))
        return found

    def named(self, exclusion_ids: Iterable[str], asked: tuple[Scope, ...]) -> tuple[Match, ...]:
        """Those of these exclusions that are here and whose scope is asked, as a person's answer made them match."""
        here = [(name, scope) for name in exclusion_ids for scope in Scope if scope in self.scopes(name)]
        return tuple(Match(name, scope, "answer", 0, 0) for name, scope in here if scope in asked)

    def search(
        self,
        signals: _Signals,
        asked: tuple[Scope, ...],
        near: list[tuple[int, int]],
        hits: list[list[tuple[int, float]]],
        cosine: float,
        doubtful_from: float | None = None,
    ) -> _Found:
        """The nearest match of every exclusion and signal. `near`: what the code is near, `hits`: what each face is."""
        found: dict[tuple[str, str], Match] = {}

        def keep(match: Match) -> None:
            known = found.get((match.exclusion_id, match.signal))
            if known is None or match.distance < known.distance:
                found[match.exclusion_id, match.signal] = match

        if Scope.IMAGE in asked:
            for exclusion_id in self.exact_ids(signals.fingerprint.sha256):
                keep(Match(exclusion_id, Scope.IMAGE, "sha256", 0, 0))
            for row, bits in near:
                keep(Match(self.code_owner(row), Scope.IMAGE, "pdq", bits, PDQ_RADIUS))
        if Scope.LINK in asked and signals.url_hash is not None:
            for exclusion_id in self.link_ids(signals.url_hash):
                keep(Match(exclusion_id, Scope.LINK, "url", 0, 0))
        for face, alike in zip(signals.faces or (), hits, strict=False):
            box = face.box if face.box[2] else None
            for row, likeness in alike:
                threshold = 1 - (cosine if likeness >= cosine or doubtful_from is None else doubtful_from)
                keep(Match(self._face_owner[row], Scope.FACE, "face", 1 - likeness, threshold, box))
        nearest = sorted(found.values(), key=_nearness)
        sure = [match for match in nearest if match.signal != "face" or match.distance <= 1 - cosine]
        doubtful = [match for match in nearest if match not in sure]
        return _Found(tuple(sure), tuple(doubtful))

    def copies(self, views: Views, code: bytes | None) -> _Found:
        """The exclusions that the picture or a part of it surely shows, and those that it may show.

        Cheap steps first; the first that finds one surely is the last.
        """
        height, width = views.grey.shape
        own = () if code is None else (code, negative(code))
        whole = tuple((each, (0, 0, width, height)) for each in own)
        sure: dict[str, Match] = {}
        found: dict[int, Likeness] = {}
        near: dict[int, None] = {}
        parts = (*whole, *views.codes)
        for (_, box), hits in zip(parts, self.near([part for part, _ in parts], PDQ_CANDIDATE_RADIUS), strict=True):
            for row, bits in hits:
                owner = self.code_owner(row)
                if bits <= PDQ_RADIUS:
                    if owner not in sure or bits < sure[owner].distance:
                        sure[owner] = Match(owner, Scope.IMAGE, "pdq", bits, PDQ_RADIUS)
                elif (at := self.code_place(row)) is not None:
                    picture, orientation = at
                    near[picture] = None
                    _best(found, picture, shown_whole(views.grey, box, orientation, self.pictures.keypoints(picture)))
        if not sure:
            sure, likely = self._matches(found)
        for view in views.all if len(self.pictures) and not sure else ():
            for grey, features in ((view.grey, view.features), (view.grey[:, ::-1], view.mirrored)):
                for picture in dict.fromkeys([*self.pictures.candidates(features), *near]):
                    _best(found, picture, place(grey, features, self.pictures.keypoints(picture)))
            sure, likely = self._matches(found)
            if sure:
                break
        if sure:
            return _Found(tuple(sorted(sure.values(), key=_nearness)), ())
        return _Found((), tuple(sorted(likely.values(), key=_nearness)))

    def _matches(self, found: dict[int, Likeness]) -> tuple[dict[str, Match], dict[str, Match]]:
        """By exclusion: what the likenesses say surely, and what they say likely."""
        sure: dict[str, Match] = {}
        likely: dict[str, Match] = {}
        for picture, likeness in found.items():
            owner = self.picture_owner(picture)
            agreed = SURE_AGREEMENT if likeness.sure else LIKELY_AGREEMENT
            matches = sure if likeness.sure else likely
            match = Match(owner, Scope.IMAGE, "picture", 1 - likeness.agreement, 1 - agreed)
            if (likeness.sure or likeness.likely) and (
                owner not in matches or match.distance < matches[owner].distance
            ):
                matches[owner] = match
        return sure, likely


def _best(found: dict[int, Likeness], picture: int, likeness: Likeness | None) -> None:
    """Keep the better of what is known about a picture and what is found now."""
    if likeness is not None and (picture not in found or likeness.rank > found[picture].rank):
        found[picture] = likeness


def face_templates(exclusion: FaceExclusion) -> NDArray[np.float32]:
    """The vectors that a listed person is searched by: one mean of all their photos, or, where the photos do not agree
    with each other, each of them. The mean finds .943 (two photos) and .984 (three) of people at the threshold of a
    list of 10,000, the best of single photos .906 and .955: what two photos have in common is the person."""
    vectors = np.stack([np.frombuffer(embedding, dtype="<f4") for embedding in exclusion.embeddings])
    if float((vectors @ vectors.T).min()) < FACES_AGREE:
        return vectors
    mean = vectors.mean(axis=0, dtype=np.float64)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)[np.newaxis]


def _nearness(match: Match) -> tuple[float, str]:
    """Sorts across signals: the part of the threshold that was used up; exact signals come first."""
    return match.distance / (match.threshold or 1), match.exclusion_id


def _drop(ids: dict[Key, list[str]], key: Key, exclusion_id: str) -> None:
    left = [other for other in ids.get(key, []) if other != exclusion_id]
    if left:
        ids[key] = left
    else:
        ids.pop(key, None)
