"""Live reload: sees that files changed, checks them as a whole, and has them taken or says why not.

Polls the marks of a few files instead of listening to the kernel: that also sees the `..data` swap of a Kubernetes
volume, files outside the directory, and network file systems.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from mailboat.config.fingerprint import fingerprint
from mailboat.config.load import Loaded, load, restart_needed
from mailboat.config.settings import Settings
from mailboat.model.clock import Clock
from mailboat.model.observer import ConfigReloaded, Observer

log = logging.getLogger(__name__)

PERIOD = 0.3
"""Seconds between two looks; a change is taken within 1 s."""
DELIVERY_FILES = frozenset(("outbound.ini", "tls.ini"))
"""Without them a relay delivers with defaults."""


class ConfigWatch:
    """Follows one configuration directory."""

    def __init__(self, directory: Path, first: Loaded, clock: Clock, observer: Observer) -> None:
        """`first` is what the relay started with; it has settings."""
        assert first.settings is not None
        self._directory = directory
        self._clock = clock
        self._observer = observer
        self._outside = first.outside
        self._marks = first.fingerprint
        self.settings: Settings = first.settings
        """What is in force."""
        self._used = first.present & DELIVERY_FILES
        self.loaded_at = clock.now()
        self.error: str | None = None
        """Why the files as they are now were refused."""

    async def run(self, take: Callable[[Settings], None]) -> None:
        """Look until cancelled. `take` puts settings into force, or raises OSError or ValueError and changes none."""
        while True:
            await asyncio.sleep(PERIOD)
            try:
                self.look(take)
            except Exception:  # a reload that fails for a bug must not be the last one
                log.exception("the new configuration could not be taken")

    def look(self, take: Callable[[Settings], None]) -> None:
        """Look once, and take what changed."""
        if fingerprint(self._directory, self._outside) == self._marks:
            return
        loaded = load(self._directory, os.environ)
        self._outside, self._marks = loaded.outside, loaded.fingerprint
        for warning in loaded.warnings:
            log.warning("%s", warning)
        if loaded.settings is None:
            self._refuse("; ".join(str(fault) for fault in loaded.faults))
        elif vanished := self._used - loaded.present:
            # Not by accident: mail for a smart host would go by MX, from any address, because a ConfigMap was deleted.
            self._refuse(f"{' and '.join(sorted(vanished))} vanished; to go on without, restart")
        else:
            self._used |= loaded.present & DELIVERY_FILES
            if loaded.settings != self.settings or self.error is not None:
                self._take(loaded.settings, take)

    def _take(self, new: Settings, take: Callable[[Settings], None]) -> None:
        old = self.settings
        try:
            take(new)
        except (OSError, ValueError) as error:
            self._refuse(str(error))
            return
        self.settings = new
        self.loaded_at = self._clock.now()
        self.error = None
        for key in restart_needed(old, new):
            log.warning("%s changed: it takes effect with the next restart", key)
        self._observer.config_reloaded(ConfigReloaded(new.hash))

    def _refuse(self, error: str) -> None:
        if error == self.error:
            return
        self.error = error
        log.error("the new configuration is refused, the last good one stays: %s", error)
        self._observer.config_reloaded(ConfigReloaded(self.settings.hash, error))
