"""The queue over HTTP: listing, one entry, changes, and requests that are wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from tests.support.facts import T0, entry, message
from tests.support.fake_control import FakeControl

from mailboat.admin.control import entry_to_json
from mailboat.model.address import NULL_SENDER
from mailboat.model.envelope import Entry, Message, State
from mailboat.queue.store import Selection

OF_SHOP = replace(message("M-3", sender="carol@example.org"), tenant="shop", labels=("news",))
QUEUE = [
    entry(["a@one.example"], row=1, of=message("M-1")),
    entry(["b@two.example", "c@two.example"], row=2, of=message("M-2"), state=State.DEFERRED, attempts=2),
    entry(["d@one.example"], row=3, of=OF_SHOP, state=State.HELD, next_attempt=None),
]


@pytest.fixture
def control() -> FakeControl:
    return FakeControl(QUEUE)


async def get(client: aiohttp.ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def refused(client: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else None
    async with client.request(method, path, data=data, json=None if data is not None else body) as answer:
        problem = await answer.json(content_type="application/problem+json")
        assert problem["status"] == answer.status
        return answer.status, problem["detail"]


def ids(page: dict[str, Any]) -> list[str]:
    return [shown["id"] for shown in page["messages"]]


def test_an_entry_is_shown_as_the_interface_says() -> None:
    assert entry_to_json(QUEUE[1]) == {
        "id": "M-2.1",
        "state": "deferred",
        "sender": "alice@example.org",
        "domain": "two.example",
        "recipients": ["b@two.example", "c@two.example"],
        "size": 4096,
        "attempts": 2,
        "queued_at": "2023-11-14T22:13:20.000Z",
        "next_attempt_at": "2023-11-14T22:13:20.000Z",
        "last_reply": "",
        "last_mx": "",
        "held_reason": None,
        "held_by": None,
        "held_until": None,
        "origin": None,
        "tenant": "default",
        "labels": [],
    }


def test_a_held_bounce_has_no_next_attempt_and_an_empty_sender() -> None:
    bounce = entry(of=Message("B-1", NULL_SENDER, 1, T0), state=State.HELD, next_attempt=None)
    shown = entry_to_json(bounce)
    assert (shown["sender"], shown["next_attempt_at"]) == ("", None)


async def test_the_list_is_everything(client: aiohttp.ClientSession) -> None:
    page = await get(client, "/v1/queue")
    assert page == {"messages": [entry_to_json(one) for one in QUEUE], "next": None}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=held", ["M-3.1"]),
        ("domain=ONE.example.", ["M-1.1", "M-3.1"]),
        ("sender=carol@example.org", ["M-3.1"]),
        ("domain=one.example&state=active", ["M-1.1"]),
        ("tenant=shop", ["M-3.1"]),
        ("tenant=default", ["M-1.1", "M-2.1"]),
        ("label=news", ["M-3.1"]),
        ("label=news&tenant=default", []),
        ("state=&domain=&sender=&tenant=&label=&limit=&after=", ["M-1.1", "M-2.1", "M-3.1"]),
        ("domain=three.example", []),
    ],
)
async def test_the_list_can_be_restricted(query: str, expected: list[str], client: aiohttp.ClientSession) -> None:
    assert ids(await get(client, f"/v1/queue?{query}")) == expected


async def test_an_idn_is_found_by_its_a_labels(client: aiohttp.ClientSession, control: FakeControl) -> None:
    async with client.get("/v1/queue", params={"domain": "Bücher.example"}) as answer:
        assert answer.status == 200
    assert control.selections[-1].domain == "xn--bcher-kva.example"


async def test_pages_follow_each_other(client: aiohttp.ClientSession) -> None:
    first = await get(client, "/v1/queue?limit=2")
    assert (ids(first), first["next"]) == (["M-1.1", "M-2.1"], "2")
    last = await get(client, f"/v1/queue?limit=2&after={first['next']}")
    assert (ids(last), last["next"]) == (["M-3.1"], None)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("state=sleeping", "state: must be one of active, deferred, held"),
        ("limit=0", "limit: must be a number from 1 to 1000"),
        ("limit=1001", "limit: must be a number from 1 to 1000"),
        ("limit=%D9%A3", "limit: must be a number from 1 to 1000"),
        ("limit=" + "9" * 5000, "limit: must be a number from 1 to 1000"),
        ("domian=one.example", "domian: unknown parameter; known: after, domain, label, limit, sender, state, tenant"),
        ("domain=a&domain=b", "domain: given twice"),
        ("after=nonsense", "after: not a number"),
        ("domain=%C2%B7.example", "domain: not a domain name or address literal"),
        ("domain=a..b", "domain: not a domain name or address literal"),
    ],
)
async def test_a_wrong_parameter_is_named(query: str, detail: str, client: aiohttp.ClientSession) -> None:
    status, said = await refused(client, "GET", f"/v1/queue?{query}")
    assert status == 400
    assert said.startswith(detail)


async def test_one_entry_is_m_and_a_message_id_lists_its_entries(client: aiohttp.ClientSession) -> None:
    assert await get(client, "/v1/queue/M-2.1") == entry_to_json(QUEUE[1])
    assert await get(client, "/v1/queue/M-2") == {"messages": [entry_to_json(QUEUE[1])], "next": None}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_id_is_404(method: str, client: aiohttp.ClientSession) -> None:
    status, detail = await refused(client, method, "/v1/queue/M-9.1")
    assert (status, detail) == (404, "no message M-9.1 in the queue; delivered ones leave it")


async def test_delete_takes_one_out(client: aiohttp.ClientSession, control: FakeControl) -> None:
    async with client.delete("/v1/queue/M-1.1") as answer:
        assert await answer.json() == {"count": 1}
    assert list(control.entries) == ["M-2.1", "M-3.1"]


@pytest.mark.parametrize(
    ("verb", "body", "count"),
    [
        ("hold", {"domain": "one.example"}, 1),
        ("hold", {"ids": ["M-1.1", "M-2"]}, 2),
        ("release", {"sender": "carol@example.org"}, 1),
        ("release", {"state": "held"}, 1),
        ("flush", {}, 1),
        ("flush", None, 1),
        ("flush", {"all": True}, 1),
        ("flush", {"domain": "one.example"}, 0),
        ("delete", {"ids": ["M-1.1"]}, 1),
        ("delete", {"all": True}, 3),
    ],
)
async def test_changes_say_how_many(verb: str, body: Any, count: int, client: aiohttp.ClientSession) -> None:
    async with (
        client.post(f"/v1/queue/{verb}", json=body) if body is not None else client.post(f"/v1/queue/{verb}") as answer
    ):
        assert await answer.json() == {"count": count}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"ids": []}, "ids: must be a list that is not empty"),
        ({"ids": "M-1.1"}, "ids: must be a list that is not empty"),
        ({"ids": [7]}, "id: not a queue id"),
        ({"ids": ["M" * 200]}, "id: not a queue id"),
        ({"ids": ["M"] * 10_001}, "ids: at most 10000 at once"),
        ({"domain": ""}, "domain: must be a string that is not empty"),
        ({"domain": None}, "domain: must be a string that is not empty"),
        ({"state": "gone"}, "state: must be one of active, deferred, held"),
        ({"all": False}, "all: must be true if it is given"),
        ({"all": True, "domain": "a"}, "all: contradicts the other keys"),
        ({"domian": "a"}, "domian: unknown key; known: all, domain, ids, label, sender, state, tenant"),
        ([], "the body must be a JSON object"),
        (b"{", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
    ],
)
async def test_a_wrong_body_changes_nothing(
    body: Any, detail: str, client: aiohttp.ClientSession, control: FakeControl
) -> None:
    """Least of all may an empty list or text mean everything."""
    status, said = await refused(client, "POST", "/v1/queue/delete", body)
    assert status == 400
    assert said.startswith(detail)
    assert not control.selections


async def test_deleting_everything_must_be_said(client: aiohttp.ClientSession, control: FakeControl) -> None:
    status, detail = await refused(client, "POST", "/v1/queue/delete", {})
    assert (status, "all" in detail) == (400, True)
    assert control.selections == []


async def test_an_address_that_is_no_utf8_is_shown_all_the_same(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    odd: Entry = entry(["caf\udce9@one.example"], of=message("M-4"))
    control.entries = {odd.id: odd}
    assert (await get(client, "/v1/queue"))["messages"][0]["recipients"] == ["caf?@one.example"]


async def test_the_selection_reaches_the_relay_as_it_was_meant(
    client: aiohttp.ClientSession, control: FakeControl
) -> None:
    async with client.post("/v1/queue/hold", json={"ids": ["M-1"], "state": "deferred"}) as answer:
        assert answer.status == 200
    assert control.selections == [Selection(ids=("M-1",), state=State.DEFERRED)]
