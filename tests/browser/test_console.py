"""The reviewers' console in a browser: signing in, deciding, deciding at once, taking back, and possible copies."""

from __future__ import annotations

import base64
import hashlib

from playwright.sync_api import Route, expect

from local.actors import Crawler, Requester, Reviewer, eventually, text_of
from local.running import Running
from tests.browser.conftest import OpenBrowser
from tests.pictures import part_of, picture


def test_signing_in_leaves_no_code_in_the_address_and_signing_out_leaves_nothing(open_browser: OpenBrowser) -> None:
    anna = open_browser()
    anna.sign_in("anna")
    assert "code=" not in anna.page.url
    expect(anna.page.locator("[data-name]")).to_have_text("anna")
    anna.page.get_by_role("button", name="Sign out").click()
    expect(anna.page.get_by_role("button", name="Sign in")).to_be_visible()
    # htmx notes the page's path there by itself; of ours nothing is left.
    assert set(anna.page.evaluate("Object.keys(sessionStorage)")) <= {"htmx-current-path-for-history"}
    assert anna.refused == []


def test_a_sign_in_that_was_started_elsewhere_is_not_taken(open_browser: OpenBrowser) -> None:
    anna = open_browser()
    anna.page.goto("/console?code=planted&state=planted")
    expect(anna.page.locator("main")).to_contain_text("This sign-in was not started here.")
    expect(anna.page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_photo_is_shown_on_request_hidden_again_and_the_look_is_on_record(
    open_browser: OpenBrowser, running: Running
) -> None:
    number = Requester(running, "looked@people.example").file("image", picture("retina.jpg"))
    anna = open_browser()
    anna.sign_in("anna")
    anna.open_case(number)
    photo = anna.page.get_by_role("img", name="Photo 1 of this case")
    expect(photo).to_have_count(0)
    anna.page.get_by_role("button", name="Show photo 1").click()
    expect(photo).to_be_visible()
    expect(photo).not_to_have_js_property("naturalWidth", 0)
    anna.page.get_by_role("button", name="Hide photo 1").click()
    expect(photo).to_have_count(0)
    expect(anna.page.get_by_role("button", name="Show photo 1")).to_be_focused()
    anna.page.get_by_role("link", name="To decide", exact=True).click()
    anna.open_case(number)
    expect(anna.page.locator("ol.history")).to_contain_text("Looked at a photo anna")
    assert anna.refused == []


def test_the_second_of_two_reviewers_is_told_who_decided_and_keeps_what_was_typed(
    open_browser: OpenBrowser, running: Running
) -> None:
    person = Requester(running, "twice@people.example")
    number = person.file("links", links="https://twice.example/a")
    anna, ben = open_browser(), open_browser()
    anna.sign_in("anna")
    ben.sign_in("ben")
    anna.open_case(number)
    ben.open_case(number)

    anna.take_step("^Reject$", "Public interest", "", "Reject")
    expect(anna.page.get_by_role("textbox", name="Explain it to the requester")).to_be_focused()
    expect(anna.page.locator(".case-head .badge").first).to_have_text("To decide")
    anna.take_step("^Reject$", "Public interest", "The page shows a public debate.", "Reject")
    expect(anna.page.locator(".notice")).to_contain_text("Rejected.")

    ben.take_step("^Accept$", "Goodwill", "Gladly.", "Accept and exclude")
    refusal = ben.page.get_by_role("alert")
    expect(refusal).to_contain_text("Rejected by anna on")
    expect(ben.page.get_by_role("textbox", name="A word to the requester")).to_have_value("Gladly.")
    assert ben.refused == [409]
    refusal.get_by_role("button", name="Show the case as it is now").click()
    expect(ben.page.locator(".case-head .badge").first).to_have_text("Rejected")
    expect(ben.page.locator(".decision")).to_contain_text("The page shows a public debate.")

    assert "The page shows a public debate." in text_of(person.letter(2))
    assert Crawler(running).verdicts({"url": "https://twice.example/a"}, scopes=["link"])[0]["verdict"] == "allow"


def test_an_acceptance_is_taken_back_by_two_reviewers(open_browser: OpenBrowser, running: Running) -> None:
    person = Requester(running, "revoked@people.example")
    number = person.file("links", links="https://revoked.example/a")

    def verdict() -> str:
        return str(Crawler(running).verdicts({"url": "https://revoked.example/a"}, scopes=["link"])[0]["verdict"])

    anna, ben = open_browser(), open_browser()
    anna.sign_in("anna")
    anna.open_case(number)
    anna.take_step("^Accept$", "Unlawful content", "", "Accept and exclude")
    expect(anna.page.locator(".notice")).to_contain_text("Accepted.")
    assert verdict() == "exclude"
    anna.take_step("^Propose to revoke$", "Accepted by mistake", "It is another page.", "Propose to revoke")
    expect(anna.page.locator("form[hx-post$='/revocation/confirmation']")).to_contain_text(
        "Another reviewer must confirm it: you proposed it."
    )
    expect(anna.page.get_by_role("button", name="Confirm the revocation")).to_have_count(0)
    assert verdict() == "exclude"

    ben.sign_in("ben")
    ben.page.get_by_role("link", name="Revocations to confirm").click()
    ben.open_case(number)
    ben.page.get_by_role("button", name="Confirm the revocation").click()
    expect(ben.page.locator(".notice")).to_contain_text("Revoked.")
    assert verdict() == "allow"
    assert "It is another page." in text_of(person.letter(3))
    assert anna.refused == ben.refused == []


def test_what_was_typed_outlives_a_session_that_ran_out(open_browser: OpenBrowser, running: Running) -> None:
    number = Requester(running, "expired@people.example").file("links", links="https://expired.example/a")
    anna = open_browser()
    anna.sign_in("anna")
    anna.open_case(number)
    anna.page.evaluate(
        """() => {
            const token = sessionStorage.getItem("console.token");
            sessionStorage.setItem("console.token", token.slice(0, -20) + "A".repeat(20));
        }"""
    )
    anna.take_step("^Reject$", "Outside jurisdiction", "No law of ours.", "Reject")
    anna.enter_password("anna")
    expect(anna.page.get_by_role("heading", level=1)).to_contain_text(number)
    expect(anna.page.get_by_label("Outside jurisdiction")).to_be_checked()
    expect(anna.page.get_by_role("textbox", name="Explain it to the requester")).to_have_value("No law of ours.")
    anna.take_step("^Reject$", "Outside jurisdiction", "No law of ours.", "Reject")
    expect(anna.page.locator(".notice")).to_contain_text("Rejected.")
    assert anna.refused == [401]


ENGINE = "http://localhost:8999"


def test_a_possible_copy_is_looked_at_beside_the_photo_and_answered_by_a_key(
    open_browser: OpenBrowser, running: Running
) -> None:
    person, crawler = Requester(running, "doubt@people.example"), Crawler(running)
    number = person.file("image", picture("motorcycle_left.png"))
    Reviewer(running, "ben").accept(number)
    found = part_of("motorcycle_left.png", 0.4, "camera.png", 80)
    item = {"picture": base64.b64encode(found).decode(), "sha256": hashlib.sha256(found).hexdigest()}

    def verdict() -> str:
        return str(crawler.verdicts(item | {"url": f"{ENGINE}/found.jpg"}, scopes=["image"])[0]["verdict"])

    assert verdict() == "review"
    anna = open_browser(engine=ENGINE)
    told: list[str | None] = []

    def serve(route: Route) -> None:
        told.append(route.request.header_value("referer"))
        route.fulfill(body=found, content_type="image/jpeg")

    anna.context.route(f"{ENGINE}/**", serve)
    anna.sign_in("anna")
    article = anna.page.get_by_role("article").filter(has_text=number)

    def shown() -> bool | None:
        anna.page.get_by_role("link", name="To decide", exact=True).click()
        anna.page.get_by_role("link", name="Possible copies").click()
        expect(anna.page.get_by_role("heading", level=1)).to_contain_text("Possible copies")
        return article.count() == 1 or None

    eventually(shown, "the possible copy is in the console")
    expect(article.get_by_role("img")).to_have_count(0)
    anna.page.keyboard.press("d")  # nothing was shown yet
    article.get_by_role("button", name="Show photo 1").click()
    expect(article.get_by_role("img", name="Photo 1 of this case")).not_to_have_js_property("naturalWidth", 0)
    article.get_by_role("button", name="Show what was found").click()
    candidate = article.get_by_role("img", name="The picture that a crawler found")
    expect(candidate).not_to_have_js_property("naturalWidth", 0)
    assert told == [None]
    article.get_by_role("button", name="Hide what was found").click()
    expect(candidate).to_have_count(0)
    article.get_by_role("button", name="Show what was found").click()
    expect(candidate).to_be_visible()
    assert verdict() == "review"
    anna.page.keyboard.press("d")
    expect(anna.page.locator(".notice")).to_contain_text("Called different")
    expect(article).to_have_count(0)
    assert verdict() == "allow"
    anna.page.get_by_role("link", name="Accepted", exact=True).click()
    anna.open_case(number)
    expect(anna.page.locator("ol.history")).to_contain_text("A picture found by a crawler was called different")
    expect(anna.page.locator("ol.history")).to_contain_text("Looked at a photo anna")
    assert anna.refused == []
    person.withdraw()
