"""Signed links in letters: a purpose, an expiry, and a version that revokes them all.

The token is itsdangerous' timed URL-safe signature (HMAC-SHA256 with a key derived per purpose); it names the case and
the link version, no personal data. Opening a link never changes anything: mail scanners open them too.
"""

from __future__ import annotations

import hashlib
import hmac

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from optout import deadlines
from optout.errors import LinkExpired, LinkInvalid, VerificationExpired
from optout.requests import OptOutRequest

_STATUS_LIFETIME_S = int(deadlines.CASE_KEPT.total_seconds())


_VERIFICATION_LIFETIME_S = int(deadlines.VERIFICATION_LINK.total_seconds())


def _serializer(purpose: str, *secrets: str) -> URLSafeTimedSerializer:
    # It wants the newest last, signs with that one, and accepts all.
    return URLSafeTimedSerializer(secrets[::-1], salt=purpose, signer_kwargs={"digest_method": hashlib.sha256})


def _read(purpose: str, token: str, lifetime_s: int, secrets: tuple[str, ...]) -> tuple[str, int]:
    try:
        case_id, link_version = _serializer(purpose, *secrets).loads(token, max_age=lifetime_s)
        return str(case_id), int(link_version)
    except SignatureExpired as error:
        raise LinkExpired from error
    except (BadData, ValueError, TypeError) as error:
        raise LinkInvalid from error


def status_token(request: OptOutRequest, secret: str) -> str:
    """The token of the case's status page, for `/status/{token}`."""
    return str(_serializer("status", secret).dumps([request.id, request.link_version]))


def read_status_token(token: str, *secrets: str) -> tuple[str, int]:
    """Case id and link version from a status token signed with one of the secrets. Raises `LinkExpired`, `LinkInvalid`.

    The caller compares the version with the case's own, and refuses (`require_current`) when links were revoked.
    """
    return _read("status", token, _STATUS_LIFETIME_S, secrets)


def verification_token(request: OptOutRequest, secret: str) -> str:
    """The token of the page that verifies the requester's address, for `/verify/{token}`."""
    return str(_serializer("verify", secret).dumps([request.id, request.link_version]))


def read_verification_token(token: str, *secrets: str) -> tuple[str, int]:
    """As `read_status_token`. Raises `VerificationExpired`, `LinkInvalid`."""
    try:
        return _read("verify", token, _VERIFICATION_LIFETIME_S, secrets)
    except LinkExpired as error:
        raise VerificationExpired from error


def require_current(request: OptOutRequest, link_version: int) -> None:
    """Raise `LinkInvalid` when the case's links were revoked after this one was made."""
    if request.link_version != link_version:
        raise LinkInvalid


def email_hash(email: str, secret: str) -> str:
    """A keyed hash of an address (lower case), to find cases of the same address without storing an index of it."""
    return hmac.new(secret.encode(), email.strip().lower().encode(), hashlib.sha256).hexdigest()
