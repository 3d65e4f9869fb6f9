"""A wall clock that is set back by an hour while mail waits, or while no relay runs: the hour is not waited for."""

from __future__ import annotations

from pathlib import Path

from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx

SET_BACK = """
import pathlib, time

real, offset = time.time, pathlib.Path(__file__).with_name("offset")
time.time = lambda: real() + float(offset.read_text())
"""


async def test_a_clock_set_back_by_an_hour_costs_no_hour(tmp_path: Path, mx: ScriptedMx) -> None:
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(SET_BACK)
    (clock / "offset").write_text("0")
    mx.on("MAIL", "451 4.7.1 Greylisted")
    config = RelayConfig(tmp_path / "config", mx.port, outbound=["temp_fail_intervals=5s*9"])
    async with running(config, environ={"PYTHONPATH": str(clock)}) as relay:
        await relay.submit()
        await relay.event("deferred")
        (clock / "offset").write_text("-3600")
        await relay.logged("the clock was set back by 3600 s")
        await relay.event("deferred", 2)
        assert await relay.stop() == 0
    (clock / "offset").write_text("-7200")
    mx.on("MAIL", "250 2.1.0 ok")
    async with running(config, environ={"PYTHONPATH": str(clock)}) as relay:
        await relay.event("delivered")
    assert len(mx.mails) == 1
