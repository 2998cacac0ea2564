"""A requester, a reviewer and a crawler who use the running service as people and programs do: over HTTP alone.

The demo tells the story with them, and the integration tests check it.
"""

from __future__ import annotations

import base64
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from local.running import Running
from optout import proof_of_work

Found = TypeVar("Found")

# A letter passes a stream, a queue and SES, on a machine that also runs the tests.
LETTER_WITHIN_S = 60.0
HTML = {"Accept": "text/html"}


class DidNotHold(AssertionError):
    """Something that the service promises did not hold; the message says what, without any personal data."""


@dataclass
class Form:
    """A form of a page: where it posts to, its fields as they stand, and the work that its script does for it."""

    action: str
    enctype: str
    challenge: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("enctype", ""), given.get("data-challenge", "")))
        elif tag == "input" and self.forms and given.get("type") == "hidden":
            self.forms[-1].fields[given["name"]] = given.get("value", "")


def forms(html: str) -> list[Form]:
    """The forms of a page, in order."""
    parser = _Forms()
    parser.feed(html)
    return parser.forms


def eventually(look: Callable[[], Found | None], what: str, within_s: float = LETTER_WITHIN_S) -> Found:
    """What `look` finds, as soon as it finds it. Raises `DidNotHold` when it does not in time."""
    until = time.monotonic() + within_s
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > until:
            raise DidNotHold(f"{what} within {within_s:.0f} s")
        time.sleep(0.05)


def expect(answer: httpx.Response, status: int, what: str) -> httpx.Response:
    """The answer, if it has this status. Raises `DidNotHold`."""
    if answer.status_code != status:
        raise DidNotHold(f"{what}: expected {status}, got {answer.status_code}")
    return answer


