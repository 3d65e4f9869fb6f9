"""Mail that goes by its sender: each to the smart host of its route, and bounces where none is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx


@pytest.mark.parametrize("always_split", ["false", "true"])
async def test_each_sender_has_its_smart_host_unless_the_domain_has_one(
    tmp_path: Path, mx: ScriptedMx, always_split: str
) -> None:
    async with ScriptedMx.start() as shop:
        routes = [f"always_split={always_split}", "[route:shop]", "senders=shop.test", f"hosts=127.0.0.1:{shop.port}"]
        routes += ["[route:partner]", "domains=partner.test", f"hosts=127.0.0.1:{mx.port}"]
        async with running(RelayConfig(tmp_path / "config", mx.port, outbound=routes)) as relay:
            await relay.submit("a@d.test", "b@d.test", "c@partner.test", sender="Ann@Shop.test")
            await relay.submit("a@d.test", sender="bob@elsewhere.test")
            await relay.submit("a@d.test", sender="")
            await relay.event("delivered", 3 if always_split == "false" else 5)
            await relay.settled()
            assert await relay.stop() == 0
    assert {mail.sender for mail in shop.mails} == {"Ann@shop.test"}
    assert sorted(to for mail in shop.mails for to in mail.recipients) == ["a@d.test", "b@d.test"]
    assert sorted((mail.sender, *mail.recipients) for mail in mx.mails) == [
        ("", "a@d.test"),
        ("Ann@shop.test", "c@partner.test"),
        ("bob@elsewhere.test", "a@d.test"),
    ]
