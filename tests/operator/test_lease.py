"""Writes and the lease: what is begun while it is held has ended before anybody else may take over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from mailboat_operator import lease as lease_module
from mailboat_operator.kube import ApiError, Kube
from mailboat_operator.lease import DEADLINE, DURATION, Lease, NotLeaderError
from mailboat_operator.metrics import Metrics


class FakeServer:
    """Knows one Lease; what else is written takes as long as the test wants."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "spec": {}}
        self.busy = 0
        """So many further writes of the lease are answered 429."""
        self.answers = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        if "leases" not in request.path:
            await self.answers.wait()
            return web.json_response({})
        if request.method == "GET":
            return web.json_response(self.lease)
        if self.busy:
            self.busy -= 1
            return web.json_response({"message": "busy"}, status=429)
        self.lease = await request.json()
        return web.json_response(self.lease)


@asynccontextmanager
async def world() -> AsyncIterator[tuple[FakeServer, Kube, Lease]]:
    server = FakeServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    configuration: Configuration = type.__call__(Configuration)
    configuration.host = f"http://{host}:{port}"
    metrics = Metrics("1")
    kube = Kube(configuration, metrics)
    lease = Lease(kube, "mail", "operator-0", metrics)
    kube.may_write = lease.check
    try:
        yield server, kube, lease
    finally:
        server.answers.set()
        await kube.close()
        await runner.cleanup()


class Clock:
    """The lease's clock, set forward by hand; it goes on by itself, too."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "_now", clock.now)
    return clock


async def test_a_write_begun_just_before_the_leases_end_is_given_up_before_others_may_take_over(clock: Clock) -> None:
    async with world() as (_, kube, lease), asyncio.timeout(60):
        await lease.acquire()
        taken = clock.now()
        clock.ahead += DEADLINE - 0.5
        with pytest.raises(ApiError, match="does not answer"):
            await kube.write("POST", "/api/v1/namespaces/mail/configmaps", {"data": {}})
        assert clock.now() - taken < DURATION
        with pytest.raises(NotLeaderError):
            await kube.write("POST", "/api/v1/namespaces/mail/configmaps", {"data": {}})


async def test_a_renewal_gives_writes_their_time_again(clock: Clock) -> None:
    async with world() as (_, _, lease), asyncio.timeout(60):
        await lease.acquire()
        clock.ahead += 5.0
        assert lease.check() < DURATION - 5.0
        await lease.acquire()
        assert lease.check() > DURATION - 5.0


async def test_a_busy_server_is_asked_for_the_lease_again() -> None:
    """By one who has none yet, and may not write anything else."""
    async with world() as (server, _, lease), asyncio.timeout(60):
        server.busy = 2
        await lease.acquire()
        assert lease.held