class Requester:
    """A person at the public site, with a browser that accepts one language and runs no JavaScript but for the proof of
    work."""

    def __init__(self, running: Running, email: str, language: str = "en", **answers: str) -> None:
        self._running = running
        self._http = running.http(headers=HTML | {"Accept-Language": language})
        self.email = email
        self.answers = {
            "country": "DE",
            "explanation": "The person on this picture is me, and I never agreed to its publication.",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "email": email,
            "on_behalf_of": "self",
            **answers,
        }
        self.draft = ""

    def begin(self, kind: str, **more: str) -> Requester:
        """Fill in the form of one kind."""
        expect(self._http.get("/opt-out", params={"kind": kind}), 200, "the form opens")
        consents = {"face": {"biometric_consent": "yes"}, "links": {"good_faith": "yes"}}
        filled = {"kind": kind, **self.answers, **consents.get(kind, {}), **more}
        answer = expect(self._http.post("/opt-out", data=filled), 303, "the form is taken")
        self.draft = answer.headers["location"].split("/opt-out/")[1].split("/")[0]
        return self

    def page(self, name: str) -> str:
        """One of the draft's pages."""
        return expect(self._http.get(f"/opt-out/{self.draft}/{name}"), 200, f"the {name} page opens").text

    def ticket(self) -> Form:
        """The photo page's form that posts straight to S3."""
        return next(form for form in forms(self.page("photos")) if form.enctype == "multipart/form-data")

    def post_photo(self, form: Form, photo: bytes) -> httpx.Response:
        """Send a photo with the fields of an upload form, as a browser does."""
        return self._http.post(form.action, data=form.fields, files={"file": ("photo.jpg", photo, "image/jpeg")})

    def upload(self, photo: bytes) -> str:
        """Send a photo and let it be looked at; the photo page as it is then."""
        form = self.ticket()
        posted = expect(self.post_photo(form, photo), 303, "S3 takes the photo")
        looked = expect(self._http.get(posted.headers["location"]), 303, "the photo is looked at")
        return expect(self._http.get(looked.headers["location"]), 200, "the photo page opens").text

    def choose_face(self, face: int) -> None:
        """Choose a face on the first photo that shows several."""
        action = next(form.action for form in forms(self.page("photos")) if form.action.endswith("/face"))
        expect(self._http.post(action, data={"face": str(face)}), 303, "the face is chosen")

    def confirm(self) -> str:
        """Check the answers and send the request; its number."""
        form = next(form for form in forms(self.page("check")) if form.action.partition("?")[0].endswith("/confirm"))
        if form.challenge:
            form.fields["proof"] = proof_of_work.solved(form.challenge)
        expect(self._http.post(form.action, data=form.fields), 303, "the request is sent")
        return self._number(self.page("done"))

    def _number(self, html: str) -> str:
        found = re.search(r"\b[2-9A-HJKMNP-TW-Z]{4}-[2-9A-HJKMNP-TW-Z]{4}\b", html)
        if found is None:
            raise DidNotHold("the confirmation shows a case number")
        return found[0]

    def file(self, kind: str, *photos: bytes, **more: str) -> str:
        """The whole way from the form to the case number."""
        self.begin(kind, **more)
        for photo in photos:
            self.upload(photo)
        return self.confirm()

    def letter(self, number: int) -> EmailMessage:
        """The person's letter of this number, counted from 1, as soon as it is there."""

        def look() -> EmailMessage | None:
            letters = self._running.letters(self.email)
            return letters[number - 1] if len(letters) >= number else None

        return eventually(look, f"letter {number} arrives")

    def status_link(self) -> str:
        """The path of the link in the first letter."""
        return status_path(self.letter(1))

    def verify(self) -> None:
        """Open the first letter's other link, and press the button."""
        path = verify_path(self.letter(1))
        expect(self._http.get(path), 200, "the page that verifies the address opens")
        expect(self._http.post(path), 303, "the address is verified")

    def withdraw(self) -> None:
        """Open the link from the letter, and withdraw."""
        path = self.status_link()
        expect(self._http.get(f"{path}/withdraw"), 200, "the page that asks about withdrawing opens")
        expect(self._http.post(f"{path}/withdraw"), 303, "the withdrawal is taken")

    def inform(self, text: str) -> None:
        """Add a text to the request that was sent, or answer our question, on the page of the case."""
        path = f"{self.status_link()}/information"
        expect(self._http.get(path), 200, "the page that asks for more opens")
        expect(self._http.post(path, data={"information": text}), 303, "what the requester wrote is taken")

    def appeal(self, text: str) -> None:
        """Open the link of the letter that refused, and appeal."""
        path = appeal_path(self._running.letters(self.email)[-1])
        expect(self._http.get(path), 200, "the page that asks about an appeal opens")
        expect(self._http.post(path, data={"appeal": text}), 303, "the appeal is taken")

    def add_photo(self, photo: bytes) -> str:
        """Add a photo to the request that was sent, from the status page; the photo page as it was before sending."""
        begun = expect(self._http.post(f"{self.status_link()}/photos"), 303, "an addition begins")
        self.draft = begun.headers["location"].split("/opt-out/")[1].split("/")[0]
        page = self.upload(photo)
        self.confirm()
        return page

    def status(self) -> str:
        """The status page behind the mailed link."""
        return expect(self._http.get(self.status_link()), 200, "the status page opens").text


def text_of(letter: EmailMessage) -> str:
    """The plain text of a letter."""
    part = letter.get_body(("plain",))
    if part is None:
        raise DidNotHold("a letter has a plain text")
    return str(part.get_content())


def status_path(letter: EmailMessage) -> str:
    """Path of the status link in a letter."""
    return _path(letter, "status")


def appeal_path(letter: EmailMessage) -> str:
    """Path of the link in a letter that leads to the appeal."""
    found = re.search(r"https?://\S+/status/[A-Za-z0-9._-]+/appeal", text_of(letter))
    if found is None:
        raise DidNotHold("a letter that refuses leads to the appeal")
    return urlsplit(found[0]).path


def verify_path(letter: EmailMessage) -> str:
    """Path of the link in a letter that verifies the address."""
    return _path(letter, "verify")


def _path(letter: EmailMessage, page: str) -> str:
    found = re.search(rf"https?://\S+/{page}/[A-Za-z0-9._-]+", text_of(letter))
    if found is None:
        raise DidNotHold(f"a letter holds the {page} link")
    return urlsplit(found[0]).path


