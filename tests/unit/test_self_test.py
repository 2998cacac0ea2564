"""Testing a picture against one's own case."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image

from optout import deadlines
from optout.errors import (
    EnoughTested,
    LinkInvalid,
    NothingToExclude,
    PhotoNotFound,
    PhotoUnreadable,
    RequestNotFound,
    StateConflict,
)
from optout.examination import examine_tested, look_at
from optout.exclusions.face_rates import face_threshold
from optout.fingerprint import Fingerprint
from optout.requests import Answers, Kind, OptOutRequest, Photo, SeenFace, Status, Step
from optout.self_test import Caught, would_catch
from optout.settings import aws, photos_bucket
from optout.store import MAX_TESTED, Photos, Requests
from tests.pictures import picture
from tests.storage import storage
from tests.unit.test_added_photos import ANSWERS, accepted, add, photo, sent, vector
from tests.unit.test_store import NOW, decision, store

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield store()


@pytest.fixture
def photos(requests: Requests) -> Photos:
    return Photos.from_settings()


def edited(name: str) -> bytes:
    """A copy: a fifth is cut off on the right and below, and it is saved again at half the size."""
    with Image.open(io.BytesIO(picture(name))) as opened:
        cut = opened.convert("RGB").crop((0, 0, int(opened.width * 0.8), int(opened.height * 0.8)))
    out = io.BytesIO()
    cut.resize((cut.width // 2, cut.height // 2)).save(out, "JPEG", quality=70)
    return out.getvalue()


def case_of(requests: Requests, kind: Kind, *names: str, accept: bool = True) -> OptOutRequest:
    seen = [look_at(picture(name), f"ticket{number:016}", kind)[0] for number, name in enumerate(names)]
    return (accepted if accept else sent)(requests, *seen, kind=kind)


def uploaded(photos: Photos, test_id: str, data: bytes) -> str:
    ticket = photos.ticket(test_id, "https://optout.example.org/test").ticket
    aws("s3").put_object(Bucket=photos_bucket(), Key=f"raw/{test_id}/{ticket}", Body=data)
    return ticket


def answer(requests: Requests, photos: Photos, case: OptOutRequest, data: bytes) -> Caught:
    test_id = requests.begin_test(case, NOW)
    return examine_tested(requests, photos, test_id, uploaded(photos, test_id, data), NOW)[1]


def kept(photos: Photos) -> list[str]:
    return [found["Key"] for found in photos._versions("")]


def test_a_case_catches_copies_of_its_picture_and_no_other_picture(requests: Requests, photos: Photos) -> None:
    case = case_of(requests, Kind.IMAGE, "chelsea.png")
    assert answer(requests, photos, case, picture("chelsea.png")) is Caught.SURELY
    assert answer(requests, photos, case, edited("chelsea.png")) is Caught.SURELY
    assert answer(requests, photos, case, picture("coffee.png")) is Caught.NOT


def test_nothing_is_said_about_what_other_people_excluded(requests: Requests, photos: Photos) -> None:
    case_of(requests, Kind.IMAGE, "coffee.png")
    mine = case_of(requests, Kind.IMAGE, "chelsea.png")
    assert answer(requests, photos, mine, picture("coffee.png")) is Caught.NOT


def test_an_open_case_can_be_tested_before_it_is_decided(requests: Requests, photos: Photos) -> None:
    case = case_of(requests, Kind.IMAGE, "chelsea.png", accept=False)
    assert answer(requests, photos, case, edited("chelsea.png")) is Caught.SURELY


def test_a_face_is_caught_and_another_persons_is_not(requests: Requests, photos: Photos) -> None:
    case = case_of(requests, Kind.FACE, "obama.jpg")
    assert answer(requests, photos, case, edited("obama.jpg")) is Caught.SURELY
    assert answer(requests, photos, case, picture("biden.jpg")) is Caught.NOT
    assert answer(requests, photos, case, picture("coffee.png")) is Caught.NO_FACE


def leaning(cosine: float) -> list[float]:
    """A face that is so much like `photo(1)`'s."""
    return list(cosine * np.array(vector(1)) + np.sqrt(1 - cosine**2) * np.array(vector(9)))


@pytest.mark.parametrize(
    ("cosine", "said"),
    [
        (face_threshold(1_000_000) + 0.001, Caught.SURELY),
        (face_threshold(1_000_000) - 0.001, Caught.PERHAPS),
        (face_threshold(1) + 0.001, Caught.PERHAPS),
        (0.3, Caught.NOT),
    ],
)
def test_what_depends_on_the_length_of_the_list_is_said_to_do_so(
    requests: Requests, cosine: float, said: Caught
) -> None:
    case = accepted(requests, photo(1))
    fingerprint = Fingerprint.from_signals(faces=[leaning(cosine)])
    assert would_catch(case, requests.photos(case.id), fingerprint) is said


