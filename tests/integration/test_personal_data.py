"""No log line, metric, address or error text of a whole story holds anything personal."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from local.actors import Crawler, Requester, Reviewer, status_path
from local.embedded_aws import EmbeddedAws
from local.running import Running
from tests.pictures import picture

PLANTED = {
    "first name": "Zephyrina",
    "last name": "Quackenbush",
    "address": "zephyrina.quackenbush@planted.example",
    "phone": "+49 30 55512345",
    "represented": "Ottokar Quackenbush",
    "explanation": "An explanation planted for this very test, never to be logged",
    "reviewer's text": "A reason planted by the reviewer in his own words",
    "link": "https://planted.example/secret-page",
}


def test_nothing_personal_is_logged_anywhere(tmp_path: Path) -> None:
    with EmbeddedAws(tmp_path) as aws:
        secrets = live(aws.running)
        logged = {"functions' logs": "\n".join(aws.running.log_lines()), "metrics": metrics(aws.running)}
        logged["the emulator's log"] = aws.place.log.read_text(errors="replace")
        logged["output"] = (tmp_path / "output.txt").read_text(errors="replace")
    assert "Answered2xx" in logged["functions' logs"], "the functions' own log lines are looked at"
    assert '"level":"ERROR"' in logged["functions' logs"], "an unexpected error is among them"
    for where, text in logged.items():
        for what, value in (PLANTED | secrets).items():
            for form in {value, quote(value), quote(value, safe=""), value.lower()}:
                assert form not in text, f"{what} stands in {where}"


def live(running: Running) -> dict[str, str]:
    """A story with a mistake in every place where one can be made; the ids and tokens that it brought about."""
    person = Requester(
        running,
        PLANTED["address"],
        first_name=PLANTED["first name"],
        last_name=PLANTED["last name"],
        phone=PLANTED["phone"],
        on_behalf_of="other",
        represented=PLANTED["represented"],
        explanation=PLANTED["explanation"],
    )
    anna = Reviewer(running, "anna")
    with running.http(headers={"Accept": "text/html"}) as browser:
        wrong = {**person.answers, "kind": "links", "links": PLANTED["link"], "email": PLANTED["address"] + "@@"}
        assert browser.post("/opt-out", data=wrong).status_code in {200, 400, 422}
        assert browser.post("/opt-out", content=b"\xff\xfe=" + PLANTED["last name"].encode()).status_code < 500
    person.begin("image")
    person.post_photo(person.ticket(), b"no picture: " + PLANTED["explanation"].encode())
    person.upload(picture("coffee.png"))
    number = person.confirm()
    draft = person.draft
    case = anna.find(number)
    anna.decide(case, "accept", "no such reason", PLANTED["reviewer's text"])
    anna.decide(case, "reject", "no_match", PLANTED["reviewer's text"])
    anna.decide(case, "accept", "goodwill", PLANTED["reviewer's text"], version=2)
    person.letter(2)
    path = status_path(person.letter(1))
    with running.http(headers={"Accept": "text/html"}) as browser:
        assert browser.get(path).status_code == 200
        assert browser.post(f"{path}/withdraw").status_code == 409
        assert browser.get(path[:-2] + "xx").status_code == 404
    Requester(running, PLANTED["address"]).file("links", links=PLANTED["link"])
    crawler = Crawler(running)
    crawler.ask({"url": PLANTED["link"]}, {"url": "javascript:" + PLANTED["last name"]}, {"pdq": PLANTED["last name"]})
    provoke(running, draft)
    return {"token": path.removeprefix("/status/"), "draft's id": draft}


def provoke(running: Running, draft: str) -> None:
    """An error that no handler expects, while it works on the case: the stored country is no text any more."""
    running.client("dynamodb").update_item(
        TableName=running.outputs["RequestsTable"],
        Key={"pk": {"S": f"case#{draft}"}, "sk": {"S": "case"}},
        UpdateExpression="REMOVE answers.country",
    )
    with running.http(headers={"Accept": "text/html"}) as browser:
        answer = browser.get(f"/opt-out/{draft}/done")
    assert answer.status_code == 500
    assert not re.search("|".join(map(re.escape, PLANTED.values())), answer.text)


def metrics(running: Running) -> str:
    """Names and dimensions of everything that was counted."""
    found = running.client("cloudwatch").list_metrics()
    return repr(found["Metrics"])
