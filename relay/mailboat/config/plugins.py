"""The files with the names and timeouts of plugins, and a digest of the code in `plugins.d`.

Called by `load`. Plugins are found and run by `mailboat.hooks.loader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from mailboat.config import values
from mailboat.config.fault import Report
from mailboat.config.files import ConfigFiles
from mailboat.config.hash import framed_digest
from mailboat.config.settings import PluginSettings
from mailboat.config.text import quoted

LIST = "plugins"
PLUGIN_DIRECTORY = "plugins.d"
TIMEOUT = "plugin_timeout"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
SHARED_MODULES = frozenset({"__init__", "_checks", "_hashing", "_passwords", "_selecting", "_turns"})
"""Modules in `mailboat.plugins` that are not plugins; a test compares it with the directory."""
_DEFAULT_TIMEOUT = 30.0
_timeout: Callable[[str], float] = values.seconds(0, 86400)


def read_plugins(files: ConfigFiles, report: Report) -> PluginSettings:
    """The plugin settings of the directory."""
    lines = _names(files, report)
    timeout = _seconds(files, TIMEOUT, report)
    timeouts = tuple(
        (name, seconds) for name in lines if (seconds := _seconds(files, f"{plain(name)}.timeout", report)) is not None
    )
    return PluginSettings(
        names=tuple(lines),
        lines=tuple(lines.values()),
        timeout=_DEFAULT_TIMEOUT if timeout is None else timeout,
        timeouts=timeouts,
        digest=framed_digest(tuple(_code(files, lines))) if lines else "",
    )


def plain(name: str) -> str:
    """A plugin's name as used for files and modules: Haraka's `auth/flat_file` is `auth_flat_file`."""
    return name.replace("/", "_")


def _names(files: ConfigFiles, report: Report) -> dict[str, int]:
    """Each name with its line, in order."""
    seen: dict[str, int] = {}
    for number, name in files.lines(LIST) or ():
        first = next((line for other, line in seen.items() if plain(other) == plain(name)), None)
        if plain(name) in SHARED_MODULES and not files.has(f"{PLUGIN_DIRECTORY}/{plain(name)}.py"):
            message = "is an internal module of Mailboat, not a plugin: a start ignores it, a reload is refused"
            report.tolerate(LIST, f"{name} {message}", number)
            continue
        if not _NAME.fullmatch(name):
            report.fault(LIST, f"{quoted(name)} is not the name of a plugin", number)
        elif first is not None:
            report.fault(LIST, f"{name} is listed twice: first in line {first}", number)
        seen.setdefault(name, number)
    return seen


def _seconds(files: ConfigFiles, name: str, report: Report) -> float | None:
    """The first line of a file as a time; None without the file."""
    for number, line in files.lines(name) or ():
        try:
            return _timeout(line)
        except ValueError as error:
            report.fault(name, str(error), number)
            break
    return None


def _code(files: ConfigFiles, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The files that may contain plugins; `mailboat.hooks` knows the files that plugins read."""
    for name in names:
        file = f"{PLUGIN_DIRECTORY}/{plain(name)}.py"
        content = files.content(file)
        if content is not None:
            yield file, content
