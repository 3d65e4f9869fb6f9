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
        self.taken: list[Settings] = []
        self.trouble: Exception | None = None
        self.watch = ConfigWatch(path, self.directory.load(), StoppedClock(), self.told)

    def take(self, settings: Settings) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.taken.append(settings)

    def write(self, text: str) -> None:
        """Write outbound.ini and look."""
        self.directory.write("outbound.ini", text)
        self.watch.look(self.take)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_change_is_taken_once(rig: Rig) -> None:
    rig.watch.look(rig.take)
    assert rig.taken == []
    rig.write("concurrency_max=22\n")
    rig.watch.look(rig.take)
    assert [settings.outbound.concurrency_max for settings in rig.taken] == [22]
    assert rig.told.errors == [""]


def test_what_means_the_same_is_not_taken_again(rig: Rig) -> None:
    rig.write("concurrency_max=1\n")
    os.utime(rig.directory.path / "outbound.ini", ns=(1, 1))
    rig.watch.look(rig.take)
    assert rig.taken == []


def test_a_fault_is_told_once_and_the_last_good_one_stays(rig: Rig) -> None:
    good = rig.watch.settings
    rig.write("concurrency_max=many\n")
    rig.watch.look(rig.take)
    rig.write("concurrency_max=many\n# touched\n")
    assert rig.watch.settings is good
    assert rig.taken == []
    (error,) = rig.told.errors
    assert "outbound.ini:1: [main] concurrency_max" in error
    assert rig.watch.error == error


def test_going_back_to_what_runs_clears_the_error(rig: Rig) -> None:
    rig.write("concurrency_max=many\n")
    rig.write("concurrency_max=1\n")
    assert rig.watch.error is None
    assert rig.told.errors[-1] == ""


def test_a_file_that_vanishes_is_no_reason_to_fall_back_to_defaults(rig: Rig) -> None:
    """In a cluster it goes with the resource that it was made from."""
    good, file = rig.watch.settings, rig.directory.path / "outbound.ini"
    file.unlink()
    rig.directory.write("me", "other.test\n")
    rig.watch.look(rig.take)
    assert rig.watch.settings is good
    assert rig.taken == []
    assert rig.watch.error == "outbound.ini vanished; to go on without, restart"
    rig.write("concurrency_max=7\n")
    (taken,) = rig.taken
    assert (taken.outbound.concurrency_max, taken.me) == (7, "other.test")
    assert rig.watch.error is None


def test_a_file_that_came_later_is_missed_when_it_vanishes(rig: Rig) -> None:
    tls = rig.directory.path / "tls.ini"
    rig.directory.write("tls.ini", "minVersion=TLSv1.3\n")
    rig.watch.look(rig.take)
    tls.unlink()
    rig.watch.look(rig.take)
    assert len(rig.taken) == 1
    assert rig.watch.error == "tls.ini vanished; to go on without, restart"


@pytest.mark.parametrize("trouble", [OSError("no such certificate"), ValueError("no such cipher")])
def test_what_cannot_be_put_into_force_is_refused(rig: Rig, trouble: Exception) -> None:
    good, rig.trouble = rig.watch.settings, trouble
    rig.write("concurrency_max=5\n")
    assert rig.watch.settings is good
    assert rig.watch.error == str(trouble)


async def test_a_mistake_of_ours_is_not_the_end_of_reloading(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_module, "PERIOD", 0.001)
    looked = asyncio.Event()
    rig.trouble = RuntimeError("a bug")

    def take(settings: Settings) -> None:
        looked.set()
        rig.take(settings)

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
