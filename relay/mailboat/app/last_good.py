"""The last good set: copies of the configuration directory's own files, in `last-good` below the queue directory.

    last-good/manifest.json     the folder of the set, when it was stored, and the SHA-256 of each file
    last-good/set-…/…           the files, under their names

`store` writes a set whole: its files, then the manifest that names them, each durable before the next step, so that the
manifest names the old set or the new one at every moment. `find` accepts only a set that matches its manifest exactly.
Does not interpret the files; `worker` stores, `start` finds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from mailboat.config.files import FileError
from mailboat.loading.directory import read_file
from mailboat.model.clock import rfc3339
from mailboat.queue.lock import make_directory, sync_directory

FOLDER = "last-good"
MANIFEST = "manifest.json"
_PREFIX = "set-"


class LastGoodError(Exception):
    """The stored set cannot be used; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class LastGood:
    """A complete stored set."""

    path: Path
    """The folder of its files."""
    stored_at: str
    """RFC 3339, UTC."""
    digests: Mapping[str, str]
    """SHA-256 of each file, in hexadecimal."""


def store(queue_dir: Path, contents: Mapping[str, bytes], now: float) -> None:
    """Store these files as the last good set; nothing is written if they already are. OSError or StorageError."""
    folder = queue_dir / FOLDER
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    before = None
    with suppress(LastGoodError):  # one that is damaged is replaced
        before = find(queue_dir)
    if before is not None and before.digests == digests:
        _sweep(folder, before.path)
        return
    make_directory(folder)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))  # 0700
    try:
        for name, content in contents.items():
            _write(path, name, content)
        for directory in [path, *(entry for entry in path.rglob("*") if entry.is_dir()), folder]:
            sync_directory(directory)
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
        raise
    manifest = orjson.dumps({"set": path.name, "stored_at": rfc3339(now), "files": digests})
    _write(folder, f".{MANIFEST}", manifest)
    (folder / f".{MANIFEST}").replace(folder / MANIFEST)
    sync_directory(folder)
    # The previous set stays: another worker may be reading it.
    _sweep(folder, path, before.path if before else path)


def _sweep(folder: Path, *kept: Path) -> None:
    """Remove all other sets, and incomplete files left by a kill."""
    for path in folder.glob(f"{_PREFIX}*"):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def find(queue_dir: Path) -> LastGood | None:
    """The stored set; None if there is none. LastGoodError if it is damaged."""
    folder = queue_dir / FOLDER
    try:
        manifest = orjson.loads(read_file(folder / MANIFEST))
        found = LastGood(folder / manifest["set"], manifest["stored_at"], _digests(manifest["files"]))
    except FileNotFoundError:
        return None
    except FileError as error:
        raise LastGoodError(f"{folder / MANIFEST} {error}") from None
    except (ValueError, TypeError, KeyError):
        raise LastGoodError(f"{folder / MANIFEST} is damaged") from None
    if not found.path.name.startswith(_PREFIX) or found.path.parent != folder:
        raise LastGoodError(f"{folder / MANIFEST} is damaged")
    there = {path.relative_to(found.path).as_posix() for path in found.path.rglob("*") if not _is_folder(path)}
    for name in sorted(there - found.digests.keys()):
        raise LastGoodError(f"{found.path / name} was not stored in the set")
    for name, digest in found.digests.items():
        _check(found.path / name, digest)
    return found


def _digests(files: dict[Any, Any]) -> dict[str, str]:
    found = {str(name): str(digest) for name, digest in dict(files).items()}
    if not all(map(_is_within, found)):
        raise ValueError("not the name of a file of the set")
    return found


def _is_within(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _check(path: Path, digest: str) -> None:
    try:
        content = read_file(path)
    except FileNotFoundError:
        raise LastGoodError(f"{path} is missing") from None
    except FileError as error:
        raise LastGoodError(f"{path} {error}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise LastGoodError(f"{path} is not as it was stored")


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a file that only this user can read, and sync it."""
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
