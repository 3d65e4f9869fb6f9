"""What a peer's reply to EHLO or LHLO offers. Pure. Used by `delivery.client` and `delivery.envelope`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerOffers:
    """The extensions that matter to a client."""

    pipelining: bool = False
    eightbit: bool = False
    smtputf8: bool = False
    size: int | None = None
    """The largest message it takes, octets; None: it does not say, or 0 (RFC 1870 4)."""
    announces_size: bool = False
    """SIZE= may be said at MAIL."""
    starttls: bool = False
    auth: frozenset[str] = frozenset()
    """SASL mechanisms, in capitals."""


def offers_of(lines: list[bytes]) -> PeerOffers:
    """The offers in the lines of a reply, codes and line ends still there.

    The first line is the host's name (RFC 5321 4.1.1.1), even where it is empty.
    """
    found: dict[str, str] = {}
    auth: set[str] = set()
    for line in lines[1:]:
        keyword, _, parameters = line[4:].decode("ascii", "replace").strip().upper().partition(" ")
        if keyword.startswith("AUTH="):  # as before RFC 2554: `AUTH=LOGIN PLAIN`
            keyword, parameters = "AUTH", f"{keyword[5:]} {parameters}"
        if keyword == "AUTH":
            auth.update(parameters.split())
        found[keyword] = parameters.strip()
    size = found.get("SIZE", "")
    limit = int(size) if size.isascii() and size.isdigit() and len(size) <= 20 else 0
    return PeerOffers(
        pipelining="PIPELINING" in found,
        eightbit="8BITMIME" in found,
        smtputf8="SMTPUTF8" in found,
        size=limit or None,
        announces_size="SIZE" in found,
        starttls="STARTTLS" in found,
        auth=frozenset(auth),
    )
