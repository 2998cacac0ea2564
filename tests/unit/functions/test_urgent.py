"""The pages about intimate pictures and pictures of minors, and the reports they lead to."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest

from bench.fuzz import CODES
from optout.decisions import AcceptReason, Decision
from optout.languages import LANGUAGES
from optout.requests import HASHED_PER_MONTH, Kind, Lane, Step
from optout.settings import aws
from optout.store import Requests
from optout.web import urgent
from optout.web.countries import countries
from optout.web.site import LINK_SHOWN
from tests.unit.functions.api import Api
from tests.unit.functions.cases import ANSWERS, FILLED, draft, status_path

REPORT = {
    "kind": "links",
    "lane": "abuse",
    "explanation": "A child",
    "links": "https://a.example/",
    "good_faith": "yes",
}
AT_AN_HOUR = re.compile(r"by \d+ \w+ \d{4}, \d\d:\d\d")


def objects() -> int:
    return int(aws("s3").list_objects_v2(Bucket="photos")["KeyCount"])


# --- what the pages say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("about", ["", "intimate", "child", "abuse", "ordinary", "nonsense", "%00"])
def test_each_page_can_be_left_at_once_and_leads_to_help(submit: Api, about: str) -> None:
    page = submit.get(f"/urgent?about={about}")
    assert page.status == 200
    assert 'href="https://weather.example/"' in page.body
    assert 'href="/support"' in page.body
    assert "within 24 hours" in page.text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page.body)


def test_pages_of_the_ordinary_lane_have_no_such_button(submit: Api) -> None:
    for path in ("/", "/opt-out?kind=image", "/help"):
        assert "weather.example" not in submit.get(path).body


def test_nobody_is_asked_for_an_upload_of_abuse(submit: Api) -> None:
    page = submit.get("/urgent?about=abuse")
    assert "Do not upload, send or save the picture" in page.text
    assert "takeitdown.ncmec.org" in page.body
    assert "inhope.org" in page.body
    ways = re.findall(r'href="/opt-out\?([^"]+)"', page.body)
    assert ways == ["kind=links&amp;lane=abuse"]


@pytest.mark.parametrize("kind", ["image", "face"])
def test_a_form_that_would_ask_for_one_leads_back(submit: Api, kind: str) -> None:
    assert submit.get(f"/opt-out?kind={kind}&lane=abuse").location == "/urgent?about=abuse"
    answer = submit.post("/opt-out", FILLED | {"kind": kind, "lane": "abuse"})
    assert (answer.status, answer.location) == (303, "/urgent?about=abuse")


def test_support_is_shown_for_the_chosen_country_and_for_all(submit: Api) -> None:
    poland = submit.get("/support?country=PL")
    assert '<option value="PL" selected>' in poland.body
    assert poland.body.index("dyzurnet.pl") < poland.body.index("stopncii.org") < poland.body.index("hotline.ie")
    nobody = submit.get("/support?country=IS")
    assert "We know of nobody there" in nobody.text
    for wrong in ("", "?country=", "?country=ZZ", "?country=%00", "?country=pl"):
        page = submit.get(f"/support{wrong}")
        assert page.status == 200
        assert " selected" not in page.body


def test_every_organisation_can_be_shown_and_names_its_source() -> None:
    names = countries()
    for each in urgent.organisations():
        assert each.url.startswith("https://")
        assert each.source.startswith("http")
        assert set(each.countries) <= set(names) | {urgent.EVERYWHERE}
        assert set(each.languages) <= set(LANGUAGES)
        assert set(each.does) <= {"talk", "remove", "report"}
        assert each.does
        assert set(each.whom) <= {"adults", "minors"}
        assert each.whom
        assert each.phone == "" or re.fullmatch(r"\+?[0-9]{3,15}", each.dial)


def test_adults_and_minors_find_help_in_every_country() -> None:
    everywhere = urgent.helping_in(urgent.EVERYWHERE)
    assert {whom for each in everywhere for whom in each.whom} == {"adults", "minors"}
    assert {"GB", "US", "DE", "PL", "FR", "ES"} <= {code for each in urgent.organisations() for code in each.countries}


# --- reports of abuse -------------------------------------------------------------------------------------------------


def test_a_report_goes_from_the_form_to_the_check_page_without_a_photo_page(
    submit: Api, requests: Requests, now: datetime
) -> None:
    started = submit.post("/opt-out", REPORT)
    path = started.location.removesuffix("/check")
    assert started.location == f"{path}/check"
    assert submit.get(f"{path}/photos").location == f"{path}/check"
    page = submit.get(f"{path}/check")
    assert "amazonaws" not in page.body, "no ticket and no picture"
    assert "You gave no email address" in page.text
    assert "Who do you ask for?" not in page.text
    assert submit.post(f"{path}/confirm").location == f"{path}/done"
    assert objects() == 0


def test_the_confirmation_shows_the_only_link_for_half_an_hour(submit: Api, requests: Requests, now: datetime) -> None:
    path = submit.post("/opt-out", REPORT).location.removesuffix("/check")
    submit.post(f"{path}/confirm")
    done = submit.get(f"{path}/done")
    found = re.search(r'href="https://optout.example.org(/status/[^"]+)"', done.body)
    assert found is not None
    assert "We are sending a letter" not in done.text
    page = submit.get(found[1])
    assert "Waiting for our decision" in page.text
    assert "confirm your email address" not in page.text
    assert "our letter" not in page.text
    assert submit.post(f"{found[1]}/withdraw").status == 303
    case_id = path.removeprefix("/opt-out/")
    aws("dynamodb").update_item(
        TableName="Requests",
        Key={"pk": {"S": f"case#{case_id}"}, "sk": {"S": "case"}},
        UpdateExpression="SET confirmed_at = :then",
        ExpressionAttributeValues={":then": {"S": (now - LINK_SHOWN - timedelta(minutes=1)).isoformat()}},
    )
    assert "/status/" not in submit.get(f"{path}/done").body


def test_who_gave_an_address_gets_no_link_on_the_page(submit: Api, requests: Requests, now: datetime) -> None:
    path = submit.post("/opt-out", REPORT | {"email": "ada@example.org"}).location.removesuffix("/check")
    submit.post(f"{path}/confirm")
    done = submit.get(f"{path}/done")
    assert "/status/" not in done.body
    assert "We are sending a letter" in done.text


def test_two_reports_without_an_address_are_not_taken_for_one_persons(submit: Api, requests: Requests) -> None:
    made = [submit.post("/opt-out", REPORT).location.split("/")[2] for _ in range(2)]
    hashes = {requests.get(each, datetime.now().astimezone()).email_hash for each in made}
    assert len(hashes) == 2


# --- the other urgent lanes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", [lane for lane in Lane if lane.urgent])
def test_every_step_of_an_urgent_request_can_be_left_and_says_the_hour(
    submit: Api, requests: Requests, now: datetime, lane: Lane
) -> None:
    form = submit.get(f"/opt-out?kind=links&lane={lane}")
    assert f'name="lane" value="{lane}"' in form.body
    made = requests.create_draft(Kind.LINKS, ANSWERS, "hash", now, lane=lane)
    pages = [form, submit.get(f"/opt-out/{made.id}"), submit.get(f"/opt-out/{made.id}/check")]
    requests.confirm(made.id, now)
    pages.append(submit.get(f"/opt-out/{made.id}/done"))
    for page in pages:
        assert 'href="https://weather.example/"' in page.body
    for page in pages[2:]:
        assert AT_AN_HOUR.search(page.text)
        assert "within 24 hours" in page.text


def test_an_ordinary_request_says_the_day(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.LINKS)
    assert not AT_AN_HOUR.search(submit.get(f"/opt-out/{made.id}/check").text)


# --- by code alone ----------------------------------------------------------------------------------------------------


def begun(requests: Requests, now: datetime, lane: Lane = Lane.INTIMATE, email_hash: str = "hash") -> str:
    """The path of a draft about an intimate picture."""
    return f"/opt-out/{requests.create_draft(Kind.IMAGE, ANSWERS, email_hash, now, lane=lane).id}"


def test_an_intimate_picture_is_asked_for_by_code_first(submit: Api, requests: Requests, now: datetime) -> None:
    path = begun(requests, now)
    page = submit.get(f"{path}/photos")
    assert "Add the picture without sending it" in page.text
    assert "The picture has not left your device" in page.body
    assert "amazonaws" not in page.body, "no ticket for an upload"
    assert 'enctype="multipart' not in page.body
    file_input = re.search(r'<input type="file"[^>]*>', page.body)
    assert file_input is not None
    assert "name=" not in file_input[0], "what has no name is sent by no form"


def test_the_page_that_computes_codes_lets_no_script_send_anything(
    submit: Api, requests: Requests, now: datetime
) -> None:
    policy = submit.get(f"{begun(requests, now)}/photos").headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["connect-src"] == "'none'"
    assert rules["img-src"] == "'self'"
    assert rules["form-action"] == "'self'"
    assert rules["default-src"] == "'none'"


def test_without_a_script_the_page_names_the_other_ways(submit: Api, requests: Requests, now: datetime) -> None:
    path = begun(requests, now)
    page = submit.get(f"{path}/photos")
    assert "needs JavaScript" in page.text
    assert f'href="{path}/photos?by=upload"' in page.body
    assert 'href="/opt-out?kind=links&amp;lane=intimate"' in page.body
    upload = submit.get(f"{path}/photos?by=upload")
    assert 'enctype="multipart/form-data"' in upload.body
    assert f'href="{path}/photos?by=code"' in upload.body


def test_codes_lead_from_the_picture_to_the_confirmation(submit: Api, requests: Requests, now: datetime) -> None:
    path = begun(requests, now)
    assert "Continue" not in submit.get(f"{path}/photos").text
    added = submit.post(f"{path}/codes", CODES)
    assert added.location.startswith(f"{path}/photos#photo-")
    assert "We have its code." in submit.get(f"{path}/photos").text
    checked = submit.get(f"{path}/check")
    assert "its code only" in checked.text
    assert "<img" not in checked.body
    assert submit.post(f"{path}/confirm").location == f"{path}/done"
    assert objects() == 0


def test_a_removed_code_is_gone(submit: Api, requests: Requests, now: datetime) -> None:
    path = begun(requests, now)
    ticket = submit.post(f"{path}/codes", CODES).location.partition("#photo-")[2]
    assert submit.post(f"{path}/photos/{ticket}/remove").location == f"{path}/photos"
    assert "We have its code." not in submit.get(f"{path}/photos").text


def test_codes_that_are_none_are_refused_without_quoting_them(submit: Api, requests: Requests, now: datetime) -> None:
    answer = submit.post(f"{begun(requests, now)}/codes", CODES | {"codes": "nonsense"})
    assert answer.status == 400
    assert "nonsense" not in answer.body


@pytest.mark.parametrize("lane", [lane for lane in Lane if lane is not Lane.INTIMATE])
def test_codes_are_taken_in_no_other_lane(submit: Api, requests: Requests, now: datetime, lane: Lane) -> None:
    assert submit.post(f"{begun(requests, now, lane)}/codes", CODES).status == 409


def test_the_month_of_an_address_is_full(submit: Api, requests: Requests, now: datetime) -> None:
    for _ in range(HASHED_PER_MONTH // 5):
        path = begun(requests, now, email_hash="one person")
        for _ in range(5):
            submit.post(f"{path}/codes", CODES)
        assert submit.post(f"{path}/confirm").status == 303
    path = begun(requests, now, email_hash="one person")
    submit.post(f"{path}/codes", CODES)
    refused = submit.post(f"{path}/confirm")
    assert refused.status == 409
    assert f"One email address can send {HASHED_PER_MONTH} pictures by code in a month" in refused.text
    assert f"can send {HASHED_PER_MONTH} pictures by code" in submit.get(f"{path}/photos").text


def test_the_status_page_says_what_a_code_covers(submit: Api, requests: Requests, now: datetime) -> None:
    path = begun(requests, now)
    submit.post(f"{path}/codes", CODES)
    submit.post(f"{path}/confirm")
    case_id = path.removeprefix("/opt-out/")
    decision = Decision("d", Step.ACCEPT, AcceptReason.SHOWS_REQUESTER, "", "anna")
    case = requests.decide(case_id, decision, None, now)
    assert "are not found by a code" in submit.get(status_path(case)).text
