"""One relay made of several workers: sums, checks and pages, also while one of them is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from tests.support.stores import address
from tests.support.submission_requests import SubmissionBox
from tests.support.waiting import waiting_row

from mailboat.admin.control import BadCursorError, Check, ConfigStatus, EntryJson, Probe
from mailboat.app import control as control_module
from mailboat.app.control import RelayControl
from mailboat.app.destinations import merged
from mailboat.app.submissions import WorkerGoneError
from mailboat.metrics.recorder import Snapshot, Totals
from mailboat.model.waiting import GroupBy, SortBy, WaitingRow
from mailboat.queue.store import Selection, Verb
from mailboat.shaping.directive import Directive
from mailboat.submission.request import SubmissionRequest

NAME = "mailboat_received_messages_total"


class FakeWorker(SubmissionBox):
    """A worker with a queue of names."""

    def __init__(self, *ids: str, count: float = 0, loaded_at: float = 1.0, error: str | None = None) -> None:
        super().__init__()
        self.ids = list(ids)
        self.count = count
        self.status = ConfigStatus(f"sha256:{loaded_at:g}", loaded_at, error)
        self.changes: list[tuple[Verb, Selection]] = []
        self.gone = False
        self.answers = asyncio.Event()
        """Not set: it hangs."""
        self.answers.set()
        self.gauges: dict[str, dict[str, float]] = {}

    async def checks(self, kind: Probe) -> Sequence[Check]:
        if self.gone:
            raise WorkerGoneError("gone")
        return [Check("storage", ok=True)]

    async def configz(self) -> ConfigStatus:
        await self.answers.wait()
        if self.gone:
            raise WorkerGoneError("gone")
        return self.status

    async def report_tls(self, day: int | None) -> Sequence[dict[str, Any]]:
        return [{"day": day, "by": self.ids[0]}]

    async def destinations(self, by: GroupBy, sort: SortBy, most: int) -> Sequence[WaitingRow]:
        return [waiting_row(f"{by}.{sort}", most)]

    async def flush_sts(self, domain: str) -> int:
        return domain in self.ids

    async def snapshot(self) -> Snapshot:
        await self.answers.wait()
        if self.gone:
            raise WorkerGoneError("gone")
        return Snapshot(counters={NAME: {"": self.count}}, gauges=self.gauges, histograms={})

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        start = int(after or 0)
        found: list[EntryJson] = [{"id": name} for name in self.ids[start : start + limit]]
        return found, str(start + limit) if start + limit < len(self.ids) else None

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the interface says so
        return [{"id": id}] if id in self.ids else []

    async def change(self, verb: Verb, selection: Selection) -> int:
        self.changes.append((verb, selection))
        return len(self.ids)

    async def resume(self, why: str) -> int:
        return len(why)

    async def direct(self, directive: Directive) -> int:
        return len(self.ids)


def control(*workers: FakeWorker, expected: int = 2) -> RelayControl:
    return RelayControl({f"worker-{n}.{100 + n}": worker for n, worker in enumerate(workers)}, expected, Totals())


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_go_through_all_workers_and_show_each_entry_once(limit: int) -> None:
    it = control(FakeWorker("a", "b", "c"), FakeWorker(), FakeWorker("d", "e"), expected=3)
    found, after = [], None
    while True:
        entries, after = await it.queue_page(Selection(), limit, after)
        assert len(entries) <= limit
        found += [entry["id"] for entry in entries]
        if after is None:
            break
    assert found == ["a", "b", "c", "d", "e"]


async def test_what_waits_is_added_up_over_all_workers() -> None:
    first, second = FakeWorker(), FakeWorker()
    [row] = await control(first, second).destinations(GroupBy.DOMAIN, SortBy.OLDEST, 3)
    assert (row["destination"], row["waiting"]) == ("domain.oldest", 2 * (2 * 3 + 50))


def test_rows_of_one_destination_become_one_and_stay_in_order() -> None:
    first = [waiting_row("a.test", 3, oldest=5.0), waiting_row("b.test", 2, oldest=9.0)]
    second = [waiting_row("b.test", 2, oldest=1.0), waiting_row("c.test", 1, oldest=20.0)]
    first[1]["window"], second[0]["window"], second[0]["held_by"] = 2, 3, "window"
    rows = merged([first, second], GroupBy.DOMAIN, SortBy.WAITING)
    assert [(row["destination"], row["waiting"]) for row in rows] == [("b.test", 4), ("a.test", 3), ("c.test", 1)]
    assert (rows[0]["oldest"], rows[0]["window"], rows[0]["held_by"]) == (9.0, 5, "window")
    by_age = merged([first, second], GroupBy.DOMAIN, SortBy.OLDEST)
    assert [row["destination"] for row in by_age] == ["c.test", "b.test", "a.test"]


async def test_a_listing_goes_on_where_it_was_when_workers_were_started_again() -> None:
    first, second, third = FakeWorker("a", "b"), FakeWorker("c", "d"), FakeWorker("e")
    workers = {"worker-0.10": first, "worker-1.11": second, "worker-2.12": third}
    it = RelayControl(workers, 3, Totals())
    _, after = await it.queue_page(Selection(), 3, None)
    del workers["worker-0.10"], workers["worker-1.11"]
    with pytest.raises(WorkerGoneError, match="worker 1 is being restarted"):
        await it.queue_page(Selection(), 3, after)
    workers["worker-1.20"], workers["worker-0.21"] = second, first
    assert await it.queue_page(Selection(), 3, after) == ([{"id": "d"}, {"id": "e"}], None)
    del workers["worker-2.12"]
    assert await it.queue_page(Selection(), 3, after) == ([{"id": "d"}], None)


async def test_ten_workers_are_listed_in_the_order_of_their_numbers() -> None:
    it = control(*(FakeWorker(str(n)) for n in range(11)), expected=11)
    entries, after = await it.queue_page(Selection(), 3, "1:")
    assert ([entry["id"] for entry in entries], after) == (["1", "2", "3"], "4:")


async def test_a_page_of_many_workers_ends_with_its_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "PAGE_OCTETS", 2 * len(orjson.dumps([{"id": "a"}])))
    it = control(*(FakeWorker(name) for name in "abc"), expected=3)
    assert await it.queue_page(Selection(), 100, None) == ([{"id": "a"}, {"id": "b"}], "2:")


@pytest.mark.parametrize("after", ["", "x", ":", "²:", "-1:", "9999999:", "2:", "2:5"])
async def test_a_cursor_that_is_not_ours_is_said_to_be(after: str) -> None:
    with pytest.raises(BadCursorError):
        await control(FakeWorker("a")).queue_page(Selection(), 1, after)


async def test_every_verb_reaches_all_workers_and_counts_what_each_has_changed() -> None:
    first, second = FakeWorker("a", "b"), FakeWorker("c")
    it = control(first, second)
    selection = Selection(domain="one.test")
    assert [await it.change(verb, selection) for verb in Verb] == [3] * len(Verb)
    assert first.changes == second.changes == [(verb, selection) for verb in Verb]
    assert await it.queue_get("c") == [{"id": "c"}]


async def test_a_worker_that_is_away_makes_the_relay_unready_and_not_dead() -> None:
    it = control(FakeWorker())
    assert all(check.ok for check in await it.checks(Probe.LIVEZ))
    failed = [check for check in await it.checks(Probe.READYZ) if not check.ok]
    assert [check.detail for check in failed] == ["1 of 2 are up"]


async def test_a_worker_that_does_not_answer_fails_its_check_by_name() -> None:
    silent = FakeWorker()
    silent.gone = True
    (good, bad) = await control(FakeWorker(), silent).checks(Probe.LIVEZ)
    assert (good.name, good.ok) == ("worker-0.100 storage", True)
    assert (bad.name, bad.ok, bad.detail) == ("worker-1.101", False, "does not answer")


async def test_metrics_add_up_and_keep_what_a_silent_worker_said_last() -> None:
    first, second = FakeWorker(count=5), FakeWorker(count=7)
    it = control(first, second)
    assert f"{NAME} 12.0" in (await it.metrics()).decode()
    first.count, second.gone = 6, True
    assert f"{NAME} 13.0" in (await it.metrics()).decode()


async def test_a_worker_that_hangs_is_missing_and_the_others_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "ANSWER_TIMEOUT", 0.2)
    first, second = FakeWorker(count=5), FakeWorker(count=7)
    it = control(first, second)
    assert "mailboat_workers_missing 0.0" in (await it.metrics()).decode()
    first.count = 6
    second.answers.clear()
    text = (await it.metrics()).decode()
    assert "mailboat_workers_missing 1.0" in text
    assert "mailboat_ready 0.0" in text
    assert f"{NAME} 13.0" in text
    assert 'mailboat_config_info{hash="sha256:1"} 1.0' in text
    assert (await it.configz()).warnings == ("worker-1.101 does not answer",)
    first.answers.clear()
    text = (await it.metrics()).decode()
    assert "mailboat_workers_missing 2.0" in text
    assert "mailboat_config_info{" not in text


async def test_a_worker_that_dies_while_others_are_asked_is_counted_once() -> None:
    dying, slow = FakeWorker(count=5), FakeWorker(count=7)
    workers, totals = {"worker-0.100": dying, "worker-1.101": slow}, Totals()
    it = RelayControl(workers, 2, totals)
    assert f"{NAME} 12.0" in (await it.metrics()).decode()
    dying.count = 6
    dying.answers.clear()
    slow.answers.clear()
    scrape = asyncio.create_task(it.metrics())
    await asyncio.sleep(0)  # both are asked
    dying.answers.set()
    del workers["worker-0.100"]
    totals.gone("worker-0.100")
    slow.answers.set()
    assert f"{NAME} 12.0" in (await scrape).decode()
    workers["worker-0.102"] = FakeWorker(count=1)
    assert f"{NAME} 13.0" in (await it.metrics()).decode()


async def test_a_relay_whose_worker_is_away_is_not_ready() -> None:
    first, second = FakeWorker(), FakeWorker()
    first.gauges = second.gauges = {"mailboat_ready": {"": 1.0}}
    it = control(first, second)
    assert "mailboat_ready 1.0" in (await it.metrics()).decode()
    second.gone = True
    assert "mailboat_ready 0.0" in (await it.metrics()).decode()
    assert "mailboat_ready 0.0" in (await control(first).metrics()).decode()


async def test_while_workers_differ_the_one_that_is_still_to_go_is_shown_and_an_error_first() -> None:
    assert (await control(FakeWorker(loaded_at=2), FakeWorker(loaded_at=1)).configz()).hash == "sha256:1"
    failed = await control(FakeWorker(loaded_at=2, error="bad"), FakeWorker(loaded_at=1)).configz()
    assert failed.error == "bad"
    with pytest.raises(WorkerGoneError):
        await control().configz()


async def test_programs_messages_go_to_one_worker_after_the_other() -> None:
    request = SubmissionRequest(address("a@b.test"), (address("c@d.test"),))
    workers = {"worker-0": FakeWorker(), "worker-1": FakeWorker()}
    relay = RelayControl(workers, 2, Totals())
    for _ in range(4):
        await (await relay.begin(request)).commit()
    assert [len(worker.submitted) for worker in workers.values()] == [2, 2]
    with pytest.raises(WorkerGoneError):
        await RelayControl({}, 2, Totals()).begin(request)


async def test_a_policy_is_forgotten_by_every_worker_or_not_at_all_while_one_is_missing() -> None:
    first, second = FakeWorker("a.test"), FakeWorker("a.test", "b.test")
    assert [await control(first, second).flush_sts(domain) for domain in ("a.test", "b.test", "c.test")] == [2, 1, 0]
    with pytest.raises(WorkerGoneError, match="1 of 2 workers are up"):
        await control(first).flush_sts("a.test")
