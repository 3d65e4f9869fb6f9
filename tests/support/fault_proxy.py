"""A proxy in front of a real API server that answers some calls itself: busy, broken, conflicting, gone.

`rule` is asked for each call and gives a status to answer with, or None to pass it on. Watches are passed on as they
stream; `cut` ends all of them, and `Gone` makes one end as the server ends it when it has forgotten too much.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tools.cluster import credentials

Rule = Callable[[str, str], int | None]
"""Method and path (with its query) -> status."""

_PASSED = ("Authorization", "Content-Type", "Accept")
_PASSED_BACK = ("Content-Type", "Content-Encoding")


class FaultProxy:
    """The proxy, in a thread of its own."""

    def __init__(self, server: str, ca: Path) -> None:
        self.rule: Rule = lambda _method, _path: None
        self.calls: list[tuple[str, str, int]] = []
        """Method, path and status of all that came."""
        self._server = server
        self._context = ssl.create_default_context(cafile=str(ca))
        self._loop = asyncio.new_event_loop()
        self._streams: set[asyncio.Task[Any]] = set()
        self._started = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(30)

    def kubeconfig(self, path: Path, token: str) -> Path:
        """A kubeconfig that leads through here."""
        credentials.write_secret(path, credentials.kubeconfig(f"http://127.0.0.1:{self.port}", Path("/none"), token))
        text = json.loads(path.read_text())
        del text["clusters"][0]["cluster"]["certificate-authority"]
        path.write_text(json.dumps(text))
        return path

    def cut(self) -> None:
        """End every watch, as a restart of a load balancer would."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._streams])

    def count(self, method: str, status: int) -> int:
        """How many calls were answered so."""
        return sum(1 for called, _, answered in self.calls if (called, answered) == (method, status))

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        # The loop ends now: nobody would wait for the farewell inside TLS, which a task that is cancelled begins.
        assert self._session.connector is not None
        await self._session.connector.close(abort_ssl=True)
        # Watches do not end by themselves.
        for task in asyncio.all_tasks(self._loop) - {asyncio.current_task()}:
            task.cancel()
        await self._runner.cleanup()
        await self._session.close()
        await asyncio.sleep(0)  # for what was aborted to be lost

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        status = self.rule(request.method, request.path_qs)
        if status is not None:
            self.calls.append((request.method, request.path_qs, status))
            if status == 410 and "watch=true" in request.path_qs:
                gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
                return web.json_response(gone)
            headers = {"Retry-After": "1"} if status == 429 else {}
            said = {"kind": "Status", "code": status, "message": f"injected {status}"}
            return web.json_response(said, status=status, headers=headers)
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        body = await request.read() or None
        url = f"{self._server}{request.path_qs}"
        async with self._session.request(request.method, url, data=body, headers=headers, ssl=self._context) as answer:
            self.calls.append((request.method, request.path_qs, answer.status))
            return await self._pass(request, answer)

    async def _pass(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        # The server compresses what is large: as it comes it goes on.
        headers = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        if "watch=true" in request.path_qs:
            self._streams.add(task)
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        finally:
            self._streams.discard(task)
        return response
