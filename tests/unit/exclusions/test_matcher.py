import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from optout import ExclusionList, Fingerprint
from optout.errors import RequestInvalid
from optout.exclusions.entry import FaceExclusion, ImageExclusion, LinkExclusion, Scope, State, url_hash
from optout.exclusions.face_rates import face_threshold, false_share, review_threshold
from optout.exclusions.matcher import MAX_MATCHES, STRUCTURED_QUALITY, Outcome, Reason, Verdict
from optout.fingerprint import FACE_MODEL, Face
from tests.pictures import beside, picture

LINK = "https://example.com/a?b=1"
TURNS = [None, *Image.Transpose]
PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "motorcycle_left.png"]


@cache
def of(name: str) -> Fingerprint:
    return Fingerprint.of(picture(name))


@cache
def copy_of(name: str, turn: Image.Transpose | None, quality: int = 40, scale: float = 0.6) -> Fingerprint:
    """A turned, resized and recompressed copy."""
    image = ImageOps.scale(Image.open(io.BytesIO(picture(name))).convert("RGB"), scale)
    out = io.BytesIO()
    (image if turn is None else image.transpose(turn)).save(out, "JPEG", quality=quality)
    return Fingerprint.of(out.getvalue())


def plain(shade: int) -> Fingerprint:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (shade,) * 3).save(out, "PNG")
    return Fingerprint.of(out.getvalue())


def face(seed: int, towards: Face | None = None, cosine: float = 0.0) -> Face:
    """A face of a made-up person; `towards` and `cosine` make it so much like another."""
    other = np.random.default_rng(seed).normal(size=128)
    if towards is not None:
        base = towards.embedding.astype(np.float64)
        other -= (other @ base) * base
        other = cosine * base + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
    return Face((0, 0, 90, 90), 0.9, (other / np.linalg.norm(other)).astype(np.float32))


def vector(one: Face) -> bytes:
    return one.embedding.astype("<f4").tobytes()


def said(verdict: Verdict) -> tuple[str, str]:
    return str(verdict.verdict), str(verdict.reason)


def one(verdict: Verdict, signal: str) -> float:
    [match] = [match for match in verdict.matches if match.signal == signal]
    assert match.distance <= match.threshold
    return match.distance


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PHOTOS)
def test_a_picture_matches_itself(name: str) -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of(name))
    verdict = excluded.check(of(name))
    assert said(verdict) == ("exclude", "match")
    assert one(verdict, "sha256") == 0
    assert one(verdict, "pdq") == 0
    assert {match.exclusion_id for match in verdict.matches} == {"case-1"}


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("turn", TURNS)
def test_a_picture_matches_its_turned_resized_and_recompressed_copies(name: str, turn: Image.Transpose | None) -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of(name))
    verdict = excluded.check(copy_of(name, turn))
    assert said(verdict) == ("exclude", "match")
    assert one(verdict, "pdq") <= 31


def test_other_pictures_are_allowed() -> None:
    for name in PHOTOS:
        excluded = ExclusionList()
        excluded.add_image("case-1", of(name))
        for other in PHOTOS:
            if other != name:
                verdict = excluded.check(of(other))
                assert said(verdict) == ("allow", "no_match")
                assert verdict.matches == ()


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(PHOTOS),
    st.floats(0.6, 1),
    st.floats(0.6, 1),
    st.sampled_from(TURNS),
    st.integers(40, 95),
)
def test_any_cut_of_a_photo_matches_itself_and_its_eight_orientations(
    name: str, width: float, height: float, turn: Image.Transpose | None, quality: int
) -> None:
    whole = Image.open(io.BytesIO(picture(name))).convert("RGB")
    cut = whole.crop((0, 0, int(whole.width * width), int(whole.height * height)))
    saved, copied = io.BytesIO(), io.BytesIO()
    cut.save(saved, "PNG")
    turned = cut if turn is None else cut.transpose(turn)
    turned.save(copied, "JPEG", quality=quality)
    original, copy = (Fingerprint.of(out.getvalue(), faces=False) for out in (saved, copied))
    excluded = ExclusionList()
    excluded.add_image("case-1", original)
    assert excluded.check(original).verdict is Outcome.EXCLUDE
    if not original.plain and not copy.plain:
        assert excluded.check(copy).verdict is Outcome.EXCLUDE


