"""Plugins in a relay of processes: loaded, reloaded, counted over all workers, left behind, at the client's points."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import Relay, launch, running
from tests.support.scripted_mx import ScriptedMx

COUNTING = """
from mailboat.hooks import *

def register(plugin):
    global seen
    seen = plugin.metrics.counter("seen", "Messages.", {"kind": ("mail",)})

async def hook_mail(connection, address, params):
    seen.inc("mail")
"""
SEEN = "mailboat_plugin_counting_seen_total{kind=mail}"
INBOUND = {
    "connect": "connection",
    "ehlo": "connection, name",
    "mail": "connection, address, params",
    "rcpt": "connection, address, params",
    "data_post": "connection",
    "queue_outbound": "connection",
    "pre_send_trans_email": "connection",
    "queue_ok": "connection, text",
}

DENYING = """
from mailboat.hooks import *

def register(plugin):
    plugin.metrics.counter("loaded", "Workers with this code.").inc()

async def hook_mail(connection, address, params):
    return DENY, "new code"
"""


async def has(relay: Relay, name: str, value: float) -> None:
    """Wait until a metric has a value."""
    await relay.poll(relay.metrics, lambda metrics: metrics.get(name, 0) == value)


async def test_a_plugin_that_does_not_load_keeps_the_relay_from_starting(config: PluginConfig) -> None:
    config.plug("broken", "import no_such_module\n")
    config.put("plugins", "broken\nno_such\n")
    relay = await launch(config)
    assert await relay.exit_code() == 78
    log = "\n".join(relay.log)
    assert "plugins.d/broken.py:2: ModuleNotFoundError: No module named 'no_such_module'" in log
    assert "plugins:2: there is no plugin no_such" in log


async def test_new_code_is_taken_by_every_worker_and_bad_code_by_none(config: PluginConfig) -> None:
    config.nodes = 2
    config.write()
    config.plug("p", "async def hook_mail(c, a, p):\n    return None\n")
    async with running(config) as relay:
        await relay.submit()
        config.put("plugins.d/p.py", "async def hook_mail(c, a):\n    return None\n")
        await has(relay, "mailboat_config_reloads_total{result=failure}", 1)
        _, status = await relay.http("/configz")
        assert "plugins.d/p.py:1: hook_mail must take (connection, address, params)" in status["error"]
        await relay.submit()
        config.put("plugins.d/p.py", DENYING)
        await has(relay, "mailboat_plugin_p_loaded_total", 2)  # counted when a worker has swapped
        for _ in range(6):  # whichever worker takes it
            with pytest.raises(Exception, match="new code"):
                await relay.submit()


async def test_a_reload_follows_what_plugins_read_and_no_log_beside_it(config: PluginConfig, mx: ScriptedMx) -> None:
    """A file that is missing when it is asked for counts as well. Many looks lie between two attempts on a message."""
    mx.on_rcpt("bob@there.test", "450 4.2.0 later", "250 2.1.5 ok")
    config.outbound = ["temp_fail_intervals=5s"]
    config.write()
    config.plug("p", "def register(plugin):\n    plugin.config('p.ini')\n    plugin.config('late.ini')\n")
    config.put("p.ini", "a=1\n")
    async with running(config) as relay:
        await relay.submit("bob@there.test")
        await relay.event("deferred")
        config.put("relay.log", "line\n")
        config.put("plugins.d/relay.log", "line\n")
        await relay.event("delivered")
        assert (await relay.metrics()).get("mailboat_config_reloads_total{result=success}", 0) == 0
        for reloads, name in enumerate(("p.ini", "late.ini", "p.ini"), 1):
            for log in ("relay.log", "plugins.d/relay.log"):
                config.put(log, "line\n" * reloads)
            config.put(name, f"a={reloads}00\n")
            await has(relay, "mailboat_config_reloads_total{result=success}", reloads)


WAITING = """
import pathlib, time

