"""Where an instance of the embedded AWS lives: its folder and its ports."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
REGION = "us-east-1"
STACK = "image-optout"
# Resolves to the loopback address in every browser, so that the site has a domain of its own without any set-up.
DOMAIN = "app.localhost"
# The embedded AWS takes this pair for the root of its only account.
ROOT_KEY = "test"
ROOT_SECRET = "test"  # noqa: S105


class CannotRun(Exception):
    """The embedded AWS cannot run here; the message is one sentence for the person who typed the command."""


@dataclass(frozen=True)
class Place:
    """One instance: everything it keeps lies in `folder`; `port` serves AWS and the site, `inbox_port` the letters."""

    folder: Path = REPOSITORY / ".local"
    port: int = 4566
    inbox_port: int = 4567

    @classmethod
    def from_environment(cls) -> Place:
        """The place that OPTOUT_FOLDER, OPTOUT_PORT and OPTOUT_INBOX_PORT name.

        Raises `CannotRun` when a port is not a number that a port can have.
        """
        return cls(
            folder=Path(os.environ.get("OPTOUT_FOLDER", cls.folder)).resolve(),
            port=_port("OPTOUT_PORT", cls.port),
            inbox_port=_port("OPTOUT_INBOX_PORT", cls.inbox_port),
        )

    @property
    def endpoint(self) -> str:
        """Address of the AWS API, for `endpoint_url` and AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def site(self) -> str:
        """Origin of the public site, as letters and the stack's `SiteUrl` have it."""
        return f"http://{DOMAIN}:{self.port}"

    @property
    def inbox(self) -> str:
        """Address of the page that shows the letters that were sent."""
        return f"http://127.0.0.1:{self.inbox_port}/"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def mail(self) -> Path:
        """Maildir of every letter that was sent."""
        return self.folder / "mail"

    @property
    def keys(self) -> Path:
        """Passwords of the demo reviewers and the crawler's access key, readable by the owner only."""
        return self.folder / "keys.json"

    @property
    def ready(self) -> Path:
        """File that exists while the instance runs and is deployed; holds what `local.running.Running` reads."""
        return self.folder / "running.json"

    @property
    def log(self) -> Path:
        """What the emulator itself says, warnings and errors."""
        return self.folder / "embedded-aws.log"


def _port(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise CannotRun(f"{name} must be a port number between 1 and 65535, not {text!r}.")
    return int(text)


def free_port() -> int:
    """A port of the loopback address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
