"""What counts as a proof of work, and what does not."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optout import proof_of_work
from optout.proof_of_work import challenge, proves, solved

SECRET, BEFORE = "the secret", "the secret before it"
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def given_challenge() -> str:
    return challenge("draft-1", TOMORROW, SECRET)


@pytest.fixture(scope="module")
def proof(given_challenge: str) -> str:
    return solved(given_challenge)


def changed(proof: str, *path: str, to: Any) -> str:
    """The proof with one value inside it changed."""
    whole = json.loads(base64.b64decode(proof))
    inside = whole
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = to
    return base64.b64encode(json.dumps(whole).encode()).decode()


def test_the_solution_of_a_challenge_is_a_proof_for_its_draft_alone(proof: str) -> None:
    assert proves(proof, "draft-1", SECRET)
    assert not proves(proof, "draft-2", SECRET)


def test_a_replaced_secret_is_good_as_long_as_links_are(proof: str) -> None:
    assert proves(proof, "draft-1", "a new one", SECRET)
    assert not proves(proof, "draft-1", "a new one", BEFORE)


def test_a_challenge_expires() -> None:
    over = challenge("draft-1", datetime.now(UTC) - timedelta(seconds=5), SECRET)
    assert not proves(solved(over), "draft-1", SECRET)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("solution", "derivedKey"), "00" * 32),
        (("solution", "derivedKey"), ""),
        (("challenge", "signature"), "00" * 32),
        (("challenge", "signature"), None),
        (("challenge", "parameters", "keyPrefix"), ""),
        (("challenge", "parameters", "keySignature"), ""),
        (("challenge", "parameters", "cost"), 1),
        (("challenge", "parameters", "expiresAt"), 4_000_000_000),
        (("challenge", "parameters", "data"), {"draft": "draft-2"}),
        (("challenge", "parameters", "algorithm"), "SHA-256"),
    ],
)
def test_whatever_is_changed_in_a_proof_makes_it_none(proof: str, path: tuple[str, ...], to: Any) -> None:
    about = "draft-2" if path[-1] == "data" else "draft-1"
    assert not proves(changed(proof, *path, to=to), about, SECRET)


def test_the_solution_of_one_challenge_does_not_solve_another(proof: str) -> None:
    other = json.loads(challenge("draft-1", TOMORROW, SECRET))
    assert not proves(changed(proof, "challenge", to=other), "draft-1", SECRET)


def test_a_challenge_says_nothing_of_its_solution(given_challenge: str, proof: str) -> None:
    key = json.loads(base64.b64decode(proof))["solution"]["derivedKey"]
    assert key not in given_challenge
    assert json.loads(given_challenge)["parameters"]["keyPrefix"] == key[:32]


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode()))
def test_no_text_is_an_error(text: str) -> None:
    assert not proves(text, "draft-1", SECRET)


@pytest.mark.parametrize(
    "inside", ["[]", "null", "1", '"x"', "{}", '{"challenge":1}', '{"challenge":{"parameters":[]}}']
)
def test_no_other_json_is_an_error(inside: str) -> None:
    assert not proves(base64.b64encode(inside.encode()).decode(), "draft-1", SECRET)


def test_nesting_without_end_is_an_error_of_nobody() -> None:
    assert not proves(base64.b64encode(b"[" * 2_900).decode(), "draft-1", SECRET)
    deep = '{"challenge":{"parameters":{"data":' + "[" * 1_400 + "]" * 1_400 + "}}}"
    assert not proves(base64.b64encode(deep.encode()).decode(), "draft-1", SECRET)


def test_every_visitor_works_about_as_long() -> None:
    assert proof_of_work.MOST_TRIES <= 2 * proof_of_work.FEWEST_TRIES
