"""Pictures that never reach us: the codes of one picture are taken, anything else is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from optout import hashed
from optout.decisions import AcceptReason, Decision, exclusions_for
from optout.errors import RequestInvalid, StateConflict, TooManyHashed
from optout.exclusions.entry import ImageExclusion
from optout.exclusions.log import CurrentList, ExclusionLog
from optout.fingerprint import Fingerprint
from optout.fingerprint.pdq import pdq_hashes
from optout.requests import HASHED_PER_MONTH, Answers, Kind, Lane, OptOutRequest, Photo, Step, new_ticket
from optout.settings import aws
from optout.store import Requests
from tests.storage import storage

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ANSWERS = Answers("DE", "It is me", "Ada", "Lovelace", "ada@example.org")


def picture(seed: int) -> Image.Image:
    """Blots of many sizes: something with structure that is no other picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def codes(seed: int = 1) -> tuple[str, ...]:
    hashes, quality = pdq_hashes(np.asarray(picture(seed)))
    assert quality >= hashed.MIN_QUALITY
    return tuple(each.hex() for each in hashes)


def sent(seed: int = 1, **changes: str) -> dict[str, list[str]]:
    fields = {"sha256": "ab" * 32, "codes": " ".join(codes(seed)), "quality": "100", "width": "320", "height": "240"}
    return {name: [value] for name, value in (fields | changes).items()}


@pytest.fixture
def requests() -> Iterator[Requests]:
    with storage():
        yield Requests("Requests", ExclusionLog.from_settings(), aws("dynamodb"), pause=lambda seconds: None)


def intimate(requests: Requests, email_hash: str = "hash", at: datetime = NOW) -> OptOutRequest:
    return requests.create_draft(Kind.IMAGE, ANSWERS, email_hash, at, lane=Lane.INTIMATE)


def asked(requests: Requests, how_many: int, email_hash: str = "hash", at: datetime = NOW) -> OptOutRequest:
    draft = intimate(requests, email_hash, at)
    for _ in range(how_many):
        requests.add_photo(draft.id, hashed.read(sent()), at)
    return requests.confirm(draft.id, at)


# ---- what is taken


def test_the_codes_of_a_picture_are_taken_with_its_size_and_no_picture() -> None:
    photo = hashed.read(sent())
    expected = Photo(photo.ticket, "ab" * 32, None, 320, 240, 100, tuple(map(bytes.fromhex, codes())), None)
    assert photo == expected


@given(st.integers(0, 1_000))
def test_the_eight_codes_of_any_picture_belong_together(seed: int) -> None:
    assert hashed.read(sent(seed)).dihedral[0].hex() == codes(seed)[0]


@given(st.integers(0, 1_000), st.integers(1, 7), st.integers(1, 7))
def test_a_code_of_another_picture_among_them_is_refused(seed: int, place: int, way: int) -> None:
    smuggled = list(codes(seed))
    smuggled[place] = codes(seed + 1)[way]
    with pytest.raises(RequestInvalid) as caught:
        hashed.read(sent(codes=" ".join(smuggled)))
    assert caught.value.problems == {"codes": "not_valid"}


