"""A ledger: what clients were promised, and what arrived, message by message, while relays come and go.

`Ledger.clients` submits without end and notes each 250; `Ledger.sink` notes each arrival. A message is known by its
subject. A client that is cut off does not know: its message may arrive or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from mailboat.cli.sink import SinkMail, serve
from mailboat.config.settings import Endpoint

LARGE = 300_000
"""Octets of a body that goes to a file of the spool."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One copy of a message, for one domain."""

    life: int
    """Which relay brought it: they are numbered."""
    at: float
    """Monotonic seconds."""


@dataclass
class Ledger:
    """The books."""

    host: str = "127.0.0.1"
    """Where clients submit."""
    pace: float = 0.01
    """Seconds between two connections of a client."""
    life: int = 0
    promised: dict[str, set[str]] = field(default_factory=dict)
    """Domains by subject, of what was answered 250."""
    refused: int = 0
    """Messages that got an answer other than 250."""
    refused_for_good: int = 0
    """Those of them with an answer that tells a client not to try again."""
    last_refusal: str = ""
    arrivals: dict[tuple[str, str], list[Arrival]] = field(default_factory=dict)
    """By subject and domain."""
    ends: dict[int, float] = field(default_factory=dict)
    """When each relay was killed."""
    damaged: list[str] = field(default_factory=list)
    """Subjects whose text was not what was sent."""
    _count: int = 0

    def missing(self) -> set[tuple[str, str]]:
        """What was promised and has not arrived."""
        return {(subject, domain) for subject, domains in self.promised.items() for domain in domains} - set(
            self.arrivals
        )

    def duplicates(self) -> list[list[Arrival]]:
        """The arrivals of what came more than once."""
        return [arrivals for arrivals in self.arrivals.values() if len(arrivals) > 1]

    def kill(self) -> None:
        """The relay is being killed now."""
        self.ends[self.life] = time.monotonic()

    # Arrivals.

    @contextlib.asynccontextmanager
    async def sink(self, port: int = 0) -> AsyncIterator[int]:
        """Take everything and note it; gives the port."""
        server = await serve(Endpoint("127.0.0.1", port), self._arrived)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    def _arrived(self, mail: SinkMail) -> None:
        header, _, text = mail.body.partition(b"\r\n\r\n")
        subject = header.rpartition(b"Subject: ")[2].partition(b"\r\n")[0].decode()
        if text != text_of(subject):
            self.damaged.append(subject)
        domain = mail.recipients[0].rpartition("@")[2]
        self.arrivals.setdefault((subject, domain), []).append(Arrival(self.life, time.monotonic()))

    # Promises.

    async def clients(self, port: int, count: int) -> None:
        """So many clients at once, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._client(port))

    async def _client(self, port: int) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, Closed):
                await self._session(port)
            await asyncio.sleep(self.pace)

    async def _session(self, port: int) -> None:
        reader, writer = await asyncio.open_connection(self.host, port)
        try:
            await answer(reader)
            await say(reader, writer, b"EHLO client.test\r\n")
            for _ in range(10):
                await self._message(reader, writer)
        finally:
            writer.transport.abort()

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        number = self._count
        subject = f"{number}{'-large' if number % 17 == 0 else ''}"
        domains = {f"d{number % 7}.test", *(["dead.test"] if number % 5 == 0 else [])}
        envelope = b"MAIL FROM:<alice@sender.test>\r\n" + b"".join(b"RCPT TO:<u@%b>\r\n" % d.encode() for d in domains)
        writer.write(envelope + b"DATA\r\n")
        replies = [await answer(reader) for _ in range(len(domains) + 2)]
        if replies[-1][:3] == "354":
            replies.append(
                await say(reader, writer, b"Subject: %b\r\n\r\n" % subject.encode() + text_of(subject) + b".\r\n")
            )
        if replies[-1][:3] == "250":
            self.promised[subject] = domains
        else:
            self.refused += 1
            self.last_refusal = next(reply for reply in replies if reply[0] in "45")
            self.refused_for_good += self.last_refusal[0] == "5"
            await say(reader, writer, b"RSET\r\n")


class Closed(Exception):  # noqa: N818 - it is no error
    """The relay says goodbye."""


async def answer(reader: asyncio.StreamReader) -> str:
    """The last line of a reply."""
    while True:
        line = await reader.readuntil(b"\n")
        if line.startswith(b"421"):
            raise Closed
        if line[3:4] != b"-":
            return line.decode().rstrip()


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, octets: bytes) -> str:
    """Send and hear."""
    writer.write(octets)
    await writer.drain()
    return await answer(reader)


def text_of(subject: str) -> bytes:
    """The text that belongs to a subject, so that a mix-up shows."""
    line = f"this is {subject}\r\n".encode()
    return line * (LARGE // len(line) if subject.endswith("large") else 20)
