"""Lookups: a sure answer or none, and one broken item never spoils the others."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.message import Message
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from local.place import REPOSITORY
from optout.errors import RequestInvalid
from optout.exclusions.entry import FaceExclusion, ImageExclusion, Scope, State
from optout.exclusions.log import Current, Version
from optout.exclusions.matcher import ExclusionList, Outcome, Reason
from optout.fingerprint import Fingerprint
from optout.fingerprint.faces import FACE_MODEL
from optout.lookups import (
    MAX_BODY_BYTES,
    MAX_FACES,
    MAX_ID_LENGTH,
    MAX_ITEMS,
    MAX_PICTURE_BYTES,
    MAX_PICTURES,
    TIME_BUDGET_S,
    Answer,
    Result,
    answer,
    parse,
)

LINK = "https://a.example/excluded"
OTHER_LINK = "https://a.example/other"


@cache
def picture(seed: int, form: str = "PNG") -> bytes:
    """A picture with structure, different for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((128, 128), Image.Resampling.BICUBIC).save(out, form)
    return out.getvalue()


@cache
def plain(colour: str = "white") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, "PNG")
    return out.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def vector(seed: int) -> bytes:
    direction = np.random.default_rng(seed).normal(size=128)
    return bytes((direction / np.linalg.norm(direction)).astype("<f4").tobytes())


EXCLUDED = Fingerprint.of(picture(1), faces=False)
OTHER = Fingerprint.of(picture(2), faces=False)
OTHER_SIGNALS: dict[str, Any] = {
    "url": OTHER_LINK,
    "sha256": OTHER.sha256,
    "pdq": (OTHER.pdq or b"").hex(),
    "pdq_quality": OTHER.quality,
    "faces": [b64(vector(9))],
    "faces_model": FACE_MODEL,
}


@cache
def full_list() -> ExclusionList:
    """One exclusion of each scope."""
    exclusions = ExclusionList()
    exclusions.add_image("picture", EXCLUDED)
    exclusions.add(FaceExclusion("person", (vector(1),), FACE_MODEL, State.ACCEPTED))
    exclusions.add_link("link", LINK)
    return exclusions


def current(exclusions: ExclusionList) -> Current:
    return Current(exclusions, Version(1, 17), datetime(2026, 11, 24, tzinfo=UTC))


def asked(*items: Any, scopes: list[str] | None = None, exclusions: ExclusionList | None = None) -> list[Result]:
    body: dict[str, Any] = {"items": list(items)} | ({"scopes": scopes} if scopes is not None else {})
    lookup = parse(json.dumps(body).encode())
    now = current(full_list() if exclusions is None else exclusions)
    return answer(lookup, now, 1.0, clock=lambda: 0.0).results


def verdict(scopes: list[str] | None = None, exclusions: ExclusionList | None = None, **item: Any) -> Result:
    (result,) = asked({"id": "a"} | item, scopes=scopes, exclusions=exclusions)
    return result


# ---- verdicts


@pytest.mark.parametrize(
    ("signals", "signal", "exclusion_id"),
    [
        ({"sha256": EXCLUDED.sha256}, "sha256", "picture"),
        ({"sha256": (EXCLUDED.sha256 or "").upper()}, "sha256", "picture"),
        ({"pdq": (EXCLUDED.pdq or b"").hex()}, "pdq", "picture"),
        *(({"pdq": code.hex()}, "pdq", "picture") for code in EXCLUDED.dihedral[1:]),
        ({"picture": b64(picture(1))}, "sha256", "picture"),
        ({"picture": b64(picture(1, "JPEG"))}, "pdq", "picture"),
        ({"faces": [b64(vector(9)), b64(vector(1))], "faces_model": FACE_MODEL}, "face", "person"),
        ({"url": LINK}, "url", "link"),
        ({"url": "HTTPS://A.example:443/excluded?utm_source=x#top"}, "url", "link"),
    ],
)
def test_any_signal_of_something_excluded_excludes(signals: dict[str, Any], signal: str, exclusion_id: str) -> None:
    result = verdict(**signals)
    assert (result.verdict, result.reason) == ("exclude", "match")
    match = result.matches[0]
    assert (match.exclusion_id, match.signal) == (exclusion_id, signal)
    assert match.distance <= match.threshold
    assert result.retry_after_s is None


