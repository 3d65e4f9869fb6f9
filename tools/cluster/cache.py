"""What is expensive to make is made once and kept outside the checkout: programs, images, under a name and a key.

`${XDG_CACHE_HOME:-~/.cache}/mailboat-e2e/NAME-KEY/`: the key is a digest of everything that the content comes from, so
an entry is never changed, only added or thrown away. Called by `programs` and `images`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

KEPT = 3
"""Entries of a name that stay: the ones that were used last, and besides them what was used a moment ago."""
MOMENT = 30 * 60.0
"""Seconds."""


def root() -> Path:
    """The directory of all entries."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mailboat-e2e"


def digest(base: Path, files: Iterable[Path], *more: str) -> str:
    """A key over files, their names below `base` included, and further words."""
    state = hashlib.sha256("\0".join(more).encode())
    for path in sorted(files):
        state.update(f"\0{path.relative_to(base)}\0{path.stat().st_mode & 0o111}\0".encode())
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()[:20]


def entry(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The directory of an entry. Where it is missing, `make` fills a directory that takes its place when it is whole.

    Two processes that want the same make it once. What `make` raises is raised; nothing is left of it then.
    """
    place = root() / f"{name}-{key}"
    with alone(name):
        # Whoever was here before and was killed has left this behind.
        for half in root().glob(f".{name}-*"):
            shutil.rmtree(half, ignore_errors=True)
        if not place.is_dir():
            fresh = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root()))
            try:
                make(fresh)
                fresh.chmod(0o755)
                fresh.rename(place)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        os.utime(place)
        _throw_away_old(name)
    return place


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Be the only process of this user that is here under this name."""
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _throw_away_old(name: str) -> None:
    entries = [path for path in root().glob(f"{name}-*") if path.name.removeprefix(f"{name}-").isalnum()]
    used = {path: path.stat().st_mtime for path in entries}
    for path in sorted(entries, key=lambda each: used[each])[:-KEPT]:
        if used[path] < time.time() - MOMENT:  # another process may be about to read it
            shutil.rmtree(path, ignore_errors=True)
