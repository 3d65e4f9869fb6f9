"""Writes the new directory: whole or not at all, never over another one, with secrets readable by their owner only.

The result has passed the check of the relay: keys with faults are removed, and noted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from mailboat.config.fault import Fault
from mailboat.config.settings import Settings
from mailboat.haraka.product import NewFile, Product
from mailboat.loading.load import load

_ROUNDS = 100
"""Each takes a fault out; there are never so many."""


class TakenError(Exception):
    """There is something already."""


def write(product: Product, target: Path, more: Callable[[Settings], Iterable[Fault]] = lambda _: ()) -> None:
    """Write the directory beside `target` and put it there when it is good.

    `more` finds what the check of files cannot: faults of plugins. Raises TakenError when there is anything but an
    empty directory, OSError when it cannot be written.
    """
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise TakenError(f"{target} already exists; name a new or an empty directory")
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    trial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
    try:
        for _ in range(_ROUNDS):
            _write_all(product.all_files(), trial)
            loaded = load(trial, {})
            faults = loaded.faults if loaded.settings is None else more(loaded.settings)
            if not any([product.drop(fault) for fault in faults]):  # noqa: C419 - all of them, not only the first
                break
        trial.chmod(0o755)
        trial.rename(target)  # only an empty directory gives way to another one
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _write_all(files: dict[str, NewFile], directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    for name, file in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(file.content)
            os.fchmod(descriptor, 0o600 if file.is_secret else 0o644)
