"""The public site, called as API Gateway calls it."""

from __future__ import annotations

import io
import json
import re
import struct
from dataclasses import fields, replace
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from optout import deadlines, http, links, proof_of_work, settings
from optout.decisions import Decision
from optout.requests import Kind, ProposedCrop, Relation, Revocation, Status, Step, Unheld
from optout.store import Requests
from optout.web import forms, site, wording
from tests.unit.functions.api import Answer, Api, event
from tests.unit.functions.cases import ANSWERS, FILLED, draft, face, pending, photo, status_path, verify_path

DRAFT = re.compile(r"/opt-out/([A-Za-z0-9_-]{22})/photos")
in_moto = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def table() -> list[dict[str, Any]]:
    """Everything that is stored, but for how often somebody came."""
    items = settings.aws("dynamodb").scan(TableName="Requests")["Items"]
    return [item for item in items if not item["pk"]["S"].startswith("limit#")]


def started(answer: Answer) -> str:
    found = DRAFT.match(answer.location)
    assert found is not None
    return found[1]


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "What do you want removed?"),
        ("/opt-out?kind=face", "Opt out your face"),
        ("/opt-out?kind=image", "Opt out a picture and all its copies"),
        ("/opt-out?kind=links", "Opt out specific links"),
        ("/privacy", "What we keep, and how long"),
        ("/help", "A person will answer you"),
    ],
)
def test_each_page_names_the_engine_help_and_its_language(submit: Api, path: str, words: str) -> None:
    page = submit.get(path)
    assert page.status == 200
    assert words in page.text
    assert "Lens Search" in page.text
    assert 'href="mailto:help@example.org"' in page.body
    assert '<html lang="en" dir="ltr">' in page.body
    assert 'href="#main"' in page.body


def test_people_are_told_to_ask_other_websites_separately(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    for path in ("/", f"/opt-out/{case.id}/done"):
        assert re.search(r"Please ask th(os)?e websites", submit.get(path).text)


@pytest.mark.parametrize("path", ["/opt-out", "/opt-out?kind=", "/opt-out?kind=FACE", "/opt-out?kind=%00"])
def test_without_a_known_kind_the_form_asks_what_should_go(submit: Api, path: str) -> None:
    assert submit.get(path).location == "/"


def test_the_privacy_page_says_the_periods_that_are_applied(submit: Api) -> None:
    said = submit.get("/privacy").text
    assert f"{deadlines.DRAFT_LIFETIME.total_seconds() / 3600:.0f} hours" in said
    assert f"{deadlines.APPEAL_WINDOW.days} days" in said
    assert f"{deadlines.WITHDRAWN_PHOTOS_KEPT.days} days after you withdraw" in said
    assert f"{deadlines.CASE_KEPT.days // 365} years" in said


def test_no_page_has_inline_style_or_script_or_words_of_ours(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.FACE, photo(face(), face(300)), photo(face()), photo())
    ready = draft(requests, now, Kind.IMAGE, photo(quality=10))
    case = pending(requests, now)
    status = status_path(case)
    paths = ["/", "/opt-out?kind=face", "/opt-out?kind=links", "/privacy", "/help", "/nowhere", f"/opt-out/{made.id}"]
    paths += [f"/opt-out/{made.id}/photos", f"/opt-out/{ready.id}/photos", f"/opt-out/{ready.id}/check"]
    paths += [f"/opt-out/{case.id}/done", status, f"{status}/withdraw"]
    for path in paths:
        page = submit.get(path)
        assert "<h1>" in page.body, path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page.body), path
        assert not re.search(r"\b(hash|fingerprint|embedding|vector|draft|ticket|requester)\b", page.text, re.I), path


# --- static files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content_type"), [("site.css", "text/css"), ("site.js", "javascript"), ("icon.svg", "image/svg+xml")]
)
def test_static_files_have_their_type_and_are_kept_by_browsers(submit: Api, file: str, content_type: str) -> None:
    found = submit.get(f"/static/{file}")
    assert found.status == 200
    assert content_type in found.headers["Content-Type"]
    assert "immutable" in found.headers["Cache-Control"]
    assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("file", ["..", "../pages/start.html", "..%2Fpages%2Fstart.html", "start.html", "vendor", ""])
def test_nothing_but_listed_files_is_served(submit: Api, file: str) -> None:
    assert submit.get(f"/static/{file}").status == 404
    assert submit.get(f"/static/vendor/{file}").status == 404


