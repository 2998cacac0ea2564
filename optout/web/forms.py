"""The opt-out form: what was typed -> `Answers`, or a code for each field that is not right.

What a person typed is kept apart from what it means, so that a page can show it again exactly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from optout.errors import RequestInvalid
from optout.exclusions.entry import canonical_url
from optout.requests import MAX_EXPLANATION, MAX_LINKS, MAX_NAME, Answers, Kind, Lane, Relation
from optout.web.countries import countries
from optout.web.wording import biometric_consent

MAX_EMAIL = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets

# In the order of the page; the error summary follows it.
FIELDS = (
    "explanation",
    "links",
    "on_behalf_of",
    "represented",
    "first_name",
    "last_name",
    "email",
    "phone",
    "country",
    "biometric_consent",
    "good_faith",
)
_LINES = {"explanation", "links"}
# A field that people neither see nor hear of. Programs that fill in every field fill it in too; now and then a browser
# does. So what comes with it is taken like everything else, and a reviewer is told.
TRAP = "website"

# Marks that reorder what follows them; in a name they would make a reviewer read something that is not there.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PHONE = re.compile(r"\+?[0-9() ./-]{4,40}")


def typed(fields: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The form's fields as typed, each once, without control characters; a field that was not sent is empty."""
    return {name: _clean(fields.get(name, [""])[0], lines=name in _LINES) for name in FIELDS}


def suspected(fields: Mapping[str, Sequence[str]]) -> bool:
    """Whether the field came back filled in that people cannot see."""
    return any(value.strip() for value in fields.get(TRAP, ()))


def typed_from(answers: Answers) -> dict[str, str]:
    """What to type to get these answers again."""
    return {
        "explanation": answers.explanation,
        "links": "\n".join(answers.links),
        "on_behalf_of": answers.relation.value,
        "represented": answers.represented or "",
        "first_name": answers.first_name,
        "last_name": answers.last_name,
        "email": answers.email,
        "phone": answers.phone or "",
        "country": answers.country,
        "biometric_consent": "yes" if answers.biometric_consent else "",
        "good_faith": "yes" if answers.good_faith else "",
    }


def read(kind: Kind, filled: Mapping[str, str], engine: str, lane: Lane = Lane.ORDINARY) -> Answers:
    """The answers that a filled-in form holds. Raises `RequestInvalid` with a code for each field that is not right.

    Who reports the abuse of a child may leave out who they are and where they live, and is not asked for whom they ask.
    """
    problems: dict[str, str] = {}
    anybody = lane is Lane.ABUSE
    optional = {"represented", "first_name", "last_name"} if anybody else {"represented"}
    found: dict[str, str] = {}
    for name, longest in (
        ("explanation", MAX_EXPLANATION),
        ("first_name", MAX_NAME),
        ("last_name", MAX_NAME),
        ("represented", MAX_NAME),
    ):
        found[name] = filled[name].strip()
        if len(found[name]) > longest:
            problems[name] = "too_long"
        elif not found[name] and name not in optional:
            problems[name] = "required"
    relation, for_other = Relation.OTHER, False
    if not anybody and filled["on_behalf_of"] not in list(Relation):
        problems["on_behalf_of"] = "choose_one"
    elif not anybody:
        relation = Relation(filled["on_behalf_of"])
        for_other = relation is not Relation.SELF
    if for_other and not found["represented"]:
        problems["represented"] = "required"
    email = _email(filled["email"], problems) if filled["email"].strip() or not anybody else ""
    phone = filled["phone"].strip()
    if phone and not (_PHONE.fullmatch(phone) and sum(map(str.isdigit, phone)) >= 4):
        problems["phone"] = "not_a_phone_number"
    if filled["country"] not in countries() and (filled["country"] or not anybody):
        problems["country"] = "choose_one"
    if kind is Kind.FACE and filled["biometric_consent"] != "yes":
        problems["biometric_consent"] = "required"
    links: tuple[str, ...] = ()
    if kind is Kind.LINKS:
        links = _links(filled["links"], problems)
        if filled["good_faith"] != "yes":
            problems["good_faith"] = "required"
    if problems:
        raise RequestInvalid({name: problems[name] for name in FIELDS if name in problems})
    return Answers(
        country=filled["country"],
        explanation=found["explanation"],
        first_name=found["first_name"],
        last_name=found["last_name"],
        email=email,
        phone=phone or None,
        represented=found["represented"] if for_other else None,
        biometric_consent=biometric_consent(engine) if kind is Kind.FACE else None,
        good_faith=kind is Kind.LINKS,
        links=links,
        relation=relation,
    )


def words(fields: Mapping[str, Sequence[str]], name: str) -> tuple[str, str]:
    """What was typed into a field of free text, without control characters, and a code for what is not right with it;
    empty when it can be taken."""
    text = _clean(fields.get(name, [""])[0], lines=True).strip()
    if not text:
        return text, "required"
    return text, "too_long" if len(text) > MAX_EXPLANATION else ""


def repeated_lines(text: str) -> list[int]:
    """Numbers of the lines that repeat the address of an earlier line, from 1."""
    seen: set[str] = set()
    repeated = []
    for number, line in _numbered(text):
        link = _link(line)
        if link is not None:
            if canonical_url(link) in seen:
                repeated.append(number)
            seen.add(canonical_url(link))
    return repeated


def _clean(text: str, *, lines: bool) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not lines:
        text = text.replace("\n", " ").replace("\t", " ")
    return "".join(
        char
        for char in text
        if char not in _REORDERING and (char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cs"})
    )


def _email(text: str, problems: dict[str, str]) -> str:
    from email_validator import EmailNotValidError, validate_email  # 30 ms; only a POST needs it

    text = text.strip()
    if not text:
        problems["email"] = "required"
        return ""
    try:
        email = validate_email(text, check_deliverability=False, strict=True).normalized
    except EmailNotValidError:
        email = ""
    if not 0 < len(email) <= MAX_EMAIL:
        problems["email"] = "not_an_address"
    return email


def _numbered(text: str) -> list[tuple[int, str]]:
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _links(text: str, problems: dict[str, str]) -> tuple[str, ...]:
    """The links of a text, one a line; of several spellings of one address the first."""
    found: dict[str, str] = {}
    bad: list[int] = []
    for number, line in _numbered(text):
        link = _link(line)
        if link is None:
            bad.append(number)
        else:
            found.setdefault(canonical_url(link), link)
    if bad:
        # More line numbers than these would not be read.
        problems["links"] = "not_links:" + ",".join(map(str, bad[:10]))
    elif not found:
        problems["links"] = "required"
    elif len(found) > MAX_LINKS:
        problems["links"] = "too_many"
    return tuple(found.values())


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _link(line: str) -> str | None:
    """The web address that a line holds, with https:// where no scheme was given; None when it is none."""
    link = line if _SCHEME.match(line) else "https://" + line
    try:
        host = urlsplit(canonical_url(link)).hostname or ""
    except RequestInvalid:
        return None
    # A single word is a host only inside a company; here it is a slip, as are two links on one line.
    return link if "." in host and not any(char.isspace() for char in link) else None
