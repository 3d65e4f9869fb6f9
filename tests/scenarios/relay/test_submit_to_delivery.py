"""A message goes all the way: submitted, stored, delivered, counted, logged. One process or several."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx

FACTS = {"recipients", "domain", "mx", "ip", "port", "source", "code", "enhanced", "reply", "delay", "tls", "attempt"}


@pytest.mark.parametrize("nodes", [0, 2])
async def test_what_is_accepted_arrives_once_and_the_metrics_say_so(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port, nodes)) as relay:
        ids = await asyncio.gather(*(relay.submit(f"u{n}@d{n % 3}.test", "x@other.test") for n in range(20)))
        await relay.event("delivered", 40)
        await relay.settled()
        metrics = await relay.metrics()
        assert await relay.stop() == 0

    assert len(set(ids)) == 20
    arrived = sorted(recipient for mail in mx.mails for recipient in mail.recipients)
    assert arrived == sorted([f"u{n}@d{n % 3}.test" for n in range(20)] + ["x@other.test"] * 20)
    assert metrics["mailboat_received_messages_total"] == 20
    assert metrics["mailboat_deliveries_total{outcome=delivered}"] == 40
    assert metrics["mailboat_queue_messages{state=active}"] == 0
    assert metrics["mailboat_commit_messages_sum"] == 20
    assert metrics["mailboat_ready"] == 1
    assert 0 < metrics["mailboat_queue_disk_free_bytes"] <= metrics["mailboat_queue_disk_size_bytes"]


async def test_every_event_is_one_json_object_with_its_facts(tmp_path: Path, mx: ScriptedMx) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        name = await relay.submit("bob@there.test")
        (delivered,) = await relay.event("delivered")
        assert await relay.stop() == 0

    assert all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in relay.raw_lines)
    assert [event["event"] for event in relay.events][:1] == ["received"]
    assert all({"time", "event"} <= event.keys() for event in relay.events)
    assert delivered.keys() >= FACTS
    assert delivered["id"].startswith(name)
    assert (delivered["recipients"], delivered["code"], delivered["attempt"]) == (["bob@there.test"], 250, 1)


async def test_two_mebibytes_come_out_octet_for_octet(tmp_path: Path, mx: ScriptedMx) -> None:
    line = bytes(range(32, 127)) * 5 + b"\r\n.dot\r\n..\r\n"
    text = b"Subject: large\r\nDate: now\r\nMessage-ID: <1@here.test>\r\n\r\n" + line * (2**21 // len(line))
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await relay.submit(body=text)
        await mx.wait_for(lambda mx: mx.mails)
        await relay.settled()
        assert list((tmp_path / "config" / "queue" / "bodies").iterdir()) == []
        assert await relay.stop() == 0

    assert mx.mails[0].body.endswith(text)
    assert mx.mails[0].body.removesuffix(text).startswith(b"Received: ")