def test_htmx_is_served_where_set_up_has_put_it_and_missing_where_not(
    submit: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(site, "files", lambda _: tmp_path)
    assert submit.get("/static/vendor/htmx.min.js").status == 404
    vendor = tmp_path / "web" / "static" / "vendor"
    vendor.mkdir(parents=True)
    (vendor / "htmx.min.js").write_text("htmx")
    assert submit.get("/static/vendor/htmx.min.js").body == "htmx"


def test_pages_link_static_files_by_their_content(submit: Api) -> None:
    assert re.search(r'href="/static/site\.css\?v=[0-9a-f]{12}"', submit.get("/").body)


# --- the form ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_a_filled_in_form_becomes_a_draft_that_only_its_link_knows(
    submit: Api, requests: Requests, now: datetime, kind: Kind
) -> None:
    answer = submit.post("/opt-out", FILLED | {"kind": kind.value})
    assert answer.status == 303
    made = requests.get(started(answer), now)
    assert (made.kind, made.status) == (kind, Status.DRAFT)
    assert made.answers.email == "amelie@example.org"
    assert (made.answers.biometric_consent is not None) == (kind is Kind.FACE)
    assert made.email_hash == links.email_hash("Amelie@Example.org", settings.link_secret())


def test_a_form_with_mistakes_comes_back_as_it_was_with_links_to_them(submit: Api) -> None:
    sent = FILLED | {"kind": "links", "email": "nobody", "links": "https://example.com\nnonsense", "country": ""}
    before = table()
    page = submit.post("/opt-out", sent)
    assert page.status == 400
    assert table() == before
    assert "<title>Error: " in page.body
    assert 'role="alert"' in page.body
    for field in ("email", "links", "country"):
        assert f'<a href="#{field}">' in page.body
        assert f'id="{field}-error"' in page.body
        assert re.search(rf'id="{field}"[^>]*aria-describedby="[^"]*{field}-error', page.body)
    assert "Check line 2" in page.text
    for typed in ('value="nobody"', 'value="Amélie"', "https://example.com\nnonsense</textarea>"):
        assert typed in page.body


def test_a_post_without_a_known_kind_stores_nothing(submit: Api) -> None:
    before = table()
    assert submit.post("/opt-out", FILLED | {"kind": "everything"}).location == "/"
    assert table() == before


def test_repeated_links_are_named_on_the_next_page(submit: Api) -> None:
    text = "https://example.com/a\nhttps://example.com/b\nhttps://example.com/a"
    answer = submit.post("/opt-out", FILLED | {"kind": "links", "links": text})
    assert "Line 3 of your list repeats a link from an earlier line." in submit.get(answer.location).text


@pytest.mark.parametrize("query", ["x", "9" * 5000, ".".join(["7"] * 2000), "-1", "٣", "<b>"])
def test_a_made_up_list_of_repeated_lines_is_not_shown(
    submit: Api, requests: Requests, now: datetime, query: str
) -> None:
    made = draft(requests, now, Kind.LINKS)
    page = submit.get(f"/opt-out/{made.id}/photos?{urlencode({'repeated': query})}")
    assert page.status == 200
    assert "We keep each link once" not in page.text


PLANTED = "\"'><script>alert(1)</script>"


@pytest.mark.parametrize("field", [*forms.FIELDS, "kind"])
def test_what_is_typed_comes_back_escaped(submit: Api, field: str) -> None:
    page = submit.post("/opt-out", {"kind": "links", field: PLANTED})
    assert "<script>" not in page.body
    assert page.status in {303, 400}


def test_markup_in_answers_is_shown_as_text_everywhere(submit: Api, requests: Requests, now: datetime) -> None:
    planted = replace(
        ANSWERS,
        explanation=PLANTED,
        first_name=PLANTED,
        last_name=PLANTED,
        represented=PLANTED,
        relation=Relation.GUARDIAN,
        phone=PLANTED,
    )
    made = draft(requests, now, Kind.FACE, photo(face()), answers=planted)
    for path in (f"/opt-out/{made.id}", f"/opt-out/{made.id}/photos", f"/opt-out/{made.id}/check"):
        assert "<script>" not in submit.get(path).body
    assert "&lt;script&gt;" in submit.get(f"/opt-out/{made.id}/check").body
    case = requests.confirm(made.id, now)
    decision = Decision("d" * 22, Step.REJECT, "other", PLANTED, "anna")
    requests.decide(case.id, decision, case.version, now)
    page = submit.get(status_path(case))
    assert "<script>" not in page.body
    assert "&lt;script&gt;" in page.body


