"""Pictures that never reach us: their requester's device computed the codes, and only these were sent.

Pure. Nobody can look at such a picture, so what is sent is held against what the codes of one picture must have in
common: whoever writes codes by hand gets no more than eight ways round of one picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from optout.errors import RequestInvalid
from optout.requests import Photo, new_ticket

# ThreatExchange's own limit, below which a code says nothing (optout.fingerprint.pdq).
MIN_QUALITY = 50
# The code has a bit for each of 256 values that is above their median, the lower one of the two in the middle: 128 of
# them, fewer only where values are equal.
_MOST_BITS, _FEWEST_BITS = 128, 112
# How far a code may be from what follows for it from the first one: the hash of a turned picture is not exactly the
# turned hash. Of 1,073 photos half were within 28 bits, one in a thousand above 62, the farthest at 74
# (docs/accuracy.md); codes of different pictures differ by 128, give or take 8, so 88 is five times that away.
TURNED_WITHIN = 88

_HEX = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[1-9][0-9]{0,4}")


def read(fields: Mapping[str, Sequence[str]]) -> Photo:
    """The picture that these form fields are the codes of. Raises `RequestInvalid`; its codes never hold what was sent.

    `sha256` of the file, `codes`: eight PDQ codes as `pdq_hashes` orders them, in hex, with a space between; `quality`
    50-100; `width` and `height` in pixels, which only tell reviewers what they cannot see.
    """
    sent = {name: values[0] for name, values in fields.items() if values}
    sha256, codes = sent.get("sha256", ""), sent.get("codes", "").split(" ")
    numbers = {name: sent.get(name, "") for name in ("quality", "width", "height")}
    problems: dict[str, str] = {}
    if not _HEX.fullmatch(sha256):
        problems["sha256"] = "not_valid"
    if not (len(codes) == 8 and all(_HEX.fullmatch(code) for code in codes) and _of_one_picture(codes)):
        problems["codes"] = "not_valid"
    problems |= {name: "not_valid" for name, text in numbers.items() if not _NUMBER.fullmatch(text)}
    if "quality" not in problems and not MIN_QUALITY <= int(numbers["quality"]) <= 100:
        problems["quality"] = "not_valid"
    if problems:
        raise RequestInvalid(problems)
    return Photo(
        ticket=new_ticket(),
        sha256=sha256,
        picture=None,
        width=int(numbers["width"]),
        height=int(numbers["height"]),
        quality=int(numbers["quality"]),
        dihedral=tuple(bytes.fromhex(code) for code in codes),
        faces=None,
    )


def _of_one_picture(codes: Sequence[str]) -> bool:
    numbers = [int(code, 16) for code in codes]
    if not all(_FEWEST_BITS <= number.bit_count() <= _MOST_BITS for number in numbers):
        return False
    return all(
        (expected ^ number).bit_count() <= TURNED_WITHIN
        for expected, number in zip(ways_round(numbers[0]), numbers, strict=True)
    )


# Which frequencies change their sign when a picture is turned or flipped: those of odd rows, of odd columns, or both.
# The first bit of the code, the lowest of the number, is row 1, column 1.
_ODD_ROWS = sum(1 << (16 * row + column) for row in range(0, 16, 2) for column in range(16))
_ODD_COLUMNS = sum(1 << (16 * row + column) for row in range(16) for column in range(0, 16, 2))


def ways_round(code: int) -> tuple[int, ...]:
    """About the codes of the picture turned and flipped, in the order of `pdq_hashes`."""
    across = _transposed(code)
    return (
        code,
        across ^ _ODD_ROWS,
        code ^ _ODD_ROWS ^ _ODD_COLUMNS,
        across ^ _ODD_COLUMNS,
        code ^ _ODD_ROWS,
        code ^ _ODD_COLUMNS,
        across,
        across ^ _ODD_ROWS ^ _ODD_COLUMNS,
    )


def _transposed(code: int) -> int:
    return sum(1 << (16 * column + row) for row in range(16) for column in range(16) if code >> (16 * row + column) & 1)
