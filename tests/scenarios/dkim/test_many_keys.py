"""Two hundred keys are loaded while clients are served: no pause of the event loop above 50 ms."""

from __future__ import annotations

import time

import aiohttp
from tests.support.dkim import verified
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import Relay, running
from tests.support.scripted_mx import ScriptedMx

from mailboat.dkim.keys import Algorithm, SigningKey, make_key, to_pem

KEYS = 200
LONGEST_PAUSE = 0.05
TRIES = 8
"""Reloads, the quietest of which counts: on a busy machine every program is held up now and then; one that loads keys
on its event loop is at each of them."""


def replace_keys(config: PluginConfig, pem: bytes, selector: str) -> None:
    """All at once, as Kubernetes does it."""
    folder = config.directory.parent / selector
    folder.mkdir()
    for number in range(KEYS):
        (folder / f"{selector}._domainkey.d{number}.example.pem").write_bytes(pem)
    fresh = folder / ".link"
    fresh.symlink_to(folder)
    fresh.rename(config.directory / "dkim")


async def slowest_answer(relay: Relay, reloads: int) -> float:
    """Seconds that a probe waited at most for its answer, until the relay has reloaded so often."""
    slowest = 0.0
    async with aiohttp.ClientSession(f"http://127.0.0.1:{relay.config.admin_port}") as session:
        while sum(event["event"] == "config" for event in relay.events) < reloads:
            began = time.perf_counter()
            async with session.get("/livez") as answer:
                assert answer.status == 200
            slowest = max(slowest, time.perf_counter() - began)
    return slowest


async def test_two_hundred_keys_are_loaded_without_a_pause(config: PluginConfig, mx: ScriptedMx) -> None:
    key = SigningKey("d7.example", "s1", make_key(Algorithm.RSA))
    pauses: list[float] = []
    async with running(config) as relay:
        before = sum(event["event"] == "config" for event in relay.events)
        while not pauses or (min(pauses) >= LONGEST_PAUSE and len(pauses) < TRIES):
            replace_keys(config, to_pem(key.private), f"s{len(pauses) + 1}")
            pauses.append(await slowest_answer(relay, before + len(pauses) + 1))
        await relay.submit(body=b"From: joe@d7.example\r\n\r\nhi\r\n")
        await relay.event("delivered")
        assert {event["error"] for event in relay.events if event["event"] == "config"} == {""}
    assert min(pauses) < LONGEST_PAUSE, pauses
    last = SigningKey("d7.example", f"s{len(pauses)}", key.private)
    assert verified(mx.mails[0].body, last) == [True]