def test_what_gave_every_signal_and_matches_nothing_is_allowed() -> None:
    result = verdict(**OTHER_SIGNALS)
    assert (result.verdict, result.reason, result.missing) == ("allow", "no_match", [])
    assert result.coverage == list(Scope)


@pytest.mark.parametrize(
    ("left_out", "missing"), [(("url",), "url"), (("pdq", "pdq_quality"), "pdq"), (("faces", "faces_model"), "faces")]
)
def test_without_a_needed_signal_nothing_is_allowed(left_out: tuple[str, ...], missing: str) -> None:
    result = verdict(**{name: value for name, value in OTHER_SIGNALS.items() if name not in left_out})
    assert (result.verdict, result.reason, result.missing) == ("defer", "missing_signals", [missing])
    assert result.retry_after_s is None


def test_scopes_narrow_what_is_asked() -> None:
    assert verdict(url=OTHER_LINK).verdict == "defer"
    result = verdict(["link"], url=OTHER_LINK)
    assert (result.verdict, result.coverage) == ("allow", ["link"])
    assert verdict(["image"], url=LINK, pdq=OTHER_SIGNALS["pdq"]).verdict == "allow"


def test_faces_of_another_model_count_as_missing() -> None:
    result = verdict(**(OTHER_SIGNALS | {"faces": [b64(vector(1))], "faces_model": "arcface"}))
    assert (result.verdict, result.missing) == ("defer", ["faces"])


def test_faces_of_an_unnamed_model_are_invalid() -> None:
    result = verdict(faces=[b64(vector(1))])
    assert (result.verdict, result.reason) == ("invalid", "faces_model:missing")
    assert verdict(**(OTHER_SIGNALS | {"faces": [], "faces_model": None})).verdict == "allow"


def test_signals_of_another_fingerprint_version_are_not_compared() -> None:
    result = verdict(**(OTHER_SIGNALS | {"fingerprint_version": "0"}))
    assert (result.verdict, result.missing) == ("defer", ["pdq", "faces"])


def test_a_picture_gives_all_its_signals() -> None:
    assert verdict(picture=b64(picture(2)), url=OTHER_LINK).verdict == "allow"
    assert verdict(picture=b64(picture(2))).missing == ["url"]


def test_a_named_sha256_is_the_originals() -> None:
    """The picture that is sent is a small copy; what was published is told by its hash."""
    small, original = b64(picture(2)), EXCLUDED.sha256
    assert verdict(picture=small, url=OTHER_LINK, sha256=original).verdict == "exclude"


def test_a_plain_picture_is_told_by_its_bytes() -> None:
    exclusions = ExclusionList()
    exclusions.add_image("plain", Fingerprint.of(plain(), faces=False))
    assert verdict(picture=b64(plain()), exclusions=exclusions).verdict == "exclude"
    assert verdict(pdq="0" * 64, pdq_quality=0, exclusions=exclusions).missing == ["sha256"]
    assert verdict(pdq="0" * 64, pdq_quality=0, sha256="0" * 64, exclusions=exclusions).verdict == "allow"


def test_bytes_that_were_sent_exclude_but_only_a_named_hash_clears_a_plain_picture() -> None:
    exclusions = ExclusionList()
    exclusions.add_image("plain", Fingerprint.of(plain(), faces=False))
    another = b64(plain("grey"))
    assert verdict(picture=another, exclusions=exclusions).missing == ["sha256"]
    assert verdict(picture=another, sha256="0" * 64, exclusions=exclusions).verdict == "allow"
    assert verdict(picture=b64(picture(2)), exclusions=exclusions).verdict == "allow"


