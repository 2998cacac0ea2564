"""What goes wrong is named, where it is, and nothing that was right is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenBrowser
from tests.browser.visitor import Visitor
from tests.pictures import picture


def test_a_bad_link_is_named_and_the_notice_is_sent_without_a_picture(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open_form("Specific links")
    visitor.fill(
        f"notice{visitor.javascript}@people.example".lower(),
        links="https://notice.example/a\nnot a link\nhttps://notice.example/b",
    )
    visitor.onward()
    expect(page).to_have_title(re.compile("^Error: "))
    summary = page.get_by_role("alert", name="There is a problem")
    expect(summary).to_contain_text("ine 2")
    if visitor.javascript:
        expect(summary).to_be_focused()
    summary.get_by_role("link").click()
    field = page.get_by_label("Links to take out of our search")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("First name")).to_have_value("Ada")
    field.fill("https://notice.example/a\nhttps://notice.example/b\nHTTPS://notice.example/a#top")
    visitor.onward()
    expect(page.locator("main")).to_contain_text("Line 3 of your list repeats a link")
    page.get_by_role("link", name="Continue without a picture").click()
    expect(page.locator("dl.answers ul.links li")).to_have_count(2)
    visitor.send_request()
    assert visitor.refused == [400]
    visitor.refused.clear()


def test_a_form_without_answers_names_each_that_is_missing(visitor: Visitor) -> None:
    page = visitor.page
    page.goto("/opt-out?kind=face")
    visitor.onward()
    summary = page.get_by_role("alert", name="There is a problem")
    expect(summary.get_by_role("link")).to_have_count(7)
    for link in summary.get_by_role("link").all():
        link.click()
        target = (link.get_attribute("href") or "").removeprefix("#")
        expect(page.locator(f"[id='{target}']")).to_be_focused()
    assert visitor.refused == [400]
    visitor.refused.clear()


def test_an_unreadable_photo_is_explained_and_the_others_stay(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open_form("A picture and all its copies")
    visitor.fill(f"pdf{visitor.javascript}@people.example".lower())
    visitor.onward()
    visitor.upload(picture("coffee.png"))
    visitor.upload(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF", "scan.jpg")
    expect(page.get_by_role("alert", name="There is a problem")).to_contain_text("This is a PDF document.")
    expect(page).to_have_title(re.compile("^Error: "))
    expect(page.locator(".photo-card")).to_have_count(1)
    page.get_by_role("link", name="Continue").click()
    expect(page.locator("dl.answers .thumbs img")).to_have_count(1)


def test_what_cannot_be_sent_is_said_before_it_is_sent(open_browser: OpenBrowser, tmp_path: Path) -> None:
    visitor = open_browser()
    visitor.page.goto("/opt-out?kind=image")
    visitor.fill("early@people.example")
    visitor.onward()
    here = visitor.page.url
    for name, size, sentence in (
        ("IMG_0001.HEIC", 100, "This is a HEIC photo"),
        ("empty.jpg", 0, "The file is empty"),
        ("large.jpg", 25_000_001, "larger than 25 MB"),
    ):
        file = tmp_path / name
        file.write_bytes(bytes(size))
        visitor.page.locator("html.script #file").set_input_files(file)
        expect(visitor.page.locator("#file-error")).to_contain_text(sentence)
        visitor.page.get_by_role("button", name="Send this photo").click()
        expect(visitor.page.locator("#file")).to_be_focused()
        visitor.page.locator("h1").click()
    assert visitor.page.url == here
    assert visitor.refused == []


# As a browser's extension or a company's proxy does it. Noted where the tab keeps it over the pages that follow.
NO_UPLOADS = """
XMLHttpRequest.prototype.send = function () {
  sessionStorage.setItem("refused", "yes");
  setTimeout(() => this.dispatchEvent(new ProgressEvent("loadend")));
};
"""


def test_a_photo_that_a_script_may_not_send_goes_as_a_plain_form(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.page
    page.add_init_script(NO_UPLOADS)
    page.goto("/opt-out?kind=image")
    visitor.fill("fallback@people.example")
    visitor.onward()
    visitor.upload(picture("coffee.png"))
    expect(page.locator(".photo-card")).to_have_count(1)
    assert page.evaluate("sessionStorage.getItem('refused')") == "yes"


def test_a_lost_connection_is_said_and_the_photo_stays_chosen(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.page
    page.goto("/opt-out?kind=image")
    visitor.fill("offline@people.example")
    visitor.onward()
    visitor.choose_photo(picture("coffee.png"))
    visitor.context.set_offline(True)
    page.get_by_role("button", name="Send this photo").click()
    expect(page.locator("#file-error")).to_contain_text("Your photo did not reach us.")
    visitor.context.set_offline(False)
    visitor.complaints.clear()  # the browser's own word for it
    visitor.send_photo()
    expect(page.locator(".photo-card")).to_have_count(1)


@pytest.mark.parametrize(
    "path", ["/status/forged.token.here", "/opt-out/AAAAAAAAAAAAAAAAAAAAAA/check", "/nothing/here"]
)
def test_an_address_that_leads_nowhere_says_so_in_words(visitor: Visitor, path: str) -> None:
    page = visitor.page
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
    expect(page.locator("main").get_by_role("link", name=re.compile("@"))).to_be_visible()
    page.get_by_role("link", name="Go to the start page").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What do you want removed?")
    assert len(visitor.refused) == 1
    visitor.refused.clear()
