"""The watch over a configuration directory: what is taken, what is refused, and what a mistake of ours costs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.config_directory import Directory
from tests.support.facts import StoppedClock

from mailboat.app import reload as reload_module
from mailboat.app.reload import ConfigWatch
from mailboat.config.settings import Settings
from mailboat.loading.fingerprint import file_mark
from mailboat.model.observer import ConfigReloaded, Observer


class Told(Observer):
    """Remembers reloads."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def config_reloaded(self, fact: ConfigReloaded) -> None:
        self.errors.append(fact.error)


class Rig:
    """A directory, its watch, and what was taken."""

    def __init__(self, path: Path) -> None:
        self.directory = Directory(path)
        self.directory.write("outbound.ini", "concurrency_max=1\n")
        self.told = Told()
        self.applied: list[Settings] = []
        self.trouble: Exception | None = None
        self.clock = StoppedClock()
        self.watch = ConfigWatch(path, self.directory.load(), self.clock, self.told)

    async def apply(self, settings: Settings) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.applied.append(settings)

    async def write(self, text: str) -> None:
        """Write outbound.ini and look."""
        self.directory.write("outbound.ini", text)
        await self.watch.look(self.apply)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_a_change_is_taken_once(rig: Rig) -> None:
    await rig.watch.look(rig.apply)
    assert rig.applied == []
    await rig.write("concurrency_max=22\n")
    await rig.watch.look(rig.apply)
    assert [settings.outbound.concurrency_max for settings in rig.applied] == [22]
    assert rig.told.errors == [""]


async def test_what_means_the_same_is_not_taken_again(rig: Rig) -> None:
    await rig.write("concurrency_max=1\n")
    os.utime(rig.directory.path / "outbound.ini", ns=(1, 1))
    await rig.watch.look(rig.apply)
    assert rig.applied == []


async def test_a_fault_is_told_once_and_the_last_good_one_stays(rig: Rig) -> None:
    good = rig.watch.settings
    await rig.write("concurrency_max=many\n")
    await rig.watch.look(rig.apply)
    await rig.write("concurrency_max=many\n# touched\n")
    assert rig.watch.settings is good
    assert rig.applied == []
    (error,) = rig.told.errors
    assert "outbound.ini:1: [main] concurrency_max" in error
    assert rig.watch.error == error


async def test_going_back_to_what_runs_clears_the_error(rig: Rig) -> None:
    await rig.write("concurrency_max=many\n")
    await rig.write("concurrency_max=1\n")
    assert rig.watch.error is None
    assert rig.told.errors[-1] == ""


async def test_a_file_that_vanishes_is_no_reason_to_fall_back_to_defaults(rig: Rig) -> None:
    """In a cluster it goes with the resource that it was made from."""
    good, file = rig.watch.settings, rig.directory.path / "outbound.ini"
    file.unlink()
    rig.directory.write("me", "other.test\n")
    await rig.watch.look(rig.apply)
    assert rig.watch.settings is good
    assert rig.applied == []
    assert rig.watch.error == "outbound.ini vanished; to run without, restart"
    await rig.write("concurrency_max=7\n")
    (taken,) = rig.applied
    assert (taken.outbound.concurrency_max, taken.me) == (7, "other.test")
    assert rig.watch.error is None


async def test_a_file_that_came_later_is_missed_when_it_vanishes(rig: Rig) -> None:
    tls = rig.directory.path / "tls.ini"
    rig.directory.write("tls.ini", "minVersion=TLSv1.3\n")
    await rig.watch.look(rig.apply)
    tls.unlink()
    await rig.watch.look(rig.apply)
    assert len(rig.applied) == 1
    assert rig.watch.error == "tls.ini vanished; to run without, restart"


@pytest.mark.parametrize("trouble", [OSError("no such certificate"), ValueError("no such cipher")])
async def test_what_cannot_be_put_into_force_is_refused(rig: Rig, trouble: Exception) -> None:
    good, rig.trouble = rig.watch.settings, trouble
    await rig.write("concurrency_max=5\n")
    assert rig.watch.settings is good
    assert rig.watch.error == str(trouble)


async def test_a_mistake_of_ours_is_not_the_end_of_reloading(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_module, "PERIOD", 0.001)
    looked = asyncio.Event()
    rig.trouble = RuntimeError("a bug")

    async def take(settings: Settings) -> None:
        looked.set()
        await rig.apply(settings)

    watching = asyncio.create_task(rig.watch.run(take))
    async with asyncio.timeout(10):
        rig.directory.write("outbound.ini", "concurrency_max=5\n")
        await looked.wait()
        looked.clear()
        rig.trouble = None
        rig.directory.write("outbound.ini", "concurrency_max=6\n")
        await looked.wait()
    assert rig.watch.settings.outbound.concurrency_max == 6
    watching.cancel()
    await asyncio.wait([watching])


async def test_what_fails_unexpectedly_is_an_error_and_is_tried_again(rig: Rig) -> None:
    rig.trouble = RuntimeError("a bug")
    await rig.write("concurrency_max=5\n")
    assert rig.watch.error == "internal error, see the log of the relay: RuntimeError"
    rig.trouble = None
    await rig.watch.look(rig.apply)
    assert rig.applied == []
    rig.clock.time += reload_module.RETRY
    await rig.watch.look(rig.apply)
    assert [settings.outbound.concurrency_max for settings in rig.applied] == [5]
    assert rig.watch.error is None


async def test_files_that_plugins_have_read_are_followed_and_once_each(tmp_path: Path) -> None:
    """Also while the configuration is refused for something else."""
    rig = Rig(tmp_path)
    path = rig.directory.write("p.ini", "a=1\n")
    marks = {path: file_mark(path)}
    rig.watch = ConfigWatch(tmp_path, rig.directory.load(), rig.clock, rig.told, lambda: marks)
    await rig.watch.look(rig.apply)
    assert rig.applied == []
    path.write_text("a=22\n")
    await rig.watch.look(rig.apply)
    await rig.watch.look(rig.apply)
    assert len(rig.applied) == 1
    marks[path] = file_mark(path)
    await rig.watch.look(rig.apply)
    assert len(rig.applied) == 1
    await rig.write("concurrency_max=many\n")
    path.write_text("a=333\n")
    await rig.watch.look(rig.apply)
    assert (len(rig.applied), rig.watch.error is None) == (1, False)
    await rig.write("concurrency_max=1\n")
    assert len(rig.applied) == 2


async def test_a_reload_of_four_thousand_routes_holds_up_nobody(tmp_path: Path) -> None:
    """The event loop turns all the while: the files are read and parsed in a thread."""
    rig = Rig(tmp_path)
    routes = "".join(f"[route:r{n}]\ndomains=d{n}.test\nhosts=h{n}.test\n" for n in range(4000))
    rig.directory.write("outbound.ini", routes)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    turning = asyncio.create_task(turn())
    await rig.watch.look(rig.apply)
    turning.cancel()
    await asyncio.wait([turning])
    assert len(rig.applied[0].outbound.routes) == 4000
    assert turns > 10, turns