def test_a_pending_case_defers_until_a_person_has_decided() -> None:
    exclusions = ExclusionList()
    exclusions.add(ImageExclusion("waiting", EXCLUDED.sha256 or "", EXCLUDED.dihedral, State.PENDING))
    result = verdict(sha256=EXCLUDED.sha256, exclusions=exclusions)
    assert (result.verdict, result.reason) == ("defer", "pending_case")
    assert result.retry_after_s is not None
    assert result.retry_after_s >= 3600


def test_items_that_were_not_reached_are_deferred_and_the_others_answered() -> None:
    lookup = parse(json.dumps({"items": [{"id": str(n), "url": LINK} for n in range(4)]}).encode())
    ticks = iter([0.0, 0.9, 1.0, 1.1])
    results = answer(lookup, current(full_list()), 1.0, clock=lambda: next(ticks)).results
    assert [(result.id, result.verdict) for result in results] == [
        ("0", "exclude"),
        ("1", "exclude"),
        ("2", "defer"),
        ("3", "defer"),
    ]
    assert (results[3].reason, results[3].retry_after_s) == ("time_budget", 1)


# ---- broken items


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "item:model_type"),
        ([], "item:model_type"),
        ("x", "item:model_type"),
        ({}, "id:missing"),
        ({"id": 1, "url": LINK}, "id:string_type"),
        ({"id": "", "url": LINK}, "id:string_too_short"),
        ({"id": "x" * 129, "url": LINK}, "id:string_too_long"),
        ({"id": "a"}, "item:no_signal"),
        ({"id": "a", "md5": "0" * 32}, "md5:extra_forbidden"),
        ({"id": "a", "sha256": "0" * 63}, "sha256:not_64_hex_digits"),
        ({"id": "a", "pdq": "g" * 64}, "pdq:not_64_hex_digits"),
        ({"id": "a", "pdq": "0" * 64, "pdq_quality": 101}, "pdq_quality:less_than_equal"),
        ({"id": "a", "pdq": "0" * 64, "pdq_quality": True}, "pdq_quality:int_type"),
        ({"id": "a", "url": "ftp://a.example/"}, "url:not_a_web_address"),
        ({"id": "a", "url": "/relative"}, "url:not_a_web_address"),
        ({"id": "a", "url": "https://a.example/" + "x" * 3000}, "url:too_long"),
        ({"id": "a", "faces": ["###"], "faces_model": FACE_MODEL}, "faces.0:not_base64"),
        ({"id": "a", "faces": [b64(b"x" * 511)], "faces_model": FACE_MODEL}, "faces.0:not_128_numbers"),
        ({"id": "a", "faces": [b64(b"x" * 5000)], "faces_model": FACE_MODEL}, "faces.0:too_large"),
        ({"id": "a", "faces": [b64(bytes(512))], "faces_model": FACE_MODEL}, "faces.0:not_a_direction"),
        ({"id": "a", "faces": [b64(b"\xff" * 512)], "faces_model": FACE_MODEL}, "faces.0:not_a_direction"),
        ({"id": "a", "faces": [""] * 101, "faces_model": FACE_MODEL}, "faces:too_long"),
        ({"id": "a", "picture": "###"}, "picture:not_base64"),
        ({"id": "a", "picture": "é" * 8}, "picture:not_base64"),
        ({"id": "a", "picture": ""}, "picture:empty"),
        ({"id": "a", "picture": b64(b"hello, this is no picture")}, "picture:not_a_picture"),
        ({"id": "a", "picture": b64(picture(1)[:-40])}, "picture:damaged"),
        ({"id": "a", "picture": b64(bytes(MAX_PICTURE_BYTES + 1))}, "picture:too_large"),
        ({"id": "a", "url": "https://\ud800.example/"}, "url:not_a_web_address"),
        ({"id": "a\ud800", "url": LINK}, "id:string_unicode"),
        ({"id": "a\n", "url": LINK}, "id:not_printable"),
        ({"id": "a", "url": LINK, "\ud800": 1}, "item:string_unicode"),
    ],
)
def test_a_broken_item_is_invalid_with_its_reason_and_spoils_no_other(item: Any, reason: str) -> None:
    broken, fine = asked(item, {"id": "fine", "url": LINK})
    assert (broken.verdict, broken.reason) == ("invalid", reason)
    assert (broken.matches, broken.coverage, broken.missing, broken.retry_after_s) == ([], [], [], None)
    assert (fine.id, fine.verdict) == ("fine", "exclude")


