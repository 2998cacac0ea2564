"""Writes a letter and gives it to SES. The only code that knows SES.

Letters repeat nothing that the requester typed but a plain first name: until it is answered, an address is anybody's,
and a form that mails free text to anybody's address is a gift to spammers.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr
from functools import cache
from typing import TYPE_CHECKING, Any

import idna
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_eval_context, select_autoescape
from jinja2.nodes import EvalContext
from markupsafe import Markup

from optout import deadlines, languages, links, settings
from optout.errors import AddressUnusable
from optout.languages import LANGUAGES, N_, Sentences
from optout.languages import gettext as _
from optout.requests import OPEN, Letter, OptOutRequest, Status, Step
from optout.web import wording

if TYPE_CHECKING:
    from optout.store import DueLetter

# What an acceptance that is no longer in force says instead of "in force", when its letter leaves late.
_SINCE = Sentences(
    {
        Status.WITHDRAWN: N_("It is no longer in force: you have withdrawn your request since."),
        Status.REVOKED: N_("It is no longer in force: it has been taken back since. Another letter tells you why."),
    }
)
_LONGEST_NAME = 40
# What the form accepts, RFC 5321's dot-strings: no quotes, spaces or line breaks, so one address stays one address.
_MAILBOX = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}")


@dataclass(frozen=True)
class Message:
    """A letter as it leaves: the same words as text and as HTML, in one language of `LANGUAGES`. `letter_id` stays the
    same if it is sent again."""

    letter_id: str
    subject: str
    text: str
    html: str
    language: str


@cache
def _letters() -> Environment:
    letters = Environment(
        loader=PackageLoader("optout.mail", "letters"),
        autoescape=select_autoescape(["html"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    languages.translate(letters)
    letters.filters.update(apart=_apart, strong=_strong, mailto=_mailto)
    return letters


@pass_eval_context
def _apart(letter: EvalContext, words: str) -> str:
    """What reads from left to right in every language, such as a case number, without a say in what is around it."""
    if letter.autoescape:
        return Markup("<bdi>{}</bdi>").format(words)
    # U+2066 and U+2069, as in Unicode's UAX 9, section 2.7; only where they are needed, for not every mail program
    # knows not to show them.
    return f"\u2066{words}\u2069" if LANGUAGES[languages.spoken()].direction == "rtl" else words


@pass_eval_context
def _strong(letter: EvalContext, words: str) -> str:
    return Markup("<strong>{}</strong>").format(words) if letter.autoescape else words


@pass_eval_context
def _mailto(letter: EvalContext, address: str) -> str:
    return Markup('<a href="mailto:{}">{}</a>').format(address, _apart(letter, address))


def overtaken(due: DueLetter) -> bool:
    """Whether a letter leaves so late that it would now be wrong: a refusal after its appeal was decided, a question
    that was answered, or a wish for a new photo that has come, or that nobody waits for any more."""
    request, decision = due.request, due.request.decision
    rejected = decision is not None and decision.step is Step.REJECT
    too_late = {
        Letter.NEW_PHOTO: request.new_photo_asked_at is None or bool(request.added) or not request.takes_photos,
        Letter.QUESTION: request.question is None,
        Letter.EXTENDED: request.status not in OPEN,
        Letter.APPEAL_RECEIVED: request.appealed_at is None,
        Letter.UPHELD: request.upheld is None,
        Letter.REJECTED: not rejected or request.upheld is not None,
        Letter.REVOKED: request.revocation is None or request.upheld is not None,
    }
    return too_late.get(due.letter, False)


def render(due: DueLetter, now: datetime, *, engine: str, support: str, status_url: str, verify_url: str) -> Message:
    """The letter in words, in its requester's language."""
    with languages.speaking(due.request.language):
        return _rendered(due, now, engine=engine, support=support, status_url=status_url, verify_url=verify_url)


def _rendered(due: DueLetter, now: datetime, **values: Any) -> Message:
    request, country = due.request, due.request.answers.country
    values |= {
        "language": request.language,
        "direction": LANGUAGES[request.language].direction,
        "appeal_url": _page_url(values["status_url"], "appeal"),
        "information_url": _page_url(values["status_url"], "information"),
        "held": request.hold is not None,
        "unverified": request.verified_at is None and request.status in OPEN,
        "repeats": ", ".join(request.repeats),
        "repeat_count": len(request.repeats),
        "confirm_by": wording.date(request.confirmed_at + deadlines.UNVERIFIED_KEPT, request.answers.country)
        if request.waits_for_address and request.confirmed_at is not None
        else "",
        "verify_days": deadlines.VERIFICATION_LINK.days,
        "greeting": _greeting(request.answers.first_name),
        "number": request.number,
        "kind": request.kind.value,
        "represented": request.answers.represented is not None,
        "photo_count": len(request.photos),
        "hash_only": request.hash_only,
        "link_count": len(request.answers.links),
        "appeal_by": wording.date(deadlines.appeal_until(request) or now + deadlines.APPEAL_WINDOW, country),
        "photos_kept_days": deadlines.WITHDRAWN_PHOTOS_KEPT.days,
        "case_years": deadlines.CASE_KEPT.days // 365,
        "decided_on": "",
        **_said(due),
    }
    subject = _letters().get_template(f"{due.letter}/subject.txt").render(values)
    # The subject is a header: one line, whatever the template holds.
    values["title"] = " ".join(subject.split())
    return Message(
        letter_id=due.key.letter_id,
        subject=values["title"],
        text=_letters().get_template(f"{due.letter}/body.txt").render(values),
        html=_letters().get_template(f"{due.letter}/body.html").render(values),
        language=request.language,
    )


