"""Clients that close half of the connection, or all of it: what they were promised holds, the rest is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.ingress import serving
from tests.support.memory_store import MemoryStore
from tests.support.smtp_client import TEXT
from tests.support.stores import until

from mailboat.model.clock import Clock
from mailboat.model.envelope import Draft, Entry
from mailboat.queue.store import StorageError


class HeldStore(MemoryStore):
    """Commits when it is told to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.waiting: list[tuple[Draft, asyncio.Future[Sequence[Entry]]]] = []

    def accept(self, draft: Draft) -> asyncio.Future[Sequence[Entry]]:
        """C1, in a while."""
        future: asyncio.Future[Sequence[Entry]] = asyncio.get_running_loop().create_future()
        self.waiting.append((draft, future))
        return future

    async def commit(self) -> None:
        """Let what waits be durable."""
        waiting, self.waiting = self.waiting, []
        for draft, future in waiting:
            future.set_result(await super().accept(draft))

    def fail(self, error: Exception) -> None:
        """Let what waits fail."""
        waiting, self.waiting = self.waiting, []
        for _, future in waiting:
            future.set_exception(error)


@pytest.fixture
def held() -> HeldStore:
    return HeldStore(FixedClock())


async def test_the_250_waits_for_the_commit(held: HeldStore) -> None:
    async with serving(held) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(TEXT + b".\r\nNOOP\r\n")
        await until(lambda: len(held.waiting) == 1)
        rig.later(10_000)  # and as long as it takes
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.readexactly(1), 0.05)
        assert rig.facts.mails == []
        await held.commit()
        assert (await client.reply()).startswith("250 2.0.0 Message Queued ")
        assert (await client.reply()).startswith("250 2.0.0 OK")
        await client.quit()


async def test_a_client_that_sends_no_more_after_its_last_dot_still_gets_its_250(held: HeldStore) -> None:
    async with serving(held) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(TEXT + b".\r\n")
        client.half_close()
        await until(lambda: len(held.waiting) == 1)
        [connection] = rig.connections
        await until(lambda: connection._eof)
        await held.commit()
        heard = await client.rest()
        assert heard.startswith(b"250 2.0.0 Message Queued (")
        client.close()
        await rig.facts.until(lambda facts: facts.here == 0)


async def test_all_that_was_pipelined_before_half_a_close_is_answered(held: HeldStore) -> None:
    async with serving(held) as rig:
        client = await rig.greeted()
        one = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" + TEXT + b".\r\n"
        client.send(one * 3 + b"QUIT\r\n")
        client.half_close()
        for _ in range(3):
            await until(lambda: len(held.waiting) == 1)
            await held.commit()
        heard = (await client.rest()).decode().splitlines()
        assert [line[:9] for line in heard] == ["250 2.1.0", "250 2.1.5", "354 End d", "250 2.0.0"] * 3 + ["221 2.0.0"]
        client.close()
        assert len(await rig.mails()) == 3


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_goes_before_the_commit_takes_nothing_back(held: HeldStore, how: str) -> None:
    async with serving(held) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(TEXT + b".\r\n")
        await until(lambda: len(held.waiting) == 1)
        getattr(client, how)()
        await until(lambda: rig.facts.here == 0 or any(c._eof for c in rig.connections))
        await held.commit()
        await rig.facts.until(lambda facts: facts.here == 0)
        await rig.facts.until(lambda facts: len(facts.mails) == 1)
        assert len(await rig.mails()) == 1


@pytest.mark.parametrize("error", [StorageError("broken"), ValueError("a defect of ours")])
async def test_a_commit_that_fails_after_its_client_left_harms_nobody(held: HeldStore, error: Exception) -> None:
    async with serving(held) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(TEXT + b".\r\n")
        await until(lambda: len(held.waiting) == 1)
        client.reset()
        await rig.facts.until(lambda facts: facts.here == 0)
        held.fail(error)
        await (await rig.greeted()).quit()


async def test_a_defect_of_the_store_is_told_the_client_as_451(held: HeldStore) -> None:
    async with serving(held) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(TEXT + b".\r\n")
        await until(lambda: len(held.waiting) == 1)
        held.fail(ValueError("a defect of ours"))
        assert (await client.reply()).startswith("451 4.3.0 ")
        await client.quit()


@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
@pytest.mark.parametrize("sent", [b"", b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" + TEXT + b".\r"])
async def test_a_message_without_its_end_is_none(sent: bytes, how: str) -> None:
    async with serving() as rig:
        client = await rig.greeted()
        client.send(sent)
        if sent:
            await client.replies(3)
        getattr(client, how)()
        await rig.facts.until(lambda facts: facts.here == 0)
        client.close()
        assert await rig.mails() == []
