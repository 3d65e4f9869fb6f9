"""Every change of a file that was read, or missed, is seen, and no other."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mailboat.loading.fingerprint import changed, file_mark

if TYPE_CHECKING:
    from tests.support.config_directory import Directory


def test_a_file_that_comes_changes_is_replaced_or_goes_is_another(directory: Directory) -> None:
    path = directory.path / "outbound.ini"
    seen = [file_mark(path)]
    path.write_text("a=1")
    seen.append(file_mark(path))
    assert not changed({path: seen[-1]})
    path.write_text("a=12")
    seen.append(file_mark(path))
    replacement = directory.path / ".new"
    replacement.write_text("a=13")
    replacement.replace(path)
    seen.append(file_mark(path))
    path.unlink()
    assert len(set(seen)) == 4
    assert [changed({path: mark}) for mark in seen] == [False, True, True, True]


def test_a_rewrite_of_equal_length_that_puts_the_old_time_back_is_seen(directory: Directory) -> None:
    path = directory.write("outbound.ini", "a=1")
    before, was = file_mark(path), path.stat()
    replacement = directory.write(".new", "a=2")
    os.utime(replacement, ns=(was.st_atime_ns, was.st_mtime_ns))
    replacement.replace(path)
    assert changed({path: before})


def test_the_files_of_the_relay_count_whether_they_are_there_or_not(directory: Directory) -> None:
    marks = directory.load().marks
    assert not changed(marks)
    for name in ("smtp.ini", "outbound.ini", "tls.ini", "plugins", "relay_acl_allow", "tls_key.pem"):
        path = directory.write(name, "")
        assert changed(marks), name
        path.unlink()
    assert not changed(marks)


def test_the_code_of_a_listed_plugin_counts(directory: Directory) -> None:
    directory.write("plugins", "a\n")
    loaded = directory.load()
    directory.write("plugins.d/a.py", "x = 1")
    assert changed(loaded.marks)
    after = directory.load()
    assert after.settings != loaded.settings
    directory.write("plugins.d/b.py", "x = 1")
    assert not changed(after.marks)


def test_what_nothing_reads_is_no_change(directory: Directory) -> None:
    """A log, an editor's copy, the queue: with a plugin listed, too."""
    directory.write("plugins", "a\n")
    directory.write("plugins.d/a.py", "x = 1")
    loaded = directory.load()
    for name in ("relay.log", "plugins.d/relay.log", "queue/a", "outbound.ini~"):
        directory.write(name, "more")
    assert not changed(loaded.marks)
    assert directory.load().settings == loaded.settings


def mount(volume: Path, generation: str, content: str) -> None:
    """Publish a file as kubelet does: a new directory, and a symlink that is renamed over the old one."""
    data = volume / generation
    data.mkdir(parents=True)
    (data / "outbound.ini").write_text(content)
    (volume / "..data_tmp").symlink_to(generation)
    (volume / "..data_tmp").rename(volume / "..data")
    if not (volume / "outbound.ini").is_symlink():
        (volume / "outbound.ini").symlink_to("..data/outbound.ini")


def test_the_swap_of_a_mounted_volume_is_a_change_even_with_the_same_content(directory: Directory) -> None:
    mount(directory.path, "..2026_01_01", "disabled=true")
    before = directory.load().marks
    mount(directory.path, "..2026_01_02", "disabled=true")
    assert changed(before)
    after = directory.load().marks
    shutil.rmtree(directory.path / "..2026_01_01")
    assert not changed(after)


def test_a_directory_that_appears_is_a_change(tmp_path: Path) -> None:
    mark = file_mark(tmp_path / "none")
    (tmp_path / "none").mkdir()
    assert changed({tmp_path / "none": mark})


def test_files_that_settings_name_count_whether_they_are_there_or_not(directory: Directory, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    directory.write("outbound.ini", f"[route:r]\ndomains=*\nhosts=a\nauth_user=u\nauth_pass_file={secret}\n")
    loaded = directory.load()
    assert loaded.settings is None
    assert secret in loaded.marks
    assert not changed(loaded.marks)
    secret.write_text("now it is there")
    assert changed(loaded.marks)
    assert directory.load().settings is not None
