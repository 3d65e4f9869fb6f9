"""The service extensions that this server offers, a row each: what EHLO says, and when (RFC 5321 4.1.1.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Offers:
    """What decides which extensions a client is offered."""

    max_size: int
    """Octets; announced with SIZE."""
    starttls: bool = False
    """There is a certificate, and the connection is not inside TLS yet."""
    auth: tuple[str, ...] | None = None
    """The mechanisms that this client may use as things are; None: nobody can authenticate here at all."""


@dataclass(frozen=True, slots=True)
class Extension:
    """One EHLO line."""

    keyword: str
    rfc: str
    offered: Callable[[Offers], bool] = lambda _: True
    parameter: Callable[[Offers], str] = lambda _: ""


EXTENSIONS = (
    Extension("PIPELINING", "RFC 2920"),
    Extension("SIZE", "RFC 1870", parameter=lambda offers: str(offers.max_size)),
    Extension("8BITMIME", "RFC 6152"),
    Extension("SMTPUTF8", "RFC 6531"),
    Extension("ENHANCEDSTATUSCODES", "RFC 2034"),
    Extension("STARTTLS", "RFC 3207", offered=lambda offers: offers.starttls),
    # Not the form `AUTH=` too, which clients of before RFC 2554 (1999) looked for: it is no EHLO keyword.
    Extension(
        "AUTH",
        "RFC 4954",
        offered=lambda offers: bool(offers.auth),
        parameter=lambda offers: " ".join(offers.auth or ()),
    ),
    Extension("HELP", "RFC 5321"),
)


@lru_cache(maxsize=16)
def ehlo_reply(host: str, greeting: str, offers: Offers) -> bytes:
    """The multi-line 250 reply to EHLO."""
    offered = (extension for extension in EXTENSIONS if extension.offered(offers))
    lines = [f"{host} {greeting}", *(f"{e.keyword} {e.parameter(offers)}".rstrip() for e in offered)]
    head = "".join(f"250-{line}\r\n" for line in lines[:-1])
    return f"{head}250 {lines[-1]}\r\n".encode()
