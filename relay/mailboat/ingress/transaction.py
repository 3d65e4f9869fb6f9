"""One mail transaction: the envelope as it grows, the message's octets, and the draft they become.

Knows no sockets and no replies; `connection` owns one at a time. Where the octets go as they come in is for
`queue.body_writer` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailboat.config.settings import Settings
from mailboat.message import headers, received
from mailboat.model.address import Address
from mailboat.model.clock import Clock
from mailboat.model.envelope import Draft
from mailboat.queue.body_writer import BodyWriter, UnfitError
from mailboat.queue.entry import group
from mailboat.queue.store import Store
from mailboat.smtp.events import Mail


class TooManyHops(UnfitError):  # noqa: N818 - what it is called in the field
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
    _date: bytes = b""
    _body: BodyWriter = field(init=False)

    def __post_init__(self) -> None:
        self._body = BodyWriter(self.store, self._with_trace)

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
            self._body.discard()
        else:
            self._body.write(octets)

    def draft(self) -> Draft:
        """The whole message with its trace header, ready for the store. Raises OSError or TooManyHops."""
        return Draft(
            sender=self.mail.sender,
            recipients=self.recipients,
            body=self._body.finish(),
            groups=group(self.recipients, split=self.settings.outbound.always_split),
            id=self.id,
            smtputf8=self.mail.smtputf8,
            eightbit=self.mail.eightbit,
        )

    def discard(self) -> None:
        """Forget the octets, and remove the file if there is one."""
        self._body.discard()

    def _with_trace(self, first: bytes, whole: bool) -> bytes:
        """The message's first octets with the trace header (RFC 5321 4.4) and what the header lacks."""
        facts = headers.scan(first, whole=whole)
        if facts.received_count > self.settings.smtp.max_received:
            raise TooManyHops
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
