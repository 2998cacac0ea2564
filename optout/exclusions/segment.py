"""What is in a segment of a snapshot: records as columns, made from records, from other segments, or from a file.

Nothing here is a Python object per record but what is asked for by name, so that a million records are read as fast as
their bytes (`optout.exclusions.snapshot` describes the file).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optout.errors import SnapshotDamaged
from optout.exclusions.entry import (
    CODE_BYTES,
    EMBEDDING_BYTES,
    FaceExclusion,
    ImageExclusion,
    LinkExclusion,
    State,
)
from optout.exclusions.fold import Record, record_digest
from optout.exclusions.log import Answer
from optout.exclusions.snapshot import (
    ALIGNMENT,
    ANSWERS,
    HEADER_BYTES,
    SECTIONS,
    Header,
    Manifest,
    Sections,
    SegmentRef,
    Snapshots,
)


class Kind(IntEnum):
    """What a record is."""

    IMAGE = 0
    FACE = 1
    LINK = 2
    DIFFERENT = 3  # answers
    SAME = 4


@dataclass(frozen=True, eq=False)
class Segment:
    """Records of one shelf. Read without its corners (`corners` is None) it has all else."""

    shelf: str
    ids: NDArray[np.bytes_]
    kinds: NDArray[np.uint8]
    digests: NDArray[np.uint8]  # (records, 32)
    keys: NDArray[np.uint8]  # (records, 32)
    code_counts: NDArray[np.uint8]
    codes: NDArray[np.uint8]  # (codes, 32)
    face_counts: NDArray[np.uint8]
    faces: NDArray[np.float32]  # (embeddings, 128)
    models: NDArray[np.uint8]
    model_names: tuple[str, ...]
    corner_sizes: NDArray[np.uint32]
    corners: NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, shelf: str, records: Sequence[Record]) -> Segment:
        """The records in this order."""
        kinds, keys, codes, faces, corners = [], [], [], [], []
        models: list[int] = []
        names: dict[str, int] = {}
        for record in records:
            codes.append(b"".join(record.dihedral) if isinstance(record, ImageExclusion) else b"")
            corners.append((record.keypoints if isinstance(record, ImageExclusion) else None) or b"")
            faces.append(b"".join(record.embeddings) if isinstance(record, FaceExclusion) else b"")
            models.append(names.setdefault(record.model, len(names)) if isinstance(record, FaceExclusion) else 0)
            match record:
                case ImageExclusion():
                    kinds.append(Kind.IMAGE)
                    keys.append(bytes.fromhex(record.sha256))
                case LinkExclusion():
                    kinds.append(Kind.LINK)
                    keys.append(record.url_hash)
                case Answer():
                    kinds.append(Kind.SAME if record.same else Kind.DIFFERENT)
                    keys.append(bytes.fromhex(record.candidate_sha256))
                case FaceExclusion():
                    kinds.append(Kind.FACE)
                    keys.append(bytes(32))
        ids = [record.exclusion_id.encode() for record in records]
        return cls(
            shelf,
            np.array(ids, dtype=f"S{max(map(len, ids), default=1)}"),
            np.array(kinds, dtype=np.uint8),
            _rows(b"".join(map(record_digest, records)), 32),
            _rows(b"".join(keys), 32),
            np.array([len(each) // CODE_BYTES for each in codes], dtype=np.uint8),
            _rows(b"".join(codes), CODE_BYTES),
            np.array([len(each) // EMBEDDING_BYTES for each in faces], dtype=np.uint8),
            np.frombuffer(b"".join(faces), dtype="<f4").reshape(-1, EMBEDDING_BYTES // 4),
            np.array(models, dtype=np.uint8),
            tuple(names),
            np.array([len(each) for each in corners], dtype=np.uint32),
            np.frombuffer(b"".join(corners), dtype=np.uint8),
        )

    @classmethod
    def read(cls, shelf: str, sections: Sections) -> Segment:
        """Over what was fetched, without a copy. Raises `SnapshotDamaged` when the columns do not fit together."""
        header, content = sections.header, sections.content
        try:
            segment = cls(
                shelf,
                np.frombuffer(content["ids"], dtype=f"S{header.id_bytes}"),
                np.frombuffer(content["kinds"], dtype=np.uint8),
                _rows(content["digests"], 32),
                _rows(content["keys"], 32),
                np.frombuffer(content["code_counts"], dtype=np.uint8),
                _rows(content["codes"], CODE_BYTES),
                np.frombuffer(content["face_counts"], dtype=np.uint8),
                np.frombuffer(content["faces"], dtype="<f4").reshape(-1, EMBEDDING_BYTES // 4),
                np.frombuffer(content["models"], dtype=np.uint8),
                tuple(bytes(content["model_names"]).decode().splitlines()),
                np.frombuffer(content["corner_sizes"], dtype="<u4"),
                np.frombuffer(content["corners"], dtype=np.uint8) if "corners" in content else None,
            )
        except (ValueError, KeyError) as error:
            raise SnapshotDamaged("columns of a segment") from error
        segment._require_whole(header.records)
        return segment

    def _require_whole(self, records: int) -> None:
        columns = (self.ids, self.kinds, self.digests, self.keys, self.code_counts, self.face_counts, self.models)
        fits = (
            all(len(column) == records for column in (*columns, self.corner_sizes))
            and int(self.code_counts.sum(dtype=np.int64)) == len(self.codes)
            and int(self.face_counts.sum(dtype=np.int64)) == len(self.faces)
            and (self.corners is None or int(self.corner_sizes.sum(dtype=np.int64)) == len(self.corners))
            and (not records or int(self.kinds.max()) <= max(Kind))
        )
        if not fits:
            raise SnapshotDamaged("columns of a segment")

    @classmethod
    def merged(cls, parts: Sequence[Part]) -> Segment:
        """One segment of the records of several of one shelf, as far as they are on the list."""
        first = parts[0].segment
        names = list(dict.fromkeys(name for part in parts for name in part.segment.model_names))
        models = []
        for part in parts:
            numbers = np.array([names.index(name) for name in part.segment.model_names] or [0], dtype=np.uint8)
            models.append(numbers[part.segment.models[part.live]])

        def joined(column: str, counts: str | None = None) -> NDArray[Any]:
            some = []
            for part in parts:
                mask = part.live if counts is None else np.repeat(part.live, getattr(part.segment, counts))
                values = getattr(part.segment, column)
                some.append(values if mask.all() else values[mask])
            return np.concatenate(some)

        return cls(
            first.shelf,
            joined("ids"),
            joined("kinds"),
            joined("digests"),
            joined("keys"),
            joined("code_counts"),
            joined("codes", "code_counts"),
            joined("face_counts"),
            joined("faces", "face_counts"),
            np.concatenate(models),
            tuple(names),
            joined("corner_sizes"),
            joined("corners", "corner_sizes"),
        )

    def to_file(self, seq: int) -> tuple[str, bytes]:
        """Its name and its bytes, made at this change of the log."""
        stored: dict[str, bytes] = {}
        for name in SECTIONS:
            column = getattr(self, name)
            if name == "model_names":
                stored[name] = "\n".join(column).encode()
            else:
                stored[name] = column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes()
        table, parts, at = {}, [], HEADER_BYTES
        for name, content in stored.items():
            table[name] = (at, len(content), hashlib.sha256(content).digest())
            padding = -len(content) % ALIGNMENT
            parts += [content, bytes(padding)]
            at += len(content) + padding
        header = Header(self.ids.dtype.itemsize, len(self), at, seq, table).to_bytes()
        return hashlib.sha256(header).hexdigest(), header + b"".join(parts)

    @cached_property
    def _code_ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.code_counts, dtype=np.int64)

    @cached_property
    def _face_ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.face_counts, dtype=np.int64)

    @cached_property
    def _corner_ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.corner_sizes, dtype=np.int64)

    def rows_of(self, exclusion_id: str) -> list[int]:
        """The rows of the records of an exclusion."""
        name = exclusion_id.encode()
        if len(name) > self.ids.dtype.itemsize:
            return []
        found: list[int] = np.flatnonzero(self.ids == name).tolist()
        return found

    def record(self, row: int) -> Record:
        """One record. Raises `SnapshotDamaged` when it is none."""
        exclusion_id, key = self.ids[row].decode(), self.keys[row].tobytes()
        kind = Kind(int(self.kinds[row]))
        try:
            if kind in (Kind.SAME, Kind.DIFFERENT):
                return Answer(exclusion_id, key.hex(), kind is Kind.SAME)
            state = State(self.shelf)
            if kind is Kind.LINK:
                return LinkExclusion(exclusion_id, key, state)
            if kind is Kind.FACE:
                end = int(self._face_ends[row])
                faces = self.faces[end - int(self.face_counts[row]) : end]
                model = self.model_names[int(self.models[row])]
                return FaceExclusion(exclusion_id, tuple(face.tobytes() for face in faces), model, state)
            end = int(self._code_ends[row])
            codes = self.codes[end - int(self.code_counts[row]) : end]
            corners = b""
            if size := int(self.corner_sizes[row]):
                if self.corners is None:
                    raise ValueError("read without its corners")
                corner_end = int(self._corner_ends[row])
                corners = self.corners[corner_end - size : corner_end].tobytes()
            return ImageExclusion(
                exclusion_id, key.hex(), tuple(code.tobytes() for code in codes), state, corners or None
            )
        except (ValueError, IndexError) as error:
            raise SnapshotDamaged("record of a segment") from error

    def digest(self, wanted: NDArray[np.bool_] | None = None) -> int:
        """The sum of the digests of its records, or of those wanted (`optout.exclusions.fold.set_digest`)."""
        digests = self.digests if wanted is None or wanted.all() else self.digests[wanted]
        # Of 32 bits each, so that four thousand million records fit.
        limbs = np.ascontiguousarray(digests).view(">u4").astype(np.uint64).sum(axis=0, dtype=np.uint64)
        return sum(int(limb) << 32 * (7 - place) for place, limb in enumerate(limbs.tolist())) % 2**256


# Where the corners of a segment can be fetched from.
Source = tuple[SegmentRef, Header]


@dataclass(frozen=True, eq=False)
class Part:
    """A segment, and which of its records are on the list."""

    segment: Segment
    live: NDArray[np.bool_]
    source: Source | None = None


def load(snapshots: Snapshots, manifest: Manifest) -> list[Part]:
    """The whole list of a manifest, but for the corners. Raises `SnapshotDamaged` when anything of it is missing or
    changed."""
    found = snapshots.read(manifest.segments, SECTIONS[0], SECTIONS[-2])
    parts = [
        Part(Segment.read(ref.shelf, sections), live_rows(ref.records, ref.dead), (ref, sections.header))
        for ref, sections in zip(manifest.segments, found, strict=True)
    ]
    if sum(int(np.count_nonzero(part.live)) for part in parts) != manifest.records:
        raise SnapshotDamaged("records of a snapshot")
    if sum(part.segment.digest(part.live) for part in parts) % 2**256 != int(manifest.digest, 16):
        raise SnapshotDamaged("digest of a snapshot")
    return parts


def load_corners(snapshots: Snapshots, sources: Sequence[Source]) -> NDArray[np.uint8]:
    """The corners of segments, one after the other. Raises `SnapshotDamaged` when some are missing or changed."""
    corners = np.empty(sum(header.sections[SECTIONS[-1]][1] for _, header in sources), np.uint8)
    snapshots.read_corners(sources, corners.data)
    return corners


def shelf_of(record: Record) -> str:
    """The shelf that a record belongs to."""
    return ANSWERS if isinstance(record, Answer) else str(record.state)


def live_rows(records: int, dead: Sequence[int]) -> NDArray[np.bool_]:
    """A mask of the rows that are still on the list. Raises `SnapshotDamaged` for a row that there is not."""
    live = np.ones(records, dtype=bool)
    try:
        live[list(dead)] = False
    except IndexError as error:
        raise SnapshotDamaged("records that left a segment") from error
    return live


def _rows(stored: bytes | memoryview, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(stored, dtype=np.uint8).reshape(-1, width)
