"""`HOST:PORT` as people type it on the command line. Used by `send` and `sink`."""

from __future__ import annotations

from mailboat.config.settings import Endpoint


def parse_endpoint(text: str, default_port: int) -> Endpoint:
    """`HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`. Raises ValueError with a sentence for the user."""
    wanted = text.strip()
    if wanted.startswith("["):
        host, bracket, rest = wanted[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not HOST:PORT: an IPv6 address goes in brackets, as in [::1]:2525")
        port = rest[1:]
    elif wanted.count(":") > 1:
        raise ValueError(f"{text!r} is not HOST:PORT: an IPv6 address goes in brackets, as in [::1]:2525")
    else:
        host, _, port = wanted.partition(":")
    if not host or host != host.strip() or " " in host:
        raise ValueError(f"{text!r} is not HOST:PORT: there is no host")
    return Endpoint(host, _port(text, port) if port else default_port)


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise ValueError(f"{text!r} is not HOST:PORT: {port!r} is no port")
    return int(port)
