"""What holds for each page of the public site."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page

from local.embedded_aws import EmbeddedAws
from tests.browser.visitor import Visitor
from tests.browser.walk import public_pages

SIZES = ((1280, 800), (360, 740))


@dataclass(frozen=True)
class Seen:
    """A page as it was met: how wide its content is at each width of the window, and where the first Tab and an Enter
    lead; None on a page that has put the focus on what has just happened."""

    name: str
    needed: dict[int, int]
    focus: tuple[str, str] | None


@pytest.fixture(scope="package", params=[True, False], ids=["script", "no-script"])
def seen(chromium: Browser, embedded_aws: EmbeddedAws, request: pytest.FixtureRequest) -> list[Seen]:
    """Every page of the site, met in one walk."""
    met = []
    with Visitor(chromium, embedded_aws.running, javascript=request.param) as visitor:
        for name in public_pages(visitor, f"walk{request.param}@people.example".lower()):
            if name == "letter":  # the inbox is a tool of this machine, and no page of the site
                continue
            focus = skipping(visitor.page)
            needed = {}
            for width, height in SIZES:
                visitor.page.set_viewport_size({"width": width, "height": height})
                needed[width] = int(visitor.page.evaluate("document.scrollingElement.scrollWidth"))
            met.append(Seen(name, needed, focus))
        assert visitor.complaints == []
        # The forged link and the form without answers, both on purpose.
        assert visitor.refused == [404, 400]
    return met


def test_no_page_scrolls_sideways(seen: list[Seen]) -> None:
    assert [page.name for page in seen for width, needed in page.needed.items() if needed > width] == []


def test_the_skip_link_is_first_and_leads_to_the_content(seen: list[Seen]) -> None:
    # Two name a mistake and two come back to the photo that has just been sent: the focus is there, behind the link.
    elsewhere = {"form-errors", "photos-unreadable", "photos-two-faces", "photos-no-face"}
    assert {page.name for page in seen if not page.focus} <= elsewhere
    assert {page.focus for page in seen if page.focus} == {("Skip to main content", "main")}


def skipping(page: Page) -> tuple[str, str] | None:
    """What the first Tab reaches, and where Enter leads from there."""
    if focused(page):
        return None
    page.keyboard.press("Tab")
    first = focused(page)
    page.keyboard.press("Enter")
    return first, focused(page)


def focused(page: Page) -> str:
    """Id, name or words of what has the focus; empty when nothing has."""
    found: str = page.evaluate(
        """() => {
            const it = document.activeElement;
            return it === document.body ? "" : it.id || it.name || it.textContent.trim();
        }"""
    )
    return found


def test_tab_reaches_the_form_in_the_order_it_is_read(visitor: Visitor) -> None:
    page = visitor.page
    page.goto("/opt-out?kind=face")
    reached = []
    while "Continue" not in reached:
        page.keyboard.press("Tab")
        reached.append(focused(page))
        assert len(reached) < 30, "Tab comes to the button"
    assert reached[0] == "Skip to main content"
    assert reached[3:5] == ["Back", "explanation"]
    in_form = [name for name in reached[4:] if name != "opt out single pictures"]
    # Who is asked for is hidden until it is needed, which takes a script; radio buttons are one stop.
    assert [name for name in in_form if name != "represented"] == [
        "explanation",
        "on_behalf_of",
        "first_name",
        "last_name",
        "email",
        "phone",
        "country",
        "biometric_consent",
        "Continue",
    ]
    assert ("represented" in in_form) is not visitor.javascript


def test_the_whole_form_is_filled_in_and_sent_with_the_keyboard(visitor: Visitor) -> None:
    page, keyboard = visitor.page, visitor.page.keyboard
    page.goto("/opt-out?kind=image")
    page.get_by_role("link", name="Skip to main content").focus()
    keyboard.press("Enter")
    answers = {
        "explanation": "It is my picture.",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": "keys@people.example",
        "country": "Germany",
    }
    while (at := focused(page)) != "Continue":
        if at in answers:
            keyboard.type(answers[at])
        elif at == "on_behalf_of":
            keyboard.press("Space")
        keyboard.press("Tab")
    keyboard.press("Enter")
    page.wait_for_url("**/photos")
    assert page.title().startswith("Add the picture")
