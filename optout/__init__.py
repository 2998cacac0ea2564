"""Opt-out exclusion list for reverse image search: fingerprints of pictures, and the list they are checked against.

    from optout import ExclusionList, Fingerprint

Both are loaded on first use: the page functions import `optout.*` too and must start without numpy, Pillow or OpenCV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optout.exclusions.matcher import ExclusionList
    from optout.fingerprint import Fingerprint

__all__ = ["ExclusionList", "Fingerprint"]


def __getattr__(name: str) -> Any:
    if name == "Fingerprint":
        from optout.fingerprint import Fingerprint

        return Fingerprint
    if name == "ExclusionList":
        from optout.exclusions.matcher import ExclusionList

        return ExclusionList
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
