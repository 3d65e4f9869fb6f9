"""HTTPS to hosts that other people have named: only at public addresses, and with nothing but what was asked for.

A recipient's domain chooses the host of its MTA-STS policy, and so could make the relay send requests into its own
network. The resolver here returns public addresses only, and the connection is made to what it returned: nothing looks
the name up again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from mailboat.config.settings import IPAddress
from mailboat.routing.records import Answer, LookupFailure
from mailboat.routing.resolver import Resolver

HTTPS_PORT: Final = 443
CONNECT_TIMEOUT: Final = 10.0
"""Seconds for each address to accept the connection, and again for the TLS handshake."""

_IPV4_INSIDE = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "64:ff9b::/96")))
"""The last 32 bits are an IPv4 address: IPv4-compatible, IPv4-mapped (RFC 4291 2.5.5), for translators (RFC 6052)."""


@dataclass(frozen=True, slots=True)
class HttpsSettings:
    """What requests have in common."""

    roots: str = ""
    """Path of root certificates in PEM; empty: the system's."""
    allow_private: bool = False
    """Whether addresses that are not public may be connected to."""
    port: int = HTTPS_PORT


async def public_session(resolver: Resolver, settings: HttpsSettings) -> aiohttp.ClientSession:
    """A session for a few requests; the caller closes it.

    It has no cookies, no proxy of the environment and no cache, keeps no connection, and decodes nothing.

    Raises:
        OSError: the root certificates cannot be used.
    """
    context = await asyncio.to_thread(https_context, settings.roots)  # reading the system's roots is slow
    connector = aiohttp.TCPConnector(
        ssl=context, resolver=PublicResolver(resolver, settings), use_dns_cache=False, force_close=True
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={"Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        trust_env=False,
        auto_decompress=False,
    )


def https_context(roots: str) -> ssl.SSLContext:
    """A context that demands a valid certificate; `roots` as in `HttpsSettings`. Raises OSError."""
    context = ssl.create_default_context(cafile=roots or None)  # TLS 1.2 or newer
    context.hostname_checks_common_name = False  # RFC 8461 4.2: a DNS-ID, as RFC 6125 defines it
    return context


def is_public(ip: IPAddress) -> bool:
    """Whether an address can be that of any host on the Internet, also with an IPv4 address inside it."""
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _IPV4_INSIDE):
            return is_public(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
        if ip.sixtofour is not None:
            return is_public(ip.sixtofour)
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast


class PublicResolver(AbstractResolver):
    """The relay's resolver as aiohttp asks for it. A literal address in a URL never gets here."""

    def __init__(self, resolver: Resolver, settings: HttpsSettings) -> None:
        self._resolver = resolver
        self._settings = settings

    async def resolve(self, host: str, *_: object, **__: object) -> list[ResolveResult]:
        """The addresses that may be connected to. Raises OSError when there are none."""
        found = await self._resolver.families(host.lower(), (6, 4))
        addresses = [address for answer in found if isinstance(answer, Answer) for address in answer.records]
        if not addresses:
            raise OSError(next((a.reason for a in found if isinstance(a, LookupFailure)), f"{host} has no address"))
        usable = [ip for ip in addresses if self._settings.allow_private or is_public(ipaddress.ip_address(ip))]
        if not usable:
            raise OSError(f"{host} has no public address: {addresses[0]}")
        return [_result(host, ip, self._settings.port) for ip in usable]

    async def close(self) -> None:
        """There is nothing to close."""


def _result(host: str, ip: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=ip, port=port, family=family, proto=0, flags=flags)
