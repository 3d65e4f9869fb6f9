"""Chooses the configuration at start: the directory's, or with `--last-good` the last good set.

The supervisor and each worker choose separately, with the same result. `process` chooses again if plugins do not load,
which only a worker finds out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mailboat.app.build import WorkerOptions
from mailboat.app.last_good import FOLDER, LastGood, LastGoodError, find
from mailboat.config.fault import Fault
from mailboat.loading.fingerprint import Marks
from mailboat.loading.load import Loaded, load

log = logging.getLogger(__name__)


class BadConfigurationError(Exception):
    """There is no usable configuration; `reasons` are the lines to log."""

    def __init__(self, reasons: Sequence[object]) -> None:
        self.reasons = tuple(map(str, reasons))
        super().__init__("; ".join(self.reasons))


def begin(options: WorkerOptions) -> Loaded:
    """The configuration to start with; it has settings. Raises BadConfigurationError."""
    loaded = load(options.directory, os.environ)
    if loaded.settings is None:
        return fall_back(options, loaded, loaded.faults)
    if options.last_good and loaded.tolerated:
        try:
            return fall_back(options, loaded, loaded.tolerated)
        except BadConfigurationError as error:
            log.warning("%s", error.reasons[-1])  # no last good set: the tolerated faults are warnings
    return loaded


def fall_back(options: WorkerOptions, bad: Loaded, faults: Sequence[Fault], marks: Marks | None = None) -> Loaded:
    """The last good set instead of `bad`, which has these faults. Raises BadConfigurationError with them.

    `marks`: further files whose change causes another check of the directory.
    """
    if not options.last_good:
        raise BadConfigurationError(faults)
    if bad.stored_at:
        raise BadConfigurationError([*bad.refused, *_unusable(bad.stored_at, faults)])
    queue_dir = Path(bad.queue_dir)
    stored = _stored(queue_dir, faults)
    good = load(options.directory, os.environ, stored.path)
    if _stored(queue_dir, faults) != stored:
        raise BadConfigurationError([*faults, f"the last good set in {queue_dir / FOLDER} has changed since"])
    if good.settings is None:
        raise BadConfigurationError([*faults, *_unusable(stored.stored_at, good.faults)])
    if Path(good.queue_dir) != queue_dir:
        reason = f"the last good set in {queue_dir / FOLDER} is of a relay whose queue is in {good.queue_dir}"
        raise BadConfigurationError([*faults, reason])
    seen = {**good.marks, **(marks or {}), **bad.marks}
    return replace(good, marks=seen, stored_at=stored.stored_at, refused=tuple(faults))


def _stored(queue_dir: Path, faults: Sequence[Fault]) -> LastGood:
    """The complete stored set. Raises BadConfigurationError."""
    if not queue_dir.is_absolute():
        raise BadConfigurationError([*faults, "the place of the last good set is unknown: set MAILBOAT_QUEUE_DIR"])
    try:
        stored = find(queue_dir)
    except LastGoodError as error:
        raise BadConfigurationError([*faults, f"the last good set is not used: {error}"]) from None
    if stored is None:
        raise BadConfigurationError([*faults, f"there is no last good set in {queue_dir / FOLDER}"])
    return stored


def _unusable(stored_at: str, faults: Sequence[Fault]) -> list[str]:
    return [f"the last good set, of {stored_at}, cannot be used: {fault}" for fault in faults]
