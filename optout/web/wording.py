"""What codes mean in words: reasons, states, dates and photo problems. Pages, letters and the console read it here.

Every sentence is written to the requester: plain, kind and concrete.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from optout.decisions import AcceptReason, RejectReason, RevokeReason
from optout.requests import Kind, Status, Step, Unheld

KINDS: dict[Kind, str] = {
    Kind.FACE: "My face",
    Kind.IMAGE: "A picture and all its copies",
    Kind.LINKS: "Specific links",
}

# What an acceptance covers.
COVERS: dict[Kind, str] = {
    Kind.FACE: "Pictures that show your face. When our search engine meets your face on a page, it leaves that picture "
    "out.",
    Kind.IMAGE: "Your pictures and their copies: smaller, larger, mirrored, turned or saved again in another quality.",
    Kind.LINKS: "The addresses you gave us. Copies of the same content at other addresses are not covered.",
}

STATUSES: dict[Status, str] = {
    Status.DRAFT: "Not sent yet",
    Status.PENDING: "Waiting for our decision",
    Status.ACCEPTED: "Accepted",
    Status.REJECTED: "Not accepted",
    Status.WITHDRAWN: "Withdrawn",
    Status.REVOKED: "No longer in force",
}

STATUS_SENTENCES: dict[Status, str] = {
    Status.DRAFT: "You have not sent this request yet.",
    Status.PENDING: "We have your request. A person will look at it and decide.",
    Status.ACCEPTED: "We accepted your request. It has been in force since the moment we decided.",
    Status.REJECTED: "We looked at your request and did not accept it.",
    Status.WITHDRAWN: "You withdrew this request. Nothing is left out of our search because of it.",
    Status.REVOKED: "We accepted this request before, but took that back. Nothing is left out of our search because "
    "of it any more.",
}

# What is held back while a case is open, by its kind.
HELD: dict[Kind, str] = {
    Kind.FACE: "Until we decide, pictures in which our system recognises the face are held back from our search.",
    Kind.IMAGE: "Until we decide, the picture and its copies are held back from our search.",
    Kind.LINKS: "Until we decide, what these links show is held back from our search.",
}

# Why a verified case is not held back, for its requester.
UNHELD: dict[Unheld, str] = {
    Unheld.OFF: "It is not held back while we decide, because we do not do that at the moment. We still decide by the "
    "day we named.",
    Unheld.ADDRESS: "It is not held back while we decide: other open requests of this address hold back as much as "
    "one address can. We still decide by the day we named.",
    Unheld.DAY: "It is not held back while we decide: so many requests came today that we hold back no more. We still "
    "decide by the day we named.",
    Unheld.NOTHING: "It is not held back while we decide: there is nothing in it that we can recognise without a "
    "person's look. We still decide by the day we named.",
}

# The lines of a case's timeline that its requester sees; what reviewers do among themselves is not among them.
TIMELINE: dict[str, str] = {
    Step.CONFIRM: "You sent your request",
    "verify": "You confirmed your email address",
    "send_again": "You had our first letter sent again",
    "release": "We stopped holding it back while we decide",
    Step.ACCEPT: "We accepted your request",
    Step.REJECT: "We did not accept your request",
    Step.ACCEPT_ON_APPEAL: "We looked again and accepted your request",
    Step.WITHDRAW: "You withdrew your request",
    Step.REVOKE: "We took our acceptance back",
    "add_photos": "You added more",
    "accept_added": "We accepted what you added",
    "reject_added": "We did not use what you added; answer our letter if you disagree",
    "ask_new_photo": "We asked you for a new photo",
}

ACCEPT_REASONS: dict[str, str] = {
    AcceptReason.SHOWS_REQUESTER: "The picture shows you.",
    AcceptReason.REQUESTERS_PICTURE: "The picture is yours.",
    AcceptReason.REPRESENTED_PERSON: "You asked for the person concerned, and we see that you may.",
    AcceptReason.UNLAWFUL_CONTENT: "The content you told us about should not be found through our search.",
    AcceptReason.GOODWILL: "No rule obliges us to do this, but we are happy to do it for you.",
}

REJECT_REASONS: dict[str, str] = {
    RejectReason.SUSPECTED_FRAUD: "We have reason to think that this request was not made by, or for, the person "
    "concerned.",
    RejectReason.INSUFFICIENT_VERIFICATION: "We could not tell that you are the person concerned, or that you may ask "
    "for them.",
    RejectReason.NO_MATCH: "We did not find what you asked about in our search.",
    RejectReason.CLAIM_NOT_COVERED: "The rules that we decide by do not cover what you asked for.",
    RejectReason.OUTSIDE_JURISDICTION: "The law that you rely on does not apply to our search.",
    RejectReason.TOO_MANY_REQUESTS: "You have sent us this same request several times, and we have already answered "
    "it.",
    RejectReason.FACE_NOT_RECOGNISABLE: "The face in the photos cannot be seen clearly enough to recognise it in other "
    "pictures.",
    RejectReason.PUBLIC_INTEREST: "In this case, the public's interest in finding this picture weighs more.",
    RejectReason.OTHER: "Our reason is not on our usual list. The person who decided explains it in their own words.",
}

REVOKE_REASONS: dict[str, str] = {
    RevokeReason.ACCEPTED_BY_MISTAKE: "We had accepted this request by mistake.",
    RevokeReason.EXCLUDES_OTHERS: "Because of this request, pictures of other people were left out of our search too.",
    RevokeReason.SUSPECTED_FRAUD: "We have reason to think that this request was not made by, or for, the person "
    "concerned.",
    RevokeReason.OTHER: "Our reason is not on our usual list. The person who decided explains it in their own words.",
}

_REASONS: dict[Step, dict[str, str]] = {
    Step.ACCEPT: ACCEPT_REASONS,
    Step.ACCEPT_ON_APPEAL: ACCEPT_REASONS,
    Step.REJECT: REJECT_REASONS,
    Step.REVOKE: REVOKE_REASONS,
}

# The names are those of `deadlines.toml`.
DUE_RULES: dict[str, str] = {
    "eu_gdpr": "The law of the European Union gives us one month (GDPR, Article 12).",
    "uk_gdpr": "The law of the United Kingdom gives us one month (UK GDPR, Article 12).",
    "us_ccpa": "The law of California gives us 45 days, and we keep to it for the whole United States (CCPA).",
    "br_lgpd": "The law of Brazil gives us 15 days (LGPD, Article 19).",
    "house_month": "We promise everybody a decision within one month.",
    "house_face": "We promise a decision about a face within 72 hours.",
    "house_image": "We promise a decision about a picture within 7 days.",
    "house_links": "We promise a decision about links within 7 days.",
}

HEIC_ADVICE = (
    "On an iPhone, open the photo, tap Share, then Options, choose “Most Compatible” and save it to Files; or take a "
    "screenshot of the photo. Then send that JPEG or PNG."
)

# `PHOTO_PROBLEMS` of optout.fingerprint.image, and those that arise before a picture is looked at.
PHOTO_PROBLEMS: dict[str, str] = {
    "nothing_arrived": "No photo reached us. Choose a photo and send it again.",
    "too_many_photos": "You have five photos here already. Remove one before you add another.",
    "ticket_expired": "This page was open for more than 15 minutes. It is fresh again: choose your photo once more.",
    "empty": "The file is empty. Choose another photo.",
    "too_large": "The file is larger than 25 MB. Send a smaller version; a screenshot of the photo is fine too.",
    "too_many_pixels": "The picture has more than 80 million pixels. Send a smaller version of it.",
    "too_small": "The picture is too small to see anything in it. Send a larger version.",
    "too_complex": "The file is built in a way that we do not open. Open it in your photo app, save it as a new JPEG, "
    "and send that.",
    "heic": "This is a HEIC photo, which we cannot open. " + HEIC_ADVICE,
    "svg": "This is an SVG drawing, not a photo. Send it as a JPEG or PNG, for example a screenshot of it.",
    "pdf": "This is a PDF document. Send the picture itself as a JPEG or PNG, for example a screenshot of the page.",
    "unsupported": "We cannot open this kind of picture. Send it as a JPEG or PNG.",
    "not_a_picture": "This file is not a picture. Send a JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF file.",
    "damaged": "The file is damaged, or only part of it reached us. Send it again; or open it in your photo app, save "
    "it as a new JPEG and send that.",
    "polyglot": "The file holds more than a picture, so we did not open it. Take a screenshot of the picture and send "
    "that.",
}

# What is wrong with a face that was found (`FaceProblem` of optout.fingerprint.faces), and how to do better.
FACE_PROBLEMS: dict[str, tuple[str, str]] = {
    "too_small": (
        "The face is too small.",
        "Choose a photo taken from closer by, or a larger original of this one; enlarging does not help.",
    ),
    "turned_away": (
        "The face is turned away.",
        "Choose a photo in which it looks towards the camera, so that both eyes can be seen.",
    ),
    "eyes_covered": (
        "The eyes are covered or in deep shadow.",
        "Choose a photo without sunglasses, and with light on the face.",
    ),
    "too_blurred": (
        "The face is too blurred.",
        "Choose a sharper photo, or the original of this one if it was sent through a messenger.",
    ),
    "unclear": (
        "The face cannot be seen clearly enough.",
        "Perhaps something covers it, or it is very dark. Choose a photo of the whole face in good light.",
    ),
}

# What a draft still lacks: the codes of `requests.missing`, without the ticket behind `face:`.
MISSING: dict[str, str] = {
    "photo": "Add at least one photo",
    "usable_face": "Add a photo that shows the face clearly",
    "faces_off": "We cannot look for faces just now. Your photos are kept; come back within 24 hours",
    "consent": "Agree that we may measure the face",
    "links": "Give us at least one link",
    "good_faith": "Confirm that what you told us is true",
}

# Of one photo, by its number; in `requests.missing` with its ticket.
MISSING_OF_PHOTO: dict[str, str] = {
    "crop": "Say whether to use the cropped picture of photo",
    "face": "Choose the right face in photo",
}

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def reason(step: Step, code: str) -> str:
    """The sentence for a decision's or a revocation's reason. `code` is an enum member of the step's reasons."""
    return _REASONS[step][code]


