"""The plugins of one worker: loaded, installed as a whole, replaced at a reload, closed.

`stage` does everything that can fail and changes nothing; `prepare` does the same in a thread, so that the event loop
is not blocked; `StagedPlugins.commit` swaps, on the event loop. `app` calls both; the command line checks a directory
with `stage` alone. A plugin with unchanged code keeps its state and gets its new files; one whose code has changed is
loaded again, and the old one is closed.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mailboat.config.fault import Fault
from mailboat.config.plugins import plain
from mailboat.config.settings import PluginSettings, Settings
from mailboat.hooks.chain import Hooks
from mailboat.hooks.metrics import Counters
from mailboat.hooks.plugin import AuthOffer, Hook, Numbers, Plugin
from mailboat.hooks.plugin_config import ConfigError, PluginFiles, StagedFile
from mailboat.hooks.points import POINTS
from mailboat.hooks.run import HookRuntime, close
from mailboat.hooks.source import PluginFaultError, PluginSource, fault_of, find, run
from mailboat.loading.fingerprint import Marks
from mailboat.model.observer import Observer

log = logging.getLogger(__name__)

PREFIX = "hook_"


class PluginsError(ValueError):
    """The configured plugins cannot be used; has all reasons."""

    def __init__(self, faults: Iterable[Fault], marks: Marks | None = None) -> None:
        self.faults = tuple(faults)
        self.marks = marks or {}
        """Of the files that plugins have read; see `fingerprint.changed`."""
        super().__init__("; ".join(map(str, self.faults)))


class RegistrationError(ValueError):
    """A function of a plugin cannot be a hook."""

    def __init__(self, message: str, function: object) -> None:
        super().__init__(message)
        code = getattr(function, "__code__", None)
        self.line: int = code.co_firstlineno if code is not None else 0
        """Where the function begins."""


@dataclass(frozen=True, slots=True)
class _LoadedPlugin:
    """A plugin whose code has run."""

    source: PluginSource
    plugin: Plugin
    files: PluginFiles


class Plugins:
    """All plugins of one worker."""

    def __init__(self, observer: Observer, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self._observer = observer
        self._runtime = HookRuntime.opened()
        self.hooks = self.chain((), ())
        """The plugins in force."""
        self.numbers: Numbers = dict
        """For `Plugin.numbers`; `app` sets it."""
        self.workers = 1
        """For `Plugin.workers`; `app` sets it."""
        self._loaded: dict[str, _LoadedPlugin] = {}
        self._files: list[PluginFiles] = []
        """Of the plugins staged last, even if they were refused."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[Plugin, list[asyncio.Task[Any]]] = {}
        """Tasks started by plugins."""
        self._closing: set[asyncio.Task[None]] = set()

    def marks(self) -> Marks:
        """Of the files that plugins have read, from before the first did; see `fingerprint.changed`."""
        return {path: mark for files in reversed(self._files) for path, mark in files.marks.items()}

    def contents(self) -> Mapping[str, bytes]:
        """The files without secrets that plugins have read."""
        return {name: content for files in self._files for name, content in files.contents.items()}

    async def prepare(self, settings: Settings) -> StagedPlugins:
        """`stage` in a thread, so that loading plugins does not block the event loop."""
        self._loop = asyncio.get_running_loop()
        return await asyncio.to_thread(self.stage, settings)

    def stage(self, settings: Settings) -> StagedPlugins:
        """Load the plugins listed in `settings`. Raises PluginsError without having changed anything."""
        directory, copies = Path(settings.directory), Path(settings.copies) if settings.copies else None
        staged = StagedPlugins(self, settings.plugins)
        self._files = []
        for name, line in zip(settings.plugins.names, settings.plugins.lines, strict=True):
            try:
                source = find(copies or directory, name, line)
                known = self._loaded.get(plain(name))
                if known is not None and known.source == source:
                    self._files.append(known.files)
                    files, faults = known.files.stage(copies)
                    staged.keep(known, files, faults)
                else:
                    staged.add(self._load(source, PluginFiles(directory, copies)))
            except PluginFaultError as error:
                staged.faults.append(error.fault)
        if staged.faults:
            faults = staged.faults
            staged.discard()
            raise PluginsError(faults, self.marks())
        return staged

    def _load(self, source: PluginSource, files: PluginFiles) -> _LoadedPlugin:
        """Run a plugin's code and let it register."""
        self._files.append(files)
        plugin = Plugin(source.name, self.counters.of(source.name), files, self.numbers)
        plugin.workers = self.workers
        code = run(source)
        try:
            register(plugin, code)
        except ConfigError as error:
            self.abandon(plugin)
            raise PluginFaultError(error.fault) from error
        except RegistrationError as error:
            self.abandon(plugin)
            raise PluginFaultError(Fault(source.shown, error.line, "", "", str(error))) from error
        except (Exception, SystemExit) as error:
            self.abandon(plugin)
            raise PluginFaultError(fault_of(source, error)) from error
        return _LoadedPlugin(source, plugin, files)

    def chain(self, hooks: Iterable[Hook], offers: Sequence[tuple[str, AuthOffer]]) -> Hooks:
        """Hooks that share the threads and tasks of this worker."""
        return Hooks(hooks, offers, self._observer, self._runtime)

    def install(self, plugins: dict[str, _LoadedPlugin], hooks: Hooks) -> None:
        """Put the staged plugins into force, and close those that they replace."""
        old, old_hooks = self._loaded, self.hooks
        self._loaded, self.hooks = plugins, hooks
        staying = {id(loaded.plugin) for loaded in plugins.values()}
        gone = [loaded.plugin for loaded in old.values() if id(loaded.plugin) not in staying]
        running = [task for plugin in gone for task in self._running.pop(plugin, ())]
        task = asyncio.get_running_loop().create_task(_retire(gone, old_hooks, running))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def start(self, plugin: Plugin) -> None:
        """Call the `on_start` functions of a plugin that is newly in force."""
        for starter in plugin.starters:
            try:
                begun = starter()
                if inspect.iscoroutine(begun):
                    task = asyncio.get_running_loop().create_task(begun)
                    task.add_done_callback(partial(_told, plugin))
                    self._running.setdefault(plugin, []).append(task)
            except Exception:
                log.exception("plugin %s could not be started", plugin.name)

    def abandon(self, plugin: Plugin) -> None:
        """Close a plugin that was never in force. Its async functions run in the background."""
        for closer in plugin.closers:
            try:
                pending = closer()
                if inspect.iscoroutine(pending):
                    loop = self._loop or asyncio.get_running_loop()
                    loop.call_soon_threadsafe(loop.create_task, pending)
            except Exception:
                log.exception("plugin %s could not be closed", plugin.name)

    def left_running(self) -> tuple[int, int]:
        """Number of tasks of plugins, including those of abandoned hooks, and of stuck threads."""
        return len(self._runtime.tasks) + self._runtime.stuck_tasks, self._runtime.stuck_threads

    async def close(self, grace: float) -> None:
        """Close every plugin after its hooks have ended. Takes at most `grace` seconds."""
        self.install({}, self.chain((), ()))
        _, late = await asyncio.wait(self._closing, timeout=grace)
        for task in late:
            task.cancel()
        close(self._runtime)


