"""Prepares every new message for the queue: from a client, a plugin or a program, or a bounce.

Adds trace fields at the top, and missing Message-ID and Date fields; refuses messages that must not be queued. Taps
see the octets. Knows octets only; `queue.body_writer` makes one for each message, and applies it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailboat.message import headers
from mailboat.message.headers import HeaderFacts
from mailboat.message.taps import BodyTap


class UnfitError(Exception):
    """A message that is refused regardless of storage."""


class TooManyHopsError(UnfitError):
    """More Received fields than allowed: a loop (RFC 5321 6.3)."""


class NulError(UnfitError):
    """It has a NUL octet, and `nul=refuse`."""


class HeaderTooLongError(UnfitError):
    """A field must be removed, but the header is too long to be scanned."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The changes to one message."""

    id: str
    """Its queue id, for its Message-ID."""
    me: str
    """This host's name, the same."""
    date: bytes
    """Now, from `received.rfc5322_date`."""
    trace: bytes
    """The fields that go on top, line ends included."""
    max_received: int
    """Received fields that it may have."""
    removed: Sequence[bytes] = ()
    """Names of the fields that are taken out, in lower case."""
    taps: Sequence[BodyTap] = ()
    """The taps that see the octets as they are stored."""
    look: Callable[[bytes], None] | None = None
    """Is shown the header before fields are taken out, if any are."""

    def head(self, first: bytes, whole: bool) -> tuple[bytes, HeaderFacts]:
        """The first octets of the message as they are queued, and the facts of its header.

        `whole`: they are all. Raises UnfitError.
        """
        first = headers.separator_as_field(first)
        facts = headers.scan(first, whole=whole)
        if facts.received_count > self.max_received:
            raise TooManyHopsError("too many Received headers: possible mail loop")
        if self.removed:
            if facts.header_end < 0:
                raise HeaderTooLongError(f"the header is longer than {headers.SCAN_LIMIT} octets")
            if self.look is not None:
                self.look(first[: facts.header_end])
            first = headers.without(first, facts, self.removed)
            facts = headers.scan(first, whole=whole)
        completed = headers.complete(first, facts, id=self.id, me=self.me, date=self.date)
        return b"".join((self.trace, *completed)), facts
