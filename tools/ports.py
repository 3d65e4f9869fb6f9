"""Ports for what tests and the test cluster start."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack

_FIRST, _END = 10_000, 32_000
"""Below the range that the kernel hands out meanwhile."""


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on. No other test gets them meanwhile, in any process of pytest-xdist."""
    ports: list[int] = []
    with ExitStack() as stack:
        while len(ports) < count:
            port = next(_own_ports())
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    return ports


@functools.cache
def _own_ports() -> Iterator[int]:
    """The ports of this process in turn, without end: one that was given is not given again before all others."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = range(_FIRST + number, _END, count)
    start = random.SystemRandom().randrange(len(own))
    return itertools.cycle([*own[start:], *own[:start]])
