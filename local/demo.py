"""The whole story without a browser, on real photographs: `python -m local.demo`.

Starts an instance of its own in a temporary folder, lives through a request of each kind, and prints what each step
proved. Exits with 1, and says which, when a step did not hold.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from local.actors import Crawler, DidNotHold, Requester, Reviewer, expect
from local.carriers import PICTURES
from local.embedded_aws import EmbeddedAws
from local.place import CannotRun
from local.running import Running

ELSEWHERE = "https://photos.example/elsewhere.jpg"


def main() -> int:
    """Tell the story; 0 when every step held."""
    print("Starting the whole service on an embedded AWS ...", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="image-optout-demo-") as folder, EmbeddedAws(Path(folder)) as aws:
            tell(aws.running)
    except (DidNotHold, CannotRun) as reason:
        print(f"\nDid not hold: {reason}", file=sys.stderr)
        return 1
    print("\nEvery step held.")
    return 0


def tell(running: Running) -> None:
    """Each chapter of the story. Raises `DidNotHold`."""
    anna, ben = Reviewer(running, "anna"), Reviewer(running, "ben")
    crawler = Crawler(running)
    a_picture(running, anna, crawler)
    a_face(running, anna, ben, crawler)
    links(running, anna, crawler)
    two_reviewers(running, anna, ben, crawler)


def a_picture(running: Running, anna: Reviewer, crawler: Crawler) -> None:
    chapter("This image and all its copies")
    photo, stranger = picture("astronaut.png"), picture("coffee.png")
    must(crawler, photo, "allow", "before anybody asked")
    ada = Requester(running, "ada@people.example")
    number = ada.file("image", photo)
    step(f"Ada uploaded her photo straight to S3 and sent request {number}")
    ada.letter(1)
    step("Her confirmation letter with the due date and the status link is in the inbox")
    must(crawler, photo, "allow", "before her address is verified")
    ada.verify()
    must(crawler, photo, "defer", "in the next lookup after she verified her address")
    step("She verified her address with one button; the next lookup holds the picture back")
    accepted = anna.accept(number)
    result = must(crawler, photo, "exclude", "in the very first lookup after the decision")
    step(
        f"Anna accepted it at version {accepted['list_version']}; the next lookup names {result['matches'][0]['scope']}"
    )
    for name, edit in EDITS.items():
        must(crawler, edit(photo), "exclude", f"for the {name} copy")
    step(f"Its copies are excluded too: {', '.join(EDITS)}")
    must(crawler, stranger, "allow", "for another picture")
    step("Another picture is allowed")
    ada.letter(2)
    step("The decision is in the inbox")
    ada.withdraw()
    must(crawler, photo, "allow", "in the next lookup after the withdrawal")
    step("Ada withdrew through the link in her letter; the next lookup no longer excludes the picture")


def a_face(running: Running, anna: Reviewer, ben: Reviewer, crawler: Crawler) -> None:
    chapter("My face")
    enrolled, another, stranger = picture("obama.jpg"), picture("obama2.jpg"), picture("biden.jpg")
    barack = Requester(running, "barack@people.example", first_name="Barack", last_name="Obama", country="US")
    number = barack.file("face", enrolled)
    step(f"A person consented, uploaded one photo of his face and sent request {number}")
    anna.accept(number)
    must(crawler, enrolled, "exclude", "for the photo itself")
    result = must(crawler, another, "exclude", "for a different photo of the same person")
    distance = result["matches"][0]["distance"]
    step(f"A different photo of him is excluded (distance {distance:.2f} <= {result['matches'][0]['threshold']:.2f})")
    must(crawler, stranger, "allow", "for another person")
    step("Another person is allowed")
    case = ben.find(number)
    expect(anna.propose_revocation(case), 200, "a revocation is proposed")
    expect(anna.settle_revocation(case, "confirm"), 409, "the proposer cannot confirm")
    must(crawler, another, "exclude", "while the revocation waits for a second reviewer")
    expect(ben.settle_revocation(case, "confirm"), 200, "the second reviewer confirms")
    must(crawler, another, "allow", "in the next lookup after the revocation")
    step("Taking it back needed a second reviewer, and was in force at once")
    barack.letter(3)
    step("He was told each time")


def links(running: Running, anna: Reviewer, crawler: Crawler) -> None:
    chapter("Specific links")
    reported = ["https://gossip.example/p/1?id=7", "https://gossip.example/p/2"]
    kay = Requester(running, "kay@people.example", country="FR")
    number = kay.file("links", links="\n".join(reported))
    anna.accept(number)
    asked = [*reported, "HTTPS://Gossip.Example:443/p/1?id=7&utm_source=x#top", "https://gossip.example/p/3"]
    verdicts = [result["verdict"] for result in crawler.verdicts(*({"url": url} for url in asked), scopes=["link"])]
    if verdicts != ["exclude", "exclude", "exclude", "allow"]:
        raise DidNotHold(f"the reported links are excluded and no other: {verdicts}")
    step("Both reported links are excluded, in any spelling; a third is allowed")
    (result,) = crawler.verdicts({"sha256": "0" * 64})
    if result["verdict"] != "defer" or "url" not in result["missing"]:
        raise DidNotHold("a lookup that lacks a signal is deferred")
    step("A lookup that gave no address is deferred, not allowed: it names what is missing")


def two_reviewers(running: Running, anna: Reviewer, ben: Reviewer, crawler: Crawler) -> None:
    chapter("Two reviewers at once")
    photo = picture("rocket.jpg")
    joe = Requester(running, "joe@people.example", country="GB")
    number = joe.file("image", photo)
    case, version = anna.find(number), anna.version(anna.find(number))
    expect(ben.decide(case, "reject", "no_match", "The picture shows a rocket.", version=version), 200, "Ben rejects")
    second = expect(anna.decide(case, "accept", "goodwill", "", version=version), 409, "Anna comes second").json()
    if second.get("reviewer") != ben.name:
        raise DidNotHold("the second reviewer is told who decided")
    must(crawler, photo, "allow", "for a rejected request")
    joe.letter(2)
    step("The first decision stood, the second reviewer was told whose, and one letter went out")
    with running.http() as nobody:
        expect(nobody.post("/exclusions/check", json={"items": []}), 403, "an unsigned lookup is refused")
        expect(nobody.get("/requests"), 401, "the queue is closed to strangers")
    step("Unsigned lookups and strangers at the console are refused")


def must(crawler: Crawler, photo: bytes, verdict: str, when: str) -> dict[str, Any]:
    """The result of a lookup that must have this verdict. Raises `DidNotHold`."""
    result = crawler.verdict(photo, ELSEWHERE)
    if result["verdict"] != verdict:
        raise DidNotHold(f"a lookup answers {verdict} {when}; it said {result['verdict']} ({result['reason']})")
    return result


def picture(name: str) -> bytes:
    """A real photograph that set-up fetched."""
    return (PICTURES / name).read_bytes()


def edited(edit: Callable[[Image.Image], Image.Image], quality: int = 85) -> Callable[[bytes], bytes]:
    """A JPEG of an edited picture."""

    def make(photo: bytes) -> bytes:
        out = io.BytesIO()
        with Image.open(io.BytesIO(photo)) as opened:
            edit(opened.convert("RGB")).save(out, "JPEG", quality=quality)
        return out.getvalue()

    return make


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "mirrored": edited(ImageOps.mirror),
    "rotated": edited(lambda image: image.rotate(90, expand=True)),
    "recompressed": edited(lambda image: image, quality=30),
    "resized": edited(lambda image: image.resize((image.width // 2, image.height // 2))),
}

_STARTED = time.monotonic()


def chapter(title: str) -> None:
    print(f"\n{title}", flush=True)


def step(proved: str) -> None:
    print(f"  [{time.monotonic() - _STARTED:5.1f} s] {proved}.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
