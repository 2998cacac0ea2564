"""One exclusion, as decisions make it and as the log keeps it.

Page functions import this module, so it knows bytes and strings only: no numpy.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from optout.errors import RequestInvalid

# 2 brought the keypoints of pictures. A reader that does not know them would let cropped copies in, so it must refuse.
ENTRY_VERSION = 2
READABLE_VERSIONS = frozenset({1, 2})
# The first byte of keypoints; `optout.fingerprint.keypoints` says what follows it.
KEYPOINTS_VERSION = 1
MAX_KEYPOINT_BYTES = 6_144
CODE_BYTES = 32
EMBEDDING_BYTES = 4 * 128
MAX_URL_LENGTH = 2048


class Scope(StrEnum):
    """What an exclusion is about."""

    IMAGE = "image"
    FACE = "face"
    LINK = "link"


class State(StrEnum):
    """Whether a case is decided, and whether its decision is in doubt. Only accepted exclusions exclude; pending and
    suspended ones hold a picture back."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    SUSPENDED = "suspended"


@dataclass(frozen=True)
class ImageExclusion:
    """One excluded picture: `sha256` (hex) of its published bytes, the PDQ codes of its eight orientations, 32 bytes
    each, and its keypoints. Without codes it had too little structure for PDQ and is matched by its bytes and keypoints
    only; without keypoints its crops and collages are not found."""

    exclusion_id: str
    sha256: str
    dihedral: tuple[bytes, ...]
    state: State
    keypoints: bytes | None = None

    @property
    def scope(self) -> Scope:
        return Scope.IMAGE

    def __post_init__(self) -> None:
        if re.fullmatch(r"[0-9a-f]{64}", self.sha256) is None or any(len(code) != CODE_BYTES for code in self.dihedral):
            raise ValueError("not a SHA-256 in lower-case hex with codes of 32 bytes")
        if self.keypoints is not None and not (
            self.keypoints[:1] == bytes([KEYPOINTS_VERSION]) and len(self.keypoints) <= MAX_KEYPOINT_BYTES
        ):
            raise ValueError("not keypoints of this version")


@dataclass(frozen=True)
class FaceExclusion:
    """One excluded person: embeddings of their face, each 128 little-endian float32 of length 1, made by `model`."""

    exclusion_id: str
    embeddings: tuple[bytes, ...]
    model: str
    state: State

    @property
    def scope(self) -> Scope:
        return Scope.FACE

    def __post_init__(self) -> None:
        if not self.embeddings or any(len(embedding) != EMBEDDING_BYTES for embedding in self.embeddings):
            raise ValueError("not embeddings of 512 bytes")


@dataclass(frozen=True)
class LinkExclusion:
    """One excluded address: SHA-256 of its canonical form, see `url_hash`."""

    exclusion_id: str
    url_hash: bytes
    state: State

    @property
    def scope(self) -> Scope:
        return Scope.LINK

    def __post_init__(self) -> None:
        if len(self.url_hash) != CODE_BYTES:
            raise ValueError("not a SHA-256")


Exclusion = ImageExclusion | FaceExclusion | LinkExclusion


class UnknownEntry(ValueError):
    """An entry this version of the software cannot read. The list is then not ready; a guess would let pictures in."""


def to_item(exclusion: Exclusion) -> dict[str, Any]:
    """A plain dict of str, int, bytes and lists of bytes, as DynamoDB stores it."""
    item: dict[str, Any] = {
        "v": ENTRY_VERSION,
        "id": exclusion.exclusion_id,
        "scope": str(exclusion.scope),
        "state": str(exclusion.state),
    }
    match exclusion:
        case ImageExclusion():
            item["sha256"] = bytes.fromhex(exclusion.sha256)
            if exclusion.dihedral:
                item["codes"] = b"".join(exclusion.dihedral)
            if exclusion.keypoints is not None:
                item["keypoints"] = exclusion.keypoints
        case FaceExclusion():
            item["embeddings"] = list(exclusion.embeddings)
            item["model"] = exclusion.model
        case LinkExclusion():
            item["url_hash"] = exclusion.url_hash
    return item


