"""Where a delivery comes from: the pod's own address and name, or it waits."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import ScriptedMx

from mailboat.config.settings import Bind
from mailboat.model.outcome import Result, Stage

HERE = ipaddress.ip_address("127.0.0.7")
NOT_HERE = ipaddress.ip_address("192.0.2.77")


def has_ipv6() -> bool:
    """Whether ::1 can be bound."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_the_pods_entry_gives_address_and_ehlo_name() -> None:
    async with ScriptedMx.start() as mx, delivery_rig(pod="mta-1", host="node") as rig:
        rig.outbound["binds"] = (("default", Bind(NOT_HERE)), ("mta-1", Bind(HERE, ehlo="out1.test")))
        report = await rig.attempt(make_entry(), mx.target())

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert report.peer.source == "127.0.0.7"
        assert mx.connections[0].peer[0] == "127.0.0.7"
        assert mx.connections[0].names == ["out1.test"]


async def test_a_network_means_this_hosts_own_address_within_it() -> None:
    own = [ipaddress.ip_address(text) for text in ("::1", "10.1.2.3", "127.0.0.9")]
    async with ScriptedMx.start() as mx, delivery_rig(addresses=own) as rig:
        rig.outbound["binds"] = (("default", Bind(ipaddress.ip_network("127.0.0.0/24"))),)

        assert (await rig.outcome(mx.target())).result is Result.DELIVERED
        assert mx.connections[0].peer[0] == "127.0.0.9"


@pytest.mark.parametrize("bind", [Bind(NOT_HERE), Bind(ipaddress.ip_network("192.0.2.0/24"))])
async def test_an_address_that_is_not_here_defers_and_counts_and_nothing_is_sent(bind: Bind) -> None:
    async with ScriptedMx.start() as mx, delivery_rig(addresses=[HERE]) as rig:
        rig.outbound["binds"] = (("default", bind),)
        outcome = await rig.outcome(mx.target())

        assert (outcome.result, outcome.stage, outcome.status) == (Result.DEFERRED, Stage.BIND, "4.3.5")
        assert str(bind.v4) in outcome.reason
        assert rig.observer.bind_failures == [str(bind.v4)]
        assert not mx.connections


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
async def test_a_target_of_a_family_without_source_is_passed_over() -> None:
    async with ScriptedMx.start(ip="::1") as six, ScriptedMx.start() as four, delivery_rig() as rig:
        rig.outbound["binds"] = (("default", Bind(HERE)),)
        report = await rig.attempt(make_entry(), six.target("six.test"), four.target("four.test"))
        alone = await rig.outcome(six.target())

        assert (report.outcomes[0].result, report.outcomes[0].mx) == (Result.DELIVERED, "four.test")
        assert (alone.result, alone.stage) == (Result.DEFERRED, Stage.BIND)
        assert not six.connections
        assert not rig.observer.bind_failures


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
async def test_mail_goes_over_ipv6() -> None:
    async with ScriptedMx.start(ip="::1") as mx, delivery_rig() as rig:
        rig.outbound["binds"] = (("default", Bind(HERE, ipaddress.ip_address("::1"))),)
        report = await rig.attempt(make_entry(), mx.target())

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert (report.peer.ip, report.peer.source) == ("::1", "::1")


async def test_what_a_plugin_chose_goes_before_the_configuration() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.outbound["binds"] = (("default", Bind(NOT_HERE, ehlo="out.test")),)

        assert (await rig.outcome(mx.target(bind="127.0.0.8", ehlo="special.test"))).result is Result.DELIVERED
        assert (mx.connections[0].peer[0], mx.connections[0].names) == ("127.0.0.8", ["special.test"])
