"""The bench's generator sends each mail once, and says so when the relay refuses one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from bench import generator
from bench.fault import BenchError


class Server:
    """Takes mail, pipelined or not; `refuse` is a recipient that it does not want."""

    def __init__(self, refuse: str = "") -> None:
        self.recipients: list[str] = []
        self.talks: set[asyncio.Task[None] | None] = set()
        self._refuse = refuse

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.add(asyncio.current_task())
        writer.write(b"220 server\r\n")
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while line := (await reader.readuntil(b"\r\n")).decode().strip():
                verb = line[:4]
                if verb == "EHLO":
                    writer.write(b"250-server\r\n250 PIPELINING\r\n")
                elif verb == "DATA":
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 taken\r\n")
                elif verb == "RCPT":
                    self.recipients.append(line[9:-1])
                    writer.write(b"550 no\r\n" if line[9:-1] == self._refuse else b"250 ok\r\n")
                elif verb == "QUIT":
                    break
                else:
                    writer.write(b"250 ok\r\n")
        writer.close()


@contextlib.asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    listener = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]
        await asyncio.gather(*filter(None, server.talks))


async def test_each_recipient_gets_one_mail_whatever_the_number_of_sessions() -> None:
    server, recipients = Server(), [f"r@d{number}.test" for number in range(50)]
    async with listening(server) as port:
        assert await generator.send(port, iter(recipients), sessions=7, size=4096) == 50
    assert sorted(server.recipients) == sorted(recipients)


async def test_more_sessions_than_mails_are_no_trouble() -> None:
    server = Server()
    async with listening(server) as port:
        assert await generator.send(port, iter(["r@d.test"]), sessions=4, size=100) == 1


async def test_a_refused_mail_ends_the_run_with_the_words_of_the_relay() -> None:
    async with listening(Server(refuse="bad@d.test")) as port:
        with pytest.raises(BenchError, match="550 no"):
            await generator.send(port, iter(["ok@d.test", "bad@d.test"]), sessions=1, size=100)
