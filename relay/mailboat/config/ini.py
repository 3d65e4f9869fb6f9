"""Reads and writes Haraka's ini syntax. Pure; used by `load`, plugins and the operator.

A line is blank, a comment (`;` or `#` first), a `[section]`, or `key=value`. Keys before any section are in `[main]`; a
section may occur again and continues. Repeated `key[]=value` lines make a list. A `\\` at the end joins the next line.
There are no comments after a value. Unlike in Haraka, all values are text until the parser of their key reads them
(`0123` stays `0123`), a key given twice is a fault, and every fault is reported, with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mailboat.config.fault import Fault
from mailboat.config.text import quoted

MAIN = "main"
"""The section of keys before the first section line."""

_BLANK = " \t"
_SECTION = re.compile(r"\[[ \t]*([^\[\]]*?)[ \t]*\]")
_KEY = re.compile(r"(?:[A-Za-z0-9_@:.+\-/']|[^\s\x00-\x9f])+")
"""Keys may be user names: all Unicode characters except spaces, control characters, and some ASCII characters."""
_PARAM = re.compile(rf"({_KEY.pattern})(\[\])?[ \t]*=[ \t]*(.*)")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Characters that no value may have: control characters except tab, and surrogates, which UTF-8 cannot encode."""

Section = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class IniEntry:
    """One `key=value`, with its line."""

    file: str
    line: int
    section: str
    key: str
    """Without the `[]` of a list item."""
    value: str
    is_item: bool = False
    """Written as `key[]=value`."""

    def fault(self, message: str) -> Fault:
        """A fault of this entry."""
        return Fault(self.file, self.line, self.section, self.key, message)