def register(plugin):
    pathlib.Path("{0}/began").touch()
    while not pathlib.Path("{0}/go").exists():
        time.sleep(0.01)
"""


async def test_a_plugin_that_takes_long_to_register_holds_up_nobody(config: PluginConfig, tmp_path: Path) -> None:
    config.plug("p", "async def hook_mail(c, a, p):\n    return None\n")
    async with running(config) as relay:
        config.put("plugins.d/p.py", WAITING.format(tmp_path))
        await relay.poll(relay.metrics, lambda _: (tmp_path / "began").exists())
        for _ in range(5):
            await relay.submit()
        assert (await relay.metrics()).get("mailboat_config_reloads_total{result=success}", 0) == 0
        (tmp_path / "go").touch()
        await has(relay, "mailboat_config_reloads_total{result=success}", 1)


async def test_counters_are_summed_over_workers_and_stay_when_one_dies(config: PluginConfig) -> None:
    config.nodes = 2
    config.write()
    config.plug("counting", COUNTING)
    async with running(config) as relay:
        await has(relay, SEEN, 0)
        for _ in range(10):
            await relay.submit()
        await has(relay, SEEN, 10)
        victim = relay.workers()[0]
        os.kill(victim, signal.SIGKILL)
        await relay.poll(relay.http_readyz, lambda status: status == 200 and victim not in relay.workers())
        assert (await relay.metrics())[SEEN] == 10
        await relay.submit()
        await has(relay, SEEN, 11)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("raised", "1 / 0"),
        ("nonsense", "return (OK, 5, 6)"),
        ("timeout", "await asyncio.sleep(3600)"),
        ("", "tasks.append(asyncio.create_task(asyncio.sleep(3600)))"),
    ],
)
async def test_mail_comes_in_whatever_plugins_do_at_each_point(
    config: PluginConfig, mx: ScriptedMx, reason: str, code: str
) -> None:
    hooks = "\n".join(f"async def hook_{point}({args}):\n    {code}\n" for point, args in INBOUND.items())
    config.plug("p", f"import asyncio\nfrom mailboat.hooks import *\ntasks = []\n{hooks}")
    config.put("plugin_timeout", "0.1\n")
    async with running(config) as relay:
        await relay.submit()
        await mx.wait_for(lambda mx: mx.mails)
        if reason:
            for point in INBOUND:
                await has(relay, f"mailboat_hook_failures_total{{point={point}}}{{reason={reason}}}", 1)
        else:
            await has(relay, "mailboat_plugin_tasks", len(INBOUND))
        assert await relay.stop() == 0


async def test_a_sync_hook_that_blocks_stops_only_its_own_client(config: PluginConfig, mx: ScriptedMx) -> None:
    config.plug(
        "p",
        """
        import sys, time
        def hook_mail(connection, address, params):
            if address.user == "slow":
                print("blocked", file=sys.stderr, flush=True)
                time.sleep(3600)
        """,
    )
    config.put("plugin_timeout", "20\n")
    async with running(config) as relay:
        slow = asyncio.create_task(relay.submit(sender="slow@sender.test"))
        await relay.logged("blocked")
        before = time.monotonic()
        for _ in range(20):
            await relay.submit()
        assert not slow.done()
        assert time.monotonic() - before < 20
        slow.cancel()
        assert await relay.stop() == 0  # its thread ends with the process


async def test_a_thread_that_a_plugin_started_itself_does_not_keep_the_relay(config: PluginConfig) -> None:
    config.plug(
        "p",
        """
        import asyncio, sys, time
        async def hook_queue_ok(connection, text):
            tasks.append(asyncio.create_task(asyncio.to_thread(time.sleep, 3600)))
            print("started", file=sys.stderr, flush=True)
        tasks = []
        """,
    )
    async with running(config) as relay:
        await relay.submit()
        await relay.logged("started")
        assert await relay.stop() == 0
