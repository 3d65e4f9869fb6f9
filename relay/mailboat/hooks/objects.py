"""What hooks are given: a message on its way out, what came of an attempt, and the client's side as interfaces.

Plain values and Protocols: ingress and delivery make or implement them, plugins read and, where it says so, write
them. What is written to `notes` is stored with the message and there after a restart, if it is JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from mailboat.hooks.mx import Mx
from mailboat.model.address import Address

Notes = MutableMapping[str, Any]
"""What plugins write down for one another. JSON values only are stored: text, numbers, booleans, None, lists, maps."""


class Header(Protocol):
    """The header of a message. Names in any case; text is UTF-8, and other octets survive as surrogates.

    ValueError for a name or value that would be more than one field.
    """

    def get(self, name: str) -> str | None:
        """The first field of that name, unfolded, as it stands; None when there is none."""

    def get_all(self, name: str) -> list[str]:
        """All of them, from the top."""

    def add(self, name: str, value: str) -> None:
        """Put a field at the end of the header."""

    def add_leading(self, name: str, value: str) -> None:
        """Put a field at the top of the header, as trace fields are."""

    def remove(self, name: str) -> int:
        """Remove all fields of that name; how many there were."""


class Body(Protocol):
    """The message as it came, header and text with CRLF line ends, not dot-stuffed; in memory or a file."""

    @property
    def size(self) -> int:
        """Octets."""

    def open(self) -> BinaryIO:
        """A file to read it from. A large message is on disk: read it in pieces, and in a sync hook."""

    def read(self) -> bytes:
        """All of it at once: as many octets of memory as `size` says."""


class Transaction(Protocol):
    """One message on its way in, from MAIL to the end of data."""

    force_tls: bool
    """Deliver over TLS, or defer. May be set."""
    tenant: str
    """Whose mail it is: what `tenants.ini` says of the client, else `default`. May be set: letters, digits, `.`, `_`
    and `-`. Stored with the message, and that of its bounces."""
    labels: set[str]
    """Words of up to 64 characters, 16 at most, to select the message by in the queue. Stored with the message."""

    @property
    def uuid(self) -> str:
        """The queue id."""

    @property
    def mail_from(self) -> Address:
        """The sender; `is_null` for `<>`."""

    @property
    def rcpt_to(self) -> list[Address]:
        """The recipients that were accepted so far. From `data_post` on they may be added to and taken from."""

    @property
    def notes(self) -> Notes:
        """For plugins; stored with the message."""

    @property
    def header(self) -> Header:
        """The header; there from `data_post` on."""

    @property
    def body(self) -> Body:
        """The message; there from `data_post` on."""


class Connection(Protocol):
    """A client, or the relay itself."""

    relaying: bool
    """Whether this client may relay. May be set: in `rcpt` it counts for that recipient, in `mail` for that
    message, before that for the connection."""

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
        """What the client said in EHLO or HELO; empty before."""

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
        """The message under way; None between messages. Always there in hooks of a message."""


@dataclass(frozen=True, slots=True)
class AuthAttempt:
    """The credentials that a client gave."""

    method: str
    """`PLAIN`, `LOGIN` or `CRAM-MD5`."""
    user: str
    password: str | None = field(repr=False)
    """What was given; None with CRAM-MD5, where it is never sent."""
    _matches: Callable[[str], bool] = field(repr=False)
    proven: bool = False
    """Whether this client (by its address, or IPv6 /64) has authenticated as this user before: to be checked first."""

    def matches(self, secret: str) -> bool:
        """Whether the client knows this password, given in clear. Takes the same time for every wrong one."""
        return self._matches(secret)


@dataclass(slots=True)
class Todo:
    """What is to be delivered."""

    domain: str
    """Where to: the domain of all these recipients, normalised."""
    mail_from: Address
    rcpt_to: list[Address]
    notes: dict[str, Any]
    """The transaction's notes. What a hook changes is stored with the next outcome."""
    queue_time: int
    """When the message was queued, milliseconds since the epoch."""
    uuid: str
    """The message's queue id."""
    force_tls: bool = False
    """Deliver over TLS, or defer. May be set; stored."""


@dataclass(slots=True)
class HMail:
    """Some recipients of a message, in one domain, on their way out."""

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
        """Have `function` called, once, when this attempt is over, whatever came of it: also when it was put off.

        It is called on the event loop, after the hooks, and must not wait for anything. At once, if it is over already.
        """
        if self._over is None:
            function()
        else:
            self._over.append(function)

    def is_over(self) -> Sequence[Callable[[], object]]:
        """For the relay: the attempt is over; who wants to know."""
        functions, self._over = self._over or (), None
        return functions


@dataclass(frozen=True, slots=True)
class DeferredInfo:
    """Why, and for how long, recipients are put off."""

    delay: float
    """Seconds until the next attempt, by schedule."""
    err: str
    """The reason, one line."""
    fail_recips: Sequence[Address] = ()
    """Who is put off."""
    mx: Mx | None = None
    """The host that put them off; None when none was reached."""


class BounceError(Exception):
    """Why recipients failed for good; `str()` of it is the reason, one line."""

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
        """Those whose last deferral was one too many."""
        self.bounced_rcpt = bounced_rcpt
        """Those that were refused."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A delivery. It can be taken apart like the list that it is in Haraka."""

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
