"""`senders_allow`: what clients that relay by their address may say in MAIL."""

from __future__ import annotations

import pytest
from tests.support.ingress import serving

from mailboat.model.observer import RejectReason

ALLOWED = frozenset({"one.test", ".parent.test", "shop@two.test", "xn--bcher-kva.example"})
DENIED = "553 5.7.1 Your network may not send as this address"


@pytest.mark.parametrize(
    ("sender", "allowed"),
    [
        ("a@one.test", True),
        ("a@ONE.test.", True),
        ("a@below.one.test", False),
        ("a@parent.test", False),
        ("a@below.parent.test", True),
        ("a@far.below.parent.test", True),
        ("a@notparent.test", False),
        ("shop@two.test", True),
        ("shop@Two.test", True),
        ("Shop@two.test", False),
        ("other@two.test", False),
        ("a@xn--bcher-kva.example", True),
        ("a@[192.0.2.1]", False),
        ("", True),
    ],
)
async def test_a_network_sends_as_the_domains_and_addresses_that_are_listed(sender: str, allowed: bool) -> None:
    async with serving(senders=ALLOWED) as rig:
        client = await rig.greeted()
        said = await client.ask(f"MAIL FROM:<{sender}>")
        assert said == ("250 2.1.0 Sender OK" if allowed else DENIED)
        await client.quit()
        assert rig.facts.reasons == [] if allowed else [RejectReason.SENDER_DENIED]


async def test_a_list_that_is_empty_allows_nobody_and_none_allows_anybody() -> None:
    async with serving(senders=frozenset()) as rig:
        client = await rig.greeted()
        assert await client.ask("MAIL FROM:<a@one.test>") == DENIED
        rig.configure(senders_allow=None)
        assert (await client.mail(sender="a@one.test")).startswith("250 2.0.0 ")
        await client.quit()


async def test_strangers_are_told_that_they_may_not_relay_and_not_as_whom_others_may() -> None:
    async with serving(acl=(), senders=ALLOWED) as rig:
        client = await rig.greeted()
        assert (await client.ask("MAIL FROM:<a@elsewhere.test>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<b@there.test>")).startswith("550 5.7.1 Relaying denied")
        await client.quit()
