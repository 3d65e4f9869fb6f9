"""Reads files as Haraka does: its booleans, numbers and lists, and the lines that it ignores.

It is as lenient as Haraka, with a note: a value that Haraka ignored must not take effect unnoticed.
`conversion` and its parts call it; `mailboat.config.ini` is the strict reader of our own files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from mailboat.config.files import FileError, decode
from mailboat.haraka.journal import Journal, SourceLine
from mailboat.loading.directory import read_file

MAIN = "main"
_COMMENT = re.compile(r"\s*[;#]")
_SECTION = re.compile(r"\s*\[\s*([^\]]*?)\s*\]\s*")
_PARAM = re.compile(r"\s*([\w@:.+\-/\[\]]+)\s*(?:=\s*(.*?)\s*)?", re.ASCII | re.DOTALL)
_CONTINUES = re.compile(r"\\[ \t]*$")
_TRUE = re.compile(r"true|yes|ok|enabled|on|1", re.IGNORECASE)
_FALSE = re.compile(r"false|no|disabled|off|0|", re.IGNORECASE)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Item:
    """One `key=value` as Haraka takes it, and where it stands."""

    place: SourceLine
    section: str
    key: str
    """Without the `[]` of a list item."""
    value: str
    is_item: bool = False


@dataclass(slots=True)
class Ini:
    """One ini file. `pop`, `pop_list` and `rest` remove keys, so that none is forgotten."""

    name: str
    items: list[Item] = field(default_factory=list)

    def sections(self) -> list[str]:
        """Those that still have keys, in their order."""
        return list(dict.fromkeys(item.section for item in self.items))

    def pop(self, section: str, key: str) -> Item | None:
        """A key's value: the last one given counts, as in Haraka."""
        found = [item for item in self.items if (item.section, item.key) == (section, key)]
        self.items = [item for item in self.items if item not in found]
        return found[-1] if found else None

    def pop_list(self, section: str, key: str) -> list[Item]:
        """All values of a `key[]`."""
        found = [item for item in self.items if (item.section, item.key) == (section, key)]
        self.items = [item for item in self.items if item not in found]
        return found

    def rest(self, section: str) -> list[Item]:
        """All that is left of a section."""
        found = [item for item in self.items if item.section == section]
        self.items = [item for item in self.items if item.section != section]
        return found


def boolean(item: Item, journal: Journal) -> bool:
    """Haraka's booleans: anything that is not a word for true is false."""
    if _TRUE.fullmatch(item.value):
        return True
    if not _FALSE.fullmatch(item.value):
        hint = ": a comment after a value is not supported" if ";" in item.value or "#" in item.value else ""
        journal.became(item.place, f"false, as Haraka reads {item.value[:60]!r}{hint}")
    return False


def integer(item: Item, journal: Journal) -> int | None:
    """A whole number; None, and a note, for what Haraka reads as a text."""
    if _INTEGER.fullmatch(item.value):
        return int(item.value[:30])
    journal.lost(item.place, f"{item.value[:60]!r} is not a whole number")
    return None


def is_number(text: str) -> bool:
    """Whether Haraka makes a number of this, and so loses leading zeros and the like."""
    return bool(_NUMBER.fullmatch(text))


class HarakaDirectory:
    """The files of one directory. It knows at the end which of them were not asked for."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self.journal = journal
        self._asked: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).is_file()

    def content(self, name: str) -> bytes | None:
        """A file; None when there is none, or, with a note, when it cannot be read."""
        self._asked.add(name)
        try:
            return read_file(self.path / name)
        except FileNotFoundError:
            return None
        except FileError as error:
            self.journal.lost(SourceLine(name), str(error))
            return None

    def text(self, name: str) -> str | None:
        """The same as text."""
        content = self.content(name)
        if content is None:
            return None
        try:
            return decode(content)
        except FileError as error:
            self.journal.lost(SourceLine(name), str(error))
            return None

    def lines(self, name: str) -> list[tuple[SourceLine, str]] | None:
        """The lines of a list file, without comments, blanks around and empty lines."""
        text = self.text(name)
        if text is None:
            return None
        numbered = ((SourceLine(name, number), line.strip()) for number, line in enumerate(text.split("\n"), 1))
        return [(place, line) for place, line in numbered if line and line[0] not in "#;"]

    def value(self, name: str) -> Item | None:
        """A flat file of one value: its first line that is no comment."""
        lines = self.lines(name)
        return Item(lines[0][0], MAIN, name, lines[0][1]) if lines else None

    def ini(self, name: str) -> Ini:
        """An ini file; empty when there is none."""
        text = self.text(name)
        return Ini(name) if text is None else _parse(name, text, self.journal)

    def names_in(self, folder: str) -> list[str]:
        """The folders in a folder."""
        self._asked.add(folder)
        where = self.path / folder
        return sorted(path.name for path in where.iterdir() if path.is_dir()) if where.is_dir() else []

    def unasked(self) -> list[str]:
        """Files and directories that no part of the conversion looked at."""
        try:
            return sorted({path.name for path in self.path.iterdir()} - self._asked)
        except OSError:
            return []


def _parse(name: str, text: str, journal: Journal) -> Ini:
    ini, section, joined, begun = Ini(name), MAIN, "", 0
    for number, physical in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not joined and (not physical.strip() or _COMMENT.match(physical)):
            continue
        begun = begun or number
        if _CONTINUES.search(physical):
            joined += _CONTINUES.sub("", physical)
            continue
        line, place, joined, begun = joined + physical, SourceLine(name, begun), "", 0
        if match := _SECTION.fullmatch(line):
            section = match[1]
        elif match := _PARAM.fullmatch(line):
            key, is_item = match[1].removesuffix("[]"), match[1].endswith("[]")
            _add(ini, Item(SourceLine(name, place.line, key), section, key, match[2] or "", is_item), journal)
        else:
            journal.lost(place, f"{line.strip()[:60]!r} is neither a key nor a section; Haraka ignores it too")
    if joined:
        journal.lost(SourceLine(name, begun), "the line goes on, but the file ends; Haraka ignores it too")
    return ini


def _add(ini: Ini, item: Item, journal: Journal) -> None:
    twice = [one for one in ini.items if (one.section, one.key) == (item.section, item.key)]
    if twice and not item.is_item:
        journal.lost(twice[-1].place, f"given again in line {item.place.line}, which is the one that counts")
        ini.items = [one for one in ini.items if one not in twice]
    ini.items.append(item)