class Reviewer:
    """A signed-in reviewer."""

    def __init__(self, running: Running, name: str) -> None:
        self.name = name
        self._http = running.http(headers={"Authorization": running.id_token(name), "Accept": "application/json"})

    def find(self, number: str) -> str:
        """Id of the case with this number, from the queue."""
        answer = self._http.get("/requests", params={"number": number}, headers=HTML)
        found = re.search(r"/requests/([A-Za-z0-9_-]{16,32})", expect(answer, 200, "the queue opens").text)
        if found is None:
            raise DidNotHold("the queue shows the case")
        return found[1]

    def queue(self) -> str:
        """The cases to decide, as the console shows them."""
        return expect(self._http.get("/requests", headers=HTML), 200, "the queue opens").text

    def case(self, case_id: str) -> str:
        """The case as the console shows it."""
        return expect(self._http.get(f"/requests/{case_id}", headers=HTML), 200, "the case opens").text

    def listed_faces(self, case_id: str) -> str:
        """What the console says about the faces on the list that look like the case's."""
        answer = self._http.get(f"/requests/{case_id}/listed", headers=HTML)
        return expect(answer, 200, "the faces are compared with the list").text

    def version(self, case_id: str) -> int:
        """The version of the case that the console shows, which a decision names."""
        found = re.search(r'name="version" value="(\d+)"', self.case(case_id))
        if found is None:
            raise DidNotHold("the case can be decided")
        return int(found[1])

    def decide(
        self, case_id: str, step: str, reason: str, text: str, *, version: int | None = None, decision_id: str = ""
    ) -> httpx.Response:
        """Decide a case; the answer as it comes."""
        decision = {
            "decision_id": decision_id or str(uuid.uuid4()),
            "version": version if version is not None else self.version(case_id),
            "step": step,
            "reason": reason,
            "text": text,
        }
        return self._http.post(f"/requests/{case_id}/decision", json=decision)

    def accept(self, number: str) -> dict[str, Any]:
        """Accept the case with this number; what the console answers."""
        answer = self.decide(self.find(number), "accept", "shows_requester", "")
        accepted: dict[str, Any] = expect(answer, 200, "the case is accepted").json()
        return accepted

    def reject(self, number: str, text: str) -> dict[str, Any]:
        """Reject the case with this number."""
        answer = self.decide(self.find(number), "reject", "no_match", text)
        rejected: dict[str, Any] = expect(answer, 200, "the case is rejected").json()
        return rejected

    def ask(self, case_id: str, text: str) -> httpx.Response:
        """Ask the requester something."""
        return self._http.post(f"/requests/{case_id}/question", json={"version": self.version(case_id), "text": text})

    def decide_added(self, case_id: str, action: str) -> httpx.Response:
        """Let photos that were added join what the case excludes (`accept`) or not (`reject`)."""
        return self._http.post(f"/requests/{case_id}/added", json={"version": self.version(case_id), "action": action})

    def propose_revocation(self, case_id: str) -> httpx.Response:
        """Propose to take an acceptance back."""
        body = {"version": self.version(case_id), "reason": "excludes_others", "text": "It also hits other people."}
        return self._http.post(f"/requests/{case_id}/revocation", json=body)

    def settle_revocation(self, case_id: str, action: str) -> httpx.Response:
        """Confirm or cancel a proposed revocation."""
        return self._http.post(f"/requests/{case_id}/revocation/confirmation", json={"action": action})


class Crawler:
    """The engine's crawler."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def ask(self, *items: dict[str, Any], **more: Any) -> httpx.Response:
        """One lookup; the answer as it comes."""
        named = [{"id": str(place), **item} for place, item in enumerate(items)]
        return self._running.lookup({"items": named, **more})

    def verdicts(self, *items: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        """The results of one lookup, in the order of the items."""
        answer = expect(self.ask(*items, **more), 200, "the lookup is answered").json()
        results: list[dict[str, Any]] = answer["results"]
        return results

    def verdict(self, picture: bytes, url: str | None = None) -> dict[str, Any]:
        """The result for one picture that was found at one address."""
        item = {"picture": base64.b64encode(picture).decode()}
        return self.verdicts(item | ({"url": url} if url else {}))[0]
