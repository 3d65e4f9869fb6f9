"""The collector of tlsrpt-reporter takes the relay's datagrams, and has its counts (`tlsrpt.ini` `socket`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import programs
from tests.support.relay_process import running
from tests.support.sts_domain import MX1, NAME, StsDomain

pytestmark = pytest.mark.interop

PROGRAMS = Path(__file__).resolve().parents[2] / ".venv" / "tlsrpt-reporter" / "bin"


@dataclass
class Collector:
    """A running tlsrpt-collectd; its day is over when the test says so."""

    directory: Path
    process: asyncio.subprocess.Process

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, directory: Path) -> AsyncIterator[Collector]:
        """Run until the block ends."""
        storage, socket = f"sqlite://{directory}/collectd.db", directory / "collectd.sock"
        options = ("--storage", storage, "--socketname", socket, "--max_uncommited_datagrams", "1")
        process = await asyncio.create_subprocess_exec(
            programs.find(str(PROGRAMS / "tlsrpt-collectd")),
            *map(str, options),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self = cls(directory, process)
        try:
            await until(socket.exists)
            yield self
        finally:
            await programs.stop(process)

    def taken(self) -> int:
        """Datagrams that are stored."""
        with contextlib.closing(sqlite3.connect(f"file:{self.directory}/collectd.db?mode=ro", uri=True)) as db:
            (count,) = db.execute("SELECT coalesce(sum(cntrtotal), 0) FROM finalresults").fetchone()
        return int(count)

    async def reported(self, domain: str) -> dict[str, Any]:
        """What its fetcher has for the report on a domain, once the day is over: policies by the domain's record."""
        self.process.send_signal(signal.SIGUSR2)
        day = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        storage = ("--storage", f"sqlite://{self.directory}/collectd.db", "--log_level", "critical")
        async with asyncio.timeout(programs.PATIENCE):
            while True:
                done = await programs.run(programs.find(str(PROGRAMS / "tlsrpt-fetcher")), *storage, day, domain)
                with contextlib.suppress(ValueError):
                    if policies := json.loads(done.output)["policies"]:
                        return dict(policies)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another program does."""
    async with asyncio.timeout(programs.PATIENCE):
        while not condition():  # noqa: ASYNC110 - no event comes from another program
            await asyncio.sleep(0.05)


async def test_the_collector_has_the_relays_counts(tmp_path: Path) -> None:
    record = "v=TLSRPTv1; rua=mailto:tls@reports.test"
    async with Collector.start(tmp_path) as collector, StsDomain.start() as domain:
        domain.dns.zone.add(f"_smtp._tls.{NAME}", "TXT", f'"{record}"')
        domain.publish(f"*.{NAME}", mode="testing")
        config = domain.config(tmp_path / "config", outbound=("connection_idle_timeout=0",))
        config.put("tlsrpt.ini", f"[main]\nsocket={collector.directory}/collectd.sock\n")
        for context, mails in ((None, 3), (domain.authority.context(f"other.{NAME}"), 1)):
            if context is not None:
                domain.mx1.extensions.remove("STARTTLS")
                domain.mx1.starttls(context)
            async with running(config) as relay:
                for number in range(1, mails + 1):
                    await relay.submit(f"bob@{NAME}")
                    await relay.event("delivered", number)
                assert await relay.stop() == 0, "what it has counted is sent by then"
        await until(lambda: collector.taken() == 4)
        policies = (await collector.reported(NAME))[record]
    ((policy, counts),) = policies.items()
    assert json.loads(policy) == {
        "policy-type": 2,
        "policy-string": ["version: STSv1", "mode: testing", f"mx: *.{NAME}", "max_age: 86400"],
        "policy-domain": NAME,
        "mx-host": [f"*.{NAME}"],
    }
    assert (counts["cntrtotal"], counts["cntrfailure"]) == (4, 1)
    ((failure, count),) = counts["failures"].items()
    assert count == 1
    details = json.loads(failure)
    assert (details["c"], details["n"], details["r"]) == (202, MX1, "127.0.0.2")
