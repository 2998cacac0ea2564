"""A doubtful hit on the embedded AWS: from a lookup by queue to a reviewer, and back as the next lookup's answer."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

import httpx
import pytest

from local.actors import HTML, Crawler, Requester, Reviewer, eventually, expect
from local.running import Running
from tests.pictures import part_of, picture

FOUND_AT = "http://localhost:8999/found.jpg"


@pytest.fixture
def anna(reviewer: Callable[[str], httpx.Client]) -> httpx.Client:
    return reviewer("anna")


def test_a_doubtful_hit_reaches_a_reviewer_once_and_the_next_lookup_honours_the_answer(
    running: Running, anna: httpx.Client
) -> None:
    person, crawler = Requester(running, "doubted@people.example"), Crawler(running)
    number = person.file("image", picture("motorcycle_left.png"))
    excluded = Reviewer(running, "ben").accept(number)
    # A part of the listed picture over another: too little to exclude it, too much to let it in.
    files = {
        name: part_of("motorcycle_left.png", 0.4, "camera.png", quality) for name, quality in (("a", 85), ("b", 90))
    }
    items = [
        {
            "picture": base64.b64encode(data).decode(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "url": f"{FOUND_AT}?{name}",
        }
        for name, data in files.items()
    ]

    def verdicts() -> list[str]:
        return [result["verdict"] for result in crawler.verdicts(*items, scopes=["image"])]

    crawler.ask(min_version=excluded["list_version"])
    assert verdicts() == ["review", "review"]

    def waiting() -> list[str] | None:
        page = expect(anna.get("/reviews", headers=HTML), 200, "the possible copies open").text
        found = [re.search(rf"/reviews/{item['sha256']}/[\w.-]+", page) for item in items]
        return [each[0] for each in found if each] if all(found) else None

    different, same = eventually(waiting, "the doubtful hits reach the console")
    assert verdicts() == ["review", "review"]
    expect(anna.post(different, json={"answer": "different"}), 200, "the answer is taken")
    assert verdicts() == ["allow", "review"]
    expect(anna.post(same, json={"answer": "same"}), 200, "the answer is taken")
    assert verdicts() == ["allow", "exclude"]
    expect(anna.post(same, json={"answer": "different"}), 409, "the first answer stands")
    assert different not in anna.get("/reviews", headers=HTML).text

    person.withdraw()
    assert verdicts() == ["allow", "allow"]
