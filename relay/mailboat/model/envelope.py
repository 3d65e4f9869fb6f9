"""A message in the queue: its envelope, what is known of it, and its recipients by destination domain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from mailboat.model.address import Address
from mailboat.model.outcome import Outcome, ReportAction
from mailboat.model.tls import NOTHING_ASKED, MessageTls


class State(StrEnum):
    """The state of an entry. The values are those of the queue API."""

    ACTIVE = "active"
    """Due now, or being attempted."""
    DEFERRED = "deferred"
    """Waits for `next_attempt`."""
    HELD = "held"
    """Waits for an operator to release it."""


Parameters = Mapping[str, str]
"""Of MAIL or RCPT, as `smtp.extensions` keeps them: keyword in capitals to value, which is empty where it has none."""
DEFAULT_TENANT = "default"
"""The tenant of mail for which no rule names one."""
TLS_REPORT_NOTE = "mailboat.tls_report"
"""The note of a message that carries a report of this relay on TLS (RFC 8460 5.3)."""
_FORCED = MessageTls(forced=True)
TENANT_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")


@dataclass(frozen=True, slots=True)
class Recipient:
    """One forward-path. `id` is unique within its message and never changes, so outcomes name it, not an index."""

    id: int
    address: Address
    parameters: Parameters = field(default_factory=dict)
    """Those of RCPT that are passed on."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery that the sender asked to be told of (RFC 3461 4.1), and whose report could not be written so far."""

    recipient: Recipient
    outcome: Outcome
    action: ReportAction
    at: float
    """When it was delivered, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Message:
    """What all entries of one accepted message share."""

    id: str
    """The queue id that the client was told in the 250 reply; unique among all databases, never reused."""
    sender: Address
    size: int
    """Octets of the stored body (header included, not dot-stuffed)."""
    queued_at: float
    """When it was accepted, seconds since the epoch."""
    parameters: Parameters = field(default_factory=dict)
    """Those of MAIL that are passed on. BODY=8BITMIME (RFC 6152) is added if there are octets above 127, even if the
    client did not declare it."""
    force_tls: bool = False
    """Deliver over TLS or defer (`todo.force_tls`)."""
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Notes of plugins on the transaction: JSON values, stored with the message."""
    origin: str = ""
    """`id` again if the message was first accepted into another database; else empty."""
    tenant: str = DEFAULT_TENANT
    """The tenant that the message belongs to."""
    labels: tuple[str, ...] = ()
    """Labels that plugins added, in order."""
    tls_required_no: bool = False
    """Its header says `TLS-Required: No` (RFC 8689 5)."""

    @property
    def is_tls_report(self) -> bool:
        """Whether it carries a report of this relay on TLS."""
        return TLS_REPORT_NOTE in self.notes

    @property
    def smtputf8(self) -> bool:
        """MAIL carried SMTPUTF8 (RFC 6531): parts of the message that need it cannot go to a next hop without it."""
        return "SMTPUTF8" in self.parameters

    @property
    def requiretls(self) -> bool:
        """MAIL carried REQUIRETLS (RFC 8689 2)."""
        return "REQUIRETLS" in self.parameters


@dataclass(frozen=True, slots=True)
class StoredNotes:
    """Notes of hooks of earlier attempts on an entry; JSON values only."""

    notes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """`hmail.notes`."""
    todo: Mapping[str, Any] | None = field(default=None, repr=False)
    """Current `todo.notes` of this entry; None: those of the message."""
    force_tls: bool | None = None
    """Current `todo.force_tls` of this entry; None: that of the message."""
    route: str = ""
    """The `[route]` that an administrator has chosen for this entry; empty: none."""


class EntryKey(NamedTuple):
    """Names a row: which open database of this worker, and the row's id in it."""

    spool: int
    row: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The recipients of one message in one domain: they are attempted, deferred and recorded together.

    With `always_split` there is one entry a recipient.
    """

    key: EntryKey
    id: str
    """Shown to people: the message's id, a dot, and the entry's number within the message from 1."""
    message: Message
    domain: str
    """The recipients' domain, normalised (`Address.ascii_domain`)."""
    recipients: tuple[Recipient, ...]
    """Those not yet delivered or failed; empty if only reports are `owed`."""
    attempts: int = 0
    """Failed attempts so far (Haraka's `num_failures`)."""
    next_attempt: float | None = None
    """When to try (again), seconds since the epoch; None while held."""
    state: State = State.ACTIVE
    last_reply: str = ""
    """Why the last attempt deferred, as text; empty before the first."""
    last_mx: str = ""
    """The host that gave `last_reply`; empty when none was reached."""
    noted: StoredNotes | None = None
    """None: no hook has noted anything."""
    held_reason: str = ""
    """Why it is held, if no operator held it: `exported`, or `importing` until an import is complete."""
    delay_reported: bool = False
    """The sender was told that the mail is late, which happens once."""
    owed: tuple[Owed, ...] = ()
    """Deliveries to report together with the next attempt."""

    @property
    def route(self) -> str:
        """The `[route]` that an administrator has chosen; empty: none."""
        return "" if self.noted is None else self.noted.route

    @property
    def force_tls(self) -> bool:
        """Deliver over TLS or defer: the decision of a hook for this entry, else that of the message."""
        noted = self.noted
        return self.message.force_tls if noted is None or noted.force_tls is None else noted.force_tls

    @property
    def tls(self) -> MessageTls:
        """What the message asks of TLS."""
        message = self.message
        if message.requiretls or message.tls_required_no:
            return MessageTls(self.force_tls, message.requiretls, message.tls_required_no, message.is_tls_report)
        return _FORCED if self.force_tls else NOTHING_ASKED

    @property
    def todo_notes(self) -> Mapping[str, Any]:
        """Notes of plugins on the transaction, with later changes by delivery hooks."""
        noted = self.noted
        return self.message.notes if noted is None or noted.todo is None else noted.todo


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A body too large for memory, already in a file of the spool (not yet durable: the store syncs it)."""

    path: str
    size: int
    """Octets, `head` included."""
    head: bytes = field(default=b"", repr=False)
    """The first octets, which are stored with the row, because they are known only when the file is complete."""


Body = bytes | SpooledBody


class SignedBy(NamedTuple):
    """One DKIM signature that this relay added to a message (RFC 6376 3.5)."""

    domain: str
    """`d=`"""
    selector: str
    """`s=`"""
    algorithm: str
    """`a=`"""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be queued: from a client or a plugin, or a bounce."""

    sender: Address
    recipients: Sequence[Address]
    body: Body = field(repr=False)
    """Header and text with CRLF line ends, not dot-stuffed, trace headers already in place."""
    groups: Sequence[tuple[str, Sequence[Address]]] = ()
    """The recipients by domain, one item an entry (`queue.entry.group`)."""
    id: str = ""
    """Reserved with `Store.reserve_id`, because the Received header contains it; empty: the store picks one."""
    parameters: Parameters = field(default_factory=dict)
    """Of the message; see `Message`."""
    recipient_parameters: Mapping[str, Parameters] = field(default_factory=dict)
    """Of recipients with parameters, by `Address.normalised`."""
    force_tls: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tenant: str = DEFAULT_TENANT
    labels: tuple[str, ...] = ()
    tls_required_no: bool = False
    """See `Message`."""
    signed_by: Sequence[SignedBy] = ()