@given(st.binary(min_size=32, max_size=32), st.sets(st.integers(0, 255), max_size=60))
def test_pdq_matches_up_to_31_bits_and_not_beyond(code: bytes, flipped: set[int]) -> None:
    excluded = ExclusionList()
    excluded.add(ImageExclusion("case-1", "ab" * 32, (code,), State.ACCEPTED))
    other = (int.from_bytes(code) ^ sum(1 << bit for bit in flipped)).to_bytes(32).hex()
    verdict = excluded.check(Fingerprint.from_signals(pdq=other, quality=90))
    if len(flipped) <= 31:
        assert said(verdict) == ("exclude", "match")
        assert one(verdict, "pdq") == len(flipped)
    else:
        assert said(verdict) == ("allow", "no_match")


def test_a_plain_picture_matches_by_its_bytes_only() -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", plain(255))
    assert said(excluded.check(plain(255))) == ("exclude", "match")
    assert [match.signal for match in excluded.check(plain(255)).matches] == ["sha256"]
    assert said(excluded.check(plain(254))) == ("allow", "no_match")


def test_a_hash_of_a_plain_picture_does_not_match_by_chance() -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of("coffee.png"))
    signals = Fingerprint.from_signals(pdq=of("coffee.png").dihedral[0].hex(), quality=49, sha256="ab" * 32)
    assert said(excluded.check(signals)) == ("allow", "no_match")


def test_only_a_picture_of_known_bytes_can_be_excluded() -> None:
    with pytest.raises(ValueError, match="own bytes"):
        ExclusionList().add_image("case-1", Fingerprint.from_signals(pdq="00" * 32))


# --- faces ------------------------------------------------------------------------------------------------------------


def test_another_photo_of_an_excluded_person_is_excluded_and_another_person_is_not() -> None:
    faces = of("obama.jpg").faces
    assert faces is not None
    excluded = ExclusionList()
    excluded.add_face("person-1", faces[0])
    for name in ("obama2.jpg", "obama3.jpg", "obama_partial_face.jpg"):
        verdict = excluded.check(of(name))
        assert said(verdict) == ("exclude", "match")
        [match] = verdict.matches
        assert (match.exclusion_id, match.scope, match.signal) == ("person-1", Scope.FACE, "face")
        assert match.distance <= match.threshold == pytest.approx(1 - excluded.face_threshold)
    for name in ("biden.jpg", "astronaut.png", "chelsea.png"):
        assert said(excluded.check(of(name))) == ("allow", "no_match")


@pytest.mark.parametrize("turn", TURNS)
def test_an_excluded_face_is_recognised_in_a_turned_copy(turn: Image.Transpose | None) -> None:
    faces = of("obama.jpg").faces
    assert faces is not None
    excluded = ExclusionList()
    excluded.add_face("person-1", faces)
    assert said(excluded.check(copy_of("obama2.jpg", turn))) == ("exclude", "match")


@given(st.floats(-1, 1))
def test_a_face_is_excluded_exactly_from_the_threshold_on(cosine: float) -> None:
    enrolled = face(1)
    excluded = ExclusionList()
    excluded.add_face("person-1", enrolled)
    threshold = excluded.face_threshold
    if abs(cosine - threshold) < 1e-4:
        return
    verdict = excluded.check(Fingerprint(faces=(face(2, enrolled, cosine),)))
    assert (verdict.verdict is Outcome.EXCLUDE) == (cosine > threshold)


def test_any_of_several_faces_and_any_of_several_enrolled_photos_is_enough() -> None:
    excluded = ExclusionList()
    excluded.add_face("person-1", [face(1), face(2)])
    for enrolled in (1, 2):
        verdict = excluded.check(Fingerprint(faces=(face(7), face(8, face(enrolled), 0.9))))
        assert said(verdict) == ("exclude", "match")
    assert said(excluded.check(Fingerprint(faces=(face(7), face(8))))) == ("allow", "no_match")


def test_the_threshold_rises_with_the_list_from_its_floor() -> None:
    assert face_threshold(0) == face_threshold(1) == 0.45
    assert face_threshold(10_000) == pytest.approx(0.566)
    assert face_threshold(10_000, 100) == pytest.approx(0.566 + 0.049)
    excluded = ExclusionList()
    for number in range(200):
        excluded.add_face(f"person-{number}", face(number))
    assert excluded.face_threshold == pytest.approx(0.223 + 0.049 * np.log10(200 / 1e-3))
    strict = ExclusionList(false_exclusions_per_million=1)
    strict.add_face("person-1", face(1))
    assert strict.face_threshold > excluded.face_threshold


