"""A plugin of a running relay sends mail of its own, in one process and in several, also while the relay drains."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import Held, ScriptedMx

NOTIFIER = '''
"""Tells the postmaster of each delivery and signs whatever goes out."""

from mailboat import outbound
from mailboat.hooks import OK, Connection, Delivered, HMail


async def lines(*texts):
    for text in texts:
        yield text


async def hook_delivered(hmail: HMail, params: Delivered) -> None:
    if hmail.todo.domain == "postmaster.test":
        return
    contents = lines(b"Subject: delivered\\nX-For: ", hmail.todo.uuid.encode(), b"\\n\\n.\\nto ", params.host.encode())
    code, text = await outbound.send_email("<>", "post@postmaster.test", contents, notes={"about": hmail.todo.uuid})
    assert code is OK, text


async def hook_pre_send_trans_email(connection: Connection) -> None:
    transaction = connection.transaction
    transaction.header.add("X-Seen", f"{transaction.uuid} {transaction.notes.get('about', 'none')}")


async def hook_queue_ok(connection: Connection, text: str) -> None:
    """Mail that cannot be sent is said so, and harms nobody."""
    assert (await outbound.send_email("nobody", "post@postmaster.test", "x")) != (OK, "")
'''


@pytest.mark.parametrize("nodes", [0, 2], ids=["one process", "two workers"])
async def test_what_a_plugin_sends_is_queued_seen_by_plugins_and_delivered(
    tmp_path: Path, mx: ScriptedMx, nodes: int
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    (config.directory / "plugins.d").mkdir()
    (config.directory / "plugins.d" / "notifier.py").write_text(NOTIFIER)
    config.put("plugins", "notifier\n")
    async with running(config) as relay:
        ids = [await relay.submit(f"u{n}@there.test") for n in range(4)]
        await relay.event("delivered", 8)
        await relay.settled()
        metrics = await relay.metrics()
        assert await relay.stop() == 0
    assert not [name for name, value in metrics.items() if "hook_failures" in name and value]
    told = [mail for mail in mx.mails if mail.recipients == ["post@postmaster.test"]]
    assert len(told) == 4
    seen = sorted(mail.body.partition(b"X-For: ")[2].split(b"\r\n")[0].decode() for mail in told)
    assert seen == sorted(ids)
    for mail in told:
        assert mail.sender == ""
        assert mail.body.endswith(b"\r\n\r\n.\r\nto 127.0.0.1\r\n")
        about = mail.body.partition(b"X-Seen: ")[2].split(b"\r\n")[0].split()[1]
        assert about.decode() in ids
    local = [event for event in relay.events if event["event"] == "received" and event["protocol"] == "LOCAL"]
    assert len(local) == 4


async def test_what_is_sent_while_the_relay_drains_is_not_lost(tmp_path: Path, mx: ScriptedMx) -> None:
    """The delivery ends in the grace; what its hook sends is in the queue, and goes at the next start."""
    config = RelayConfig(tmp_path / "config", mx.port)
    (config.directory / "plugins.d").mkdir()
    (config.directory / "plugins.d" / "notifier.py").write_text(NOTIFIER)
    config.put("plugins", "notifier\n")
    mx.on(".", Held("250 2.0.0 ok"))
    async with running(config) as relay:
        await relay.submit()
        await mx.wait_for(lambda mx: mx.connections and "DATA" in mx.connections[0].verbs)
        stopping = asyncio.create_task(relay.stop())
        await relay.logged("draining")
        mx.release()
        assert await stopping == 0
        assert [event["protocol"] for event in relay.events if event["event"] == "received"] == ["ESMTP", "LOCAL"]
    async with running(config) as relay:
        await mx.wait_for(lambda mx: any(mail.recipients == ["post@postmaster.test"] for mail in mx.mails))
        await relay.settled()
    assert len(mx.mails) == 2
