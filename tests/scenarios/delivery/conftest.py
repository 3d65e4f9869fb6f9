"""What scenarios of one attempt start from."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from mailboat.routing.answers import Target


@pytest.fixture
def gone() -> Iterator[Target]:
    """A target where nobody listens, nor begins to meanwhile: its port is taken."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield Target("gone.test", "127.0.0.1", sock.getsockname()[1])