@pytest.mark.parametrize("target", [0, -1, 1_000_001])
def test_an_impossible_target_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="false_exclusions_per_million"):
        ExclusionList(false_exclusions_per_million=target)


def test_pending_faces_do_not_raise_the_threshold_of_accepted_ones() -> None:
    excluded = ExclusionList()
    excluded.add_face("person-1", face(1))
    for number in range(2, 300):
        excluded.add(FaceExclusion(f"person-{number}", (vector(face(number)),), FACE_MODEL, State.PENDING))
    assert excluded.face_threshold == face_threshold(1)


def test_what_the_photos_of_a_person_have_in_common_finds_them_where_no_single_photo_does() -> None:
    person = face(1)
    photos = [face(seed, person, 0.7) for seed in (2, 3, 4, 5, 6)]
    seen = Fingerprint(faces=(face(7, person, 0.63),))
    apart, together = ExclusionList(reviews_per_day=0), ExclusionList(reviews_per_day=0)
    for number in range(2_000):
        apart.add_face(f"other-{number}", face(100 + number))
        together.add_face(f"other-{number}", face(100 + number))
    for photo in photos:
        apart.add_face("person-1", photo)
    together.add_face("person-1", photos)
    assert apart.face_threshold == together.face_threshold
    assert said(apart.check(seen)) == ("allow", "no_match")
    assert said(together.check(seen)) == ("exclude", "match")


def test_photos_that_do_not_agree_are_searched_each_by_itself() -> None:
    excluded = ExclusionList()
    excluded.add_face("person-1", [face(1), face(2), face(3, face(2), 0.9)])
    for enrolled in (1, 2):
        assert one(excluded.check(Fingerprint(faces=(face(enrolled),))), "face") == pytest.approx(0, abs=1e-6)


def test_every_photo_counts_for_the_threshold_and_none_after_its_removal() -> None:
    excluded = ExclusionList()
    for number in range(100):
        person = face(number)
        excluded.add_face(f"person-{number}", [person, face(1_000 + number, person, 0.8)])
    assert excluded.face_threshold == face_threshold(200)
    for number in range(100):
        excluded.remove(f"person-{number}")
    assert excluded.face_threshold == face_threshold(0)


def test_a_face_just_below_the_threshold_goes_to_a_person_as_far_as_the_budget_reaches() -> None:
    excluded = ExclusionList(false_exclusions_per_million=10, reviews_per_day=50, crawled_faces_per_day=1e6)
    without = ExclusionList(false_exclusions_per_million=10, reviews_per_day=0)
    enrolled = face(1)
    for number in range(1_000):
        excluded.add_face(f"person-{number}", face(number))
        without.add_face(f"person-{number}", face(number))
    share = false_share(1_000, excluded.review_threshold) - false_share(1_000, excluded.face_threshold)
    assert share * 1e6 == pytest.approx(50)
    assert without.review_threshold == without.face_threshold == excluded.face_threshold
    between = (excluded.review_threshold + excluded.face_threshold) / 2
    seen = Fingerprint(faces=(face(-1 % 2**32, enrolled, between),))
    verdict = excluded.check(seen)
    assert said(verdict) == ("review", "doubtful_match")
    [match] = verdict.matches
    assert match.exclusion_id == "person-1"
    assert 1 - excluded.face_threshold < match.distance <= match.threshold == 1 - excluded.review_threshold
    assert said(without.check(seen)) == ("allow", "no_match")
    below = Fingerprint(faces=(face(-1 % 2**32, enrolled, excluded.review_threshold - 0.001),))
    assert said(excluded.check(below)) == ("allow", "no_match")


@given(st.integers(0, 10**7), st.floats(1, 1e5), st.floats(0, 1e5))
def test_the_budget_never_raises_what_is_excluded_and_is_never_exceeded(
    photos: int, per_million: float, per_day: float
) -> None:
    threshold = face_threshold(photos, per_million)
    lowest = review_threshold(photos, threshold, per_day / 1e6)
    assert lowest <= threshold
    assert (false_share(photos, lowest) - false_share(photos, threshold)) * 1e6 <= per_day * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize("choice", [{"reviews_per_day": -1}, {"crawled_faces_per_day": 0}])
