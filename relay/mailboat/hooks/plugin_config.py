"""The files of plugins: read at load, and again at every reload, and applied together with all other changes.

A plugin keeps its `PluginConfig`, which has the new values after a reload. A change is checked before it is applied:
`PluginFiles.stage` reads and checks, `StagedFile.apply` sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mailboat.config import values
from mailboat.config.fault import Fault, Report
from mailboat.config.files import FileError
from mailboat.config.ini import MAIN, IniFile
from mailboat.loading.directory import ConfigDirectory
from mailboat.loading.fingerprint import Mark

_T = TypeVar("_T")
_V = TypeVar("_V")


class ConfigError(ValueError):
    """A value cannot be used; the message names file, line, section and key."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class PluginConfig(Generic[_T]):
    """The present content of one file. All reads are look-ups, cheap enough for a hook."""

    def __init__(self, name: str, directory: ConfigDirectory | None = None) -> None:
        self.name = name
        self._directory = directory
        """The directory for `content_of`, during `parse` only."""
        self.value: _T
        """The result of the plugin's `parse`; None without one."""
        self._set(IniFile(name), (), None)

    def _set(self, ini: IniFile, lines: tuple[str, ...], value: Any) -> None:
        self._ini = ini
        self._sections = ini.as_dict()
        self.lines = lines
        """The file as a list: its lines without comments and blank ones."""
        self.value = value

    @property
    def sections(self) -> tuple[str, ...]:
        """The names of its sections in order; `main` if there are keys before the first section."""
        return tuple(self._sections)

    def section(self, name: str = MAIN) -> Mapping[str, str | list[str]]:
        """The keys and values of a section: unparsed text, or a list for `key[]`; empty if there is no such section."""
        return self._sections.get(name, {})

    def get(self, key: str, default: str = "", section: str = MAIN) -> str:
        """The text of a key. ConfigError for a list."""
        found = self.section(section).get(key, default)
        if isinstance(found, list):
            raise ConfigError(self._ini.fault(section, key, f"takes one value: write {key}= without []"))
        return found

    def items(self, key: str, section: str = MAIN) -> list[str]:
        """The values of `key[]`, or the one of `key`; empty if it is missing."""
        found = self.section(section).get(key, [])
        return [found] if isinstance(found, str) else list(found)

    def boolean(self, key: str, default: bool = False, section: str = MAIN) -> bool:
        """True or false as the relay's own files spell them. ConfigError for anything else."""
        return self.read(key, values.boolean, default, section)

    def integer(self, key: str, default: int = 0, section: str = MAIN) -> int:
        """A whole number. ConfigError for anything else."""
        return self.read(key, values.integer(-(2**53), 2**53), default, section)

    def seconds(self, key: str, default: float = 0.0, section: str = MAIN) -> float:
        """A time: a number of seconds, or a number with `s`, `m`, `h` or `d`. ConfigError for anything else."""
        return self.read(key, values.seconds(0, 10 * 366 * 86400), default, section)

    def read(self, key: str, parse: Callable[[str], _V], default: _V, section: str = MAIN) -> _V:
        """The result of `parse` for the text; `default` if there is no such key. ConfigError for its ValueError."""
        if key not in self.section(section):
            return default
        try:
            return parse(self.get(key, section=section))
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(self._ini.fault(section, key, str(error))) from None

    def content_of(self, key: str, section: str = MAIN) -> bytes:
        """The content of the file that a key names, relative to the configuration directory. For `parse` only.

        ConfigError if it cannot be read. A later change leads to a reload, like that of the file itself.
        """
        path = self.get(key, section=section)
        if self._directory is None:
            raise RuntimeError("content_of can be called in `parse` only")
        try:
            return self._directory.named(path)
        except FileError as error:
            raise ConfigError(self._ini.fault(section, key, f"the file {error}")) from None


class StagedFile:
    """A file that was read again and is valid, before it is applied."""

    def __init__(self, config: PluginConfig[Any], ini: IniFile, lines: tuple[str, ...], value: Any) -> None:
        self.config, self.ini, self.lines, self.value = config, ini, lines, value

    def apply(self) -> None:
        self.config._set(self.ini, self.lines, self.value)  # noqa: SLF001 - its other half


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments of a plugin's request for a file."""

    config: PluginConfig[Any]
    parse: Callable[[PluginConfig[None]], Any] | None
    secret: bool


class PluginFiles:
    """The files that one plugin has asked for."""

    def __init__(self, directory: Path, copies: Path | None = None) -> None:
        """`copies`: the directory of a last good set, from which files without secrets are read instead."""
        self._directory = directory
        self._copies = copies
        self.contents: dict[str, bytes] = {}
        """The files without secrets, by name."""
        self.marks: dict[Path, Mark] = {}
        """Marks of all requested files, existing or not, taken before the first read."""
        self._asked: list[_Asked] = []

    def config(
        self, name: str, parse: Callable[[PluginConfig[None]], Any] | None, *, secret: bool = True
    ) -> PluginConfig[Any]:
        """Read a file for the first time. ConfigError with its first fault, or what `parse` raises."""
        asked = _Asked(PluginConfig(name), parse, secret)
        staged, faults = self._read(asked)
        if staged is None:
            raise ConfigError(faults[0])
        staged.apply()
        self._asked.append(asked)
        return asked.config

    def stage(self, copies: Path | None = None) -> tuple[list[StagedFile], list[Fault]]:
        """Read all files again; returns those to apply, and all faults."""
        staged, faults = [], []
        self._copies = copies
        self.marks.clear()
        self.contents.clear()
        for asked in self._asked:
            good, wrong = self._read(asked)
            faults += wrong
            if good is not None:
                staged.append(good)
        return staged, faults

    def _read(self, asked: _Asked) -> tuple[StagedFile | None, list[Fault]]:
        name, parse = asked.config.name, asked.parse
        if not _is_within(name):
            return None, [Fault(name, 0, "", "", "is not a file of the configuration directory")]
        report = Report()
        files = ConfigDirectory(self._directory, report, self.marks, None if asked.secret else self._copies)
        lines = tuple(line for _, line in files.lines(name) or ())
        ini = files.ini(name, files.content(name)) if name.endswith(".ini") else IniFile(name)
        if report.faults:
            return None, list(dict.fromkeys(report.faults))
        if not asked.secret:
            self.contents |= files.contents
        fresh: PluginConfig[None] = PluginConfig(name, files)
        staged = StagedFile(fresh, ini, lines, None)
        staged.apply()
        try:
            return StagedFile(asked.config, ini, lines, None if parse is None else parse(fresh)), []
        except ConfigError as error:
            return None, [error.fault]
        except ValueError as error:
            return None, [Fault(name, 0, "", "", str(error))]


def _is_within(name: str) -> bool:
    return bool(name) and "\0" not in name and not name.startswith("/") and ".." not in name.split("/")
