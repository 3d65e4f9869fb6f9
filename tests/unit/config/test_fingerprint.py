"""Every change that could make other settings changes the fingerprint, and nothing else does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mailboat.config.fingerprint import fingerprint

if TYPE_CHECKING:
    from tests.support.config_directory import Directory


def test_it_stays_while_nothing_changes(directory: Directory) -> None:
    directory.write("outbound.ini", "a=1")
    assert fingerprint(directory.path) == fingerprint(directory.path)


def test_it_changes_with_a_file_that_comes_changes_or_goes(directory: Directory) -> None:
    seen = [fingerprint(directory.path)]
    path = directory.write("outbound.ini", "a=1")
    seen.append(fingerprint(directory.path))
    path.write_text("a=12")
    seen.append(fingerprint(directory.path))
    replacement = directory.path / ".new"
    replacement.write_text("a=13")
    replacement.replace(path)
    seen.append(fingerprint(directory.path))
    path.unlink()
    assert len(set(seen)) == 4
    assert fingerprint(directory.path) == seen[0]


def test_a_rewrite_of_equal_length_that_puts_the_old_time_back_is_seen(directory: Directory) -> None:
    path = directory.write("outbound.ini", "a=1")
    before, was = fingerprint(directory.path), path.stat()
    replacement = directory.write(".new", "a=2")
    os.utime(replacement, ns=(was.st_atime_ns, was.st_mtime_ns))
    replacement.replace(path)
    assert fingerprint(directory.path) != before


def test_a_plugin_is_a_file_of_the_directory(directory: Directory) -> None:
    directory.write("plugins.d/a.py", "x = 1")
    before = fingerprint(directory.path)
    directory.write("plugins.d/a.py", "x = 22")
    assert fingerprint(directory.path) != before


def test_what_happens_in_the_queue_is_no_change(directory: Directory) -> None:
    directory.write("queue/a", "")
    before = fingerprint(directory.path)
    directory.write("queue/b", "")
    assert fingerprint(directory.path) == before


def mount(volume: Path, generation: str, content: str) -> None:
    """Publish a file as kubelet does: a new directory, and a symlink that is renamed over the old one."""
    data = volume / generation
    data.mkdir(parents=True)
    (data / "outbound.ini").write_text(content)
    (volume / "..data_tmp").symlink_to(generation)
    (volume / "..data_tmp").rename(volume / "..data")
    if not (volume / "outbound.ini").is_symlink():
        (volume / "outbound.ini").symlink_to("..data/outbound.ini")


def test_the_swap_of_a_mounted_volume_is_a_change_even_with_the_same_content(tmp_path: Path) -> None:
    mount(tmp_path, "..2026_01_01", "a=1")
    before = fingerprint(tmp_path)
    mount(tmp_path, "..2026_01_02", "a=1")
    after = fingerprint(tmp_path)
    assert after != before
    shutil.rmtree(tmp_path / "..2026_01_01")
    assert fingerprint(tmp_path) == after


def test_files_outside_count_whether_they_exist_or_not(directory: Directory, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    before = fingerprint(directory.path, [key])
    assert fingerprint(directory.path, [key]) == before
    key.write_text("key")
    assert fingerprint(directory.path, [key]) != before


def test_a_missing_directory_has_one_too(tmp_path: Path) -> None:
    before = fingerprint(tmp_path / "none")
    (tmp_path / "none").mkdir()
    assert fingerprint(tmp_path / "none") != before


def test_loading_tells_the_files_outside_and_its_own_fingerprint(directory: Directory, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    directory.write("outbound.ini", f"[route:r]\ndomains=*\nhosts=a\nauth_user=u\nauth_pass_file={secret}\n")
    loaded = directory.load()
    assert loaded.settings is None
    assert secret in loaded.outside
    assert fingerprint(directory.path, loaded.outside) == loaded.fingerprint
    secret.write_text("now it is there")
    assert fingerprint(directory.path, loaded.outside) != loaded.fingerprint
    assert directory.load().settings is not None


def test_a_default_certificate_that_appears_is_a_change(directory: Directory) -> None:
    loaded = directory.load()
    directory.write("tls_key.pem", "")
    assert fingerprint(directory.path, loaded.outside) != loaded.fingerprint
