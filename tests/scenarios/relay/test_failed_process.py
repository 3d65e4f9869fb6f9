"""A process whose inner parts have failed ends, so that it is started again; one that only takes its time does not."""

from __future__ import annotations

from pathlib import Path

import aiosmtplib
import pytest
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import running
from tests.support.scripted_mx import ScriptedMx, Silence

KILLER = """
import ctypes, threading

def hook_mail(connection, address, params):
    if address.local != "killer":
        return
    for thread in threading.enumerate():
        if thread.name.startswith("commit "):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
"""
"""Ends the thread that commits, as a fault of the interpreter or a library would."""

LINGERING = """
import threading

threading.Thread(target=threading.Event().wait).start()

async def hook_mail(connection, address, params):
    return None
"""
"""Keeps its process from ending: it is cut short after `THREAD_GRACE`."""


async def test_a_relay_whose_commit_thread_fails_refuses_mail_and_ends_with_70(tmp_path: Path, mx: ScriptedMx) -> None:
    config = PluginConfig(tmp_path / "config", mx.port, outbound=["disabled=true"])
    config.plug("killer", KILLER)
    async with running(config) as relay:
        kept = await relay.submit()
        with pytest.raises(aiosmtplib.SMTPException, match="451"):
            await relay.submit(sender="killer@sender.test")
        assert await relay.exit_code() == 70
    async with running(config) as relay:
        assert [entry["id"].partition(".")[0] for entry in await relay.queue()] == [kept]


async def test_a_worker_whose_commit_thread_fails_is_started_again(tmp_path: Path, mx: ScriptedMx) -> None:
    config = PluginConfig(tmp_path / "config", mx.port, 2)
    config.plug("killer", KILLER)
    async with running(config) as relay:
        with pytest.raises(aiosmtplib.SMTPException, match="451"):
            await relay.submit(sender="killer@sender.test")
        await relay.logged("exited with 70; it is restarted")
        await relay.poll(relay.http_readyz, lambda status: status == 200)
        await relay.submit()
        await relay.event("delivered")
        assert await relay.stop() == 0


async def test_a_worker_that_takes_all_its_time_to_end_is_not_killed(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on(".", Silence())  # the attempt gets its time beyond the drain too
    config = PluginConfig(tmp_path / "config", mx.port, 2)
    config.plug("lingering", LINGERING)
    async with running(config, options=["--drain-timeout", "0.1"]) as relay:
        await relay.submit()
        await mx.wait_for(lambda mx: mx.mails)
        assert await relay.stop() == 0
        assert (
            sum("threads of plugins did not end in time: they end with the process" in line for line in relay.log) >= 2
        )
        assert not [line for line in relay.log if "is killed" in line]
