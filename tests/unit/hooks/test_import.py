"""What importing the hooks costs: nothing that has to be closed again."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, threading

opened = []
os.pipe = lambda: opened.append("pipe")
os.eventfd = lambda *_: opened.append("eventfd")
threading.Thread.start = lambda thread: opened.append(thread.name)

import mailboat.app.worker, mailboat.delivery.engine, mailboat.hooks.testing, mailboat.ingress.context

assert not any(mailboat.hooks.NO_HOOKS.wants(point) for point in mailboat.hooks.Point)
print(opened)
"""


def test_importing_what_asks_hooks_makes_no_pipe_and_no_thread() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=100)
    assert (done.stdout, done.stderr) == ("[]\n", "")
