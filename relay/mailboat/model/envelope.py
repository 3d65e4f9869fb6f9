"""A message in the queue: its envelope, what is known of it, and its recipients by destination domain."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from mailboat.model.address import Address


class State(StrEnum):
    """Where an entry stands in its life. The values are those of the queue API."""

    ACTIVE = "active"
    """Due now, or being attempted."""
    DEFERRED = "deferred"
    """Waits for `next_attempt`."""
    HELD = "held"
    """Waits for an operator to release it."""


Parameters = Mapping[str, str]
"""Of MAIL or RCPT, as `smtp.extensions` keeps them: keyword in capitals to value, which is empty where it has none."""
DEFAULT_TENANT = "default"
"""Whose mail it is where nothing says so."""
TENANT_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")


@dataclass(frozen=True, slots=True)
class Recipient:
    """One forward-path. `id` is unique within its message and never changes, so outcomes name it, not an index."""

    id: int
    address: Address
    parameters: Parameters = field(default_factory=dict)
    """Those of RCPT that are passed on."""


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
    """Those of MAIL that are passed on. BODY=8BITMIME (RFC 6152) is among them where there are octets above 127,
    whatever the client said."""
    force_tls: bool = False
    """Deliver over TLS or defer (`todo.force_tls`)."""
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What plugins noted on the transaction; JSON values only; stored with the message."""
    origin: str = ""
    """`id` again, where another database accepted the message first; else empty."""
    tenant: str = DEFAULT_TENANT
    """Whose mail it is."""
    labels: tuple[str, ...] = ()
    """What plugins have labelled it with, in order."""

    @property
    def smtputf8(self) -> bool:
        """MAIL carried SMTPUTF8 (RFC 6531): a next hop that lacks it cannot have what needs it of this message."""
        return "SMTPUTF8" in self.parameters


@dataclass(frozen=True, slots=True)
class StoredNotes:
    """What hooks of earlier attempts left at an entry; JSON values only."""

    notes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """`hmail.notes`."""
    todo: Mapping[str, Any] | None = field(default=None, repr=False)
    """`todo.notes` as they are for this entry now; None: those of the message."""
    force_tls: bool | None = None
    """`todo.force_tls` as it is for this entry now; None: as the message says."""


class EntryKey(NamedTuple):
    """Names a row: which open database of this worker, and the row's id in it."""

    spool: int
    row: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The recipients of one message in one domain: what is attempted, deferred and recorded together.

    With `always_split` there is one entry a recipient.
    """

    key: EntryKey
    id: str
    """Shown to people: the message's id, a dot, and the entry's number within the message from 1."""
    message: Message
    domain: str
    """The recipients' domain, normalised (`Address.ascii_domain`)."""
    recipients: tuple[Recipient, ...]
    """Those not yet delivered or failed."""
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
    """None: no hook has left anything."""
    held_reason: str = ""
    """Why it is held, where that was not an operator's verb: `exported`, or `importing` until an import is complete."""

    @property
    def force_tls(self) -> bool:
        """Deliver over TLS or defer: what a hook decided for this entry, else what the message says."""
        noted = self.noted
        return self.message.force_tls if noted is None or noted.force_tls is None else noted.force_tls

    @property
    def todo_notes(self) -> Mapping[str, Any]:
        """What plugins noted on the transaction, and hooks of delivery changed since then."""
        noted = self.noted
        return self.message.notes if noted is None or noted.todo is None else noted.todo


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A body too large for memory, already in a file of the spool (not yet durable: the store syncs it)."""

    path: str
    size: int
    """Octets, `head` included."""
    head: bytes = field(default=b"", repr=False)
    """The first octets, which are stored with the row: those that were known only when the file was whole."""


Body = bytes | SpooledBody


class SignedBy(NamedTuple):
    """One DKIM signature that a message was given here (RFC 6376 3.5)."""

    domain: str
    """`d=`"""
    selector: str
    """`s=`"""
    algorithm: str
    """`a=`"""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that wants to be queued: from a client, a plugin, or our own bounce."""

    sender: Address
    recipients: Sequence[Address]
    body: Body = field(repr=False)
    """Header and text with CRLF line ends, not dot-stuffed, trace headers already in place."""
    groups: Sequence[tuple[str, Sequence[Address]]] = ()
    """The recipients by domain, one item an entry (`queue.entry.group`)."""
    id: str = ""
    """Reserved beforehand with `Store.reserve_id`, because the Received header names it; empty: the store picks one."""
    parameters: Parameters = field(default_factory=dict)
    """Of the message; see `Message`."""
    recipient_parameters: Mapping[str, Parameters] = field(default_factory=dict)
    """Of those recipients that have any, by `Address.normalised`."""
    force_tls: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tenant: str = DEFAULT_TENANT
    labels: tuple[str, ...] = ()
    signed_by: Sequence[SignedBy] = ()
