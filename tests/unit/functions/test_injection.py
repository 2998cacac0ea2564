"""What strangers type stays what they typed: through the form, on every page, in the console and in every letter.

Everything here goes in by the real entry points: the public POSTs as API Gateway calls them, and the letters as they
are given to SES.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest

from optout import settings
from optout.errors import AddressUnusable
from optout.languages import LANGUAGES
from optout.mail.send import render, send
from optout.requests import Kind, Letter, OptOutRequest, Status
from optout.store import DueLetter, LetterKey, Requests
from tests.unit.functions.api import Answer, Api, event, load
from tests.unit.functions.cases import FILLED, draft, pending, photo, status_path, verify_path

# What each is dangerous to: HTML text, attributes, scripts, Jinja, gettext's placeholders, str.format, shells and
# spreadsheets, headers, and eyes.
TYPED = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": "\" autofocus onfocus=alert(1) x='",
    "template": "{{7*7}}{% raw %}{{ settings }}${7*7}#{7*7}<%= 7*7 %>",
    "placeholder": "%(number)s %s {0} {number.__class__} %n",
    "formula": "=HYPERLINK(\"https://evil.example\") @SUM(1+1)*cmd|'/c calc'!A0",
    "header": "Ada\r\nBcc: victim@example.org\r\n\r\n<b>body</b>",
    "reordered": "Ada \u202e\u2066gnp.exe\u2069 \u200f",
    "long word": "W" * 99,
}
NAMES = ("first_name", "last_name", "represented")


class _Tags(HTMLParser):
    """Tags with their attributes, scripts' bodies and the words of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def parsed(html: str) -> _Tags:
    tags = _Tags()
    tags.feed(html)
    return tags


def harmless(html: str) -> None:
    """The page holds no tag and no attribute that is not ours, and nothing of what was typed was computed."""
    found = parsed(html)
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "autofocus"], (tag, attributes)
        assert tag not in {"iframe", "object", "embed", "base"}
        if tag == "script":
            assert (attributes.get("src") or "").startswith("/static/")
        if tag == "img":
            assert attributes.get("src") != "x"
        for address in (attributes.get("href"), attributes.get("src"), attributes.get("action")):
            assert not (address or "").lower().startswith(("javascript:", "data:"))
    assert "49" not in re.sub(r"[\w-]*\d{3,}[\w-]*|[A-Z2-9]{4}-[A-Z2-9]{4}", "", found.words), "7*7 was computed"


@pytest.fixture(scope="module")
def decide(aws: None) -> Api:
    return Api(load("decide"))


