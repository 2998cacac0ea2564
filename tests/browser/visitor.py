"""One person at the site, in a browser context of their own, and whatever their browser had to complain about."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect

from local.actors import eventually, status_path, verify_path
from local.running import Running

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Two cores run the browser, the embedded AWS and its functions, and the first photo loads the face models.
WITHIN_MS = 30_000

NUMBER = re.compile(r"\b[2-9A-HJKMNP-TW-Z]{4}-[2-9A-HJKMNP-TW-Z]{4}\b")
# The storage answers an upload with a redirect to this address, which a script may not follow to the end. The page goes
# there itself; that the browser mentions the refused redirect cannot be switched off.
_UPLOADED = re.compile(r"(/opt-out/[\w-]+/photos|/test/[\w-]+)/[\w-]+($|[?'])")
# What Chromium and htmx write for every answer >= 400; those are counted in `refused`.
_REFUSED = ("Failed to load resource: the server responded with a status of", "Response Status Error Code")


@dataclass(repr=False)
class Visitor:
    """A browser context with one page. `with` closes it.

    `refused` holds the status of every answer of 400 or more, in order; `complaints` holds console errors and warnings,
    violations of the Content-Security-Policy, requests that failed, and requests to any place that is not ours or the
    `engine`'s, where the pictures are that its crawlers ask about.
    """

    chromium: Browser
    running: Running
    javascript: bool = True
    width: int = 1280
    height: int = 800
    engine: str = ""
    complaints: list[str] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def __enter__(self) -> Visitor:
        self.context = self.chromium.new_context(
            base_url=self.running.site,
            java_script_enabled=self.javascript,
            viewport={"width": self.width, "height": self.height},
        )
        self.context.set_default_timeout(WITHIN_MS)
        place = self.running.place
        self._ours = {place.site, place.endpoint, place.inbox.rstrip("/"), self.engine}
        self.context.on("console", self._console)
        self.context.on("request", self._request)
        self.context.on("requestfailed", self._failed)
        self.context.on("response", self._response)
        self.context.on("weberror", lambda error: self.complaints.append(f"script error: {error.error}"))
        self.page: Page = self.context.new_page()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.context.close()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"} or message.text.startswith(_REFUSED):
            return
        address = urlsplit(message.location.get("url", "")).path
        if _UPLOADED.search(address) or ("CORS" in message.text and _UPLOADED.search(message.text)):
            return
        self.complaints.append(f"{message.type}: {message.text} ({address})")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" not in self._ours:
            self.complaints.append(f"request to another place: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.resource_type == "xhr" and _UPLOADED.search(urlsplit(request.url).path):
            return
        if request.failure == "net::ERR_ABORTED":  # the visitor went on before an icon or a frame had come
            return
        self.complaints.append(f"failed: {request.method} {urlsplit(request.url).path} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.refused.append(response.status)

    # --- what a requester does --------------------------------------------------------------------------------------

    def open_form(self, way: str) -> None:
        """From the start page to a form, by its link, such as `My face`."""
        self.page.goto("/")
        expect(self.page.get_by_role("heading", level=1)).to_have_text("What do you want removed?")
        self.page.get_by_role("link", name=way).click()

    def fill(self, email: str, **answers: str) -> None:
        """Fill in the form that is open; `answers` are fields by name."""
        typed = {
            "explanation": "The person on this picture is me, and I never agreed to its publication.",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "email": email,
            **answers,
        }
        for name, text in typed.items():
            self.page.locator(f"[name={name}]").fill(text)
        self.page.get_by_label("For myself").check()
        self.page.get_by_label("Country you live in").select_option("DE")
        for consent in ("biometric_consent", "good_faith"):
            tick = self.page.locator(f"[name={consent}]")
            if tick.count():
                tick.check()

    def onward(self) -> None:
        """Press the form's button."""
        self.page.get_by_role("button", name=re.compile("^(Continue|Save and continue)$")).click()

    def choose_photo(self, photo: bytes, name: str = "photo.jpg") -> None:
        """Choose a file in the upload form, without sending it.

        The page's script is deferred: a form sent before it ran goes the plain way. That is as it should be, but not
        what a test with scripts means to look at, so this waits for the mark that the script leaves.
        """
        self.page.locator("html.script #file" if self.javascript else "#file").wait_for(state="attached")
        self.page.locator("#file").set_input_files({"name": name, "mimeType": "image/jpeg", "buffer": photo})

    def send_photo(self) -> None:
        """Send the chosen file straight to S3, and wait until the page says what came of it."""
        self.page.evaluate("document.body.dataset.left = ''")
        self.page.locator("#upload-form button").click()
        expect(self.page.locator("body:not([data-left])")).to_be_visible()

    def upload(self, photo: bytes, name: str = "photo.jpg") -> None:
        """Choose a photo and send it."""
        self.choose_photo(photo, name)
        self.send_photo()

    def send_request(self) -> str:
        """From the answers to the confirmation; the case number. Without scripts there is no proof of work, and the
        letter's link takes its place."""
        self.page.get_by_role("button", name="Send my request").click()
        sent = "Your request has been sent" if self.javascript else "One more step: confirm your email address"
        expect(self.page.get_by_role("heading", level=1)).to_have_text(sent)
        found = NUMBER.search(self.page.locator("main").inner_text())
        assert found, "the confirmation shows the case number"
        return found[0]

    def open_letter(self, email: str, number: int) -> None:
        """Open a person's letter, counted from 1, in the inbox page once it is there."""
        eventually(lambda: len(self.running.letters(email)) >= number or None, f"letter {number} arrives")
        self.page.goto(self.running.place.inbox)
        rows = self.page.get_by_role("row").filter(has_text=email)
        rows.nth(rows.count() - number).get_by_role("link").click()

    def open_status(self, email: str) -> None:
        """Follow the status link of the person's first letter."""
        self.open_letter(email, 1)
        path = status_path(self.running.letters(email)[0])
        self.page.locator(f"pre a[href*='{path}']").click()

    def open_verification(self, email: str) -> None:
        """Follow the link of the person's first letter that verifies their address."""
        self.open_letter(email, 1)
        path = verify_path(self.running.letters(email)[0])
        self.page.locator(f"pre a[href*='{path}']").click()

    # --- what a reviewer does ---------------------------------------------------------------------------------------

    def sign_in(self, name: str) -> None:
        """Into the console, through the hosted sign-in page."""
        self.page.goto("/console")
        self.page.get_by_role("button", name="Sign in").click()
        self.enter_password(name)
        expect(self.page.get_by_role("heading", level=1)).to_contain_text("To decide")

    def enter_password(self, name: str) -> None:
        """Fill in the hosted sign-in page."""
        self.page.locator("[name=username]").fill(name)
        self.page.locator("[name=password]").fill(self.running.keys.passwords[name])
        self.page.locator("[type=submit]").click()

    def open_case(self, number: str) -> None:
        """Open a case from the view that is shown."""
        self.page.get_by_role("link", name=number).click()
        expect(self.page.get_by_role("heading", level=1)).to_contain_text(number)

    def find_case(self, number: str) -> None:
        """Open a case by its number, whatever view it is in."""
        self.page.get_by_label("Case number").fill(number)
        self.page.get_by_role("button", name="Find").click()
        self.open_case(number)

    def take_step(self, title: str, reason: str, text: str, button: str) -> None:
        """Fill in one of a case's steps and press its button."""
        step = self.page.locator("details.step").filter(has=self.page.locator("summary", has_text=re.compile(title)))
        if step.get_attribute("open") is None:
            step.locator("summary").click()
        step.get_by_label(reason).check()
        if text:
            step.get_by_role("textbox").fill(text)
        step.get_by_role("button", name=button, exact=True).click()
