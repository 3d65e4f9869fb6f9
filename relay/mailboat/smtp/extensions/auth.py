"""AUTH (RFC 4954): its mechanisms in EHLO, and AUTH= at MAIL. The exchange is in `smtp.sasl` and `smtp.sasl_client`."""

from __future__ import annotations

from mailboat.smtp.extensions.extension import Extension, Offers
from mailboat.smtp.grammar import XTEXT, GrammarError, not_recognized


def mechanisms_of(value: str) -> frozenset[str]:
    """What a peer offers, by what stands behind AUTH, in capitals."""
    return frozenset(value.split())


def _read(value: str, offers: Offers) -> None:
    """RFC 4954 5: a mailbox as xtext, or `<>`. It is trusted from nobody, so nothing is kept."""
    if offers.auth is None:
        raise not_recognized("AUTH")
    if not XTEXT.fullmatch(value):
        raise GrammarError("501 5.5.4 Bad AUTH parameter")


# Not announced in the form `AUTH=` too, which clients of before RFC 2554 (1999) looked for: it is no EHLO keyword.
AUTH = Extension(
    "AUTH",
    "RFC 4954",
    offered=lambda offers: bool(offers.auth),
    value=lambda offers: " ".join(offers.auth or ()),
    mail={"AUTH": _read},
)
