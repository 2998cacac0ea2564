"""`optout COMMAND`: what crawlers try on files, and what an operator does with a deployment (docs/operating.md)."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from optout.calibration import add_command as add_faces_command
from optout.errors import ExclusionNotFound, HeadContended, NotFresh, PhotoUnreadable, RequestNotFound, SameReviewer
from optout.exclusions.matcher import ExclusionList, Verdict
from optout.fingerprint import Fingerprint
from optout.fingerprint.image import MAX_BYTES, MAX_PIXELS, MIN_SIDE
from optout.requests import OptOutRequest

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
    """0 when all was done, 1 when something could not be done or read, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="optout", description="Fingerprint pictures, check them against excluded ones, operate a deployment."
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
    faces = add_faces_command(commands)
    _add_operators_commands(commands, faces)
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
            # Each face is a person of its own.
            for face in fingerprint.faces:
                excluded.add_face(str(path), face)
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


# --- an operator's commands -------------------------------------------------------------------------------------------

# The settings that say which deployment is meant; in capitals they are environment variables.
_DEPLOYMENT = ("requests_table", "exclusions_table", "snapshots_bucket")


def _add_operators_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    faces: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    """They act on the deployment that the variables of `_DEPLOYMENT` name, with the credentials AWS tools find."""
    new_epoch = commands.add_parser("new-epoch", help="after a restore: begin a new epoch of the exclusion list's log")
    new_epoch.add_argument("--from", dest="source", metavar="TABLE", help="the restored table, if it is another one")
    new_epoch.add_argument("--despite-gaps", action="store_true", help="go on although changes are missing")
    new_epoch.set_defaults(run=_operating(_new_epoch))
    reconcile = commands.add_parser("reconcile", help="compare the exclusion list with the cases")
    reconcile.add_argument("--write", action="store_true", help="make the list agree with the cases")
    reconcile.set_defaults(run=_operating(_reconcile))
    put_back = commands.add_parser("put-back", help="after a restore: copy back the cases that the table has lost")
    put_back.add_argument("--from", dest="source", required=True, metavar="TABLE", help="the restored table")
    put_back.set_defaults(run=_operating(_put_back))
    release = commands.add_parser("release", help="end what open cases hold back, after Provisional was switched off")
    release.set_defaults(run=_operating(_release))
    suspend = commands.add_parser("suspend", help="let an exclusion that hits too much hold back instead of exclude")
    suspend.set_defaults(run=_operating(_suspend))
    resume = commands.add_parser("resume", help="let a suspended exclusion exclude again")
    resume.set_defaults(run=_operating(_resume))
    for brake in (suspend, resume):
        brake.add_argument("exclusion", metavar="EXCLUSION_ID", help="as lookups, the log and the console name it")
        brake.add_argument("--requests-table", metavar="TABLE", help="instead of REQUESTS_TABLE")
        brake.add_argument("--exclusions-table", metavar="TABLE", help="instead of EXCLUSIONS_TABLE")
        brake.add_argument("--snapshots-bucket", metavar="BUCKET", help="instead of SNAPSHOTS_BUCKET")
    migrate = faces.add_parser("migrate", help="after a change of the face model: bring the list to the new one")
    migrate.add_argument("--write", action="store_true", help="measure kept photos again, ask for those that are gone")
    migrate.set_defaults(run=_operating(_migrate_faces))
    revoke = commands.add_parser("revoke-links", help="make every mailed link of a case useless")
    revoke.add_argument("number", metavar="NUMBER", help="the case number, as in K7MQ-29XD")
    revoke.add_argument("--no-letter", action="store_true", help="send no letter with a new link")
    revoke.set_defaults(run=_operating(_revoke_links))