def test_photos_added_later_count_once_they_are_accepted(requests: Requests) -> None:
    case = add(requests, accepted(requests, photo(1)), photo(2))
    fingerprint = Fingerprint.from_signals(faces=[vector(2)])
    assert would_catch(case, requests.photos(case.id), fingerprint) is Caught.NOT
    case = requests.decide_added(case.id, "berta", case.version, LATER, accept=True)
    assert would_catch(case, requests.photos(case.id), fingerprint) is Caught.SURELY


def test_nothing_of_a_tested_picture_is_kept(requests: Requests, photos: Photos) -> None:
    case = case_of(requests, Kind.IMAGE, "chelsea.png")
    before = requests._items(case.id)
    answer(requests, photos, case, picture("coffee.png"))
    assert kept(photos) == []
    assert requests._items(case.id) == before
    with pytest.raises(PhotoUnreadable):
        answer(requests, photos, case, b"no picture")
    assert kept(photos) == []


def test_a_test_takes_so_many_pictures_and_no_more(requests: Requests, photos: Photos) -> None:
    case = case_of(requests, Kind.IMAGE, "chelsea.png")
    test_id = requests.begin_test(case, NOW)
    for _ in range(MAX_TESTED):
        requests.count_tested(test_id)
    ticket = uploaded(photos, test_id, picture("coffee.png"))
    with pytest.raises(EnoughTested):
        examine_tested(requests, photos, test_id, ticket, NOW)
    assert kept(photos) == []


def test_nothing_uploaded_is_said_and_not_counted(requests: Requests, photos: Photos) -> None:
    test_id = requests.begin_test(case_of(requests, Kind.IMAGE, "chelsea.png"), NOW)
    with pytest.raises(PhotoNotFound):
        examine_tested(requests, photos, test_id, "t" * 16, NOW)
    assert requests._get(f"test#{test_id}", "test")["left"] == MAX_TESTED  # type: ignore[index]


def test_a_test_ends_after_a_day_and_with_its_case_and_with_its_links(requests: Requests, photos: Photos) -> None:
    case = case_of(requests, Kind.IMAGE, "chelsea.png")
    test_id = requests.begin_test(case, NOW)
    assert requests.tested_case(test_id, NOW).id == case.id
    with pytest.raises(RequestNotFound):
        requests.tested_case(test_id, NOW + deadlines.DRAFT_LIFETIME)
    with pytest.raises(RequestNotFound):
        requests.tested_case("x" * 22, NOW)
    requests.revoke_links(case.id, NOW)
    with pytest.raises(LinkInvalid):
        requests.tested_case(test_id, NOW)
    again = requests.begin_test(requests.get(case.id, NOW), NOW)
    requests.withdraw(case.id, NOW)
    with pytest.raises(StateConflict):
        requests.tested_case(again, NOW)


def test_cases_that_exclude_nothing_by_pictures_are_not_tested(requests: Requests) -> None:
    answers = Answers("DE", "Why", "Ada", "L", "a@example.org", good_faith=True, links=("https://example.com/a",))
    links = requests.confirm(requests.create_draft(Kind.LINKS, answers, "hash", NOW).id, NOW)
    refused = sent(requests, photo(1))
    refused = requests.decide(refused.id, decision(Step.REJECT), None, NOW)
    for case in (links, refused, requests.create_draft(Kind.IMAGE, ANSWERS, "hash", NOW)):
        with pytest.raises(StateConflict):
            requests.begin_test(case, NOW)


def test_a_case_whose_photos_are_gone_has_nothing_to_compare_with(requests: Requests, photos: Photos) -> None:
    case = case_of(requests, Kind.IMAGE, "chelsea.png")
    requests.forget_photos(case.id, NOW)
    with pytest.raises(NothingToExclude):
        answer(requests, photos, case, picture("chelsea.png"))
    assert kept(photos) == []


def test_a_face_without_a_chosen_one_is_no_exclusion() -> None:
    case = OptOutRequest("id", "N", Kind.FACE, Status.ACCEPTED, 1, ANSWERS, "hash", NOW)
    unchosen = Photo("t", "0" * 64, "0" * 64, 1, 1, 0, (), (SeenFace((0, 0, 1, 1), 1.0, bytes(512)),), "model", None)
    with pytest.raises(NothingToExclude):
        would_catch(case, [unchosen], Fingerprint.from_signals(faces=[vector(1)]))
