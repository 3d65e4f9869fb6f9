"""A Prometheus of its own for one test: watches relays of this machine once a second, and is asked what it has seen.

Used as `async with Prometheus.start(directory, {"relay-0": port}) as prometheus:`. The targets carry the labels that
the chart's PodMonitor gives them: namespace, job, pod. Nothing of the system's Prometheus is used but its program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from tests.support import programs
from tests.support.monitoring import ALERTS
from tools.ports import free_ports

NAMESPACE, JOB = "mail", "mail/relay"
PATIENCE = 60.0
"""Seconds after which a test that waits has failed."""


class Prometheus:
    """A running server."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._port = port

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, directory: Path, targets: Mapping[str, int | str]) -> AsyncIterator[Prometheus]:
        """Run until the block ends; `targets` are pods' names and where their `/metrics` are: a port of this machine,
        or a host and port. Each was scraped once.
        """
        (port,) = free_ports(1)
        self = cls(directory, port)
        self._write(targets)
        process = await asyncio.create_subprocess_exec(
            programs.find("prometheus"),
            f"--config.file={directory / 'prometheus.json'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            await self._up(process, targets)
            yield self
        finally:
            await programs.stop(process)

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. Fails the test when Prometheus does not take the expression."""
        answer = await self._get("/api/v1/query", {"query": expression})
        assert answer["status"] == "success", f"{expression}: {answer}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    async def has_data(self, expression: str) -> bool:
        """Whether an expression has a value that is a number."""
        return any(math.isfinite(float(series["value"][1])) for series in await self.query(expression))

    async def alerts(self) -> dict[str, dict[str, Any]]:
        """What became of each rule: `health`, `lastError`, `state`, `alerts`."""
        answer = await self._get("/api/v1/rules", {"type": "alert"})
        return {rule["name"]: rule for group in answer["data"]["groups"] for rule in group["rules"]}

    def _write(self, targets: Mapping[str, int | str]) -> None:
        self._directory.mkdir()
        pods = [
            {
                "targets": [f"127.0.0.1:{place}" if isinstance(place, int) else place],
                "labels": {"namespace": NAMESPACE, "pod": pod},
            }
            for pod, place in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [{"job_name": JOB, "static_configs": pods}],
        }
        (self._directory / "prometheus.json").write_text(json.dumps(config))  # JSON is YAML too

    async def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self._port}{path}", params=query) as answer,
        ):
            body: dict[str, Any] = await answer.json()
            return body

    async def _up(self, process: asyncio.subprocess.Process, targets: Mapping[str, int | str]) -> None:
        async def seen() -> bool:
            assert process.returncode is None, f"Prometheus ended with {process.returncode}"
            with contextlib.suppress(aiohttp.ClientError):  # it does not listen yet
                return len(await self.query("up == 1")) == len(targets)
            return False

        await until(seen)


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes: Prometheus tells nobody when it has scraped."""
    async with asyncio.timeout(PATIENCE):
        while not await what():  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.2)
