"""The DNS as SPF sees it: look-ups of names and types, in memory, each counted."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from mailboat_operator.spf.check_host import SpfResult, SpfTempError, check_host


class SpfZone:
    """What there is. `records` has lists of texts by name and type."""

    def __init__(self, records: dict[tuple[str, str], list[str]] | None = None) -> None:
        self.records = records or {}
        self.silent: set[str] = set()
        """Names that no server answers for."""
        self.asked: list[tuple[str, str]] = []

    async def lookup(self, name: str, rdtype: str) -> tuple[str, ...]:
        """The records."""
        self.asked.append((name, rdtype))
        if name in self.silent:
            raise SpfTempError(f"{name}: no answer")
        return tuple(self.records.get((name.lower(), rdtype), ()))

    def check(self, address: str, domain: str = "example.com") -> SpfResult:
        """What SPF makes of an address."""
        return asyncio.run(check_host(ip_address(address), domain, self.lookup))
