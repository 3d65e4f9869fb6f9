"""Mail over HTTP: both forms of a message, every fault named, and who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.fake_control import FakeControl
from tests.support.stores import address

from mailboat.admin import messages_api
from mailboat.admin.server import AdminServer
from mailboat.config.settings import Endpoint, HttpSettings
from mailboat.model.address import NULL_SENDER
from mailboat.queue.store import StorageError, StorageFull
from mailboat.submission.request import RefusalKind, RefusedError, SubmissionRequest

TEXT = "From: alice@sender.test\nSubject: hi\n\nGood day.\n"
RAW = {"Content-Type": "message/rfc822"}
JSON = {"from": "alice@sender.test", "to": ["bob@there.test"], "content": TEXT}


async def post(client: aiohttp.ClientSession, query: str = "", **request: Any) -> tuple[int, dict[str, Any]]:
    async with client.post(f"/v1/messages{query}", **request) as answer:
        if answer.status == 202:
            assert answer.headers["Location"].startswith("/v1/queue/L-")
            return answer.status, await answer.json()
        problem = await answer.json(content_type="application/problem+json")
        assert problem["status"] == answer.status
        return answer.status, problem


async def refused(client: aiohttp.ClientSession, query: str = "", **request: Any) -> tuple[int, str]:
    status, problem = await post(client, query, **request)
    return status, problem["detail"]


async def test_a_message_in_json_is_queued_and_answered_with_its_id(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    more = {"notes": {"campaign": 7}, "remove_msgid": True, "remove_date": True, "dot_stuffed": True}
    assert await post(client, json=JSON) == (202, {"id": "L-1"})
    assert await post(client, json={**JSON, "from": "<>", "to": "bob@there.test", **more}) == (202, {"id": "L-2"})
    bob = (address("bob@there.test"),)
    assert control.submitted == [
        (SubmissionRequest(address("alice@sender.test"), bob), TEXT.encode()),
        (
            SubmissionRequest(NULL_SENDER, bob, {"campaign": 7}, dot_stuffed=True, remove_msgid=True, remove_date=True),
            TEXT.encode(),
        ),
    ]


async def test_a_message_as_it_is_streams_through(client: aiohttp.ClientSession, control: FakeControl) -> None:
    """Far larger than any JSON body may be, octets of any value."""
    piece = bytes(range(256)) * 256

    async def body() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield piece

    query = "?from=alice%40sender.test&to=bob@there.test&to=%3Ccarol@there.test%3E&remove_date=true&dot_stuffed=false"
    assert await post(client, query, data=body(), headers=RAW) == (202, {"id": "L-1"})
    [(letter, octets)] = control.submitted
    assert octets == piece * 200
    assert letter == SubmissionRequest(
        address("alice@sender.test"), (address("bob@there.test"), address("carol@there.test")), remove_date=True
    )


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"from": "nobody"}, "from: Malformed from: nobody"),
        ({"from": None}, "from: Malformed from: None"),
        ({"to": []}, "to: No recipients for email"),
        ({"to": ["bob"]}, "to: Malformed to address (bob): Address needs a local part and a domain"),
        ({"content": 7}, "content: must be a string, the whole message with its header"),
        ({"notes": [1]}, "notes: not a mapping"),
        ({"remove_date": "yes"}, "remove_date: must be true or false"),
        (
            {"subject": "x"},
            "subject: unknown; known: content, dot_stuffed, from, notes, remove_date, remove_msgid, requiretls, to",
        ),
        ({"from": "a@", "to": "", "content": None}, "from: Malformed from: a@; to: No recipients for email; content: "),
    ],
)
async def test_every_fault_of_a_request_is_named(
    client: aiohttp.ClientSession, control: FakeControl, change: dict[str, Any], detail: str
) -> None:
    status, said = await refused(client, json={**JSON, **change})
    assert (status, said[: len(detail)]) == (400, detail)
    assert control.submitted == []


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("", "from: Malformed from: None; to: No recipients for email"),
        ("?from=a@b.test", "to: No recipients for email"),
        ("?from=a@b.test&from=c@d.test&to=e@f.test", "from: given twice"),
        ("?from=a@b.test&to=e@f.test&notes=1", "notes: unknown; known: "),
        ("?from=a@b.test&to=e@f.test&remove_date=1", "remove_date: must be true or false"),
    ],
)
async def test_every_fault_of_a_query_is_named(
    client: aiohttp.ClientSession, control: FakeControl, query: str, detail: str
) -> None:
    status, said = await refused(client, query, data=TEXT, headers=RAW)
    assert (status, said[: len(detail)]) == (400, detail)
    assert control.submitted == []


async def test_bodies_that_are_no_message_are_refused(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_json = {"Content-Type": "application/json"}
    assert (await refused(client, data=b"{", headers=as_json))[0] == 400
    assert await refused(client, data=b"[]", headers=as_json) == (400, "the body must be a JSON object")
    assert await refused(client, "?from=x", json=JSON) == (400, "from: belongs in the JSON body")
    status, said = await refused(client, data=b"x", headers={"Content-Type": "text/plain"})
    assert (status, said) == (415, "Content-Type: text/plain is neither application/json nor message/rfc822")
    monkeypatch.setattr(messages_api, "MAX_JSON", 1000)
    status, said = await refused(client, json={**JSON, "content": "x" * 1000})
    assert status == 413
    assert "message/rfc822" in said


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (
            RefusedError("the message is larger than 10 octets", RefusalKind.TOO_BIG),
            413,
            "content: the message is larger",
        ),
        (RefusedError("a line is longer than 10 octets"), 400, "content: a line is longer"),
        (RefusedError("possible mail loop", RefusalKind.LOOP), 400, "content: possible mail loop"),
        (RefusedError("not from here", RefusalKind.HOOK), 403, "content: not from here"),
        (StorageError("the disk is gone"), 503, "storage: the disk is gone"),
        (StorageFull("no space"), 503, "storage: no space"),
    ],
)
async def test_what_the_relay_refuses_while_it_is_written_has_a_status_of_its_own(
    client: aiohttp.ClientSession, control: FakeControl, error: Exception, status: int, detail: str
) -> None:
    control.refusal = error
    for request in ({"json": JSON}, {"data": TEXT, "headers": RAW, "query": "?from=a@b.test&to=c@d.test"}):
        got, said = await refused(client, **request)
        assert (got, said[: len(detail)]) == (status, detail)
    assert control.abandoned == 2
    assert control.submitted == []


async def test_a_client_that_goes_in_the_middle_leaves_nothing(control: FakeControl) -> None:
    server = AdminServer(control, HttpSettings(listen=(Endpoint("127.0.0.1", 0),)))
    await server.start()
    where = server.endpoints[0]
    _, writer = await asyncio.open_connection(where.host, where.port)
    head = f"POST /v1/messages?from=a@b.test&to=c@d.test HTTP/1.1\r\nHost: {where}\r\nContent-Type: message/rfc822\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\nSubject: ".encode())
    await writer.drain()
    writer.close()
    async with asyncio.timeout(20):
        while not control.abandoned:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    assert control.submitted == []
    await server.close()


async def test_a_body_that_comes_too_slowly_is_given_up(
    client: aiohttp.ClientSession, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages_api, "_IDLE_SECONDS", 0.05)
    done = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"Subject: "
        await done.wait()

    query = "?from=a@b.test&to=c@d.test"
    status, said = await refused(client, query, data=body(), headers=RAW)
    done.set()
    assert (status, said) == (408, "the body arrives too slowly")
    assert (control.submitted, control.abandoned) == ([], 1)


async def test_elsewhere_than_on_loopback_the_token_is_asked_for(control: FakeControl, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame\n")
    server = AdminServer(control, HttpSettings(listen=(Endpoint("0.0.0.0", 0),), token_file=str(token)))
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.endpoints[0].port}") as session:
        assert (await post(session, json=JSON))[0] == 401
        assert (await post(session, json=JSON, headers={"Authorization": "Bearer sesam"}))[0] == 401
        assert (await post(session, json=JSON, headers={"Authorization": "Bearer sesame"}))[0] == 202
    await server.close()


async def test_a_web_page_on_this_machine_may_not(client: aiohttp.ClientSession, control: FakeControl) -> None:
    assert (await post(client, json=JSON, headers={"Origin": "https://evil.test"}))[0] == 403
    assert control.submitted == []
