"""What a service extension is here (RFC 5321 2.2): each is written in one module, as a value of `Extension`.

`smtp.session` announces it and reads its parameters; `delivery.envelope` and `delivery.attempt` use it for the
parameters to send, and for messages that do not fit a peer. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailboat.model.envelope import Message, Recipient


@dataclass(frozen=True, slots=True)
class Offers:
    """The state that decides which extensions are offered to a client."""

    max_size: int
    """Octets; announced with SIZE."""
    starttls: bool = False
    """Whether there is a certificate, and the connection is not inside TLS yet."""
    auth: tuple[str, ...] | None = None
    """The mechanisms that this client may use now; None: AUTH is not supported."""
    max_recipients: int = 0
    """Recipients of one message; 0: not announced."""
    requiretls: bool | None = None
    """Whether the connection is inside TLS, without which REQUIRETLS is refused; None: it is not supported."""


Parse = Callable[[str, Offers], str | None]
"""Converts a client's value to the stored one; None: nothing is stored. Raises `GrammarError`.

A parameter without a value has an empty one, on both sides.
"""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a message does not fit a peer, according to its EHLO reply."""

    recipients: Sequence[Recipient]
    status: str
    """The enhanced status code if no other host can take it either (RFC 3463)."""
    reason: str


class Fit(Protocol):
    """Checks whether a message fits a peer."""

    def __call__(
        self,
        message: Message,
        recipients: Sequence[Recipient],
        head: Callable[[], bytes],
        *,
        host: str,
        value: str | None,
    ) -> Misfit | None:
        """None: the message fits.

        `head` reads the beginning of the body. `value` is what stands behind the keyword in the peer's EHLO reply, in
        capitals; None: it does not offer the extension.
        """


@dataclass(frozen=True, slots=True)
class Extension:
    """One service extension, as a server and as a client."""

    keyword: str
    """In EHLO, in capitals."""
    rfc: str
    offered: Callable[[Offers], bool] = lambda _: True
    """Whether EHLO announces it."""
    value: Callable[[Offers], str] = lambda _: ""
    """The parameters of the keyword in EHLO."""
    mail: Mapping[str, Parse] = field(default_factory=dict)
    """Its parameters of MAIL, by keyword in capitals."""
    rcpt: Mapping[str, Parse] = field(default_factory=dict)
    """Its parameters of RCPT."""
    stored: bool = True
    """Whether the queue stores its parameters, which are then sent to a peer that offers the extension."""
    at_mail: Callable[[Message, float], str] | None = None
    """The parameters of MAIL for a peer that offers it, instead of the stored ones; empty: none.

    Given the message and the time, in seconds since the epoch: a client's time limit is reduced by the elapsed time.
    """
    fit: Fit | None = None
    """None: every message fits every peer."""
