"""Guessing passwords: more connections are no more guesses, and whoever knows the password gets in meanwhile."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.ingress import Rig, serving
from tests.support.plugins import loaded
from tests.support.smtp_client import Client
from tests.support.stores import until

from mailboat.ingress.auth_gate import FREE
from mailboat.model.observer import RejectReason

USER = "anna@example.com"
GUESSES = FREE + 1
"""The reply to each waits a second, and so may the next one; after so many it has to wait longer."""


def auth(user: str, password: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


@asynccontextmanager
async def relay(directory: Path, **changes: Any) -> AsyncIterator[Rig]:
    (directory / "auth_flat_file.ini").write_text(f"[users]\n{USER}=sesame\nbert@example.com=0123\n")
    async with serving(acl=(), hooks=loaded(directory, "auth_flat_file"), **changes) as rig:
        yield rig


async def attempt(rig: Rig, source: str, user: str = USER, password: str = "wrong") -> str:
    """The reply to AUTH in a connection of its own; what it is held back, passes."""
    client = await Client.connect(rig.listener.ports[0], source=source)
    await client.reply(enhanced=False)
    await client.ehlo()
    client.send(auth(user, password).encode() + b"\r\n")
    reply = asyncio.create_task(client.reply())
    await until(lambda: reply.done() or any(c.policy.authenticator._held_back for c in rig.connections))
    if not reply.done():
        rig.later(1)
    said = await reply
    await client.quit()
    return said


async def test_an_address_that_fails_in_one_connection_after_the_other_is_held_back(tmp_path: Path) -> None:
    async with relay(tmp_path) as rig:
        for number in range(GUESSES):
            assert (await attempt(rig, "127.0.0.5", f"user{number}")).startswith("535 5.7.8 ")
        said = await attempt(rig, "127.0.0.5", USER, "sesame")
        assert said == "454 4.7.0 Too many failed authentications, try again later"
        assert rig.facts.reasons == [RejectReason.AUTH] * GUESSES + [RejectReason.AUTH_BACKOFF]
        assert (await attempt(rig, "127.0.0.6", USER, "sesame")).startswith("235 ")
        rig.later(2)
        assert (await attempt(rig, "127.0.0.5", USER, "sesame")).startswith("235 ")


async def test_a_name_that_is_guessed_from_everywhere_is_held_back_but_not_for_a_client_that_knew_it(
    tmp_path: Path,
) -> None:
    async with relay(tmp_path) as rig:
        assert (await attempt(rig, "127.0.0.5", USER, "sesame")).startswith("235 ")
        for number in range(GUESSES):
            assert (await attempt(rig, f"127.0.1.{number + 1}")).startswith("535 ")
        assert (await attempt(rig, "127.0.2.1")).startswith("454 ")
        assert (await attempt(rig, "127.0.2.1", "bert@example.com", "0123")).startswith("235 ")
        assert (await attempt(rig, "127.0.0.5", USER, "sesame")).startswith("235 ")


async def test_back_off_can_be_turned_off(tmp_path: Path) -> None:
    async with relay(tmp_path, auth_backoff_max=0.0) as rig:
        for _ in range(2 * FREE):
            assert (await attempt(rig, "127.0.0.5")).startswith("535 ")


async def test_guesses_at_once_are_checked_one_after_the_other_and_those_that_wait_hear_of_the_success(
    tmp_path: Path,
) -> None:
    async with relay(tmp_path) as rig:
        gate = rig.context.auth_gate
        busy = await rig.greeted(source="127.0.0.5")
        gate._busy.add(("name", USER))  # as if a check were under way
        clients = [await rig.greeted(source="127.0.0.5") for _ in range(3)]
        for client in clients:
            client.send(auth(USER, "sesame").encode() + b"\r\nNOOP\r\n")
        clients.append(gone := await rig.greeted(source="127.0.0.5"))
        gone.send(auth(USER, "sesame").encode() + b"\r\n")
        await until(lambda: len(gate._waiting) == 4)
        gone.reset()
        await until(lambda: len(gate._waiting) == 3)
        gate._busy.clear()
        assert (await busy.ask(auth("bert@example.com", "0123"))).startswith("235 ")
        for client in clients[:3]:
            assert [reply[:3] for reply in await client.replies(2)] == ["235", "250"]
            await client.quit()
        await busy.quit()
