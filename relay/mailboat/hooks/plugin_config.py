"""The files of plugins: read at load, read again at every reload, swapped together with everything else.

A plugin keeps its `PluginConfig` and reads from it: after a reload it holds the new values. A change is checked before
it is applied: `PluginFiles.stage` reads and checks, `StagedFile.apply` sets.
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
    """One file, as it is now. All reads are look-ups: cheap enough for a hook."""

    def __init__(self, name: str, directory: ConfigDirectory | None = None) -> None:
        self.name = name
        self._directory = directory
        """Where `parse` may read more; not kept."""
        self.value: _T
        """What the plugin's own `parse` made of the file; None without one."""
        self._set(IniFile(name), (), None)

    def _set(self, ini: IniFile, lines: tuple[str, ...], value: Any) -> None:
        self._ini = ini
        self._sections = ini.as_dict()
        self.lines = lines
        """The file as a list: its lines without comments and blank ones."""
        self.value = value

    @property
    def sections(self) -> tuple[str, ...]:
        """The names of its sections in order; `main` where keys stand before any section."""
        return tuple(self._sections)

    def section(self, name: str = MAIN) -> Mapping[str, str | list[str]]:
        """The keys and values of a section, text as it stands and lists where the file has `key[]`; else empty."""
        return self._sections.get(name, {})

    def get(self, key: str, default: str = "", section: str = MAIN) -> str:
        """The text of a key. ConfigError for a list."""
        found = self.section(section).get(key, default)
        if isinstance(found, list):
            raise ConfigError(self._ini.fault(section, key, f"takes one value: write {key}= without []"))
        return found

    def items(self, key: str, section: str = MAIN) -> list[str]:
        """The values of `key[]`, or the one of `key`; none where it is missing."""
        found = self.section(section).get(key, [])
        return [found] if isinstance(found, str) else list(found)

    def boolean(self, key: str, default: bool = False, section: str = MAIN) -> bool:
        """True or false as the relay's own files spell them. ConfigError for anything else."""
        return self.read(key, values.boolean, default, section)

    def integer(self, key: str, default: int = 0, section: str = MAIN) -> int:
        """A whole number. ConfigError for anything else."""
        return self.read(key, values.integer(-(2**53), 2**53), default, section)

    def seconds(self, key: str, default: float = 0.0, section: str = MAIN) -> float:
        """A time: a number of seconds, or with `s`, `m`, `h`, `d` behind it. ConfigError for anything else."""
        return self.read(key, values.seconds(0, 10 * 366 * 86400), default, section)

    def read(self, key: str, parse: Callable[[str], _V], default: _V, section: str = MAIN) -> _V:
        """What `parse` makes of the text; `default` where there is no such key. ConfigError for its ValueError."""
        if key not in self.section(section):
            return default
        try:
            return parse(self.get(key, section=section))
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(self._ini.fault(section, key, str(error))) from None

    def content_of(self, key: str, section: str = MAIN) -> bytes:
        """What the file holds that a key names, relative to the configuration directory. For `parse` only.

        ConfigError when it cannot be read. A later change is seen like that of the file itself.
        """
        path = self.get(key, section=section)
        if self._directory is None:
            raise RuntimeError("content_of can be called in `parse` only")
        try:
            return self._directory.named(path)
        except FileError as error:
            raise ConfigError(self._ini.fault(section, key, f"the file {error}")) from None


class StagedFile:
    """A file that was read again and found good, before it is applied."""

    def __init__(self, config: PluginConfig[Any], ini: IniFile, lines: tuple[str, ...], value: Any) -> None:
        self.config, self.ini, self.lines, self.value = config, ini, lines, value

    def apply(self) -> None:
        self.config._set(self.ini, self.lines, self.value)  # noqa: SLF001 - its other half


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a plugin said when it asked for a file."""

    config: PluginConfig[Any]
    parse: Callable[[PluginConfig[None]], Any] | None
    secret: bool


class PluginFiles:
    """The files that one plugin has asked for."""

    def __init__(self, directory: Path, copies: Path | None = None) -> None:
        """`copies`: the folder of a last good set, where files without secrets are read instead."""
        self._directory = directory
        self._copies = copies
        self.contents: dict[str, bytes] = {}
        """The files without secrets that there were, by name."""
        self.marks: dict[Path, Mark] = {}
        """Of all that was read, there or not, from before it was first read."""
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
        """Read all of them again; what is to be applied, and what is wrong with any."""
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
