"""The whole story over HTTP on the embedded AWS: every promise, through the real entry points."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image

from local import demo
from local.actors import Crawler, Requester, Reviewer, expect, status_path, text_of, verify_path
from local.demo import ELSEWHERE
from local.running import Running
from optout import Fingerprint
from optout.fingerprint import FACE_MODEL
from tests.pictures import beside, picture

ROUNDS = 50
CHECKERS = 8


@pytest.fixture
def crawler(running: Running) -> Crawler:
    return Crawler(running)


@pytest.fixture
def anna(running: Running) -> Reviewer:
    return Reviewer(running, "anna")


@pytest.fixture
def ben(running: Running) -> Reviewer:
    return Reviewer(running, "ben")


def tiles() -> Iterator[bytes]:
    """Different pictures without end: tiles of real photographs that do not overlap, as JPEG."""
    for name in ("coffee.png", "chelsea.png", "motorcycle_left.png", "hubble_deep_field.jpg", "retina.jpg"):
        with Image.open(io.BytesIO(picture(name))) as opened:
            image = opened.convert("RGB")
        for top in range(0, image.height - 99, 100):
            for left in range(0, image.width - 99, 100):
                out = io.BytesIO()
                image.crop((left, top, left + 100, top + 100)).resize((300, 300)).save(out, "JPEG", quality=90)
                if (Fingerprint.of(out.getvalue(), faces=False).quality or 0) >= 50:
                    yield out.getvalue()


def hashes(photo: bytes) -> dict[str, Any]:
    """What a crawler sends that has looked at the picture itself and found no face on it."""
    fingerprint = Fingerprint.of(photo, faces=False)
    assert fingerprint.pdq is not None
    return {
        "url": ELSEWHERE,
        "sha256": fingerprint.sha256,
        "pdq": fingerprint.pdq.hex(),
        "pdq_quality": fingerprint.quality,
        "faces": [],
        "faces_model": FACE_MODEL,
    }


def test_the_story_that_the_demo_tells_holds(running: Running) -> None:
    demo.tell(running)


def test_every_acceptance_is_in_force_for_the_first_lookup_of_every_instance(
    running: Running, crawler: Crawler, anna: Reviewer
) -> None:
    """Fifty times: submit, decide, and eight checkers at once start their next lookup after the decision's answer."""
    pictures = tiles()
    people: list[Requester] = []
    with ThreadPoolExecutor(CHECKERS) as pool:
        for turn in range(ROUNDS):
            photo = next(pictures)
            person = Requester(running, f"round{turn}@people.example")
            number = person.file("image", photo)
            people.append(person)
            item, together = hashes(photo), threading.Barrier(CHECKERS)

            def check(item: dict[str, Any] = item, together: threading.Barrier = together) -> dict[str, Any]:
                together.wait(30)
                return crawler.verdicts(item)[0]

            before = [future.result() for future in [pool.submit(check) for _ in range(CHECKERS)]]
            assert {result["verdict"] for result in before} == {"allow"}
            anna.accept(number)
            after = [future.result() for future in [pool.submit(check) for _ in range(CHECKERS)]]
            assert {result["verdict"] for result in after} == {"exclude"}
            if turn % 5 == 0:
                person.withdraw()
                gone = [future.result() for future in [pool.submit(check) for _ in range(CHECKERS)]]
                assert {result["verdict"] for result in gone} == {"allow"}
    for turn, person in enumerate(people):
        expected = 3 if turn % 5 == 0 else 2
        person.letter(expected)
        assert len(running.letters(person.email)) == expected
    assert instances(running, "ExcludeCheck") >= 2


def test_a_picture_is_held_back_from_the_button_on_until_the_decision(
    running: Running, crawler: Crawler, anna: Reviewer
) -> None:
    for name, decided in (("camera.png", "allow"), ("text.png", "exclude")):
        photo = picture(name)
        item = hashes(photo)

        def answer(item: dict[str, Any] = item) -> tuple[str, str]:
            (result,) = crawler.verdicts(item)
            return str(result["verdict"]), str(result["reason"])

        person = Requester(running, f"held.{decided}@people.example")
        number = person.file("image", photo)
        path = verify_path(person.letter(1))
        assert answer() == ("allow", "no_match")
        with running.http() as scanner:  # mail servers open links
            expect(scanner.get(path), 200, "the page opens")
            assert answer() == ("allow", "no_match")
        person.verify()
        assert answer() == ("defer", "pending_case")
        assert "held back since" in anna.queue()
        if decided == "exclude":
            anna.accept(number)
        else:
            anna.reject(number, "We did not find it.")
        assert answer()[0] == decided
        assert "You confirmed your email address" in person.status()