def test_answers_can_be_changed_and_the_kind_stays(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.IMAGE, photo())
    assert 'value="Amélie"' in submit.get(f"/opt-out/{made.id}").body
    answer = submit.post(f"/opt-out/{made.id}", FILLED | {"kind": "links", "first_name": "Zoë"})
    assert answer.location == f"/opt-out/{made.id}/check"
    changed = requests.get(made.id, now)
    assert (changed.kind, changed.answers.first_name) == (Kind.IMAGE, "Zoë")
    assert changed.photos == made.photos


def test_answers_changed_before_there_is_a_photo_lead_back_to_the_photos(
    submit: Api, requests: Requests, now: datetime
) -> None:
    made = draft(requests, now, Kind.FACE)
    answer = submit.post(f"/opt-out/{made.id}", FILLED)
    assert answer.location == f"/opt-out/{made.id}/photos"
    assert "There is a problem" not in submit.get(answer.location).text


def test_a_mistake_in_a_change_leaves_the_draft_as_it_was(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.IMAGE)
    assert submit.post(f"/opt-out/{made.id}", {}).status == 400
    assert requests.get(made.id, now) == made


# --- photos -----------------------------------------------------------------------------------------------------------


def test_the_photo_page_is_a_plain_form_straight_to_the_storage(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.FACE)
    page = submit.get(f"/opt-out/{made.id}/photos")
    form = re.search(
        r'<form method="post" action="(https://[^"]+)" enctype="multipart/form-data".*?</form>', page.body, re.S
    )
    assert form is not None
    origin = "https://" + form[1].split("/")[2]
    assert form[0].rindex('type="file"') > form[0].rindex('type="hidden"')
    assert 'name="success_action_redirect" value="https://optout.example.org/opt-out/' in form[0]
    assert 'accept="image/jpeg,image/png,image/webp,image/gif,image/tiff,image/bmp,image/avif"' in form[0]
    for directive in ("img-src", "connect-src", "form-action"):
        assert f"{directive} 'self' {origin}; " in page.headers["Content-Security-Policy"]


def test_the_language_asked_for_goes_the_whole_way_and_stays_with_the_case(
    submit: Api, requests: Requests, now: datetime
) -> None:
    made = submit.post("/opt-out?lang=pl", FILLED | {"kind": "face"})
    here = made.location.partition("?")[0]
    assert made.location == f"{here}?lang=pl"
    case = here.split("/")[2]
    assert requests.get(case, now).language == "pl"
    back = re.search(r'name="success_action_redirect" value="([^"]*)"', submit.get(made.location).body)
    assert back is not None
    assert back[1].endswith("?lang=pl")
    requests.add_photo(case, photo(face()), now)
    assert submit.post(f"/opt-out/{case}/confirm?lang=ar").location == f"/opt-out/{case}/done?lang=ar"
    assert requests.get(case, now).language == "ar"


def test_several_faces_are_numbered_and_one_must_be_chosen(submit: Api, requests: Requests, now: datetime) -> None:
    two = photo(face(), face(300))
    made = draft(requests, now, Kind.FACE, two)
    here = f"/opt-out/{made.id}/photos"
    page = submit.get(here)
    assert "We see 2 faces. Which one is yours?" in page.text
    assert page.body.count('<rect class="seen"') == 2
    assert 'viewBox="0 0 800 600"' in page.body
    assert 'x="300" y="50" width="40" height="60"' in page.body
    assert "Choose the right face in photo 1" in page.text
    assert f'href="/opt-out/{made.id}/check"' not in page.body

    answer = submit.post(f"{here}/{two.ticket}/face", {"face": "1"})
    assert answer.location == f"{here}#photo-{two.ticket}"
    assert requests.photos(made.id)[0].chosen_face == 1
    page = submit.get(here)
    assert "You chose face 2." in page.text
    assert page.body.count('<rect class="chosen"') == 1
    assert f'href="/opt-out/{made.id}/check"' in page.body


@pytest.mark.parametrize("sent", [{}, {"face": ""}, {"face": "2"}, {"face": "-1"}, {"face": "²"}, {"face": "9" * 400}])
def test_a_face_that_is_not_there_cannot_be_chosen(
    submit: Api, requests: Requests, now: datetime, sent: dict[str, str]
) -> None:
    two = photo(face(), face(300))
    made = draft(requests, now, Kind.FACE, two)
    answer = submit.post(f"/opt-out/{made.id}/photos/{two.ticket}/face", sent)
    assert answer.location == f"/opt-out/{made.id}/photos?problem=face"
    assert "There is a problem" in submit.get(answer.location).text
    assert requests.photos(made.id)[0].chosen_face is None


