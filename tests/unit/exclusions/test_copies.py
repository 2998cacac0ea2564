"""Copies of real photographs: what must be recognised, what a person must look at, and what must not match."""

import io
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from optout import ExclusionList, Fingerprint
from optout.exclusions.agreement import (
    FEW_AGREEMENT,
    FEW_BLOCKS,
    FEW_INLIERS,
    LIKELY_AGREEMENT,
    MIN_INLIERS,
    SURE_AGREEMENT,
    Likeness,
    agreement,
    shown_whole,
)
from optout.exclusions.entry import ImageExclusion, State
from optout.exclusions.matcher import Verdict
from optout.fingerprint import keypoints
from optout.fingerprint.pdq import distance
from optout.fingerprint.sketch import sketch_of
from tests.pictures import picture

EMPTY = keypoints.Features(
    np.zeros((0, 2), np.float32), *(np.zeros(shape, np.uint8) for shape in (0, 0, (0, keypoints.DESCRIPTOR_BYTES)))
)
PHOTOS = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "obama.jpg", "biden.jpg"]


@cache
def photo(name: str) -> Image.Image:
    image = Image.open(io.BytesIO(picture(name))).convert("RGB")
    image.thumbnail((640, 640))
    return image


def of(image: Image.Image, quality: int = 85) -> Fingerprint:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality)
    return Fingerprint.of(out.getvalue(), faces=False)


@cache
def listed() -> ExclusionList:
    excluded = ExclusionList()
    for name in PHOTOS:
        excluded.add_image(name, of(photo(name), 95))
    return excluded


def crop(image: Image.Image, part: float = 0.95) -> Image.Image:
    return image.crop((0, 0, round(image.width * part), round(image.height * part)))


