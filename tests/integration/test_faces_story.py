"""The whole story of a face on the embedded AWS, with different photographs of one person: never a copy of one."""

from __future__ import annotations

import base64
import io

from PIL import Image

from local.actors import Crawler, Requester, Reviewer, expect
from local.running import Running
from tests.pictures import beside, picture

# Where nothing has been reported.
ELSEWHERE = "https://elsewhere.example/page.html"


def test_two_photos_opt_a_person_out_and_a_third_is_excluded_while_a_stranger_is_not(running: Running) -> None:
    crawler, person = Crawler(running), Requester(running, "faces@people.example").begin("face")
    third, stranger = picture("obama3.jpg"), picture("biden.jpg")
    assert crawler.verdict(third, ELSEWHERE)["verdict"] == "allow"
    for name in ("obama.jpg", "obama2.jpg"):
        page = person.upload(picture(name))
        assert "We see one face." in page
        assert "same person" not in page
    number = person.confirm()

    assert crawler.verdict(third, ELSEWHERE)["verdict"] != "exclude"
    decided = Reviewer(running, "anna").accept(number)
    answer = expect(
        crawler.ask(
            *({"id": name, "picture": base64.b64encode(data).decode(), "url": ELSEWHERE} for name, data in others()),
            min_version=decided["list_version"],
        ),
        200,
        "the lookup",
    ).json()
    verdicts = {result["id"]: result for result in answer["results"]}
    assert verdicts["third"]["verdict"] == "exclude"
    assert verdicts["stranger"]["verdict"] == "allow"
    assert verdicts["both"]["verdict"] == "exclude"
    [match] = verdicts["third"]["matches"]
    assert (match["scope"], match["signal"]) == ("face", "face")
    assert match["distance"] <= match["threshold"]
    # The box is around the listed person, who is on the right of the two.
    [match] = verdicts["both"]["matches"]
    assert match["box"][0] >= 600

    # Who asks for a face that is listed already, with another photo and from another address, is shown to the reviewer.
    for name, email, said in (
        ("obama3.jpg", "ex@people.example", number),
        ("biden.jpg", "new@people.example", "No face"),
    ):
        again = Requester(running, email)
        again.begin("face").upload(picture(name))
        asking = Reviewer(running, "anna")
        assert said in asking.listed_faces(asking.find(again.confirm()))

    # A photo that comes later waits for a reviewer; whatever they decide, the two before it stay in force.
    case, reviewer = Reviewer(running, "ben").find(number), Reviewer(running, "ben")
    for action, photos in (("reject", 2), ("accept", 3)):
        assert "We see one face." in person.add_photo(third)
        assert "A person looks at what you added" in person.status()
        assert "Added later" in reviewer.case(case)
        expect(reviewer.decide_added(case, action), 200, f"the photo that was added: {action}")
        assert f'Photos <span class="count">{photos}</span>' in reviewer.case(case)
        assert crawler.verdict(third, ELSEWHERE)["verdict"] == "exclude"

    person.withdraw()
    assert crawler.verdict(third, ELSEWHERE)["verdict"] == "allow"
    assert crawler.verdict(stranger, ELSEWHERE)["verdict"] == "allow"


def others() -> list[tuple[str, bytes]]:
    stranger, third = picture("biden.jpg"), picture("obama3.jpg")
    return [("third", third), ("stranger", stranger), ("both", beside(stranger, third))]


def test_a_face_that_cannot_be_used_is_said_exactly_and_photos_that_disagree_are_pointed_out(running: Running) -> None:
    person = Requester(running, "unclear@people.example").begin("face")
    assert "The face is turned away." in person.upload(picture("camera.png"))
    small = io.BytesIO()
    with Image.open(io.BytesIO(picture("obama.jpg"))) as image:
        image.convert("RGB").resize((60, 90)).save(small, "PNG")
    assert "The face is too small." in person.upload(small.getvalue())
    person.upload(picture("obama.jpg"))
    assert "Photos 3 and 4 do not seem to show the same person." in person.upload(picture("biden.jpg"))
