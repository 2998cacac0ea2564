"""An instance of one's own, in another process: started, stopped, killed and started again by tests and the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from local.place import REPOSITORY, CannotRun, Place, free_port
from local.running import Running

READY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 30.0


class EmbeddedAws:
    """`with EmbeddedAws(folder) as aws:` starts an instance on free ports; `aws.running` is what runs."""

    running: Running

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.place = Place(folder.resolve(), port or free_port(), free_port())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process of the instance; None when it does not run."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> EmbeddedAws:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the instance and waits until it is deployed. Raises `CannotRun` with what it said when it ends."""
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self.place.ready.unlink(missing_ok=True)
        output = self.place.folder / "output.txt"
        environment = {
            **os.environ,
            "OPTOUT_FOLDER": str(self.place.folder),
            "OPTOUT_PORT": str(self.place.port),
            "OPTOUT_INBOX_PORT": str(self.place.inbox_port),
        }
        with output.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local", "run"],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for us to pass on
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.place.ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise CannotRun(f"The embedded AWS did not start: {output.read_text(errors='replace').strip()}")
            time.sleep(0.05)
        self.running = Running.at(self.place)

    def stop(self) -> None:
        """Stops as Ctrl-C does: everything is saved."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Stops as `kill -9` does: what happened since the last save is lost."""
        self._end(signal.SIGKILL)

    def restart(self, *, killed: bool = False) -> None:
        """Stops, by Ctrl-C or by `kill -9`, and starts again on the same ports with the state that was saved."""
        self._end(signal.SIGKILL if killed else signal.SIGINT)
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
