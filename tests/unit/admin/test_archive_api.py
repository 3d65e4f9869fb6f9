"""Archives over HTTP: what is said in which order, and what becomes of an export whose client is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.support.fake_control import FakeControl
from tests.support.stores import until

from mailboat.admin.server import AdminServer
from mailboat.config.settings import Endpoint, HttpSettings
from mailboat.queue.archive import DamagedArchiveError
from mailboat.queue.store import Batch, Selection, Step, StorageError

ID = "0123456789abcdef" * 2
BATCH = Batch(ID, f"/tmp/.x.{ID}.partial")
FIRST = json.dumps({"id": BATCH.id, "partial": BATCH.partial, "domain": "One.test"}).encode()


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
async def port(control: FakeControl) -> AsyncIterator[int]:
    server = AdminServer(control, HttpSettings(listen=(Endpoint("127.0.0.1", 0),)))
    await server.start()
    yield server.endpoints[0].port
    await server.close()


class Client:
    """One that has begun to export."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def begin(cls, port: int, first: bytes = FIRST) -> Client:
        self = cls(*await asyncio.open_connection("127.0.0.1", port))
        self.writer.write(b"POST /v1/queue/export HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.say(first)
        return self

    def say(self, line: bytes) -> None:
        self.writer.write(b"%x\r\n%s\n\r\n" % (len(line) + 1, line))

    async def until(self, text: bytes) -> bytes:
        return await self.reader.readuntil(text)

    async def rest(self) -> bytes:
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""
        finally:
            self.writer.close()


async def test_an_export_goes_step_by_step(control: FakeControl, port: int) -> None:
    client = await Client.begin(port)
    assert (await client.until(b"\r\n")).startswith(b"HTTP/1.1 200")
    await client.until(ID.encode())
    assert control.steps == [(Step.BEGIN, BATCH, Selection(domain="one.test"))]
    client.say(b"seal")
    await client.until(b"\0\0\0\6sealed")
    client.say(b"remove")
    await client.until(b'{"count":1}')
    assert [step for step, _, _ in control.steps] == [Step.BEGIN, Step.SEAL, Step.REMOVE]
    client.writer.close()


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_client_that_goes_has_its_export_resolved_at_once(
    control: FakeControl, port: int, sealed: bool
) -> None:
    client = await Client.begin(port)
    await client.until(ID.encode())
    if sealed:
        client.say(b"seal")
        await client.until(b"sealed")
    client.writer.transport.abort()
    await until(lambda: control.steps[-1][:2] == (Step.RESOLVE, BATCH))


async def test_a_client_that_goes_is_noticed_while_attempts_are_waited_for(
    control: FakeControl, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Step] = []

    async def export(step: Step, batch: Batch, selection: Selection | None = None) -> int:
        steps.append(step)
        if step is Step.BEGIN:
            await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(control, "export", export)
    client = await Client.begin(port)
    await until(lambda: steps == [Step.BEGIN])
    client.writer.transport.abort()
    await until(lambda: steps == [Step.BEGIN, Step.RESOLVE])


@pytest.mark.parametrize("line", [b"keep", b"remove", b"begin", b"", b"seal seal", b"x" * 10])
async def test_what_is_said_out_of_order_ends_the_export(control: FakeControl, port: int, line: bytes) -> None:
    client = await Client.begin(port)
    await client.until(ID.encode())
    client.say(line)
    assert b"sealed" not in await client.rest()
    assert [step for step, _, _ in control.steps] == [Step.BEGIN, Step.RESOLVE]


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"[]",
        b"{}",
        json.dumps({"id": "x", "partial": "/tmp/.x.x.partial"}).encode(),
        json.dumps({"id": ID, "partial": "/etc/passwd"}).encode(),
        json.dumps({"id": ID, "partial": BATCH.partial, "domian": "x"}).encode(),
    ],
)
async def test_a_first_line_that_is_wrong_is_a_problem_and_nothing_is_begun(
    control: FakeControl, port: int, first: bytes
) -> None:
    client = await Client.begin(port, first)
    assert (await client.until(b"\r\n")).startswith(b"HTTP/1.1 400")
    assert control.steps == []
    client.writer.close()


async def test_an_import_whose_client_goes_in_the_middle_takes_nothing(control: FakeControl, port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/queue/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-tar\r\n")
    writer.write(b"Content-Length: 1000\r\n\r\nhalf")
    await until(lambda: control.receiving)
    writer.transport.abort()
    await until(lambda: not control.receiving)
    assert control.received == b""


@pytest.mark.parametrize(
    ("fault", "status"), [(None, 200), (DamagedArchiveError("cut short"), 422), (StorageError("full"), 503)]
)
async def test_an_import_says_how_many_or_why_not(
    control: FakeControl, port: int, fault: Exception | None, status: int
) -> None:
    control.fault = fault
    url = f"http://127.0.0.1:{port}/v1/queue/import"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=b"octets" * 100_000, headers={"Content-Type": "application/x-tar"}) as answer:
            assert answer.status == status
            said = await answer.json()
        async with session.post(url, data=b"x", headers={"Content-Type": "text/plain"}) as answer:
            assert answer.status == 415
    assert control.received == b"octets" * 100_000
    assert said == {"count": 3} if fault is None else str(fault) in said["detail"]
