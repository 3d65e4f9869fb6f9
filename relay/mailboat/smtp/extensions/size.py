"""SIZE (RFC 1870): clients declare the size of a message, servers the largest that they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailboat.model.envelope import Message, Parameters, Recipient
from mailboat.smtp.extensions.extension import Extension, Misfit, Offers
from mailboat.smtp.grammar import GrammarError

_DIGITS = 20
"""RFC 1870 3 and 4."""


def declared(parameters: Parameters) -> int:
    """The octets that a client has declared at MAIL; 0 when it has not."""
    return int(parameters.get("SIZE", 0))


def limit_of(value: str) -> int | None:
    """The largest message that a peer takes, by what stands behind SIZE; None: it does not say, or 0 (RFC 1870 4)."""
    return (_number(value) or 0) or None


def _number(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS else None


def _read(value: str, _: Offers) -> str | None:
    size = _number(value)
    if size is None:
        raise GrammarError("501 5.5.4 Bad SIZE parameter")
    return str(size) if size else None


def _fit(
    message: Message,
    recipients: Sequence[Recipient],
    head: Callable[[], bytes],  # noqa: ARG001 - the size is known without it
    *,
    host: str,
    value: str | None,
) -> Misfit | None:
    """RFC 1870 6.1: a message that is larger than the peer takes is not sent."""
    limit = limit_of(value or "")
    if limit is None or message.size <= limit:
        return None
    return Misfit(recipients, "5.3.4", f"the message has {message.size} octets, {host} takes at most {limit}")


SIZE = Extension(
    "SIZE",
    "RFC 1870",
    value=lambda offers: str(offers.max_size),
    mail={"SIZE": _read},
    stored=False,
    at_mail=lambda message, _now: f"SIZE={message.size}",  # RFC 1870 6
    fit=_fit,
)
