"""Letters in words, and what SES is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import policy
from email.parser import BytesParser
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout import deadlines, links, settings
from optout.errors import AddressUnusable
from optout.mail.send import Message, _mailbox, overtaken, render, send, status_url
from optout.requests import Kind, Lane, Letter, Revocation, Status, Step
from optout.store import DueLetter
from optout.web import wording
from tests.storage import storage
from tests.unit.mail.cases import ALL, ANSWERS, ASKED, NOW, TEXT, due_letter

STATUS_URL = "https://optout.example.org/status/token"
VERIFY_URL = "https://optout.example.org/verify/token"
# From the letter alone: what was decided, what happens next, and until when. What was asked is in every one.
SAID: dict[Letter, list[str]] = {
    Letter.QUESTION: ["have not decided yet", "as soon as you have answered", "27 November 2026"],
    Letter.EXTENDED: ["not decided yet", "27 November 2026", "14 December 2026", "data protection authority", "court"],
    Letter.APPEAL_RECEIVED: ["23 November 2026", "You appealed on 24 November 2026", "by 8 December 2026"],
    Letter.UPHELD: [
        "our decision of 23 November 2026",
        "our decision stands",
        "not made by automated means",
        "out-of-court dispute settlement body",
        "data protection authority",
        "your case is closed",
    ],
    Letter.REJECTED: ["your case is closed"],
    Letter.REVOKED: ["your case is closed"],
    Letter.WITHDRAWN: ["for 3 years"],
    Letter.NEW_PHOTO: ["accepted that on 24 November 2026", "no last day"],
}
LEADS_TO = {
    Letter.QUESTION: ["information"],
    Letter.APPEAL_RECEIVED: ["information"],
    Letter.REJECTED: ["appeal"],
    Letter.REVOKED: ["appeal"],
}
HEADERS = ("From", "To", "Reply-To", "Subject", "X-Letter-Id", "Auto-Submitted", "Content-Language")
MESSAGE = Message("letter-1", "Subject", "Text", "<p>Text</p>", "pl")


def written(due: DueLetter) -> Message:
    return render(
        due, NOW, engine="Lens Search", support="help@example.org", status_url=STATUS_URL, verify_url=VERIFY_URL
    )


class _Words(HTMLParser):
    """What a person reads of a page, and where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words += data.split()

    def handle_endtag(self, tag: str) -> None:
        self._style = False


@pytest.mark.parametrize(("kind", "letter", "step", "reason"), ALL)
def test_every_letter_says_what_it_must_in_text_and_in_html(
    kind: Kind, letter: Letter, step: Step, reason: str | None
) -> None:
    message = written(due_letter(kind, letter, step, reason))
    page = _Words(message.html)
    must = ["K7MQ-29XD", "Hello Amélie,", "You asked" if letter not in {"withdrawn", "revoked"} else "You had asked"]
    must += ["help@example.org"]
    if letter is Letter.RECEIVED:
        must += ["by 27 November 2026", wording.due_rule("house_face"), "other websites"]
    if reason is not None or letter is Letter.QUESTION:
        must += TEXT.splitlines()
    if reason is not None:
        must += [wording.reason(step, reason)]
    if letter in {Letter.ACCEPTED, Letter.REJECTED, Letter.REVOKED}:
        must += ["27 May 2027", "Another reviewer", "to a court"]
        must += ["out-of-court dispute settlement body", "It costs nothing"]
    must += SAID.get(letter, [])
    if letter is Letter.ACCEPTED:
        must += [
            "In force since 24 November 2026, 10:30 (Central European Standard Time)",
            "Other websites",
            "A person made this decision",
        ]
    if letter is Letter.NEW_PHOTO:
        must += ["we need a new photo of your face", "Add a photo", "you can also withdraw"]
    if letter is Letter.REJECTED:
        must += ["not made by automated means"]
    for sentence in must:
        assert sentence in " ".join(message.text.split("\n"))
        assert sentence in " ".join(page.words)
    for url in (STATUS_URL, *(f"{STATUS_URL}/{name}" for name in LEADS_TO.get(letter, ()))):
        assert url in message.text.split()
        assert url in page.links


@pytest.mark.parametrize(("kind", "letter", "step", "reason"), ALL)
def test_a_subject_is_one_line_with_the_case_number(kind: Kind, letter: Letter, step: Step, reason: str | None) -> None:
    subject = written(due_letter(kind, letter, step, reason)).subject
    assert subject == subject.strip()
    assert subject.isprintable()
    assert "K7MQ-29XD" in subject
    assert len(subject) < 78


@pytest.mark.parametrize(("kind", "letter", "step", "reason"), ALL)
def test_text_and_html_hold_no_leftovers_of_templates(
    kind: Kind, letter: Letter, step: Step, reason: str | None
) -> None:
    message = written(due_letter(kind, letter, step, reason))
    for left in ("{{", "{%", "None", "\n\n\n"):
        assert left not in message.text
    assert "{%" not in message.html
    assert ">None<" not in message.html
    assert message.text == message.text.strip()


