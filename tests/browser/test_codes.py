"""An intimate picture is asked for without leaving the device: its codes are computed by the page, and are the same
as those that the service would compute of the file."""

from __future__ import annotations

import hashlib

import pytest
from playwright.sync_api import Request, expect

from bench.in_browser import distances, in_browser, variants
from local.actors import Crawler
from local.running import Running
from tests.browser.conftest import OpenBrowser
from tests.browser.visitor import Visitor
from tests.pictures import picture

# Measured: 0 bits for nearly every picture (docs/accuracy.md). Two pictures are the same within 31.
WITHIN = 10


def begin(visitor: Visitor, email: str) -> None:
    """From the start page to where the picture is chosen."""
    page = visitor.page
    page.goto("/")
    page.get_by_role("link", name="An intimate picture, or a picture of somebody under 18").click()
    page.get_by_role("link", name="An intimate picture of an adult").click()
    page.get_by_role("link", name="By the picture").click()
    visitor.fill(email)
    visitor.onward()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add the picture without sending it")


def test_the_browser_computes_the_codes_that_the_service_would(open_browser: OpenBrowser) -> None:
    page = open_browser().page
    page.goto("/")
    farthest = {}
    for name in ("obama.jpg", "astronaut.png", "coffee.png", "motorcycle_left.png"):
        for change, data in variants(picture(name)):
            if name == "obama.jpg" or change == "as it is":
                found = in_browser(page, "/static/pdq.js", data)
                farthest[name, change] = max(distances(found, data))
                assert found["sha256"] == hashlib.sha256(data).hexdigest()
    assert {what: bits for what, bits in farthest.items() if bits > WITHIN} == {}
    assert len(farthest) >= 10


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"", "empty"), (b"%PDF-1.7", "unreadable"), (b"GIF89a", "unreadable")],
    ids=["empty", "document", "damaged"],
)
def test_what_is_no_picture_has_no_codes(open_browser: OpenBrowser, data: bytes, problem: str) -> None:
    page = open_browser().page
    page.goto("/")
    assert in_browser(page, "/static/pdq.js", data) == {"problem": problem}


def test_an_intimate_picture_is_excluded_without_leaving_the_device(
    open_browser: OpenBrowser, running: Running
) -> None:
    photo, email = picture("camera.png"), "intimate@people.example"
    crawler, visitor = Crawler(running), open_browser(width=360, height=740)
    page = visitor.page
    asked: list[Request] = []
    visitor.context.on("request", lambda request: asked.append(request))  # noqa: PLW0108  Playwright marks it
    begin(visitor, email)
    page.wait_for_load_state("networkidle")
    before = len(asked)
    page.locator("#codes-file").set_input_files({"name": "me.png", "mimeType": "image/png", "buffer": photo})
    expect(page.get_by_role("status").filter(has_text="The code is ready")).to_be_visible()
    assert [request.url for request in asked[before:]] == [], "computing asks nobody for anything"
    page.get_by_role("button", name="Send the code").click()
    expect(page.get_by_text("We have its code. The picture has not left your device.")).to_be_visible()
    page.get_by_role("link", name="Continue").click()
    number = visitor.send_request()
    sent = [request.post_data_buffer or b"" for request in asked]
    assert max(map(len, sent)) < 2_000 < len(photo)
    assert not any(photo[at : at + 64] in body or b"me.png" in body for body in sent for at in (0, 1_000, 20_000))
    assert not any("me.png" in request.url for request in asked)

    reviewer = open_browser()
    reviewer.sign_in("anna")
    expect(reviewer.page.get_by_role("row").filter(has_text=number)).to_contain_text("24 hours: intimate")
    reviewer.open_case(number)
    expect(reviewer.page.locator("main")).to_contain_text("Hash only: nobody can look at it.")
    assert reviewer.page.get_by_role("button", name="Show photo 1").count() == 0
    reviewer.take_step("^Accept$", "It shows the requester", "", "Accept and exclude")
    expect(reviewer.page.get_by_role("status").first).to_contain_text("Accepted. It is on the exclusion list now.")
    assert crawler.verdict(photo, "https://elsewhere.example/1")["verdict"] == "exclude"


def test_without_a_script_the_other_ways_are_offered(open_browser: OpenBrowser) -> None:
    visitor = open_browser(javascript=False)
    page = visitor.page
    begin(visitor, "intimate-plain@people.example")
    expect(page.get_by_text("Computing the code needs JavaScript")).to_be_visible()
    expect(page.locator("#codes-file")).to_be_hidden()
    page.get_by_role("link", name="Send us the picture itself").click()
    visitor.choose_photo(picture("retina.jpg"))
    visitor.send_photo()
    expect(page.locator(".photo-card")).to_contain_text("We can recognise this picture and its copies.")


def test_abuse_is_reported_without_a_name_and_leads_to_a_link(visitor: Visitor) -> None:
    page = visitor.page
    page.goto("/urgent")
    page.get_by_role("link", name="A nude or sexual picture of somebody under 18").click()
    page.get_by_role("link", name="Report the links").click()
    page.get_by_label("Links to take out of our search").fill("https://bad.example/1")
    page.locator("[name=explanation]").fill("It shows a child.")
    page.locator("[name=good_faith]").check()
    visitor.onward()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check your answers, then send them")
    assert page.locator("input[type=file]").count() == 0
    page.get_by_role("button", name="Send my request").click()
    # Who gives no address has none to confirm, so nothing waits for it, with a proof of work or without.
    expect(page.get_by_role("heading", level=1)).to_have_text("Your request has been sent")
    page.locator(".only-link a").click()
    expect(page.locator("main")).to_contain_text("Waiting for our decision")


def test_a_page_can_be_left_at_once(open_browser: OpenBrowser, running: Running) -> None:
    away = "https://www.wikipedia.org/"
    visitor = open_browser(engine=away.rstrip("/"))
    page = visitor.page
    visitor.context.route(f"{away}**", lambda route: route.fulfill(body="Weather", content_type="text/html"))
    for key, times in (("", 0), ("Escape", 3), ("Shift", 3)):
        page.goto("/help")
        page.goto("/urgent")
        if not key:
            page.get_by_role("link", name="Exit this page").click()
        for _ in range(times):
            page.keyboard.press(key)
        page.wait_for_url(away)
        page.go_back()
        expect(page).to_have_url(f"{running.site}/help")  # the page that was left is not what the way back leads to
