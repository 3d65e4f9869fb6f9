"""How a relay starts, refuses to start, and ends: exit codes that scripts rely on."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, launch, running
from tests.support.scripted_mx import Held, ScriptedMx, Silence

NODES = pytest.mark.parametrize("nodes", [0, 2])


async def idle_client(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has said EHLO, has heard the reply, and says nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"EHLO client.test\r\n")
    assert (await reader.readline()).startswith(b"220 ")
    while (await reader.readline()).startswith(b"250-"):
        pass
    return reader, writer


@NODES
async def test_sigterm_tells_idle_clients_421_finishes_deliveries_and_exits_0(
    tmp_path: Path, mx: ScriptedMx, nodes: int
) -> None:
    mx.on(".", Held("250 2.0.0 queued"))
    async with running(RelayConfig(tmp_path / "config", mx.port, nodes)) as relay:
        reader, writer = await idle_client(relay.config.smtp_port)
        await relay.submit()
        await mx.wait_for(lambda mx: mx.mails)
        relay.signal(signal.SIGTERM)
        farewell = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert farewell.startswith(b"421 ")
        status, text = await relay.http("/readyz")
        assert (status, "draining" in text) == (503, True)
        assert (await relay.metrics())["mailboat_ready"] == 0
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection("127.0.0.1", relay.config.smtp_port)
        mx.release()
        assert await relay.exit_code() == 0
        assert [e["event"] for e in relay.events if e["event"] == "delivered"] == ["delivered"]
    assert len(mx.mails) == 1
    assert mx.connections[0].verbs[-1] == "QUIT"


async def test_what_does_not_finish_in_time_is_delivered_after_the_next_start(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on("MAIL", Silence())
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config, options=["--drain-timeout", "0.1"]) as relay:
        await relay.submit()
        await mx.wait_for(lambda mx: mx.connections and "MAIL" in mx.connections[0].verbs)
        assert await relay.stop() == 0
    assert mx.mails == []
    mx.on("MAIL", "250 2.1.0 ok")
    async with running(config) as relay:
        await relay.event("delivered")
        await relay.settled()
    assert len(mx.mails) == 1


async def test_a_dot_without_reply_is_recorded_as_ambiguous_at_the_end(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on(".", Silence())
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config, options=["--drain-timeout", "0.1"]) as relay:
        name = await relay.submit()
        await mx.wait_for(lambda mx: mx.mails)
        assert await relay.stop() == 0
        (deferred,) = [e for e in relay.events if e["event"] == "deferred"]
    assert deferred["id"].startswith(name)
    assert "may have been delivered" in deferred["reply"] + str(deferred)


@NODES
async def test_sigterm_during_the_start_ends_it_in_good_order(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    relay = await launch(RelayConfig(tmp_path / "config", mx.port, nodes))
    # As soon as it has a handler: before, the signal ends a process that has done nothing yet.
    status = Path(f"/proc/{relay.process.pid}/status")
    await relay.poll(lambda: asyncio.to_thread(status.read_text), lambda text: catches(text, signal.SIGTERM))
    assert await relay.stop() == 0


def catches(status: str, number: signal.Signals) -> bool:
    """Whether /proc says that a process has a handler for a signal."""
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 2), (2, 0), (2, 2)])
async def test_a_second_relay_on_the_same_queue_exits_75(
    tmp_path: Path, mx: ScriptedMx, first: int, second: int
) -> None:
    queue = f"queue_dir={tmp_path / 'queue'}"
    async with running(RelayConfig(tmp_path / "one", mx.port, first, outbound=[queue])) as relay:
        late = await launch(RelayConfig(tmp_path / "two", mx.port, second, outbound=[queue]))
        assert await late.exit_code() == 75
        assert any("another relay runs on this queue directory" in line for line in late.log)
        await relay.submit()
        await relay.event("delivered")
    assert len(mx.mails) == 1


async def test_a_bad_configuration_exits_78_with_every_fault(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("outbound.ini", "temp_fail_intervals=4s\nconcurrency_max=many\n")
    config.put("smtp.ini", "listen=nowhere:x\n")
    relay = await launch(config)
    assert await relay.exit_code() == 78
    log = "\n".join(relay.log)
    assert all(key in log for key in ("temp_fail_intervals", "concurrency_max", "smtp.ini:1: [main] listen"))


@pytest.mark.parametrize("nodes", [0, 2])
@pytest.mark.parametrize("which", ["smtp_port", "admin_port"])
async def test_a_port_that_is_taken_exits_69_and_names_it(
    tmp_path: Path, mx: ScriptedMx, nodes: int, which: str
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    port = getattr(config, which)
    with socket.create_server(("127.0.0.1", port)):
        relay = await launch(config)
        assert await relay.exit_code() == 69
    assert any(f"127.0.0.1:{port}" in line for line in relay.log)


async def test_the_queue_directory_may_come_from_the_environment(tmp_path: Path, mx: ScriptedMx) -> None:
    elsewhere = tmp_path / "elsewhere"
    config = RelayConfig(tmp_path / "config", mx.port, outbound=[f"queue_dir={tmp_path / 'unused'}"])
    async with running(config, environ={"MAILBOAT_QUEUE_DIR": str(elsewhere)}) as relay:
        await relay.submit()
        await relay.event("delivered")
        assert (elsewhere / "queue-0.db").exists()
    assert not (tmp_path / "unused").exists()
