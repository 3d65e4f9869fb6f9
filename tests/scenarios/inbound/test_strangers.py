"""Clients that may not relay and do nothing: they make room for those who may, and for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.support.ingress import Rig, serving
from tests.support.pem import self_signed
from tests.support.plugins import chain, loaded
from tests.support.smtp_client import Client
from tests.support.stores import until

from mailboat.config.settings import TlsSettings
from mailboat.hooks import OK, Code, Point
from mailboat.ingress import replies
from mailboat.model.observer import RejectReason

ALLOWED = "127.0.0.9"
MADE_ROOM = replies.MADE_ROOM.decode().rstrip()


@asynccontextmanager
async def relay(**changes: Any) -> AsyncIterator[Rig]:
    """A relay for three clients at once, that only one address may send through."""
    async with serving(acl=(ip_network(ALLOWED),), max_connections=3, **changes) as rig:
        yield rig


async def test_the_oldest_idle_stranger_is_told_421_when_a_client_comes_that_may_relay() -> None:
    async with relay() as rig:
        first, second, third = [await rig.greeted(source=f"127.0.0.{number}") for number in (1, 2, 3)]
        allowed = await rig.greeted(source=ALLOWED)
        assert await first.reply() == MADE_ROOM
        assert await first.rest() == b""
        assert rig.facts.reasons == [RejectReason.TOO_MANY_CONNECTIONS]
        assert (await allowed.mail()).startswith("250 ")
        for client in (second, third, allowed):
            await client.quit()
        first.close()


async def test_a_stranger_that_only_opens_a_transaction_or_says_noop_is_idle() -> None:
    async with relay() as rig:
        clients = [await rig.greeted(source=f"127.0.0.{number}") for number in (1, 2, 3)]
        assert (await clients[0].ask("MAIL FROM:<a@there.test>")).startswith("250 ")
        assert (await clients[0].ask("RCPT TO:<a@there.test>")).startswith("550 ")
        assert (await clients[0].ask("NOOP")).startswith("250 ")
        await (await rig.greeted(source="127.0.0.4")).quit()
        assert await clients[0].reply() == MADE_ROOM
        for client in clients[1:]:
            await client.quit()
        clients[0].close()


async def test_who_has_authenticated_or_hands_in_a_message_keeps_its_place(tmp_path: Path) -> None:
    (tmp_path / "auth_flat_file.ini").write_text("[users]\nanna=sesame\n")
    async with relay(hooks=loaded(tmp_path, "auth_flat_file")) as rig:
        user = await rig.greeted(source="127.0.0.1")
        assert (await user.ask("AUTH PLAIN AGFubmEAc2VzYW1l")).startswith("235 ")
        strangers = [await rig.greeted(source=f"127.0.0.{number}") for number in (2, 3)]
        allowed = [await rig.greeted(source=ALLOWED) for _ in range(2)]
        for stranger in strangers:
            assert await stranger.reply() == MADE_ROOM
            stranger.close()
        late = await Client.connect(rig.listener.ports[0], source=ALLOWED)
        assert (await late.reply()).startswith("421 4.3.2 Too many connections")
        late.close()
        for client in (user, *allowed):
            assert (await client.mail(sender="anna@there.test")).startswith("250 ")
            await client.quit()


async def test_a_stranger_that_a_plugin_lets_send_is_not_idle_once_its_recipient_is_accepted() -> None:
    async def rcpt(*_: object) -> Code:
        return OK

    async with relay(hooks=chain({Point.RCPT: rcpt})) as rig:
        sending, other, third = [await rig.greeted(source=f"127.0.0.{number}") for number in (1, 2, 3)]
        await sending.ask("MAIL FROM:<a@there.test>")
        await sending.ask("RCPT TO:<b@there.test>")
        await (await rig.greeted(source=ALLOWED)).quit()
        assert await other.reply() == MADE_ROOM
        await sending.ask("DATA")
        assert (await sending.ask("Subject: x\r\n\r\nx\r\n.")).startswith("250 ")
        for client in (sending, third):
            await client.quit()
        other.close()


async def test_a_stranger_about_whom_a_plugin_decides_is_not_idle() -> None:
    may_go_on = asyncio.Event()

    async def ehlo(*_: object) -> None:
        await may_go_on.wait()

    async with relay(hooks=chain({Point.EHLO: ehlo})) as rig:
        decided = await rig.client(source="127.0.0.1")
        decided.send(b"EHLO client.test\r\n")
        await until(lambda: any(c._gate._asked for c in rig.connections))
        others = [await rig.client(source=f"127.0.0.{number}") for number in (2, 3)]
        newcomer = await rig.client(source=ALLOWED)
        assert await others[0].reply() == MADE_ROOM
        may_go_on.set()
        assert (await decided.reply(enhanced=False)).startswith("250")
        for client in (decided, others[1], newcomer):
            await client.quit()
        others[0].close()


async def test_one_that_waits_for_the_reply_to_wrong_credentials_is_idle(tmp_path: Path) -> None:
    (tmp_path / "auth_flat_file.ini").write_text("[users]\nanna=sesame\n")
    async with relay(hooks=loaded(tmp_path, "auth_flat_file")) as rig:
        guesser = await rig.greeted(source="127.0.0.1")
        guesser.send(b"AUTH PLAIN AGFubmEAd3Jvbmc=\r\n")
        await until(lambda: any(c.policy.authenticator._held_back for c in rig.connections))
        others = [await rig.greeted(source=f"127.0.0.{number}") for number in (2, 3)]
        await (await rig.greeted(source=ALLOWED)).quit()
        assert await guesser.reply() == MADE_ROOM
        for client in others:
            await client.quit()
        guesser.close()


@pytest.fixture
def tls(tmp_path: Path) -> TlsSettings:
    key, cert = self_signed("relay.test")
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "cert.pem").write_bytes(cert)
    return TlsSettings(key=str(tmp_path / "key.pem"), cert=str(tmp_path / "cert.pem"))


async def test_strangers_in_a_handshake_that_never_ends_make_room(tls: TlsSettings) -> None:
    async with relay(tls=tls, smtps=True) as rig:
        silent = [await rig.stranger(implicit_tls=True, source=f"127.0.0.{number}") for number in (1, 2, 3)]
        await until(lambda: rig.context.admission.connections == 3)
        newcomer = await rig.greeted(source=ALLOWED)
        assert await silent[0].rest() == b""
        assert (await newcomer.mail()).startswith("250 ")
        await newcomer.quit()
        for client in silent:
            client.close()


async def test_when_memory_is_short_strangers_are_turned_away_and_others_are_let_in() -> None:
    async with relay() as rig:
        first, second = [await rig.greeted(source=f"127.0.0.{number}") for number in (1, 2)]
        rig.load.memory_full = True
        late = await Client.connect(rig.listener.ports[0], source="127.0.0.4")
        assert await late.reply() == "421 4.3.2 Short of memory, try again later"
        assert rig.facts.reasons == [RejectReason.OVERLOAD]
        rig.later(1)
        assert await first.reply() == MADE_ROOM
        rig.load.memory_full = False
        for client in (second, await rig.greeted(source=ALLOWED)):
            await client.quit()
        first.close()
        late.close()
