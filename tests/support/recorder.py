"""A tap of a new message that keeps what it sees."""

from __future__ import annotations


class Recorder:
    """See `mailboat.message.taps.BodyTap`."""

    def __init__(self) -> None:
        self.seen = b""

    def feed(self, octets: bytes) -> None:
        """Keep the octets."""
        self.seen += octets
