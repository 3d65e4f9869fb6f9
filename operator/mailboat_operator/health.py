"""HTTP of the operator: `/livez`, `/readyz`, `/metrics`. The probes check for failures that would be silent.

Started by `app`, which defines the checks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from mailboat_operator.metrics import Metrics

Check = Callable[[], str]
"""Why it fails; empty when it does not."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """The listener."""

    def __init__(self, metrics: Metrics, live: Mapping[str, Check], ready: Mapping[str, Check]) -> None:
        application = web.Application()
        application.add_routes(
            [
                web.get("/livez", _probe("livez", live)),
                web.get("/readyz", _probe("readyz", ready)),
                web.get("/metrics", _metrics(metrics)),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, keepalive_timeout=30)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which the system chooses for 0. OSError if it is not available."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        found: int = self._runner.addresses[0][1]
        return found

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


def _probe(name: str, checks: Mapping[str, Check]) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        told = {what: check() for what, check in checks.items()}
        lines = [f"[-] {what} failed: {why}" if why else f"[+] {what} ok" for what, why in told.items()]
        good = not any(told.values())
        text = "\n".join([*lines, f"{name} {'ok' if good else 'failed'}", ""])
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return web.Response(text=text, status=status, headers={"Cache-Control": "no-store"})

    return handle


def _metrics(metrics: Metrics) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": _METRICS_TYPE})

    return handle
