"""The way past every page of the public site and the console: for checks of each page, and for screenshots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from playwright.sync_api import expect

from local.actors import Requester, Reviewer
from local.running import Running
from optout.limits import Action
from optout.reviews import Doubt, Sign
from optout.store import Requests
from tests.browser.visitor import Visitor
from tests.pictures import beside, picture


def public_pages(visitor: Visitor, email: str) -> Iterator[str]:
    """Opens every page that a requester can come to, one after the other; the name of each while it is open."""
    page = visitor.page
    for path, name in (("/", "start"), ("/help", "help"), ("/privacy", "privacy"), ("/accessibility", "accessibility")):
        page.goto(path)
        yield name
    for path, name in (
        ("/urgent", "urgent"),
        ("/urgent?about=abuse", "urgent-abuse"),
        ("/support?country=DE", "support"),
        ("/opt-out?kind=links&lane=abuse", "form-abuse"),
        ("/opt-out?kind=image&lane=intimate", "form-intimate"),
    ):
        page.goto(path)
        yield name
    visitor.fill(email)
    visitor.onward()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add the picture without sending it")
    yield "codes"
    page.goto("/status/forged.token.here")
    yield "error"
    for kind in ("links", "image", "face"):
        page.goto(f"/opt-out?kind={kind}")
        yield f"form-{kind}"
    visitor.onward()
    expect(page.get_by_role("alert")).to_be_visible()
    yield "form-errors"
    visitor.fill(email)
    visitor.onward()
    expect(page.get_by_role("heading", level=1)).to_have_text("Add photos of your face")
    yield "photos-none-yet"
    visitor.upload(b"%PDF-1.7 not a picture")
    yield "photos-unreadable"
    visitor.upload(beside(picture("obama3.jpg"), picture("biden.jpg")))
    yield "photos-two-faces"
    page.get_by_label("Face 1").check()
    page.get_by_role("button", name="This is me").click()
    expect(page.get_by_text("You chose face 1.")).to_be_visible()
    visitor.upload(picture("coffee.png"))
    expect(page.get_by_text("We see no face in this photo.")).to_be_visible()
    yield "photos-no-face"
    page.get_by_role("link", name="Continue").click()
    expect(page.get_by_role("button", name="Send my request")).to_be_visible()
    yield "check"
    number = visitor.send_request()
    yield "done"
    visitor.open_letter(email, 1)
    yield "letter"
    visitor.open_status(email)
    waiting = "Waiting for our decision" if visitor.javascript else "Waiting for you to confirm your email address"
    expect(page.get_by_text(waiting)).to_be_visible()
    status = page.url
    yield "status"
    store = Requests(visitor.running.outputs["RequestsTable"], None, visitor.running.client("dynamodb"))
    mailbox = store.by_number(number, datetime.now(UTC)).email_hash
    never = {"N": str(round(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000))}
    bucket = {"pk": {"S": f"limit#{mailbox}"}, "sk": {"S": Action.LETTER.value}, "full_at": never}
    visitor.running.client("dynamodb").put_item(TableName=visitor.running.outputs["RequestsTable"], Item=bucket)
    page.get_by_role("button", name="Send the letter again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Too many requests just now")
    yield "too-many"
    visitor.open_verification(email)
    expect(page.get_by_role("button", name="Yes, this is my email address")).to_be_visible()
    yield "verify"
    page.get_by_role("button", name="Yes, this is my email address").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your email address is confirmed")
    yield "verified"
    page.goto(status)
    yield "status-verified"
    Reviewer(visitor.running, "anna").accept(number)
    page.goto(status)
    expect(page.get_by_text("What it covers")).to_be_visible()
    yield "status-accepted"
    page.get_by_role("button", name="Test a picture").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Test a picture")
    yield "test"
    visitor.upload(b"%PDF-1.7 not a picture")
    yield "test-unreadable"
    for photo, answer, name in (
        ("obama.jpg", "Yes, your request catches this picture", "surely"),
        ("biden.jpg", "No, your request does not catch this picture", "not"),
        ("coffee.png", "We see no face that could be recognised", "no-face"),
    ):
        visitor.upload(picture(photo))
        expect(page.get_by_role("heading", level=1)).to_have_text(answer)
        yield f"tested-{name}"
        page.get_by_role("link", name="Test another picture").last.click()
    page.goto(status)
    page.get_by_role("link", name="Withdraw this request").click()
    expect(page.get_by_role("button", name="Withdraw my request")).to_be_visible()
    yield "withdraw"
    page.get_by_role("button", name="Withdraw my request").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You have withdrawn your request")
    yield "withdrawn"
    yield from _question_and_appeal(visitor, f"more.{email}")
    with forms_closed(visitor.running):
        page.goto("/opt-out?kind=face")
        expect(page.get_by_role("heading", level=1)).to_have_text("Our forms are closed just now")
        yield "maintenance"


@contextmanager
def forms_closed(running: Running) -> Iterator[None]:
    """While the operator works on the service: what a deployment with `Maintenance` does to the public site."""
    client, submit = running.client("lambda"), running.outputs["SubmitFunction"]
    usual = client.get_function_configuration(FunctionName=submit)["Environment"]["Variables"]

    def publish(variables: dict[str, str]) -> None:
        client.update_function_configuration(FunctionName=submit, Environment={"Variables": variables})
        version = client.publish_version(FunctionName=submit)["Version"]
        client.update_alias(FunctionName=submit, Name="live", FunctionVersion=version)

    publish(usual | {"MAINTENANCE": (datetime.now(UTC) + timedelta(hours=2)).isoformat()})
    try:
        yield
    finally:
        publish(usual)


def _question_and_appeal(visitor: Visitor, email: str) -> Iterator[str]:
    """The pages of a case that a reviewer asks about, rejects, and is appealed against."""
    page, person, anna = visitor.page, Requester(visitor.running, email), Reviewer(visitor.running, "anna")
    number = person.file("links", links="https://gossip.example/p/2")
    assert anna.ask(anna.find(number), "Which of the people on this page are you?").status_code == 200
    status = person.status_link()
    page.goto(status)
    expect(page.get_by_text("Waiting for your answer")).to_be_visible()
    yield "status-question"
    page.get_by_role("link", name="Answer the question").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Our question to you")
    yield "information"
    page.get_by_label("Your answer").fill("The one on the left.")
    page.get_by_role("button", name="Send my answer").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("We have what you wrote")
    yield "information-told"
    anna.reject(number, "The page shows a public debate.")
    page.goto(status)
    yield "status-rejected"
    page.get_by_role("link", name="Appeal", exact=True).click()
    page.get_by_role("button", name="Send my appeal").click()
    expect(page.get_by_role("alert")).to_be_visible()
    yield "appeal-errors"
    page.get_by_label("Why do you disagree?").fill("I am not a public person, and the debate was a private one.")
    page.get_by_role("button", name="Send my appeal").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("We have your appeal")
    yield "appealed"
    page.goto(status)
    expect(page.get_by_role("heading", name="Your appeal")).to_be_visible()
    yield "status-appealed"


def console_pages(anna: Visitor, ben: Visitor, email: str) -> Iterator[tuple[Visitor, str]]:
    """Opens every view of the console; whose browser shows it, and its name."""
    person = Requester(anna.running, email)
    number = person.file("face", picture("obama.jpg"), picture("astronaut.png"))
    other = Requester(anna.running, f"other.{email}")
    rejected = other.file("links", links="https://gossip.example/p/1")
    anna.page.goto("/console")
    yield anna, "console-welcome"
    anna.sign_in("anna")
    yield anna, "console-queue"
    anna.open_case(number)
    yield anna, "console-case"
    anna.page.get_by_role("button", name="Show photo 1").click()
    expect(anna.page.get_by_role("img", name="Photo 1 of this case")).to_have_js_property("complete", True)
    yield anna, "console-case-photo"
    anna.page.locator("summary", has_text="Reject").click()
    yield anna, "console-reject"
    ben.sign_in("ben")
    ben.open_case(number)
    anna.take_step("^Accept$", "It shows the requester", "", "Accept and exclude")
    expect(anna.page.get_by_text("Accepted. It is on the exclusion list now.")).to_be_visible()
    yield anna, "console-accepted"
    ben.take_step("^Reject$", "Not found in the search", "We did not find it.", "Reject")
    expect(ben.page.get_by_role("alert")).to_contain_text("Accepted by anna")
    yield ben, "console-second"
    anna.page.get_by_role("link", name="On the exclusion list").click()
    expect(anna.page.get_by_role("heading", level=1)).to_contain_text("On the exclusion list")
    yield anna, "console-exclusions"
    store = Requests(anna.running.outputs["RequestsTable"], None, anna.running.client("dynamodb"))
    [excluded] = store.by_number(number, datetime.now(UTC)).exclusions
    doubt = Doubt("ab" * 32, excluded, "http://localhost:8999/found.jpg", (Sign("face", 0.57, 0.58),))
    assert store.add_review(doubt, datetime.now(UTC))
    anna.page.get_by_role("link", name="Possible copies").click()
    expect(anna.page.get_by_role("article").filter(has_text=number)).to_be_visible()
    yield anna, "console-possible-copies"
    anna.open_case(number)
    anna.take_step("revoke", "Excludes other people", "It also hits other people.", "Propose to revoke")
    expect(anna.page.get_by_text("Another reviewer must confirm it: you proposed it.")).to_be_visible()
    yield anna, "console-proposed"
    Reviewer(anna.running, "anna").reject(rejected, "The page shows a public debate.")
    anna.find_case(rejected)
    yield anna, "console-rejected"
    other.letter(2)
    other.appeal("I am not a public person, and the debate was a private one.")
    ben.find_case(rejected)
    ben.page.locator("summary", has_text="Uphold the decision").click()
    yield ben, "console-appeal"
    person.withdraw()