def from_item(item: Mapping[str, Any]) -> Exclusion:
    """The exclusion that `to_item` wrote. Raises UnknownEntry when it is of another version or broken."""
    try:
        if int(item["v"]) not in READABLE_VERSIONS:
            raise UnknownEntry("another version")
        exclusion_id, state = str(item["id"]), State(item["state"])
        match Scope(item["scope"]):
            case Scope.IMAGE:
                codes = bytes(item.get("codes", b""))
                split = tuple(codes[at : at + CODE_BYTES] for at in range(0, len(codes), CODE_BYTES))
                keypoints = bytes(item["keypoints"]) if "keypoints" in item else None
                return ImageExclusion(exclusion_id, bytes(item["sha256"]).hex(), split, state, keypoints)
            case Scope.FACE:
                embeddings = tuple(bytes(embedding) for embedding in item["embeddings"])
                return FaceExclusion(exclusion_id, embeddings, str(item["model"]), state)
            case Scope.LINK:
                return LinkExclusion(exclusion_id, bytes(item["url_hash"]), state)
    except UnknownEntry:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownEntry("broken") from error


# --- addresses --------------------------------------------------------------------------------------------------------

# Parameters that say where a visitor came from, not what the page shows.
_TRACKING = re.compile(
    r"utm_.*|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|yclid|twclid|ttclid|li_fat_id|igshid|igsh|mc_cid|mc_eid"
    r"|_ga|_gl|_hsenc|_hsmi|mkt_tok|vero_id|oly_anon_id|oly_enc_id|wickedid|srsltid|ref_src|ref_url|__twitter_impression",
    re.IGNORECASE,
)
_PORTS = {"http": 80, "https": 443}
_UNRESERVED_IN_PATH = "/:@!$&'()*+,;=-._~"
_FORBIDDEN_IN_HOST = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")


def canonical_url(url: str) -> str:
    """One spelling for all spellings of an address, after WHATWG URL: scheme and host in lower case and ASCII, no user,
    default port or fragment, dot segments resolved, percent-encoding normalised, tracking parameters removed.

    Raises RequestInvalid, field `url`, for what is not an absolute http(s) address.
    """
    # Browsers drop tabs and newlines anywhere, and take backslashes for slashes.
    text = re.sub(r"[\t\r\n]", "", url.strip("".join(map(chr, range(33))))) if isinstance(url, str) else ""
    before, mark, rest = _split_once(text, "?#")
    text = before.replace("\\", "/") + mark + rest
    if len(text) > MAX_URL_LENGTH:
        raise RequestInvalid({"url": "too_long"})
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        scheme = parts.scheme.lower()
        if scheme not in _PORTS or not host:
            raise RequestInvalid({"url": "not_a_web_address"})
        authority = _host(host) + (f":{port}" if port not in {None, _PORTS[scheme]} else "")
        path = _path(parts.path)
        query = _query(parts.query)
    except (ValueError, UnicodeError) as error:
        raise RequestInvalid({"url": "not_a_web_address"}) from error
    return f"{scheme}://{authority}{path}" + (f"?{query}" if query else "")


def url_hash(url: str) -> bytes:
    """SHA-256 of the canonical form of an address. Raises RequestInvalid as `canonical_url` does."""
    return hashlib.sha256(canonical_url(url).encode()).digest()


def _split_once(text: str, marks: str) -> tuple[str, str, str]:
    at = next((index for index, letter in enumerate(text) if letter in marks), len(text))
    return text[:at], text[at : at + 1], text[at + 1 :]


def _host(host: str) -> str:
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host).compressed}]"
    name = unquote_to_bytes(host).decode("utf-8").rstrip(".")
    ascii_name = name.lower() if name.isascii() else name.encode("idna").decode("ascii").lower()
    if not ascii_name or _FORBIDDEN_IN_HOST.search(ascii_name):
        raise ValueError("not a host")
    return ascii_name


def _path(path: str) -> str:
    segments: list[str] = []
    parts = path.split("/")[1:] if path else [""]
    for index, raw in enumerate(parts):
        segment = _normal(raw)
        last = index == len(parts) - 1
        if segment in {".", ".."}:
            if segment == ".." and segments:
                segments.pop()
            if last:
                segments.append("")
        else:
            segments.append(segment)
    return "/" + "/".join(segments)


def _query(query: str) -> str:
    kept = (part for part in query.split("&") if part and not _TRACKING.fullmatch(part.partition("=")[0]))
    return "&".join(_normal(part, "?") for part in kept)


def _normal(text: str, also: str = "") -> str:
    """Every byte either as itself or as %XX in capitals, never both ways. What has a meaning keeps its spelling."""
    out: list[str] = []
    for piece in re.split(r"(%[0-9A-Fa-f]{2})", text):
        if re.fullmatch(r"%[0-9A-Fa-f]{2}", piece):
            letter = chr(int(piece[1:], 16))
            out.append(letter if letter.isascii() and (letter.isalnum() or letter in "-._~") else piece.upper())
        else:
            out.append(quote(piece, safe=_UNRESERVED_IN_PATH + also, encoding="utf-8"))
    return "".join(out)
