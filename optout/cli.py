"""`optout fingerprint FILE...` and `optout check FILE... --against FILE...`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from optout.errors import PhotoUnreadable
from optout.exclusions.matcher import ExclusionList, Verdict
from optout.fingerprint import Fingerprint
from optout.fingerprint.image import MAX_BYTES, MAX_PIXELS, MIN_SIDE

_IN_WORDS = {
    "empty": "the file is empty",
    "too_large": f"the file is larger than {MAX_BYTES // 1_000_000} MB",
    "too_many_pixels": f"the picture has more than {MAX_PIXELS // 1_000_000} million pixels",
    "too_small": f"the picture is less than {MIN_SIDE} pixels wide or high",
    "too_complex": "the picture takes too much work to read",
    "heic": "HEIC is not accepted; save the photo as JPEG",
    "svg": "SVG is a drawing, not a photo; save it as PNG or JPEG",
    "pdf": "this is a PDF document; save the picture in it as PNG or JPEG",
    "unsupported": "this format is not accepted; save the picture as JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF",
    "not_a_picture": "this is not a picture",
    "damaged": "the picture is damaged or incomplete",
    "polyglot": "the file is a picture and something else at once",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every file could be read, 1 when one could not, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="optout", description="Fingerprint pictures, check them against excluded ones."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fingerprint = commands.add_parser("fingerprint", help="print one JSON object for each picture")
    fingerprint.set_defaults(run=_fingerprint)
    check = commands.add_parser("check", help="print a verdict for each picture")
    check.set_defaults(run=_check)
    for command in (fingerprint, check):
        command.add_argument("files", nargs="+", metavar="FILE", type=Path)
        command.add_argument("--no-faces", action="store_true", help="do not look for faces")
    check.add_argument(
        "--against",
        nargs="+",
        required=True,
        metavar="FILE",
        type=Path,
        help="excluded pictures: each with its copies and, unless --no-faces, every face in it",
    )
    check.add_argument("--json", action="store_true", help="print one JSON object for each picture")
    options = parser.parse_args(arguments)
    return int(options.run(options))


def _fingerprint(options: argparse.Namespace) -> int:
    read = 0
    for path, fingerprint in _read(options.files, options):
        print(json.dumps({"file": str(path), **fingerprint.to_dict()}))
        read += 1
    return int(read < len(options.files))


def _check(options: argparse.Namespace) -> int:
    excluded = ExclusionList()
    enrolled = 0
    for path, fingerprint in _read(options.against, options):
        excluded.add_image(str(path), fingerprint)
        if fingerprint.faces is None and not options.no_faces:
            print("optout: faces cannot be looked at: install image-optout[faces], or say --no-faces.", file=sys.stderr)
            return 1
        if fingerprint.faces:
            # Each face is a person of its own: adding them under one id is the same as long as nothing is removed.
            excluded.add_face(str(path), fingerprint.faces)
        enrolled += 1
    if enrolled < len(options.against):
        # Checking against a part of the list would say "allow" where it must not.
        return 1
    read = 0
    for path, fingerprint in _read(options.files, options):
        verdict = excluded.check(fingerprint)
        line = json.dumps({"file": str(path), **verdict.to_dict()}) if options.json else _line(path, verdict)
        print(line)
        read += 1
    return int(read < len(options.files))


def _read(paths: Sequence[Path], options: argparse.Namespace) -> Iterator[tuple[Path, Fingerprint]]:
    """The files that can be read; one sentence on stderr for each that cannot."""
    for path in paths:
        try:
            # One byte more than is accepted is enough to refuse a file of any size.
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            yield path, Fingerprint.of(data, faces=not options.no_faces)
        except OSError as error:
            print(f"optout: {path}: {error.strerror}.", file=sys.stderr)
        except PhotoUnreadable as error:
            print(f"optout: {path}: {_IN_WORDS[error.code]}.", file=sys.stderr)


def _line(path: Path, verdict: Verdict) -> str:
    matches = "; ".join(
        f"{match.exclusion_id} by {match.signal}, distance {match.distance:.4g} of {match.threshold:.4g}"
        for match in verdict.matches
    )
    detail = matches or ", ".join(verdict.missing)
    return f"{path}: {verdict.verdict} ({verdict.reason})" + (f": {detail}" if detail else "")
