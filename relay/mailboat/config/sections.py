"""Converts an ini section to the fields of a settings class, by the metadata of its keys. Pure; called by `load` and
its parts.

Unknown names are warnings, never faults: a file may be written for a newer Mailboat, or for Haraka.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from mailboat.config.fault import Fault, Report
from mailboat.config.ini import MAIN, IniEntry, IniFile
from mailboat.config.legacy import REMOVED_KEYS, REMOVED_SECTIONS
from mailboat.config.settings import NamedKey, keys_of
from mailboat.config.text import quoted


def read_section(file: IniFile, section: str, kind: type, report: Report) -> dict[str, Any]:
    """The values of a section, by field name. A key with a fault is reported and skipped."""
    known = _known(kind)
    values: dict[str, Any] = {}
    for entry in file.of(section):
        key = known.get(entry.key)
        if key is None:
            report.warnings.append(_unknown_key(entry, known))
            continue
        try:
            value = parse_entry(entry, key.key.parse, is_list=key.is_list)
        except ValueError as error:
            report.faults.append(entry.fault(str(error)))
            continue
        values[key.field] = values.get(key.field, ()) + value if key.is_list else value
    return values


def warn_of_sections(file: IniFile, known: Collection[str], report: Report) -> None:
    """Warn of sections that are not `known`; a known name that ends in `:` is a prefix."""
    for section, line in file.sections.items():
        if section in known or any(name.endswith(":") and section.startswith(name) for name in known):
            continue
        removed = REMOVED_SECTIONS.get(file.file, {}).get(section)
        message = f"is not read: {removed}" if removed else f"unknown section{nearest(section, known)}"
        report.warnings.append(Fault(file.file, line, section, "", message))


def named_sections(file: IniFile, prefix: str, names: re.Pattern[str], report: Report) -> Iterator[tuple[str, str]]:
    """The sections that begin with `prefix`, such as `route:`, and their names; a name that is not in `names` is a
    fault."""
    for section, line in file.sections.items():
        if not section.startswith(prefix):
            continue
        name = section.removeprefix(prefix)
        if not names.fullmatch(name):
            message = f"{quoted(name)} is not a {prefix.rstrip(':')}'s name: letters, digits, `.`, `_` and `-`"
            report.faults.append(Fault(file.file, line, section, "", message))
        yield section, name


def nearest(name: str, known: Iterable[str], alike: float = 0.6) -> str:
    """A suggestion for the end of a message; empty if no name is similar enough (`alike`; 1.0 is equal)."""
    lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=alike)
    return f"; did you mean {lower[close[0]]}?" if close else ""


def parse_entry(entry: IniEntry, parse: Callable[[str], Any], *, is_list: bool = False) -> Any:
    """The value of an entry; ValueError with the reason, also for a list in place of a value or vice versa."""
    if entry.is_item and not is_list:
        raise ValueError(f"takes one value: write {entry.key}= without []")
    if is_list and not entry.is_item:
        # As an unknown key it would be ignored, and a host would lose its required TLS.
        raise ValueError(f"is a list: write {entry.key}[]=, one line for each item")
    return parse(entry.value)


@cache
def _known(kind: type) -> Mapping[str, NamedKey]:
    """Cached: thousands of routes have the same keys."""
    return {key.ini: key for key in keys_of(kind)}


def _unknown_key(entry: IniEntry, known: Collection[str]) -> Fault:
    removed = REMOVED_KEYS.get(entry.file, {}).get(entry.key)
    if removed:
        return entry.fault(f"is not read: {removed}")
    where = "" if entry.section == MAIN else f" in [{entry.section}]"
    return entry.fault(f"unknown key{where}{nearest(entry.key, known)}")


def one_line(text: str) -> str:
    """External text (an OpenSSL error, a name) as part of a message."""
    return text if text.isprintable() else quoted(text)
