"""What holds for each page of the public site."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from local.carriers import AXE
from local.embedded_aws import EmbeddedAws
from tests.browser.visitor import Visitor
from tests.browser.walk import public_pages

# The narrower two are a desk's window at a zoom of 200 and of 400 % (WCAG 1.4.4 and 1.4.10).
WIDTHS = (1280, 640, 360, 320)
# Of page, style sheet, icon and scripts, as they are sent: a second on a slow mobile network (400 kbit/s).
FIRST_VIEW_BYTES = 60_000
# WCAG 2.2 AA, and what axe holds for good practice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@dataclass(frozen=True)
class Seen:
    """A page as it was met: how far its content moved while it loaded; how wide it is at each width of the window, and
    with letters twice as large; what axe finds on it, at a desk in English and on a phone in Arabic; and where the
    first Tab and an Enter lead, None on a page that has put the focus on what has just happened."""

    name: str
    moved: float
    needed: dict[int, int]
    enlarged: int
    violations: list[str]
    focus: tuple[str, str] | None


@pytest.fixture(scope="package", params=[True, False], ids=["script", "no-script"])
def seen(chromium: Browser, embedded_aws: EmbeddedAws, request: pytest.FixtureRequest) -> list[Seen]:
    """Every page of the site, met in one walk."""
    met = []
    with Visitor(chromium, embedded_aws.running, javascript=request.param) as visitor:
        for name in public_pages(visitor, f"walk{request.param}@people.example".lower()):
            if name == "letter":  # the inbox is a tool of this machine, and no page of the site
                continue
            moved = shifted(visitor.page) if visitor.javascript else 0.0
            focus = skipping(visitor.page)
            needed = {width: needed_at(visitor.page, width) for width in reversed(WIDTHS)}
            enlarged = needed_at(visitor.page, WIDTHS[0], letters="200%")
            # Where scripts are off, axe does not run either; but for what site.js adds, it is the same page.
            found = violations(visitor.page) + violations_in_arabic(visitor, name) if visitor.javascript else []
            met.append(Seen(name, moved, needed, enlarged, found, focus))
        assert visitor.complaints == []
        # The forged link, the form without answers, one letter too many, the appeal without a word, and the closed
        # forms; with a script all in Arabic too.
        met_twice = range(1 + visitor.javascript)
        assert visitor.refused == [code for code in (404, 400, 429, 400, 503) for _ in met_twice]
    return met


def test_no_page_scrolls_sideways(seen: list[Seen]) -> None:
    assert [page.name for page in seen for width, needed in page.needed.items() if needed > width] == []


def test_letters_twice_as_large_make_no_page_scroll_sideways(seen: list[Seen]) -> None:
    assert [page.name for page in seen if page.enlarged > WIDTHS[0]] == []


def test_axe_finds_nothing_that_people_could_not_use(seen: list[Seen]) -> None:
    assert {page.name: page.violations for page in seen if page.violations} == {}


def test_nothing_moves_while_a_page_and_its_script_load(seen: list[Seen]) -> None:
    assert {page.name: page.moved for page in seen if page.moved} == {}


@pytest.mark.parametrize("path", ["/", "/opt-out?kind=face"])
def test_the_first_view_is_light(visitor: Visitor, path: str) -> None:
    weights: dict[str, int] = {}
    visitor.page.on("response", lambda got: weights.update({got.url: len(got.body())}))
    visitor.page.goto(path, wait_until="networkidle")
    assert len(weights) >= 2, "the page and its style sheet"
    assert sum(weights.values()) <= FIRST_VIEW_BYTES


def test_the_skip_link_is_first_and_leads_to_the_content(seen: list[Seen]) -> None:
    # Four name a mistake and two come back to the photo that has just been sent: the focus is there, behind the link.
    elsewhere = {
        "form-errors",
        "appeal-errors",
        "photos-unreadable",
        "test-unreadable",
        "photos-two-faces",
        "photos-no-face",
    }
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


def needed_at(page: Page, width: int, letters: str = "") -> int:
    """How wide the content is in a window of this width."""
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate(f"document.documentElement.style.fontSize = '{letters}'")
    needed = int(page.evaluate("document.scrollingElement.scrollWidth"))
    page.evaluate("document.documentElement.style.fontSize = ''")
    return needed


def violations_in_arabic(visitor: Visitor, name: str) -> list[str]:
    """What axe finds on the same page in Arabic, in a window of its own."""
    address = visitor.page.locator("#languages a[lang=ar]").get_attribute("href")
    if name == "too-many":  # the answer to a button of the page before
        address = visitor.page.url.rpartition("/letter")[0] + "?lang=ar"
    twin = visitor.context.new_page()
    twin.set_viewport_size({"width": 360, "height": 740})
    twin.goto(address or "")
    if name in {"form-errors", "appeal-errors"}:  # an answer to a form, which no link leads to
        twin.locator("main form [type=submit]").click()
        expect(twin.get_by_role("alert")).to_be_visible()
    elif name == "too-many":
        twin.locator("main form[action*='/letter'] button").click()
        twin.wait_for_url("**/letter?lang=ar")
    assert twin.locator("html[lang=ar][dir=rtl]").count() == 1
    found = violations(twin)
    width = twin.evaluate("document.scrollingElement.scrollWidth")
    twin.close()
    return found + ([f"{width} pixels wide on a phone"] if width > 360 else [])


def violations(page: Page) -> list[str]:
    """What axe finds on the page: the rule, and where it is broken."""
    page.evaluate(AXE.read_text() + ";0")
    found = page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(RULES)}, resultTypes: ['violations']}})")
    return [
        f"{broken['id']}: {node['html'][:120]} ({node['failureSummary'][:200]})"
        for broken in found["violations"]
        for node in broken["nodes"]
    ]


def shifted(page: Page) -> float:
    """Cumulative Layout Shift (web.dev/articles/cls) of what has loaded so far."""
    moved: float = page.evaluate(
        """() => new Promise((done) => {
            new PerformanceObserver((seen) => done(seen.getEntries().reduce(
                (sum, each) => sum + (each.hadRecentInput ? 0 : each.value), 0,
            ))).observe({type: "layout-shift", buffered: true});
            setTimeout(() => done(0), 100);
        })"""
    )
    return moved


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
    # Who is asked for is hidden until it is needed; radio buttons are one stop.
    assert in_form == [
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


def press(page: Page, name: str) -> None:
    """Tab until the link, button or field of this name, and press Enter there."""
    for _ in range(60):
        if focused(page) == name:
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never comes to {name}")


def test_a_request_is_made_and_withdrawn_with_the_keyboard_alone(visitor: Visitor) -> None:
    page, keyboard = visitor.page, visitor.page.keyboard
    page.goto("/")
    press(page, "Specific links")
    page.wait_for_url("**/opt-out?kind=links*")
    answers = {
        "links": "https://gossip.example/me",
        "explanation": "It is private.",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": f"keys{visitor.javascript}@people.example".lower(),
        "country": "Germany",
    }
    while (at := focused(page)) != "Continue":
        if at in answers:
            keyboard.type(answers[at])
        elif at in {"on_behalf_of", "good_faith"}:
            keyboard.press("Space")
        keyboard.press("Tab")
    keyboard.press("Enter")
    page.wait_for_url("**/photos")
    press(page, "Continue without a picture")
    page.wait_for_url("**/check")
    press(page, "Send my request")
    page.wait_for_url("**/done")
    visitor.open_status(answers["email"])
    press(page, "Withdraw this request")
    page.wait_for_url("**/withdraw*")
    press(page, "Withdraw my request")
    expect(page.get_by_role("heading", level=1)).to_have_text("You have withdrawn your request")
