"""Who may see and change the queue: anybody on this machine but no web page; elsewhere only the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from tests.support.facts import entry
from tests.support.fake_control import FakeControl

from mailboat.admin.auth import Guard, TokenFile, is_loopback
from mailboat.admin.listings import Listings
from mailboat.admin.server import build

TOKEN = "s3cret-Ünïcode"


@pytest.fixture
def control() -> FakeControl:
    return FakeControl([entry()])


@pytest.fixture
async def client(control: FakeControl, request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientSession]:
    """A listener as `request.param` says; the port itself is on loopback in any case."""
    runner = web.AppRunner(build(control, request.param, Listings()), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        yield session
    await runner.cleanup()


local = pytest.mark.parametrize("client", [Guard(loopback=True, token=lambda: "")], indirect=True, ids=["local"])
remote = pytest.mark.parametrize("client", [Guard(loopback=False, token=lambda: TOKEN)], indirect=True, ids=["remote"])
open_to_read = pytest.mark.parametrize(
    "client", [Guard(loopback=False, token=lambda: TOKEN, open_reads=True)], indirect=True, ids=["open to read"]
)
closed = pytest.mark.parametrize("client", [Guard(loopback=False, token=lambda: "")], indirect=True, ids=["closed"])


async def status(
    client: aiohttp.ClientSession, method: str = "POST", path: str = "/v1/queue/flush", **headers: str
) -> int:
    async with client.request(method, path, headers=headers) as answer:
        return answer.status


@local
async def test_on_loopback_no_token_is_needed(client: aiohttp.ClientSession) -> None:
    assert await status(client) == 200


@local
async def test_on_loopback_a_web_page_may_not_change_anything(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    assert await status(client, Origin="https://evil.example") == 403
    assert await status(client, Origin="null") == 403
    assert await status(client, "DELETE", "/v1/queue/ABCDE-0001.1", Origin="http://localhost:9025") == 403
    assert control.entries


@local
@pytest.mark.parametrize("host", ["evil.example:9025", "", "127.0.0.1.evil.example", "[::1", "192.0.2.1"])
async def test_on_loopback_a_rebound_name_sees_and_changes_nothing(host: str, client: aiohttp.ClientSession) -> None:
    assert await status(client, Host=host) == 421
    assert await status(client, "GET", "/v1/queue", Host=host) == 421


@local
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9025", "127.0.0.1:1", "[::1]:9025", "127.9.9.9"])
async def test_on_loopback_its_own_names_do(host: str, client: aiohttp.ClientSession) -> None:
    assert await status(client, Host=host) == 200


@local
async def test_probes_and_metrics_are_for_everybody_under_any_name(client: aiohttp.ClientSession) -> None:
    for path in ("/livez", "/readyz", "/startupz", "/metrics", "/configz"):
        assert await status(client, "GET", path, Host="pod.example") == 200


@remote
async def test_elsewhere_reads_and_changes_ask_for_the_token(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    for path in ("/v1/queue", "/v1/queue/ABCDE-0001.1"):
        assert await status(client, "GET", path, Host="relay.example") == 401
        assert await status(client, "HEAD", path, Host="relay.example") == 401
    assert await status(client, "GET", "/v1/queue", Authorization=f"Bearer {TOKEN}") == 200
    async with client.post("/v1/queue/flush") as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="mailboat"'
    assert await status(client, "DELETE", "/v1/queue/ABCDE-0001.1") == 401
    assert control.entries


@remote
async def test_elsewhere_probes_metrics_and_configz_stay_open(client: aiohttp.ClientSession) -> None:
    for path in ("/livez", "/readyz", "/startupz", "/metrics", "/configz"):
        assert await status(client, "GET", path, Host="pod.example") == 200


@open_to_read
async def test_read_without_token_keeps_reads_open_and_changes_closed(client: aiohttp.ClientSession) -> None:
    assert await status(client, "GET", "/v1/queue", Host="relay.example") == 200
    assert await status(client) == 401


@remote
@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer", "Basic czNjcmV0", "Bearer s3cret", f"Bearer {TOKEN}x"])
async def test_a_wrong_token_is_401(given: str, client: aiohttp.ClientSession) -> None:
    assert await status(client, Authorization=given) == 401


@remote
@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN} "])
async def test_the_token_lets_in(given: str, client: aiohttp.ClientSession) -> None:
    assert await status(client, Authorization=given) == 200


@closed
async def test_without_a_token_file_nobody_sees_or_changes_anything_from_elsewhere(
    client: aiohttp.ClientSession,
) -> None:
    assert await status(client, "GET", "/v1/queue") == 403
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
        assert await status(client, **headers) == 403


def test_a_rotated_token_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = TokenFile(str(path))
    assert token() == ""
    path.write_text("one\n")
    assert token() == "one"
    path.write_text("two")
    assert token() == "two"
    path.write_bytes(b"\xff\xfe")
    assert token() == ""
    assert TokenFile("")() == ""


@pytest.mark.parametrize("host", ["localhost", "localhost.", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_names_of_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "fe80::1%lo", "localhost.evil.example", "127.1"])
def test_names_that_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
