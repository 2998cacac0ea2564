"""MiniStack in this process: its settings, and a state that survives whatever happens to the process.

MiniStack reads its settings from the environment while it is imported, and saves only when it is asked to stop.
So it is imported here late, once, and its state is saved every few seconds into a new folder; a pointer file is
switched when that folder is complete. `kill -9` loses the seconds since, never half of a save.
The saving calls are private to MiniStack 1.5.33, which is pinned.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from local.place import REGION, ROOT_KEY, ROOT_SECRET, CannotRun, Place

SAVE_EVERY_S = 5.0
# A save stops the event loop (42 ms when fresh, 1.6 s with 20,000 items), so it may take one part in this many.
SAVE_SHARE = 20
POINTER = "current"

logger = logging.getLogger("local.emulator")


class Emulator:
    """One MiniStack on the loopback address. Only one can live in a process, for as long as the process does."""

    def __init__(self, place: Place, smtp_port: int) -> None:
        self._place = place
        self._generation = 0
        # Half a deployment can be neither updated nor taken back, so nothing is saved before it is whole: whoever is
        # stopped in the middle finds at the next start what was there before.
        self.worth_saving = False
        self._stopping = asyncio.Event()
        place.state.mkdir(parents=True, exist_ok=True)
        saved = self._saved_folder()
        _set_environment(place, smtp_port)
        from ministack import app
        from ministack.core import persistence
        from ministack.services import cognito, lambda_svc  # noqa: F401

        # Where it loads from. What these two keep beside their state (code by hash, signing keys) stays in STATE_DIR,
        # which they have read now.
        persistence.STATE_DIR = str(saved)
        # At its end MiniStack would write into the folder of the last save; `save` alone writes here.
        app.save_all = lambda services: None
        self._app = app

    def _saved_folder(self) -> Path:
        """The folder of the last complete save. Raises `CannotRun` when it is damaged."""
        state = self._place.state
        try:
            name = (state / POINTER).read_text().strip()
        except FileNotFoundError:
            return state / "save-0"
        except (OSError, UnicodeDecodeError) as error:
            raise self._broken(POINTER) from error
        folder = state / name
        if not name.startswith("save-") or not name[5:].isdecimal() or not folder.is_dir():
            raise self._broken(POINTER)
        for file in folder.glob("*.json"):
            try:
                json.loads(file.read_text())
            except (OSError, ValueError) as error:
                raise self._broken(f"{name}/{file.name}") from error
        self._generation = int(name[5:])
        self._forget_saves_but(folder)
        return folder

    def _forget_saves_but(self, folder: Path) -> None:
        for other in self._place.state.glob("save-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def _broken(self, name: str) -> CannotRun:
        return CannotRun(
            f"The saved state in {self._place.state} cannot be read ({name} is damaged); `make reset` starts over."
        )

    async def serve(self) -> None:
        """Answers requests until `stop` is called, then saves a last time."""
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        config = Config()
        config.bind = [f"127.0.0.1:{self._place.port}"]
        config.keep_alive_timeout = 75
        config.graceful_timeout = 2
        config.errorlog = logging.getLogger("hypercorn.error")
        config.loglevel = "WARNING"
        saving = asyncio.create_task(self._save_again_and_again())
        try:
            await serve(self._behind_tls, config, shutdown_trigger=self._stopping.wait)
        finally:
            saving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await saving
            for _attempt in range(5):
                if self.save():
                    break
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        """Makes `serve` return; may be called more than once."""
        self._stopping.set()

    async def _behind_tls(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Hands a request on as if TLS had ended in front of it, so that the bucket's TLS-only policy lets it in."""
        if scope["type"] == "http":
            scope["headers"] = [*scope["headers"], (b"x-forwarded-proto", b"https")]
        await self._app.app(scope, receive, send)

    async def _save_again_and_again(self) -> None:
        pause = SAVE_EVERY_S
        while True:
            await asyncio.sleep(pause)
            started = time.monotonic()
            self.save()
            pause = max(SAVE_EVERY_S, SAVE_SHARE * (time.monotonic() - started))

    def save(self) -> bool:
        """Saves everything. False when a service changed under our hands: then the last save stays the valid one."""
        if not self.worth_saving:
            return True
        from ministack.core import persistence

        state = self._place.state
        self._generation += 1
        folder = state / f"save-{self._generation}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for service, get_state in self._app._build_persistence_save_dict().items():
                content = get_state()
                if content is not None:
                    text = json.dumps(
                        {"__ministack_format__": persistence._state_format_version(service), "payload": content},
                        default=persistence._json_default,
                    )
                    (folder / f"{service}.json").write_text(text)
        except (RuntimeError, OSError):  # "dictionary changed size during iteration", or a full disk
            logger.warning("the state could not be saved this time", exc_info=True)
            shutil.rmtree(folder, ignore_errors=True)
            return False
        pointer = state / f"{POINTER}.new"
        pointer.write_text(folder.name)
        pointer.replace(state / POINTER)
        self._forget_saves_but(folder)
        return True


def _set_environment(place: Place, smtp_port: int) -> None:
    # Workers unpack code into the temporary folder and leave it there when they are killed. A folder of our own
    # can be emptied at every start without touching anybody else's.
    temporary = place.folder / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tempfile.tempdir = None
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # an operator's real credentials must not reach the workers
    os.environ |= {
        "GATEWAY_PORT": str(place.port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "AUTH": "true",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(place.state / "files"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(place.state / "objects"),
        "SMTP_HOST": f"127.0.0.1:{smtp_port}",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(temporary),
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
