"""What was typed becomes answers, or a code for each field that is not right."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout.errors import RequestInvalid
from optout.requests import MAX_LINKS, Answers, Kind
from optout.web import forms
from optout.web.countries import countries
from optout.web.wording import biometric_consent, form_problem

GOOD = {
    "explanation": "This is private.",
    "links": "https://example.com/a\nhttp://example.org/b",
    "on_behalf_of": "self",
    "represented": "",
    "first_name": "Amélie",
    "last_name": "Müller",
    "email": "amelie@example.org",
    "phone": "",
    "country": "DE",
    "biometric_consent": "yes",
    "good_faith": "yes",
}


def problems(kind: Kind = Kind.LINKS, **changes: str) -> dict[str, str]:
    with pytest.raises(RequestInvalid) as caught:
        forms.read(kind, GOOD | changes, "Lens")
    return caught.value.problems


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (Kind.FACE, {"biometric_consent": biometric_consent("Lens")}),
        (Kind.IMAGE, {}),
        (Kind.LINKS, {"good_faith": True, "links": ("https://example.com/a", "http://example.org/b")}),
    ],
)
def test_each_kind_keeps_only_what_it_needs(kind: Kind, own: dict[str, object]) -> None:
    common = Answers("DE", "This is private.", "Amélie", "Müller", "amelie@example.org")
    assert forms.read(kind, GOOD, "Lens") == replace(common, **own)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", Kind)
def test_answers_typed_again_are_the_same_answers(kind: Kind) -> None:
    answers = forms.read(kind, GOOD | {"on_behalf_of": "other", "represented": "My child"}, "Lens")
    assert answers.represented == "My child"
    assert forms.read(kind, forms.typed_from(answers), "Lens") == answers


def test_an_empty_form_names_everything_that_is_missing_in_the_order_of_the_page() -> None:
    with pytest.raises(RequestInvalid) as caught:
        forms.read(Kind.LINKS, forms.typed({}), "Lens")
    assert caught.value.problems == {
        "explanation": "required",
        "links": "required",
        "on_behalf_of": "choose_one",
        "first_name": "required",
        "last_name": "required",
        "email": "required",
        "country": "choose_one",
        "good_faith": "required",
    }
    assert list(caught.value.problems) == [field for field in forms.FIELDS if field in caught.value.problems]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("explanation", "x" * 5_001, "too_long"),
        ("explanation", " \n ", "required"),
        ("first_name", "x" * 101, "too_long"),
        ("last_name", "   ", "required"),
        ("email", "nobody", "not_an_address"),
        ("email", "a@b@c.org", "not_an_address"),
        ("email", "a" * 65 + "@example.org", "not_an_address"),
        (
            "email",
            "a@" + "b" * 60 + "." + "c" * 60 + "." + "d" * 60 + "." + "e" * 60 + ".example.org",
            "not_an_address",
        ),
        ("email", "a@example.org\nBcc: b@example.org", "not_an_address"),
        ("phone", "call me", "not_a_phone_number"),
        ("phone", "1 2 3", "not_a_phone_number"),
        ("country", "ZZ", "choose_one"),
        ("country", "de", "choose_one"),
        ("on_behalf_of", "me", "choose_one"),
    ],
)
def test_a_field_that_is_not_right_is_named_with_its_code(field: str, value: str, code: str) -> None:
    assert problems(**{field: value}) == {field: code}
    assert form_problem(field, code)


def test_a_value_is_never_part_of_the_error() -> None:
    with pytest.raises(RequestInvalid) as caught:
        forms.read(Kind.LINKS, GOOD | {"email": "secret", "links": "secret"}, "Lens")
    assert "secret" not in str(caught.value)


def test_asking_for_somebody_else_needs_their_name_and_asking_for_oneself_drops_it() -> None:
    assert problems(on_behalf_of="other") == {"represented": "required"}
    assert forms.read(Kind.IMAGE, GOOD | {"represented": "Somebody"}, "Lens").represented is None


def test_a_face_needs_consent_and_a_notice_needs_good_faith() -> None:
    assert problems(Kind.FACE, biometric_consent="") == {"biometric_consent": "required"}
    assert problems(Kind.LINKS, good_faith="on") == {"good_faith": "required"}


@pytest.mark.parametrize("phone", ["+49 (30) 123-456", "030/123456", "555.1234"])
def test_phone_numbers_are_checked_loosely(phone: str) -> None:
    assert forms.read(Kind.IMAGE, GOOD | {"phone": phone}, "Lens").phone == phone


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "https://",
        "ftp://example.com/a",
        "javascript:alert(1)",
        "https://two words.com",
        "https://a.com:99999/",
        "https://localhost/x",
        "https://a.com https://b.com",
        "mailto:a@example.org/x y",
        "https://" + "a" * 2050 + ".com",
    ],
)
def test_each_bad_line_of_links_is_named_by_its_number(line: str) -> None:
    assert problems(links=f"https://example.com/a\n\n{line}\nhttps://example.com/b\n{line}") == {
        "links": "not_links:3,5"
    }


def test_a_link_without_a_scheme_is_taken_as_https() -> None:
    answers = forms.read(Kind.LINKS, GOOD | {"links": " example.com/photo?id=1 "}, "Lens")
    assert answers.links == ("https://example.com/photo?id=1",)


def test_links_that_repeat_are_kept_once_and_named() -> None:
    text = "https://example.com/a\nhttps://EXAMPLE.com:443/a#top\n\nhttps://example.com/b\nexample.com/a"
    assert forms.read(Kind.LINKS, GOOD | {"links": text}, "Lens").links == (
        "https://example.com/a",
        "https://example.com/b",
    )
    assert forms.repeated_lines(text) == [2, 5]


def test_fifty_links_are_taken_and_fifty_one_are_not() -> None:
    fifty = [f"https://example.com/{number}" for number in range(MAX_LINKS)]
    assert len(forms.read(Kind.LINKS, GOOD | {"links": "\n".join(fifty)}, "Lens").links) == MAX_LINKS
    assert problems(links="\n".join([*fifty, "https://example.com/more"])) == {"links": "too_many"}


def test_control_and_reordering_characters_are_dropped_and_lines_kept_where_they_belong() -> None:
    fields = {"first_name": ["A\x00m\u202e\x1bé\nlie"], "explanation": ["one\r\ntwo\x07\rthree"]}
    filled = forms.typed(fields)
    assert filled["first_name"] == "Amé lie"
    assert filled["explanation"] == "one\ntwo\nthree"


@given(
    st.dictionaries(st.sampled_from(forms.FIELDS), st.lists(st.text(), min_size=1, max_size=2)), st.sampled_from(Kind)
)
def test_any_text_gives_answers_or_known_codes(fields: dict[str, list[str]], kind: Kind) -> None:
    found: dict[str, str] = {}
    try:
        forms.read(kind, forms.typed(fields), "Lens")
    except RequestInvalid as invalid:
        found = invalid.problems
    assert all(form_problem(field, code) for field, code in found.items())
    assert found  # no text that hypothesis makes up holds a whole form


@given(st.text())
def test_any_list_of_links_can_be_read(text: str) -> None:
    assert all(number <= text.count("\n") + 1 for number in forms.repeated_lines(text))
    found: dict[str, str] = {}
    links = forms._links(text, found)
    assert found or (links and len(links) <= MAX_LINKS)


def test_every_country_of_the_iso_list_can_be_chosen_by_name_in_order() -> None:
    found = countries()
    assert len(found) == 250  # the 249 of ISO 3166-1, and Kosovo
    assert {"DE": "Germany", "US": "United States", "SE": "Sweden"}.items() <= found.items()
    names = list(found.values())
    assert names[:3] == ["Afghanistan", "Åland Islands", "Albania"]
    assert not {"EU", "ZZ", "XA"} & set(found)


def test_page_functions_start_without_pictures_libraries_or_locale_data() -> None:
    heavy = ("numpy", "cv2", "PIL", "babel", "jinja2", "email_validator")
    code = (
        "import sys, importlib.util as u\n"
        "spec = u.spec_from_file_location('handler', 'functions/submit/handler.py')\n"
        "spec.loader.exec_module(u.module_from_spec(spec))\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"