def test_an_impossible_budget_is_refused(choice: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="reviews_per_day"):
        ExclusionList(**choice)


def test_a_pending_case_is_named_before_a_doubtful_match() -> None:
    excluded = ExclusionList()
    excluded.add_face("listed", face(1))
    near = face(2, face(1), (excluded.review_threshold + excluded.face_threshold) / 2)
    assert said(excluded.check(Fingerprint(faces=(near,)))) == ("review", "doubtful_match")
    excluded.add(FaceExclusion("asked", (vector(near),), FACE_MODEL, State.PENDING))
    assert said(excluded.check(Fingerprint(faces=(near,)))) == ("defer", "pending_case")


def test_one_listed_face_among_several_excludes_and_the_answer_says_where_it_is() -> None:
    both = Fingerprint.of(beside(picture("biden.jpg"), picture("obama2.jpg")))
    listed = of("obama.jpg").faces
    assert listed is not None
    excluded = ExclusionList()
    excluded.add_face("person-1", listed)
    verdict = excluded.check(both)
    assert said(verdict) == ("exclude", "match")
    [match] = verdict.matches
    assert match.box is not None
    assert match.box[0] >= 600
    assert verdict.to_dict()["matches"][0]["box"] == list(match.box)
    given_as_vectors = Fingerprint.from_signals(faces=[list(map(float, found.embedding)) for found in both.faces or ()])
    [match] = excluded.check(given_as_vectors).matches
    assert match.box is None


def test_no_face_at_all_cannot_be_excluded() -> None:
    with pytest.raises(ValueError, match="embeddings"):
        ExclusionList().add_face("person-1", ())


def test_faces_of_another_model_cannot_be_answered_for() -> None:
    excluded = ExclusionList()
    excluded.add(FaceExclusion("person-1", (vector(face(1)),), "another-model", State.ACCEPTED))
    verdict = excluded.check(Fingerprint(faces=(face(1),)))
    assert said(verdict) == ("defer", "model_mismatch")
    assert Scope.FACE not in verdict.coverage
    assert said(excluded.check(Fingerprint(faces=()), scopes=[Scope.IMAGE, Scope.LINK])) == ("allow", "no_match")
    excluded.remove("person-1")
    assert said(excluded.check(Fingerprint(faces=(face(1),)))) == ("allow", "no_match")


# --- links ------------------------------------------------------------------------------------------------------------


def test_an_excluded_address_is_excluded_however_it_is_spelled() -> None:
    excluded = ExclusionList()
    excluded.add_link("case-1", LINK)
    verdict = excluded.check(None, "HTTPS://Example.com:443/a?utm_source=x&b=1#c")
    assert said(verdict) == ("exclude", "match")
    assert one(verdict, "url") == 0
    assert said(excluded.check(None, "https://example.com/a?b=2")) == ("allow", "no_match")


def test_what_is_no_address_is_invalid() -> None:
    with pytest.raises(RequestInvalid):
        ExclusionList().check(None, "nonsense")
    with pytest.raises(RequestInvalid):
        ExclusionList().add_link("case-1", "nonsense")


# --- what is not known is not allowed ---------------------------------------------------------------------------------


def full_list() -> ExclusionList:
    excluded = ExclusionList()
    excluded.add_image("case-1", of("coffee.png"))
    excluded.add_image("case-2", plain(255))
    excluded.add_face("case-3", face(1))
    excluded.add_link("case-4", LINK)
    return excluded


EVERYTHING = Fingerprint.from_signals(sha256="ab" * 32, pdq="0f" * 32, quality=90, faces=[])


def test_an_empty_list_allows_everything() -> None:
    verdict = ExclusionList().check(Fingerprint())
    assert said(verdict) == ("allow", "no_match")
    assert verdict.coverage == tuple(Scope)


def test_with_every_signal_a_stranger_is_allowed() -> None:
    verdict = full_list().check(EVERYTHING, "https://example.org/")
    assert said(verdict) == ("allow", "no_match")
    assert verdict.missing == ()
    assert verdict.coverage == tuple(Scope)


