"""Signed links in letters: a purpose, an expiry, and a version that revokes them all.

The token is itsdangerous' timed URL-safe signature (HMAC-SHA256 with a key derived per purpose); it names the case and
the link version, no personal data. Opening a link never changes anything: mail scanners open them too.
"""

from __future__ import annotations

import hashlib
import hmac

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from optout import deadlines
from optout.errors import LinkExpired, LinkInvalid
from optout.requests import OptOutRequest

_STATUS_LIFETIME_S = int(deadlines.CASE_KEPT.total_seconds())


def _serializer(*secrets: str) -> URLSafeTimedSerializer:
    # It wants the newest last, signs with that one, and accepts all.
    return URLSafeTimedSerializer(secrets[::-1], salt="status", signer_kwargs={"digest_method": hashlib.sha256})


def status_token(request: OptOutRequest, secret: str) -> str:
    """The token of the case's status page, for `/status/{token}`."""
    return str(_serializer(secret).dumps([request.id, request.link_version]))


def read_status_token(token: str, *secrets: str) -> tuple[str, int]:
    """Case id and link version from a status token signed with one of the secrets. Raises `LinkExpired`, `LinkInvalid`.

    The caller compares the version with the case's own, and refuses (`require_current`) when links were revoked.
    """
    try:
        case_id, link_version = _serializer(*secrets).loads(token, max_age=_STATUS_LIFETIME_S)
        return str(case_id), int(link_version)
    except SignatureExpired as error:
        raise LinkExpired from error
    except (BadData, ValueError, TypeError) as error:
        raise LinkInvalid from error


def require_current(request: OptOutRequest, link_version: int) -> None:
    """Raise `LinkInvalid` when the case's links were revoked after this one was made."""
    if request.link_version != link_version:
        raise LinkInvalid


def email_hash(email: str, secret: str) -> str:
    """A keyed hash of an address (lower case), to find cases of the same address without storing an index of it."""
    return hmac.new(secret.encode(), email.strip().lower().encode(), hashlib.sha256).hexdigest()
