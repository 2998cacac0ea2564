"""Which exclusion excludes how much: the warning light before the emergency brake.

A lookup may write to no table, so each warm instance counts for itself, over a window of the last candidates that it
was asked about, and says what it sees as a metric and in its log. A candidate that is asked about again and again is a
popular picture, not a wrong exclusion, so each counts once: by its PDQ hash, else by its SHA-256, bytes, faces or
address. Copies whose hashes differ are different candidates. An answer names at most `MAX_MATCHES` exclusions, so only
those are counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from optout.exclusions.matcher import Outcome, Reason
from optout.lookups import Answer

# Different candidates in the window; with their digests and ids a full window takes about 2 MB.
WINDOW = 10_000
# Nothing is said before so many candidates, nor of an exclusion with fewer hits: at 1 % a correct exclusion of a rare
# picture that is met twice among the first hundred lookups would raise the alarm.
MIN_CANDIDATES = 1_000
MIN_HITS = 20

# The signals a candidate is told by, the steadiest first. The name that the caller gives it says nothing.
_SIGNALS = ("pdq", "sha256", "picture", "faces", "url")


@dataclass(frozen=True)
class Share:
    """How much of the window one exclusion excludes: `hits` of `candidates` different ones."""

    exclusion_id: str
    hits: int
    candidates: int

    @property
    def share(self) -> float:
        """Of 1."""
        return self.hits / self.candidates


class HitWindow:
    """The last candidates this instance was asked about, and which exclusions excluded each."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._hits: Counter[str] = Counter()
        self._seen: OrderedDict[bytes, frozenset[str]] = OrderedDict()

    def add(self, candidate: bytes, exclusion_ids: Iterable[str]) -> None:
        """Note what a candidate's newest answer was; the oldest candidate beyond the window is forgotten."""
        ids = frozenset(exclusion_ids)
        self._forget(self._seen.pop(candidate, frozenset()))
        self._seen[candidate] = ids
        self._hits.update(ids)
        if len(self._seen) > self._window:
            self._forget(self._seen.popitem(last=False)[1])

    def _forget(self, ids: frozenset[str]) -> None:
        for exclusion_id in ids:
            self._hits[exclusion_id] -= 1
            if not self._hits[exclusion_id]:
                del self._hits[exclusion_id]

    @property
    def ready(self) -> bool:
        """Whether enough was asked that a share means something."""
        return len(self._seen) >= MIN_CANDIDATES

    def shares(self, above: float = 0.0) -> list[Share]:
        """The exclusions with enough hits and more than this share, the largest first; none before it is ready."""
        if not self.ready:
            return []
        candidates = len(self._seen)
        found = [Share(exclusion_id, hits, candidates) for exclusion_id, hits in self._hits.items() if hits >= MIN_HITS]
        return sorted((one for one in found if one.share > above), key=lambda one: (-one.hits, one.exclusion_id))


def hits(items: Sequence[Any], answer: Answer) -> list[tuple[bytes, tuple[str, ...]]]:
    """What to count of one call: each candidate that was answered, and the exclusions that excluded it."""
    found = []
    for item, result in zip(items, answer.results, strict=True):
        if result.verdict is Outcome.INVALID or result.reason == Reason.TIME_BUDGET:
            continue
        # A crawler treats `review` as `exclude` until a person has looked, so it counts the same.
        excluding = result.matches if result.verdict in {Outcome.EXCLUDE, Outcome.REVIEW} else []
        found.append((candidate(item), tuple(dict.fromkeys(match.exclusion_id for match in excluding))))
    return found


def candidate(item: Any) -> bytes:
    """A digest by which the same candidate is known again; it lives in this instance's memory only."""
    signal = next((name for name in _SIGNALS if item.get(name)), "")
    return hashlib.blake2b(f"{signal}:{item.get(signal)}".encode(errors="replace"), digest_size=16).digest()
