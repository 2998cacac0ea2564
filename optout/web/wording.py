"""What codes mean in words: reasons, states, dates and photo problems. Pages, letters and the console read it here.

Every sentence is written to the requester: plain, kind and concrete. It is said in the language that is being spoken
when it is looked up.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from optout.decisions import AcceptReason, ExtendReason, RejectReason, RevokeReason, UpholdReason
from optout.languages import LANGUAGES, N_, Sentences, ngettext, spoken
from optout.languages import gettext as _
from optout.requests import (
    MAX_EXPLANATION,
    MAX_LINKS,
    MAX_NAME,
    Answers,
    Kind,
    OptOutRequest,
    Relation,
    Status,
    Step,
    Unheld,
)

if TYPE_CHECKING:
    from babel import Locale

KINDS = Sentences(
    {
        Kind.FACE: N_("My face"),
        Kind.IMAGE: N_("A picture and all its copies"),
        Kind.LINKS: N_("Specific links"),
    }
)

# What an acceptance covers.
COVERS = Sentences(
    {
        Kind.FACE: N_(
            "Pictures that show your face. When our search engine meets your face on a page, it leaves that picture "
            "out."
        ),
        Kind.IMAGE: N_(
            "Your pictures and their copies: smaller, larger, mirrored, turned or saved again in another quality."
        ),
        Kind.LINKS: N_("The addresses you gave us. Copies of the same content at other addresses are not covered."),
    }
)

STATUSES = Sentences(
    {
        Status.DRAFT: N_("Not sent yet"),
        Status.PENDING: N_("Waiting for our decision"),
        Status.WAITING: N_("Waiting for your answer"),
        Status.ACCEPTED: N_("Accepted"),
        Status.REJECTED: N_("Not accepted"),
        Status.WITHDRAWN: N_("Withdrawn"),
        Status.REVOKED: N_("No longer in force"),
    }
)

STATUS_SENTENCES = Sentences(
    {
        Status.DRAFT: N_("You have not sent this request yet."),
        Status.PENDING: N_("We have your request. A person will look at it and decide."),
        Status.WAITING: N_("We have a question for you, and go on as soon as you have answered it."),
        Status.ACCEPTED: N_("We accepted your request. It has been in force since the moment we decided."),
        Status.REJECTED: N_("We looked at your request and did not accept it."),
        Status.WITHDRAWN: N_("You withdrew this request. Nothing is left out of our search because of it."),
        Status.REVOKED: N_(
            "We accepted this request before, but took that back. Nothing is left out of our search because "
            "of it any more."
        ),
    }
)

# The same where nobody here has seen the picture.
_COVERS_BY_CODE = N_(
    "The picture whose code you sent, also when it was made smaller or larger, turned, mirrored or saved again. "
    "Cut-outs, frames, writing on it and screenshots are not found by a code: for these, send us the picture or links."
)

# Whom a request is for, on the check page; who the requester is to the person concerned.
ASKED_FOR = Sentences(
    {
        Relation.SELF: N_("Yourself"),
        Relation.PARENT: N_("%(name)s, as a parent"),
        Relation.GUARDIAN: N_("%(name)s, as a legal guardian"),
        Relation.REPRESENTATIVE: N_("%(name)s, as a representative, for example a lawyer or an organisation"),
        Relation.OTHER: N_("%(name)s, in another way"),
    }
)
# The same as answers of the form, in the order of the page.
RELATIONS = Sentences(
    {
        Relation.PARENT: N_("For my child, as a parent"),
        Relation.GUARDIAN: N_("For somebody else, as their legal guardian"),
        Relation.REPRESENTATIVE: N_("For somebody else, as their representative: a lawyer or an organisation, say"),
        Relation.OTHER: N_("For somebody else, in another way"),
    }
)

# Instead of its status' name and sentence, for a request that was sent without a proof of work.
WAITING_FOR_ADDRESS = N_("Waiting for you to confirm your email address")
WAITS_FOR_ADDRESS = N_("We have your request. We begin to look at it when you have confirmed your email address.")

# What is held back while a case is open, by its kind.
HELD = Sentences(
    {
        Kind.FACE: N_(
            "Until we decide, pictures in which our system recognises the face are held back from our search."
        ),
        Kind.IMAGE: N_("Until we decide, the picture and its copies are held back from our search."),
        Kind.LINKS: N_("Until we decide, what these links show is held back from our search."),
    }
)

# Why a verified case is not held back, for its requester.
UNHELD = Sentences(
    {
        Unheld.OFF: N_(
            "It is not held back while we decide, because we do not do that at the moment. We still decide by the "
            "day we named."
        ),
        Unheld.ADDRESS: N_(
            "It is not held back while we decide: other open requests of this address hold back as much as "
            "one address can. We still decide by the day we named."
        ),
        Unheld.DAY: N_(
            "It is not held back while we decide: so many requests came today that we hold back no more. We still "
            "decide by the day we named."
        ),
        Unheld.NOTHING: N_(
            "It is not held back while we decide: there is nothing in it that we can recognise without a "
            "person's look. We still decide by the day we named."
        ),
    }
)

# The lines of a case's timeline that its requester sees; what reviewers do among themselves is not among them.
TIMELINE: Sentences[str] = Sentences(
    {
        Step.CONFIRM: N_("You sent your request"),
        "verify": N_("You confirmed your email address"),
        "send_again": N_("You had our first letter sent again"),
        "release": N_("We stopped holding it back while we decide"),
        Step.ASK: N_("We asked you a question"),
        Step.INFORM: N_("You told us more"),
        Step.EXTEND: N_("We told you that we need more time"),
        Step.ACCEPT: N_("We accepted your request"),
        Step.REJECT: N_("We did not accept your request"),
        Step.APPEAL: N_("You appealed"),
        Step.UPHOLD: N_("We looked again, and our decision stands"),
        Step.ACCEPT_ON_APPEAL: N_("We looked again and accepted your request"),
        Step.WITHDRAW: N_("You withdrew your request"),
        Step.REVOKE: N_("We took our acceptance back"),
        "add_photos": N_("You added more"),
        "accept_added": N_("We accepted what you added"),
        "reject_added": N_("We did not use what you added; answer our letter if you disagree"),
        "ask_new_photo": N_("We asked you for a new photo"),
    }
)

ACCEPT_REASONS: Sentences[str] = Sentences(
    {
        AcceptReason.SHOWS_REQUESTER: N_("The picture shows you."),
        AcceptReason.REQUESTERS_PICTURE: N_("The picture is yours."),
        AcceptReason.REPRESENTED_PERSON: N_("You asked for the person concerned, and we see that you may."),
        AcceptReason.UNLAWFUL_CONTENT: N_("The content you told us about should not be found through our search."),
        AcceptReason.GOODWILL: N_("No rule obliges us to do this, but we are happy to do it for you."),
    }
)

REJECT_REASONS: Sentences[str] = Sentences(
    {
        RejectReason.SUSPECTED_FRAUD: N_(
            "We have reason to think that this request was not made by, or for, the person concerned."
        ),
        RejectReason.INSUFFICIENT_VERIFICATION: N_(
            "We could not tell that you are the person concerned, or that you may ask for them."
        ),
        RejectReason.NO_MATCH: N_("We did not find what you asked about in our search."),
        RejectReason.CLAIM_NOT_COVERED: N_("The rules that we decide by do not cover what you asked for."),
        RejectReason.OUTSIDE_JURISDICTION: N_("The law that you rely on does not apply to our search."),
        RejectReason.TOO_MANY_REQUESTS: N_(
            "You have sent us this same request several times, and we have already answered it."
        ),
        RejectReason.FACE_NOT_RECOGNISABLE: N_(
            "The face in the photos cannot be seen clearly enough to recognise it in other pictures."
        ),
        RejectReason.PUBLIC_INTEREST: N_("In this case, the public's interest in finding this picture weighs more."),
        RejectReason.OTHER: N_(
            "Our reason is not on our usual list. The person who decided explains it in their own words."
        ),
    }
)

REVOKE_REASONS: Sentences[str] = Sentences(
    {
        RevokeReason.ACCEPTED_BY_MISTAKE: N_("We had accepted this request by mistake."),
        RevokeReason.EXCLUDES_OTHERS: N_(
            "Because of this request, pictures of other people were left out of our search too."
        ),
        RevokeReason.SUSPECTED_FRAUD: N_(
            "We have reason to think that this request was not made by, or for, the person concerned."
        ),
        RevokeReason.OTHER: N_(
            "Our reason is not on our usual list. The person who decided explains it in their own words."
        ),
    }
)

UPHOLD_REASONS: Sentences[str] = Sentences(
    {
        UpholdReason.FACTS_STAND: N_("We looked at everything again, and we see the facts as we did before."),
        UpholdReason.RULES_APPLY: N_(
            "We checked the rules that we decide by again, and they lead to the same decision."
        ),
        UpholdReason.OTHER: N_(
            "Our reason is not on our usual list. The person who decided explains it in their own words."
        ),
    }
)

EXTEND_REASONS: Sentences[str] = Sentences(
    {
        ExtendReason.COMPLEX: N_("Your request needs a closer look than most."),
        ExtendReason.MANY_REQUESTS: N_(
            "We have more requests at the moment than we can look at carefully in the usual time."
        ),
    }
)

_REASONS: dict[Step, Sentences[str]] = {
    Step.ACCEPT: ACCEPT_REASONS,
    Step.ACCEPT_ON_APPEAL: ACCEPT_REASONS,
    Step.REJECT: REJECT_REASONS,
    Step.REVOKE: REVOKE_REASONS,
    Step.UPHOLD: UPHOLD_REASONS,
    Step.EXTEND: EXTEND_REASONS,
}

# The names are those of `deadlines.toml`.
DUE_RULES = Sentences(
    {
        "eu_gdpr": N_("The law of the European Union gives us one month (GDPR, Article 12)."),
        "uk_gdpr": N_("The law of the United Kingdom gives us one month (UK GDPR, Article 12)."),
        "us_ccpa": N_("The law of California gives us 45 days, and we keep to it for the whole United States (CCPA)."),
        "br_lgpd": N_("The law of Brazil gives us 15 days (LGPD, Article 19)."),
        "house_month": N_("We promise everybody a decision within one month."),
        # Says nothing of what the request is about: letters are read over shoulders.
        "house_urgent": N_("Requests like this one go first: we promise a decision within 24 hours."),
        "house_face": N_("We promise a decision about a face within 72 hours."),
        "house_image": N_("We promise a decision about a picture within 7 days."),
        "house_links": N_("We promise a decision about links within 7 days."),
        "house_appeal": N_("We promise a decision about an appeal within 14 days."),
        "extended": N_("We wrote to you why we need more time than we had said."),
    }
)

HEIC_ADVICE = N_(
    "On an iPhone, open the photo, tap Share, then Options, choose “Most Compatible” and save it to Files; or take a "
    "screenshot of the photo. Then send that JPEG or PNG."
)

# `PHOTO_PROBLEMS` of optout.fingerprint.image, and those that arise before a picture is looked at.
PHOTO_PROBLEMS = Sentences(
    {
        "nothing_arrived": N_("No photo reached us. Choose a photo and send it again."),
        "too_many_photos": N_("You have five photos here already. Remove one before you add another."),
        "ticket_expired": N_(
            "This page was open for more than 15 minutes. It is fresh again: choose your photo once more."
        ),
        "empty": N_("The file is empty. Choose another photo."),
        "too_large": N_(
            "The file is larger than 25 MB. Send a smaller version; a screenshot of the photo is fine too."
        ),
        "too_many_pixels": N_("The picture has more than 80 million pixels. Send a smaller version of it."),
        "too_small": N_("The picture is too small to see anything in it. Send a larger version."),
        "too_complex": N_(
            "The file is built in a way that we do not open. Open it in your photo app, save it as a new JPEG, "
            "and send that."
        ),
        "heic": N_(
            "This is a HEIC photo, which we cannot open. On an iPhone, open the photo, tap Share, then Options, choose "
            "“Most Compatible” and save it to Files; or take a screenshot of the photo. Then send that JPEG or PNG."
        ),
        "svg": N_("This is an SVG drawing, not a photo. Send it as a JPEG or PNG, for example a screenshot of it."),
        "pdf": N_(
            "This is a PDF document. Send the picture itself as a JPEG or PNG, for example a screenshot of the page."
        ),
        "unsupported": N_("We cannot open this kind of picture. Send it as a JPEG or PNG."),
        "not_a_picture": N_("This file is not a picture. Send a JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF file."),
        "damaged": N_(
            "The file is damaged, or only part of it reached us. Send it again; or open it in your photo app, save "
            "it as a new JPEG and send that."
        ),
        "polyglot": N_(
            "The file holds more than a picture, so we did not open it. Take a screenshot of the picture and send that."
        ),
    }
)

# Besides those, when a picture is only tested.
TEST_PROBLEMS = Sentences(
    {
        "faces_off": N_("We cannot look for faces just now. Please try again later."),
        "nothing_left": N_(
            "The photos of this request have been deleted, so there is nothing to compare with. The request itself "
            "goes on as it is."
        ),
        "enough_tested": N_("You have tested many pictures. Begin a new test from the page of your request."),
    }
)

# What is wrong with a face that was found (`FaceProblem` of optout.fingerprint.faces), and how to do better.
FACE_PROBLEMS = Sentences(
    {
        "too_small": N_("The face is too small."),
        "turned_away": N_("The face is turned away."),
        "eyes_covered": N_("The eyes are covered or in deep shadow."),
        "too_blurred": N_("The face is too blurred."),
        "unclear": N_("The face cannot be seen clearly enough."),
    }
)
FACE_ADVICE = Sentences(
    {
        "too_small": N_(
            "Choose a photo taken from closer by, or a larger original of this one; enlarging does not help."
        ),
        "turned_away": N_("Choose a photo in which it looks towards the camera, so that both eyes can be seen."),
        "eyes_covered": N_("Choose a photo without sunglasses, and with light on the face."),
        "too_blurred": N_("Choose a sharper photo, or the original of this one if it was sent through a messenger."),
        "unclear": N_(
            "Perhaps something covers it, or it is very dark. Choose a photo of the whole face in good light."
        ),
    }
)

# What a draft still lacks: the codes of `requests.missing`, without the ticket behind `face:`.
MISSING = Sentences(
    {
        "photo": N_("Add at least one photo"),
        "usable_face": N_("Add a photo that shows the face clearly"),
        "faces_off": N_("We cannot look for faces just now. Your photos are kept; come back within 24 hours"),
        "consent": N_("Agree that we may measure the face"),
        "links": N_("Give us at least one link"),
        "good_faith": N_("Confirm that what you told us is true"),
    }
)

# Of one photo, by its number; in `requests.missing` with its ticket.
MISSING_OF_PHOTO = Sentences(
    {
        "crop": N_("Say whether to use the cropped picture of photo %(number)s"),
        "face": N_("Choose the right face in photo %(number)s"),
    }
)


def reason(step: Step, code: str) -> str:
    """The sentence for the reason of a decision, a revocation or an extension. `code` is one of the step's reasons."""
    return _REASONS[step][code]


