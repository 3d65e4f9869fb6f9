"""What a service extension is here (RFC 5321 2.2): each is written in one module, as a value of `Extension`.

`smtp.session` announces it and reads its parameters; `delivery.envelope` and `delivery.attempt` ask it what to say to a
peer, and what a peer cannot take. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailboat.model.envelope import Message, Recipient


@dataclass(frozen=True, slots=True)
class Offers:
    """What decides which extensions a client is offered."""

    max_size: int
    """Octets; announced with SIZE."""
    starttls: bool = False
    """There is a certificate, and the connection is not inside TLS yet."""
    auth: tuple[str, ...] | None = None
    """The mechanisms that this client may use as things are; None: nobody can authenticate here at all."""
    max_recipients: int = 0
    """Recipients of one message; 0: not announced."""


Parse = Callable[[str, Offers], str | None]
"""Makes the value that is kept of the value that a client gave; None: nothing is kept. Raises `GrammarError`.

A parameter without a value has an empty one, on both sides.
"""


@dataclass(frozen=True, slots=True)
class Misfit:
    """What a peer cannot take of a message, going by its EHLO reply."""

    recipients: Sequence[Recipient]
    status: str
    """The enhanced status code if no other host can take it either (RFC 3463)."""
    reason: str


class Fit(Protocol):
    """Finds what of a message a peer cannot take."""

    def __call__(
        self,
        message: Message,
        recipients: Sequence[Recipient],
        head: Callable[[], bytes],
        *,
        host: str,
        value: str | None,
    ) -> Misfit | None:
        """None: the peer can take it all.

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
    """What EHLO says behind the keyword."""
    mail: Mapping[str, Parse] = field(default_factory=dict)
    """Its parameters of MAIL, by keyword in capitals."""
    rcpt: Mapping[str, Parse] = field(default_factory=dict)
    """Its parameters of RCPT."""
    stored: bool = True
    """Whether the queue keeps its parameters. A peer that offers the extension is told them again."""
    at_mail: Callable[[Message, float], str] | None = None
    """What a peer that offers it is told at MAIL instead of the parameters that are stored; empty: nothing.

    Given the message and the time, in seconds since the epoch: of a client's time limit a peer is told what is left.
    """
    fit: Fit | None = None
    """None: every message fits every peer."""