def _operating(step: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Run a step on a deployment; whatever is in its way is one sentence."""

    def run(options: argparse.Namespace) -> int:
        from botocore.exceptions import BotoCoreError, ClientError

        for name in _DEPLOYMENT:
            if given := getattr(options, name, None):
                os.environ[name.upper()] = given
        missing = [name for name in map(str.upper, _DEPLOYMENT) if not os.environ.get(name)]
        if missing:
            print(f"optout: set {' and '.join(missing)} to the names the stack puts out.", file=sys.stderr)
            return 1
        try:
            return step(options)
        except HeadContended:
            print("optout: decisions are being taken at this moment; nothing is broken, run it again.", file=sys.stderr)
        except NotFresh as error:
            print(f"optout: the log cannot be read in full: {error}.", file=sys.stderr)
        except ExclusionNotFound:
            print("optout: no exclusion with this id is in force.", file=sys.stderr)
        except SameReviewer:
            print("optout: you suspended it; somebody else must resume it.", file=sys.stderr)
        except RequestNotFound:
            print("optout: there is no such case.", file=sys.stderr)
        except (BotoCoreError, ClientError) as error:
            print(f"optout: AWS refused: {error}", file=sys.stderr)
        return 1

    return run


def _new_epoch(options: argparse.Namespace) -> int:
    from optout import recovery, settings
    from optout.exclusions.snapshot import Snapshots

    try:
        begun = recovery.new_epoch(
            settings.exclusions_table(),
            settings.aws("dynamodb"),
            Snapshots.from_settings(),
            source=options.source,
            despite_gaps=options.despite_gaps,
        )
    except recovery.LogBroken as broken:
        print(f"optout: nothing was changed; missing from the log: {broken}.", file=sys.stderr)
        return 1
    print(f"The exclusion list is at version {begun.version} of a new epoch.")
    if begun.lost:
        print(f"Changes that were not found: {', '.join(map(str, begun.lost))}. Run `optout reconcile`.")
    return 0


def _reconcile(options: argparse.Namespace) -> int:
    from optout import recovery, settings
    from optout.exclusions.log import ExclusionLog
    from optout.store import Requests

    found = recovery.reconcile(
        Requests.from_settings(),
        ExclusionLog.from_settings(),
        settings.aws("dynamodb"),
        datetime.now(UTC),
        write=options.write,
    )
    done = "written" if options.write else "found"
    print(f"{len(found.missing)} changes missing from the list, {len(found.left_over)} exclusions left over: {done}.")
    if found.lost:
        print(f"Photos are gone, ask these requesters to file again: {', '.join(found.lost)}.")
    return int(bool(found.lost) or (not options.write and bool(found.missing or found.left_over)))


def _put_back(options: argparse.Namespace) -> int:
    from optout import recovery, settings

    copied = recovery.put_back(settings.requests_table(), settings.aws("dynamodb"), options.source)
    print(f"{copied} items are back; nothing that was there has changed.")
    return 0


def _release(options: argparse.Namespace) -> int:
    from optout.store import Requests

    requests, now = Requests.from_settings(), datetime.now(UTC)
    open_cases = [case.id for case in requests.with_exclusions() if case.hold is not None]
    released = sum(requests.release(case_id, now) for case_id in open_cases)
    print(f"{released} open cases no longer hold anything back; they are decided as before.")
    return 0


def _suspend(options: argparse.Namespace) -> int:
    from optout.store import Requests

    case = Requests.from_settings().suspend(options.exclusion, _operator(), datetime.now(UTC))
    print(f"Suspended{_whose(case)}. From the next lookup on, what it matches is held back and not excluded.")
    return 0


def _resume(options: argparse.Namespace) -> int:
    from optout.store import Requests

    case = Requests.from_settings().resume(options.exclusion, _operator(), datetime.now(UTC))
    print(f"In force{_whose(case)}. From the next lookup on, what it matches is excluded.")
    return 0


def _whose(case: OptOutRequest | None) -> str:
    return f" (case {case.number})" if case else " (its case was deleted when its time was over)"


def _operator() -> str:
    """Who does this, for the case's history: the last part of the identity that AWS knows the credentials by."""
    from optout import settings

    return "operator/" + str(settings.aws("sts").get_caller_identity()["Arn"]).rpartition("/")[2]


def _migrate_faces(options: argparse.Namespace) -> int:
    from optout.errors import FacesOff
    from optout.face_migration import Need, migrate, needs, usable_faces
    from optout.fingerprint import FACE_MODEL
    from optout.store import Photos, Requests

    requests = Requests.from_settings()
    found = [need for _, need in needs(requests, FACE_MODEL)]
    again, ask = found.count(Need.MEASURE_AGAIN), found.count(Need.NEW_PHOTO)
    print(f"{FACE_MODEL}: {len(found)} cases, {again} to measure again, {ask} of which no usable photo is kept.")
    if not options.write:
        return int(bool(again or ask))
    if not os.environ.get("PHOTOS_BUCKET"):
        print("optout: set PHOTOS_BUCKET to the name the stack puts out.", file=sys.stderr)
        return 1
    photos, now = Photos.from_settings(), datetime.now(UTC)
    try:
        done = migrate(requests, photos, now, model=FACE_MODEL, measure=usable_faces)
    except FacesOff:
        print("optout: faces cannot be looked at: install image-optout[faces].", file=sys.stderr)
        return 1
    print(f"{len(done.measured)} measured again; {len(done.asked)} asked for a new photo, a letter is on its way.")
    if done.asked_before:
        print(f"Asked before and still without a new photo in force: {', '.join(done.asked_before)}.")
    if done.left:
        print(f"These changed all the time, run it again: {', '.join(done.left)}.")
    return int(bool(done.left))


def _revoke_links(options: argparse.Namespace) -> int:
    from optout.store import Requests

    requests, now = Requests.from_settings(), datetime.now(UTC)
    requests.revoke_links(requests.by_number(options.number, now).id, now, letter=not options.no_letter)
    letter = "No letter is sent." if options.no_letter else "A letter with a new link is on its way."
    print(f"The links mailed for {options.number} no longer work. {letter}")
    return 0