def _said(due: DueLetter) -> dict[str, Any]:
    """What only this kind of letter says."""
    request, decision, revocation = due.request, due.request.decision, due.request.revocation
    country = request.answers.country
    said: dict[str, Any] = {}
    if request.confirmed_at is not None and request.due_at is not None:
        said["received_on"] = wording.date(request.confirmed_at, country)
        said["due_on"] = wording.due_at(request.due_at, request.due_rule, country)
        said["due_why"] = wording.due_rule(request.due_rule) if request.due_rule else ""
    if request.withdrawn_at is not None:
        said["withdrawn_at"] = wording.time(request.withdrawn_at, country)
        said["was_in_force"] = decision is not None
    if due.letter is Letter.QUESTION and request.question is not None:
        said["question"] = request.question.text.strip()
    elif due.letter is Letter.EXTENDED and request.extension is not None:
        said |= {
            "due_before": wording.date(request.extension.before, country),
            "more_time": wording.reason(Step.EXTEND, request.extension.reason),
            "text": request.extension.text.strip(),
        }
    elif due.letter in {Letter.APPEAL_RECEIVED, Letter.UPHELD}:
        said |= _about_an_appeal(request)
    elif due.letter is Letter.REVOKED and revocation is not None:
        said |= {"reason": wording.reason(Step.REVOKE, revocation.reason), "text": revocation.text.strip()}
    elif decision is not None:
        said |= {
            "reason": wording.reason(decision.step, decision.reason),
            "text": decision.text.strip(),
            "decided_at": wording.time(decision.at, country),
            "decided_on": wording.date(decision.at, country),
            "appealed": decision.step is Step.ACCEPT_ON_APPEAL,
            "since": _SINCE.get(request.status),
        }
    return said


def _about_an_appeal(request: OptOutRequest) -> dict[str, Any]:
    """What was decided before the appeal, and what has become of it."""
    country = request.answers.country
    decision, revocation, upheld = request.decision, request.revocation, request.upheld
    said: dict[str, Any] = {"taken_back": revocation is not None}
    if revocation is not None:
        said["against_on"] = wording.date(revocation.confirmed_at or revocation.at, country)
        said["first_reason"] = wording.reason(Step.REVOKE, revocation.reason)
    elif decision is not None:
        said["against_on"] = wording.date(decision.at, country)
        said["first_reason"] = wording.reason(decision.step, decision.reason)
    if request.appealed_at is not None:
        said["appealed_on"] = wording.date(request.appealed_at, country)
    if upheld is not None:
        said |= {
            "reason": wording.reason(Step.UPHOLD, upheld.reason),
            "text": upheld.text.strip(),
            "decided_at": wording.time(upheld.at, country),
            "photos_until": wording.date(upheld.at + deadlines.APPEAL_WINDOW, country),
        }
    return said


def _page_url(status_url: str, page: str) -> str:
    """The address of a page of the case, below its status page."""
    before, mark, query = status_url.partition("?")
    return f"{before}/{page}{mark}{query}"


def _greeting(first_name: str) -> str:
    name = first_name.strip()
    plain = all(unicodedata.category(letter)[0] in "LM" or letter in " '\u2019-" for letter in name)
    return _("Hello %(name)s,") % {"name": name} if name and plain and len(name) <= _LONGEST_NAME else _("Hello,")


def status_url(request: OptOutRequest) -> str:
    """The address of the case's status page, signed, in its requester's language."""
    token = links.status_token(request, settings.link_secret())
    return f"{settings.site_url()}/status/{token}?lang={request.language}"


def verify_url(request: OptOutRequest) -> str:
    """The address of the page that verifies the requester's address, signed, in their language."""
    token = links.verification_token(request, settings.link_secret())
    return f"{settings.site_url()}/verify/{token}?lang={request.language}"


def compose(message: Message, to: str) -> EmailMessage:
    """The letter as a mail to this address. Raises `AddressUnusable`."""
    mail = EmailMessage()
    mail["From"] = formataddr((settings.engine_name(), settings.sender()))
    mail["To"] = _mailbox(to)
    mail["Reply-To"] = settings.support_address()
    mail["Subject"] = message.subject
    mail["X-Letter-Id"] = message.letter_id
    # RFC 3834: keeps out-of-office replies away from the support address.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text, cte="quoted-printable")
    mail.add_alternative(message.html, subtype="html", cte="quoted-printable")
    # Last: what is set before belongs to the first part as soon as there are two.
    mail["Content-Language"] = message.language
    return mail


def send(message: Message, to: str) -> str:
    """Give the letter to SES; its message id. Raises `AddressUnusable`, and botocore's errors when SES did not take it.

    botocore repeats a call whose answer got lost, so a letter can arrive twice; X-Letter-Id is then the same.
    """
    mail = compose(message, to)
    answer = settings.aws("sesv2").send_email(
        FromEmailAddress=settings.sender(),
        Destination={"ToAddresses": [mail["To"]]},
        ConfigurationSetName=settings.letters_configuration_set(),
        # Raw, so that what arrives is what was written here, every header included.
        Content={"Raw": {"Data": mail.as_bytes(policy=SMTP)}},
    )
    return str(answer["MessageId"])


def _mailbox(email: str) -> str:
    """The address as SES takes it: one mailbox, in ASCII. Raises `AddressUnusable`."""
    local, _at, domain = email.rpartition("@")
    try:
        # IDNA 2008, as the form reads it: Python's own codec takes ß for ss, which may be somebody else's domain.
        mailbox = f"{local}@{domain if domain.isascii() else idna.encode(domain.lower()).decode()}"
    except UnicodeError as error:
        raise AddressUnusable from error
    if not _MAILBOX.fullmatch(mailbox):
        raise AddressUnusable
    return mailbox
