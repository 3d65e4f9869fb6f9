"""SMTPUTF8 (RFC 6531): addresses and header fields beyond ASCII. Neither is ever rewritten for a peer that lacks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailboat.model.envelope import Message, Parameters, Recipient
from mailboat.smtp.extensions.extension import Extension, Misfit, Offers
from mailboat.smtp.grammar import GrammarError


def is_declared(parameters: Parameters) -> bool:
    """Whether a client has said SMTPUTF8 at MAIL."""
    return "SMTPUTF8" in parameters


def needs_smtputf8(message: Message, head: bytes) -> bool:
    """Whether no part of the message may go to a peer without SMTPUTF8 (RFC 6531 3.6): sender or header beyond ASCII.

    `head` is the beginning of the body. A message that was only declared SMTPUTF8 and needs none of it may go anywhere.
    """
    return not message.sender.is_ascii or (message.smtputf8 and not _header_of(head).isascii())


def _header_of(body: bytes) -> bytes:
    """The header of a message, or all of what is given when it ends before the header does."""
    end = body.find(b"\r\n\r\n")
    return body if end < 0 else body[:end]


def _read(value: str, _: Offers) -> str | None:
    if value:
        raise GrammarError("501 5.5.4 Bad parameter value")
    return value


def _fit(
    message: Message,
    recipients: Sequence[Recipient],
    head: Callable[[], bytes],
    *,
    host: str,
    value: str | None,
) -> Misfit | None:
    """RFC 6531 3.5: recipients whose address cannot be said without it, or all, if the message needs it."""
    if value is not None:
        return None
    misfits = [recipient for recipient in recipients if not recipient.address.is_ascii]
    if (message.smtputf8 or not message.sender.is_ascii) and needs_smtputf8(message, head()):
        misfits = list(recipients)
    if not misfits:
        return None
    return Misfit(misfits, "5.6.7", f"{host} does not support SMTPUTF8, which this message needs")


SMTPUTF8 = Extension(
    "SMTPUTF8",
    "RFC 6531",
    mail={"SMTPUTF8": _read},
    fit=_fit,
)
