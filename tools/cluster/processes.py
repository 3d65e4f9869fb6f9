"""Programs that run only as long as the process that started them.

Each is tied to the thread that starts it (PR_SET_PDEATHSIG, by util-linux's setpriv): however that ends, SIGKILL
included, the kernel ends the program. So start them from the main thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TIED = ("setpriv", "--pdeathsig", "KILL")
"""A prefix of a command that dies with its parent."""


class Service:
    """A program with a log file, which can be started again."""

    def __init__(self, name: str, argv: Sequence[str | Path], directory: Path, tied: bool = True) -> None:
        self.name = name
        self.argv = [str(word) for word in argv]
        self.directory = directory
        self.log = directory / "log" / f"{name}.log"
        self.tied = tied
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start it; its output is added to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*(TIED if self.tied else ()), *self.argv],
                cwd=self.directory,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then end it
            )

    @property
    def process_id(self) -> int:
        """Its process id; 0 where it does not run."""
        return self.process.pid if self.process else 0

    def check(self) -> None:
        """Raise RuntimeError with the end of its log when it has ended."""
        if self.process is None or self.process.poll() is not None:
            code = self.process and self.process.returncode
            raise RuntimeError(f"{self.name} has ended with {code}; its log ends:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def stop(self, number: signal.Signals = signal.SIGKILL, patience: float = 20) -> None:
        """Signal it and wait for its end; SIGKILL after so many seconds."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
