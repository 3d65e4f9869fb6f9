"""The client side of SASL inside AUTH: the response to each challenge (RFC 4954 4). Pure.

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
    """User and password, or access token -> the responses in their order."""
    initial: bool = True
    """Whether the first response may be in the AUTH command."""
    token: bool = False
    """Whether it sends an access token instead of a password."""


def _plain(user: bytes, password: bytes) -> Sequence[Respond]:
    return (lambda _: b"\0%b\0%b" % (user, password),)  # RFC 4616 2


def _login(user: bytes, password: bytes) -> Sequence[Respond]:
    return (lambda _: user, lambda _: password)


def _cram_md5(user: bytes, password: bytes) -> Sequence[Respond]:
    return (
        lambda challenge: b"%b %b" % (user, hmac.new(password, challenge, "md5").hexdigest().encode()),
    )  # RFC 2195 2


def _xoauth2(user: bytes, token: bytes) -> Sequence[Respond]:
    # Google's and Microsoft's. A challenge to the first response tells why it failed; the reply 535 follows the second.
    return (lambda _: b"user=%b\1auth=Bearer %b\1\1" % (user, token), lambda _: b"")


def _oauthbearer(user: bytes, token: bytes) -> Sequence[Respond]:
    name = user.replace(b"=", b"=3D").replace(b",", b"=2C")  # RFC 5801 4: saslname
    return (
        lambda _: b"n,a=%b,\1auth=Bearer %b\1\1" % (name, token),  # RFC 7628 3.1
        lambda _: b"\1",  # RFC 7628 3.2.3: to the challenge that tells why it failed
    )


SASL_CLIENTS: Final[Mapping[str, SaslClient]] = MappingProxyType(
    {
        "CRAM-MD5": SaslClient(_cram_md5, initial=False),
        "PLAIN": SaslClient(_plain),
        # draft-murchison-sasl-login has no initial response, and some servers refuse one.
        "LOGIN": SaslClient(_login, initial=False),
        "XOAUTH2": SaslClient(_xoauth2, token=True),
        "OAUTHBEARER": SaslClient(_oauthbearer, token=True),
    }
)
"""By name; of those that a host offers, the first one here that fits the credentials is used."""
