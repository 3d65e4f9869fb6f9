"""A relay of several processes: one that dies is started again, and one that is no more leaves no mail behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.relay_process import RelayConfig, everybody_accepts, is_alive, running
from tests.support.scripted_mx import ScriptedMx


async def test_a_killed_worker_is_started_again_and_its_queue_goes_on(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, 2, outbound=["disabled=true"])
    async with running(config) as relay:
        count = await everybody_accepts(relay, 2)
        before = await relay.metrics()
        victims = relay.workers()
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        await relay.logged("it is restarted", 2)
        await relay.poll(relay.http_readyz, lambda status: status == 200)
        assert not set(relay.workers()) & set(victims)
        after = await relay.metrics()
        assert {name: value for name, value in before.items() if name.endswith("_total") and after[name] < value} == {}
        assert len(await relay.queue()) == count
        config.outbound_is()
        await relay.event("delivered", count)
        await relay.settled()
        metrics = await relay.metrics()
        assert metrics["mailboat_received_messages_total"] == count
        assert metrics["mailboat_deliveries_total{outcome=delivered}"] == count
        assert await relay.stop() == 0
    assert len(mx.mails) == count


async def test_a_hung_worker_fails_no_scrape_and_is_shown_as_missing(tmp_path: Path, mx: ScriptedMx) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port, 2, outbound=["disabled=true"])) as relay:
        count = await everybody_accepts(relay, 2)
        before = await relay.metrics()
        assert (before["mailboat_workers_missing"], before["mailboat_ready"]) == (0, 1)
        os.kill(relay.workers()[0], signal.SIGSTOP)
        during = await relay.metrics()
        assert (during["mailboat_workers_missing"], during["mailboat_ready"]) == (1, 0)
        assert during["mailboat_received_messages_total"] == count
        _, configz = await relay.http("/configz")
        assert [warning.split(".")[0] for warning in configz["warnings"]] in (["worker-0"], ["worker-1"])
        os.kill(relay.workers()[0], signal.SIGCONT)
        await relay.poll(relay.metrics, lambda metrics: metrics["mailboat_workers_missing"] == 0)


async def test_fewer_workers_adopt_the_spare_database_and_drain_it(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, 2, outbound=["disabled=true"])
    async with running(config) as relay:
        count = await everybody_accepts(relay, 2)
        assert await relay.stop() == 0
    config.nodes, config.outbound = 1, []
    config.write()
    async with running(config) as relay:
        await relay.logged("adopted")
        await relay.event("delivered", count)
        await relay.logged("is empty and belongs to no worker: removing it")
        await relay.settled()
        assert await relay.stop() == 0
    assert len(mx.mails) == count
    assert [path.name for path in (config.directory / "queue").glob("*.db")] == ["queue-0.db"]


async def test_the_supervisor_going_ends_its_workers(tmp_path: Path, mx: ScriptedMx) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port, 2)) as relay:
        workers = relay.workers()
        relay.signal(signal.SIGKILL)
        await relay.exit_code()

        async def alive() -> list[int]:
            return [worker for worker in workers if is_alive(worker)]

        # A process closes its ends of stdout and stderr some moments before it is gone.
        assert await relay.poll(alive, lambda those: not those) == []