@pytest.mark.parametrize(
    ("kind", "one", "words"),
    [
        (Kind.FACE, photo(face()), "We see one face."),
        (Kind.FACE, photo(), "We see no face in this photo."),
        (Kind.FACE, photo(off=True), "We cannot look for faces just now"),
        (Kind.IMAGE, photo(off=True, quality=49), "only exact copies of this file can be recognised"),
        (Kind.IMAGE, photo(off=True, quality=50), "We can recognise this picture and its copies."),
        (Kind.LINKS, photo(off=True), "The person who decides will see it with your links."),
    ],
)
def test_the_page_says_what_was_seen(
    submit: Api, requests: Requests, now: datetime, kind: Kind, one: Any, words: str
) -> None:
    made = draft(requests, now, kind, one)
    page = submit.get(f"/opt-out/{made.id}/photos")
    assert words in page.text
    assert f"photos/{made.id}/{one.picture}.jpg" in page.body


@pytest.mark.parametrize("code", wording.FACE_PROBLEMS)
def test_what_is_wrong_with_a_face_is_said_with_how_to_do_better(
    submit: Api, requests: Requests, now: datetime, code: str
) -> None:
    made = draft(requests, now, Kind.FACE, replace(photo(), face_problem=code))
    said = submit.get(f"/opt-out/{made.id}/photos").text
    for sentence in (wording.FACE_PROBLEMS[code], wording.FACE_ADVICE[code]):
        assert sentence in said
    assert "We see no face" not in said
    assert submit.get(f"/opt-out/{made.id}/check").location == f"/opt-out/{made.id}/photos"


def test_photos_that_do_not_show_the_same_person_are_pointed_out(
    submit: Api, requests: Requests, now: datetime
) -> None:
    one, other = (struct.pack("<128f", *([0.0] * place + [1.0] + [0.0] * (127 - place))) for place in (0, 1))
    alike = [photo(replace(face(), embedding=one)) for _ in range(2)]
    made = draft(requests, now, Kind.FACE, *alike)
    assert "same person" not in submit.get(f"/opt-out/{made.id}/photos").text
    made = draft(requests, now, Kind.FACE, *alike, photo(replace(face(), embedding=other)))
    said = submit.get(f"/opt-out/{made.id}/photos").text
    assert "Photos 1 and 3 do not seem to show the same person. Photos 2 and 3 do not seem" in said
    assert submit.get(f"/opt-out/{made.id}/check").status == 200


def test_agents_are_asked_about_the_person_they_ask_for(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.FACE, photo(face(), face(300)), answers=replace(ANSWERS, represented="My child"))
    said = submit.get(f"/opt-out/{made.id}/photos").text
    assert "Which one is the person you ask for?" in said
    assert "yours" not in said


@pytest.mark.parametrize("code", wording.PHOTO_PROBLEMS)
def test_each_photo_problem_is_explained(submit: Api, requests: Requests, now: datetime, code: str) -> None:
    made = draft(requests, now, Kind.FACE)
    page = submit.get(f"/opt-out/{made.id}/photos?problem={code}")
    assert wording.PHOTO_PROBLEMS[code] in page.text
    assert "<title>Error: " in page.body


def test_an_unknown_problem_is_none(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.FACE)
    page = submit.get(f"/opt-out/{made.id}/photos?problem=%3Cscript%3E")
    assert "There is a problem" not in page.text
    assert "script>" not in page.body.replace("</script>", "")


def test_five_photos_are_as_many_as_a_request_holds(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.IMAGE, *(photo() for _ in range(5)))
    page = submit.get(f"/opt-out/{made.id}/photos")
    assert 'type="file"' not in page.body
    assert "You have added five photos" in page.text


def test_a_removed_photo_is_gone_and_cannot_be_removed_twice(submit: Api, requests: Requests, now: datetime) -> None:
    one, other = photo(face()), photo(face())
    made = draft(requests, now, Kind.FACE, one, other)
    remove = f"/opt-out/{made.id}/photos/{one.ticket}/remove"
    assert submit.post(remove).location == f"/opt-out/{made.id}/photos"
    assert [kept.ticket for kept in requests.photos(made.id)] == [other.ticket]
    assert submit.post(remove).status == 404


