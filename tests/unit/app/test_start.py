"""What a relay starts with: its directory, the last good set, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.config_directory import Directory

from mailboat.app.build import WorkerOptions
from mailboat.app.last_good import store
from mailboat.app.start import BadConfigurationError, begin

NOW = 1_700_000_000.0
INTERNET = "0.0.0.0/1\n128.0.0.0/2\n192.0.0.0/3\n"
SET = {"me": b"stored.test\n", "outbound.ini": b"mx_port=26\n"}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    directory = Directory(tmp_path / "config")
    directory.write("me", "relay.test\n")
    return directory


@pytest.fixture
def options(directory: Directory) -> WorkerOptions:
    return WorkerOptions(directory.path, last_good=True)


def test_a_good_directory_is_what_it_starts_with_whatever_is_stored(
    directory: Directory, options: WorkerOptions
) -> None:
    store(directory.path / "queue", SET, NOW)
    loaded = begin(options)
    assert loaded.settings is not None
    assert (loaded.settings.me, loaded.stored_at, loaded.refused) == ("relay.test", "", ())


def test_what_is_refused_anew_is_a_warning_until_there_is_a_last_good_set(
    directory: Directory, options: WorkerOptions
) -> None:
    directory.write("relay_acl_allow", INTERNET)
    loaded = begin(options)
    assert loaded.settings is not None
    assert loaded.settings.relay_acl == ()
    assert loaded.warnings == loaded.tolerated != ()
    store(directory.path / "queue", SET, NOW)
    stored = begin(options)
    assert stored.settings is not None
    assert (stored.settings.me, stored.refused) == ("stored.test", loaded.tolerated)
    without = begin(WorkerOptions(directory.path))
    assert without.settings == loaded.settings


def test_a_directory_that_is_gone_is_a_bad_one(
    directory: Directory, options: WorkerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory.path / "me").unlink()
    directory.path.rmdir()
    with pytest.raises(BadConfigurationError, match="the place of the last good set is unknown"):
        begin(options)
    volume = directory.path.with_name("volume")
    monkeypatch.setenv("MAILBOAT_QUEUE_DIR", str(volume))
    store(volume, SET, NOW)
    loaded = begin(options)
    assert loaded.settings is not None
    assert (loaded.settings.me, loaded.stored_at) == ("stored.test", "2023-11-14T22:13:20.000Z")
    assert [fault.message for fault in loaded.refused] == ["is not a directory that can be read"]


def test_a_set_that_this_release_finds_faults_in_is_told_with_them(
    directory: Directory, options: WorkerOptions
) -> None:
    directory.write("smtp.ini", "nodes=x\n")
    store(directory.path / "queue", {"outbound.ini": b"mx_port=0\n"}, NOW)
    with pytest.raises(BadConfigurationError) as raised:
        begin(options)
    bad, stored = raised.value.reasons
    assert bad.startswith("smtp.ini:1: [main] nodes: ")
    assert stored.startswith("the last good set, of 2023-11-14T22:13:20.000Z, cannot be used: outbound.ini:1: ")
