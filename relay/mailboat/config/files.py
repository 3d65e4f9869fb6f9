"""Reads the files of a configuration directory, and those that it names, suspiciously. Only `load` calls it.

A file may be huge, a pipe, a directory, or gone between two looks: each ends as a fault with its name, never as an
exception and never as a wait.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mailboat.config import ini
from mailboat.config.fault import Report
from mailboat.config.fingerprint import Mark, file_mark
from mailboat.config.ini import IniFile

MAX_SIZE = 2**20
"""Octets of one file. ConfigMaps hold no more either."""


class FileError(Exception):
    """A file cannot be used; the message says why, without its name."""


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


def decode(content: bytes) -> str:
    """UTF-8 text without NULs; FileError otherwise. A byte order mark is dropped."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(f"is not UTF-8 text: see line {line}") from None
    if "\0" in text:
        raise FileError(f"is not text: line {text[: text.index(chr(0))].count(chr(10)) + 1} has a NUL octet")
    return text


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe that nobody writes to would wait for ever.
    return os.open(path, flags | os.O_NONBLOCK)


class ConfigDirectory:
    """One directory while it is read: each file once, so that what is hashed is what is parsed."""

    def __init__(
        self, path: Path, report: Report, marks: dict[Path, Mark] | None = None, copies: Path | None = None
    ) -> None:
        """`marks`: where to note files, beside what others have read.

        `copies`: a folder with copies of the directory's own files, which are read instead of these; what settings
        name by a path is read where it is all the same.
        """
        self.path = path
        self._own = copies or path
        self.marks: dict[Path, Mark] = {} if marks is None else marks
        """Files that were asked for, there or not; each with its mark from before it was first read."""
        self.contents: dict[str, bytes] = {}
        """What was read of the directory's own files, by name."""
        self._report = report

    def content(self, name: str) -> bytes | None:
        """A file of the directory; None when it is missing, or unreadable (then a fault is told)."""
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
        """Whether the directory itself has anything of that name."""
        self.watch(self._own / name)
        return os.path.lexists(self._own / name)

    def has_named(self, path: str) -> bool:
        """Whether there is anything at a path as settings name it."""
        self.watch(self.absolute(path))
        return os.path.lexists(self.absolute(path))

    def text(self, name: str) -> str | None:
        """The same as text."""
        return self._text(name, self.content(name))

    def lines(self, name: str) -> list[tuple[int, str]] | None:
        """Number and text of the lines of a list file, without blanks around, comments and empty lines."""
        text = self.text(name)
        if text is None:
            return None
        stripped = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
        return [(number, line) for number, line in stripped if line and line[0] not in ";#"]

    def ini(self, name: str, content: bytes | None) -> IniFile:
        """An ini file from its content, empty when that is missing; its syntax faults are told."""
        text = self._text(name, content)
        file = ini.parse(text, name) if text is not None else IniFile(name)
        self._report.faults += file.faults
        return file

    def absolute(self, path: str) -> Path:
        """A path as settings name it, relative to this directory. Symlinks stay: a mounted Secret swaps them."""
        return self.path / path

    def watch(self, path: Path) -> None:
        """Have a change of this file noticed."""
        self.marks.setdefault(path, file_mark(path))

    def named(self, path: str) -> bytes:
        """The content of a file that settings name; FileError, also when it is missing."""
        where = self.absolute(path)
        self.watch(where)
        try:
            return read_file(where)
        except FileNotFoundError:
            raise FileError("does not exist") from None

    def _text(self, name: str, content: bytes | None) -> str | None:
        if content is None:
            return None
        try:
            return decode(content)
        except FileError as error:
            self._report.fault(name, str(error))
            return None