@pytest.mark.parametrize("missing", ["sha256", "pdq", "faces", "url"])
def test_without_one_needed_signal_nothing_is_allowed(missing: str) -> None:
    signals = {"sha256": "ab" * 32, "pdq": "0f" * 32, "quality": STRUCTURED_QUALITY - 1, "faces": []}
    signals.pop(missing, None)
    url = None if missing == "url" else "https://example.org/"
    verdict = full_list().check(Fingerprint.from_signals(**signals), url)  # type: ignore[arg-type]
    assert said(verdict) == ("defer", "missing_signals")
    assert verdict.missing == (missing,)
    scope = {"sha256": Scope.IMAGE, "pdq": Scope.IMAGE, "faces": Scope.FACE, "url": Scope.LINK}[missing]
    assert verdict.coverage == tuple(other for other in Scope if other is not scope)


def test_signals_are_needed_only_for_what_is_on_the_list() -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of("coffee.png"))
    assert said(excluded.check(Fingerprint.from_signals(pdq="0f" * 32, quality=90))) == ("allow", "no_match")
    assert excluded.check(Fingerprint.from_signals(sha256="ab" * 32)).missing == ("pdq",)
    excluded.add_image("case-2", plain(255))
    for quality in (None, STRUCTURED_QUALITY - 1):
        assert excluded.check(Fingerprint.from_signals(pdq="0f" * 32, quality=quality)).missing == ("sha256",)
    structured = Fingerprint.from_signals(pdq="0f" * 32, quality=STRUCTURED_QUALITY)
    assert said(excluded.check(structured)) == ("allow", "no_match")
    excluded.remove("case-1")
    assert said(excluded.check(Fingerprint.from_signals(sha256="ab" * 32))) == ("allow", "no_match")


def test_a_plain_candidate_needs_its_bytes() -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of("coffee.png"))
    assert excluded.check(Fingerprint.from_signals(pdq="0f" * 32, quality=49)).missing == ("sha256",)
    known = Fingerprint.from_signals(pdq="0f" * 32, quality=49, sha256="ab" * 32)
    assert said(excluded.check(known)) == ("allow", "no_match")


def test_asking_for_fewer_scopes_needs_fewer_signals() -> None:
    excluded = full_list()
    verdict = excluded.check(None, "https://example.org/", scopes=["link"])
    assert said(verdict) == ("allow", "no_match")
    assert verdict.coverage == (Scope.LINK,)
    assert said(excluded.check(of("coffee.png"), scopes=[Scope.FACE])) == ("allow", "no_match")
    assert said(excluded.check(of("coffee.png"), scopes=[Scope.IMAGE])) == ("exclude", "match")
    with pytest.raises(ValueError, match="voice"):
        excluded.check(EVERYTHING, scopes=["voice"])


def test_signals_of_another_version_do_not_count_but_bytes_and_addresses_do() -> None:
    excluded = full_list()
    old = Fingerprint.from_signals(pdq="0f" * 32, quality=90, faces=[], sha256="ab" * 32, version="0")
    verdict = excluded.check(old, "https://example.org/")
    assert said(verdict) == ("defer", "missing_signals")
    assert verdict.missing == ("pdq", "faces")
    same = Fingerprint.from_signals(sha256=of("coffee.png").sha256, version="0")
    assert said(excluded.check(same)) == ("exclude", "match")
    plain_old = Fingerprint.from_signals(pdq="0f" * 32, quality=10, faces=[], sha256="ab" * 32, version="0")
    assert "pdq" in excluded.check(plain_old, "https://example.org/").missing


def test_a_match_excludes_whatever_else_is_missing() -> None:
    assert said(full_list().check(None, LINK)) == ("exclude", "match")


# --- pending and accepted ---------------------------------------------------------------------------------------------


def image_entry(exclusion_id: str, name: str, state: State) -> ImageExclusion:
    fingerprint = of(name)
    assert fingerprint.sha256 is not None
    return ImageExclusion(exclusion_id, fingerprint.sha256, fingerprint.codes, state)


def test_a_pending_case_holds_a_picture_back() -> None:
    excluded = ExclusionList()
    excluded.add(image_entry("case-1", "coffee.png", State.PENDING))
    verdict = excluded.check(copy_of("coffee.png", None))
    assert said(verdict) == ("defer", "pending_case")
    assert [match.exclusion_id for match in verdict.matches] == ["case-1"]
    assert said(excluded.check(of("rocket.jpg"))) == ("allow", "no_match")