def test_a_question_is_answered_and_an_appeal_is_decided_by_another_than_the_first(
    running: Running, crawler: Crawler, anna: Reviewer, ben: Reviewer
) -> None:
    person, address = Requester(running, "appeal@people.example"), "https://appeal.example/a"
    number = person.file("links", links=address)
    case = anna.find(number)
    expect(anna.ask(case, "Which of the two names is yours?"), 200, "the requester is asked")
    assert "Which of the two names is yours?" in text_of(person.letter(2))
    person.inform("The second one.")
    assert "The second one." in anna.case(case)
    anna.reject(number, "We did not find it.")
    person.letter(3)
    person.appeal("It is at the very top of the page.")
    assert "You appealed on" in text_of(person.letter(4))
    version = ben.version(case)
    for step, reason in (("accept_on_appeal", "goodwill"), ("uphold", "facts_stand")):
        own = anna.decide(case, step, reason, "I looked again.", version=version)
        assert expect(own, 409, "who rejected decides no appeal").json()["error"] == "same_reviewer"
    assert crawler.verdicts({"url": address})[0]["verdict"] != "exclude"
    expect(ben.decide(case, "accept_on_appeal", "goodwill", ""), 200, "another reviewer accepts")
    assert crawler.verdicts({"url": address})[0]["verdict"] == "exclude"
    assert "after your appeal" in text_of(person.letter(5))


def instances(running: Running, function: str) -> int:
    """How many warm instances of a function have answered: each reports its one cold start."""
    return sum('"ColdStart"' in line and running.outputs[f"{function}Function"] in line for line in running.log_lines())


def test_a_lookup_names_the_version_and_honours_the_one_asked_for(
    running: Running, crawler: Crawler, anna: Reviewer
) -> None:
    number = Requester(running, "version@people.example").file("links", links="https://version.example/a")
    version = anna.accept(number)["list_version"]
    answer = expect(crawler.ask({"url": "https://version.example/a"}, min_version=version), 200, "answered").json()
    assert answer["results"][0]["verdict"] == "exclude"
    epoch, _, seq = answer["version"].partition(".")
    later = crawler.ask({"url": "https://version.example/a"}, min_version=f"{epoch}.{int(seq) + 1}")
    assert later.status_code == 503
    assert "results" not in later.json()
    assert int(later.headers["retry-after"]) > 0


def test_a_broken_item_is_invalid_and_the_others_are_answered(crawler: Crawler) -> None:
    good = {
        "url": "https://nobody.example/",
        "sha256": "0" * 64,
        "pdq": "f0" * 32,
        "pdq_quality": 90,
        "faces": [],
        "faces_model": FACE_MODEL,
    }
    broken: list[dict[str, Any]] = [
        {"pdq": "xyz"},
        {"picture": base64.b64encode(b"%PDF-1.7 not a picture").decode()},
        {"url": "javascript:alert(1)"},
        {"faces": ["AAAA"]},
    ]
    results = crawler.verdicts(good, *broken, good)
    assert [result["verdict"] for result in results] == ["allow", *["invalid"] * len(broken), "allow"]
    assert all(result["reason"] for result in results[1:-1])


def test_the_requester_chooses_the_own_face_among_several(running: Running, crawler: Crawler, anna: Reviewer) -> None:
    two = beside(picture("obama3.jpg"), picture("biden.jpg"))
    person = Requester(running, "two@people.example").begin("face")
    assert "2 faces" in person.upload(two)
    assert not sent(running, person)
    person.choose_face(1)
    number = person.confirm()
    anna.accept(number)
    try:
        assert crawler.verdict(picture("biden.jpg"), ELSEWHERE)["verdict"] == "exclude"
        assert crawler.verdict(picture("astronaut.png"), ELSEWHERE)["verdict"] == "allow"
    finally:
        person.withdraw()


def test_a_photo_without_a_face_is_said_and_is_not_enough(running: Running) -> None:
    person = Requester(running, "noface@people.example").begin("face")
    assert "no face" in person.upload(picture("coffee.png")).lower()
    assert not sent(running, person)


def sent(running: Running, person: Requester) -> bool:
    """Whether confirming the draft as it stands sends it; if not, the photo page says what is missing."""
    with running.http(headers={"Accept": "text/html"}) as browser:
        answer = browser.post(f"/opt-out/{person.draft}/confirm")
        assert answer.status_code == 303
        page = browser.get(answer.headers["location"])
    assert page.status_code == 200
    assert ("There is a problem" in page.text) == ("/photos" in answer.headers["location"])
    return answer.headers["location"].endswith("/done")


