"""Reads the files of a configuration directory, and those that it names. `load` and plugins call it.

A file may be huge, a pipe, a directory, or deleted at any moment: each is a fault with its name, and never raises or
blocks.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mailboat.config.fault import Report
from mailboat.config.files import ConfigFiles, FileError
from mailboat.loading.fingerprint import Mark, file_mark, folder_mark

MAX_SIZE = 2**20
"""Octets of one file. ConfigMaps hold no more either."""


def read_file(path: Path) -> bytes:
    """The content of a regular file. FileNotFoundError when there is none; FileError for all other trouble."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileError("is not a regular file")
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise FileError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_SIZE:
        raise FileError(f"is larger than {MAX_SIZE // 2**20} MiB")
    return content


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe without a writer would block for ever.
    return os.open(path, flags | os.O_NONBLOCK)


class ConfigDirectory(ConfigFiles):
    """One directory while it is read: each file once, so that what is hashed is what is parsed."""

    def __init__(
        self, path: Path, report: Report, marks: dict[Path, Mark] | None = None, copies: Path | None = None
    ) -> None:
        """`marks`: where to note files, beside what others have read.

        `copies`: a folder with copies of the directory's own files, which are read instead of these; what settings
        name by a path is read where it is all the same.
        """
        super().__init__(report)
        self.path = path
        self._own = copies or path
        self.marks: dict[Path, Mark] = {} if marks is None else marks
        """Files that were asked for, there or not; each with its mark from before it was first read."""
        self.contents: dict[str, bytes] = {}
        """What was read of the directory's own files, by name."""

    def content(self, name: str) -> bytes | None:
        path = self._own / name
        self.watch(path)
        try:
            content = read_file(path)
        except FileNotFoundError:
            return None
        except FileError as error:
            self._report.fault(name, str(error))
            return None
        self.contents[name] = content
        return content

    def has(self, name: str) -> bool:
        self.watch(self._own / name)
        return os.path.lexists(self._own / name)

    def named(self, path: str) -> bytes:
        where = self.path / path
        self.watch(where)
        try:
            return read_file(where)
        except FileNotFoundError:
            raise FileError("does not exist") from None

    def has_named(self, path: str) -> bool:
        self.watch(self.path / path)
        return os.path.lexists(self.path / path)

    def names_in(self, folder: str) -> list[str]:
        where = self.path / folder
        self.marks.setdefault(where, folder_mark(where))
        try:
            return sorted(os.listdir(where))  # noqa: PTH208 - names
        except FileNotFoundError:
            return []
        except OSError as error:
            raise FileError(f"cannot be read: {error.strerror}") from None

    def absolute(self, path: str) -> str:
        # Symlinks stay: a mounted Secret swaps them.
        return str(self.path / path)

    def is_directory_itself(self, path: str) -> bool:
        return os.path.realpath(path) == os.path.realpath(self.path)

    def watch(self, path: Path) -> None:
        """Have a change of this file noticed."""
        self.marks.setdefault(path, file_mark(path))
