"""One relay made of several workers: sums, checks and pages, also while one of them is away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.support.letters import Letterbox
from tests.support.stores import address

from mailboat.admin.control import BadCursorError, Check, ConfigStatus, EntryJson, Probe
from mailboat.app.control import RelayControl
from mailboat.app.submissions import WorkerGoneError
from mailboat.metrics.tally import Snapshot, Totals
from mailboat.outbound.letter import Letter
from mailboat.queue.store import Selection

NAME = "mailboat_received_messages_total"


class FakeWorker(Letterbox):
    """A worker with a queue of names."""

    def __init__(self, *ids: str, count: float = 0, loaded_at: float = 1.0, error: str | None = None) -> None:
        super().__init__()
        self.ids = list(ids)
        self.count = count
        self.status = ConfigStatus(f"sha256:{loaded_at:g}", loaded_at, error)
        self.gone = False
        self.gauges: dict[str, dict[str, float]] = {}

    async def checks(self, kind: Probe) -> Sequence[Check]:
        if self.gone:
            raise WorkerGoneError("gone")
        return [Check("storage", ok=True)]

    async def configz(self) -> ConfigStatus:
        if self.gone:
            raise WorkerGoneError("gone")
        return self.status

    async def snapshot(self) -> Snapshot:
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

    async def delete(self, selection: Selection) -> int:
        return len(self.ids)

    async def hold(self, selection: Selection) -> int:
        return len(self.ids)

    async def release(self, selection: Selection) -> int:
        return len(self.ids)

    async def flush(self, selection: Selection) -> int:
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


@pytest.mark.parametrize("after", ["", "x", ":", "²:", "-1:", "9999999:"])
async def test_a_cursor_that_is_not_ours_is_said_to_be(after: str) -> None:
    with pytest.raises(BadCursorError):
        await control(FakeWorker("a")).queue_page(Selection(), 1, after)


async def test_verbs_count_on_all_workers() -> None:
    it = control(FakeWorker("a", "b"), FakeWorker("c"))
    assert [await verb(Selection()) for verb in (it.delete, it.hold, it.release, it.flush)] == [3, 3, 3, 3]
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
    letter = Letter(address("a@b.test"), (address("c@d.test"),))
    workers = {"worker-0": FakeWorker(), "worker-1": FakeWorker()}
    relay = RelayControl(workers, 2, Totals())
    for _ in range(4):
        await (await relay.begin(letter)).commit()
    assert [len(worker.letters) for worker in workers.values()] == [2, 2]
    with pytest.raises(WorkerGoneError):
        await RelayControl({}, 2, Totals()).begin(letter)