@pytest.mark.parametrize(
    ("use", "kept", "gone", "words"),
    [
        ("cropped", "e", "b", "We use the cropped picture."),
        ("whole", "b", "e", "We keep the whole."),
    ],
)
def test_a_proposed_part_is_confirmed_or_not_and_the_copy_of_the_other_one_goes(
    submit: Api, requests: Requests, now: datetime, use: str, kept: str, gone: str, words: str
) -> None:
    part = ProposedCrop((0, 100, 800, 300), "e" * 64, 800, 300, 90, (b"p" * 32,) * 8, None)
    one = replace(photo(off=True), proposed=part)
    made = draft(requests, now, Kind.IMAGE, one)
    for name in (one.picture, part.picture):
        settings.aws("s3").put_object(Bucket="photos", Key=f"photos/{made.id}/{name}.jpg", Body=b"jpeg")
    here = f"/opt-out/{made.id}/photos"
    page = submit.get(here)
    assert "Is this the picture you mean?" in page.text
    assert "Say whether to use the cropped picture of photo 1" in page.text
    assert submit.get(f"/opt-out/{made.id}/check").location == here
    assert submit.post(f"{here}/{one.ticket}/crop", {"use": "neither"}).location == f"{here}?problem=crop"
    assert submit.post(f"{here}/{one.ticket}/crop", {"use": use}).location == f"{here}#photo-{one.ticket}"
    (settled,) = requests.photos(made.id)
    assert (settled.picture, settled.cropped) == (kept * 64, use == "cropped")
    left = settings.aws("s3").list_objects_v2(Bucket="photos", Prefix=f"photos/{made.id}/")["Contents"]
    assert [found["Key"] for found in left] == [f"photos/{made.id}/{kept * 64}.jpg"]
    # Said twice, the first word stands; also when it says otherwise.
    assert submit.post(f"{here}/{one.ticket}/crop", {"use": "cropped" if use == "whole" else "whole"}).status == 303
    assert requests.photos(made.id) == [settled]
    assert words in submit.get(here).text
    assert submit.get(f"/opt-out/{made.id}/check").status == 200
    assert submit.post(f"{here}/unknown-ticket-x/crop", {"use": use}).status == 404


def test_both_copies_go_with_a_photo_that_is_removed_before_anything_was_said(
    submit: Api, requests: Requests, now: datetime
) -> None:
    part = ProposedCrop((0, 100, 800, 300), "e" * 64, 800, 300, 90, (b"p" * 32,) * 8, None)
    one = replace(photo(off=True), proposed=part)
    made = draft(requests, now, Kind.IMAGE, one)
    for name in (one.picture, part.picture):
        settings.aws("s3").put_object(Bucket="photos", Key=f"photos/{made.id}/{name}.jpg", Body=b"jpeg")
    assert submit.post(f"/opt-out/{made.id}/photos/{one.ticket}/remove").status == 303
    assert settings.aws("s3").list_objects_v2(Bucket="photos", Prefix=f"photos/{made.id}/")["KeyCount"] == 0


# --- sending ----------------------------------------------------------------------------------------------------------


def test_the_check_page_shows_every_answer_with_a_way_to_change_it(
    submit: Api, requests: Requests, now: datetime
) -> None:
    answers = replace(ANSWERS, phone="030 1234", represented="My child", relation=Relation.PARENT)
    made = draft(requests, now, Kind.LINKS, answers=answers)
    page = submit.get(f"/opt-out/{made.id}/check")
    for words in (
        "https://example.com/a",
        "This is private.",
        "My child, as a parent",
        "Amélie Müller",
        "030 1234",
        "Germany",
    ):
        assert words in page.text
    for field in ("links", "explanation", "on_behalf_of", "first_name", "email", "phone", "country", "good_faith"):
        assert f'href="/opt-out/{made.id}#{field}"' in page.body
        assert f'id="{field}"' in submit.get(f"/opt-out/{made.id}").body
    assert "We promise a decision about links within 7 days." in page.text


def test_an_incomplete_request_cannot_be_sent_and_says_what_is_missing(
    submit: Api, requests: Requests, now: datetime
) -> None:
    made = draft(requests, now, Kind.FACE, photo())
    assert submit.get(f"/opt-out/{made.id}/check").location == f"/opt-out/{made.id}/photos"
    assert submit.post(f"/opt-out/{made.id}/confirm").location == f"/opt-out/{made.id}/photos?problem=incomplete"
    page = submit.get(f"/opt-out/{made.id}/photos?problem=incomplete")
    assert "Add a photo that shows the face clearly" in page.text
    assert '<a href="#upload">' in page.body
    assert requests.get(made.id, now).status is Status.DRAFT