def test_five_photos_are_taken_and_a_sixth_is_not(running: Running) -> None:
    person = Requester(running, "five@people.example").begin("image")
    pictures = tiles()
    forms = [person.ticket() for _ in range(6)]
    for form in forms[:5]:
        landed(running, person.post_photo(form, next(pictures)))
    last = landed(running, person.post_photo(forms[5], next(pictures)))
    assert "five" in last
    assert person.page("photos").count('class="photo-card"') == 5


def landed(running: Running, posted: httpx.Response) -> str:
    """The page that a browser ends on after posting a photo to S3."""
    assert posted.status_code == 303
    with running.http(headers={"Accept": "text/html"}, follow_redirects=True) as browser:
        return browser.get(posted.headers["location"]).text


def blank(width: int, height: int, form: str) -> bytes:
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, form)
    return out.getvalue()


BOMB = blank(20_000, 20_000, "PNG")
GIF = blank(50, 50, "GIF")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pdf", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF"),
        ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
        ("heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)),
        ("truncated", None),
        ("words", b"this is not a picture at all"),
        ("bomb", BOMB),
        ("polyglot", GIF + b"PK\x03\x04" + bytes(200) + b"PK\x05\x06" + bytes(18)),
    ],
)
def test_what_is_no_picture_is_refused_in_words_and_not_kept(running: Running, name: str, data: bytes | None) -> None:
    person = Requester(running, f"{name}@people.example").begin("image")
    page = landed(running, person.post_photo(person.ticket(), data or picture("obama.jpg")[:5000]))
    assert "There is a problem" in page
    bucket = running.client("s3")
    kept = bucket.list_object_versions(Bucket=running.outputs["PhotosBucket"], Prefix=f"raw/{person.draft}/")
    kept_copies = bucket.list_object_versions(Bucket=running.outputs["PhotosBucket"], Prefix=f"photos/{person.draft}/")
    assert not kept.get("Versions")
    assert not kept_copies.get("Versions")


def test_replacing_the_uploaded_photo_after_it_was_looked_at_changes_nothing(
    running: Running, crawler: Crawler, anna: Reviewer
) -> None:
    pictures = list(zip(range(60), tiles(), strict=False))
    shown, hidden = pictures[-1][1], pictures[-2][1]
    person = Requester(running, "replace@people.example").begin("image")
    form = person.ticket()
    landed(running, person.post_photo(form, shown))
    landed(running, person.post_photo(form, hidden))
    number = person.confirm()
    landed(running, person.post_photo(form, hidden))
    anna.accept(number)
    assert crawler.verdicts(hashes(shown))[0]["verdict"] == "exclude"
    assert crawler.verdicts(hashes(hidden))[0]["verdict"] == "allow"
    person.letter(1)
    person.withdraw()


def test_a_forged_redirect_changes_nothing(running: Running) -> None:
    person = Requester(running, "forged@people.example").begin("image")
    person.upload(next(tiles()))
    before = person.page("photos").count('class="photo-card"')
    ticket = "A" * 16
    with running.http(headers={"Accept": "text/html"}, follow_redirects=True) as browser:
        query = {"bucket": running.outputs["PhotosBucket"], "key": f"raw/{person.draft}/{ticket}", "etag": "x"}
        page = browser.get(f"/opt-out/{person.draft}/photos/{ticket}", params=query)
    assert page.status_code == 200
    assert "There is a problem" in page.text
    assert person.page("photos").count('class="photo-card"') == before == 1


def test_an_upload_larger_than_25_mb_is_refused_by_s3(running: Running) -> None:
    person = Requester(running, "large@people.example").begin("image")
    posted = person.post_photo(person.ticket(), bytes(25_000_001))
    assert posted.status_code == 400


def test_opening_any_mailed_link_changes_nothing(running: Running, anna: Reviewer) -> None:
    person = Requester(running, "scanner@people.example")
    number = person.file("links", links="https://scanner.example/a")
    anna.accept(number)
    letters = [person.letter(1), person.letter(2)]
    before = stored(running, person.draft)
    with running.http(follow_redirects=True) as scanner:
        for letter in letters:
            path = status_path(letter)
            for method in ("GET", "HEAD"):
                scanner.request(method, path)
            assert scanner.get(f"{path}/withdraw").status_code == 200
    assert stored(running, person.draft) == before
    assert before[0]["status"]["S"] == "accepted"


