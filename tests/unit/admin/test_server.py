"""Probes, metrics and configz over a real socket, and a port that stays up whatever is done to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.support.facts import T0
from tests.support.fake_control import FakeControl

from mailboat.admin.control import Check, ConfigStatus, Control, Probe
from mailboat.admin.server import AdminServer
from mailboat.config.settings import Endpoint, HttpSettings
from mailboat.queue.store import StorageError

LOOPBACK = HttpSettings(listen=(Endpoint("127.0.0.1", 0),))


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
async def server(control: FakeControl) -> AsyncIterator[AdminServer]:
    one = AdminServer(control, LOOPBACK)
    await one.start()
    yield one
    await one.close()


@pytest.fixture
async def client(server: AdminServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{server.endpoints[0]}") as session:
        yield session


def accept(control: Control) -> Control:
    """For the type checker: the fake is a Control."""
    return control


@pytest.mark.parametrize("kind", Probe)
async def test_a_probe_is_200_with_a_line_a_check(
    kind: Probe, client: aiohttp.ClientSession, control: FakeControl
) -> None:
    accept(control)
    control.health[kind] = [Check("listeners", ok=True), Check("storage", ok=True)]
    async with client.get(f"/{kind}") as answer:
        assert answer.status == 200
        assert await answer.text() == f"[+] listeners ok\n[+] storage ok\n{kind} ok\n"


async def test_a_probe_is_503_when_one_check_fails_and_says_why_on_one_line(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    control.health[Probe.READYZ] = [Check("storage", ok=False, detail="No space\nleft"), Check("listeners", ok=True)]
    async with client.get("/readyz") as answer:
        assert answer.status == 503
        assert await answer.text() == "[-] storage failed: No space left\n[+] listeners ok\nreadyz failed\n"
    async with client.get("/livez") as other:
        assert other.status == 200


async def test_a_probe_that_breaks_is_no_success_and_shows_no_traceback(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    control.fault = RuntimeError("inner secret")
    async with client.get("/livez") as answer:
        assert answer.status == 500
        assert answer.content_type == "application/problem+json"
        assert "secret" not in await answer.text()


async def test_metrics_are_the_relays_in_the_text_format(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await answer.read() == b"mailboat_received_messages_total 1.0\n"


async def test_metrics_that_do_not_come_in_time_are_504(client: aiohttp.ClientSession, control: FakeControl) -> None:
    control.fault = TimeoutError()
    async with client.get("/metrics") as answer:
        assert (answer.status, (await answer.json(content_type=None))["status"]) == (504, 504)


@pytest.mark.parametrize("error", [None, "outbound.ini:3: [main] disabled: not a boolean"])
async def test_configz_says_what_runs_and_why_nothing_newer_does(
    error: str | None, client: aiohttp.ClientSession, control: FakeControl
) -> None:
    control.config = ConfigStatus("sha256:cd", T0, error, ("a worker", "no address"), ("no address",), "available")
    async with client.get("/configz") as answer:
        assert await answer.json() == {
            "hash": "sha256:cd",
            "loaded_at": "2023-11-14T22:13:20.000Z",
            "error": error,
            "warnings": ["a worker", "no address"],
            "unbound": ["no address"],
            "dane": "available",
        }


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/livez", 405)])
async def test_what_is_not_there_is_a_problem_too(
    method: str, path: str, status: int, client: aiohttp.ClientSession
) -> None:
    async with client.request(method, path) as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["status"]) == (status, status)
        assert set(problem) == {"type", "title", "status", "detail"}


async def test_storage_trouble_is_503_and_says_when_to_come_back(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    control.fault = StorageError("disk I/O error")
    async with client.get("/v1/queue") as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["detail"]) == (503, "storage: disk I/O error")
        assert "Retry-After" in answer.headers


@pytest.mark.parametrize(("token_file", "level"), [("", "INFO"), ("missing", "WARNING")])
async def test_a_token_file_that_is_named_and_cannot_be_read_is_warned_of(
    control: FakeControl, caplog: pytest.LogCaptureFixture, token_file: str, level: str
) -> None:
    caplog.set_level(logging.INFO)
    server = AdminServer(control, HttpSettings(listen=(Endpoint("0.0.0.0", 0),), token_file=token_file))
    await server.start()
    await server.close()
    assert [each.levelname for each in caplog.records if "no usable token_file" in each.message] == [level]


async def test_several_addresses_answer(control: FakeControl) -> None:
    listen = (Endpoint("127.0.0.1", 0), Endpoint("localhost", 0))
    server = AdminServer(control, HttpSettings(listen=listen))
    await server.start()
    assert len(server.endpoints) >= 2
    for endpoint in server.endpoints:
        async with aiohttp.ClientSession(f"http://{endpoint}") as session, session.get("/livez") as answer:
            assert answer.status == 200
    await server.close()


async def test_an_address_in_use_is_named_and_nothing_stays_open(server: AdminServer, control: FakeControl) -> None:
    taken = server.endpoints[0]
    second = AdminServer(control, HttpSettings(listen=(Endpoint("127.0.0.1", 0), taken)))
    with pytest.raises(OSError, match=f"admin listener {taken}"):
        await second.start()
    assert second.endpoints == ()


async def raw(server: AdminServer, request: bytes) -> bytes:
    """Send octets, read until the server closes or has answered."""
    reader, writer = await asyncio.open_connection(server.endpoints[0].host, server.endpoints[0].port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read(65536)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00\xff\x16\x03\x01 garbage\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(5000)) + b"\r\n",
        b"POST /v1/queue/flush HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["garbage", "long line", "long header", "many headers", "negative length"],
)
async def test_nonsense_is_refused_and_the_next_probe_answers(
    request_: bytes, server: AdminServer, client: aiohttp.ClientSession
) -> None:
    assert (await raw(server, request_)).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    async with client.get("/livez") as answer:
        assert answer.status == 200


async def test_a_body_beyond_the_limit_is_413(client: aiohttp.ClientSession, control: FakeControl) -> None:
    async with client.post("/v1/queue/flush", data=b" " * 300_000) as answer:
        assert answer.status == 413
        assert answer.content_type == "application/problem+json"
    assert not control.selections


async def test_a_flood_of_silent_connections_does_not_shut_out_a_probe(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailboat.admin.server._MAX_CONNECTIONS", 8)
    endpoint = server.endpoints[0]
    silent = [await asyncio.open_connection(endpoint.host, endpoint.port) for _ in range(20)]
    assert (await raw(server, b"GET /livez HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200")
    # The oldest went; the newest silent one is still there.
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await silent[0][0].read() == b""
    silent[-1][1].write(b"GET /livez HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await silent[-1][0].read(100)).startswith(b"HTTP/1.0 200")
    for _, writer in silent:
        writer.close()


async def test_a_client_that_never_finishes_its_head_is_closed(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailboat.admin.server._IDLE_SECONDS", 0.05)
    server = AdminServer(control, LOOPBACK)
    await server.start()
    assert await raw(server, b"GET /livez HTTP/1.1\r\nX: ") == b""
    await server.close()


async def test_a_body_that_never_comes_is_408(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailboat.admin.queue_api._BODY_SECONDS", 0.05)
    head = b"POST /v1/queue/flush HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    assert (await raw(server, head)).startswith(b"HTTP/1.1 408")


async def test_a_probe_that_hangs_is_503(
    client: aiohttp.ClientSession, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailboat.admin.server._PROBE_SECONDS", 0.05)

    async def never(_: Probe) -> list[Check]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(control, "checks", never)
    async with client.get("/livez") as answer:
        assert answer.status == 503
        assert "[-] answer failed: none within 0.05 s" in await answer.text()
