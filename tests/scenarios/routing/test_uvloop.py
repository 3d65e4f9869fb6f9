"""The relay runs on uvloop: UDP, TCP, errors and time limits are the same there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import uvloop
from tests.support.dns_server import Behaviour
from tests.support.routing import HASTE, bench, refusal


async def _udp() -> None:
    async with bench() as at:
        at.dns.zone.mx("d.test", (10, "mx.d.test"))
        at.dns.zone.a("mx.d.test", "192.0.2.1")
        at.dns.zone.aaaa("mx.d.test", "2001:db8::1")
        assert await at.ips("d.test") == ["2001:db8::1", "192.0.2.1"]


async def _tcp() -> None:
    async with bench() as at:
        at.dns.zone.a("d.test", *(f"192.0.2.{n}" for n in range(200)))
        assert len(await at.ips("d.test")) == 5
        assert {query.transport for query in at.dns.queries if query.type == "A"} == {"udp", "tcp"}


async def _tcp_cut() -> None:
    async with bench() as at:
        at.dns.zone.behave("d.test", Behaviour.TRUNCATED_AND_CLOSED)
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")


async def _silence() -> None:
    async with bench(patience=HASTE) as at:
        at.dns.zone.behave("d.test", Behaviour.SILENCE)
        assert refusal(await at.router.route("d.test")) == (False, "4.4.3")


async def _nobody_listens() -> None:
    async with bench() as at:
        gone = at.dns.endpoint
    async with bench(dns_servers=(gone,)) as at:
        answer = await at.router.route("d.test")
        assert refusal(answer) == (False, "4.4.3")
        assert "refused" in str(answer)


async def _forged() -> None:
    async with bench() as at:
        at.dns.zone.a("d.test", "192.0.2.1")
        at.dns.zone.behave("d.test", Behaviour.FORGED_FIRST)
        assert await at.ips("d.test") == ["192.0.2.1"]


@pytest.mark.parametrize("scenario", [_udp, _tcp, _tcp_cut, _silence, _nobody_listens, _forged])
def test_it_is_the_same_on_uvloop(scenario: Callable[[], Awaitable[None]]) -> None:
    """Each scenario as it stands, on the production loop."""

    async def run() -> None:
        await scenario()

    uvloop.run(run())
