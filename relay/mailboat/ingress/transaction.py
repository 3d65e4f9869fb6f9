"""One mail transaction: the envelope as it grows, the message's octets, and the draft they become.

Knows no sockets and no replies; `connection` owns one at a time. A large body goes to a file of the spool as it
comes in, so that memory does not depend on what clients send.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mailboat.config.settings import Settings
from mailboat.message import headers, received
from mailboat.model.address import Address
from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft, SpooledBody
from mailboat.queue.entry import group
from mailboat.queue.store import Store
from mailboat.smtp.events import Mail

SPOOL_THRESHOLD = 256 * 1024
"""Octets of a body that are kept in memory; a larger one goes to a file. Above it, the file's own fsyncs cost less
than the second copy that a database's log makes; below, they cost more."""

MAX_PARTS = 512
"""Pieces that are kept apart: each costs more than its octets, and a client can send one octet at a time."""


class TooManyHops(Exception):  # noqa: N818 - what it is called in the field
    """More Received headers than allowed: a loop (RFC 5321 6.3)."""


@dataclass(slots=True)
class Transaction:
    """From MAIL to the end of data."""

    mail: Mail
    origin: received.Origin
    settings: Settings
    store: Store
    recipients: list[Address] = field(default_factory=list)
    id: str = ""
    """The queue id, from DATA on."""
    began_at: float = 0.0
    """Monotonic: when DATA was accepted."""
    size: int = 0
    """Octets of the message so far, as received."""
    fault: OSError | TooManyHops | None = None
    """Why the message cannot be taken; its octets are thrown away, its end is answered."""
    _date: bytes = b""
    _parts: list[bytes] = field(default_factory=list)
    _file: int = -1
    _path: str = ""
    _file_size: int = 0

    def begin(self, clock: Clock) -> None:
        """DATA is accepted."""
        self.id = self.store.reserve_id()
        self.began_at = clock.monotonic()
        self._date = received.rfc5322_date(clock.now())

    @property
    def is_too_big(self) -> bool:
        """More octets came than `databytes` allows."""
        return self.size > self.settings.smtp.databytes

    def write(self, octets: bytes) -> None:
        """Take octets of the message; once there is a fault they are only counted."""
        self.size += len(octets)
        if self.is_too_big:
            self.discard()
        elif self.fault is None:
            self._parts.append(octets)
            if self.size > SPOOL_THRESHOLD:
                self._spill()
            elif len(self._parts) > MAX_PARTS:
                self._parts = [b"".join(self._parts)]

    def draft(self) -> Draft:
        """The whole message with its trace header, ready for the store. Raises what became `fault`."""
        if self._file < 0:
            self._parts = [self._with_trace(b"".join(self._parts), whole=True)]
        if self.fault:
            self.discard()
            raise self.fault
        body = self._close_file() if self._file >= 0 else self._parts[0]
        return Draft(
            sender=self.mail.sender,
            recipients=self.recipients,
            body=body,
            groups=group(self.recipients, split=self.settings.outbound.always_split),
            id=self.id,
            smtputf8=self.mail.smtputf8,
            eightbit=self.mail.eightbit,
        )

    def discard(self) -> None:
        """Forget the octets, and remove the file if there is one."""
        self._parts.clear()
        if self._file >= 0:
            # What cannot be closed or removed now, the store removes at its next start.
            with suppress(OSError):
                self._close_file()
            with suppress(OSError):
                Path(self._path).unlink(missing_ok=True)

    def _with_trace(self, first: bytes, *, whole: bool) -> bytes:
        """The message's first octets with the trace header (RFC 5321 4.4) and what the header lacks."""
        facts = headers.scan(first, whole=whole)
        if facts.received_count > self.settings.smtp.max_received:
            self.fault = TooManyHops()
        trace = received.client_trace(
            self.origin,
            me=self.settings.me,
            id=self.id,
            date=self._date,
            recipient=str(self.recipients[0]) if len(self.recipients) == 1 else "",
            smtputf8=self.mail.smtputf8,
        )
        outbound = received.outbound_trace(self.settings.outbound.received_header, self._date)
        completed = headers.complete(first, facts, id=self.id, me=self.settings.me, date=self._date)
        return b"".join((outbound, trace, *completed))

    def _spill(self) -> None:
        pending = b"".join(self._parts)
        self._parts.clear()
        try:
            if self._file < 0:
                pending = self._with_trace(pending, whole=False)
                self._path, self._file = self.store.new_body_file()
            self._file_size += len(pending)
            _write_all(self._file, pending)
        except OSError as error:
            self.discard()
            self.fault = error

    def _close_file(self) -> Body:
        """The file as a body, the store's from now on. Raises OSError, and then it is removed."""
        file, self._file = self._file, -1  # whatever comes of it, it is closed once
        try:
            os.close(file)
        except OSError:  # some file systems tell only now that they are full
            Path(self._path).unlink(missing_ok=True)
            raise
        return SpooledBody(self._path, self._file_size)


def _write_all(file: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(file, view) :]
