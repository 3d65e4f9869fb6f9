"""8BITMIME (RFC 6152). A message with octets above 127 goes as it is to a peer that does not offer it, too."""

from __future__ import annotations

from collections.abc import Mapping

from mailboat.smtp.extensions.extension import Extension, Offers
from mailboat.smtp.grammar import GrammarError


def is_declared(parameters: Mapping[str, str]) -> bool:
    """Whether a client has said BODY=8BITMIME at MAIL."""
    return "BODY" in parameters


def _read(value: str, _: Offers) -> str | None:
    body = value.upper()
    if body not in ("7BIT", "8BITMIME"):
        raise GrammarError("501 5.5.4 Bad parameter value")
    return body if body == "8BITMIME" else None


EIGHTBITMIME = Extension(
    "8BITMIME",
    "RFC 6152",
    mail={"BODY": _read},
    at_mail=lambda message: "BODY=8BITMIME" if message.eightbit else "",  # RFC 6152 3
)