def border(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, max(image.size) // 10, (30, 60, 90))


def caption(image: Image.Image) -> Image.Image:
    bar = image.height // 5
    out = Image.new("RGB", (image.width, image.height + bar), "white")
    out.paste(image, (0, bar))
    ImageDraw.Draw(out).text((20, bar // 4), "My friends:", fill="black", font_size=bar // 3)
    return out


def screenshot(image: Image.Image) -> Image.Image:
    out = Image.new("RGB", (image.width, image.width * 2), "white")
    draw = ImageDraw.Draw(out)
    draw.text((30, 20), "10:08", fill="black", font_size=28)
    draw.text((120, 120), "someone_online", fill="black", font_size=28)
    out.paste(image, (0, 220))
    draw.text((30, 240 + image.height), "2,417 likes   what a day", fill="black", font_size=28)
    return out


def collage(image: Image.Image) -> Image.Image:
    out = Image.new("RGB", (image.width * 2 + 6, image.height), "white")
    out.paste(ImageOps.fit(photo("motorcycle_left.png"), image.size), (0, 0))
    out.paste(image, (image.width + 6, 0))
    return out


def half(image: Image.Image) -> Image.Image:
    quarter = image.width // 4, image.height // 4
    return image.crop((*quarter, quarter[0] * 3, quarter[1] * 3))


def story(image: Image.Image) -> Image.Image:
    """On its own blur, under two white labels."""
    out = ImageOps.fit(image, (image.width, image.width * 16 // 9)).filter(ImageFilter.GaussianBlur(16))
    out.paste(image, (0, (out.height - image.height) // 2))
    draw = ImageDraw.Draw(out)
    for text, y in (("look at this!!", out.height // 8), ("@someone_online", out.height * 7 // 8)):
        draw.rectangle((image.width // 7, y, image.width * 6 // 7, y + out.height // 14), fill="white")
        draw.text((image.width // 5, y + 12), text, fill="black", font_size=image.width // 14)
    return out


def mirrored_crop(image: Image.Image) -> Image.Image:
    return ImageOps.mirror(crop(image, 0.8))


def signals(verdict: Verdict) -> dict[str, str]:
    return {match.exclusion_id: match.signal for match in verdict.matches}


@pytest.mark.parametrize("edit", [crop, border, caption, screenshot, collage, half, mirrored_crop, story])
@pytest.mark.parametrize("name", PHOTOS)
def test_an_edited_copy_is_excluded_and_taken_for_no_other(name: str, edit) -> None:  # type: ignore[no-untyped-def]
    verdict = listed().check(of(edit(photo(name))))
    assert str(verdict.verdict) == "exclude"
    assert set(signals(verdict)) == {name}
    assert all(match.distance <= match.threshold for match in verdict.matches)
    assert str(verdict.depth) == "full"


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(PHOTOS),
    turn=st.sampled_from([None, *Image.Transpose]),
    part=st.floats(0.7, 1.0),
    quality=st.integers(40, 95),
)
def test_a_picture_always_matches_itself_and_its_eight_orientations(
    name: str, turn: Image.Transpose | None, part: float, quality: int
) -> None:
    image = crop(photo(name), part)
    verdict = listed().check(of(image if turn is None else image.transpose(turn), quality))
    assert str(verdict.verdict) == "exclude"
    assert set(signals(verdict)) == {name}


@pytest.mark.parametrize("name", ["motorcycle_left.png", "camera.png", "hubble_deep_field.jpg"])
def test_strangers_are_allowed(name: str) -> None:
    verdict = listed().check(of(photo(name)))
    assert (str(verdict.verdict), str(verdict.depth)) == ("allow", "full")


@pytest.mark.parametrize(
    ("template", "allowed"), [(caption, {"allow"}), (border, {"allow"}), (story, {"allow", "review"})]
)
def test_different_pictures_under_one_template_do_not_match(template, allowed: set[str]) -> None:  # type: ignore[no-untyped-def]
    seen = [of(template(ImageOps.fit(photo(name), (600, 450)))) for name in PHOTOS]
    for index, asked in enumerate(seen):
        excluded = ExclusionList()
        for other, different in enumerate(seen):
            if other != index:
                excluded.add_image(str(other), different)
        assert str(excluded.check(asked).verdict) in allowed


@pytest.mark.parametrize("name", PHOTOS)
def test_a_negative_is_known_by_its_hash(name: str) -> None:
    assert signals(listed().check(of(ImageOps.invert(photo(name))))) == {name: "pdq"}


def test_hashes_alone_are_answered_and_say_how_deep_they_looked() -> None:
    seen = of(crop(photo("chelsea.png"), 0.8))
    assert seen.pdq is not None
    asked = Fingerprint.from_signals(sha256=seen.sha256, pdq=seen.pdq.hex(), quality=seen.quality)
    verdict = listed().check(asked)
    assert (str(verdict.verdict), str(verdict.depth)) == ("allow", "hashes")


def test_entries_without_keypoints_still_match_by_their_hash() -> None:
    seen = of(photo("coffee.png"))
    assert seen.sha256 is not None
    excluded = ExclusionList()
    excluded.add(ImageExclusion("old", seen.sha256, seen.codes, State.ACCEPTED))
    assert signals(excluded.check(of(photo("coffee.png"), 60))) == {"old": "pdq"}
    assert str(excluded.check(of(half(photo("coffee.png")))).verdict) == "allow"


def test_a_copy_of_a_pending_picture_waits_for_the_decision() -> None:
    seen = of(photo("coffee.png"))
    assert seen.sha256 is not None
    excluded = ExclusionList()
    excluded.add(ImageExclusion("case", seen.sha256, seen.codes, State.PENDING, seen.keypoints))
    verdict = excluded.check(of(half(photo("coffee.png"))))
    assert (str(verdict.verdict), str(verdict.reason)) == ("defer", "pending_case")


def test_a_removed_picture_matches_no_longer() -> None:
    excluded = ExclusionList()
    excluded.add_image("case", of(photo("biden.jpg")))
    assert signals(excluded.check(of(half(photo("biden.jpg"))))) == {"case": "picture"}
    excluded.remove("case")
    assert str(excluded.check(of(half(photo("biden.jpg")))).verdict) == "allow"


@pytest.mark.parametrize(
    ("likeness", "band"),
    [
        (Likeness(MIN_INLIERS, SURE_AGREEMENT, 30), "sure"),
        (Likeness(MIN_INLIERS, SURE_AGREEMENT - 0.01, 30), "likely"),
        (Likeness(MIN_INLIERS, LIKELY_AGREEMENT, 30), "likely"),
        (Likeness(MIN_INLIERS, LIKELY_AGREEMENT - 0.01, 30), "neither"),
        (Likeness(MIN_INLIERS - 1, SURE_AGREEMENT, 30), "neither"),
        (Likeness(FEW_INLIERS, FEW_AGREEMENT, FEW_BLOCKS), "sure"),
        (Likeness(FEW_INLIERS, FEW_AGREEMENT, FEW_BLOCKS - 1), "neither"),
        (Likeness(FEW_INLIERS - 1, 1.0, 64), "neither"),
    ],
)
def test_corners_and_agreement_decide_together(likeness: Likeness, band: str) -> None:
    assert ("sure" if likeness.sure else "likely" if likeness.likely else "neither") == band


def sloping(dark: float) -> np.ndarray:
    """From dark to light, as skies and walls are."""
    down, across = np.mgrid[0:256, 0:256] / 255
    return (40 + 180 * down + 30 * dark * across).astype(np.uint8)


def test_slopes_from_light_to_dark_are_no_evidence() -> None:
    enrolled = keypoints.Keypoints(256, 256, EMPTY, sketch_of(sloping(0.2)))
    assert agreement(sloping(1.0), np.eye(2, 3), enrolled).share == 0
    own = np.random.default_rng(1).integers(0, 256, (32, 32), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    assert agreement(own, np.eye(2, 3), keypoints.Keypoints(256, 256, EMPTY, sketch_of(own))).share == 1


def test_a_doubtful_copy_goes_to_a_person() -> None:
    """Half of what is shown of it was painted over, in patches that leave the corners between them."""
    image = photo("astronaut.png").copy()
    rng = np.random.default_rng(3)
    block = image.width // 8
    for index in rng.permutation(64)[:38]:
        x, y = index % 8 * block, index // 8 * block
        noise = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((block, block))
        image.paste(noise, (x, y))
    verdict = listed().check(of(crop(image, 0.93)))
    assert (str(verdict.verdict), str(verdict.reason)) == ("review", "doubtful_match")
    assert signals(verdict) == {"astronaut.png": "picture"}


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
def test_the_hash_that_matched_says_how_the_picture_is_turned(turn: Image.Transpose | None) -> None:
    """An enrolled picture is compared in the orientation whose hash was near, not tried in all of them."""
    name = "rocket.jpg"
    original = of(photo(name), 95)
    seen = of(photo(name) if turn is None else photo(name).transpose(turn))
    assert original.keypoints is not None
    assert seen.views is not None
    assert seen.pdq is not None
    enrolled = keypoints.from_bytes(original.keypoints)
    orientation = min(range(8), key=lambda index: distance(original.dihedral[index], seen.pdq or b""))
    height, width = seen.views.grey.shape
    likeness = shown_whole(seen.views.grey, (0, 0, width, height), orientation, enrolled)
    assert likeness is not None
    assert likeness.agreement > 0.9
    other = shown_whole(seen.views.grey, (0, 0, width, height), (orientation + 2) % 4, enrolled)
    assert other is None or other.agreement < SURE_AGREEMENT


def test_a_suspended_picture_keeps_its_corners_and_the_same_again_changes_nothing() -> None:
    seen = of(photo("coffee.png"), 95)
    assert seen.sha256 is not None
    entry = ImageExclusion("case", seen.sha256, seen.codes, State.ACCEPTED, seen.keypoints)
    excluded = ExclusionList()
    for _ in range(2):
        excluded.add(entry)
    excluded.suspend("case")
    cropped = half(photo("coffee.png"))
    verdict = excluded.check(of(cropped))
    assert (str(verdict.verdict), str(verdict.reason)) == ("defer", "suspended")
    excluded.resume("case")
    assert signals(excluded.check(of(cropped))) == {"case": "picture"}
    excluded.remove("case")
    assert str(excluded.check(of(cropped)).verdict) == "allow"
