"""A power cut cannot be had in a test; that the kernel was asked to sync before each 250 can be seen."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx

SYNCED = re.compile(r"(fsync|fdatasync).*= 0$")


def steps(trace: Path) -> str:
    """The system calls as letters in their order: D for the 354, S for a sync that has returned, A for the 250."""
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        if '"354 ' in line:
            found.append("D")
        elif SYNCED.search(line):
            found.append("S")
        elif "250 2.0.0 Message Queued" in line:
            found.append("A")
    return "".join(found)


@pytest.mark.crash
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize(("size", "syncs"), [(100, 1), (400_000, 3)])
async def test_each_250_comes_after_its_sync(tmp_path: Path, size: int, syncs: int) -> None:
    """A large body takes a sync of its file and one of its directory besides that of the database."""
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg"
    async with ScriptedMx.start() as mx:
        config = RelayConfig(tmp_path / "config", mx.port, outbound=["disabled=true"])
        prefix = ["strace", "-f", "-qq", "-s", "40", "-e", "signal=none", "-e", calls, "-o", str(trace)]
        async with running(config, prefix=prefix) as relay:
            for _ in range(5):
                await relay.submit(body=b"Subject: x\r\n\r\n" + (b"x" * 98 + b"\r\n") * (size // 100))
            await relay.kill_all()
    told = steps(trace)
    assert told.count("A") == 5
    for message in told.split("A")[:-1]:
        assert message.rpartition("D")[2].count("S") >= syncs
