"""The exclusion list as files in S3: immutable segments, and one manifest per epoch that names those in force.

    epochs/<epoch>/manifest     replaced only by whoever has seen the one before (S3's If-Match; If-None-Match at first)
    segments/<name>             never changed; the name is the SHA-256 of the file's header
    clock                       empty; its date is what the time is

A segment holds records of one shelf (a state, or the answers) as plain little-endian columns, version 1:

    0     8   magic "OPTOUTSG"
    8     4   format version, 1
    12    4   bytes of an id, shorter ones are filled up with zeros
    16    8   records
    24    8   size of the file
    32    8   the change of the log that it was made at, so that the same records made again are another file
    40    48  each section of `SECTIONS`: offset, bytes (8 each), SHA-256 (32)
    ...       zeros up to 4,096; then the sections, each on a multiple of 64 bytes

So the manifest vouches for the header, the header for every section, and a reader may fetch only the sections it needs,
now or later: a lookup by hashes never fetches the corners. What searches need besides, tables of numbers, is made of
the sections by who needs it and is in no file, so that it has no version and cannot be another list's.
Records that have left the list are named in the manifest until their segment is written anew without them. This module
knows files; `optout.exclusions.segment` knows what is in them. It is free of NumPy, since page functions use it too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from optout import settings
from optout.errors import SnapshotDamaged
from optout.exclusions.entry import State

FORMAT = 1
MAGIC = b"OPTOUTSG"
HEADER_BYTES = 4096
ALIGNMENT = 64
# The shelf of answers; the others are called like the states.
ANSWERS = "answers"
SHELVES = (*map(str, State), ANSWERS)
# What every search needs comes first, so that it is read in one go; corners are most of the bytes.
SECTIONS = (
    "ids",  # (records, id bytes)
    "kinds",  # u1: what `optout.exclusions.segment.Kind` says
    "digests",  # (records, 32): SHA-256 of each record's canonical bytes
    "keys",  # (records, 32): SHA-256 of a picture, an address or an answered candidate
    "code_counts",  # u1: PDQ codes of each record
    "codes",  # (codes, 32)
    "face_counts",  # u1: embeddings of each record
    "faces",  # (embeddings, 128) float32
    "models",  # u1: the number of each record's face model in `model_names`
    "model_names",  # UTF-8, one a line
    "corner_sizes",  # u4: bytes of each record's keypoints, 0 where it has none
    "corners",  # the keypoints in their stored form
)
_FIXED = struct.Struct("<8sIIQQQ")
_SECTION = struct.Struct("<QQ32s")
# S3 serves one connection at about 90 MB/s and many at once, by ranges of 8 to 16 MB as AWS advises. The embedded one
# reads the whole object for each range, so there the larger are the faster: 1.9 s for 600 MB, by 8 MB 2.9 s.
_CHUNK_BYTES = 16 << 20
_AT_ONCE = 8
# Read at a time: what is read is copied once more on its way, and what every thread had for that is not given back.
_PIECE_BYTES = 128 << 10
# What a record takes as a rule in all that comes before the corners, eight codes included, and in the ids alone: so
# much is fetched with the header, without waiting for what that says. What is longer is fetched after.
_RECORD_BYTES, _ID_BYTES = 384, 40
_MISSING = {"NoSuchKey", "404"}
# Somebody else has replaced the manifest, or is doing it at this moment.
_LOST = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409", "404"}


@dataclass(frozen=True)
class SegmentRef:
    """One segment in force: its name, the shelf it belongs to, how large it is, and which of its records have left the
    list (numbers of rows, ascending), the first of them at `dead_since` (ISO 8601)."""

    name: str
    shelf: str
    records: int
    size: int
    dead: tuple[int, ...] = ()
    dead_since: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The list at version `epoch.seq`: the segments that make it up, and the digest of all its records (hex, see
    `optout.exclusions.fold.set_digest`). `history` are versions of this epoch and since when each was in the manifest
    (ISO 8601), the oldest first: what the log may be cut by. `retired` are segments that were in force until lately,
    and when they ceased to be: whoever has read the manifest before may still fetch them."""

    epoch: int
    seq: int
    records: int
    digest: str
    segments: tuple[SegmentRef, ...]
    history: tuple[tuple[int, str], ...] = ()
    retired: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> bytes:
        """As it is stored, with a check sum of its own."""
        content = asdict(self)
        for segment in content["segments"]:
            segment["dead"] = base64.b64encode(array("I", segment["dead"]).tobytes()).decode()
        text = json.dumps({"format": FORMAT, **content}, sort_keys=True)
        return json.dumps({"manifest": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()

    @classmethod
    def from_json(cls, stored: bytes) -> Manifest:
        """Raises `SnapshotDamaged` for what is not a whole manifest of this format."""
        try:
            outer = json.loads(stored)
            text = outer["manifest"]
            if hashlib.sha256(text.encode()).hexdigest() != outer["sha256"]:
                raise SnapshotDamaged("manifest")
            content = json.loads(text)
            if content.pop("format") != FORMAT:
                raise SnapshotDamaged("format of the manifest")
            segments = []
            for segment in content.pop("segments"):
                dead = array("I", base64.b64decode(segment.pop("dead"), validate=True))
                segments.append(SegmentRef(dead=tuple(dead), **segment))
            history = tuple((int(seq), str(at)) for seq, at in content.pop("history"))
            retired = tuple((str(name), str(at)) for name, at in content.pop("retired"))
            return cls(segments=tuple(segments), history=history, retired=retired, **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SnapshotDamaged("manifest") from error


@dataclass(frozen=True)
class Found:
    """A manifest and the entity tag that it must still have to be replaced."""

    manifest: Manifest
    etag: str


@dataclass(frozen=True)
class Header:
    """What a segment's first 4,096 bytes say."""

    id_bytes: int
    records: int
    size: int
    seq: int
    sections: dict[str, tuple[int, int, bytes]]  # offset, bytes, SHA-256

    def to_bytes(self) -> bytes:
        """As it is stored."""
        fixed = _FIXED.pack(MAGIC, FORMAT, self.id_bytes, self.records, self.size, self.seq)
        table = b"".join(_SECTION.pack(*self.sections[name]) for name in SECTIONS)
        return (fixed + table).ljust(HEADER_BYTES, b"\0")

    @classmethod
    def from_bytes(cls, stored: bytes, ref: SegmentRef) -> Header:
        """Raises `SnapshotDamaged` unless it is the header that the manifest names."""
        if len(stored) != HEADER_BYTES or hashlib.sha256(stored).hexdigest() != ref.name:
            raise SnapshotDamaged("header of a segment")
        magic, version, id_bytes, records, size, seq = _FIXED.unpack_from(stored)
        if magic != MAGIC or version != FORMAT:
            raise SnapshotDamaged("format of a segment")
        if records != ref.records or size != ref.size:
            raise SnapshotDamaged("size of a segment")
        places = range(_FIXED.size, HEADER_BYTES, _SECTION.size)
        sections = {name: _SECTION.unpack_from(stored, at) for name, at in zip(SECTIONS, places, strict=False)}
        return cls(id_bytes, records, size, seq, sections)


@dataclass(frozen=True)
class Sections:
    """Some sections of one segment, as they were fetched and checked."""

    header: Header
    content: dict[str, memoryview]


class Snapshots:
    """The snapshots bucket."""

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = bucket
        self._client = client

    @classmethod
    def from_settings(cls) -> Snapshots:
        """The snapshots of this deployment."""
        return cls(settings.snapshots_bucket(), settings.aws("s3"))

    def newest(self, epoch: int) -> Found | None:
        """The manifest of an epoch; None when the epoch has none. Raises `SnapshotDamaged`."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=_manifest_key(epoch))
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise
        manifest = Manifest.from_json(answer["Body"].read())
        if manifest.epoch != epoch:
            raise SnapshotDamaged("manifest of another epoch")
        return Found(manifest, answer["ETag"])

    def replace(self, manifest: Manifest, seen: Found | None) -> bool:
        """Put a manifest in the place of the one that was seen, or of none. False when that is no longer there."""
        condition = {"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen.etag}
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=_manifest_key(manifest.epoch), Body=manifest.to_json(), **condition
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in _LOST:
                return False
            raise
        return True

    def put_segment(self, name: str, content: bytes) -> None:
        """Store a segment. One that is there already is written anew, so that it is younger than what `collect` may
        delete."""
        self._client.put_object(Bucket=self._bucket, Key=f"segments/{name}", Body=content)

    def time(self) -> datetime:
        """The time of S3's clock, by which it also dates what is written: whoever runs the compaction may have another,
        and what is deleted by a wrong one is gone."""
        self._client.put_object(Bucket=self._bucket, Key="clock", Body=b"")
        at: datetime = self._client.head_object(Bucket=self._bucket, Key="clock")["LastModified"]
        return at

    def collect(self, needed: Container[str], before: datetime) -> int:
        """Delete for good every version of a segment that is not needed, or not the newest, and was written before a
        time. Returns how many."""
        gone = 0
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix="segments/")
        for page in pages:
            old = [
                {"Key": version["Key"], "VersionId": version["VersionId"]}
                for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
                if version["LastModified"] < before
                and not (version["IsLatest"] and version["Key"].removeprefix("segments/") in needed)
            ]
            if old:  # a page holds a thousand at most, as many as may be deleted at once
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": old, "Quiet": True})
                gone += len(old)
        return gone

    def read(self, refs: Iterable[SegmentRef], first: str, last: str) -> list[Sections]:
        """The sections from `first` to `last` of segments, fetched side by side, each checked by its SHA-256.

        Raises `SnapshotDamaged` when a segment is missing, cut off or changed.
        """
        wanted = SECTIONS[SECTIONS.index(first) : SECTIONS.index(last) + 1]
        found: list[Sections] = []
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            begun = []
            for ref in refs:
                known = memoryview(bytearray(_expected(ref, last)))
                begun.append((ref, known, self._fetches(threads, ref, 0, known)))
            checks: list[Future[None]] = []
            for ref, known, fetches in begun:
                fetches[0].result()
                header = Header.from_bytes(bytes(known[:HEADER_BYTES]), ref)
                begin, end = header.sections[first][0], sum(header.sections[last][:2])
                if not HEADER_BYTES <= begin <= end <= ref.size:
                    raise SnapshotDamaged("sections of a segment")
                whole, awaited = known, list(fetches)
                if end > len(known):
                    whole = memoryview(bytearray(end))
                    awaited.append(threads.submit(_copy, fetches, known, whole))
                    awaited += self._fetches(threads, ref, len(known), whole[len(known) :])
                places = {name: header.sections[name][:2] for name in wanted}
                content = {name: whole[at : at + size] for name, (at, size) in places.items()}
                found.append(Sections(header, content))
                checks += [threads.submit(_check, awaited, header, name, content[name]) for name in wanted]
            for check in checks:
                check.result()
        return found

    def read_corners(self, segments: Sequence[tuple[SegmentRef, Header]], place: memoryview) -> None:
        """Fetch the corners of segments whose headers are known into `place`, one after the other, which they fill.

        Raises `SnapshotDamaged` when a segment is missing, cut off or changed; `place` is of no use then.
        """
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            checks: list[Future[None]] = []
            at = 0
            for ref, header in segments:
                begin, size, _ = header.sections[SECTIONS[-1]]
                span = place[at : (at := at + size)]
                fetches = self._fetches(threads, ref, begin, span)
                checks.append(threads.submit(_check, fetches, header, SECTIONS[-1], span))
            if at != len(place):
                raise SnapshotDamaged("sections of a segment")
            for check in checks:
                check.result()

    def _fetches(self, threads: Executor, ref: SegmentRef, begin: int, place: memoryview) -> list[Future[None]]:
        """Begin to fetch what lies in a segment from `begin` on into `place`."""
        starts = range(0, len(place), _CHUNK_BYTES)
        return [threads.submit(self._fetch, ref, begin + at, place[at : at + _CHUNK_BYTES]) for at in starts]

    def _fetch(self, ref: SegmentRef, offset: int, place: memoryview) -> None:
        span = f"bytes={offset}-{offset + len(place) - 1}"
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=f"segments/{ref.name}", Range=span)["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING | {"InvalidRange", "416"}:
                raise SnapshotDamaged("segment missing or cut off") from error
            raise
        at = 0
        while got := body.readinto(place[at : at + _PIECE_BYTES]):
            at += got
        if at != len(place):
            raise SnapshotDamaged("segment cut off")

    def names(self, manifest: Manifest) -> Iterator[tuple[str, State]]:
        """Every exclusion on the list and its state; one that has several records is named as often."""
        refs = [ref for ref in manifest.segments if ref.shelf != ANSWERS]
        for ref, sections in zip(refs, self.read(refs, "ids", "ids"), strict=True):
            dead, wide, ids = set(ref.dead), sections.header.id_bytes, sections.content["ids"]
            for row in range(ref.records):
                if row not in dead:
                    yield bytes(ids[row * wide : (row + 1) * wide]).rstrip(b"\0").decode(), State(ref.shelf)


def _manifest_key(epoch: int) -> str:
    return f"epochs/{epoch}/manifest"


def _expected(ref: SegmentRef, last: str) -> int:
    """Bytes of a segment's file up to the end of a section, as a rule."""
    if last == SECTIONS[-1]:
        return max(HEADER_BYTES, ref.size)
    usual = ref.records * (_ID_BYTES if last == SECTIONS[0] else _RECORD_BYTES)
    return max(HEADER_BYTES, min(ref.size, HEADER_BYTES + ALIGNMENT * len(SECTIONS) + usual))


def _copy(fetches: Iterable[Future[None]], known: memoryview, whole: memoryview) -> None:
    """What was fetched, once it is there, to where there is room for more."""
    for fetch in fetches:
        fetch.result()
    whole[: len(known)] = known


def _check(fetches: Iterable[Future[None]], header: Header, name: str, content: memoryview) -> None:
    """That a section is what the header says, once it is there. It waits for no one but who was to begin before it."""
    for fetch in fetches:
        fetch.result()
    if hashlib.sha256(content).digest() != header.sections[name][2]:
        raise SnapshotDamaged("section of a segment")