def test_a_pending_entry_masks_no_accepted_one_and_needs_its_signals_too() -> None:
    excluded = ExclusionList()
    for number in range(2 * MAX_MATCHES):
        excluded.add(image_entry(f"pending-{number}", "coffee.png", State.PENDING))
    assert excluded.check(Fingerprint()).missing == ("pdq",)
    excluded.add(image_entry("accepted", "coffee.png", State.ACCEPTED))
    verdict = excluded.check(of("coffee.png"))
    assert said(verdict) == ("exclude", "match")
    assert {match.exclusion_id for match in verdict.matches} == {"accepted"}


def test_an_accepted_case_is_no_longer_pending() -> None:
    excluded = ExclusionList()
    excluded.add(image_entry("case-1", "coffee.png", State.PENDING))
    excluded.add(image_entry("case-1", "rocket.jpg", State.PENDING))
    excluded.add(image_entry("case-1", "coffee.png", State.ACCEPTED))
    assert said(excluded.check(of("coffee.png"))) == ("exclude", "match")
    assert said(excluded.check(of("rocket.jpg"))) == ("allow", "no_match")
    assert len(excluded) == 1


# --- the list itself --------------------------------------------------------------------------------------------------


def test_a_suspended_exclusion_holds_back_until_it_is_resumed() -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of("coffee.png"))
    excluded.add_image("case-1", of("rocket.jpg"))
    excluded.add_face("case-2", face(1))
    excluded.add_link("case-3", LINK)
    for case in ("case-1", "case-2", "case-3"):
        excluded.suspend(case)
        excluded.suspend(case)
    seen = Fingerprint.from_signals(faces=[face(1).embedding])
    questions = [(of("coffee.png"), None, "image"), (of("rocket.jpg"), None, "image"), (seen, None, "face")]
    for fingerprint, url, scope in [*questions, (Fingerprint(), LINK, "link")]:
        verdict = excluded.check(fingerprint, url, scopes=[scope])
        assert said(verdict) == ("defer", "suspended")
        assert verdict.matches
    assert len(excluded) == 3
    for case in ("case-1", "case-2", "case-3"):
        excluded.resume(case)
        excluded.resume(case)
    for fingerprint, url, scope in [*questions, (Fingerprint(), LINK, "link")]:
        assert said(excluded.check(fingerprint, url, scopes=[scope])) == ("exclude", "match")


def test_a_suspended_entry_masks_no_accepted_one_and_needs_its_signals_too() -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of("coffee.png"))
    excluded.add_image("case-2", of("coffee.png"))
    excluded.suspend("case-1")
    verdict = excluded.check(of("coffee.png"), scopes=["image"])
    assert said(verdict) == ("exclude", "match")
    assert {match.exclusion_id for match in verdict.matches} == {"case-2"}
    excluded.remove("case-2")
    assert said(excluded.check(Fingerprint(), scopes=["image"])) == ("defer", "missing_signals")


def test_a_suspended_face_holds_back_no_more_than_it_excluded() -> None:
    """Alone it would have the threshold of a list of one, and defer many whom it never excluded."""
    excluded = ExclusionList(false_exclusions_per_million=1, reviews_per_day=0)
    for number in range(1_000):
        excluded.add_face(f"person-{number}", face(number))
    between = (face_threshold(1, 1) + excluded.face_threshold) / 2
    seen = Fingerprint.from_signals(faces=[face(-1 % 2**32, towards=face(0), cosine=between).embedding])
    assert said(excluded.check(seen, scopes=["face"])) == ("allow", "no_match")
    excluded.suspend("person-0")
    assert said(excluded.check(seen, scopes=["face"])) == ("allow", "no_match")


def test_a_suspended_face_lets_nothing_through_that_a_person_would_have_looked_at() -> None:
    excluded = ExclusionList(false_exclusions_per_million=1)
    for number in range(1_000):
        excluded.add_face(f"person-{number}", face(number))
    doubtful = (excluded.review_threshold + excluded.face_threshold) / 2
    assert excluded.review_threshold < doubtful < excluded.face_threshold
    seen = Fingerprint.from_signals(faces=[face(-1 % 2**32, towards=face(0), cosine=doubtful).embedding])
    assert excluded.check(seen, scopes=["face"]).verdict == "review"
    excluded.suspend("person-0")
    assert said(excluded.check(seen, scopes=["face"])) == ("defer", "suspended")


