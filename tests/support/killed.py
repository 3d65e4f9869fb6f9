"""`mailboat` as a process that kills itself at an exact point: `python -m tests.support.killed CALL:N WORDS...`.

It dies by SIGKILL before the Nth time that any thread of it calls a C function of this name, such as `link`, `fsync` or
`execute` (each statement of SQLite). With N = 0 it lives, and says on stderr how often it was called.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from mailboat.cli import main


class _Counter:
    def __init__(self, name: str, last: int) -> None:
        self._name = name
        self._last = last
        self.calls = 0

    def __call__(self, _: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and what.__name__ == self._name:
            self.calls += 1
            if self.calls == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    name, _, number = sys.argv[1].partition(":")
    counter = _Counter(name, int(number))
    sys.argv = ["mailboat", *sys.argv[2:]]
    threading.setprofile(counter)
    sys.setprofile(counter)
    try:
        main()
    finally:
        sys.setprofile(None)
        print(f"calls {counter.calls}", file=sys.stderr)
