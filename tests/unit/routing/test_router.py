"""What the router keeps, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.routing import bench

from mailboat.config.settings import OutboundTlsSettings, Route, RouteHost, TlsLevel
from mailboat.model.observer import Observer
from mailboat.model.tls import MessageTls
from mailboat.routing import router as module
from mailboat.routing.answers import Targets
from mailboat.routing.resolver import Resolver
from mailboat.routing.router import Router
from mailboat.routing.system import SystemFiles


async def test_a_router_without_a_configuration_says_so() -> None:
    clock = FixedClock()
    resolver = Resolver(observer=Observer(), clock=clock, system=SystemFiles(clock, resolv_conf=Path("/nonexistent")))
    router = Router(resolver=resolver, observer=Observer(), clock=clock)
    with pytest.raises(RuntimeError, match="before it was configured"):
        router.destination("d.test")
    with pytest.raises(RuntimeError, match="before it was configured"):
        await router.route("d.test")


async def test_results_are_bounded_and_those_unused_for_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESULTS", 2)
    async with bench() as at:
        kept = {}
        for literal in ("[192.0.2.1]", "[192.0.2.2]", "[192.0.2.1]", "[192.0.2.3]"):
            kept[literal] = await at.router.route(literal)
        assert await at.router.route("[192.0.2.1]") is kept["[192.0.2.1]"]
        assert await at.router.route("[192.0.2.2]") is not kept["[192.0.2.2]"]


async def test_a_destination_is_named_without_any_look_up() -> None:
    async with bench() as at:
        assert at.router.destination("d.test") == "d.test"
        assert at.dns.queries == []


async def test_all_domains_of_a_route_share_one_look_up_but_those_that_tls_settings_name() -> None:
    route = Route("hub", domains=("*",), hosts=(RouteHost("192.0.2.1"),))
    async with bench(routes=(route,), tls=OutboundTlsSettings(force_tls_hosts=("strict.test",))) as at:
        shared = await at.router.route("a.test")
        assert await at.router.route("b.test") is shared
        assert await at.router.route("a.test", asked=MessageTls(forced=True)) is not shared
        strict = await at.router.route("strict.test")
        assert isinstance(strict, Targets)
        assert strict.targets[0].tls.level is TlsLevel.REQUIRED
