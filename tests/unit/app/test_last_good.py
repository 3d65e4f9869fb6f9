"""The last good set on disk: whole or not at all, wherever the process dies, and read only as it was stored."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.app.last_good import FOLDER, MANIFEST, LastGood, LastGoodError, find, store

OLD = {"outbound.ini": b"mx_port=25\n", "me": b"relay.test\n"}
NEW = {"outbound.ini": b"mx_port=26\n", "plugins.d/mine.py": b"", "plugins": b"mine\n"}
NOW = 1_700_000_000.0

DIES = f"""
import os, sys
from pathlib import Path
from mailboat.app.last_good import store
sync = os.fsync
def run(queue_dir, steps):
    def step(event, _=()):
        nonlocal steps
        if event == "open" or event.startswith(("os.", "shutil.", "tempfile.")):
            steps -= 1
            if not steps:
                os._exit(9)
    os.fsync = lambda descriptor: (step("os.fsync"), sync(descriptor))
    sys.addaudithook(step)
    store(queue_dir, {NEW!r}, {NOW!r})
    os._exit(0)
for steps in range(1, 200):
    queue_dir = Path(sys.argv[1], str(steps))
    store(queue_dir, {OLD!r}, {NOW!r})
    if not os.fork():
        run(queue_dir, steps)
    if not os.wait()[1]:
        break
"""
"""Stores a set, and another one in a process that dies at its first step, its second, and so on until none is left."""


def contents(found: LastGood | None) -> dict[str, bytes]:
    assert found is not None
    return {name: (found.path / name).read_bytes() for name in found.digests}


def test_a_set_is_found_as_it_was_stored_for_this_user_alone(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    store(tmp_path, OLD, NOW)
    found = find(tmp_path)
    assert contents(found) == OLD
    assert found is not None
    assert found.stored_at == "2023-11-14T22:13:20.000Z"
    store(tmp_path, OLD, NOW + 5)
    assert find(tmp_path) == found  # the same files are not written again
    store(tmp_path, NEW, NOW)
    assert contents(find(tmp_path)) == NEW
    assert contents(found) == OLD  # stays for a worker that is reading it, until the next one
    store(tmp_path, {}, NOW)
    assert not found.path.exists()
    store(tmp_path, NEW, NOW)
    for path in [tmp_path / FOLDER, *(tmp_path / FOLDER).rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_process_that_dies_at_any_step_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=True)
    seen = []
    for queue_dir in sorted(tmp_path.iterdir(), key=lambda path: int(path.name)):
        found = contents(find(queue_dir))
        assert found in (OLD, NEW)
        seen.append(found)
        store(queue_dir, OLD, NOW)  # and the next one is stored all the same
        assert contents(find(queue_dir)) == OLD
        assert len(list((queue_dir / FOLDER).glob("set-*"))) <= 2
    assert seen.index(NEW) > 10
    assert len(seen) > seen.index(NEW) + 3


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: (path / "me").write_bytes(b"relay"), "me is not as it was stored"),
        (lambda path: (path / "me").unlink(), "me is missing"),
        (
            lambda path: (path / "relay_acl_allow").write_bytes(b"0.0.0.0/2"),
            "relay_acl_allow was not stored in the set",
        ),
        (lambda path: (path / "plugins.d").symlink_to("/etc"), "plugins.d was not stored in the set"),
        (lambda path: (path / "me").unlink() or (path / "me").mkdir(), "me cannot be read: Is a directory"),
        (lambda path: os.truncate(path / "outbound.ini", 2**21), "outbound.ini is larger than 1 MiB"),
        (shutil.rmtree, "outbound.ini is missing"),
    ],
)
def test_a_set_that_is_not_what_was_stored_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], why: str
) -> None:
    store(tmp_path, OLD, NOW)
    found = find(tmp_path)
    assert found is not None
    damage(found.path)
    with pytest.raises(LastGoodError, match=rf"/{re.escape(why)}$"):
        find(tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"set":"..","stored_at":"","files":{}}',
        b'{"set":"/etc","stored_at":"","files":{"passwd":""}}',
        b'{"set":"set-x/../..","stored_at":"","files":{}}',
        b'{"set":"set-x","stored_at":"","files":{"../../x":"0"}}',
        b'{"set":"set-x","stored_at":"","files":["me"]}',
        b'{"set":"set-x","stored_at":"","files":{"me":"0"}}',
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, manifest: bytes) -> None:
    store(tmp_path, OLD, NOW)
    (tmp_path / FOLDER / MANIFEST).write_bytes(manifest)
    with pytest.raises(LastGoodError, match=FOLDER):
        find(tmp_path)
    store(tmp_path, NEW, NOW)
    assert contents(find(tmp_path)) == NEW


@given(st.binary(max_size=300))
def test_no_octets_of_a_manifest_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, manifest: bytes) -> None:
    queue_dir = tmp_path_factory.mktemp("queue")
    (queue_dir / FOLDER).mkdir()
    (queue_dir / FOLDER / MANIFEST).write_bytes(manifest)
    with pytest.raises(LastGoodError):
        find(queue_dir)