def test_the_second_item_of_one_id_is_invalid() -> None:
    first, second = asked({"id": "a", "url": LINK}, {"id": "a", "url": OTHER_LINK})
    assert first.verdict == "exclude"
    assert (second.id, second.verdict, second.reason) == ("a", "invalid", "id:duplicate")


def test_a_picture_that_the_detector_fails_on_is_invalid_and_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("deep inside OpenCV")

    monkeypatch.setattr(Fingerprint, "of", fail)
    broken, fine = asked({"id": "a", "picture": b64(picture(1))}, {"id": "fine", "url": LINK})
    assert (broken.verdict, broken.reason) == ("invalid", "item:not_examined")
    assert fine.verdict == "exclude"


@pytest.mark.parametrize("failing", [RuntimeError, RequestInvalid])
def test_an_item_that_the_search_fails_on_is_invalid_and_spoils_no_other(
    failing: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ExclusionList.check_many

    def fail(self: ExclusionList, items: Any, **asked: Any) -> Any:
        items = list(items)
        if any(url == OTHER_LINK for _, url in items):
            raise failing({"url": "no"})
        return real(self, items, **asked)

    monkeypatch.setattr(ExclusionList, "check_many", fail)
    first, broken, last = asked({"id": "a", "url": LINK}, {"id": "b", "url": OTHER_LINK}, {"id": "c", "url": LINK})
    assert broken.reason == ("url:no" if failing is RequestInvalid else "item:not_examined")
    assert (first.verdict, broken.verdict, last.verdict) == ("exclude", "invalid", "exclude")


@given(st.lists(st.sampled_from(["excluded", "other", "person", "plain", "broken"]), max_size=8), st.integers(1, 4))
def test_many_items_are_answered_as_each_alone(kinds: list[str], size: int) -> None:
    signals: dict[str, dict[str, Any]] = {
        "excluded": {"sha256": EXCLUDED.sha256},
        "other": OTHER_SIGNALS,
        "person": OTHER_SIGNALS | {"faces": [b64(vector(1)), b64(vector(9))]},
        "plain": {"pdq": "0" * 64, "pdq_quality": 0},
        "broken": {"pdq": "x"},
    }
    items = [{"id": str(place), **signals[kind]} for place, kind in enumerate(kinds)]
    alone = [asked(item)[0] for item in items]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("optout.lookups.CHUNK", size)
        assert asked(*items) == alone


def test_an_answer_about_the_bytes_that_were_sent_holds_when_the_original_is_not_named() -> None:
    exclusions = ExclusionList(reviews_per_day=1e5)
    exclusions.add(FaceExclusion("person", (vector(1),), FACE_MODEL, State.ACCEPTED))
    seen = np.frombuffer(vector(1), dtype="<f4")
    away = np.frombuffer(vector(2), dtype="<f4")
    away = (away - (away @ seen) * seen) / np.linalg.norm(away - (away @ seen) * seen)
    doubtful = b64((0.44 * seen + np.sqrt(1 - 0.44**2) * away).astype("<f4").tobytes())
    item = {"picture": b64(picture(2)), "faces": [doubtful], "faces_model": FACE_MODEL}
    assert verdict(exclusions=exclusions, **item).verdict == "review"
    exclusions.remember("person", OTHER.sha256 or "", same=False)
    assert verdict(exclusions=exclusions, **item).verdict == "allow"
    exclusions.remember("person", OTHER.sha256 or "", same=True)
    assert verdict(exclusions=exclusions, **item).verdict == "exclude"


# ---- the whole


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        (b"", {"body": "not_json"}),
        (b"{", {"body": "not_json"}),
        (b"\xff", {"body": "not_json"}),
        (b'{"items": [NaN]}', {"body": "not_json"}),
        (b"[" * 100_000, {"body": "not_json"}),
        (b"1" * 5_000, {"body": "not_json"}),
        (b"[]", {"body": "not_an_object"}),
        (b"null", {"body": "not_an_object"}),
        (b"{}", {"items": "missing"}),
        (b'{"items": {}}', {"items": "list_type"}),
        (b'{"items": [], "min_version": 1}', {"min_version": "string_type"}),
        (b'{"items": [], "scopes": ["sound"]}', {"scopes.0": "enum"}),
        (b'{"items": [], "scope": ["image"]}', {"scope": "extra_forbidden"}),
        (b'{"items": [], "\\ud800": 1}', {"lookup": "string_unicode"}),
        (json.dumps({"items": [{}] * 1001}).encode(), {"items": "too_long"}),
        (json.dumps({"items": [{"picture": ""}] * (MAX_PICTURES + 1)}).encode(), {"items": "more_than_100_pictures"}),
    ],
)
def test_what_is_no_lookup_is_refused_with_the_field(body: bytes, problems: dict[str, str]) -> None:
    with pytest.raises(RequestInvalid) as refused:
        parse(body)
    assert refused.value.problems == problems


