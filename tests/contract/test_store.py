"""The contract of `queue.store.Store`, held by each implementation: SQLite, several SQLite databases, and the fake."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.memory_store import MemoryStore
from tests.support.stores import BODY, Listener, address, draft, until

from mailboat.model.address import Address
from mailboat.model.envelope import Draft, Entry, EntryKey, Owed, Recipient, SpooledBody, State, StoredNotes
from mailboat.model.observer import Observer
from mailboat.model.outcome import Outcome, ReportAction, Result, Stage
from mailboat.model.reply import Reply
from mailboat.queue.opening import open_spool, open_store
from mailboat.queue.spool import Spool
from mailboat.queue.spool_set import SpoolSet
from mailboat.queue.store import AttemptRecord, Selection, StorageError, Store, Verb

START = 1_000_000.0
EVERYTHING = Selection()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture(params=["spool", "set", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> AsyncIterator[Store]:
    opened: Store
    if request.param == "memory":
        opened = MemoryStore(clock)
    elif request.param == "spool":
        opened = await open_store(str(tmp_path / "queue"), 0, 1, clock, Observer())
        assert isinstance(opened, Spool)
    else:
        opened = await _spool_set(tmp_path / "queue", clock)
    yield opened
    await opened.close()


async def _spool_set(directory: Path, clock: FixedClock) -> Store:
    """A worker with an adopted database that holds one message, which no test touches: it is held."""
    spare = await open_spool(directory, 1, clock, Observer())
    await spare.accept(draft("kept@spare.test", sender="spare@spare.test"))
    await spare.change(Verb.HOLD, EVERYTHING)
    await spare.close()
    spools = await open_store(str(directory), 0, 1, clock, Observer())
    assert isinstance(spools, SpoolSet)
    return spools


def _ours(entries: Sequence[Entry]) -> list[Entry]:
    """Without the message that the spools begins with."""
    return [entry for entry in entries if entry.domain != "spare.test"]


async def _accept(store: Store, message: Draft | None = None) -> Entry:
    (entry,) = await store.accept(message or draft())
    return entry


def _octets(body: SpooledBody) -> bytes:
    return Path(body.path).read_bytes()


def _deferred(entry: Entry, until: float) -> AttemptRecord:
    return AttemptRecord(
        replace(
            entry,
            attempts=entry.attempts + 1,
            next_attempt=until,
            state=State.DEFERRED,
            last_reply="450 4.2.0 later",
            last_mx="mx.there.test",
        )
    )


# Accepting.


async def test_parameters_of_mail_and_rcpt_tenant_and_labels_are_stored_with_the_message(store: Store) -> None:
    accepted = draft(
        *("bob@there.test", "eve@there.test"),
        parameters={"BODY": "8BITMIME", "ENVID": "QQ314159"},
        recipient_parameters={address("eve@there.test").normalised: {"NOTIFY": "NEVER", "FLAG": ""}},
        tenant="shop",
        labels=("news", "weekly"),
    )
    entry = await _accept(store, accepted)
    assert await store.due(START, 10) == [entry]
    (read,) = await store.get(entry.id)
    assert [recipient.parameters for recipient in read.recipients] == [{}, {"NOTIFY": "NEVER", "FLAG": ""}]
    message = read.message
    assert (message.parameters, message.tenant, message.labels) == (
        *({"BODY": "8BITMIME", "ENVID": "QQ314159"}, "shop"),
        ("news", "weekly"),
    )
    # A recipient keeps its own when another one is done.
    await store.record(entry, _deferred(replace(entry, recipients=entry.recipients[1:]), START + 60))
    (read,) = await store.get(entry.id)
    assert [recipient.parameters for recipient in read.recipients] == [{"NOTIFY": "NEVER", "FLAG": ""}]


async def test_an_accepted_message_is_queued_due_and_readable(store: Store) -> None:
    entry = await _accept(
        store,
        draft(
            "bob@There.test",
            parameters={"BODY": "8BITMIME", "SMTPUTF8": ""},
            force_tls=True,
            notes={"a": [1]},
            tls_required_no=True,
        ),
    )
    assert entry.state is State.ACTIVE
    assert entry.next_attempt == entry.message.queued_at == START
    assert (entry.domain, entry.attempts, entry.message.size) == ("there.test", 0, len(BODY))
    assert entry.id == f"{entry.message.id}.1"
    assert await store.due(START, 10) == [entry]
    assert await store.get(entry.id) == [entry]
    assert await store.get(entry.message.id) == [entry]
    assert await store.body(entry) == BODY


async def test_recipients_are_grouped_by_domain_with_ids_unique_within_the_message(store: Store) -> None:
    entries = await store.accept(draft("a@one.test", "b@two.test", "c@one.test"))
    assert [entry.domain for entry in entries] == ["one.test", "two.test"]
    assert [[str(r.address) for r in entry.recipients] for entry in entries] == [
        ["a@one.test", "c@one.test"],
        ["b@two.test"],
    ]
    ids = [recipient.id for entry in entries for recipient in entry.recipients]
    assert len(set(ids)) == 3
    assert [entry.id for entry in entries] == [f"{entries[0].message.id}.{n}" for n in (1, 2)]
    assert await store.get(entries[0].message.id) == list(entries)
    assert await store.get(entries[1].id) == [entries[1]]


async def test_groups_of_the_draft_make_one_entry_each(store: Store) -> None:
    people = [address("a@one.test"), address("b@one.test")]
    entries = await store.accept(draft(groups=[("one.test", [person]) for person in people]))
    assert [[r.address for r in entry.recipients] for entry in entries] == [[person] for person in people]


async def test_a_reserved_id_names_the_message(store: Store) -> None:
    first, second = store.reserve_id(), store.reserve_id()
    assert first != second
    entry = await _accept(store, draft(id=second))
    assert entry.message.id == second
    assert await store.get(second) == [entry]
    assert await store.get(first) == []


async def test_ids_are_read_in_any_case(store: Store) -> None:
    entry = await _accept(store)
    assert await store.get(entry.id.lower()) == [entry]
    assert await store.change(Verb.HOLD, Selection(ids=[entry.id.lower()])) == 1


async def test_an_id_used_twice_refuses_the_second_message_only(store: Store) -> None:
    name = store.reserve_id()
    futures = [store.accept(draft(id=name)), store.accept(draft(id=name)), store.accept(draft())]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [isinstance(result, StorageError) for result in results] == [False, True, False]


@pytest.mark.parametrize(
    "id_", ["", "x", "ABC", "MEM0RY-", "MEM0RY-ZZZZZZZZZZZZ", "MEM0RY-1.0", "MEM0RY-1.²", "\0", "ÄÄÄÄÄÄ-1"]
)
async def test_what_is_no_id_names_nothing(store: Store, id_: str) -> None:
    await _accept(store)
    assert await store.get(id_) == []


@pytest.mark.parametrize("message", [draft(groups=[("x.test", [])]), Draft(address("a@b.test"), [], BODY)])
async def test_a_draft_without_recipients_is_a_mistake_of_the_caller(store: Store, message: Draft) -> None:
    with pytest.raises(ValueError, match="recipient"):
        store.accept(message)


async def test_the_null_sender_and_strange_addresses_come_back_as_they_were(store: Store) -> None:
    strange = Address('"a@b \\" c"', "Bücher.Example", "xn--bcher-kva.example")
    entry = await _accept(store, Draft(address(""), [strange, Address("postmaster", "", "")], BODY, [("d", [strange])]))
    (again,) = await store.get(entry.id)
    assert again == entry
    assert again.message.sender.is_null
    assert again.recipients[0].address == strange


async def test_a_body_comes_back_octet_for_octet(store: Store) -> None:
    body = bytes(range(256)) * 50
    entry = await _accept(store, draft(body=body))
    assert await store.body(entry) == body
    await store.record(entry, _deferred(entry, START + 60))
    assert await store.body(entry) == body


async def test_a_body_in_a_file_is_taken_over_and_removed_when_done(store: Store) -> None:
    path, descriptor = store.new_body_file()
    os.write(descriptor, BODY)
    os.close(descriptor)
    entry = await _accept(store, draft(body=SpooledBody(path, len(BODY))))
    assert entry.message.size == len(BODY)
    kept = await store.body(entry)
    assert isinstance(kept, SpooledBody)
    assert kept.size == len(BODY)
    assert _octets(kept) == BODY
    await store.record(entry, AttemptRecord(None))
    await until(lambda: not Path(kept.path).exists())


async def test_the_listener_hears_of_new_entries_after_the_commit(store: Store) -> None:
    listener = Listener()
    store.subscribe(listener)
    future = store.accept(draft("a@one.test", "b@two.test"))
    assert listener.entries == []
    entries = await future
    await asyncio.wait_for(listener.heard.wait(), 5)
    assert listener.entries == list(entries)


async def test_a_caller_that_gave_up_does_not_undo_the_message(store: Store) -> None:
    listener = Listener()
    store.subscribe(listener)
    store.accept(draft()).cancel()
    await asyncio.wait_for(listener.heard.wait(), 5)
    assert _ours(await store.due(START, 10)) == listener.entries


# Settling.


async def test_a_settled_message_is_gone(store: Store) -> None:
    entry = await _accept(store)
    await store.record(entry, AttemptRecord(None))
    assert await store.get(entry.id) == []
    assert await store.due(START, 10) == []
    with pytest.raises(StorageError):
        await store.body(entry)


async def test_the_body_stays_until_the_last_entry_is_settled(store: Store) -> None:
    first, second = await store.accept(draft("a@one.test", "b@two.test"))
    await store.record(first, AttemptRecord(None))
    assert await store.body(second) == BODY
    await store.record(second, AttemptRecord(None))
    with pytest.raises(StorageError):
        await store.body(second)


async def test_a_deferred_entry_waits_with_what_is_left_of_it(store: Store) -> None:
    (entry,) = await store.accept(draft("a@one.test", "b@one.test"))
    left = replace(entry, recipients=entry.recipients[1:])
    settlement = _deferred(left, START + 64)
    await store.record(entry, settlement)
    assert await store.get(entry.id) == [settlement.remaining]
    assert await store.due(START + 63.9, 10) == []
    assert await store.due(START + 64, 10) == [settlement.remaining]


async def test_what_hooks_noted_goes_on_with_the_entry_and_with_no_other_of_its_message(store: Store) -> None:
    first, second = await store.accept(draft("a@one.test", "b@two.test", notes={"pool": "blue"}))
    noted = StoredNotes({"seen": 1}, {"pool": "green", "list": [None, "é"]}, force_tls=True)
    await store.record(first, AttemptRecord(replace(first, noted=noted, state=State.DEFERRED, next_attempt=START + 5)))
    (again,) = await store.get(first.id)
    assert again.noted == noted
    assert (again.todo_notes, again.force_tls) == ({"pool": "green", "list": [None, "é"]}, True)
    (untouched,) = await store.get(second.id)
    assert (untouched.noted, untouched.todo_notes, untouched.force_tls) == (None, {"pool": "blue"}, False)


async def test_that_a_delay_was_reported_is_kept_with_the_entry(store: Store) -> None:
    (entry,) = await store.accept(draft())
    told = replace(entry, state=State.DEFERRED, next_attempt=START + 64, delay_reported=True)
    await store.record(entry, AttemptRecord(told))
    assert await store.due(START + 64, 10) == [told]


async def test_an_entry_whose_report_alone_is_owed_stays_due_and_keeps_its_message(store: Store) -> None:
    (entry,) = await store.accept(draft())
    (to,) = entry.recipients
    outcome = Outcome(to.id, Result.DELIVERED, "2.0.0", Stage.DOT, "250 ok", Reply(250, "ok"), "mx.test")
    owed = (Owed(to, outcome, ReportAction.RELAYED, START),)
    left = replace(entry, recipients=(), owed=owed, state=State.DEFERRED, next_attempt=START + 64)
    await store.record(entry, AttemptRecord(left))
    assert await store.due(START + 64, 10) == [left]
    assert await store.body(left) == draft().body
    await store.record(left, AttemptRecord(None))
    assert await store.due(START + 64, 10) == []


async def test_a_bounce_is_queued_with_the_outcome_and_announced(store: Store) -> None:
    entry = await _accept(store)
    listener = Listener()
    store.subscribe(listener)
    bounce = draft("alice@sender.test", sender="", body=b"Subject: sorry\r\n\r\n", id=store.reserve_id())
    await store.record(entry, AttemptRecord(None, bounce))
    (queued,) = listener.entries
    assert queued.message.id == bounce.id
    assert await store.due(START, 10) == [queued]
    assert await store.body(queued) == b"Subject: sorry\r\n\r\n"


async def test_settling_twice_changes_and_bounces_once(store: Store) -> None:
    entry = await _accept(store)
    bounce = draft("alice@sender.test", sender="")
    await asyncio.gather(*(store.record(entry, AttemptRecord(None, bounce)) for _ in range(3)))
    await store.record(entry, _deferred(entry, START + 5))
    (queued,) = _ours((await store.page(EVERYTHING, 10)).entries)
    assert queued.message.sender.is_null


async def test_an_entry_deleted_meanwhile_stays_deleted_and_tells_nobody(store: Store) -> None:
    entry = await _accept(store)
    assert await store.change(Verb.DELETE, Selection(ids=[entry.id])) == 1
    await store.record(entry, _deferred(entry, START + 5))
    await store.record(entry, AttemptRecord(None, draft("alice@sender.test", sender="")))
    assert _ours((await store.page(EVERYTHING, 10)).entries) == []


async def test_an_entry_held_meanwhile_stays_held_with_the_new_facts(store: Store) -> None:
    entry = await _accept(store)
    assert await store.change(Verb.HOLD, Selection(ids=[entry.id])) == 1
    await store.record(entry, _deferred(entry, START + 5))
    (kept,) = await store.get(entry.id)
    assert (kept.state, kept.next_attempt, kept.attempts) == (State.HELD, None, 1)
    assert kept.last_reply == "450 4.2.0 later"
    assert await store.due(START + 100, 10) == []
    await store.record(entry, AttemptRecord(None))
    assert await store.get(entry.id) == []


# What is due.


async def test_due_is_ordered_by_time_then_key_and_can_be_continued(store: Store) -> None:
    times = [30, 10, 20, 10, 10, 30, 5]
    for delay in times:
        entry = await _accept(store)
        await store.record(entry, _deferred(entry, START + delay))
    expected = await store.due(START + 30, 100)
    order = [(e.next_attempt, e.key.row) for e in expected]
    assert order == sorted(order)
    assert [e.next_attempt for e in expected] == sorted(START + delay for delay in times)
    seen: list[Entry] = []
    after: tuple[float, EntryKey] | None = None
    while batch := await store.due(START + 30, 2, after):
        assert len(batch) <= 2
        seen += batch
        after = (batch[-1].next_attempt or 0.0, batch[-1].key)
    assert seen == expected
    assert [e.next_attempt for e in await store.due(START + 10, 100)] == [START + t for t in (5, 10, 10, 10)]


async def test_due_in_gives_one_domain_only(store: Store) -> None:
    await store.accept(draft("a@one.test", "b@two.test"))
    await store.accept(draft("c@two.test"))
    assert [e.domain for e in await store.due_in("two.test", START, 10)] == ["two.test", "two.test"]
    assert len(await store.due_in("two.test", START, 1)) == 1
    assert await store.due_in("two.test", START - 1, 10) == []
    assert await store.due_in("nowhere.test", START, 10) == []


async def test_next_due_is_the_first_time_after_now(store: Store) -> None:
    assert await store.next_due(0) is None
    for delay in (50, 20):
        entry = await _accept(store)
        await store.record(entry, _deferred(entry, START + delay))
    assert await store.next_due(START) == START + 20
    assert await store.next_due(START + 20) == START + 50
    assert await store.next_due(START + 50) is None


async def test_waits_are_brought_forward_and_the_listener_is_woken(store: Store, clock: FixedClock) -> None:
    listener = Listener()
    store.subscribe(listener)
    long, short, held = [await _accept(store, draft(f"u{n}@there.test")) for n in range(3)]
    for entry, wait in ((long, 4000.0), (short, 50.0), (held, 4000.0)):
        waiting = replace(entry, attempts=2, state=State.DEFERRED, next_attempt=START + wait)
        await store.record(entry, AttemptRecord(waiting))
    await store.change(Verb.HOLD, Selection(ids=[held.id]))
    asked: list[tuple[int, float]] = []

    def earlier(attempts: int, next_attempt: float) -> float | None:
        asked.append((attempts, next_attempt))
        return START + 100.0

    woken = listener.wakes
    assert await store.bring_forward(START + 60.0, earlier) == 1
    assert asked == [(2, START + 4000.0)]
    assert listener.wakes > woken
    assert [entry.id for entry in _ours(await store.due(START + 100.0, 10))] == [short.id, long.id]
    assert await store.bring_forward(START + 60.0, lambda *_: None) == 0


async def test_an_active_entry_that_the_clock_has_made_wait_is_due_now(store: Store, clock: FixedClock) -> None:
    entry = await _accept(store, draft())
    clock.advance(-3600.0)
    assert _ours(await store.due(clock.now(), 10)) == []
    assert await store.bring_forward(clock.now(), lambda *_: None) == 1
    assert [found.id for found in _ours(await store.due(clock.now(), 10))] == [entry.id]


# Operators.


async def test_pages_follow_each_other_through_the_whole_queue(store: Store) -> None:
    expected = [await _accept(store, draft(f"u{n}@there.test")) for n in range(7)]
    seen: list[Entry] = []
    after: str | None = None
    while True:
        page = await store.page(EVERYTHING, 3, after)
        assert len(page.entries) <= 3
        seen += page.entries
        if page.next is None:
            break
        after = page.next
    assert _ours(seen) == expected


@pytest.mark.parametrize("after", ["", "x", "0:", "0:x", "0:²", "99999999999:1", "0:99999999999999999999999", "7"])
async def test_a_place_that_no_page_gave_is_refused(store: Store, after: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        await store.page(EVERYTHING, 3, after)


async def test_a_selection_is_what_all_its_fields_allow(store: Store) -> None:
    one = await _accept(store, draft("a@one.test", sender="x@Sender.test"))
    two = await _accept(store, draft("a@two.test", sender="x@sender.test"))
    null = await _accept(store, draft("a@one.test", sender=""))
    await store.record(two, _deferred(two, START + 60))

    async def found(selection: Selection) -> list[str]:
        return [e.id for e in _ours((await store.page(selection, 10)).entries)]

    assert await found(Selection(domain="ONE.test")) == [one.id, null.id]
    assert await found(Selection(sender="x@SENDER.test")) == [one.id, two.id]
    assert await found(Selection(sender="<x@sender.test>", domain="two.test")) == [two.id]
    assert await found(Selection(sender="X@sender.test")) == []
    assert await found(Selection(sender="<>")) == [null.id]
    assert await found(Selection(state=State.DEFERRED)) == [two.id]
    assert await found(Selection(ids=[one.message.id, two.id, "nonsense"])) == [one.id, two.id]
    assert await found(Selection(ids=[one.id, two.id], state=State.ACTIVE)) == [one.id]
    assert await found(Selection(domain="' OR 1=1 --")) == []


async def test_a_selection_is_of_a_tenant_and_of_a_label(store: Store) -> None:
    shop = await _accept(store, draft("a@one.test", tenant="shop", labels=("news", "weekly")))
    other = await _accept(store, draft("a@two.test", labels=("weekly",)))

    async def found(selection: Selection) -> list[str]:
        return [e.id for e in _ours((await store.page(selection, 10)).entries)]

    assert await found(Selection(tenant="shop")) == [shop.id]
    assert await found(Selection(tenant="default")) == [other.id]
    assert await found(Selection(tenant="Shop")) == []
    assert await found(Selection(label="weekly")) == [shop.id, other.id]
    assert await found(Selection(label="news", tenant="shop")) == [shop.id]
    assert await found(Selection(label="week")) == []
    assert await found(Selection(ids=[shop.id, other.id], label="news")) == [shop.id]
    assert await found(Selection(ids=[shop.id, other.id], tenant="default")) == [other.id]


async def test_held_entries_are_not_due_until_released(store: Store, clock: FixedClock) -> None:
    entry = await _accept(store)
    listener = Listener()
    store.subscribe(listener)
    assert await store.change(Verb.HOLD, Selection(domain="there.test")) == 1
    assert await store.change(Verb.HOLD, Selection(domain="there.test")) == 0
    assert listener.gone == [entry.key]
    assert await store.due(START + 1000, 10) == []
    assert await store.next_due(0) is None
    clock.advance(30)
    assert await store.change(Verb.RELEASE, Selection(domain="there.test")) == 1
    assert listener.wakes == 1
    (again,) = await store.due(START + 30, 10)
    assert again == replace(entry, next_attempt=START + 30)


async def test_flush_makes_deferred_entries_due_and_no_others(store: Store, clock: FixedClock) -> None:
    deferred, fresh, held = [await _accept(store) for _ in range(3)]
    await store.record(deferred, _deferred(deferred, START + 1e6))
    await store.change(Verb.HOLD, Selection(ids=[held.id]))
    listener = Listener()
    store.subscribe(listener)
    clock.advance(10)
    assert await store.change(Verb.FLUSH, EVERYTHING) == 1
    assert listener.wakes == 1
    due = await store.due(START + 10, 10)
    assert [(e.id, e.next_attempt) for e in due] == [(fresh.id, START), (deferred.id, START + 10)]
    assert due[1].attempts == 1
    assert await store.change(Verb.FLUSH, Selection(domain="nowhere.test")) == 0
    assert listener.wakes == 1


@pytest.mark.parametrize("verb", Verb)
async def test_a_verb_changes_what_it_touches_and_nothing_else(verb: Verb, store: Store, clock: FixedClock) -> None:
    active, deferred, held = [await _accept(store) for _ in range(3)]
    await store.record(deferred, _deferred(deferred, START + 1e6))
    await store.change(Verb.HOLD, Selection(ids=[held.id]))
    before = {entry.id: (await store.get(entry.id))[0] for entry in (active, deferred, held)}
    clock.advance(10)
    assert await store.change(verb, Selection(ids=[*before])) == len(verb.touches)
    for entry in before.values():
        after = await store.get(entry.id)
        if entry.state not in verb.touches:
            assert after == [entry]
        elif verb.result is None:
            assert after == []
        else:
            due = START + 10 if verb.result is State.ACTIVE else None
            assert after == [replace(entry, state=verb.result, next_attempt=due)]


async def test_delete_removes_entries_and_their_last_one_the_body(store: Store) -> None:
    first, second = await store.accept(draft("a@one.test", "b@two.test"))
    listener = Listener()
    store.subscribe(listener)
    assert await store.change(Verb.DELETE, Selection(domain="one.test")) == 1
    assert listener.gone == [first.key]
    assert await store.body(second) == BODY
    assert await store.change(Verb.DELETE, Selection(ids=[first.message.id])) == 1
    with pytest.raises(StorageError):
        await store.body(second)
    assert await store.change(Verb.DELETE, Selection(ids=[first.message.id])) == 0


# Health.


async def test_stats_count_entries_octets_and_the_oldest_of_each_state(store: Store, clock: FixedClock) -> None:
    before = store.stats()[State.HELD].messages
    first = await _accept(store)
    clock.advance(5)
    second, third = await store.accept(draft("a@one.test", "b@two.test"))
    await store.record(second, _deferred(second, START + 60))
    stats = store.stats()
    assert (stats[State.ACTIVE].messages, stats[State.ACTIVE].size) == (2, 2 * len(BODY))
    assert (stats[State.ACTIVE].oldest, stats[State.DEFERRED].oldest) == (START, START + 5)
    assert stats[State.DEFERRED].messages == 1
    await store.change(Verb.HOLD, Selection(ids=[first.id]))
    stats = store.stats()
    assert (stats[State.ACTIVE].oldest, stats[State.HELD].oldest) == (START + 5, START)
    assert stats[State.HELD].messages == before + 1
    for entry in (first, second, third):
        await store.record(entry, AttemptRecord(None))
    stats = store.stats()
    assert [stats[state].messages for state in (State.ACTIVE, State.DEFERRED)] == [0, 0]
    assert [stats[state].oldest for state in (State.ACTIVE, State.DEFERRED)] == [None, None]
    assert stats[State.HELD].messages == before


async def test_a_healthy_store_has_no_fault_and_no_pressure(store: Store) -> None:
    await store.probe()
    assert (store.fault, store.stalled, store.pressure) == ("", False, 0.0)


async def test_a_closed_store_refuses_and_closes_twice(store: Store) -> None:
    entry = await _accept(store)
    await store.close()
    await store.close()
    with pytest.raises(StorageError):
        await store.accept(draft())
    with pytest.raises(StorageError):
        await store.record(entry, AttemptRecord(None))


async def test_many_at_once_all_come_through(store: Store) -> None:
    """Concurrent callers share commits; each gets its own message, and stats end where they began."""

    async def one(n: int) -> None:
        body = b"%d\r\n" % n
        (entry,) = await store.accept(draft(f"u{n}@d{n % 7}.test", body=body))
        assert entry.recipients == (Recipient(entry.recipients[0].id, address(f"u{n}@d{n % 7}.test")),)
        assert await store.body(entry) == body
        if n % 3:
            await store.record(entry, AttemptRecord(None))

    await asyncio.gather(*(one(n) for n in range(300)))
    assert store.stats()[State.ACTIVE].messages == 100
    assert len(_ours((await store.page(EVERYTHING, 1000)).entries)) == 100