def due_rule(name: str) -> str:
    """The sentence for the rule that set a due date."""
    return DUE_RULES[name]


def label(code: StrEnum) -> str:
    """A short name for a kind or a status."""
    return KINDS[code] if isinstance(code, Kind) else STATUSES[Status(code)]


def date(moment: datetime) -> str:
    """A day such as `24 November 2026`, in UTC and in no locale's short forms."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def time(moment: datetime) -> str:
    """A day and time such as `24 November 2026, 14:05 UTC`."""
    return f"{date(moment)}, {moment.astimezone(UTC):%H:%M} UTC"


# --- the form ---------------------------------------------------------------------------------------------------------


def biometric_consent(engine: str) -> str:
    """What people agree to when they opt out by face. The text they saw is kept with their request."""
    return (
        f"I agree that {engine} measures the face that I mark in these photos, keeps these measurements, and compares "
        f"them with faces in pictures on the web. {engine} may do this for one purpose only: to leave pictures that "
        "show this face out of its search. If I ask for somebody else, I may agree to this for them. I can take this "
        "back at any time with the link in the letter."
    )


# field -> code -> what to tell the person. Codes that carry line numbers have them after a colon.
FORM_PROBLEMS: dict[str, dict[str, str]] = {
    "explanation": {
        "required": "Tell us in a few words what this is about",
        "too_long": "Shorten your explanation to 5,000 characters",
    },
    "links": {
        "required": "Give us at least one link",
        "too_many": "Give us at most 50 links. For more, send a second request",
        "not_links": "Check {lines}: it should hold one web address, such as https://example.com/page",
    },
    "on_behalf_of": {"choose_one": "Choose whether you ask for yourself or for somebody else"},
    "represented": {
        "required": "Enter the name of the person you ask for",
        "too_long": "Shorten the name to 100 characters",
    },
    "first_name": {"required": "Enter your first name", "too_long": "Shorten your first name to 100 characters"},
    "last_name": {"required": "Enter your last name", "too_long": "Shorten your last name to 100 characters"},
    "email": {
        "required": "Enter your email address, so that we can write to you",
        "not_an_address": "Enter an email address in the form name@example.com",
    },
    "phone": {"not_a_phone_number": "Enter a phone number with digits only, or leave it empty"},
    "country": {"choose_one": "Choose the country you live in"},
    "biometric_consent": {
        "required": "Tick the box if you agree. Without it we cannot recognise your face, but you can opt out single "
        "pictures instead"
    },
    "good_faith": {"required": "Tick the box to confirm that what you told us is true"},
}


def form_problem(field: str, code: str) -> str:
    """What to tell a person about one field of the form."""
    name, _, numbers = code.partition(":")
    return FORM_PROBLEMS[field][name].format(lines=lines([int(number) for number in numbers.split(",") if number]))


def photos_disagree(pairs: list[tuple[int, int]]) -> str:
    """Which photos do not seem to show the same person; empty when all do."""
    if not pairs:
        return ""
    named = [f"{first} and {second}" for first, second in pairs]
    return "Photos " + "; ".join(named) + " do not seem to show the same person."


def lines(numbers: list[int]) -> str:
    """`line 3`, or `lines 3, 7 and 9`."""
    if len(numbers) < 2:
        return "line " + "".join(map(str, numbers))
    return "lines " + ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"
