"""REQUIRETLS (RFC 8689): mail that is sent over verified TLS only, to hosts that promise the same.

What it demands of a host, `routing.security` says; what its failure leads to, `delivery.tls_verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailboat.model.envelope import Message, Recipient
from mailboat.smtp.extensions.extension import Extension, Misfit, Offers
from mailboat.smtp.grammar import GrammarError, not_recognized

_KEYWORD = "REQUIRETLS"


def _read(value: str, offers: Offers) -> str:
    if offers.requiretls is None:
        raise not_recognized(_KEYWORD)
    if not offers.requiretls:
        raise GrammarError("530 5.7.10 REQUIRETLS needs TLS: issue a STARTTLS command first")
    if value:
        raise GrammarError("501 5.5.4 Bad REQUIRETLS parameter")
    return value


def _fit(
    message: Message,
    recipients: Sequence[Recipient],
    head: Callable[[], bytes],  # noqa: ARG001
    *,
    host: str,
    value: str | None,
) -> Misfit | None:
    """RFC 8689 4.2.1 and 6. Asked only about targets that must offer it."""
    if value is not None or not message.requiretls:
        return None
    return Misfit(recipients, "5.7.30", f"{host} does not support REQUIRETLS, which this message needs")


REQUIRETLS = Extension(
    _KEYWORD,
    "RFC 8689",
    offered=lambda offers: offers.requiretls is True,
    mail={_KEYWORD: _read},
    fit=_fit,
)
