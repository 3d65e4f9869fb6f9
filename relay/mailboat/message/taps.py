"""What is computed from a new message while its octets stream by, so that it is read once.

Knows octets only. `message.prepare` says which taps a message has; `queue.body_writer` feeds them.
"""

from __future__ import annotations

from typing import Protocol


class BodyTap(Protocol):
    """Sees one message."""

    def feed(self, octets: bytes) -> None:
        """Process the next octets of the message as stored, trace fields and header first, in pieces of any size.

        Never raises. Never called twice at once; for a large message, called in threads. Plugins may change the header
        once all octets are there, which no tap sees: only of the body does it know the last word.
        """


class SizeTap:
    """The number of octets."""

    octets = 0

    def feed(self, octets: bytes) -> None:
        """See `BodyTap`."""
        self.octets += len(octets)


class AsciiTap:
    """Whether all octets behind the trace fields are ASCII: if not, the message needs 8BITMIME (RFC 6152)."""

    is_ascii = True
    skip = 0
    """Octets of the trace fields, which the first piece holds whole. If they are not ASCII, the mailbox in their `for`
    is not, which takes SMTPUTF8."""

    def feed(self, octets: bytes) -> None:
        """See `BodyTap`."""
        if self.skip:
            octets, self.skip = octets[self.skip :], 0
        self.is_ascii = self.is_ascii and octets.isascii()
