"""Proof that a browser has worked for a second before it sends a request, after ALTCHA's protocol, version 2.

The page brings the challenge with it: find the counter whose PBKDF2 key begins like this. A script looks for it while
the person reads. A program that sends a thousand requests has to work a thousand times as long; a person notices
nothing. It is a speed bump and no more: a fast machine works ten times as fast as a cheap phone.

A challenge names its draft and is good for no other, and a draft is sent once. So the draft's own state, in the
condition of the write that sends it, is what refuses a proof that was used before.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from datetime import datetime

# One try is one key, and one key is this many iterations. Large enough that what a browser needs around a key does not
# count (0.2 ms on x86-64), small enough that the last try is not much too long.
ITERATIONS = 2_000
# The counter is drawn between these, so that nobody is unlucky: 200,000 iterations at most and 150,000 in the mean.
# docs/abuse.md tells how long that takes.
FEWEST_TRIES, MOST_TRIES = 50, 100
_ALGORITHM = "PBKDF2/SHA-256"
# What the script sends has 900 characters.
_LONGEST = 4_000


def challenge(draft_id: str, until: datetime, secret: str) -> str:
    """A challenge for one draft, as JSON for the page; `secret` signs it, and it is good until then."""
    from altcha import create_challenge  # 50 ms, which only two pages need

    counter = FEWEST_TRIES + secrets.randbelow(MOST_TRIES - FEWEST_TRIES + 1)
    made = create_challenge(
        _ALGORITHM,
        ITERATIONS,
        counter=counter,
        expires_at=until,
        data={"draft": draft_id},
        hmac_secret=_key(secret, "challenge"),
        hmac_key_secret=_key(secret, "solution"),
    )
    return json.dumps(made.to_dict(), separators=(",", ":"))


def proves(payload: str, draft_id: str, *signed_with: str) -> bool:
    """Whether this is the solution of a challenge for this draft that was signed with one of the secrets and is still
    good. Whatever else it is, it is no proof."""
    from altcha import Payload, verify_solution

    if not payload or len(payload) > _LONGEST:
        return False
    try:
        sent = Payload.from_base64(payload)
        about = sent.challenge.parameters.data
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return about == {"draft": draft_id} and any(
        verify_solution(sent, _key(secret, "challenge"), hmac_key_secret=_key(secret, "solution")).verified
        for secret in signed_with
    )


def solved(challenge_json: str) -> str:
    """What the script sends for a challenge. For programs that act as a browser: tests, load runs, the demo."""
    from altcha import Challenge, Payload, solve_challenge

    given = Challenge.from_dict(json.loads(challenge_json))
    solution = solve_challenge(given)
    if solution is None:
        raise TimeoutError
    return Payload(given, solution).to_base64()


def _key(secret: str, purpose: str) -> bytes:
    return hmac.new(secret.encode(), f"proof of work: {purpose}".encode(), hashlib.sha256).digest()