def due_rule(name: str) -> str:
    """The sentence for the rule that set a due date."""
    return DUE_RULES[name]


def covers(request: OptOutRequest) -> str:
    """What an acceptance of this case covers."""
    return _(_COVERS_BY_CODE) if request.hash_only else COVERS[request.kind]


def asked_for(answers: Answers) -> str:
    """Whom a request is for, as its requester reads it."""
    return ASKED_FOR[answers.relation] % {"name": answers.represented}


def due_at(moment: datetime, rule: str | None, country: str = "") -> str:
    """By when we decide: the day, and where we promised a decision within a day the time; of this country as `date`."""
    return time(moment, country) if rule == "house_urgent" else date(moment, country)


def label(code: StrEnum) -> str:
    """A short name for a kind or a status."""
    return KINDS[code] if isinstance(code, Kind) else STATUSES[Status(code)]


@cache
def _locale(code: str) -> Locale:
    from babel import Locale  # 40 ms with its data; loaded with the first page that names a date

    return Locale.parse(LANGUAGES[code].locale)


@cache
def _zones(country: str) -> tuple[ZoneInfo, ...]:
    from babel.core import get_global

    return tuple(ZoneInfo(name) for name in get_global("territory_zones").get(country, ()))


def zone(country: str, moment: datetime) -> tzinfo:
    """The time zone of a country, if clocks show the same time everywhere in it at this moment; else UTC."""
    zones = _zones(country)
    return zones[0] if len({moment.astimezone(zone).utcoffset() for zone in zones}) == 1 else UTC


