"""Where S3 sends a browser after an upload."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from optout import deadlines
from optout.fingerprint import Fingerprint
from optout.requests import Kind, OptOutRequest, new_ticket
from optout.settings import aws
from optout.store import Photos, Requests
from tests.pictures import picture, screenshot
from tests.unit.functions.api import Answer, Api, event
from tests.unit.functions.cases import draft, face, pending, photo


def upload(request: OptOutRequest, data: bytes, ticket: str | None = None) -> str:
    """What a presigned POST leaves behind."""
    ticket = ticket or new_ticket()
    aws("s3").put_object(Bucket="photos", Key=f"raw/{request.id}/{ticket}", Body=data)
    return ticket


def objects(prefix: str) -> list[str]:
    """Keys of every version, delete markers included."""
    found = aws("s3").list_object_versions(Bucket="photos", Prefix=prefix)
    return [one["Key"] for one in found.get("Versions", []) + found.get("DeleteMarkers", [])]


def arrive(examine: Api, request: OptOutRequest, ticket: str, query: str = "") -> Answer:
    return examine.get(f"/opt-out/{request.id}/photos/{ticket}{query}")


def test_an_upload_becomes_a_photo_with_a_clean_copy_and_no_raw_file(
    examine: Api, requests: Requests, now: datetime
) -> None:
    made = draft(requests, now, Kind.FACE)
    ticket = upload(made, picture("obama.jpg"))
    answer = arrive(examine, made, ticket)
    assert answer.status == 303
    assert answer.location == f"/opt-out/{made.id}/photos#photo-{ticket}"
    (found,) = requests.photos(made.id)
    assert found.ticket == ticket
    assert found.chosen_face == 0
    assert objects(f"raw/{made.id}/") == []
    assert objects(f"photos/{made.id}/") == [f"photos/{made.id}/{found.picture}.jpg"]


def test_both_copies_of_a_screenshot_wait_for_the_requester(examine: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.IMAGE)
    arrive(examine, made, upload(made, screenshot("coffee.png")))
    (found,) = requests.photos(made.id)
    assert found.proposed is not None
    copies = {f"photos/{made.id}/{name}.jpg" for name in (found.picture, found.proposed.picture)}
    assert set(objects(f"photos/{made.id}/")) == copies
    assert objects(f"raw/{made.id}/") == []


def test_what_the_query_claims_is_not_read(examine: Api, requests: Requests, now: datetime) -> None:
    made, other = draft(requests, now, Kind.IMAGE), draft(requests, now, Kind.IMAGE)
    elsewhere = upload(other, picture("chelsea.png"))
    claimed = f"?bucket=photos&key=raw/{other.id}/{elsewhere}&etag=%22x%22&ticket={elsewhere}&draft={other.id}"
    answer = arrive(examine, made, new_ticket(), claimed)
    assert answer.location == f"/opt-out/{made.id}/photos?problem=nothing_arrived"
    assert requests.photos(made.id) == requests.photos(other.id) == []
    assert objects(f"raw/{other.id}/") != []


def test_a_forged_redirect_changes_nothing(examine: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.FACE, photo(face()))
    assert arrive(examine, made, new_ticket()).location == f"/opt-out/{made.id}/photos?problem=nothing_arrived"
    assert requests.get(made.id, now) == made


def test_replacing_the_upload_after_the_examination_changes_nothing(
    examine: Api, requests: Requests, now: datetime
) -> None:
    made = draft(requests, now, Kind.IMAGE)
    ticket = upload(made, picture("chelsea.png"))
    arrive(examine, made, ticket)
    before, copies = requests.photos(made.id), objects(f"photos/{made.id}/")
    upload(made, picture("coffee.png"), ticket)
    answer = arrive(examine, made, ticket)
    assert answer.location == f"/opt-out/{made.id}/photos#photo-{ticket}"
    assert requests.photos(made.id) == before
    assert objects(f"photos/{made.id}/") == copies


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 \n", "pdf"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "heic"),
        (b"hello", "not_a_picture"),
        (b"\xff\xd8\xff\xe0 cut off", "damaged"),
    ],
)
def test_of_a_file_that_is_no_picture_nothing_is_kept_and_the_page_says_why(
    examine: Api, requests: Requests, now: datetime, data: bytes, code: str
) -> None:
    made = draft(requests, now, Kind.FACE)
    answer = arrive(examine, made, upload(made, data))
    assert answer.location == f"/opt-out/{made.id}/photos?problem={code}"
    assert objects(f"raw/{made.id}/") == objects(f"photos/{made.id}/") == []
    assert requests.photos(made.id) == []


def test_a_sixth_photo_is_refused_and_not_kept(examine: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.IMAGE, *(photo() for _ in range(5)))
    answer = arrive(examine, made, upload(made, picture("chelsea.png")))
    assert answer.location == f"/opt-out/{made.id}/photos?problem=too_many_photos"
    assert objects(f"raw/{made.id}/") == objects(f"photos/{made.id}/") == []


def test_an_upload_to_a_request_that_was_sent_leads_to_its_last_page(
    examine: Api, requests: Requests, now: datetime
) -> None:
    case = pending(requests, now)
    answer = arrive(examine, case, upload(case, picture("chelsea.png")))
    assert answer.location == f"/opt-out/{case.id}/done"
    assert requests.get(case.id, now) == case


@pytest.mark.parametrize("step", ["keep", "discard_raw", "add_photo", "of_picture"])
def test_an_examination_that_dies_at_any_step_can_be_repeated(
    examine: Api, requests: Requests, now: datetime, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise RuntimeError(step)

    made = draft(requests, now, Kind.IMAGE)
    ticket = upload(made, picture("chelsea.png"))
    owner: Any = {"add_photo": Requests, "of_picture": Fingerprint}.get(step, Photos)
    with monkeypatch.context() as broken:
        broken.setattr(owner, step, die)
        assert arrive(examine, made, ticket).status == 500
    assert objects(f"raw/{made.id}/") != []
    assert arrive(examine, made, ticket).location == f"/opt-out/{made.id}/photos#photo-{ticket}"
    assert [found.ticket for found in requests.photos(made.id)] == [ticket]
    assert len(objects(f"photos/{made.id}/")) >= 1


def test_a_draft_of_yesterday_takes_no_photos(examine: Api, requests: Requests, now: datetime) -> None:
    old = draft(requests, now - deadlines.DRAFT_LIFETIME - timedelta(minutes=1), Kind.IMAGE)
    assert arrive(examine, old, upload(old, picture("chelsea.png"))).status == 404
    assert objects(f"photos/{old.id}/") == []


def test_a_script_that_follows_the_redirect_sets_nothing_off(examine: Api, requests: Requests, now: datetime) -> None:
    made = draft(requests, now, Kind.IMAGE)
    ticket = upload(made, b"no picture")
    answer = examine.get(f"/opt-out/{made.id}/photos/{ticket}", {"sec-fetch-mode": "cors"})
    assert (answer.status, answer.body, answer.headers["Access-Control-Allow-Origin"]) == (204, "", "null")
    assert objects(f"raw/{made.id}/") != []
    assert arrive(examine, made, ticket).location.endswith("?problem=not_a_picture")


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1), st.text(min_size=1))
@example("A" * 22, "A" * 16)
@example("x" * 3000, "x" * 3000)
def test_no_address_is_a_server_error(examine: Api, one: str, other: str) -> None:
    answer = examine.send(event("GET", "/") | {"path": f"/opt-out/{one}/photos/{other}"})
    assert answer.status == 404