def test_an_empty_lookup_tells_the_version() -> None:
    found = answer(parse(b'{"items": []}'), current(full_list()), 1.0, clock=lambda: 0.0)
    assert (found.version, found.results) == ("1.17", [])


@pytest.mark.parametrize("text", ["", "1", "1.", "x.1", "-1.2", "1.2.3", "\u0661.1", "9" * 40 + ".1"])
def test_a_version_that_is_none_is_refused(text: str) -> None:
    lookup = parse(json.dumps({"items": [], "min_version": text}).encode())
    with pytest.raises(RequestInvalid):
        _ = lookup.oldest


# ---- anything at all

_FACES = st.lists(st.sampled_from([b64(vector(n)) for n in (1, 9, 10)] + ["", "AAAA"]), max_size=2)
_SIGNALS: dict[str, st.SearchStrategy[Any]] = {
    "url": st.sampled_from([LINK, OTHER_LINK, "", "x"]) | st.text(max_size=10),
    "sha256": st.sampled_from([EXCLUDED.sha256, OTHER.sha256, "0" * 64, ""]),
    "pdq": st.sampled_from([OTHER_SIGNALS["pdq"], "0" * 64, "f" * 63])
    | st.binary(min_size=32, max_size=32).map(bytes.hex),
    "pdq_quality": st.integers(-1, 101),
    "faces": _FACES,
    "faces_model": st.sampled_from([FACE_MODEL, "other"]),
    "fingerprint_version": st.sampled_from(["1", "0"]),
    "picture": st.sampled_from([b64(plain()), b64(picture(3)), "", "AAAA"]),
    "id": st.text(st.characters(exclude_categories=()), max_size=3),
}
_NEARLY = st.fixed_dictionaries({}, optional=_SIGNALS)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(_NEARLY | _JSON, max_size=3))
def test_nothing_is_allowed_without_the_signals_it_needs(items: list[Any]) -> None:
    results = asked(*items)
    assert len(results) == len(items)
    for item, result in zip(items, results, strict=True):
        if result.verdict != "allow":
            continue
        pictured = "picture" in item
        assert item["url"] != LINK
        assert pictured or "pdq" in item or ("sha256" in item and item["pdq_quality"] < 50)
        # That there is no face, any model can say. Vectors of another model are as good as none; with the picture at
        # hand its faces are measured here.
        assert pictured or item["faces"] == [] or item["faces_model"] == FACE_MODEL
        assert item.get("fingerprint_version", "1") == "1"
        assert item.get("faces_model") != FACE_MODEL or b64(vector(1)) not in item.get("faces", [])
        assert item.get("sha256") != EXCLUDED.sha256