def date(moment: datetime, country: str = "") -> str:
    """A day such as `24 November 2026`, with the month's name: what it is then in this country (ISO 3166-1), and in UTC
    where the country has several times, which is said. Without a country in UTC."""
    there = zone(country, moment)
    day = _day(moment, there)
    return f"{day} (UTC)" if country and there is UTC else day


def time(moment: datetime, country: str = "") -> str:
    """A day and time such as `24 November 2026, 14:05 UTC`, its zone always named; of this country as in `date`."""
    from babel.dates import format_time

    locale, there = _locale(spoken()), zone(country, moment)
    clock = format_time(moment, "short", there, locale)
    clock = f"{clock} UTC" if there is UTC else f"{clock} ({format_time(moment, 'zzzz', there, locale)})"
    return str(locale.datetime_formats["medium"]).format(clock, _day(moment, there))


def _day(moment: datetime, there: tzinfo) -> str:
    from babel.dates import format_date

    return format_date(moment.astimezone(there).date(), "long", _locale(spoken()))


def number(count: int) -> str:
    """A number such as `5,000`."""
    from babel.numbers import format_decimal

    return format_decimal(count, locale=_locale(spoken()))


def listed(numbers: list[int]) -> str:
    """Numbers such as `3, 7 and 9`."""
    from babel.lists import format_list

    return format_list([str(each) for each in numbers], locale=_locale(spoken()))


