"""Ports for what tests and the test cluster start."""

from __future__ import annotations

import contextlib
import random
import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on, below the range that the kernel hands out meanwhile."""
    chance = random.SystemRandom()
    ports: list[int] = []
    with ExitStack() as stack:
        while len(ports) < count:
            port = chance.randrange(10_000, 32_000)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    return ports
