"""What the photo page says about faces, and how a requester says which is theirs."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.visitor import Visitor
from tests.pictures import beside, picture


def begin(visitor: Visitor, name: str) -> str:
    email = f"{name}{visitor.javascript}@people.example".lower()
    visitor.open_form("My face")
    visitor.fill(email)
    visitor.onward()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Add photos of your face")
    return email


def test_one_face_is_found_framed_and_enough_and_another_photo_is_added_later(visitor: Visitor) -> None:
    page = visitor.page
    email = begin(visitor, "oneface")
    expect(page.get_by_role("link", name="Continue")).to_have_count(0)
    visitor.upload(picture("obama2.jpg"))
    expect(page.locator(".photo-card")).to_contain_text("We see one face.")
    expect(page.locator(".photo svg rect.chosen")).to_have_count(1)
    page.get_by_role("link", name="Continue").click()
    expect(page.locator("dl.answers")).to_contain_text("We can use the face in 1 of 1 photo.")
    visitor.send_request()
    visitor.open_status(email)
    status = page.url
    page.get_by_role("button", name="Add a photo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add photos of your face")
    visitor.upload(picture("biden.jpg"))
    expect(page.locator("#stranger")).to_contain_text("This does not seem to be the person")
    page.get_by_role("button", name="Remove photo 1").click()
    visitor.upload(picture("obama.jpg"))
    expect(page.locator(".photo-card")).to_contain_text("We see one face.")
    expect(page.locator("#stranger")).to_have_count(0)
    page.get_by_role("link", name="Continue").click()
    expect(page.locator("dl.answers")).to_contain_text("You agreed, and it holds for these photos too")
    page.get_by_role("button", name="Add these photos").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your photos have been added")
    page.goto(status)
    expect(page.get_by_text("You have added 1 photo since you sent your request.")).to_be_visible()
    page.get_by_role("link", name="Withdraw this request").click()
    page.get_by_role("button", name="Withdraw my request").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You have withdrawn your request")


def test_one_of_several_faces_is_chosen_with_the_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    begin(visitor, "twofaces")
    visitor.upload(beside(picture("obama3.jpg"), picture("biden.jpg")))
    expect(page.get_by_role("group", name="We see 2 faces. Which one is yours?")).to_be_visible()
    expect(page.get_by_role("link", name="Continue", exact=True)).to_have_count(0)
    expect(page.locator("#missing")).to_contain_text("Choose the right face in photo 1")
    page.get_by_label("Face 1").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".photo-card")).to_contain_text("You chose face 2.")
    expect(page.get_by_label("Face 2")).to_be_checked()
    page.get_by_label("Face 1").check()
    page.get_by_role("button", name="Change to this face").click()
    expect(page.locator(".photo-card")).to_contain_text("You chose face 1.")
    page.get_by_role("link", name="Continue").click()
    expect(page.locator("dl.answers")).to_contain_text("We can use the face in 1 of 1 photo.")


def test_a_photo_without_a_face_is_said_and_can_be_removed(visitor: Visitor) -> None:
    page = visitor.page
    begin(visitor, "noface")
    visitor.upload(picture("coffee.png"))
    expect(page.locator(".photo-card")).to_contain_text("We see no face in this photo.")
    expect(page.locator("#missing")).to_contain_text("Add a photo that shows the face clearly")
    expect(page.get_by_role("link", name="Continue", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Remove photo 1").click()
    expect(page.locator(".photo-card")).to_have_count(0)
