"""A crawler's lookup: the items it sends, and the answer for each.

Pure but for the list it is given. One broken item is `invalid` and never spoils the others; what cannot be answered
surely is `defer`. docs/crawlers.md says what a crawler does with each answer; docs/api/openapi.json describes the
models here.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optout.errors import PhotoUnreadable, RequestInvalid, Unavailable
from optout.exclusions.entry import EMBEDDING_BYTES, Scope
from optout.exclusions.log import Current, Version
from optout.exclusions.matcher import Depth, Outcome, Reason, Verdict
from optout.fingerprint import FINGERPRINT_VERSION, Fingerprint
from optout.fingerprint.faces import FACE_MODEL

# Lambda takes 6 MB a call; the rest is for the event around the body and the escapes inside it.
MAX_BODY_BYTES = 5_000_000
MAX_ITEMS = 1_000
# About 0.1 s each with faces, so that a full call stays well within the time.
MAX_PICTURES = 100
MAX_PICTURE_BYTES = 1_000_000
MAX_FACES = 100
MAX_ID_LENGTH = 128
# Items searched at once, and pictures among them: what was begun in time is answered, so a chunk's search, of 0.4 s at
# most with 100,000 pictures listed, comes on top of the time budget. Hashes gain no more from larger chunks.
CHUNK = 250
CHUNK_PICTURES = 10
# From the start of the call. API Gateway gives up after 29 s, the function after 25.
TIME_BUDGET_S = 20.0

# When asking again can bring another answer. Missing signals do not appear by waiting.
_RETRY_AFTER_S = {
    Reason.PENDING_CASE: 86_400,  # a person decides within days
    Reason.DOUBTFUL_MATCH: 86_400,
    Reason.SUSPENDED: 3_600,  # somebody is looking into it
    Reason.MODEL_MISMATCH: 3_600,  # ends with the deployment that is under way
    Reason.TIME_BUDGET: 1,
}

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class Item(BaseModel):
    """One picture, by any of its signals. Signals that are named win over those computed from `picture`."""

    model_config = _STRICT

    id: Annotated[
        str, Field(min_length=1, max_length=MAX_ID_LENGTH, description="The caller's name for it, unique in the call.")
    ]
    url: Annotated[str | None, Field(description="Where the picture was found.")] = None
    sha256: Annotated[str | None, Field(description="Of the original file's bytes; 64 hex digits.")] = None
    pdq: Annotated[str | None, Field(description="PDQ hash; 64 hex digits.")] = None
    pdq_quality: Annotated[int | None, Field(ge=0, le=100, description="PDQ's quality of the picture.")] = None
    faces: Annotated[
        list[str] | None,
        Field(
            max_length=MAX_FACES,
            description="Every face in the picture, each base64 of 128 little-endian float32; empty when it has none.",
        ),
    ] = None
    faces_model: Annotated[
        str | None, Field(description=f"Which model made `faces`; compared only when it is {FACE_MODEL}.")
    ] = None
    fingerprint_version: Annotated[
        str | None, Field(description="`version` of the fingerprint that the signals come from.")
    ] = None
    picture: Annotated[
        str | None,
        Field(description=f"Base64 of a picture file of at most {MAX_PICTURE_BYTES} bytes, such as a small JPEG."),
    ] = None


class Lookup(BaseModel):
    """A lookup of up to 1,000 items, of which up to 100 with a picture."""

    model_config = _STRICT

    # Each item is validated by itself, so that a broken one does not spoil the others.
    items: Annotated[list[Any], Field(max_length=MAX_ITEMS)]
    min_version: Annotated[
        str | None, Field(description="The answer must come from this version of the list or a later one.")
    ] = None
    scopes: Annotated[
        # Not strict: what JSON brings are strings.
        list[Annotated[Scope, Field(strict=False)]] | None,
        Field(description="Narrows what is asked; without it, everything is."),
    ] = None

    @property
    def oldest(self) -> Version | None:
        """The version that the answer must not be older than. Raises `RequestInvalid`."""
        return None if self.min_version is None else Version.parse(self.min_version)

    @property
    def has_pictures(self) -> bool:
        """Whether any of the items may bring a picture."""
        return any(map(_has_picture, self.items))


class MatchedExclusion(BaseModel):
    """One exclusion that applies; `distance` is at most `threshold`."""

    exclusion_id: str
    scope: Scope
    signal: str
    distance: float
    threshold: float
    box: Annotated[
        list[int] | None,
        Field(description="For a face found in `picture`: x, y, width and height in its upright pixels."),
    ] = None


class Result(BaseModel):
    """The answer for one item. `id` is null when the item had none that can be repeated."""

    id: str | None
    verdict: Outcome
    reason: Annotated[str, Field(description="Why; for `invalid`, `field:code`.")]
    retry_after_s: Annotated[int | None, Field(description="When it makes sense to ask again; null: not by waiting.")]
    coverage: Annotated[list[Scope], Field(description="Scopes that were searched in full.")]
    depth: Annotated[
        Depth,
        Field(description="full: the picture was looked at; hashes: crops, frames and collages were not looked for."),
    ]
    missing: Annotated[list[str], Field(description="Signals whose absence made the answer uncertain.")]
    matches: list[MatchedExclusion]


class Answer(BaseModel):
    """The results, in the order of the items, from one version of the list. It was current at `as_of` or later."""

    version: str
    as_of: datetime
    results: list[Result]


def parse(body: bytes) -> Lookup:
    """The lookup in a request's body. Raises `RequestInvalid`: field `body` when it is no JSON object at all, else the
    field of the lookup that is wrong. Items are not looked at yet."""
    try:
        given = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RequestInvalid({"body": "not_json"}) from error
    if not isinstance(given, dict):
        raise RequestInvalid({"body": "not_an_object"})
    try:
        lookup = Lookup.model_validate(given)
    except ValidationError as error:
        raise RequestInvalid(dict(_problem(found, "lookup") for found in error.errors())) from error
    if sum(map(_has_picture, lookup.items)) > MAX_PICTURES:
        raise RequestInvalid({"items": f"more_than_{MAX_PICTURES}_pictures"})
    return lookup


def answer(lookup: Lookup, current: Current, until: float, *, clock: Callable[[], float] = time.monotonic) -> Answer:
    """The verdict for every item. Items that are not reached before `until`, a time of `clock`, are deferred.

    Items are looked up in chunks: the faces and the hashes of a chunk are searched at once.
    """
    results: list[Result] = []
    chunk: list[_Asked | Result] = []
    names: set[str] = set()
    pictures = 0
    for given in lookup.items:
        late = clock() >= until
        chunk.append(asked := _asked(given, lookup.scopes, names, late=late))
        pictures += isinstance(asked, _Asked) and asked.fingerprint.views is not None
        if len(chunk) == CHUNK or pictures == CHUNK_PICTURES:
            results += _answered(chunk, lookup.scopes, current)
            chunk, pictures = [], 0
    results += _answered(chunk, lookup.scopes, current)
    return Answer(version=str(current.version), as_of=current.as_of, results=results)


def _has_picture(item: Any) -> bool:
    return isinstance(item, dict) and item.get("picture") is not None


def _no_number(name: str) -> float:
    raise ValueError(name)


def _problem(found: Any, whole: str) -> tuple[str, str]:
    """Field and code of one of pydantic's errors. A field's name may be anything, so it is made harmless and short."""
    field = ".".join(str(part) for part in found["loc"]) or whole
    return field.encode("ascii", "backslashreplace").decode()[:60], str(found["type"])


@dataclass(frozen=True)
class _Asked:
    """An item that can be looked up."""

    name: str
    fingerprint: Fingerprint
    url: str | None


def _asked(given: Any, scopes: list[Scope] | None, names: set[str], *, late: bool) -> _Asked | Result:
    """An item with all its signals, or the answer to one that is broken or for which no time is left. `names` are the
    ids of the items before it."""
    name = given.get("id") if isinstance(given, dict) else None
    known = name if isinstance(name, str) and len(name) <= MAX_ID_LENGTH and name.isprintable() else None
    try:
        item = Item.model_validate(given)
        if known is None:
            raise RequestInvalid({"id": "not_printable"})
        if item.id in names:
            raise RequestInvalid({"id": "duplicate"})
        names.add(item.id)
        if late:
            return _result(item.id, Verdict(Outcome.DEFER, Reason.TIME_BUDGET))
        return _Asked(item.id, _fingerprint(item, scopes), item.url)
    except Exception as error:
        return _broken(known, error)


def _answered(chunk: Sequence[_Asked | Result], scopes: list[Scope] | None, current: Current) -> list[Result]:
    """The answers to a chunk, those that were known before among them."""
    asked = [each for each in chunk if isinstance(each, _Asked)]
    found: Iterator[Result]
    try:
        verdicts = current.list.check_many([(each.fingerprint, each.url) for each in asked], scopes=scopes)
        found = iter([_result(each.name, verdict) for each, verdict in zip(asked, verdicts, strict=True)])
    except Unavailable:  # something is wrong with the list, and with no item
        raise
    except Exception:  # something is wrong with one of them: each by itself, so that the others are answered
        found = iter([_alone(each, scopes, current) for each in asked])
    return [next(found) if isinstance(each, _Asked) else each for each in chunk]


def _alone(asked: _Asked, scopes: list[Scope] | None, current: Current) -> Result:
    try:
        return _result(asked.name, current.list.check(asked.fingerprint, asked.url, scopes=scopes))
    except Exception as error:
        return _broken(asked.name, error)


def _result(name: str, verdict: Verdict) -> Result:
    return Result(id=name, retry_after_s=_RETRY_AFTER_S.get(verdict.reason), **verdict.to_dict())


def _broken(name: str | None, error: Exception) -> Result:
    """What is said of an item that cannot be looked up. OpenCV fails in ways of its own; one picture that it cannot
    look at must not stop the others."""
    match error:
        case ValidationError():
            return _invalid(name, *_problem(error.errors()[0], "item"))
        case RequestInvalid():
            return _invalid(name, *next(iter(error.problems.items())))
        case PhotoUnreadable():
            return _invalid(name, "picture", error.code)
    return _invalid(name, "item", "not_examined")


def _invalid(name: str | None, field: str, code: str) -> Result:
    return Result(
        id=name,
        verdict=Outcome.INVALID,
        reason=f"{field}:{code}",
        retry_after_s=None,
        coverage=[],
        missing=[],
        depth=Depth.HASHES,
        matches=[],
    )


def _fingerprint(item: Item, scopes: list[Scope] | None) -> Fingerprint:
    """All signals of an item. Raises `RequestInvalid` and `PhotoUnreadable`."""
    signals = (item.url, item.sha256, item.pdq, item.pdq_quality, item.faces, item.picture)
    if all(signal is None for signal in signals):
        raise RequestInvalid({"item": "no_signal"})
    if item.faces and item.faces_model is None:
        # Vectors of two models can be compared and mean nothing; only the caller knows which one it used.
        raise RequestInvalid({"faces_model": "missing"})
    vectors = None if item.faces is None else [_vector(index, text) for index, text in enumerate(item.faces)]
    named = Fingerprint.from_signals(
        sha256=item.sha256,
        pdq=item.pdq,
        quality=item.pdq_quality,
        # Another model's vectors are as good as none; that a picture has no face, any model can say.
        faces=vectors if item.faces_model == FACE_MODEL or not vectors else None,
        version=item.fingerprint_version or FINGERPRINT_VERSION,
    )
    if item.picture is None:
        return named
    asks_for_faces = scopes is None or Scope.FACE in scopes
    seen = Fingerprint.of(
        _bytes("picture", item.picture, MAX_PICTURE_BYTES), faces=asks_for_faces and named.faces is None
    )
    return replace(
        seen,
        sha256=named.sha256 or seen.sha256,
        # Bytes that were sent may be those of a listed file, but that they are none says little: only a SHA-256 that
        # the caller names can clear.
        rendition=named.sha256 is None,
        pdq=named.pdq or seen.pdq,
        quality=seen.quality if named.quality is None else named.quality,
        faces=seen.faces if named.faces is None else named.faces,
        version=named.version,
    )


def _bytes(field: str, text: str, limit: int) -> bytes:
    if len(text) > 4 * (limit // 3 + 2):  # before it is decoded
        raise RequestInvalid({field: "too_large"})
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
        raise RequestInvalid({field: "not_base64"}) from error
    if len(data) > limit:
        raise RequestInvalid({field: "too_large"})
    return data


def _vector(index: int, text: str) -> Any:
    data = _bytes(f"faces.{index}", text, EMBEDDING_BYTES)
    if len(data) != EMBEDDING_BYTES:
        raise RequestInvalid({f"faces.{index}": "not_128_numbers"})
    return np.frombuffer(data, dtype="<f4")


# --- the published description ----------------------------------------------------------------------------------------


def schemas() -> dict[str, Any]:
    """The models as schemas of OpenAPI 3.1, by name; `optout.openapi` puts them into docs/api/openapi.json."""
    found: dict[str, Any] = {}
    for model in (Lookup, Item, Answer):
        mode: Any = "serialization" if model is Answer else "validation"
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
        found |= schema.pop("$defs", {}) | {model.__name__: schema}
    found["Lookup"]["properties"]["items"]["items"] = {"$ref": "#/components/schemas/Item"}
    return found