@dataclass(slots=True)
class StagedPlugins:
    """Plugins that are loaded but not in force yet. Call either `commit` or `discard`."""

    _owner: Plugins
    _settings: PluginSettings
    faults: list[Fault] = field(default_factory=list)
    _plugins: dict[str, _LoadedPlugin] = field(default_factory=dict)
    _fresh: list[Plugin] = field(default_factory=list)
    _files: list[StagedFile] = field(default_factory=list)

    def keep(self, loaded: _LoadedPlugin, files: list[StagedFile], faults: list[Fault]) -> None:
        """Keep a plugin, with its new files."""
        self._plugins[plain(loaded.source.name)] = loaded
        self._files += files
        self.faults += faults

    def add(self, loaded: _LoadedPlugin) -> None:
        """Add a plugin that is new or has new code."""
        self._plugins[plain(loaded.source.name)] = loaded
        self._fresh.append(loaded.plugin)

    def hooks(self) -> list[Hook]:
        """All hooks in the order in which the plugins are listed, with their timeouts."""
        timeouts = dict(self._settings.timeouts)
        return [
            replace(hook, timeout=timeouts.get(loaded.source.name, self._settings.timeout))
            for loaded in self._plugins.values()
            for hook in loaded.plugin.hooks
        ]

    def commit(self) -> Hooks:
        """Put them into force; on the event loop."""
        for file in self._files:
            file.apply()
        plugins = [loaded.plugin for loaded in self._plugins.values()]
        offers = [(plugin.name, offer) for plugin in plugins for offer in plugin.auth_offers]
        hooks = self._owner.chain(self.hooks(), offers)
        self._owner.install(self._plugins, hooks)
        for plugin in self._fresh:
            self._owner.start(plugin)
        return hooks

    def discard(self) -> None:
        """Drop them: new plugins are closed."""
        for plugin in self._fresh:
            self._owner.abandon(plugin)


def register(plugin: Plugin, code: object) -> None:
    """Let a module, or any object, register itself: `register(plugin)` first, then its functions `hook_POINT`.

    RegistrationError for a function without a hook point, or with the wrong parameters; and exceptions of `register`.
    """
    setup = getattr(code, "register", None)
    if setup is not None:
        setup(plugin)
    registered = {hook.function for hook in plugin.hooks}
    for name, function in _functions(code):
        if function not in registered:  # else `register` has registered it, with its own priority
            try:
                plugin.register_hook(name.removeprefix(PREFIX), function)
            except ValueError as error:
                raise RegistrationError(str(error), function) from None
    for hook in plugin.hooks:
        _check_signature(hook)


def _functions(code: object) -> Iterator[tuple[str, Any]]:
    names: Mapping[str, object] | list[str] = vars(code) if inspect.ismodule(code) else dir(code)
    for name in names:  # those of a module in the order of its source
        if name.startswith(PREFIX):
            yield name, getattr(code, name)


def _check_signature(hook: Hook) -> None:
    parameters = POINTS[hook.point].parameters
    name = getattr(hook.function, "__name__", repr(hook.function))
    if inspect.isasyncgenfunction(hook.function) or inspect.isgeneratorfunction(hook.function):
        raise RegistrationError(f"{name} is a generator: a hook must return its answer", hook.function)
    try:
        inspect.signature(hook.function).bind(*parameters)
    except TypeError:
        raise RegistrationError(f"{name} must take ({', '.join(parameters)})", hook.function) from None
    except ValueError:
        pass  # some callables written in C have no signature


def _told(plugin: Plugin, task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task that plugin %s started failed", plugin.name, exc_info=error)


async def _retire(plugins: list[Plugin], hooks: Hooks, running: Sequence[asyncio.Task[Any]]) -> None:
    """Close replaced plugins after their running hooks have ended."""
    await hooks.drained()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for plugin in plugins:
        for closer in plugin.closers:
            try:
                pending = closer()
                if inspect.isawaitable(pending):
                    await asyncio.wait_for(pending, 10.0)
            except Exception:
                log.exception("plugin %s could not be closed", plugin.name)


__all__ = ["PREFIX", "Plugins", "PluginsError", "StagedPlugins", "register"]