def test_an_answer_is_what_the_description_says() -> None:
    found = answer(parse(json.dumps({"items": [{"id": "a", "url": LINK}, {}]}).encode()), current(full_list()), 1.0)
    assert Answer.model_validate_json(found.model_dump_json()) == found


# ---- what crawlers are told

GUIDE = (REPOSITORY / "docs" / "crawlers.md").read_text()


def test_crawlers_are_told_what_to_do_with_every_verdict_and_reason() -> None:
    rows = [line.split("|") for line in GUIDE.splitlines() if line.startswith("| `")]
    told = {(row[1].strip(" `"), row[2].strip(" `")) for row in rows}
    for reason, outcome in {
        Reason.MATCH: Outcome.EXCLUDE,
        Reason.DOUBTFUL_MATCH: Outcome.REVIEW,
        Reason.PENDING_CASE: Outcome.DEFER,
        Reason.SUSPENDED: Outcome.DEFER,
        Reason.NO_MATCH: Outcome.ALLOW,
        Reason.MISSING_SIGNALS: Outcome.DEFER,
        Reason.MODEL_MISMATCH: Outcome.DEFER,
        Reason.TIME_BUDGET: Outcome.DEFER,
    }.items():
        assert (outcome.value, reason.value) in told
    assert {verdict for verdict, _ in told} >= {outcome.value for outcome in Outcome}
    assert {reason.value for reason in Reason} <= {reason for _, reason in told}


def test_crawlers_are_told_the_limits() -> None:
    for limit in (MAX_BODY_BYTES, MAX_ITEMS, MAX_PICTURES, MAX_PICTURE_BYTES, MAX_FACES, MAX_ID_LENGTH):
        assert f"{limit:,}" in GUIDE
    assert f"{TIME_BUDGET_S:.0f} s" in GUIDE
    assert FACE_MODEL in GUIDE


class _Refused(urllib.error.HTTPError):
    def __init__(self, status: int) -> None:
        headers = Message()
        headers["Retry-After"] = "2"
        super().__init__("https://optout.example.org", status, "refused", headers, None)


def test_the_guides_example_signs_asks_again_and_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    example: dict[str, Any] = {}
    exec(GUIDE.split("```python\n")[1].split("```")[0], example)  # noqa: S102
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unit")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unit")
    asked: list[urllib.request.Request] = []
    slept: list[float] = []
    answers: list[Any] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> Any:
        asked.append(request)
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return io.BytesIO(found)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.setattr("time.sleep", slept.append)

    item = example["item"]("a", picture(2), OTHER_LINK)
    assert verdict(**{name: value for name, value in item.items() if name != "id"}).verdict == "allow"
    results = [{"id": "a", "verdict": "allow"}, {"id": "b", "verdict": "defer"}, {"id": "c", "verdict": "new"}]
    answers[:] = [_Refused(503), json.dumps({"results": results}).encode()]
    assert example["may_be_indexed"](example["check"]([item], "1.17")) == {"a"}
    assert slept == [2]
    assert asked[0].headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=unit/")
    assert isinstance(asked[0].data, bytes)
    assert parse(asked[0].data).min_version == "1.17"

    answers[:] = [_Refused(503)] * 5
    with pytest.raises(RuntimeError):
        example["check"]([item])
    answers[:] = [_Refused(403)]
    with pytest.raises(urllib.error.HTTPError):
        example["check"]([item])
