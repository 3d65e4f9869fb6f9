"""The events of `smtp.session`: a command that needs a decision, or a piece of a message."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailboat.model.address import Address
from mailboat.model.envelope import Parameters
from mailboat.smtp.data import DataFault
from mailboat.smtp.sasl import SaslCredentials


@dataclass(slots=True)
class Hello:
    """EHLO or HELO. The session has reset any transaction."""

    name: str
    extended: bool


@dataclass(slots=True)
class Mail:
    """MAIL FROM with its parameters checked."""

    sender: Address
    parameters: Parameters = field(default_factory=dict)
    """What `smtp.extensions` keeps of them."""


@dataclass(slots=True)
class Rcpt:
    """RCPT TO with its parameters checked."""

    recipient: Address
    parameters: Parameters = field(default_factory=dict)


@dataclass(slots=True)
class Data:
    """DATA, with at least one recipient accepted."""


@dataclass(slots=True)
class Chunk:
    """Octets of the message, dot-stuffing removed. Needs no answer."""

    octets: bytes = field(repr=False)


@dataclass(slots=True)
class EndOfData:
    """The end of the message."""

    octets: bytes = field(repr=False)
    """Its last octets."""
    fault: DataFault | None
    """Why the message cannot be accepted, if so."""


@dataclass(slots=True)
class StartTls:
    """STARTTLS. The owner answers 220, upgrades, and calls `restart`; buffered input has been discarded."""


@dataclass(slots=True)
class Challenge:
    """A step of AUTH, replied to already. Needs no answer."""


@dataclass(slots=True)
class Auth:
    """The client's credentials; the owner decides. 235 accepts them."""

    credentials: SaslCredentials


@dataclass(slots=True)
class Reset:
    """The transaction was aborted: RSET, or another EHLO. Needs no answer."""


@dataclass(slots=True)
class NoOp:
    """NOOP, HELP or VRFY, already answered; counted, because endless ones are abuse."""


@dataclass(slots=True)
class Quit:
    """QUIT: the reply is in the output; close when it is sent."""


@dataclass(slots=True)
class RejectedCommand:
    """The session itself refused a command; for counting. Needs no answer."""

    reply: str
    kind: str
    """`syntax`, `sequence`, `too_long`, `bare_newline` or `auth`."""


Event = (
    Hello | Mail | Rcpt | Data | Chunk | EndOfData | StartTls | Challenge | Auth | Reset | NoOp | Quit | RejectedCommand
)
