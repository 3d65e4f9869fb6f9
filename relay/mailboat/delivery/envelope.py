"""A message's envelope as the commands of a transaction, fitted to what the peer offers. Pure.

Used by `delivery.attempt`, which asks `delivery.verdict` what becomes of what does not fit, and sent by
`delivery.session`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailboat.delivery.offers import PeerOffers
from mailboat.model.address import Address
from mailboat.model.envelope import Message, Recipient


@dataclass(frozen=True, slots=True)
class Envelope:
    """The commands of a transaction, without line ends."""

    mail: bytes
    rcpts: Sequence[bytes]


def envelope_for(message: Message, recipients: Sequence[Recipient], offers: PeerOffers) -> Envelope:
    """MAIL with the parameters that the peer knows, and one RCPT a recipient."""
    utf8 = message.smtputf8 and offers.smtputf8
    mail = f"MAIL FROM:<{_path(message.sender, utf8=utf8)}>"
    if offers.announces_size:
        mail += f" SIZE={message.size}"  # RFC 1870 6
    if message.eightbit and offers.eightbit:
        mail += " BODY=8BITMIME"  # RFC 6152 3
    if utf8:
        mail += " SMTPUTF8"  # RFC 6531 3.4
    rcpts = [f"RCPT TO:<{_path(r.address, utf8=utf8)}>".encode() for r in recipients]
    return Envelope(mail.encode(), rcpts)


def _path(address: Address, *, utf8: bool) -> str:
    # The grammar has no dot at the end of a domain (RFC 5321 4.1.2), clients have.
    return str(address).removesuffix(".") if utf8 else address.wire


def beyond_ascii(recipients: Iterable[Recipient]) -> list[Recipient]:
    """The recipients whose address cannot be said without SMTPUTF8."""
    return [r for r in recipients if not r.address.is_ascii]


def header_of(body: bytes) -> bytes:
    """The header of a message, or all of what is given when it ends before the header does."""
    end = body.find(b"\r\n\r\n")
    return body if end < 0 else body[:end]


def needs_smtputf8(message: Message, head: bytes) -> bool:
    """Whether no part of the message may go to a peer without SMTPUTF8 (RFC 6531 3.6): sender or header beyond ASCII.

    `head` is the beginning of the body. A message that was only declared SMTPUTF8 and needs none of it may go anywhere.
    """
    return not message.sender.is_ascii or (message.smtputf8 and not header_of(head).isascii())
