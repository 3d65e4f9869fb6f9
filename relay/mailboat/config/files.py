"""The files of a configuration as text, lines and ini files, from any source of octets. Pure.

`settings_of` and its parts read them. `loading.directory` has those of a directory; `GivenFiles` are octets in memory,
such as those that the operator is about to write.
"""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Mapping

from mailboat.config import ini
from mailboat.config.fault import Report
from mailboat.config.ini import IniFile


class FileError(Exception):
    """A file cannot be used; the message says why, without its name."""


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


class ConfigFiles(ABC):
    """The files of one configuration, and those that its keys name by a path."""

    def __init__(self, report: Report) -> None:
        """Faults of files are added to the report."""
        self._report = report

    @abstractmethod
    def content(self, name: str) -> bytes | None:
        """A file of the configuration; None if it is missing, or unreadable (with a fault)."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether the configuration has a file of that name."""

    @abstractmethod
    def named(self, path: str) -> bytes:
        """The content of a file that a key names; FileError, also if it is missing."""

    @abstractmethod
    def has_named(self, path: str) -> bool:
        """Whether there is a file at a path that a key names."""

    @abstractmethod
    def names_in(self, folder: str) -> list[str]:
        """The names in a subdirectory of the configuration, in order; none without it. FileError: it cannot be read."""

    @abstractmethod
    def absolute(self, path: str) -> str:
        """A path named by a key, relative to the directory of the configuration; the directory itself for "."."""

    @abstractmethod
    def is_directory_itself(self, path: str) -> bool:
        """Whether an absolute path is the directory of the configuration."""

    def text(self, name: str) -> str | None:
        """The result of `content`, as text."""
        return self._text(name, self.content(name))

    def lines(self, name: str) -> list[tuple[int, str]] | None:
        """Number and text of the lines of a list file, stripped, without comments and empty lines."""
        text = self.text(name)
        if text is None:
            return None
        stripped = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
        return [(number, line) for number, line in stripped if line and line[0] not in ";#"]

    def ini(self, name: str, content: bytes | None) -> IniFile:
        """An ini file from its content, empty if that is missing; its syntax faults are recorded."""
        text = self._text(name, content)
        file = ini.parse(text, name) if text is not None else IniFile(name)
        self._report.faults += file.faults
        return file

    def _text(self, name: str, content: bytes | None) -> str | None:
        if content is None:
            return None
        try:
            return decode(content)
        except FileError as error:
            self._report.fault(name, str(error))
            return None


class GivenFiles(ConfigFiles):
    """Files in memory, as if in one directory; keys name them by their bare names."""

    def __init__(self, contents: Mapping[str, bytes], report: Report, directory: str = "/") -> None:
        """`directory`: what paths are relative to; it need not exist."""
        super().__init__(report)
        self._contents = contents
        self._directory = directory

    def content(self, name: str) -> bytes | None:
        return self._contents.get(name)

    def has(self, name: str) -> bool:
        return name in self._contents

    def named(self, path: str) -> bytes:
        if path not in self._contents:
            raise FileError("does not exist")
        return self._contents[path]

    def has_named(self, path: str) -> bool:
        return path in self._contents

    def names_in(self, folder: str) -> list[str]:
        inside = (path.removeprefix(f"{folder}/") for path in self._contents if path.startswith(f"{folder}/"))
        return sorted(name for name in inside if "/" not in name)

    def absolute(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self._directory, path))

    def is_directory_itself(self, path: str) -> bool:
        return self.absolute(path) == self.absolute(".")