@dataclass(frozen=True, slots=True)
class IniFile:
    """A parsed file: its entries in order, its sections, and its syntax faults."""

    file: str
    entries: tuple[IniEntry, ...] = ()
    sections: Mapping[str, int] = field(default_factory=dict)
    """Each section with the line that opened it first, in order."""
    faults: tuple[Fault, ...] = ()

    _by_section: dict[str, list[IniEntry]] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Index of entries by section: with thousands of routes, a search through all entries would be slow."""

    def __post_init__(self) -> None:
        for entry in self.entries:
            self._by_section.setdefault(entry.section, []).append(entry)

    def of(self, section: str) -> tuple[IniEntry, ...]:
        """The entries of one section in order."""
        return tuple(self._by_section.get(section, ()))

    def get(self, section: str, key: str) -> IniEntry | None:
        """The entry of a key, the first one of a list; None when it is not there."""
        return next((entry for entry in self._by_section.get(section, ()) if entry.key == key), None)

    def fault(self, section: str, key: str, message: str) -> Fault:
        """A fault at a key, which need not exist."""
        entry = self.get(section, key)
        return entry.fault(message) if entry else Fault(self.file, self.sections.get(section, 0), section, key, message)

    def as_dict(self) -> dict[str, dict[str, str | list[str]]]:
        """Sections, keys and values as plain dictionaries, lists where the file has `key[]`."""
        plain: dict[str, dict[str, str | list[str]]] = {section: {} for section in self.sections}
        for entry in self.entries:
            values = plain[entry.section]
            known = values.get(entry.key)
            if isinstance(known, list):
                known.append(entry.value)
            else:
                values[entry.key] = [entry.value] if entry.is_item else entry.value
        return plain


def parse(text: str, file: str) -> IniFile:
    """Read a whole file; never raises. `file` is its name for messages. Entries with faults are left out."""
    reader = _Reader(file)
    for line, content in _logical_lines(text, reader.faults, file):
        reader.read(line, content)
    return IniFile(file, tuple(reader.entries), reader.sections, tuple(reader.faults))


def write(sections: Mapping[str, Section]) -> str:
    """The text that `parse` reads as the same sections, keys and values.

    A list is written as `key[]=` lines. ValueError for values that the syntax cannot represent: line ends and other
    control characters, spaces at either end, a final backslash, an invalid name, an empty list.
    """
    lines: list[str] = []
    for section, keys in sections.items():
        if (
            not _SECTION.fullmatch(f"[{section}]")
            or not section
            or section.strip() != section
            or _CONTROL.search(section)
        ):
            raise ValueError(f"{quoted(section)} cannot be the name of a section")
        lines += ["", f"[{section}]"]
        for key, value in keys.items():
            lines += _written(key, value)
    return "".join(f"{line}\n" for line in lines[1:])


def _written(key: str, value: str | Sequence[str]) -> Iterator[str]:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{quoted(key)} cannot be the name of a key")
    if isinstance(value, str):
        yield f"{key}={_writable(key, value)}"
        return
    if not value:
        raise ValueError(f"{key}: an empty list cannot be written; leave the key out")
    for item in value:
        yield f"{key}[]={_writable(key, item)}"


def _writable(key: str, value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError(f"{key}: the value has a line end or another control character")
    if value.strip() != value:
        raise ValueError(f"{key}: the value begins or ends with a space")
    if value.endswith("\\"):
        raise ValueError(f"{key}: the value ends with a backslash, which would join the next line")
    return value


def _logical_lines(text: str, faults: list[Fault], file: str) -> Iterator[tuple[int, str]]:
    """Lines with continuations joined, and the number of the first; without comments and blank lines."""
    start, joined, open_ = 0, "", False
    for number, physical in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        content = physical.removesuffix("\r").strip(_BLANK)
        nothing = not content or content[0] in ";#"
        if open_ and (nothing or _SECTION.fullmatch(content)):
            # Haraka would join a later line, or none: the intention is unknown.
            faults.append(Fault(file, number - 1, "", "", "the line ends in a backslash, but no line follows"))
            open_ = False
        elif open_:
            content = joined + physical.removesuffix("\r").rstrip(_BLANK)
        if nothing:
            continue
        start = start if open_ else number
        open_ = content.endswith("\\")
        if open_:
            joined = content[:-1]
        else:
            yield start, content
    if open_:
        faults.append(Fault(file, start, "", "", "the line ends in a backslash, but the file ends here"))


class _Reader:
    """Parses logical lines and collects the results."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.section: str | None = MAIN
        """None after an invalid section line: the section of the following keys is unknown."""
        self.entries: list[IniEntry] = []
        self.sections: dict[str, int] = {}
        self.faults: list[Fault] = []
        self._seen: dict[tuple[str, str], IniEntry] = {}

    def read(self, line: int, content: str) -> None:
        """One logical line, neither blank nor comment."""
        if _CONTROL.search(content):
            self._fault(line, "a control character (a lone CR, a NUL, …) is in this line")
        elif content.startswith("["):
            self._open(line, content)
        elif match := _PARAM.fullmatch(content):
            if self.section is not None:
                self._add(IniEntry(self.file, line, self.section, match[1], match[3], match[2] is not None))
        else:
            self._fault(line, "the line is neither `key=value` nor `[section]`")  # unquoted: it may hold a password

    def _open(self, line: int, content: str) -> None:
        match = _SECTION.fullmatch(content)
        self.section = match[1] if match and match[1] else None
        if self.section is not None:
            self.sections.setdefault(self.section, line)
        else:
            self._fault(line, "the line is not a `[section]`")

    def _add(self, entry: IniEntry) -> None:
        self.sections.setdefault(entry.section, entry.line)
        first = self._seen.setdefault((entry.section, entry.key), entry)
        if first is not entry and not (first.is_item and entry.is_item):
            other = "" if first.is_item == entry.is_item else ", once as a list"
            self.faults.append(entry.fault(f"is given twice{other}: first in line {first.line}"))
        else:
            self.entries.append(entry)

    def _fault(self, line: int, message: str) -> None:
        self.faults.append(Fault(self.file, line, "", "", message))
