"""Password checks: how many at once, who goes first, and that none is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from mailboat.plugins._hashing import SHARE, Hashing, PasswordCheck

MIB = 2**20


class Checks:
    """Checks that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._may_end = threading.Semaphore(0)

    def check(self, name: str, memory: int = 64 * MIB) -> PasswordCheck:
        def run() -> bool:
            with self._lock:
                self.begun.append(name)
                self._now += 1
                self.most = max(self.most, self._now)
            assert self._may_end.acquire(timeout=20)
            with self._lock:
                self._now -= 1
            return name != "wrong"

        return PasswordCheck(run, memory)

    def let_end(self, count: int = 1) -> None:
        self._may_end.release(count)

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.begun) < count:  # noqa: ASYNC110 - it is another thread
                await asyncio.sleep(0.005)


@pytest.fixture
def checks() -> Iterator[Checks]:
    it = Checks()
    yield it
    it.let_end(1000)


def hashing(memory: float, workers: int = 1) -> Hashing:
    return Hashing(workers, lambda: memory / SHARE)


@pytest.mark.parametrize(
    ("memory", "workers", "most"),
    [(1000, 1, 4), (200, 1, 3), (200, 2, 1), (1, 1, 1), (1000, 2, 2), (1000, 99, 1)],
)
async def test_as_many_run_at_once_as_memory_and_cpus_allow_and_one_always(
    memory: int, workers: int, most: int, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    it = hashing(memory * MIB, workers)
    running = [asyncio.create_task(it.run(checks.check(str(number)), first=False)) for number in range(10)]
    await checks.until_begun(most)
    checks.let_end(1000)
    assert await asyncio.gather(*running) == [True] * 10
    assert checks.most == most
    it.close()


async def test_who_goes_first_waits_for_none_of_the_others(checks: Checks) -> None:
    it = hashing(64 * MIB)
    others = [asyncio.create_task(it.run(checks.check("wrong"), first=False)) for _ in range(300)]
    await checks.until_begun(1)
    user = asyncio.create_task(it.run(checks.check("user"), first=True))
    await asyncio.sleep(0)
    checks.let_end(2)
    assert await user
    assert checks.begun[:2] == ["wrong", "user"]
    checks.let_end(1000)
    assert not any(await asyncio.gather(*others))
    it.close()


async def test_a_client_that_goes_leaves_its_place_to_the_next_once_its_thread_is_through(checks: Checks) -> None:
    it = hashing(64 * MIB)
    running, waiting, last = (
        asyncio.create_task(it.run(checks.check(name), first=False)) for name in ("running", "waiting", "last")
    )
    await checks.until_begun(1)
    for task in (running, waiting):
        task.cancel()
    await asyncio.wait([running, waiting])
    assert checks.begun == ["running"]
    checks.let_end(2)
    assert await last
    assert checks.begun == ["running", "last"]
    assert (it._running, it._in_use, checks.most) == (0, 0, 1)
    it.close()


async def test_a_client_that_goes_as_its_turn_comes_does_not_keep_the_place(checks: Checks) -> None:
    it = hashing(64 * MIB)
    gone = asyncio.create_task(it.run(checks.check("gone"), first=False))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    checks.let_end(2)
    assert await it.run(checks.check("next"), first=False)
    it.close()


async def test_passwords_in_clear_wait_for_nobody(checks: Checks) -> None:
    it = hashing(64 * MIB)
    running = asyncio.create_task(it.run(checks.check("hash"), first=False))
    await checks.until_begun(1)
    assert await it.run(PasswordCheck(lambda: True, 0), first=False)
    checks.let_end()
    await running
    it.close()