def test_unknown_and_pending_exclusions_cannot_be_suspended_and_removed_ones_not_resumed() -> None:
    excluded = ExclusionList()
    excluded.suspend("nobody")
    excluded.resume("nobody")
    assert len(excluded) == 0
    excluded.add(image_entry("case-1", "coffee.png", State.PENDING))
    excluded.suspend("case-1")
    excluded.resume("case-1")
    assert said(excluded.check(of("coffee.png"), scopes=["image"])) == ("defer", "pending_case")
    excluded.add(image_entry("case-1", "coffee.png", State.ACCEPTED))
    excluded.suspend("case-1")
    excluded.remove("case-1")
    excluded.resume("case-1")
    assert len(excluded) == 0
    assert said(excluded.check(of("coffee.png"), scopes=["image"])) == ("allow", "no_match")


# --- a person's answers -----------------------------------------------------------------------------------------------

CANDIDATE = "c" * 64


def doubtful_list(people: int = 1_000) -> tuple[ExclusionList, Fingerprint]:
    """A list, and a picture with the SHA-256 `CANDIDATE` whose face is in the review band of `person-1`."""
    excluded = ExclusionList(false_exclusions_per_million=10, reviews_per_day=50, crawled_faces_per_day=1e6)
    for number in range(people):
        excluded.add_face(f"person-{number}", face(number))
    between = (excluded.review_threshold + excluded.face_threshold) / 2
    return excluded, Fingerprint(sha256=CANDIDATE, faces=(face(-1 % 2**32, face(1), between),))


def test_what_a_person_called_the_same_is_excluded_and_what_they_called_different_is_no_longer_doubtful() -> None:
    excluded, seen = doubtful_list()
    assert said(excluded.check(seen)) == ("review", "doubtful_match")
    excluded.remember("person-1", CANDIDATE, same=True)
    verdict = excluded.check(seen)
    assert said(verdict) == ("exclude", "match")
    assert [(match.exclusion_id, match.scope, match.signal) for match in verdict.matches] == [
        ("person-1", "face", "answer")
    ]
    assert said(excluded.check(Fingerprint(sha256=CANDIDATE))) == ("exclude", "match")
    assert said(excluded.check(seen, scopes=["image"])) == ("allow", "no_match")
    excluded.remember("person-1", CANDIDATE, same=False)
    assert said(excluded.check(seen)) == ("allow", "no_match")
    assert said(excluded.check(replace(seen, sha256="d" * 64))) == ("review", "doubtful_match")
    assert said(excluded.check(replace(seen, sha256=None))) == ("review", "doubtful_match")


def test_an_answer_follows_a_suspension_and_goes_with_its_exclusion() -> None:
    excluded, seen = doubtful_list()
    excluded.remember("person-1", CANDIDATE, same=True)
    excluded.suspend("person-1")
    assert said(excluded.check(Fingerprint(sha256=CANDIDATE, faces=()))) == ("defer", "suspended")
    excluded.resume("person-1")
    assert excluded.check(seen).verdict == "exclude"
    assert list(excluded.answers) == [("person-1", CANDIDATE, True)]
    excluded.remove("person-1")
    excluded.add_face("person-1", face(1))
    assert list(excluded.answers) == []
    assert excluded.check(seen).verdict == "review"
    excluded.remember("nobody", CANDIDATE, same=True)
    assert list(excluded.answers) == []


def test_what_was_called_different_hides_no_other_doubtful_hit() -> None:
    excluded = ExclusionList(false_exclusions_per_million=1, reviews_per_day=1000)
    shown = face(0)
    for number in range(MAX_MATCHES + 1):
        excluded.add_face(f"person-{number:02}", face(number + 1, shown, 0.54 - number / 1000))
    seen = Fingerprint(sha256=CANDIDATE, faces=(shown,))
    verdict = excluded.check(seen)
    assert said(verdict) == ("review", "doubtful_match")
    for match in verdict.matches:
        excluded.remember(match.exclusion_id, CANDIDATE, same=False)
    verdict = excluded.check(seen)
    assert said(verdict) == ("review", "doubtful_match")
    assert [match.exclusion_id for match in verdict.matches] == [f"person-{MAX_MATCHES:02}"]


@given(st.lists(st.tuples(st.sampled_from(["picture", "person", "page"]), st.booleans())))
def test_no_answer_takes_back_what_is_sure(answers: list[tuple[str, bool]]) -> None:
    excluded = ExclusionList()
    excluded.add_image("picture", of("coffee.png"))
    excluded.add_face("person", face(1))
    excluded.add_link("page", LINK)
    coffee = replace(of("coffee.png"), views=None)
    for seen, url in (
        (coffee, None),
        (replace(coffee, sha256=CANDIDATE), None),
        (Fingerprint(sha256=CANDIDATE, faces=(face(1),)), None),
        (Fingerprint(sha256=CANDIDATE), LINK),
    ):
        assert seen.sha256 is not None
        for exclusion_id, same in answers:
            excluded.remember(exclusion_id, seen.sha256, same=same)
        assert excluded.check(seen, url).verdict == "exclude"


