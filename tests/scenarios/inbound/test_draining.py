"""A relay that shuts down: new clients are turned away, idle ones told 421, and mail under way is finished."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.ingress import serving
from tests.support.smtp_client import TEXT

from mailboat.config.settings import Endpoint
from mailboat.ingress.listener import listening_socket


async def test_idle_clients_are_told_421_and_those_with_mail_may_finish_it() -> None:
    async with serving() as rig:
        idle, busy = await rig.greeted(), await rig.greeted()
        await busy.begin()
        rig.load.draining = True
        await rig.listener.close()

        assert (await idle.reply()).startswith("421 4.3.2 ")
        assert await idle.rest() == b""
        idle.close()
        busy.send(TEXT + b".\r\n")
        assert (await busy.reply()).startswith("250 2.0.0 Message Queued ")
        assert (await busy.reply()).startswith("421 4.3.2 ")
        assert await busy.rest() == b""
        busy.close()
        await rig.facts.until(lambda facts: facts.here == 0)
        assert len(await rig.mails()) == 1


@pytest.mark.parametrize("end", [b"RSET\r\n", b"EHLO c\r\n", b"QUIT\r\n"])
async def test_a_client_that_gives_its_mail_up_is_closed_too(end: bytes) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.ask("MAIL FROM:<a@b.test>")
        rig.load.draining = True
        await rig.listener.close()
        client.send(end)
        heard = await client.rest()
        assert heard.rpartition(b"\n")[2] == b""
        assert heard.splitlines()[-1][:10] == (b"221 2.0.0 " if end == b"QUIT\r\n" else b"421 4.3.2 ")
        client.close()


async def test_a_client_that_comes_while_draining_is_told_421() -> None:
    async with serving() as rig:
        rig.load.draining = True
        client = await rig.stranger()
        assert (await client.reply()).startswith("421 4.3.2 ")
        assert await client.rest() == b""
        client.close()


async def test_finishing_ends_with_the_last_client_and_cuts_off_who_stays() -> None:
    async with serving() as rig:
        client = await rig.greeted()
        await client.begin()
        await rig.listener.close()
        assert not rig.listener.is_up
        finishing = asyncio.create_task(rig.listener.finish(60))
        client.send(TEXT + b".\r\nQUIT\r\n")
        assert (await client.reply()).startswith("250 2.0.0 ")
        await asyncio.wait_for(finishing, 20)
        client.close()

    async with serving() as rig:
        client = await rig.greeted()
        await client.begin()
        await rig.listener.close()
        await rig.listener.finish(0.01)
        assert await client.rest() == b""
        client.close()


async def test_a_port_that_is_taken_is_named() -> None:
    async with serving() as rig:
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{rig.listener.ports[0]}: Address"):
            listening_socket(Endpoint("127.0.0.1", rig.listener.ports[0]), shared=False)
