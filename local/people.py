"""The demo's people: two reviewers who may sign in and a crawler that may ask, each with keys made at random once."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from botocore.exceptions import ClientError

from local.deploy import client
from local.place import Place

REVIEWERS = ("anna", "ben")
GROUP = "reviewers"
CRAWLER = "crawler"


@dataclass(frozen=True)
class Keys:
    """`passwords` of the reviewers by name, and the crawler's access key."""

    passwords: dict[str, str]
    crawler_key: str
    crawler_secret: str


def settle(place: Place, outputs: dict[str, str]) -> Keys:
    """Makes sure that the reviewers and the crawler exist and that our keys open their doors; returns the keys."""
    kept = _kept(place)
    passwords = kept.passwords if kept else {name: _password() for name in REVIEWERS}
    for name in REVIEWERS:
        _settle_reviewer(place, outputs["ReviewersPool"], name, passwords[name])
    crawler_key, crawler_secret = _settle_crawler(place, outputs["CrawlersPolicy"], kept)
    keys = Keys(passwords, crawler_key, crawler_secret)
    if keys != kept:
        place.keys.touch(mode=0o600)
        place.keys.write_text(json.dumps(asdict(keys)))
    return keys


def _kept(place: Place) -> Keys | None:
    try:
        kept = Keys(**json.loads(place.keys.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return kept if set(kept.passwords) == set(REVIEWERS) else None


def _password() -> str:
    # Letters and digits only, so that a double click selects all of it; the last three satisfy the pool's policy.
    return re.sub(r"[-_]", "", secrets.token_urlsafe(24))[:15] + "aA1"


def _settle_reviewer(place: Place, pool: str, name: str, password: str) -> None:
    cognito = client(place, "cognito-idp")
    try:
        cognito.admin_get_user(UserPoolId=pool, Username=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "UserNotFoundException":
            raise
        cognito.admin_create_user(UserPoolId=pool, Username=name, TemporaryPassword=password, MessageAction="SUPPRESS")
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=GROUP)
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=password, Permanent=True)


def _settle_crawler(place: Place, policy: str, kept: Keys | None) -> tuple[str, str]:
    iam = client(place, "iam")
    try:
        iam.get_user(UserName=CRAWLER)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        iam.create_user(UserName=CRAWLER)
    attached = [item["PolicyArn"] for item in iam.list_attached_user_policies(UserName=CRAWLER)["AttachedPolicies"]]
    if policy not in attached:
        iam.attach_user_policy(UserName=CRAWLER, PolicyArn=policy)
    known = [item["AccessKeyId"] for item in iam.list_access_keys(UserName=CRAWLER)["AccessKeyMetadata"]]
    if kept and kept.crawler_key in known:
        return kept.crawler_key, kept.crawler_secret
    for stale in known:
        iam.delete_access_key(UserName=CRAWLER, AccessKeyId=stale)
    made: dict[str, Any] = iam.create_access_key(UserName=CRAWLER)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def sign_in(place: Place, outputs: dict[str, str], name: str, password: str) -> str:
    """The ID token a reviewer gets by the way the console takes: hosted sign-in, code, PKCE.

    Raises `PermissionError` when the sign-in page refuses the password.
    """
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": outputs["ConsoleClient"],
        "response_type": "code",
        "redirect_uri": f"{place.site}/console",
        "scope": "openid",
        "state": secrets.token_urlsafe(8),
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    with httpx.Client(base_url=place.endpoint, trust_env=False, timeout=30) as browser:
        browser.get("/oauth2/authorize", params=asked).raise_for_status()
        answer = browser.post("/login", data={**asked, "username": name, "password": password})
        code = parse_qs(urlsplit(answer.headers.get("location", "")).query).get("code")
        if not code:
            raise PermissionError(f"the sign-in page did not let {name} in")
        tokens = browser.post(
            "/oauth2/token",
            data={
                "grant_type": "authorization_code",
                "client_id": asked["client_id"],
                "code": code[0],
                "redirect_uri": asked["redirect_uri"],
                "code_verifier": verifier,
            },
        )
        tokens.raise_for_status()
        id_token: str = tokens.json()["id_token"]
        return id_token
