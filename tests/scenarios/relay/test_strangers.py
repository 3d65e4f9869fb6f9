"""What strangers can do to the whole program: guess passwords from many connections, and how much memory that takes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import ssl
from collections import Counter
from pathlib import Path

import argon2
import pytest
from tests.support.pem import self_signed
from tests.support.relay_process import Relay, RelayConfig, running
from tests.support.smtp_client import Client

from mailboat.ingress.auth_gate import FREE

USER = "anna@example.com"
HASHER = argon2.PasswordHasher(time_cost=1, parallelism=1)
"""Of the usual 64 MiB, but quick."""
MIB = 2**20


def auth(user: str, password: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def config(directory: Path, nodes: int = 0) -> RelayConfig:
    it = RelayConfig(directory, 1, nodes=nodes)
    it.put("relay_acl_allow", "127.0.0.9/32\n")
    it.put("auth_flat_file.ini", f"[users]\n{USER}={HASHER.hash('sesame')}\n")
    it.put("plugins", "auth_flat_file\n")
    return it


async def said_to(relay: Relay, source: str, user: str, password: str) -> str:
    """The code of the reply to AUTH in a connection of its own."""
    client = await Client.connect(relay.config.smtp_port, source=source)
    try:
        await client.reply(enhanced=False)
        await client.ehlo()
        return (await client.ask(auth(user, password)))[:3]
    finally:
        client.close()


def most_memory(relay: Relay) -> int:
    """Octets that the process had at most."""
    status = Path(f"/proc/{relay.process.pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match
    return int(match[1]) * 1024


async def test_forty_clients_at_once_take_no_more_memory_than_checks_may_run_and_the_user_goes_first(
    tmp_path: Path,
) -> None:
    async with running(config(tmp_path / "config")) as relay:
        assert await said_to(relay, "127.0.0.5", USER, "sesame") == "235"
        before = most_memory(relay)
        guesses = [
            asyncio.create_task(said_to(relay, f"127.0.1.{number + 1}", f"user{number}", "wrong"))
            for number in range(40)
        ]
        assert await said_to(relay, "127.0.0.5", USER, "sesame") == "235"
        assert Counter(await asyncio.gather(*guesses)) == {"535": 40}
        checks = len(os.sched_getaffinity(0))
        assert most_memory(relay) - before < (checks * 64 + 128) * MIB
        numbers = await relay.metrics()
        assert numbers["mailboat_rejected_total{reason=auth}"] == 40


@pytest.mark.parametrize("nodes", [0, 2])
async def test_many_connections_are_few_guesses_in_each_worker(nodes: int, tmp_path: Path) -> None:
    async with running(config(tmp_path / "config", nodes)) as relay:
        codes = Counter(
            await asyncio.gather(*(said_to(relay, "127.0.0.5", f"user{number}", "wrong") for number in range(40)))
        )
        assert codes.keys() <= {"535", "454"}
        assert FREE <= codes["535"] <= max(nodes, 1) * FREE
        numbers = await relay.metrics()
        assert numbers["mailboat_rejected_total{reason=auth_backoff}"] == codes["454"]
        assert await said_to(relay, "127.0.0.6", USER, "sesame") == "235"


@pytest.mark.parametrize("nodes", [0, 2])
async def test_idle_strangers_in_all_places_shut_nobody_out(nodes: int, tmp_path: Path) -> None:
    relay_config = config(tmp_path / "config", nodes)
    relay_config.smtp = ["max_connections=100"]
    relay_config.write()
    async with running(relay_config) as relay, contextlib.AsyncExitStack() as stack:
        for number in range(200 * max(nodes, 1)):
            client = await Client.connect(relay_config.smtp_port, source=f"127.3.{number % 100}.1")
            stack.callback(client.close)
        for _ in range(5):
            allowed = await Client.connect(relay_config.smtp_port, source="127.0.0.9")
            assert (await allowed.reply(enhanced=False)).startswith("220 ")
            await allowed.ehlo()
            assert (await allowed.mail()).startswith("250 ")
            allowed.close()
        assert await said_to(relay, "127.0.0.5", USER, "sesame") == "235"


async def test_idle_strangers_inside_tls_are_no_more_than_memory_has_room_for(tmp_path: Path) -> None:
    key, certificate = self_signed("relay.test")
    relay_config = config(tmp_path / "config")
    relay_config.put("tls_key.pem", key.decode())
    relay_config.put("tls_cert.pem", certificate.decode())
    relay_config.smtp = ["max_strangers=20"]
    relay_config.write()
    trusting = ssl.create_default_context(cadata=certificate.decode())
    async with running(relay_config) as relay, contextlib.AsyncExitStack() as stack:
        for number in range(60):
            client = await Client.connect(relay_config.smtp_port, source=f"127.4.{number}.1")
            stack.callback(client.close)
            await client.reply(enhanced=False)
            await client.ehlo()
            assert (await client.ask("STARTTLS")).startswith("220 ")
            await client.start_tls(trusting)

        async def are_few() -> bool:
            return (await relay.metrics())["mailboat_inbound_connections"] <= 20

        await relay.poll(are_few, bool)
        assert (await relay.metrics())["mailboat_rejected_total{reason=too_many_connections}"] == 40
