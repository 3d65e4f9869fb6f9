"""Mail that programs hand in by HTTP is signed like that of clients, whatever its line ends."""

from __future__ import annotations

import aiohttp
import pytest
from tests.support.dkim import add_key, signatures_of, verified
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import running
from tests.support.scripted_mx import ScriptedMx

from mailboat.dkim.keys import Algorithm

HEADER = b"From: Joe <joe@example.com>\nSubject: hi\n\n"


@pytest.mark.parametrize("nodes", [0, 2], ids=["one process", "two workers"])
async def test_a_mail_that_comes_by_http_is_signed(config: PluginConfig, mx: ScriptedMx, nodes: int) -> None:
    """As JSON and as it is, in memory and in a file, by whichever worker; without the last line end."""
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    config.nodes = nodes
    config.write()
    mails = [HEADER + b".a  dot \n\nno end", HEADER + b"..a  line \n" * 50_000 + b"\n\n"]
    url = f"http://127.0.0.1:{config.admin_port}/v1/messages?from=joe@example.com&to=bob@there.test"
    async with running(config) as relay:
        body = {"from": "joe@example.com", "to": "bob@there.test", "content": mails[0].decode()}
        assert (await relay.http("/v1/messages", "POST", body))[0] == 202
        async with aiohttp.ClientSession() as session:
            for mail in mails:
                async with session.post(url, data=mail, headers={"Content-Type": "message/rfc822"}) as answer:
                    assert answer.status == 202, await answer.text()
        received = await relay.event("received", 3)
        await relay.event("delivered", 3)
    assert [verified(mail.body, *keys) for mail in mx.mails] == [[True, True]] * 3
    assert [[by["a"] for by in event["dkim"]] for event in received] == [["rsa-sha256", "ed25519-sha256"]] * 3
    assert {tags["d"] for mail in mx.mails for tags in signatures_of(mail.body)} == {"example.com"}
