"""How a requester says which part of a screenshot is the picture."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.visitor import Visitor
from tests.pictures import screenshot


def test_the_picture_on_a_screenshot_is_proposed_and_confirmed_with_the_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open_form("A picture and all its copies")
    visitor.fill(f"screenshot{visitor.javascript}@people.example".lower())
    visitor.onward()
    visitor.upload(screenshot("coffee.png"))
    card = page.locator(".photo-card")
    expect(card).to_contain_text("Is this the picture you mean?")
    expect(page.get_by_role("img", name="The picture, cut out of photo 1")).to_be_visible()
    expect(card.locator("svg rect.chosen")).to_have_count(1)
    expect(page.get_by_role("link", name="Continue", exact=True)).to_have_count(0)
    expect(page.locator("#missing")).to_contain_text("Say whether to use the cropped picture of photo 1")
    page.get_by_role("button", name="Use the cropped picture").focus()
    page.keyboard.press("Enter")
    expect(card).to_contain_text("We use the cropped picture.")
    shown = page.get_by_role("img", name="Photo 1, as it reached us")
    expect(shown).to_have_js_property("complete", True)
    width, height = shown.evaluate("shown => [shown.naturalWidth, shown.naturalHeight]")
    assert abs(width - 600) <= 4
    assert abs(height - 400) <= 4
    page.get_by_role("link", name="Continue", exact=True).click()
    visitor.send_request()
