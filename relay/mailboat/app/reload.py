"""Live reload: detects changed files, checks them as a whole, and applies them or reports why not.

Slow work, reading files and running plugins, is done in threads; the swap is one step on the event loop.

Polls the marks of a few files instead of using inotify, so that it also detects the `..data` swap of a Kubernetes
volume, files outside the directory, and changes on network file systems.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from mailboat.config.settings import Settings
from mailboat.loading.fingerprint import Mark, Marks, changed, file_mark
from mailboat.loading.load import Loaded, load, restart_needed
from mailboat.model.clock import Clock
from mailboat.model.observer import ConfigReloaded, Observer

log = logging.getLogger(__name__)

PERIOD = 0.3
"""Seconds between two checks; a change is applied within 1 s."""
RETRY = 10.0
"""Seconds until a reload that failed without a fault of the files is retried."""
DELIVERY_FILES = frozenset(("outbound.ini", "tls.ini"))
"""Without them a relay delivers with defaults."""


class ConfigWatch:
    """Follows one configuration directory."""

    def __init__(
        self, directory: Path, first: Loaded, clock: Clock, observer: Observer, plugins: Callable[[], Marks] = dict
    ) -> None:
        """`first` is the configuration at start; it has settings. `plugins` returns the marks of files that plugins
        read."""
        assert first.settings is not None
        self._directory = directory
        self._clock = clock
        self._observer = observer
        self._marks = first.marks
        self._plugins = plugins
        self._seen: dict[Path, Mark] = {}
        """Marks at the last check of plugins' files that have changed since they were read."""
        self._retry_at: float | None = None
        self.settings: Settings = first.settings
        """The configuration in force."""
        self._used = first.contents.keys() & DELIVERY_FILES
        self.loaded_at = clock.now()
        self._stored_at = first.stored_at
        self.error: str | None = self._why("; ".join(map(str, first.refused))) if first.refused else None
        """Why the present files were refused."""
        self.tolerated = first.tolerated
        """Faults that the start tolerated; empty after a reload."""
        self.applied: Callable[[Loaded], Awaitable[None]] = _ignored
        """Called after a configuration was put into force."""

    async def run(self, apply: Callable[[Settings], Awaitable[None]]) -> None:
        """Check until cancelled. `apply` applies settings, or raises OSError or ValueError without changing any."""
        if self.error is not None:
            log.error("the configuration is refused: %s", self.error)
            self._observer.config_reloaded(ConfigReloaded(self.settings.hash, self.error))
        while True:
            await asyncio.sleep(PERIOD)
            await self.look(apply)

    async def look(self, apply: Callable[[Settings], Awaitable[None]]) -> None:
        """Check once, and apply changes."""
        late = self._retry_at is not None and self._clock.monotonic() >= self._retry_at
        plugins = self._plugins_changed()
        if not (late or plugins or changed(self._marks)):
            return
        self._retry_at = None
        try:
            await self._reload(apply, plugins=plugins)
        except Exception as error:  # a bug, maybe of a plugin: the files may be valid, and a retry may succeed
            log.exception("the new configuration could not be applied")
            self._retry_at = self._clock.monotonic() + RETRY
            self._refuse(f"internal error, see the log of the relay: {type(error).__name__}")

    def _plugins_changed(self) -> bool:
        """Whether a file that a plugin has read has changed since the last check."""
        now = {path: mark for path, was in self._plugins().items() if (mark := file_mark(path)) != was}
        news = bool(now) and now != self._seen
        self._seen = now
        return news

    async def _reload(self, apply: Callable[[Settings], Awaitable[None]], *, plugins: bool) -> None:
        loaded = await asyncio.to_thread(load, self._directory, os.environ)
        self._marks = loaded.marks
        for warning in loaded.warnings:
            log.warning("%s", warning)
        if loaded.settings is None or loaded.tolerated:
            self._refuse("; ".join(str(fault) for fault in (*loaded.faults, *loaded.tolerated)))
        elif vanished := self._used - loaded.contents.keys():
            # Otherwise, deleting a ConfigMap would send mail for a smart host by MX, from any address.
            self._refuse(f"{' and '.join(sorted(vanished))} vanished; to run without, restart")
        elif self.settings.signer and not loaded.settings.signer and loaded.settings.dkim.enabled:
            self._refuse("all keys in dkim/ vanished; to run without, set enabled=false in dkim.ini, or restart")
        else:
            self._used |= loaded.contents.keys() & DELIVERY_FILES
            if loaded.settings != self.settings or self.error is not None or plugins:
                await self._apply(loaded, loaded.settings, apply)

    async def _apply(self, loaded: Loaded, new: Settings, apply: Callable[[Settings], Awaitable[None]]) -> None:
        old = self.settings
        try:
            await apply(new)
        except (OSError, ValueError) as error:
            self._refuse(str(error))
            return
        self.settings = new
        self._stored_at = ""
        self.loaded_at = self._clock.now()
        self.error = None
        self.tolerated = ()
        for key in restart_needed(old, new):
            log.warning("%s changed: this takes effect at the next restart", key)
        await self.applied(loaded)
        self._observer.config_reloaded(ConfigReloaded(new.hash))

    def _why(self, error: str) -> str:
        """Why the files were refused, and which configuration is in force instead, if it is the last good set."""
        return f"the last good set, of {self._stored_at}, is in force: {error}" if self._stored_at else error

    def _refuse(self, reason: str) -> None:
        error = self._why(reason)
        if error == self.error:
            return
        self.error = error
        log.error("the new configuration is refused, the last good one stays in force: %s", error)
        self._observer.config_reloaded(ConfigReloaded(self.settings.hash, error))


async def _ignored(_: Loaded) -> None:
    """The default of `applied`."""
