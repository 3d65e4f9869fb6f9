"""What waits is counted by domain, tenant and source, in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.stores import draft

from mailboat.model.envelope import State
from mailboat.model.observer import Observer
from mailboat.queue import tallies
from mailboat.queue.opening import open_spool
from mailboat.queue.spool import Spool
from mailboat.queue.store import AttemptRecord, Selection, Verb
from mailboat.queue.tallies import Count, Tally

NOW = 1_000_000.0


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = await open_spool(tmp_path, 0, FixedClock(NOW), Observer())
    yield spool
    await spool.close()


async def counted(count: Count, spool: Spool) -> list[Tally]:
    return [tally async for found in count(spool, NOW) for tally in found]


def waiting(found: Sequence[Tally]) -> dict[str, tuple[int, int]]:
    """Entries that wait and are due, by name."""
    sums: dict[str, tuple[int, int]] = {}
    for tally in found:
        before = sums.get(tally.name, (0, 0))
        sums[tally.name] = before[0] + tally.waiting, before[1] + tally.due
    return sums


async def test_a_domain_has_what_is_due_and_what_is_deferred_but_not_what_is_held(spool: Spool) -> None:
    [first] = await spool.accept(draft("u@a.test"))
    await spool.accept(draft("v@a.test"))
    await spool.accept(draft("w@b.test"))
    await spool.record(first, AttemptRecord(replace(first, next_attempt=NOW + 60, state=State.DEFERRED)))
    await spool.change(Verb.HOLD, Selection(domain="b.test"))
    found = await counted(tallies.by_domain, spool)
    assert waiting(found) == {"a.test": (2, 1)}
    assert {(tally.next_attempt, str(tally.sender)) for tally in found} == {
        (NOW, "alice@sender.test"),
        (NOW + 60, "alice@sender.test"),
    }
    assert [entry.id for entry in await tallies.entries(spool, [first.key])] == [first.id]


async def test_all_domains_are_found_whatever_pieces_they_come_in(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "PIECE", 3)
    for n in range(10):
        entries = await spool.accept(draft(f"u@d{n}.test", f"u@e{n % 4}.test"))
        if n % 2:
            for entry in entries:
                later = replace(entry, next_attempt=NOW + 60, state=State.DEFERRED)
                await spool.record(entry, AttemptRecord(later))
    found = waiting(await counted(tallies.by_domain, spool))
    assert sum(count for count, _ in found.values()) == 20
    assert found["d1.test"] == (1, 0)
    assert found["e0.test"] == (3, 3)
    assert found["e1.test"] == (3, 0)


async def test_tenants_and_chosen_sources_are_counted(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "WINDOW", 2)
    await spool.accept(draft("u@a.test", tenant="shop"))
    await spool.accept(draft("u@b.test", notes={"outbound_ip": "192.0.2.7"}))
    await spool.accept(draft("u@c.test", notes={"other": 1}))
    assert waiting(await counted(tallies.by_tenant, spool)) == {"shop": (1, 1), "default": (2, 2)}
    assert waiting(await counted(tallies.by_source, spool)) == {"192.0.2.7": (1, 1), "default": (2, 2)}