def stored(running: Running, case: str) -> list[dict[str, Any]]:
    """Everything the table holds of a case, letters' claims apart."""
    answer = running.client("dynamodb").query(
        TableName=running.outputs["RequestsTable"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"case#{case}"}},
        ConsistentRead=True,
    )
    return [item for item in answer["Items"] if not item["sk"]["S"].startswith("letter#")]


def test_the_letters_say_what_was_decided_and_how_to_appeal(running: Running, anna: Reviewer) -> None:
    person = Requester(running, "words@people.example")
    number = person.file("links", links="https://words.example/a")
    anna.reject(number, "The page shows a public debate.")
    received, rejected = person.letter(1), person.letter(2)
    assert number in received["Subject"] + text_of(received)
    assert "The page shows a public debate." in text_of(rejected)
    assert "Another reviewer" in text_of(rejected)
    for letter in (received, rejected):
        assert letter.get_body(("html",)) is not None
    status = person.status()
    assert "The page shows a public debate." in status


def test_a_handler_never_shows_a_case_to_another_address(running: Running) -> None:
    """Ids of drafts and tokens of links that are not ours lead nowhere, and say so in words."""
    with running.http(headers={"Accept": "text/html"}) as stranger:
        for path in ("/opt-out/AAAAAAAAAAAAAAAAAAAAAA/check", "/status/forged.token.here", "/nothing-here"):
            answer = stranger.get(path)
            assert answer.status_code in {403, 404}, path


CLOSED: list[tuple[str, str]] = [
    ("GET", "/requests"),
    ("GET", "/requests/AAAAAAAAAAAAAAAAAAAAAA"),
    ("POST", "/requests/AAAAAAAAAAAAAAAAAAAAAA/decision"),
    ("POST", "/requests/AAAAAAAAAAAAAAAAAAAAAA/revocation"),
    ("POST", "/requests/AAAAAAAAAAAAAAAAAAAAAA/revocation/confirmation"),
    ("GET", "/requests/AAAAAAAAAAAAAAAAAAAAAA/photos/AAAAAAAAAAAAAAAA"),
    ("GET", "/exclusions"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_reviewers_routes_are_closed_to_strangers(running: Running, method: str, path: str) -> None:
    with running.http() as stranger:
        assert stranger.request(method, path).status_code == 401
        assert stranger.request(method, path, headers={"Authorization": "forged"}).status_code == 401


def test_lookups_need_the_crawlers_key(running: Running) -> None:
    body = {"items": [{"id": "1", "url": "https://a.example/"}]}
    with running.http() as stranger:
        assert stranger.post("/exclusions/check", json=body).status_code == 403
    signed = Crawler(running).ask({"url": "https://a.example/"})
    assert signed.status_code == 200


def test_nothing_else_opens_to_the_crawlers_key(running: Running) -> None:
    """The crawler's identity can ask, and neither read the tables nor the photos."""
    import boto3
    from botocore.exceptions import ClientError

    session = boto3.Session(running.keys.crawler_key, running.keys.crawler_secret, region_name="us-east-1")
    calls: list[Callable[[], object]] = [
        lambda: session.client("dynamodb", endpoint_url=running.place.endpoint).scan(
            TableName=running.outputs["RequestsTable"]
        ),
        lambda: session.client("dynamodb", endpoint_url=running.place.endpoint).scan(
            TableName=running.outputs["ExclusionsTable"]
        ),
        lambda: session.client("s3", endpoint_url=running.place.endpoint).list_objects_v2(
            Bucket=running.outputs["PhotosBucket"]
        ),
    ]
    for call in calls:
        with pytest.raises(ClientError) as refused:
            call()
        assert "AccessDenied" in refused.value.response["Error"]["Code"]


def test_the_kept_copy_is_another_file_than_the_upload(running: Running) -> None:
    """Metadata and whatever else rode along with the upload is gone; the copy is named by its own hash."""
    photo = next(tiles())
    with Image.open(io.BytesIO(photo)) as image:
        exif = image.getexif()
        exif[0x010E] = "PLANTED DESCRIPTION"
        out = io.BytesIO()
        image.save(out, "JPEG", quality=95, exif=exif)
    person = Requester(running, "metadata@people.example").begin("image")
    person.upload(out.getvalue())
    s3, bucket = running.client("s3"), running.outputs["PhotosBucket"]
    (found,) = s3.list_objects_v2(Bucket=bucket, Prefix=f"photos/{person.draft}/")["Contents"]
    copy = s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
    assert found["Key"].endswith(f"/{hashlib.sha256(copy).hexdigest()}.jpg")
    assert b"PLANTED" not in copy
