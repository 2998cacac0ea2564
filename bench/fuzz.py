"""Mutated input, in great numbers, through the two doors that strangers' bytes come in by.

    python -m bench.fuzz pictures --inputs 100000      what `functions/examine` does with an uploaded file
    python -m bench.fuzz bodies --inputs 100000        that many bodies through every public POST, over moto

A picture must be looked at or refused as `PhotoUnreadable`; a body must be answered below 500. Input number n of a seed
is always the same, so a finding is repeated with `--first n --inputs 1`. Work is done in blocks, each in a process of
its own, so that a crash ends a block and not the run, and the peak memory of every block is known. The result goes into
docs/pictures.md and docs/performance.md; tests/unit/test_fuzz.py runs a small part of both.
"""

from __future__ import annotations

import argparse
import binascii
import contextlib
import faulthandler
import io
import itertools
import json
import multiprocessing
import os
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

from PIL import Image, ImageFilter

from optout import hashed
from optout.errors import PhotoUnreadable
from optout.examination import look_at
from optout.fingerprint import PHOTO_PROBLEMS
from optout.requests import Kind
from tests.pictures import picture

BLOCK = 2_500
# Looking for faces takes fifty times as long as the rest, and begins only when the decoder is through.
FACES_EVERY = 20
# `examine` has 2 GB and 20 s for one photo, on one slower core.
SLOWEST_ALLOWED_S = 10.0
MEMORY_ALLOWED_MB = 1_500