def started(submit: Api, kind: str, **typed: str) -> str:
    """Id of a draft whose form was filled in so."""
    answer = submit.post("/opt-out", {**FILLED, "kind": kind, "on_behalf_of": "parent", "represented": "Kim", **typed})
    assert answer.status == 303, answer.text
    return answer.location.split("/")[2]


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_whatever_is_typed_is_shown_and_never_obeyed(
    submit: Api, decide: Api, requests: Requests, now: datetime, typed: str
) -> None:
    words = dict.fromkeys((*NAMES, "explanation"), typed)
    # The form again, with everything in it and a mistake besides.
    again = submit.post(
        "/opt-out", {**FILLED, "kind": "links", **words, "email": typed, "links": typed, "phone": typed}
    )
    assert again.status == 400
    harmless(again.body)
    made = started(submit, "links", **words, links=f"https://example.com/{'W' * 900}?q=<b>'\"{{{{7*7}}}}")
    for page in ("", "/photos", "/check"):
        harmless(submit.get(f"/opt-out/{made}{page}").body)
    submit.post(f"/opt-out/{made}/confirm")
    case = requests.get(made, now)
    for path in (f"/opt-out/{made}/done", status_path(case), verify_path(case), f"{status_path(case)}/withdraw"):
        harmless(submit.get(path).body)
    given = event("GET", f"/requests/{made}", None, {"Accept": "text/html"})
    given["requestContext"]["authorizer"] = {"claims": {"cognito:username": "anna", "cognito:groups": "[reviewers]"}}
    shown = decide.send(given)
    harmless(shown.body)
    assert case.answers.explanation in parsed(shown.body).words


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_marks_that_reorder_and_line_ends_never_reach_a_name(
    submit: Api, requests: Requests, now: datetime, typed: str
) -> None:
    answers = requests.get(started(submit, "links", **dict.fromkeys(NAMES, typed)), now).answers
    for name in (answers.first_name, answers.last_name, answers.represented or ""):
        assert not set(name) & set("\r\n\t\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_a_letter_repeats_nothing_that_could_be_obeyed(
    requests: Requests, now: datetime, typed: str, language: str
) -> None:
    case = pending(requests, now)
    answers = replace(case.answers, first_name=typed, last_name=typed, represented=typed, explanation=typed)
    case = replace(case, answers=answers, language=language)
    due = DueLetter(LetterKey(case.id, case.version), Letter.RECEIVED, case)
    message = render(
        due, now, engine="Lens", support="help@lens.example", status_url="https://s", verify_url="https://v"
    )
    assert "\n" not in message.subject
    assert "\r" not in message.subject
    harmless(re.sub(r"(?s)<style>.*?</style>", "", message.html))
    for part in (message.subject, message.text, message.html):
        assert typed not in part
        assert "evil.example" not in part


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.org\r\nBcc: victim@example.org",
        "ada@example.org, victim@example.org",
        "ada@example.org;victim@example.org",
        "Ada <ada@example.org>",
        '"ada\r\nBcc: v"@example.org',
        "ada@example.org%0aBcc:victim@example.org",
        "ada\u2028@example.org",
        "<victim@example.org>ada@example.org",
    ],
)
def test_an_address_is_one_mailbox_or_none(submit: Api, requests: Requests, now: datetime, email: str) -> None:
    answer = submit.post("/opt-out", {**FILLED, "kind": "links", "email": email})
    if answer.status == 303:
        taken = requests.get(answer.location.split("/")[2], now).answers.email
        assert re.fullmatch(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+", taken)
    else:
        assert answer.status == 400
    # Even if one were stored, no letter leaves for it.
    message = render_received(pending(requests, now), now)
    with pytest.raises(AddressUnusable):
        send(message, email)


def render_received(case: OptOutRequest, now: datetime) -> Any:
    due = DueLetter(LetterKey(case.id, case.version), Letter.RECEIVED, case)
    return render(due, now, engine="Lens", support="help@lens.example", status_url="https://s", verify_url="https://v")


def test_a_letter_has_the_headers_that_we_gave_it_and_no_other(
    requests: Requests, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    class Ses:
        def send_email(self, **what: Any) -> dict[str, str]:
            sent.append(what)
            return {"MessageId": "m"}

    monkeypatch.setattr(settings, "aws", lambda _service: Ses())
    case = pending(requests, now)
    send(
        render_received(replace(case, answers=replace(case.answers, first_name=TYPED["header"])), now),
        "ada@example.org",
    )
    raw = sent[0]["Content"]["Raw"]["Data"]
    message = message_from_bytes(raw, policy=policy.default)
    ours = "from to reply-to subject x-letter-id auto-submitted content-language mime-version content-type"
    assert {name.lower() for name in message} <= set(ours.split())
    assert message["To"] == "ada@example.org"
    assert b"victim@example.org" not in raw


# --- where a redirect leads -------------------------------------------------------------------------------------------

ELSEWHERE = ("//evil.example", "https://evil.example", "\\\\evil.example", "javascript:alert(1)", "%0d%0aLocation: //e")


@pytest.mark.parametrize("where", ELSEWHERE)
def test_no_answer_leads_to_another_website(submit: Api, requests: Requests, now: datetime, where: str) -> None:
    made, case = draft(requests, now, Kind.IMAGE, photo()), pending(requests, now)
    query = urlencode(
        {"lang": where, "problem": where, "repeated": where, "kind": where, "next": where, "about": where}
    )
    posts = {f"/opt-out/{made.id}/confirm": {}, f"/opt-out/{made.id}": FILLED, "/opt-out": {"kind": where}}
    posts |= {f"{status_path(case)}/letter": {}, verify_path(case): {}, f"{status_path(case)}/photos": {}}
    answers = [submit.post(f"{path}?{query}", {**fields, "next": where}) for path, fields in posts.items()]
    gets = ("/opt-out", f"/opt-out/{case.id}", f"/opt-out/{made.id}/done", f"/opt-out/{case.id}/check")
    answers += [submit.get(f"{path}?{query}") for path in gets]
    moved = [answer.location for answer in answers if "Location" in answer.headers]
    assert len(moved) >= 6
    for location in moved:
        assert re.match(r"/(?![/\\])[\w/.=?&#-]*$", location), location


@pytest.mark.parametrize("where", ELSEWHERE)
def test_the_storage_sends_browsers_back_to_our_own_site(
    submit: Api, requests: Requests, now: datetime, where: str
) -> None:
    made = draft(requests, now, Kind.IMAGE)
    page = submit.get(f"/opt-out/{made.id}/photos?{urlencode({'lang': where, 'success_action_redirect': where})}")
    [target] = re.findall(r'name="success_action_redirect" value="([^"]*)"', page.body)
    assert re.fullmatch(rf"https://optout\.example\.org/opt-out/{made.id}/photos/[\w-]+", target)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:443", "optout.example.org.evil.example"])
def test_no_host_header_finds_its_way_into_a_page_or_a_redirect(submit: Api, host: str) -> None:
    headers = {
        "Host": host,
        "X-Forwarded-Host": host,
        "X-Original-URL": f"https://{host}/",
        "Forwarded": f"host={host}",
    }
    for path in ("/", "/opt-out?kind=face", "/opt-out?kind=none"):
        answer = submit.get(path, headers)
        assert "evil" not in answer.body + answer.headers.get("Location", "")


@pytest.mark.parametrize(
    "path",
    [
        "/opt-out/%0d%0aSet-Cookie:%20a=b",
        "/status/%0d%0aX-Injected:%20yes",
        "/verify/..%2f..%2fprivacy",
        "/opt-out/<script>alert(1)</script>",
        "/static/..%2f..%2fforms.py",
        "/%7b%7b7*7%7d%7d",
    ],
)
def test_nothing_of_an_address_is_repeated_in_headers_or_pages(submit: Api, path: str) -> None:
    answer = submit.get(path)
    assert answer.status in {404, 410}
    harmless(answer.body)
    for name, value in answer.headers.items():
        assert "\n" not in name + value
        assert "Injected" not in name
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("accepts", ["de\r\nX-Injected: yes", "<script>", "ar;q=9e999", "en" * 5_000])
def test_a_language_is_one_of_ours_whatever_the_browser_says(submit: Api, accepts: str) -> None:
    answer: Answer = submit.get("/", {"Accept-Language": accepts})
    assert answer.status == 200
    assert re.search(r'<html lang="(en|de|pl|fr|es|ar)"', answer.body)
    assert "X-Injected" not in answer.headers


def test_a_draft_is_not_moved_by_guessing(submit: Api, requests: Requests) -> None:
    made = draft(requests, datetime.now(UTC), Kind.IMAGE, photo())
    for guess in (made.id[:-1] + ("A" if made.id[-1] != "A" else "B"), made.id.swapcase(), made.number):
        assert submit.post(f"/opt-out/{guess}/confirm").status == 404
    assert requests.get(made.id, datetime.now(UTC)).status is Status.DRAFT
