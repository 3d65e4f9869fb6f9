"""Slow clients are given up: time is the relay's clock, which these tests move, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.ingress import Rig, serving
from tests.support.smtp_client import Client
from tests.support.stores import until

from mailboat.ingress.connection import LINGER, ServerConnection
from mailboat.ingress.receiver import SLOWEST_RATE
from mailboat.model.observer import RejectReason

TIMEOUT = "421 4.4.2 "


async def expect_timeout(client: Client) -> None:
    assert (await client.reply()).startswith(TIMEOUT)
    assert await client.rest() == b""
    client.close()


async def taken(rig: Rig, octets: int) -> None:
    """Wait until the one client's message has come in so far; its last line end is kept back by the receiver."""
    [connection] = rig.connections
    transaction = connection._gate.client.message
    assert transaction is not None
    await until(lambda: transaction.size >= octets - 2)


@pytest.mark.parametrize("said", [b"", b"EH", b"EHLO client.test\r\n", b"EHLO client.test\r\nMAIL FROM:<>\r\nRC"])
async def test_a_client_that_falls_silent_is_closed_with_421(said: bytes) -> None:
    async with serving(inactivity_timeout=300) as rig:
        client = await rig.client()
        client.send(said)
        if b"\r\n" in said:
            await client.reply(enhanced=False)
        rig.later(299)
        assert rig.facts.here == 1
        rig.later(2)
        heard = (await client.rest()).decode().splitlines()
        assert heard[-1].startswith(TIMEOUT)
        client.close()
        assert rig.facts.reasons == [RejectReason.TIMEOUT]


async def test_each_command_has_the_whole_time() -> None:
    async with serving(inactivity_timeout=300) as rig:
        client = await rig.greeted()
        for command in ("NOOP", "RSET", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "VRFY x", "NONSENSE", "HELP"):
            rig.later(299)
            await client.ask(command)
        rig.later(299)
        await client.quit()
        assert RejectReason.TIMEOUT not in rig.facts.reasons


async def test_octets_without_a_command_buy_no_time() -> None:
    """Slow loris: a command letter by letter."""
    async with serving(inactivity_timeout=300) as rig:
        client = await rig.greeted()
        for letter in b"NOOP":
            rig.later(70)
            await client.drip([bytes([letter])])
        rig.later(21)
        await expect_timeout(client)


async def test_a_message_that_trickles_in_has_no_endless_time() -> None:
    """Each piece buys time, but all of it must come at a rate, so that one octet in 299 s does not go on for ever."""
    async with serving(inactivity_timeout=300) as rig:
        client = await rig.greeted()
        await client.begin()
        passed = 0
        for number in range(1, 5):
            await client.drip([b"x\r\n"])
            await taken(rig, 3 * number)
            rig.later(100)
            passed += 100
            if rig.facts.refusals:
                break
        assert passed == 400 > 300 + 12 / SLOWEST_RATE
        await expect_timeout(client)
        assert await rig.mails() == []


async def test_a_message_at_a_fair_rate_is_waited_for() -> None:
    async with serving(inactivity_timeout=300) as rig:
        client = await rig.greeted()
        await client.begin()
        for number in range(1, 11):
            client.send(b"x" * 998 + b"\r\n" if number % 2 else (b"y" * 998 + b"\r\n") * 100)
            sent = 1000 * (number // 2 * 100 + (number + 1) // 2)
            await taken(rig, sent)
            rig.later(30)
        client.send(b".\r\n")
        assert (await client.reply()).startswith("250 2.0.0 ")
        await client.quit()


async def test_a_client_that_does_not_close_after_our_last_word_is_cut_off() -> None:
    async with serving(max_errors=1) as rig:
        client = await rig.greeted()
        await client.ask("NONSENSE")
        assert (await client.reply()).startswith("421 ")
        rig.later(LINGER - 1)
        assert rig.facts.here == 1
        rig.later(2)
        await rig.facts.until(lambda facts: facts.here == 0)
        assert await client.rest() == b""
        client.close()


async def test_a_client_that_reads_no_replies_is_not_served_for_ever() -> None:
    """Its replies fill the socket; then it is heard no further, and in the end it is closed."""
    async with serving(max_recipients=1_000_000) as rig:
        rig.shrink_send_buffers()
        client = await rig.greeted(receive_buffer=4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"MAIL FROM:<a@b.test>\r\n")
        [connection] = rig.connections
        for _ in range(2000):
            await client.drip([b"RCPT TO:<somebody@there.test>\r\n" * 1000])
            if connection._unread:
                break
        else:
            pytest.fail("the relay wrote on and on")
        assert connection._transport.get_write_buffer_size() < 2**20
        rig.later(301)
        rig.later(LINGER + 1)
        await rig.facts.until(lambda facts: facts.here == 0)
        client.reset()


async def test_a_client_that_reads_again_gets_all_replies() -> None:
    async with serving(max_recipients=1_000_000) as rig:
        rig.shrink_send_buffers()
        client = await rig.greeted(receive_buffer=4096)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        count = 20_000
        client.send(b"MAIL FROM:<a@b.test>\r\n" + b"RCPT TO:<somebody@there.test>\r\n" * count + b"DATA\r\n")
        [connection] = rig.connections
        await until(lambda: connection._unread)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(count + 1):
            assert (await client.reply()).startswith("250 2.1.")
        assert (await client.reply()).startswith("354 ")
        client.close()


@pytest.mark.parametrize("method", ["tick", "expired", "time_out"])
async def test_one_connection_that_fails_keeps_no_other_from_its_timeout(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is closed; the sweep goes on, and the listener can be finished."""
    async with serving(inactivity_timeout=300) as rig:
        bad, good = await rig.client(), await rig.client()
        [failing] = [c for c in rig.connections if c._transport.get_extra_info("peername")[1] == port_of(bad)]
        right = getattr(ServerConnection, method)

        def fails(self: ServerConnection, *args: Any) -> Any:
            if self is failing:
                raise RuntimeError("a fault of this connection")
            return right(self, *args)

        monkeypatch.setattr(ServerConnection, method, fails)
        rig.later(301)
        await expect_timeout(good)
        assert await bad.rest() == b""
        bad.close()
        assert "a connection failed and is closed" in caplog.text
        later = await rig.client()
        rig.later(301)
        await expect_timeout(later)


@pytest.mark.parametrize("method", ["shut_down", "abort"])
async def test_one_connection_that_fails_keeps_the_listener_from_no_end(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as rig:
        clients = [await rig.client(), await rig.client()]
        first = next(iter(rig.connections))
        right = getattr(ServerConnection, method)
        failed: list[ServerConnection] = []

        def fails(self: ServerConnection, *args: Any) -> None:
            if self is first and not failed:
                failed.append(self)
                raise RuntimeError("a fault of this connection")
            right(self, *args)

        monkeypatch.setattr(ServerConnection, method, fails)
        await rig.listener.close()
        await rig.listener.finish(0.0 if method == "abort" else 10.0)
        assert failed
        for client in clients:
            await client.rest()
            client.close()


def port_of(client: Client) -> int:
    port: int = client.writer.get_extra_info("sockname")[1]
    return port