@dataclass
class Found:
    """What a run of inputs came to. `wrong` holds one line for each input that broke the rule."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: int = -1
    total_s: float = 0.0
    memory_mb: float = 0.0

    def add(self, other: Found) -> None:
        self.inputs += other.inputs
        self.outcomes += other.outcomes
        self.wrong += other.wrong
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest
        self.total_s += other.total_s
        self.memory_mb = max(self.memory_mb, other.memory_mb)


# --- pictures ---------------------------------------------------------------------------------------------------------


@cache
def seeds() -> tuple[tuple[str, bytes], ...]:
    """(format, file) of small real photographs in every accepted format and in its less usual kinds."""
    cat = Image.open(io.BytesIO(picture("chelsea.png"))).convert("RGB").resize((96, 64))
    man = Image.open(io.BytesIO(picture("obama.jpg"))).convert("RGB").resize((90, 120))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    clear = cat.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(cat.size))
    frames = [cat.filter(ImageFilter.GaussianBlur(radius)) for radius in (1, 2)]
    deep = Image.fromarray((255 * _array(cat.convert("L")).astype("uint16")), mode=None)

    def saved(image: Image.Image, form: str, **options: Any) -> tuple[str, bytes]:
        out = io.BytesIO()
        image.save(out, form, **options)
        return form, out.getvalue()

    return (
        saved(cat, "JPEG", exif=exif),
        saved(man, "JPEG", quality=60),
        saved(man, "JPEG", progressive=True),
        saved(cat.convert("CMYK"), "JPEG"),
        saved(cat.convert("L"), "JPEG", restart_marker_blocks=4),
        saved(cat, "PNG"),
        saved(clear, "PNG", exif=exif),
        saved(man.quantize(64), "PNG"),
        saved(deep, "PNG"),
        saved(cat, "WEBP"),
        saved(clear, "WEBP", lossless=True),
        saved(cat, "WEBP", save_all=True, append_images=frames),
        saved(cat, "GIF"),
        saved(man, "GIF", save_all=True, append_images=frames),
        saved(cat, "TIFF"),
        saved(man, "TIFF", compression="tiff_lzw", exif=exif),
        saved(cat, "TIFF", compression="jpeg"),
        saved(deep, "TIFF", compression="tiff_adobe_deflate"),
        saved(cat.convert("1"), "TIFF", compression="group4"),
        saved(cat, "BMP"),
        saved(man.quantize(16), "BMP"),
        saved(cat, "AVIF", quality=60),
        saved(clear, "AVIF", exif=exif),
    )


def _array(image: Image.Image) -> Any:
    import numpy as np

    return np.asarray(image)


def mutated_picture(seed: int, number: int) -> bytes:
    """Input `number` of a seed: a photograph with one to four things done to it."""
    random = Random(f"{seed}:{number}")  # noqa: S311 - repeatable, not secret
    form, data = random.choice(seeds())
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        data = random.choices(_PICTURE_MUTATIONS, _PICTURE_WEIGHTS)[0](data, form, random)
    return data


def _flip_bits(data: bytes, _form: str, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16, 64))):
        if changed:
            # Half of them at the beginning, where the headers are.
            end = len(changed) if random.random() < 0.5 else min(64, len(changed))
            changed[random.randrange(end)] ^= 1 << random.randrange(8)
    return bytes(changed)


_TELLING = (
    b"\x00",
    b"\xff",
    b"\x7f\xff",
    b"\x80\x00",
    b"\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x00" * 8,
)


def _write_telling(data: bytes, _form: str, random: Random) -> bytes:
    word, at = random.choice(_TELLING), random.randrange(len(data) + 1)
    return data[:at] + word + data[at + len(word) :]


def _truncate(data: bytes, _form: str, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _cut(data: bytes, _form: str, random: Random) -> bytes:
    first, last = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
    return data[:first] + data[min(last, first + 256) :]


def _repeat(data: bytes, _form: str, random: Random) -> bytes:
    first = random.randrange(len(data) + 1)
    piece = data[first : first + random.choice((1, 4, 16, 256, 2048))]
    return data[:first] + piece * random.choice((2, 3, 10, 100)) + data[first:]


def _noise(data: bytes, _form: str, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 4, 64, 512))) + data[at:]


def _splice(data: bytes, _form: str, random: Random) -> bytes:
    """The beginning of one file and the end of another, of the same format or not."""
    other = random.choice(seeds())[1]
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _rearrange(data: bytes, form: str, random: Random) -> bytes:
    """Drop, repeat or move one of the parts that the format consists of, or take one of another file."""
    parts = pieces(data, form)
    if len(parts) < 2:
        return data
    at = random.randrange(len(parts))
    match random.randrange(4):
        case 0:
            del parts[at]
        case 1:
            parts[at:at] = [parts[at]] * random.choice((1, 2, 70))
        case 2:
            parts.insert(random.randrange(len(parts)), parts.pop(at))
        case 3:
            same = [other for name, other in seeds() if name == form]
            parts.insert(at, random.choice(pieces(random.choice(same), form)))
    return b"".join(parts)


def _change_part(data: bytes, form: str, random: Random) -> bytes:
    """Change one part and, in a PNG, make its checksum right again, so that the change reaches the decoder."""
    parts = pieces(data, form)
    at = random.randrange(len(parts))
    part = _flip_bits(parts[at], form, random) if random.random() < 0.5 else _write_telling(parts[at], form, random)
    if form == "PNG" and len(part) >= 12 and at > 0:
        part = part[:-4] + struct.pack(">I", binascii.crc32(part[4:-4]))
    parts[at] = part
    return b"".join(parts)


_SIZES = (0, 1, 4, 5, 96, 255, 256, 4095, 4097, 8000, 16383, 32767, 32768, 65500, 65535, 100_000, 2**31 - 1, 2**32 - 1)


def _resize(data: bytes, form: str, random: Random) -> bytes:
    """Write another width or height where the header says it."""
    found = _size_fields(data, form)
    if not found:
        return data
    at, code = random.choice(found)
    size = random.choice(_SIZES)
    length = struct.calcsize(code)
    if at + length > len(data):
        return data
    changed = bytearray(data)
    struct.pack_into(code, changed, at, size & (2 ** (8 * length) - 1))
    if form == "PNG" and len(changed) >= 33:
        changed[29:33] = struct.pack(">I", binascii.crc32(bytes(changed[12:29])))
    return bytes(changed)


def _size_fields(data: bytes, form: str) -> list[tuple[int, str]]:
    """Where a file says its width and height, as (offset, struct code)."""
    found: list[tuple[int, str]] = []
    match form:
        case "PNG":
            found = [(16, ">I"), (20, ">I")]
        case "GIF":
            frame = data.find(b"\x2c", 13)
            found = [(6, "<H"), (8, "<H"), *([(frame + 5, "<H"), (frame + 7, "<H")] if frame > 0 else [])]
        case "BMP":
            found = [(18, "<I"), (22, "<I")]
        case "JPEG":
            starts = [data.find(bytes((0xFF, marker))) for marker in (0xC0, 0xC1, 0xC2)]
            found = [(start + shift, ">H") for start in starts if start > 0 for shift in (5, 7)]
        case "WEBP":
            extended, lossy = data.find(b"VP8X"), data.find(b"\x9d\x01\x2a")
            found = [(extended + 12, "<I"), (extended + 15, "<H")] if extended > 0 else []
            found += [(lossy + 3, "<H"), (lossy + 5, "<H")] if lossy > 0 else []
        case "TIFF":
            little = data[:2] == b"II"
            tags = [struct.pack("<H" if little else ">H", tag) for tag in (256, 257, 258, 273, 277, 278, 279)]
            found = [(at + 8, "<I" if little else ">I") for at in map(data.find, tags) if at > 0]
        case "AVIF":
            extents = data.find(b"ispe")
            found = [(extents + 8, ">I"), (extents + 12, ">I")] if extents > 0 else []
    return found


def pieces(data: bytes, form: str) -> list[bytes]:
    """The parts that a file of this format consists of: chunks, segments, blocks or boxes; all of it, in order."""
    cuts = [0]
    match form:
        case "PNG":
            at = 8
            while at + 12 <= len(data):
                cuts.append(at)
                at += 12 + int.from_bytes(data[at : at + 4], "big")
        case "JPEG":
            at = data.find(b"\xff", 2)
            while 0 <= at < len(data) - 4 and data[at] == 0xFF:
                cuts.append(at)
                if data[at + 1] == 0xDA:
                    break
                at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        case "WEBP":
            at = 12
            while at + 8 <= len(data):
                cuts.append(at)
                size = int.from_bytes(data[at + 4 : at + 8], "little")
                at += 8 + size + size % 2
        case "AVIF":
            at = 0
            while at + 8 <= len(data):
                cuts.append(at)
                at += max(8, int.from_bytes(data[at : at + 4], "big"))
        case _:
            cuts += [at for at in (8, 13, 54, len(data) // 2, len(data) - 64) if 0 < at < len(data)]
    cuts = sorted(cut for cut in set(cuts) if cut < len(data))
    return [data[first:last] for first, last in itertools.pairwise([*cuts, len(data)])] or [data]


_Mutation = Callable[[bytes, str, Random], bytes]
# Sizes are changed least often: a header that claims 80 million pixels costs what such a picture costs.
_PICTURE_CHOICE: dict[_Mutation, int] = {
    _flip_bits: 25,
    _write_telling: 10,
    _truncate: 8,
    _cut: 8,
    _repeat: 8,
    _noise: 6,
    _splice: 10,
    _rearrange: 10,
    _change_part: 12,
    _resize: 3,
}
_PICTURE_MUTATIONS, _PICTURE_WEIGHTS = list(_PICTURE_CHOICE), list(_PICTURE_CHOICE.values())


def look(seed: int, number: int) -> str:
    """Look at one mutated picture; how that ended. Raises what must not be raised."""
    data = mutated_picture(seed, number)
    try:
        photo, _copies = look_at(data, "ticket", Kind.FACE if number % FACES_EVERY == 0 else Kind.IMAGE)
    except PhotoUnreadable as refused:
        if refused.code not in PHOTO_PROBLEMS:
            raise AssertionError(refused.code) from refused
        return refused.code
    if max(photo.width, photo.height) > 2048 or len(photo.dihedral) not in (0, 8):
        raise AssertionError("the copy that reviewers see is too large, or some orientations have no hash")
    return "looked at"


# --- bodies -----------------------------------------------------------------------------------------------------------

FORM = {
    "kind": "face",
    "country": "DE",
    "explanation": "This is private.\r\nIt was taken at home.",
    "first_name": "Amélie",
    "last_name": "Müller",
    "email": "amelie@example.org",
    "phone": "+49 30 1234567",
    "on_behalf_of": "self",
    "represented": "",
    "biometric_consent": "yes",
    "good_faith": "yes",
    "links": "https://example.com/a\r\nhttps://example.com/b?c=d",
}
CODES = {
    "sha256": "ab" * 32,
    "codes": " ".join(f"{code:064x}" for code in hashed.ways_round(int("f0" * 32, 16))),
    "quality": "90",
    "width": "800",
    "height": "600",
}
# Operation -> its honest body. Those without fields take none and must not be moved by one.
PUBLIC_POSTS: dict[str, dict[str, str]] = {
    "/opt-out": FORM,
    "/opt-out/{draft}": FORM,
    "/opt-out/{draft}/codes": CODES,
    "/opt-out/{draft}/photos/{ticket}/face": {"face": "1"},
    "/opt-out/{draft}/photos/{ticket}/crop": {"use": "cropped"},
    "/opt-out/{draft}/photos/{ticket}/remove": {},
    "/opt-out/{draft}/confirm": {"proof": "eyJjaGFsbGVuZ2UiOnt9fQ=="},
    "/status/{token}/appeal": {"appeal": "The face on the photo is mine."},
    "/status/{token}/information": {"information": "It was taken in 2019."},
    "/status/{token}/letter": {},
    "/status/{token}/photos": {},
    "/status/{token}/test": {},
    "/status/{token}/withdraw": {},
    "/verify/{token}": {},
}

_NASTY = (
    "",
    " ",
    "\x00",
    "\u202eevil",
    "\ud800",
    "💥" * 50,
    "é" * 101,
    "-1",
    "99999999999999999999",
    "\u0661",
    "²",
    "1e308",
    "NaN",
    "yes\r\nSet-Cookie: a=b",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "%(x)s${x}",
    "' OR 1=1 --",
    "../../../etc/passwd",
    "a" * 6_000,
    "a@" + "b" * 260 + ".org",
    '"a b"@example.org',
    "user@[127.0.0.1]",
    "user@exämple.org",
    "xn--",
    "http://[::1",
    "http://a:99999/",
    "https://例え.テスト/ü",
    "javascript:alert(1)",
    "https://user:pw@example.com/",
    "\n".join(f"https://example.com/{number}" for number in range(60)),
    "face",
    "image",
    "links",
    "other",
    "self",
    "yes",
    "XX",
)


def mutated_body(seed: int, number: int, honest: dict[str, str]) -> tuple[str | None, dict[str, str], bool]:
    """Input `number` of a seed: (body, headers, whether the event says that it is base64)."""
    random = Random(f"{seed}:{number}")  # noqa: S311 - repeatable, not secret
    fields = list((honest or FORM).items())
    for _ in range(random.choice((0, 1, 1, 2, 3, 5))):
        _change_fields(fields, random)
    if fields and random.random() < 0.5:
        fields = [
            (name, random.choice(("face", "image", "links"))) if name == "kind" else (name, value)
            for name, value in fields
        ]
    body: str | None = urlencode(fields, errors="surrogatepass")
    for _ in range(random.choice((0, 0, 1, 2))):
        body = _change_text(body or "", random)
    if random.random() < 0.02:
        body = random.choice((None, "", "null", json.dumps(dict(fields)), "a=" + "b" * 600_000, "&" * 2_000))
    encoded = random.random() < 0.3
    if encoded and body is not None:
        body = binascii.b2a_base64(body.encode(errors="surrogatepass"), newline=False).decode()
        if random.random() < 0.3:
            body = _change_text(body, random)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if random.random() < 0.1:
        types = ("", "text/plain", "application/json", "multipart/form-data; boundary=x", "\u00e9", "a" * 5_000)
        headers["Content-Type"] = random.choice(types)
    headers["Accept"] = random.choice(("text/html", "application/json", "*/*", "", "\u00e9"))
    return body, headers, encoded


def _change_fields(fields: list[tuple[str, str]], random: Random) -> None:
    at = random.randrange(len(fields)) if fields else 0
    match random.randrange(6) if fields else 5:
        case 0:
            del fields[at]
        case 1:
            fields.append(fields[at])
        case 2 | 3:
            fields[at] = (fields[at][0], random.choice(_NASTY))
        case 4:
            value = fields[at][1]
            cut = random.randrange(len(value) + 1)
            fields[at] = (fields[at][0], value[:cut] + random.choice(_NASTY)[:200] + value[cut:])
        case 5:
            fields += [(random.choice(("x", "", "kind", "links[]", "\u0000")), "1")] * random.choice((1, 2, 120))


def _change_text(text: str, random: Random) -> str:
    first = random.randrange(len(text) + 1)
    last = first + random.choice((0, 1, 2, 8, 64))
    new = random.choice(
        ("", "%", "%0", "%ff%fe", "%c0%80", "%ED%A0%80", "&", "=", ";", "+", "\ud800", "\x00", "é", "%00")
    )
    return text[:first] + new + text[last:]


class PublicSite:
    """One warm instance of `functions/submit` over moto, with a draft and a case for the bodies to reach."""

    # As many bodies as a draft is asked before a new one takes its place, so that the store stays small.
    RENEW_EVERY = 500

    def __init__(self) -> None:
        from optout.store import Requests
        from tests.unit.functions.api import Api, load

        self._requests = Requests.from_settings()
        self._api = Api(load("submit"))
        self._paths: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    def _renew(self) -> None:
        from optout.decisions import Decision
        from optout.requests import Kind, Step
        from tests.unit.functions import cases

        now = datetime.now(UTC)
        seen = cases.photo(cases.face(), cases.face(300))
        draft = cases.draft(self._requests, now, Kind.FACE, seen)
        self._paths = {"draft": draft.id, "ticket": seen.ticket}
        case = cases.pending(self._requests, now)
        refused = cases.pending(self._requests, now)
        self._requests.decide(refused.id, Decision("d", Step.REJECT, "no_match", "not found", "anna"), None, now)
        self._tokens = {
            "/status/{token}/appeal": cases.status_path(refused).removeprefix("/status/"),
            "status": cases.status_path(case).removeprefix("/status/"),
            "verify": cases.verify_path(case).removeprefix("/verify/"),
        }

    def answer(self, operation: str, seed: int, number: int) -> str:
        """Send one mutated body; the status it was answered with. Raises `AssertionError` for 500 and above."""
        from tests.unit.functions.api import event

        if number % self.RENEW_EVERY == 0 or not self._paths:
            self._renew()
        body, headers, encoded = mutated_body(seed, number, PUBLIC_POSTS[operation])
        token = self._tokens.get(operation, self._tokens.get(operation.split("/")[1]))
        given = event("POST", operation.format(**self._paths, token=token), None, headers)
        answer = self._api.send(given | {"body": body, "isBase64Encoded": encoded})
        if answer.status >= 500:
            raise AssertionError(f"{answer.status} {answer.body[:200]}")
        return str(answer.status)


# --- blocks -----------------------------------------------------------------------------------------------------------


def run_block(what: str, seed: int, first: int, last: int, progress: Path) -> Found:
    """Inputs `first` to `last` of one kind, in this process. The number that is being tried stands in `progress`."""
    found = Found()
    with contextlib.ExitStack() as stack:
        tries: Callable[[int], str]
        if what == "pictures":
            tries = lambda number: look(seed, number)  # noqa: E731
        else:
            from tests.storage import storage

            stack.enter_context(contextlib.redirect_stdout(Path(os.devnull).open("w")))  # noqa: SIM115 - ends with us
            stack.enter_context(storage())
            site = PublicSite()
            tries = lambda number: site.answer(what, seed, number)  # noqa: E731
        note = stack.enter_context(progress.open("r+b", buffering=0))
        for number in range(first, last):
            os.pwrite(note.fileno(), b"%012d" % number, 0)
            started = time.process_time()  # what others do on the machine is not the input's doing
            try:
                found.outcomes[tries(number)] += 1
            except BaseException as error:  # whatever it is, it is a finding
                found.wrong.append(f"{what} {seed}:{number}: {type(error).__name__} {str(error)[:200]}")
            took = time.process_time() - started
            found.inputs += 1
            found.total_s += took
            if took > found.slowest_s:
                found.slowest_s, found.slowest = took, number
    found.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def _in_a_process(what: str, seed: int, first: int, last: int, progress: Path) -> Found:
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    # libtiff and Pillow have a word to say about most damaged files.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    # Nothing here may take the machine with it: what asks for more than this gets a MemoryError, which is a finding.
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    return run_block(what, seed, first, last, progress)


def _blocks(first: int, inputs: int) -> Iterator[tuple[int, int]]:
    for start in range(first, first + inputs, BLOCK):
        yield start, min(start + BLOCK, first + inputs)


def run(what: str, seed: int, first: int, inputs: int, processes: int) -> Found:
    """All inputs, in as many processes; a process that dies is a finding, and the run goes on."""
    total = Found()
    with tempfile.TemporaryDirectory() as folder:
        waiting = list(_blocks(first, inputs))[::-1]
        running: dict[Future[Found], tuple[ProcessPoolExecutor, Path]] = {}
        context = multiprocessing.get_context("spawn")
        while waiting or running:
            while waiting and len(running) < processes:
                start, end = waiting.pop()
                progress = Path(folder) / str(start)
                progress.write_bytes(b"-")
                pool = ProcessPoolExecutor(1, mp_context=context)  # one block each, so that one crash is one block's
                running[pool.submit(_in_a_process, what, seed, start, end, progress)] = (pool, progress)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                pool, progress = running.pop(future)
                try:
                    total.add(future.result())
                except BrokenProcessPool:
                    total.wrong.append(f"{what} {seed}:{progress.read_text()}: the process died")
                pool.shutdown()
                print(f"\r{what} {total.inputs}/{inputs} wrong {len(total.wrong)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return total


def show(what: str, found: Found, elapsed_s: float) -> None:
    """The result as one paragraph and, if there are any, the findings."""
    outcomes = ", ".join(f"{name} {count:,}" for name, count in found.outcomes.most_common())
    print(
        f"{what}: {found.inputs:,} inputs in {elapsed_s:.0f} s; {len(found.wrong)} wrong; "
        f"CPU time mean {1000 * found.total_s / max(1, found.inputs):.2f} ms, slowest {1000 * found.slowest_s:.0f} ms "
        f"(number {found.slowest}); peak memory {found.memory_mb:.0f} MB; {outcomes}",
        flush=True,
    )
    for line in found.wrong[:50]:
        print("  " + line)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when no input broke a rule and time and memory stayed within what is allowed."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("what", choices=["pictures", "bodies"])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each of the public POSTs")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=sorted(PUBLIC_POSTS), help="one of the public POSTs")
    asked = parser.parse_args(arguments)
    kinds = ["pictures"] if asked.what == "pictures" else [asked.only] if asked.only else list(PUBLIC_POSTS)
    good = True
    for kind in kinds:
        started = time.monotonic()
        found = run(kind, asked.seed, asked.first, asked.inputs, asked.processes)
        show(kind, found, time.monotonic() - started)
        good &= not found.wrong and found.slowest_s < SLOWEST_ALLOWED_S and found.memory_mb < MEMORY_ALLOWED_MB
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
