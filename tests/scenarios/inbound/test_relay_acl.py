"""Mail is relayed for those whom `relay_acl_allow` names, and for nobody else (no open relay)."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest
from tests.support.ingress import serving

from mailboat.config.settings import Network
from mailboat.model.observer import RejectReason


def acl(*networks: str) -> tuple[Network, ...]:
    return tuple(ip_network(network, strict=False) for network in networks)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("source", "networks", "allowed"),
    [
        ("127.0.0.1", ["127.0.0.0/8", "::1/128"], True),
        ("127.0.0.6", ["127.0.0.6/32"], True),
        ("127.0.0.7", ["127.0.0.6/32"], False),
        ("127.0.0.7", ["127.0.0.6/24"], True),
        ("127.0.1.7", ["127.0.0.6/24"], False),
        ("127.0.0.6", ["::/0"], False),
        ("127.0.0.6", ["10.0.0.0/8", "127.0.0.6/32"], True),
        ("127.0.0.6", [], False),
    ],
)
async def test_only_named_clients_may_relay(source: str, networks: list[str], allowed: bool) -> None:
    async with serving(acl=acl(*networks)) as rig:
        client = await rig.greeted(source=source)
        assert (await client.ask("MAIL FROM:<alice@sender.test>")).startswith("250 ")
        reply = await client.ask("RCPT TO:<bob@there.test>")
        assert reply.startswith("250 2.1.5 " if allowed else "550 5.7.1 ")
        assert (await client.ask("DATA")).startswith("354 " if allowed else "503 5.5.1 ")
        client.close()
        if not allowed:
            assert rig.facts.refusals[0].reason is RejectReason.RELAY_DENIED
            assert rig.facts.refusals[0].recipient == "bob@there.test"


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
@pytest.mark.parametrize(
    ("networks", "allowed"), [(["::1/128"], True), (["::/64"], True), (["::2/128"], False), (["0.0.0.0/0"], False)]
)
async def test_ipv6_clients_are_held_to_the_list_too(networks: list[str], allowed: bool) -> None:
    async with serving(acl=acl(*networks), host="::1") as rig:
        client = await rig.client(host="::1")
        await client.ehlo()
        await client.ask("MAIL FROM:<alice@sender.test>")
        reply = await client.ask("RCPT TO:<bob@there.test>")
        assert reply.startswith("250 2.1.5 " if allowed else "550 5.7.1 ")
        client.close()


async def test_a_changed_list_counts_from_the_next_connection() -> None:
    async with serving(acl=acl("127.0.0.0/8")) as rig:
        before = await rig.greeted()
        rig.configure(relay_acl=acl("10.0.0.0/8"))
        after = await rig.greeted()
        for client, reply in ((before, "250 2.1.5 "), (after, "550 5.7.1 ")):
            await client.ask("MAIL FROM:<alice@sender.test>")
            assert (await client.ask("RCPT TO:<bob@there.test>")).startswith(reply)
            await client.quit()
