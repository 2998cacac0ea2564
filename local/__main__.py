"""`python -m local run|deploy-only|reset|redrive|lookup`: the whole service on this machine (see `make help`)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from local.place import REPOSITORY, CannotRun, Place

if TYPE_CHECKING:
    from local.running import Running


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="start the embedded AWS, deploy infra/template.yaml, serve until Ctrl-C")
    commands.add_parser("deploy-only", help="as run, but stop again when everything is deployed")
    commands.add_parser("reset", help="forget everything: requests, photos, letters, people")
    commands.add_parser("redrive", help="send the letters again that could not be sent")
    lookup = commands.add_parser("lookup", help="ask about pictures and addresses, as a crawler does")
    lookup.add_argument("--file", action="append", default=[], metavar="PICTURE")
    lookup.add_argument("--url", action="append", default=[], metavar="ADDRESS")
    arguments = parser.parse_args(words)
    try:
        return _run(arguments)
    except CannotRun as reason:
        print(reason, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace) -> int:
    place = Place.from_environment()
    match arguments.command:
        case "reset":
            return reset(place)
        case "redrive":
            from local.running import Running, redrive

            print(f"{redrive(Running.at(place))} letters are in the mail queue again.")
            return 0
        case "lookup":
            from local import lookup

            return lookup.run(arguments)
        case command:
            with _alone(place):
                return asyncio.run(serve(place, until_stopped=command == "run"))


@contextlib.contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Holds the folder and checks the ports. Raises `CannotRun` when another instance has one of them."""
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        lock = (place.folder / "lock").open("w")
    except OSError as error:
        raise CannotRun(f"{place.folder} cannot be used: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotRun(f"Another instance uses {place.folder}; stop it with Ctrl-C in its window.") from error
        for name, port in (("OPTOUT_PORT", place.port), ("OPTOUT_INBOX_PORT", place.inbox_port)):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise CannotRun(f"Port {port} is busy; choose another with {name}=... .") from error
        place.ready.unlink(missing_ok=True)
        try:
            yield
        finally:
            place.ready.unlink(missing_ok=True)


def reset(place: Place) -> int:
    """Deletes all that an instance keeps here. Raises `CannotRun` while one runs."""
    if place.folder.exists():
        with _alone(place):
            for folder in (place.state, place.mail, place.folder / "tmp"):
                shutil.rmtree(folder, ignore_errors=True)
            place.keys.unlink(missing_ok=True)
    print("Requests, photos, letters and keys are gone; `make run` starts over.")
    return 0


async def serve(place: Place, *, until_stopped: bool) -> int:
    """Starts everything, deploys, and serves until a signal comes; 0 when it stopped as asked."""
    logging.basicConfig(
        filename=place.log, filemode="w", level=logging.WARNING, format="%(asctime)s %(name)s %(message)s"
    )
    from hypercorn.asyncio import serve as serve_page
    from hypercorn.config import Config

    from local import inbox
    from local.emulator import Emulator

    started = time.monotonic()
    _say("Starting the embedded AWS ...")
    smtp, smtp_port = await inbox.serve_smtp(place.mail)
    emulator = Emulator(place, smtp_port)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    page = Config()
    page.bind = [f"127.0.0.1:{place.inbox_port}"]
    page.errorlog = logging.getLogger("hypercorn.error")
    page.loglevel = "WARNING"
    serving = asyncio.create_task(emulator.serve())
    reading = asyncio.create_task(serve_page(inbox.InboxPage(place.mail), page, shutdown_trigger=stop.wait))
    await _listening(place.port, serving)

    def deploy_all() -> None:
        running = _deploy(place)
        emulator.worth_saving = True
        running.announce(os.getpid())
        _say(_addresses(running, time.monotonic() - started))

    def end_if_nothing_is_left(task: asyncio.Task[None]) -> None:
        if not until_stopped or task.cancelled() or task.exception():
            stop.set()

    deploying = asyncio.create_task(asyncio.to_thread(deploy_all))
    deploying.add_done_callback(end_if_nothing_is_left)
    await stop.wait()
    deployed = deploying.done()
    if until_stopped:
        _say("\nStopping; everything is being saved ..." if deployed else "\nStopping before all is deployed ...")
    emulator.stop()
    await serving
    await reading
    smtp.close()
    if deployed:
        deploying.result()
    return 0


async def _listening(port: int, serving: asyncio.Task[None]) -> None:
    """Returns when somebody answers at the port. Raises what ended the server when it ended instead."""
    while True:
        if serving.done():
            serving.result()
            raise CannotRun(f"The embedded AWS ended by itself; its log is {Place.from_environment().log}.")
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def _deploy(place: Place) -> Running:
    from local import deploy, people
    from local.running import Running

    _say("Deploying infra/template.yaml ...")
    outputs = deploy.deploy(place)
    return Running(place, outputs, people.settle(place, outputs))


def _addresses(running: Running, after_s: float) -> str:
    place = running.place
    reviewers = [f"sign in as {name}, password {word}" for name, word in running.keys.passwords.items()]
    lines = [
        f"Ready after {after_s:.1f} s.",
        "",
        f"  Public site   {place.site}/",
        f"  Console       {place.site}/console",
        *(f"                {line}" for line in reviewers),
        f"  Inbox         {place.inbox}",
        f"  A lookup      {_shown(sys.executable)} -m local lookup --url https://example.com/a.jpg",
        "",
        "Ctrl-C stops and saves; `make reset` starts over.",
    ]
    return "\n".join(lines)


def _shown(path: str) -> str:
    return path.removeprefix(f"{REPOSITORY}/")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
