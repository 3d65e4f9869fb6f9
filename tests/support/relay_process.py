"""A whole relay as its own processes, the way people run it, and what tests ask of it.

`async with relay(directory, sink_port) as it:` starts `mailboat relay` on free loopback ports and waits until it takes
mail; every domain leads to the sink. What the relay says on stdout (`events`) and stderr (`log`) is kept and can be
waited for. Nothing here waits for time to pass, except where another process tells nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
from prometheus_client.parser import text_string_to_metric_families
from tools.ports import free_ports

COMMAND = str(Path(sys.executable).with_name("mailboat"))
PATIENCE = 60.0
"""Seconds after which a test that waits has failed."""


@dataclass
class RelayConfig:
    """A configuration directory whose every domain leads to one port of this machine."""

    directory: Path
    sink_port: int
    nodes: int = 0
    smtp: Sequence[str] = ()
    """Further lines of smtp.ini."""
    outbound: Sequence[str] = ()
    """Further lines of outbound.ini, its `[main]`."""
    smtp_port: int = 0
    admin_port: int = 0

    def __post_init__(self) -> None:
        self.smtp_port, self.admin_port = free_ports(2)
        self.directory.mkdir(exist_ok=True)
        self.write()

    def write(self) -> None:
        """Write the files anew."""
        files = {
            "me": ["relay.test"],
            "smtp.ini": [f"listen=127.0.0.1:{self.smtp_port}", f"nodes={self.nodes}", *self.smtp],
            "http.ini": [f"listen=127.0.0.1:{self.admin_port}"],
            "outbound.ini": ["local_mx_ok=true", *self.outbound, *self.route()],
        }
        for name, lines in files.items():
            self.put(name, "\n".join(lines) + "\n")

    def route(self) -> list[str]:
        """The section that leads to the sink."""
        return ["[route:sink]", "domains=*", f"hosts=127.0.0.1:{self.sink_port}"]

    def put(self, name: str, text: str) -> None:
        """Replace a file at once, as an editor should."""
        fresh = self.directory / f".{name.replace('/', '.')}.new"
        fresh.write_text(text)
        fresh.rename(self.directory / name)

    def outbound_is(self, *lines: str) -> None:
        """Replace the keys of outbound.ini."""
        self.put("outbound.ini", "\n".join(["local_mx_ok=true", *lines, *self.route()]) + "\n")


class Relay:
    """A relay that runs, or ran."""

    def __init__(self, config: RelayConfig, process: asyncio.subprocess.Process) -> None:
        self.config = config
        self.process = process
        self.events: list[dict[str, Any]] = []
        """The event log so far."""
        self.raw_lines: list[bytes] = []
        """The same, as octets."""
        self.log: list[str] = []
        """Stderr so far."""
        self._changed = asyncio.Condition()
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self._event)),
            asyncio.create_task(self._read(process.stderr, self._line)),
        ]

    async def _read(self, stream: asyncio.StreamReader | None, take: Callable[[bytes], None]) -> None:
        while stream is not None and (line := await stream.readline()):
            async with self._changed:
                take(line)
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    def _event(self, line: bytes) -> None:
        self.raw_lines.append(line)
        self.events.append(json.loads(line))

    def _line(self, line: bytes) -> None:
        self.log.append(line.decode("utf-8", "replace").rstrip())

    # What it says.

    async def until(self, what: Callable[[], object]) -> None:
        """Wait until something that it says makes `what()` true."""
        try:
            async with asyncio.timeout(PATIENCE), self._changed:
                await self._changed.wait_for(what)
        except TimeoutError:
            raise AssertionError("waited in vain; the relay's log:\n" + "\n".join(self.log[-40:])) from None

    async def logged(self, text: str, times: int = 1) -> None:
        """Wait for text on stderr."""
        await self.until(lambda: sum(text in line for line in self.log) >= times or self.is_over)
        assert sum(text in line for line in self.log) >= times, "\n".join([*self.log, f"{self.process}"])

    async def event(self, kind: str, count: int = 1, **facts: Any) -> list[dict[str, Any]]:
        """Wait for so many events of a kind."""

        def found() -> list[dict[str, Any]]:
            return [e for e in self.events if e["event"] == kind and facts.items() <= e.items()]

        await self.until(lambda: len(found()) >= count)
        return found()

    @property
    def is_over(self) -> bool:
        """Whether all it could say has been heard."""
        return all(reader.done() for reader in self._readers)

    # What it is asked.

    async def http(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        """Status and answer of the admin listener; JSON where it is."""
        url = f"http://127.0.0.1:{self.config.admin_port}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as answer:
            if "json" in answer.content_type:
                return answer.status, await answer.json()
            return answer.status, await answer.text()

    async def metrics(self) -> dict[str, float]:
        """Every sample by its name and labels: `name{label=value}`."""
        _, text = await self.http("/metrics")
        return {
            sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def queue(self, **query: str) -> list[dict[str, Any]]:
        """The queue, whole."""
        query.setdefault("limit", "1000")
        status, page = await self.http("/v1/queue?" + "&".join(f"{k}={v}" for k, v in query.items()))
        assert status == 200, page
        assert page["next"] is None
        return list(page["messages"])

    async def http_readyz(self) -> int:
        """The status of the readiness probe."""
        return (await self.http("/readyz"))[0]

    async def settled(self) -> None:
        """Wait until the queue is empty. Raises TimeoutError with what it holds."""
        ask = partial(self.http, "/v1/queue?limit=1")
        try:
            await self.poll(ask, lambda answer: answer[1] == {"messages": [], "next": None})
        except TimeoutError as error:
            raise TimeoutError("\n".join([f"not settled: {await ask()}", *list(self.log)[-20:]])) from error

    async def poll(self, ask: Callable[[], Any], good: Callable[[Any], object]) -> Any:
        """Ask until the answer is good: for what the relay tells nobody."""
        async with asyncio.timeout(PATIENCE):
            while not good(answer := await ask()):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.02)
        return answer

    async def submit(
        self, *recipients: str, sender: str = "alice@sender.test", body: bytes = b"Subject: hi\r\n\r\nGood day.\r\n"
    ) -> str:
        """Hand a message in; the queue id that the relay told."""
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=self.config.smtp_port, start_tls=False, timeout=PATIENCE)
        async with client:
            _, reply = await client.sendmail(sender, list(recipients or ("bob@there.test",)), body)
        return queue_id(reply)

    # How it ends.

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self) -> int:
        """Wait for its end, and for its last words."""
        async with asyncio.timeout(PATIENCE + 10):
            code = await self.process.wait()
            await asyncio.wait(self._readers)
        return code

    async def kill_all(self) -> None:
        """SIGKILL to every process of it at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.exit_code()

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