# --- the form ---------------------------------------------------------------------------------------------------------


def biometric_consent(engine: str) -> str:
    """What people agree to when they opt out by face. The text they saw is kept with their request."""
    return _(
        "I agree that %(engine)s measures the face that I mark in these photos, keeps these measurements, and compares "
        "them with faces in pictures on the web. %(engine)s may do this for one purpose only: to leave pictures that "
        "show this face out of its search. If I ask for somebody else, I may agree to this for them. I can take this "
        "back at any time with the link in the letter."
    ) % {"engine": engine}


# field -> code -> what to tell the person.
FORM_PROBLEMS: dict[str, Sentences[str]] = {
    "explanation": Sentences(
        {
            "required": N_("Tell us in a few words what this is about"),
            "too_long": N_("Shorten your explanation to %(most)s characters"),
        }
    ),
    "links": Sentences(
        {
            "required": N_("Give us at least one link"),
            "too_many": N_("Give us at most %(most)s links. For more, send a second request"),
        }
    ),
    "on_behalf_of": Sentences(
        {"choose_one": N_("Choose whether you ask for yourself or for somebody else, and as what")}
    ),
    "represented": Sentences(
        {
            "required": N_("Enter the name of the person you ask for"),
            "too_long": N_("Shorten the name to %(most)s characters"),
        }
    ),
    "first_name": Sentences(
        {
            "required": N_("Enter your first name"),
            "too_long": N_("Shorten your first name to %(most)s characters"),
        }
    ),
    "last_name": Sentences(
        {
            "required": N_("Enter your last name"),
            "too_long": N_("Shorten your last name to %(most)s characters"),
        }
    ),
    "email": Sentences(
        {
            "required": N_("Enter your email address, so that we can write to you"),
            "not_an_address": N_("Enter an email address in the form name@example.com"),
        }
    ),
    "phone": Sentences({"not_a_phone_number": N_("Enter a phone number with digits only, or leave it empty")}),
    "country": Sentences({"choose_one": N_("Choose the country you live in")}),
    "biometric_consent": Sentences(
        {
            "required": N_(
                "Tick the box if you agree. Without it we cannot recognise your face, but you can opt out single "
                "pictures instead"
            )
        }
    ),
    "good_faith": Sentences({"required": N_("Tick the box to confirm that what you told us is true")}),
    "appeal": Sentences(
        {
            "required": N_("Tell us in a few words why you disagree"),
            "too_long": N_("Shorten your text to %(most)s characters"),
        }
    ),
    "information": Sentences(
        {
            "required": N_("Write your answer, or what you want to add"),
            "too_long": N_("Shorten your text to %(most)s characters"),
        }
    ),
}
# What `too_long` and `too_many` mean.
_MOST = {"links": MAX_LINKS} | dict.fromkeys(("explanation", "appeal", "information"), MAX_EXPLANATION)


