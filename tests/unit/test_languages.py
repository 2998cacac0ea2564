"""Which language a visitor gets, and that what is said in it stays said in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout.languages import LANGUAGES, N_, Sentences, Spoken, chosen, gettext, ngettext, speaking, spoken, wish


@pytest.mark.parametrize(
    ("accepts", "code"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-CH", "de"),
        ("pl-PL,pl;q=0.9,en-US;q=0.8,en;q=0.7", "pl"),
        ("en;q=0.7,fr;q=0.9", "fr"),
        ("nn,ar-EG;q=0.5", "ar"),
        ("ja,zh;q=0.9", "en"),
        ("*", "en"),
        ("es;q=0,de;q=0.1", "de"),
        ("de;q=much,fr;q=0.2", "fr"),
        ("DE-at ; Q=0.3 , en;q=0.2", "de"),
        ("fr, de", "fr"),
    ],
)
def test_the_browser_s_dearest_language_that_we_speak_is_spoken(accepts: str, code: str) -> None:
    assert chosen({}, accepts) == Spoken(code, asked=False)


def test_what_the_address_asks_for_comes_first_and_is_kept() -> None:
    assert chosen({"lang": "pl"}, "de") == Spoken("pl", asked=True)
    assert chosen({"lang": "en"}, "de") == Spoken("en", asked=True)
    assert chosen({"lang": "tlh"}, "de") == Spoken("de", asked=False)


@given(st.text(max_size=200), st.text(max_size=10))
def test_every_header_and_every_query_leads_to_a_language(accepts: str, lang: str) -> None:
    assert chosen({"lang": lang}, accepts).code in LANGUAGES


def test_a_language_is_spoken_until_its_page_is_done() -> None:
    with speaking("pl", asked=True):
        assert (spoken(), wish()) == ("pl", "lang=pl")
        with speaking("ar"):
            assert (spoken(), wish()) == ("ar", "")
        assert spoken() == "pl"
    assert (spoken(), wish()) == ("en", "")


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_sentence_without_a_translation_is_said_in_english(code: str) -> None:
    with speaking(code):
        assert gettext("No such sentence.") == "No such sentence."
        assert ngettext("No such sentence.", "No such sentences.", 1) == "No such sentence."
        assert ngettext("No such sentence.", "No such sentences.", 2) == "No such sentences."


def test_a_table_of_sentences_holds_its_codes_and_speaks_when_it_is_asked() -> None:
    table = Sentences({"sent": N_("You sent your request")})
    assert dict(table) == {"sent": "You sent your request"}
    assert "lost" not in table
    assert len(table) == 1