@pytest.mark.parametrize(
    "code",
    [b"\x00" * 32, b"\xff" * 32, b"\x0f" * 16 + b"\x00" * 16, bytes(range(7, 39))],
    ids=str,
)
def test_what_no_picture_has_as_a_code_is_refused(code: bytes) -> None:
    with pytest.raises(RequestInvalid):
        hashed.read(sent(codes=" ".join([code.hex()] * 8)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", ""),
        ("sha256", "AB" * 32),
        ("sha256", "ab" * 33),
        ("sha256", "ab" * 32 + "\n"),
        ("codes", ""),
        ("codes", " ".join(codes()[:7])),
        ("codes", " ".join((*codes(), codes()[0]))),
        ("codes", "  ".join(codes())),
        ("codes", " ".join(codes()).upper()),
        ("quality", "49"),
        ("quality", "101"),
        ("quality", "\u0661\u0660\u0660"),
        ("quality", "1e2"),
        ("width", "0"),
        ("width", "-1"),
        ("height", "100000"),
        ("height", ""),
    ],
)
def test_a_field_that_is_not_right_is_named_and_never_quoted(field: str, value: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        hashed.read(sent(**{field: value}))
    assert caught.value.problems == {field: "not_valid"}
    with pytest.raises(RequestInvalid):
        hashed.read({name: values for name, values in sent().items() if name != field})


# ---- where it is taken


@pytest.mark.parametrize(("kind", "lane"), [(kind, lane) for kind in Kind for lane in Lane])
def test_only_intimate_pictures_of_adults_may_come_by_code(requests: Requests, kind: Kind, lane: Lane) -> None:
    draft = requests.create_draft(kind, ANSWERS, "hash", NOW, lane=lane)
    if (kind, lane) == (Kind.IMAGE, Lane.INTIMATE):
        assert requests.add_photo(draft.id, hashed.read(sent()), NOW).hashed
    else:
        with pytest.raises(StateConflict):
            requests.add_photo(draft.id, hashed.read(sent()), NOW)


def test_a_case_knows_which_pictures_nobody_has_seen(requests: Requests) -> None:
    draft = intimate(requests)
    by_code = hashed.read(sent())
    seen = replace(by_code, ticket=new_ticket(), picture="cd" * 32)
    requests.add_photo(draft.id, by_code, NOW)
    assert requests.get(draft.id, NOW).hash_only
    requests.add_photo(draft.id, seen, NOW)
    case = requests.confirm(draft.id, NOW)
    assert (case.hashed, case.hash_only) == ((by_code.ticket,), False)
    assert requests.photos(case.id) == [by_code, seen]
    assert requests.related(case, requests.photos(case.id)) == []


def test_a_picture_taken_out_again_is_forgotten(requests: Requests) -> None:
    draft = intimate(requests)
    photo = hashed.read(sent())
    requests.add_photo(draft.id, photo, NOW)
    after = requests.remove_photo(draft.id, photo.ticket, NOW)
    assert (after.photos, after.hashed, after.hash_only) == ((), (), False)


# ---- how many


def test_an_address_sends_so_many_by_code_in_a_month_and_no_more(requests: Requests) -> None:
    for _ in range(HASHED_PER_MONTH // 5):
        asked(requests, 5)
    with pytest.raises(TooManyHashed):
        asked(requests, 1)
    assert asked(requests, 1, "another").hashed
    assert asked(requests, 5, at=NOW + timedelta(days=31)).hashed, "the next month begins anew"


def test_sending_twice_counts_once(requests: Requests) -> None:
    case = asked(requests, 5)
    for _ in range(HASHED_PER_MONTH):
        assert requests.confirm(case.id, NOW) == case


def test_pictures_added_later_count_too(requests: Requests) -> None:
    case = asked(requests, 1)
    for _ in range(HASHED_PER_MONTH // 5 - 1):
        asked(requests, 5)
    draft = requests.begin_addition(case, NOW)
    for _ in range(4):
        requests.add_photo(draft.id, hashed.read(sent()), NOW)
    joined = requests.confirm(draft.id, NOW)
    assert len(joined.hashed) == 5
    assert joined.hash_only
    with pytest.raises(TooManyHashed):
        asked(requests, 1)


# ---- what an acceptance makes of it


def test_an_accepted_code_excludes_the_picture_turned_mirrored_and_resized(requests: Requests) -> None:
    case = asked(requests, 1)
    (exclusion,) = exclusions_for(case, requests.photos(case.id))
    assert isinstance(exclusion, ImageExclusion)
    assert exclusion.sha256 == "ab" * 32
    requests.decide(case.id, Decision("d", Step.ACCEPT, AcceptReason.SHOWS_REQUESTER, "", "anna"), None, NOW)
    current = CurrentList(ExclusionLog.from_settings(), false_exclusions_per_million=1000).refresh()
    image = picture(1)
    for copy in (
        image,
        image.resize((160, 120)),
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        image.transpose(Image.Transpose.ROTATE_90),
        image.resize((640, 480)).transpose(Image.Transpose.TRANSVERSE),
    ):
        found = Fingerprint.from_signals(pdq=pdq_hashes(np.asarray(copy))[0][0].hex())
        (verdict,) = current.list.check_many([(found, None)])
        assert {match.exclusion_id for match in verdict.matches} == {exclusion.exclusion_id}
    other = Fingerprint.from_signals(pdq=codes(2)[0])
    (verdict,) = current.list.check_many([(other, None)])
    assert not verdict.matches