def form_problem(field: str, code: str) -> str:
    """What to tell a person about one field of the form. `not_links` carries line numbers after a colon."""
    name, _colon, numbers = code.partition(":")
    if name == "not_links":
        return _not_links([int(number) for number in numbers.split(",")])
    return FORM_PROBLEMS[field][name] % {"most": number(_MOST.get(field, MAX_NAME))}


def _not_links(lines: list[int]) -> str:
    return ngettext(
        "Check line %(lines)s: it should hold one web address, such as https://example.com/page",
        "Check lines %(lines)s: each should hold one web address, such as https://example.com/page",
        len(lines),
    ) % {"lines": listed(lines)}


def repeated(lines: list[int]) -> str:
    """Which lines of a list of links repeat one; empty when none does."""
    if not lines:
        return ""
    return ngettext(
        "Line %(lines)s of your list repeats a link from an earlier line.",
        "Lines %(lines)s of your list repeat links from earlier lines.",
        len(lines),
    ) % {"lines": listed(lines)}


def missing_of_photo(name: str, number: int) -> str:
    """What a draft lacks about the photo with this number."""
    return MISSING_OF_PHOTO[name] % {"number": number}


def photos_disagree(pairs: list[tuple[int, int]]) -> str:
    """Which photos do not seem to show the same person; empty when all do."""
    sentence = _("Photos %(first)s and %(second)s do not seem to show the same person.")
    return " ".join(sentence % {"first": first, "second": second} for first, second in pairs)
