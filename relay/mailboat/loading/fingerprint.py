"""Detects changes of the files of a configuration. It is called several times a second, so it compares marks only.

A mark is taken just before its file is read (`directory.ConfigDirectory`): a change while it is read shows at the next
look. Files that nothing reads, such as a log in the same directory, have no mark and do not count.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Mark: TypeAlias = tuple[str | int, ...]
Marks: TypeAlias = Mapping[Path, Mark]
"""The mark of each file, there or not."""

_FOLDER = "/"
"""Begins the mark of a folder; no file has this name."""


def changed(marks: Marks) -> bool:
    """Whether one of the files may be another than its mark says. Never raises."""
    return any((folder_mark if mark[0] == _FOLDER else file_mark)(path) != mark for path, mark in marks.items())


def folder_mark(path: Path) -> Mark:
    """The same for a folder whose names count: it is another one when a file comes or goes."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError as error:
        return (_FOLDER, error.errno or 0)
    return (_FOLDER, found.st_dev, found.st_ino, found.st_mtime_ns)


def file_mark(path: Path) -> Mark:
    """Identity, time and size of a file, symlinks followed; its bare name for a directory; the error where it is not.

    The swap of a volume by Kubernetes, which replaces a symlink above all its files, is another file for each.
    """
    name = os.fspath(path)
    try:
        found = os.stat(name)  # noqa: PTH116 - strings are cheaper than paths, several times a second
    except OSError as error:
        return (name, error.errno or 0)
    if stat.S_ISDIR(found.st_mode):
        return (name,)
    return (name, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
