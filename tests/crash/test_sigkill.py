"""SIGKILL of all processes at random instants under load, again and again: nothing answered 250 is ever lost.

Some lives end by SIGTERM instead: then nothing arrives twice either.

`make crash ROUNDS=200` runs them all; `make test` a few. The seed is printed; `MAILBOAT_CRASH_SEED` sets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.support.ledger import Ledger
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import RelayConfig, launch, running
from tools.ports import free_ports

ROUNDS = int(os.environ.get("MAILBOAT_CRASH_ROUNDS", "20"))
SEED = int(os.environ.get("MAILBOAT_CRASH_SEED", str(time.time_ns() % 1_000_000)))
ROUNDS_WITH_PLUGINS = max(5, ROUNDS // 4)
CLIENTS = 8
CONCURRENCY = 10
"""Attempts at once, in each worker."""
FLUSHES, FLUSH_EVERY = 12, 5.0
"""How often all mail is attempted at once at the end, and the seconds in between."""
WINDOW = 1.0
"""Seconds before a kill within which a message may have been under way: delivered, and not yet recorded. Much less on
a machine that has nothing else to do."""


PLUGIN = """
import asyncio, random, time

async def hook_send_email(hmail):
    hmail.notes["asked"] = hmail.notes.get("asked", 0) + 1
    if random.random() < 0.05:
        return DELAY, 1

async def hook_get_mx(hmail, domain):
    hmail.todo.notes["domain"] = domain
    if random.random() < 0.02:
        raise RuntimeError("at random")
    return DENYSOFT if random.random() < 0.02 else None

def hook_deferred(hmail, info):
    time.sleep(0.002)
    return DENYSOFT, 1

async def hook_delivered(hmail, params):
    await asyncio.sleep(random.random() * 0.05)

async def hook_pre_send_trans_email(connection):
    connection.transaction.header.add("X-Plugin", "yes")
    connection.transaction.notes["seen"] = True

async def hook_queue_ok(connection, text):
    await asyncio.sleep(0)
"""


def outbound(dead_port: int) -> list[str]:
    """The keys of outbound.ini, and a route of its own for a domain that is down until the end."""
    return [
        f"concurrency_max={CONCURRENCY}",
        "dot_timeout=20",
        "[route:dead]",
        "domains=dead.test",
        f"hosts=127.0.0.1:{dead_port}",
    ]


@pytest.mark.crash
@pytest.mark.timeout(120 + 10 * ROUNDS)
@pytest.mark.parametrize("plugged", [False, True], ids=["bare", "with plugins"])
async def test_whatever_was_answered_250_arrives(tmp_path: Path, plugged: bool) -> None:
    chance = random.Random(SEED)
    rounds = ROUNDS_WITH_PLUGINS if plugged else ROUNDS
    print(f"seed {SEED}, {rounds} rounds")
    ledger = Ledger()
    (dead_port,) = free_ports(1)
    async with ledger.sink() as sink_port:
        config = PluginConfig(tmp_path / "config", sink_port, outbound=outbound(dead_port))
        if plugged:
            config.plug("everywhere", PLUGIN)
        clients = asyncio.create_task(ledger.clients(config.smtp_port, CLIENTS))
        for number in range(rounds):
            await one_life(config, ledger, number, chance, plugged=plugged)
        clients.cancel()
        await asyncio.wait([clients])
        ledger.life = rounds
        config.put("plugins", "")  # so that nothing is put off by chance any more
        async with running(config) as relay, ledger.sink(dead_port):
            for _ in range(FLUSHES):  # what fails just before the host is up misses one, and waits for its turn
                relay.signal(signal.SIGHUP)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(relay.settled(), FLUSH_EVERY)
                    break
            await relay.settled()
            assert await relay.stop() == 0

    duplicates = ledger.duplicates()
    promised = sum(map(len, ledger.promised.values()))
    print(f"{promised} promised, {ledger.refused} refused, {len(duplicates)} duplicates in {len(ledger.ends)} kills")
    assert len(ledger.promised) > 10 * rounds, "hardly any load"
    assert ledger.missing() == set()
    assert ledger.damaged == []
    for first, *others in duplicates:
        # A copy more only where a kill came between delivery and its record, and never two from one life.
        assert all(other.life > first.life for other in others)
        assert first.life in ledger.ends, "a drain that made a duplicate"
        assert ledger.ends[first.life] - first.at < WINDOW
    assert len(duplicates) <= rounds * 2 * 2 * CONCURRENCY


async def one_life(config: RelayConfig, ledger: Ledger, number: int, chance: random.Random, *, plugged: bool) -> None:
    """A relay, of one process or two workers, from its start to its death; sometimes it dies while it starts."""
    ledger.life = number
    config.nodes = chance.choice((0, 2))
    config.write()
    if chance.random() < 0.15:
        relay = await launch(config)
        await asyncio.sleep(chance.uniform(0.0, 1.0))
    else:
        relay = await launch(config)
        await relay.logged("mail on ")
        await asyncio.sleep(chance.uniform(0.05, 0.8))
        if chance.random() < 0.2:
            assert await relay.stop() == 0
            return
    ledger.kill()
    await relay.kill_all()
    # The plugin raises now and then, which is logged.
    assert plugged or not any("Traceback" in line for line in relay.log), "\n".join(relay.log)
