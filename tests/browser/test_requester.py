"""A request's whole life in a browser, with JavaScript and without."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from playwright.sync_api import expect

from local.actors import Crawler, Requester, Reviewer
from local.demo import ELSEWHERE
from local.running import Running
from optout import deadlines
from optout.requests import Kind
from optout.web import wording
from tests.browser.conftest import OpenBrowser
from tests.browser.visitor import Visitor
from tests.pictures import picture


def test_a_picture_is_asked_for_decided_and_withdrawn(
    visitor: Visitor, open_browser: OpenBrowser, running: Running
) -> None:
    page, crawler = visitor.page, Crawler(running)
    # Two pictures, so that neither run can meet the other's exclusion.
    photo = picture("rocket.jpg" if visitor.javascript else "chelsea.png")
    email = f"picture{visitor.javascript}@people.example".lower()
    assert crawler.verdict(photo, ELSEWHERE)["verdict"] == "allow"

    visitor.open_form("A picture and all its copies")
    visitor.fill(email)
    visitor.onward()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add the picture")
    visitor.choose_photo(photo)
    if visitor.javascript:
        expect(page.get_by_role("img", name="The photo you chose")).to_be_visible()
    visitor.send_photo()
    expect(page.locator(".photo-card")).to_contain_text("We can recognise this picture and its copies.")
    expect(page.get_by_role("img", name="Photo 1, as it reached us")).to_have_js_property("complete", True)

    page.get_by_role("link", name="Continue").click()
    page.get_by_role("link", name=re.compile(r"Change ?: .*[Nn]ame")).first.click()
    expect(page.get_by_label("Email address")).to_have_value(email)
    page.get_by_label("First name").fill("Augusta")
    visitor.onward()
    expect(page.locator("dl.answers")).to_contain_text("Augusta Lovelace")
    # A browser whose scripts a test has switched off does not show it, one whose owner has does.
    assert "so we ask you for one more step" in page.locator("noscript").inner_html()
    number = visitor.send_request()
    now = datetime.now(UTC)
    due = wording.date(deadlines.due(Kind.IMAGE, "DE", now).at)
    by = due if visitor.javascript else wording.date(now + deadlines.UNVERIFIED_KEPT, "DE")
    expect(page.locator("main")).to_contain_text(by)

    visitor.open_letter(email, 1)
    expect(page.locator("pre")).to_contain_text(number)
    visitor.open_status(email)
    waiting = "Waiting for our decision" if visitor.javascript else "Waiting for you to confirm your email address"
    expect(page.locator("main")).to_contain_text(waiting)
    expect(page.locator("main")).to_contain_text("Please confirm your email address")
    assert (number in Reviewer(running, "anna").queue()) is visitor.javascript
    status = page.url

    visitor.open_verification(email)
    assert crawler.verdict(photo, ELSEWHERE)["verdict"] == "allow"
    page.get_by_role("button", name="Yes, this is my email address").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your email address is confirmed")
    assert crawler.verdict(photo, ELSEWHERE)["reason"] == "pending_case"
    page.get_by_role("link", name="See your request").click()
    expect(page.locator("main")).to_contain_text("the picture and its copies are held back from our search")
    assert page.get_by_role("button", name="Send the letter again").count() == 0

    reviewer = open_browser()
    reviewer.sign_in("anna")
    expect(reviewer.page.get_by_role("row").filter(has_text=number)).to_contain_text(
        "Address verified, held back since"
    )
    reviewer.open_case(number)
    expect(reviewer.page.locator("main")).to_contain_text("Held back since")
    unproven = reviewer.page.get_by_text("Sent without a proof of work")
    expect(unproven).to_have_count(0 if visitor.javascript else 1)
    expect(reviewer.page.locator("img[data-photo]")).to_have_count(0)
    reviewer.page.get_by_role("button", name="Show photo 1").click()
    expect(reviewer.page.get_by_role("img", name="Photo 1 of this case")).to_be_visible()
    reviewer.take_step("^Accept$", "It is the requester's picture", "", "Accept and exclude")
    expect(reviewer.page.get_by_role("status").first).to_contain_text("Accepted. It is on the exclusion list now.")
    assert crawler.verdict(photo, ELSEWHERE)["verdict"] == "exclude"

    visitor.open_letter(email, 2)
    expect(page.locator("pre")).to_contain_text("The picture is yours.")
    page.goto(status)
    expect(page.locator("main")).to_contain_text("The picture is yours.")
    page.get_by_role("link", name="Withdraw this request").click()
    assert crawler.verdict(photo, ELSEWHERE)["verdict"] == "exclude"
    page.get_by_role("button", name="Withdraw my request").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You have withdrawn your request")
    assert crawler.verdict(photo, ELSEWHERE)["verdict"] == "allow"


def test_a_photo_on_its_way_is_shown_with_how_far_it_is(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.page
    page.goto("/opt-out?kind=image")
    visitor.fill("progress@people.example")
    visitor.onward()
    visitor.choose_photo(picture("coffee.png"))
    expect(page.get_by_role("img", name="The photo you chose")).to_be_visible()
    line = visitor.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    line.send("Network.enable")
    line.send("Network.emulateNetworkConditions", slow)
    page.get_by_role("button", name="Send this photo").click()
    progress = page.get_by_role("progressbar", name="Sending your photo")
    expect(progress).to_be_visible()
    expect(progress).not_to_have_js_property("value", 0)
    expect(page.get_by_role("button", name="Send this photo")).to_have_count(0)
    line.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
    expect(page.locator(".photo-card")).to_have_count(1)


def test_a_refusal_is_appealed_against_on_a_phone_without_scripts(open_browser: OpenBrowser, running: Running) -> None:
    visitor = open_browser(javascript=False, width=360, height=740)
    page, email = visitor.page, "appeals@people.example"
    number = Requester(running, email).file("links", links="https://gossip.example/p/3")
    Reviewer(running, "anna").reject(number, "The page shows a public debate.")
    visitor.open_letter(email, 2)
    page.locator("pre a[href*='/appeal?']").click()
    expect(page.locator("main")).to_contain_text("The page shows a public debate.")
    page.get_by_role("button", name="Send my appeal").click()
    expect(page.get_by_role("alert")).to_contain_text("Tell us in a few words why you disagree")
    assert visitor.refused == [400]
    page.get_by_role("alert").get_by_role("link").click()
    page.get_by_label("Why do you disagree?").fill("I am not a public person.")
    page.get_by_role("button", name="Send my appeal").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("We have your appeal")
    due = wording.date(deadlines.appeal_due(datetime.now(UTC)).at, "DE")
    expect(page.locator("main")).to_contain_text(due)
    visitor.open_letter(email, 3)
    expect(page.locator("pre")).to_contain_text("You appealed on")

    ben = open_browser()
    ben.sign_in("ben")
    ben.page.get_by_role("link", name="Appeals").click()
    ben.open_case(number)
    expect(ben.page.locator("main")).to_contain_text("I am not a public person.")
    ben.take_step("^Uphold", "The facts stand", "The debate was on television.", "Uphold")
    expect(ben.page.get_by_role("status").first).to_contain_text("Upheld. The decision stands.")
    visitor.open_letter(email, 4)
    expect(page.locator("pre")).to_contain_text("The debate was on television.")
    page.locator("pre a[href*='/status/']").first.click()
    expect(page.locator("main")).to_contain_text("Why it stands after your appeal")
    assert page.get_by_role("link", name="Appeal", exact=True).count() == 0