def test_what_a_reviewer_writes_is_words_and_no_markup() -> None:
    message = written(due_letter(Kind.FACE, Letter.REJECTED, Step.REJECT, "other"))
    assert "<b>" not in message.html
    assert "&lt;b&gt;send&lt;/b&gt;" in message.html


@given(st.text(max_size=60), st.text(max_size=60))
def test_letters_repeat_nothing_typed_but_a_plain_first_name(first: str, words: str) -> None:
    """Else anybody could have us mail their advertisement to anybody."""
    plant = "https://spam.example/" + words
    answers = replace(
        ANSWERS, first_name=first + "/", last_name=plant, explanation=plant, phone=plant, represented=plant
    )
    message = written(due_letter(Kind.LINKS, Letter.RECEIVED, Step.CONFIRM, None, answers=answers))
    assert message.text.startswith("Hello,\n")
    assert "spam.example" not in message.text + message.html + message.subject
    assert "a.example" not in message.text + message.html


@pytest.mark.parametrize("name", ["Zoë", "Jean-Luc", "O'Neil", "नीलम", "Anna Maria"])
def test_people_are_greeted_by_their_name(name: str) -> None:
    due = due_letter(Kind.FACE, Letter.RECEIVED, Step.CONFIRM, None, answers=replace(ANSWERS, first_name=name))
    assert written(due).text.startswith(f"Hello {name},\n")


@pytest.mark.parametrize("name", ["", "evil.example", "a\nBcc: b@c.example", "x" * 41, "<b>", "http://x"])
def test_what_is_no_name_is_left_out(name: str) -> None:
    due = due_letter(Kind.FACE, Letter.RECEIVED, Step.CONFIRM, None, answers=replace(ANSWERS, first_name=name))
    assert written(due).text.startswith("Hello,\n")


def test_an_acceptance_that_leaves_late_does_not_say_that_it_is_in_force() -> None:
    due = due_letter(Kind.FACE, Letter.ACCEPTED, Step.ACCEPT, "shows_requester")
    for status in (Status.WITHDRAWN, Status.REVOKED):
        late = written(replace(due, request=replace(due.request, status=status)))
        for words in (late.text, late.html):
            assert "In force since" not in words
            assert "no longer in force" in words


@pytest.mark.parametrize(("letter", "step"), [(Letter.REJECTED, Step.REJECT), (Letter.REVOKED, Step.REVOKE)])
def test_a_letter_that_is_sent_again_names_the_same_last_day_for_an_appeal(letter: Letter, step: Step) -> None:
    due = due_letter(Kind.FACE, letter, step, "other")
    later = render(
        due,
        NOW + timedelta(days=30),
        engine="Lens Search",
        support="help@example.org",
        status_url=STATUS_URL,
        verify_url=VERIFY_URL,
    )
    assert later == written(due)
    assert deadlines.appeal_until(due.request) == NOW + deadlines.APPEAL_WINDOW


@pytest.mark.parametrize(
    "since",
    [{"new_photo_asked_at": None}, {"added": ("ticket",)}, {"status": Status.WITHDRAWN}, {"status": Status.REVOKED}],
)
def test_a_new_photo_is_not_asked_for_when_it_has_come_or_the_case_is_over(since: dict[str, Any]) -> None:
    due = due_letter(*ASKED)
    assert not overtaken(due)
    assert overtaken(replace(due, request=replace(due.request, **since)))


@pytest.mark.parametrize(
    ("letter", "step", "reason", "since"),
    [
        (Letter.QUESTION, Step.ASK, None, {"question": None, "status": Status.PENDING}),
        (Letter.EXTENDED, Step.EXTEND, "complex", {"status": Status.REJECTED}),
        (Letter.APPEAL_RECEIVED, Step.APPEAL, None, {"appealed_at": None}),
        (Letter.UPHELD, Step.UPHOLD, "other", {"upheld": None}),
        (Letter.REVOKED, Step.REVOKE, "other", {"revocation": None}),
    ],
)
def test_what_is_no_longer_so_is_not_said(
    letter: Letter, step: Step, reason: str | None, since: dict[str, Any]
) -> None:
    due = due_letter(Kind.FACE, letter, step, reason)
    assert not overtaken(due)
    assert overtaken(replace(due, request=replace(due.request, **since)))


@pytest.mark.parametrize("letter", [Letter.APPEAL_RECEIVED, Letter.UPHELD])
def test_an_appeal_against_a_revocation_is_told_as_one(letter: Letter) -> None:
    due = due_letter(Kind.FACE, letter, Step.UPHOLD, "other" if letter is Letter.UPHELD else None)
    taken_back = Revocation("excludes_others", "words", "bo", NOW, "carl", NOW)
    message = written(replace(due, request=replace(due.request, status=Status.REVOKED, revocation=taken_back)))
    for words in (message.text, message.html):
        assert ("took that back" if letter is Letter.APPEAL_RECEIVED else "may be found again") in words
        assert "24 November 2026" in words


def test_a_refusal_is_overtaken_by_an_appeal() -> None:
    refusal = due_letter(Kind.FACE, Letter.REJECTED, Step.REJECT, "no_match")
    appeal = due_letter(Kind.FACE, Letter.ACCEPTED, Step.ACCEPT_ON_APPEAL, "goodwill")
    assert not overtaken(refusal)
    assert not overtaken(appeal)
    assert overtaken(replace(refusal, request=appeal.request))


