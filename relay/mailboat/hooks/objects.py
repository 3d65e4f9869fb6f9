"""The arguments of hooks: an outbound message, the result of an attempt, and interfaces of the client's side.

Plain values and Protocols: ingress and delivery make or implement them; plugins read them and may set attributes that
say so. `notes` are stored with the message and survive a restart, if they are JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from mailboat.hooks.mx import Mx
from mailboat.model.address import Address

Notes = MutableMapping[str, Any]
"""Values that plugins share. Only JSON values are stored: text, numbers, booleans, None, lists, maps."""


class Header(Protocol):
    """The header of a message. Names in any case; text is UTF-8, and other octets survive as surrogates.

    ValueError for a name or value that would be more than one field.
    """

    def get(self, name: str) -> str | None:
        """The first field of that name, unfolded, not decoded; None if there is none."""

    def get_all(self, name: str) -> list[str]:
        """All of them, from the top."""

    def add(self, name: str, value: str) -> None:
        """Add a field at the end of the header."""

    def add_leading(self, name: str, value: str) -> None:
        """Add a field at the top of the header, like a trace field."""

    def remove(self, name: str) -> int:
        """Remove all fields of that name; how many there were."""


class Body(Protocol):
    """The message as received, header and text with CRLF line ends, not dot-stuffed; in memory or a file."""

    @property
    def size(self) -> int:
        """Octets."""

    def open(self) -> BinaryIO:
        """A file to read it from. A large message is on disk: read it in pieces, and in a sync hook."""

    def read(self) -> bytes:
        """All of it at once: as many octets of memory as `size` says."""


class Transaction(Protocol):
    """One inbound message, from MAIL to the end of data."""

    force_tls: bool
    """Deliver over TLS, or defer. May be set."""
    tenant: str
    """The tenant: that of the client by `tenants.ini`, else `default`. May be set: letters, digits, `.`, `_` and
    `-`. Stored with the message and its bounces."""
    labels: set[str]
    """Up to 16 words of up to 64 characters, by which the queue can be selected. Stored with the message."""

    @property
    def uuid(self) -> str:
        """The queue id."""

    @property
    def mail_from(self) -> Address:
        """The sender; `is_null` for `<>`."""

    @property
    def rcpt_to(self) -> list[Address]:
        """The recipients accepted so far. From `data_post` on, recipients may be added and removed."""

    @property
    def notes(self) -> Notes:
        """For plugins; stored with the message."""

    @property
    def header(self) -> Header:
        """The header; available from `data_post` on."""

    @property
    def body(self) -> Body:
        """The message; available from `data_post` on."""


class Connection(Protocol):
    """A client, or the relay itself."""

    relaying: bool
    """Whether this client may relay. May be set: in `rcpt` for that recipient, in `mail` for that message, before
    that for the connection."""

    @property
    def uuid(self) -> str:
        """Names the connection in logs."""

    @property
    def remote_ip(self) -> str:
        """The client's address; empty when it has none."""

    @property
    def remote_port(self) -> int:
        """The client's port; 0 when it has none."""

    @property
    def local_port(self) -> int:
        """Our port; 0 when there is none."""

    @property
    def hello_name(self) -> str:
        """The name that the client gave in EHLO or HELO; empty before."""

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""

    @property
    def auth_user(self) -> str | None:
        """The authenticated user; None without AUTH."""

    @property
    def notes(self) -> Notes:
        """For plugins, as long as the connection lasts; not stored."""

    @property
    def transaction(self) -> Transaction | None:
        """The message under way; None between messages. Never None in hooks of a message."""


@dataclass(frozen=True, slots=True)
class AuthAttempt:
    """The credentials that a client gave."""

    method: str
    """`PLAIN`, `LOGIN` or `CRAM-MD5`."""
    user: str
    password: str | None = field(repr=False)
    """The password; None with CRAM-MD5, which does not send it."""
    _matches: Callable[[str], bool] = field(repr=False)
    proven: bool = False
    """Whether this client (by its address, or IPv6 /64) has authenticated as this user before: check it first."""

    def matches(self, secret: str) -> bool:
        """Whether the client knows this password, given in clear text. Takes the same time for every wrong one."""
        return self._matches(secret)


@dataclass(slots=True)
class Todo:
    """What is to be delivered."""

    domain: str
    """The domain of all these recipients, normalised."""
    mail_from: Address
    rcpt_to: list[Address]
    notes: dict[str, Any]
    """The transaction's notes. Changes are stored with the next outcome."""
    queue_time: int
    """When the message was queued, milliseconds since the epoch."""
    uuid: str
    """The message's queue id."""
    force_tls: bool = False
    """Deliver over TLS, or defer. May be set; stored."""


@dataclass(slots=True)
class HMail:
    """An outbound message with some of its recipients, in one domain."""

    path: str
    """The queue database that it is in."""
    filename: str
    """The id that `mailboat queue` shows it under."""
    num_failures: int
    """Attempts that failed so far."""
    todo: Todo
    notes: dict[str, Any]
    """For plugins: of these recipients only. Stored with the next outcome."""
    _over: list[Callable[[], object]] | None = field(default_factory=list, repr=False)

    def when_over(self, function: Callable[[], object]) -> None:
        """Have `function` called, once, when this attempt is over, whatever its result, even if it was put off.

        It is called on the event loop, after the hooks, and must not block. Called at once if the attempt is already
        over.
        """
        if self._over is None:
            function()
        else:
            self._over.append(function)

    def is_over(self) -> Sequence[Callable[[], object]]:
        """For the relay: mark the attempt as over; returns the functions to call."""
        functions, self._over = self._over or (), None
        return functions


@dataclass(frozen=True, slots=True)
class DeferredInfo:
    """Why, and for how long, recipients are deferred."""

    delay: float
    """Seconds until the next attempt, by schedule."""
    err: str
    """The reason, one line."""
    fail_recips: Sequence[Address] = ()
    """The deferred recipients."""
    mx: Mx | None = None
    """The host that deferred them; None if none was reached."""


class BounceError(Exception):
    """Why recipients failed permanently; `str()` of it is the reason, one line."""

    def __init__(
        self,
        message: str,
        mx: Mx | None = None,
        deferred_rcpt: Sequence[Address] = (),
        bounced_rcpt: Sequence[Address] = (),
    ) -> None:
        super().__init__(message)
        self.mx = mx
        """The host that refused; None when none was reached."""
        self.deferred_rcpt = deferred_rcpt
        """Recipients that were deferred too often."""
        self.bounced_rcpt = bounced_rcpt
        """Recipients that were refused."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A delivery. It can be unpacked like the list that it is in Haraka."""

    host: str
    """The MX's name."""
    ip: str
    """Its address, or the path of its socket."""
    response: str
    """The text of its last reply, without codes: often its queue id."""
    delay: float
    """Seconds since the message was queued."""
    port: int
    mode: str
    """`SMTP` or `LMTP`."""
    ok_recips: Sequence[Address]
    secured: bool
    """Over TLS."""
    authenticated: bool
    """After AUTH."""

    def __iter__(self) -> Iterator[Any]:
        return iter(
            (
                self.host,
                self.ip,
                self.response,
                self.delay,
                self.port,
                self.mode,
                self.ok_recips,
                self.secured,
                self.authenticated,
            )
        )
