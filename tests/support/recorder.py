"""A tap of a new message that keeps what it sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mailboat.message.prepare import Preparation
from mailboat.queue.body_writer import prepare


class Recorder:
    """See `mailboat.message.taps.BodyTap`."""

    def __init__(self) -> None:
        self.seen = b""

    def feed(self, octets: bytes) -> None:
        """Keep the octets."""
        self.seen += octets

    def watch(self, patch: pytest.MonkeyPatch, module: str) -> None:
        """See the messages that a module prepares."""

        def watched(*args: Any, **more: Any) -> Preparation:
            return replace(prepare(*args, **more), taps=[self])

        patch.setattr(f"{module}.prepare", watched)
