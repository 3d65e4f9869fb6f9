"""Finds a plugin by its name and runs its code: a file of `plugins.d`, a shipped module, or an installed entry point.

Only `loader` and the command line call it. Every error becomes a fault with a file and, if known, a line, including all
exceptions of a plugin's code during import.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from types import ModuleType

from mailboat.config.fault import Fault
from mailboat.config.files import FileError, decode
from mailboat.config.plugins import PLUGIN_DIRECTORY, plain
from mailboat.loading.directory import read_file

SHIPPED = "mailboat.plugins"
"""The package of the shipped plugins, and the group of entry points of installed ones."""


class PluginKind(StrEnum):
    """The origin of a plugin."""

    FILE = "file"
    SHIPPED = "shipped"
    INSTALLED = "installed"


@dataclass(frozen=True, slots=True)
class PluginSource:
    """A plugin that was found but not run yet. Equal sources are the same code."""

    name: str
    """As in `config/plugins`."""
    kind: PluginKind
    where: str
    """Path of the file, name of the module, or value of the entry point."""
    digest: str = ""
    """Hash of a file's content; empty for installed code, which does not change while a process runs."""

    @property
    def shown(self) -> str:
        """The source for messages: a file of the configuration directory, a module, or an entry point's value."""
        return _shown(plain(self.name)) if self.kind is PluginKind.FILE else self.where


class PluginFaultError(Exception):
    """A plugin cannot be used."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def find(directory: Path, name: str, line: int = 0) -> PluginSource:
    """The plugin of that name; `line` is its line in `plugins`. Raises PluginFaultError if there is none."""
    module = plain(name)
    path = directory / PLUGIN_DIRECTORY / f"{module}.py"
    try:
        return PluginSource(name, PluginKind.FILE, str(path), hashlib.sha256(read_file(path)).hexdigest())
    except FileNotFoundError:
        pass
    except FileError as error:
        raise PluginFaultError(Fault(_shown(module), 0, "", "", str(error))) from None
    if (
        module.isidentifier()
        and not module.startswith("_")
        and importlib.util.find_spec(f"{SHIPPED}.{module}") is not None
    ):
        return PluginSource(name, PluginKind.SHIPPED, f"{SHIPPED}.{module}")
    for entry in metadata.entry_points(group=SHIPPED):
        if entry.name in (name, module):
            return PluginSource(name, PluginKind.INSTALLED, entry.value)
    there = ", ".join(dict.fromkeys(source.name for source in available(directory))) or "none"
    message = f"there is no plugin {name}: neither {_shown(module)}, nor a shipped or installed one; there are: {there}"
    raise PluginFaultError(Fault("plugins", line, "", "", message))


def available(directory: Path | None) -> Iterator[PluginSource]:
    """All plugins that could be listed in `plugins`, in the order in which names are looked up."""
    if directory is not None:
        folder = directory / PLUGIN_DIRECTORY
        names = sorted(path.stem for path in folder.glob("*.py")) if folder.is_dir() else []
        yield from (PluginSource(name, PluginKind.FILE, str(folder / f"{name}.py")) for name in names)
    spec = importlib.util.find_spec(SHIPPED)
    for module in pkgutil.iter_modules(spec.submodule_search_locations if spec else None):
        if not module.name.startswith("_"):
            yield PluginSource(module.name, PluginKind.SHIPPED, f"{SHIPPED}.{module.name}")
    for entry in sorted(metadata.entry_points(group=SHIPPED)):
        yield PluginSource(entry.name, PluginKind.INSTALLED, entry.value)


def run(source: PluginSource) -> object:
    """Run the plugin's code: its module, or the object of its entry point. Raises PluginFaultError."""
    try:
        match source.kind:
            case PluginKind.FILE:
                return _run_file(source)
            case PluginKind.SHIPPED:
                return importlib.import_module(source.where)
            case PluginKind.INSTALLED:
                return metadata.EntryPoint(source.name, source.where, SHIPPED).load()
    except (Exception, SystemExit) as error:
        raise PluginFaultError(fault_of(source, error)) from error


def fault_of(source: PluginSource, error: BaseException) -> Fault:
    """The fault for an exception during loading, with the nearest line of the plugin's code."""
    line = 0
    if isinstance(error, SyntaxError) and error.filename == source.where:
        line = error.lineno or 0
    else:
        file = (
            source.where if source.kind is PluginKind.FILE else source.where.partition(":")[0].replace(".", "/") + ".py"
        )
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno or 0 for f in reversed(frames) if f.filename.endswith(file)), 0)
    text = str(error).partition("\n")[0]
    return Fault(source.shown, line, "", "", f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _run_file(source: PluginSource) -> ModuleType:
    """Run a file. Its module is put into `sys.modules`, where dataclasses and pickle look for it."""
    name = f"mailboat_plugins_d.{plain(source.name)}"
    module = ModuleType(name)
    module.__file__ = source.where
    code = compile(decode(read_file(Path(source.where))), source.where, "exec", dont_inherit=True)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - this is what a plugin is
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


def _shown(module: str) -> str:
    return f"{PLUGIN_DIRECTORY}/{module}.py"
