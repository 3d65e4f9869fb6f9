"""Domains with the same MX host, as a provider has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.dns_server import DnsServer


@asynccontextmanager
async def one_provider() -> AsyncIterator[DnsServer]:
    """A DNS server with `d0.test` to `d7.test`, all of `mx.provider.test`."""
    async with DnsServer.start() as server:
        for n in range(8):
            server.zone.mx(f"d{n}.test", (10, "mx.provider.test"))
        server.zone.a("mx.provider.test", "127.0.0.1")
        yield server
