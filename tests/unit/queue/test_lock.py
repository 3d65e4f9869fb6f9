"""Locks and directories: one owner, clear words for the second, nothing taken for granted of the file system."""

from __future__ import annotations

import errno
import fcntl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mailboat.queue.lock import Lock, file_system_of, make_directory, private_files
from mailboat.queue.store import QueueInUse, StorageError


def test_a_second_owner_is_refused_and_told_which_file(tmp_path: Path) -> None:
    path = tmp_path / "queue-0.lock"
    lock = Lock(path)
    with pytest.raises(QueueInUse, match=r"queue-0\.lock is locked"):
        Lock(path)
    lock.release()
    lock.release()
    Lock(path).release()


def test_another_process_is_refused_until_the_owner_dies(tmp_path: Path) -> None:
    path = tmp_path / "queue-0.lock"
    code = (
        "import sys; from pathlib import Path; from mailboat.queue.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"locked\n"
        with pytest.raises(QueueInUse):
            Lock(path)
        owner.kill()
        owner.wait()
    Lock(path).release()


def test_a_file_system_that_locks_nobody_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "fcntl", lambda *_: 0)
    with pytest.raises(StorageError, match="locks do not work on this file system"):
        Lock(tmp_path / "queue-0.lock")


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> int:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    with pytest.raises(StorageError, match=r"has no locks \(No locks available\): use a local one for queue_dir"):
        Lock(tmp_path / "queue-0.lock")


def test_a_lock_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        Lock(tmp_path / "missing" / "queue-0.lock")


def test_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_in_the_way_of_a_directory_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError, match="ot a directory"):
        make_directory(tmp_path / "a")
    with pytest.raises(StorageError, match="ot a directory"):
        make_directory(tmp_path / "a" / "b")


def test_the_file_system_of_a_directory_has_a_name(tmp_path: Path) -> None:
    assert file_system_of(tmp_path) != "unknown"
    assert file_system_of(Path("/proc/self")) == "proc"


def test_directories_and_databases_are_for_their_user_alone_whoever_made_them(tmp_path: Path) -> None:
    queue = tmp_path / "queue"
    queue.mkdir(mode=0o755)
    queue.chmod(0o775)
    database, log = queue / "queue-0.db", queue / "queue-0.db-wal"
    for path in (database, log):
        path.touch()
        path.chmod(0o644)
    make_directory(queue)
    private_files(database)
    make_directory(tmp_path / "new" / "queue")
    private_files(tmp_path / "new" / "queue" / "queue-0.db")
    directories = [queue, tmp_path / "new", tmp_path / "new" / "queue"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}
    files = [database, log, tmp_path / "new" / "queue" / "queue-0.db"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_directory_that_is_shared_on_purpose_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    make_directory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
