"""A message's envelope as the commands of a transaction, fitted to what the peer offers. Pure.

Used by `delivery.attempt`, sent by `delivery.session`. What a parameter says, its extension knows (`smtp.extensions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailboat.delivery.offers import PeerOffers
from mailboat.model.address import Address
from mailboat.model.envelope import Message, Recipient
from mailboat.smtp.extensions import SMTPUTF8


@dataclass(frozen=True, slots=True)
class Envelope:
    """The commands of a transaction, without line ends."""

    mail: bytes
    rcpts: Sequence[bytes]


def envelope_for(message: Message, recipients: Sequence[Recipient], offers: PeerOffers) -> Envelope:
    """MAIL with the parameters that the peer knows, and one RCPT a recipient."""
    utf8 = message.smtputf8 and SMTPUTF8 in offers
    mail = f"MAIL FROM:<{_path(message.sender, utf8=utf8)}>"
    for extension in offers.extensions:
        if extension.at_mail is not None and (parameter := extension.at_mail(message)):
            mail += f" {parameter}"
    rcpts = [f"RCPT TO:<{_path(r.address, utf8=utf8)}>".encode() for r in recipients]
    return Envelope(mail.encode(), rcpts)


def _path(address: Address, *, utf8: bool) -> str:
    # The grammar has no dot at the end of a domain (RFC 5321 4.1.2), clients have.
    return str(address).removesuffix(".") if utf8 else address.wire