def test_a_removed_exclusion_is_gone_from_every_scope() -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of("coffee.png"))
    excluded.add_image("case-1", plain(255))
    excluded.add_face("case-1", face(1))
    excluded.add_link("case-1", LINK)
    excluded.add(LinkExclusion("case-1", url_hash("https://example.com/pending"), State.PENDING))
    excluded.remove("case-1")
    excluded.remove("case-1")
    assert len(excluded) == 0
    assert set(excluded.counts().values()) == {0}
    everything = Fingerprint(sha256=of("coffee.png").sha256, pdq=of("coffee.png").pdq, quality=90, faces=(face(1),))
    for url in (LINK, "https://example.com/pending"):
        assert said(excluded.check(everything, url)) == ("allow", "no_match")
    assert said(excluded.check(Fingerprint())) == ("allow", "no_match")


def test_removing_one_of_two_cases_about_the_same_picture_keeps_the_other() -> None:
    excluded = ExclusionList()
    excluded.add_image("case-1", of("coffee.png"))
    excluded.add_image("case-2", of("coffee.png"))
    excluded.add_link("case-1", LINK)
    excluded.add_link("case-2", LINK)
    excluded.remove("case-1")
    assert {match.exclusion_id for match in excluded.check(of("coffee.png"), LINK).matches} == {"case-2"}
    assert said(excluded.check(None, LINK)) == ("exclude", "match")


def test_more_under_one_id_adds_up_and_the_same_again_changes_nothing() -> None:
    excluded = ExclusionList()
    for _ in range(3):
        for name in ("coffee.png", "rocket.jpg"):
            excluded.add_image("case-1", of(name))
    excluded.add_face("case-1", face(1))
    assert len(excluded) == 1
    assert excluded.counts() == {Scope.IMAGE: 1, Scope.FACE: 1, Scope.LINK: 0}
    for name in ("coffee.png", "rocket.jpg"):
        verdict = excluded.check(of(name), scopes=[Scope.IMAGE])
        assert sorted(match.signal for match in verdict.matches) == ["pdq", "sha256"]


def test_an_answer_names_a_bounded_number_of_matches_nearest_first() -> None:
    excluded = ExclusionList()
    for number in range(MAX_MATCHES * 3):
        excluded.add_face(f"person-{number:03}", face(number + 10, face(1), 0.7 + number / 1000))
    distances = [match.distance for match in excluded.check(Fingerprint(faces=(face(1),))).matches]
    assert len(distances) == MAX_MATCHES
    assert distances == sorted(distances)
    assert distances[0] == pytest.approx(1 - 0.7 - (MAX_MATCHES * 3 - 1) / 1000, abs=1e-4)


def test_many_are_answered_as_each_alone() -> None:
    excluded = full_list()
    items: list[Fingerprint | tuple[Fingerprint | None, str | None]] = [
        of("coffee.png"),
        of("rocket.jpg"),
        (EVERYTHING, "https://example.org/"),
        (None, LINK),
    ]
    alone = [
        excluded.check(of("coffee.png")),
        excluded.check(of("rocket.jpg")),
        excluded.check(EVERYTHING, "https://example.org/"),
        excluded.check(None, LINK),
    ]
    assert excluded.check_many(items) == alone
    assert [said(verdict)[0] for verdict in alone] == ["exclude", "defer", "allow", "exclude"]
    assert excluded.check_many(items[:2], scopes=["face"]) == [
        excluded.check(of("coffee.png"), scopes=["face"]),
        excluded.check(of("rocket.jpg"), scopes=["face"]),
    ]


def test_a_verdict_has_a_json_form() -> None:
    form = full_list().check(None, LINK).to_dict()
    assert form["verdict"] == "exclude"
    assert form["reason"] == str(Reason.MATCH)
    assert form["matches"] == [
        {"exclusion_id": "case-4", "scope": "link", "signal": "url", "distance": 0, "threshold": 0, "box": None}
    ]
    assert form["coverage"] == ["link"]