def test_who_asks_for_somebody_else_is_not_told_of_their_own_face() -> None:
    answers = replace(ANSWERS, represented="My Child")
    for kind, letter, step, reason in ALL:
        message = written(due_letter(kind, letter, step, reason, answers=answers))
        for words in (message.text, message.html):
            assert "your face" not in words
            assert "My Child" not in words


def test_an_acceptance_of_a_code_promises_no_more_than_a_code_finds() -> None:
    due = due_letter(Kind.IMAGE, Letter.ACCEPTED, Step.ACCEPT, "shows_requester")
    by_code = written(replace(due, request=replace(due.request, hashed=due.request.photos)))
    for words in (by_code.text, " ".join(_Words(by_code.html).words)):
        assert "whose code you sent" in words
        assert "a code does not find these" in words
    assert "code" not in written(due).text


def test_an_urgent_letter_says_the_hour_and_not_what_it_is_about() -> None:
    due = due_letter(Kind.IMAGE, Letter.RECEIVED, Step.CONFIRM, None)
    due_at = NOW + timedelta(hours=24)
    urgent = replace(due.request, lane=Lane.INTIMATE, due_at=due_at, due_rule="house_urgent")
    said = written(replace(due, request=urgent)).text
    assert wording.due_at(due_at, "house_urgent", "DE") in said or wording.due_at(due_at, "house_urgent") in said
    assert "within 24 hours" in said
    assert not {"intimate", "nude", "sexual"} & set(said.lower().split())


def test_a_withdrawal_before_any_decision_says_that_nothing_was_left_out() -> None:
    due = due_letter(Kind.IMAGE, Letter.WITHDRAWN, Step.WITHDRAW, None)
    before = replace(due, request=replace(due.request, decision=None))
    assert "no longer in force" in written(due).text
    assert "had not been decided" in written(before).text


# ---- SES


class _Ses:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_email(self, **call: Any) -> dict[str, str]:
        self.sent.append(call)
        return {"MessageId": f"ses-{len(self.sent)}"}


@pytest.fixture
def ses(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Ses]:
    double = _Ses()
    with storage():
        others = settings.aws
        monkeypatch.setattr(settings, "aws", lambda name: double if name == "sesv2" else others(name))
        yield double
        monkeypatch.undo()


def test_a_letter_leaves_with_its_id_and_answers_reach_support(ses: _Ses) -> None:
    assert send(MESSAGE, "amelie@example.org") == "ses-1"
    (call,) = ses.sent
    assert call["FromEmailAddress"] == "optout@example.org"
    assert call["Destination"] == {"ToAddresses": ["amelie@example.org"]}
    assert call["ConfigurationSetName"] == "Letters"
    mail = BytesParser(policy=policy.default).parsebytes(call["Content"]["Raw"]["Data"])
    assert {name: mail[name] for name in HEADERS} == {
        "From": "Lens Search <optout@example.org>",
        "To": "amelie@example.org",
        "Reply-To": "help@example.org",
        "Subject": MESSAGE.subject,
        "X-Letter-Id": "letter-1",
        "Auto-Submitted": "auto-generated",
        "Content-Language": "pl",
    }
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().strip() == "Text"
    assert html.get_content().strip() == "<p>Text</p>"


def test_international_domains_are_written_in_ascii(ses: _Ses) -> None:
    send(MESSAGE, "a@bücher.example")
    send(MESSAGE, "a@faß.example")
    assert [call["Destination"]["ToAddresses"] for call in ses.sent] == [
        ["a@xn--bcher-kva.example"],
        ["a@xn--fa-hia.example"],
    ]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "a@localhost",
        "a@b.example, c@d.example",
        "<a@b.example>",
        "a@b.example\nBcc: c@d.example",
        "a@b.example\r\n",
        "ü@b.example",
        "Bob <a@b.example>",
        "a@b.example;c@d.example",
        "a@b..example",
    ],
)
def test_what_is_no_single_address_is_never_given_to_ses(ses: _Ses, address: str) -> None:
    with pytest.raises(AddressUnusable) as refused:
        send(MESSAGE, address)
    assert not ses.sent
    assert str(refused.value) == ""


@given(st.text(max_size=80) | st.emails())
def test_no_address_reaches_a_second_mailbox_or_header(text: str) -> None:
    try:
        mailbox = _mailbox(text)
    except AddressUnusable:
        return
    assert mailbox.isascii()
    assert mailbox.isprintable()
    assert mailbox.rpartition("@")[2].replace(".", "").replace("-", "").isalnum()


def test_the_link_of_a_letter_opens_its_case(ses: _Ses) -> None:
    request = due_letter(Kind.FACE, Letter.RECEIVED, Step.CONFIRM, None).request
    site, _, rest = status_url(request).partition("/status/")
    assert site == "https://optout.example.org"
    token, _, language = rest.partition("?lang=")
    assert language == "en"
    assert links.read_status_token(token, settings.link_secret()) == (request.id, 1)
