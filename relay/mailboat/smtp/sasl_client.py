"""SASL as a client speaks it inside AUTH: what it answers to each challenge (RFC 4954 4). Pure.

Knows no connection and no base64. `delivery.client` carries the exchange; `sasl` is the server's side.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

Respond = Callable[[bytes], bytes]
"""Challenge -> response. Of an initial response the challenge is empty."""


@dataclass(frozen=True, slots=True)
class SaslClient:
    """One mechanism."""

    responses: Callable[[bytes, bytes], Sequence[Respond]]
    """User and password -> the responses in their order."""
    initial: bool = True
    """The first response may stand in the AUTH command."""


def _plain(user: bytes, password: bytes) -> Sequence[Respond]:
    return (lambda _: b"\0%b\0%b" % (user, password),)  # RFC 4616 2


def _login(user: bytes, password: bytes) -> Sequence[Respond]:
    return (lambda _: user, lambda _: password)


def _cram_md5(user: bytes, password: bytes) -> Sequence[Respond]:
    return (
        lambda challenge: b"%b %b" % (user, hmac.new(password, challenge, "md5").hexdigest().encode()),
    )  # RFC 2195 2


SASL_CLIENTS: Final[Mapping[str, SaslClient]] = MappingProxyType(
    {
        "CRAM-MD5": SaslClient(_cram_md5, initial=False),
        "PLAIN": SaslClient(_plain),
        # draft-murchison-sasl-login has no initial response, and some servers refuse one.
        "LOGIN": SaslClient(_login, initial=False),
    }
)
"""By name; of those that a host offers, the first here is used."""
