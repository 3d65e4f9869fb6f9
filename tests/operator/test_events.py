"""Events: they wait for the API server and for the lease, and end nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mailboat_operator import events
from mailboat_operator.events import Event, EventRecorder
from mailboat_operator.kube import ApiError
from mailboat_operator.lease import NotLeaderError
from mailboat_operator.observed import ObjectKey


class FakeKube:
    """Fails as often as it is told to, then takes what is posted."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.posted: list[str] = []
        self._changed = asyncio.Event()

    async def write(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._failures:
            raise self._failures.pop(0)
        self.posted.append(body["reason"])
        self._changed.set()
        return {}

    async def until(self, what: Callable[[], object]) -> None:
        """Wait until what was posted makes `what()` true."""
        async with asyncio.timeout(20):
            while not what():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(kube: FakeKube) -> AsyncIterator[tuple[EventRecorder, asyncio.Task[None]]]:
    recorder = EventRecorder(kube, "operator-0")  # type: ignore[arg-type] # it is only written to
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder, task
    finally:
        task.cancel()
        await asyncio.wait([task])


def event(reason: str) -> Event:
    return Event(ObjectKey("mail", "relay"), "uid", reason, "what happened")


@pytest.mark.parametrize(
    "failure",
    [NotLeaderError("the lease is over"), ApiError(0, "no answer"), ApiError(503, "starting"), ApiError(500, "etcd")],
)
async def test_an_event_that_is_pending_in_an_outage_is_posted_after_it(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_AGAIN", 0.01)
    kube = FakeKube(failure, failure)
    async with running(kube) as (recorder, task):
        recorder.tell(event("Loaded"))
        await kube.until(lambda: kube.posted == ["Loaded"])
        assert not task.done()


@pytest.mark.parametrize("status", [403, 404, 409, 422])
async def test_an_event_that_the_server_does_not_take_is_dropped(status: int) -> None:
    kube = FakeKube(ApiError(status, "no"))
    async with running(kube) as (recorder, _):
        recorder.tell(event("First"))
        recorder.tell(event("Second"))
        await kube.until(lambda: kube.posted == ["Second"])
