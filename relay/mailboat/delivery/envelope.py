"""A message's envelope as the commands of a transaction, fitted to what the peer offers. Pure.

Used by `delivery.attempt`, sent by `delivery.session`. Each extension formats its own parameters (`smtp.extensions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailboat.delivery.offers import PeerOffers
from mailboat.model.address import Address
from mailboat.model.envelope import Message, Parameters, Recipient
from mailboat.smtp.extensions import SMTPUTF8


@dataclass(frozen=True, slots=True)
class Envelope:
    """The commands of a transaction, without line ends."""

    mail: bytes
    rcpts: Sequence[bytes]


def envelope_for(message: Message, recipients: Sequence[Recipient], offers: PeerOffers, now: float) -> Envelope:
    """MAIL with the parameters that the peer supports, and one RCPT for each recipient. `now`: seconds since the
    epoch."""
    utf8 = message.smtputf8 and SMTPUTF8 in offers
    mail = f"MAIL FROM:<{_path(message.sender, utf8=utf8)}>"
    for extension in offers.extensions:
        if extension.at_mail is not None:
            if said := extension.at_mail(message, now):
                mail += f" {said}"
        elif message.parameters:
            mail += _again(extension.mail, message.parameters)
    return Envelope(mail.encode(), [_rcpt(recipient, offers, utf8=utf8) for recipient in recipients])


def _rcpt(recipient: Recipient, offers: PeerOffers, *, utf8: bool) -> bytes:
    rcpt = f"RCPT TO:<{_path(recipient.address, utf8=utf8)}>"
    if recipient.parameters:
        for extension in offers.extensions:
            rcpt += _again(extension.rcpt, recipient.parameters)
    return rcpt.encode()


def _again(keywords: Iterable[str], parameters: Parameters) -> str:
    """The given parameters of an extension, each after a space."""
    said = ((keyword, parameters[keyword]) for keyword in keywords if keyword in parameters)
    return "".join(f" {keyword}={value}" if value else f" {keyword}" for keyword, value in said)


def _path(address: Address, *, utf8: bool) -> str:
    # The grammar has no dot at the end of a domain (RFC 5321 4.1.2), but some clients send one.
    return str(address).removesuffix(".") if utf8 else address.wire
