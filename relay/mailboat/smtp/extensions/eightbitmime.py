"""8BITMIME (RFC 6152). A message with octets above 127 goes as it is to a peer that does not offer it, too."""

from __future__ import annotations

from mailboat.model.envelope import Parameters
from mailboat.smtp.extensions.extension import Extension, Offers
from mailboat.smtp.grammar import GrammarError


def with_body(parameters: Parameters, *, is_ascii: bool) -> Parameters:
    """Parameters of MAIL for a message: with BODY=8BITMIME where it has octets above 127, whatever was declared."""
    return parameters if is_ascii or "BODY" in parameters else {**parameters, "BODY": "8BITMIME"}


def _read(value: str, _: Offers) -> str | None:
    body = value.upper()
    if body not in ("7BIT", "8BITMIME"):
        raise GrammarError("501 5.5.4 Bad parameter value")
    return body if body == "8BITMIME" else None


EIGHTBITMIME = Extension("8BITMIME", "RFC 6152", mail={"BODY": _read})
