"""What `smtp.session` tells its owner: a command that wants a decision, or a piece of a message."""

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
    """Why the message cannot be taken, if so."""


@dataclass(slots=True)
class StartTls:
    """STARTTLS. The owner answers 220, upgrades, and calls `restart`; what was buffered is gone already."""


@dataclass(slots=True)
class Challenge:
    """A step of AUTH, replied to already. Needs no answer."""


@dataclass(slots=True)
class Auth:
    """The client has said who it is; the owner decides. Accepting it is 235."""

    credentials: SaslCredentials


@dataclass(slots=True)
class Reset:
    """The transaction was given up: RSET, or another EHLO. Needs no answer."""


@dataclass(slots=True)
class NoOp:
    """NOOP, HELP or VRFY, replied to already: it moves no mail, and a client with no end of them is none."""


@dataclass(slots=True)
class Quit:
    """QUIT: the reply is in the output; close when it is sent."""


@dataclass(slots=True)
class RejectedCommand:
    """The session refused something by itself; for counting. Needs no answer."""

    reply: str
    kind: str
    """`syntax`, `sequence`, `too_long`, `bare_newline` or `auth`."""


Event = (
    Hello | Mail | Rcpt | Data | Chunk | EndOfData | StartTls | Challenge | Auth | Reset | NoOp | Quit | RejectedCommand
)
