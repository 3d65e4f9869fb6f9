"""Has a configuration directory changed? Asked several times a second, so it only asks the file system for its marks.

`Loaded.fingerprint` is what it was just before the files were read: a change while they were read shows at the next
look.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

PLUGIN_DIRECTORY = "plugins.d"
_SWAPPED = "..data"
"""The symlink that Kubernetes swaps to change all files of a mounted volume at once."""

Mark = tuple[str | int, ...]


def fingerprint(directory: Path, outside: Collection[Path] = ()) -> object:
    """A value that differs (`!=`) when a file of the directory, or one of `outside`, may have changed. Never raises.

    `outside` is `Loaded.outside`. Symlinks are followed. Directories below are not looked into, but for `plugins.d`:
    the queue may lie there and changes all the time.
    """
    return (directory_marks(directory), tuple(map(file_mark, outside)))


def directory_marks(directory: Path) -> tuple[Mark, ...]:
    """The first half of a fingerprint: the files of the directory and of its `plugins.d`."""
    return (*_marks(os.fspath(directory)), *_marks(os.fspath(directory / PLUGIN_DIRECTORY)))


def file_mark(path: Path) -> Mark:
    """One item of the second half."""
    return _mark(os.fspath(path))


def _marks(directory: str) -> Iterator[Mark]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        yield (directory, error.errno or 0)
        return
    for name in names:
        path = f"{directory}/{name}"
        if name == _SWAPPED:
            yield (path, _target(path))
        elif not name.startswith("."):
            yield _mark(path)


def _mark(path: str) -> Mark:
    """Identity, time and size of a file; its bare name for a directory; the error where it cannot be looked at."""
    try:
        found = os.stat(path)  # noqa: PTH116 - strings are cheaper than paths, several times a second
    except OSError as error:
        return (path, error.errno or 0)
    if stat.S_ISDIR(found.st_mode):
        return (path,)
    return (path, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - as above
    except OSError:
        return ""
