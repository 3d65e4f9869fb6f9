"""The resync: tried again soon when it fails, and begun by every list that a watch begins anew with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import kopf
import pytest
from aiohttp import web

from mailboat_operator import handlers, resync
from mailboat_operator.kube import ApiError
from mailboat_operator.observed import ObjectKey
from mailboat_operator.resync import Resync

CHANGED, SAME = ObjectKey("mail", "changed"), ObjectKey("mail", "same")


class FakeLists:
    """Fails half-way as often as it is told to."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.reads = 0

    async def refresh(self, changed: set[ObjectKey]) -> None:
        self.reads += 1
        if self.reads == 1:
            changed.add(CHANGED)  # once: the store knows it from then on
        if self.reads <= self.failures:
            raise ApiError(503, "etcd is starting")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync, "AGAIN", 0.01)


async def test_one_that_fails_is_tried_again_and_forgets_nothing() -> None:
    lists, looked_at = FakeLists(failures=3), asyncio.Queue[tuple[ObjectKey, float]]()
    missed: list[int] = []
    it = Resync(
        lists, lambda: [CHANGED, SAME], lambda key, wait: looked_at.put_nowait((key, wait)), missed.append, 3600.0
    )
    task = asyncio.create_task(it.run())
    it.soon()
    async with asyncio.timeout(20):
        found = dict([await looked_at.get(), await looked_at.get()])
    assert found[CHANGED] == 0.0
    assert 0.0 <= found[SAME] <= 60.0
    assert (missed, lists.reads) == ([1], 4)
    assert not task.done()
    task.cancel()


async def test_it_comes_by_itself_after_its_period() -> None:
    looked_at = asyncio.Queue[ObjectKey]()
    it = Resync(FakeLists(0), lambda: [SAME], lambda key, _: looked_at.put_nowait(key), lambda _: None, 0.01)
    task = asyncio.create_task(it.run())
    async with asyncio.timeout(20):
        assert [await looked_at.get() for _ in range(3)] == [SAME] * 3
    task.cancel()


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Answers every list with nothing."""

    async def empty(_: web.Request) -> web.Response:
        return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})

    application = web.Application()
    application.router.add_get("/{path:.*}", empty)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


async def test_a_watch_that_begins_anew_is_noticed_also_when_its_list_is_empty() -> None:
    """As after the deletion of the last object while nobody watched: no event tells of that."""
    relisted: list[str] = []
    listed: set[str] = set()
    async with server() as url:

        async def ask(path: str) -> int:
            info = kopf.ConnectionInfo(server=url)
            session = handlers.session(info, listed, lambda: relisted.append(path)).aiohttp_session
            async with session, session.get(url + path) as answer:
                await answer.read()
            return len(relisted)

        assert await ask("/api/v1/namespaces/mail/secrets?limit=250") == 0  # the first list
        assert await ask("/api/v1/namespaces/other/secrets?limit=250") == 0
        assert await ask("/api/v1/namespaces/mail/secrets?limit=250&continue=x") == 0
        assert await ask("/api/v1/namespaces/mail/secrets?watch=true&resourceVersion=1") == 0
        assert await ask("/api/v1") == 0
        assert await ask("/api/v1/namespaces/mail/secrets?limit=250") == 1