async def everybody_accepts(relay: Relay, databases: int) -> int:
    """Submit until every worker has taken mail; how many messages."""
    queue = relay.config.directory / "queue"
    count = 0
    while True:
        for n in range(8):
            await relay.submit(f"u{count + n}@d{n}.test")
        count += 8
        # The kernel shares connections out by their ports, so this is a matter of few rounds.
        status, _ = await relay.http("/readyz")
        assert status == 200
        tags = {entry["id"].partition("-")[0] for entry in await relay.queue()}
        if len(tags) == databases:
            assert len(list(queue.glob("queue-*.db"))) == databases
            return count


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its parent to take note of its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def queue_id(reply: str) -> str:
    """The id in the reply to a message."""
    return reply.rpartition("(")[2].rstrip(")")


async def launch(
    config: RelayConfig,
    *,
    environ: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    prefix: Sequence[str] = (),
) -> Relay:
    """Start a relay and wait for nothing. `prefix` is a command that runs it."""
    process = await asyncio.create_subprocess_exec(
        *(*prefix, COMMAND, "relay", "--config", str(config.directory), *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
        start_new_session=True,  # so that `kill_all` reaches the workers and nobody else
        limit=2**20,
    )
    return Relay(config, process)


@contextlib.asynccontextmanager
async def running(config: RelayConfig, **how: Any) -> AsyncIterator[Relay]:
    """A relay that takes mail; whatever is left of it at the end is killed."""
    it = await launch(config, **how)
    try:
        await it.logged("mail on ")
        yield it
    finally:
        await it.kill_all()


async def command(*words: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run `mailboat` with these words: exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environ or {})},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
