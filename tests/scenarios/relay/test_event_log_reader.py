"""Whoever reads the event log, slowly or not at all, the relay goes on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.relay_process import COMMAND, Relay, RelayConfig
from tests.support.scripted_mx import ScriptedMx


@pytest.mark.parametrize("reader", ["closed", "stuck"])
async def test_a_reader_that_does_not_read_stalls_nothing(tmp_path: Path, mx: ScriptedMx, reader: str) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    ours, theirs = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "relay", "--config", str(config.directory)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=theirs,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    os.close(theirs)
    relay = Relay(config, process)
    try:
        await relay.logged("mail on ")
        if reader == "closed":
            os.close(ours)
        # A pipe holds 64 KiB: some events of this size are enough to fill it.
        people = [f"{'x' * 60}{n}@there.test" for n in range(100)]
        for _ in range(10):
            await relay.submit(*people)
        await mx.wait_for(lambda mx: len(mx.mails) == 10)
        await relay.settled()
        assert (await relay.metrics())["mailboat_deliveries_total{outcome=delivered}"] == 1000
        assert await relay.stop() == 0
    finally:
        await relay.kill_all()
        if reader == "stuck":
            os.close(ours)