def test_sending_twice_is_sending_once_and_the_page_gives_number_and_date(
    submit: Api, requests: Requests, now: datetime
) -> None:
    made = draft(requests, now, Kind.FACE, photo(face()))
    challenge = unescape(re.findall(r'data-challenge="([^"]*)"', submit.get(f"/opt-out/{made.id}/check").body)[0])
    proof = {"proof": proof_of_work.solved(challenge)}
    first, second = (submit.post(f"/opt-out/{made.id}/confirm", proof) for _ in range(2))
    assert first.location == second.location == f"/opt-out/{made.id}/done"
    case = requests.get(made.id, now)
    assert (case.status, case.version) == (Status.PENDING, made.version + 1)
    page = submit.get(first.location)
    assert case.number in page.text
    assert case.due_at is not None
    assert wording.date(case.due_at) in page.text
    assert "within 72 hours" in page.text
    assert "amelie" not in page.body


def test_a_sent_request_can_no_longer_be_changed(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    here = f"/opt-out/{case.id}"
    for path in (here, f"{here}/photos", f"{here}/check"):
        assert submit.get(path).location == f"{here}/done"
    ticket = case.photos[0]
    for path, sent in (
        (here, FILLED),
        (here, {}),
        (f"{here}/photos/{ticket}/face", {"face": "0"}),
        (f"{here}/photos/{ticket}/remove", {}),
    ):
        page = submit.post(path, sent)
        assert page.status == 409
        assert "answer our letter" in page.text
    assert requests.get(case.id, now) == case


def test_a_draft_has_no_done_page(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.LINKS)
    assert submit.get(f"/opt-out/{made.id}/done").location == f"/opt-out/{made.id}/check"


def test_a_draft_of_yesterday_is_not_there_any_more(submit: Api, requests: Requests, now: datetime) -> None:
    old = draft(requests, now - deadlines.DRAFT_LIFETIME - timedelta(minutes=1), Kind.LINKS)
    page = submit.get(f"/opt-out/{old.id}/photos")
    assert page.status == 404
    assert "not sent within 24 hours is deleted" in page.text


# --- afterwards -------------------------------------------------------------------------------------------------------


def test_the_status_page_tells_the_story_and_the_date(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    page = submit.get(status_path(case))
    assert case.number in page.text
    assert case.due_at is not None
    for words in ("Waiting for our decision", "You sent your request", wording.date(case.due_at), "Withdraw this"):
        assert words in page.text
    assert "Müller" not in page.body


@pytest.mark.parametrize(
    ("step", "reason", "words"),
    [
        (Step.ACCEPT, "shows_requester", ["Accepted", "What it covers", "Withdraw this request"]),
        (Step.REJECT, "public_interest", ["Not accepted", "If you disagree", "You can appeal until", "Look again."]),
    ],
)
def test_a_decision_is_shown_with_reason_words_and_how_to_appeal(
    submit: Api, requests: Requests, now: datetime, step: Step, reason: str, words: list[str]
) -> None:
    case = pending(requests, now)
    requests.decide(case.id, Decision("d" * 22, step, reason, "Look again.", "anna"), case.version, now)
    page = submit.get(status_path(case))
    for expected in [*words, wording.reason(step, reason)]:
        assert expected in page.text
    assert "anna" not in page.body
    if step is Step.REJECT:
        assert wording.date(now + deadlines.APPEAL_WINDOW) in page.text
        assert "Withdraw this request" not in page.text


def test_a_revocation_is_shown_once_it_is_confirmed_and_not_before(
    submit: Api, requests: Requests, now: datetime
) -> None:
    case = pending(requests, now)
    decision = Decision("d" * 22, Step.ACCEPT, "shows_requester", "", "anna")
    case = requests.decide(case.id, decision, case.version, now)
    case = requests.propose_revocation(
        case.id, Revocation("accepted_by_mistake", "We are sorry.", "anna", now), case.version, now
    )
    page = submit.get(status_path(case))
    assert "We are sorry." not in page.text
    requests.confirm_revocation(case.id, "ben", now)
    page = submit.get(status_path(case))
    for words in ("No longer in force", "We are sorry.", "accepted this request by mistake", "If you disagree"):
        assert words in page.text


def test_withdrawing_takes_the_link_and_a_button_and_nothing_else(
    submit: Api, requests: Requests, now: datetime
) -> None:
    case = pending(requests, now)
    path = status_path(case)
    assert "Do you want to withdraw" in submit.get(f"{path}/withdraw").text
    assert requests.get(case.id, now).status is Status.PENDING
    for _ in range(2):
        assert submit.post(f"{path}/withdraw").location == f"{path}/withdraw"
    assert requests.get(case.id, now).status is Status.WITHDRAWN
    assert "You have withdrawn your request" in submit.get(f"{path}/withdraw").text
    assert "You withdrew your request" in submit.get(path).text


def test_an_address_is_verified_by_a_button_and_not_by_opening_the_link(
    submit: Api, requests: Requests, now: datetime
) -> None:
    case = pending(requests, now)
    path = verify_path(case)
    assert "Yes, this is my email address" in submit.get(path).text
    assert "Please confirm your email address" in submit.get(status_path(case)).text
    assert requests.get(case.id, now).verified_at is None
    for _ in range(2):
        assert submit.post(path).location == path
    verified = requests.get(case.id, now)
    assert (verified.version, verified.hold is not None) == (case.version + 1, True)
    page = submit.get(path).text
    assert "Your email address is confirmed" in page
    assert wording.HELD[case.kind] in page
    assert "Yes, this is my email address" not in page
    page = submit.get(status_path(case)).text
    assert "You confirmed your email address" in page
    assert wording.HELD[case.kind] in page
    assert "Send the letter again" not in page


def test_whoever_is_not_held_back_is_told_so(
    submit: Api, requests: Requests, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVISIONAL", "off")
    case = pending(requests, now)
    assert "hold back" not in submit.get(verify_path(case)).text
    submit.post(verify_path(case))
    for path in (verify_path(case), status_path(case)):
        assert wording.UNHELD[Unheld.OFF] in submit.get(path).text


def test_the_link_of_a_closed_case_says_that_it_has_no_use(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    requests.withdraw(case.id, now)
    assert submit.post(verify_path(case)).status == 303
    page = submit.get(verify_path(case))
    assert "There is nothing to confirm any more" in page.text
    assert requests.get(case.id, now).verified_at is None


def test_a_link_verifies_in_its_time_and_for_its_purpose_only(
    submit: Api, requests: Requests, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = pending(requests, now)
    status, verify = status_path(case), verify_path(case)
    assert submit.post(status.replace("/status/", "/verify/")).status == 404
    assert submit.get(verify.replace("/verify/", "/status/")).status == 404
    monkeypatch.setattr(links, "_VERIFICATION_LIFETIME_S", -1)
    for answer in (submit.get(verify), submit.post(verify)):
        assert answer.status == 410
        assert f"works for {deadlines.VERIFICATION_LINK.days} days" in answer.text
        assert "have the letter sent again" in answer.text
    assert requests.get(case.id, now).verified_at is None


def test_the_first_letter_can_be_sent_again_but_not_at_once(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    path = status_path(case)
    assert "Send the letter again" in submit.get(path).text
    assert submit.post(f"{path}/letter").location == path
    page = submit.get(path).text
    assert "We sent the letter again" in page
    assert "Send the letter again" not in page
    assert submit.post(f"{path}/letter").status == 409
    assert len(requests._items(case.id, "letter#")) == 2


def test_what_is_over_cannot_be_withdrawn(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    requests.decide(case.id, Decision("d" * 22, Step.REJECT, "no_match", "No.", "anna"), case.version, now)
    path = status_path(case)
    assert submit.get(f"{path}/withdraw").location == path
    assert submit.post(f"{path}/withdraw").status == 409


def test_a_forged_or_revoked_link_opens_nothing(submit: Api, requests: Requests, now: datetime) -> None:
    case = pending(requests, now)
    forged = links.status_token(case, "another secret")
    revoked = links.status_token(replace(case, link_version=0), settings.link_secret())
    for token in (forged, revoked, "x", "ü", "a.b.c"):
        for answer in (submit.get(f"/status/{token}"), submit.post(f"/status/{token}/withdraw")):
            assert answer.status == 404
            assert case.number not in answer.body


def test_an_expired_link_says_so(
    submit: Api, requests: Requests, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = pending(requests, now)
    path = status_path(case)
    monkeypatch.setattr(links, "_STATUS_LIFETIME_S", -1)
    page = submit.get(path)
    assert page.status == 410
    assert "This link has expired" in page.text


def test_a_link_to_a_draft_opens_nothing(submit: Api, requests: Requests, now: datetime) -> None:
    assert submit.get(status_path(draft(requests, now, Kind.LINKS))).status == 404


def test_opening_pages_changes_nothing(submit: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.FACE, photo(face()))
    case = pending(requests, now)
    status = status_path(case)
    before = table()
    for path in (
        f"/opt-out/{made.id}",
        f"/opt-out/{made.id}/photos",
        f"/opt-out/{made.id}/check",
        f"/opt-out/{made.id}/done",
        f"/opt-out/{case.id}/done",
        status,
        f"{status}/withdraw",
        verify_path(case),
    ):
        assert submit.get(path).status in {200, 303}
    assert table() == before


# --- anything at all --------------------------------------------------------------------------------------------------

anything = st.text(max_size=80)
a_form = st.one_of(
    st.text(),
    st.dictionaries(st.sampled_from(["kind", "face", *forms.FIELDS]), anything).map(urlencode),
    st.sampled_from(Kind).flatmap(
        lambda kind: st.dictionaries(st.sampled_from(forms.FIELDS), anything).map(
            lambda changed: urlencode(FILLED | {"kind": kind.value} | changed)
        )
    ),
)


@in_moto
@given(a_form)
def test_no_body_of_any_public_post_is_a_server_error(
    submit: Api, requests: Requests, now: datetime, body: str
) -> None:
    made = draft(requests, now, Kind.FACE, photo(face(), face(300)))
    ticket = made.photos[0]
    for path in (
        "/opt-out",
        f"/opt-out/{made.id}",
        f"/opt-out/{made.id}/photos/{ticket}/face",
        f"/opt-out/{made.id}/photos/{ticket}/remove",
        f"/opt-out/{made.id}/confirm",
        "/status/x/withdraw",
        "/status/x/letter",
        "/verify/x",
    ):
        answer = submit.send(event("POST", path, body))
        assert answer.status in {303, 400, 404}, path


@in_moto
@given(st.text(min_size=1), st.text(min_size=1))
@example("x" * 3000, "x" * 3000)
@example("A" * 22, "A" * 16)
def test_no_id_ticket_or_token_is_a_server_error(submit: Api, one: str, other: str) -> None:
    for method, path in (
        ("GET", f"/opt-out/{one}"),
        ("GET", f"/opt-out/{one}/photos"),
        ("GET", f"/opt-out/{one}/check"),
        ("GET", f"/opt-out/{one}/done"),
        ("POST", f"/opt-out/{one}/confirm"),
        ("POST", f"/opt-out/{one}/photos/{other}/face"),
        ("POST", f"/opt-out/{one}/photos/{other}/remove"),
        ("GET", f"/status/{one}"),
        ("GET", f"/status/{one}/withdraw"),
        ("POST", f"/status/{one}/withdraw"),
        ("POST", f"/status/{one}/letter"),
        ("GET", f"/verify/{one}"),
        ("POST", f"/verify/{one}"),
        ("GET", f"/static/{one}"),
        ("GET", f"/static/vendor/{one}"),
    ):
        given_event = event(method, "/", "face=0") | {"path": path}
        assert submit.send(given_event).status in {303, 404}, path


def test_nothing_personal_is_ever_logged(
    submit: Api, requests: Requests, now: datetime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = io.StringIO()
    for handler in (*submit.module.logger.handlers, *http.logger.handlers):
        monkeypatch.setattr(handler, "stream", said)
    answer = submit.post("/opt-out", FILLED | {"kind": "links"})
    made = started(answer)
    submit.post("/opt-out", FILLED | {"kind": "face", "email": "bad"})
    submit.get(f"/opt-out/{made}/check")
    submit.post(f"/opt-out/{made}/confirm")
    path = status_path(requests.get(made, now))
    submit.get(path)

    def fail(*_: object) -> None:
        raise ValueError(" ".join(map(str, FILLED.values())))

    monkeypatch.setattr(Requests, "withdraw", fail)
    assert submit.post(f"{path}/withdraw").status == 500
    logged = said.getvalue() + capsys.readouterr().out
    assert json.loads(said.getvalue().splitlines()[-1])["error_type"] == "ValueError"
    planted = [str(value) for name, value in FILLED.items() if name in {field.name for field in fields(ANSWERS)}]
    for secret in [made, path.split("/")[2], *(value for value in planted if len(value) > 3)]:
        assert secret not in logged
