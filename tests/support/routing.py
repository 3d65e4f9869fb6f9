"""A router over a DNS server of the test's own, and what it told the observer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from tests.support.dns_server import DnsServer
from tests.support.fixed_clock import FixedClock
from tests.support.shaping import shaping_table

from mailboat.config.settings import IPAddress, OutboundSettings, OutboundTlsSettings, Settings
from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.observer import DnsResult, Observer
from mailboat.routing.answers import RoutingAnswer, Targets, Unroutable
from mailboat.routing.local import LocalAddresses
from mailboat.routing.resolver import Patience, Resolver
from mailboat.routing.router import Router
from mailboat.routing.system import SystemFiles

PATIENCE = Patience()
HASTE = Patience(query=0.2, total=3.0)
"""For tests in which a server keeps silent: short, because the silence is waited for."""


class DnsTally(Observer):
    """Remembers how look-ups ended."""

    def __init__(self) -> None:
        self.results: list[DnsResult] = []

    def dns_query(self, result: DnsResult) -> None:
        """Note it."""
        self.results.append(result)


class OwnAddresses(LocalAddresses):
    """This machine's addresses as the test says."""

    def __init__(self, *addresses: IPAddress) -> None:
        super().__init__(FixedClock())
        self._said = frozenset(addresses)

    def _read(self) -> frozenset[IPAddress]:
        return self._said


@dataclass
class Bench:
    """Everything around one router."""

    dns: DnsServer
    router: Router
    resolver: Resolver
    clock: FixedClock
    tally: DnsTally
    own: LocalAddresses

    def configure(
        self, *, me: str = "relay.test", tls: OutboundTlsSettings | None = None, shaping: str = "", **outbound: Any
    ) -> None:
        """Take other settings, the DNS server being the test's unless named. `shaping`: the text of shaping.ini."""
        outbound.setdefault("dns_servers", (self.dns.endpoint,))
        ours = OutboundSettings(**outbound)
        settings = Settings("/nowhere", me, outbound=ours, shaping=shaping_table(shaping, outbound=ours))
        self.router.configure(replace(settings, tls_outbound=tls or OutboundTlsSettings()), self.own)

    async def ips(self, domain: str, sender: Address = NULL_SENDER) -> list[str]:
        """The addresses that the router answers, in order."""
        return ips(await self.router.route(domain, sender))


@contextlib.asynccontextmanager
async def bench(
    own: Iterable[IPAddress] = (), patience: Patience = PATIENCE, etc: Path = Path("/nonexistent"), **outbound: Any
) -> AsyncIterator[Bench]:
    """A router with a DNS server behind it, configured with these outbound settings.

    `etc` holds `resolv.conf` and `hosts`.
    """
    clock, tally = FixedClock(), DnsTally()
    system = SystemFiles(clock, resolv_conf=etc / "resolv.conf", hosts=etc / "hosts")
    async with DnsServer.start() as dns:
        resolver = Resolver(observer=tally, clock=clock, patience=patience, system=system)
        router = Router(resolver=resolver, observer=tally, clock=clock, chance=Random(7))
        self = Bench(dns, router, resolver, clock, tally, OwnAddresses(*own))
        self.configure(**outbound)
        try:
            yield self
        finally:
            await resolver.close()


def ips(answer: RoutingAnswer) -> list[str]:
    """The addresses of targets, in order."""
    assert isinstance(answer, Targets), answer
    return [target.ip for target in answer.targets]


def refusal(answer: RoutingAnswer) -> tuple[bool, str]:
    """Whether there is no way for ever, and the status."""
    assert isinstance(answer, Unroutable), answer
    assert answer.reason
    assert "\n" not in answer.reason
    return answer.permanent, answer.status
