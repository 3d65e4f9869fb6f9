"""The key files of a configuration directory, for the command line: `dkim/SELECTOR._domainkey.DOMAIN.pem`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailboat.config.dkim import FOLDER, is_key_file, key_of, path_of
from mailboat.config.files import FileError
from mailboat.dkim.keys import Algorithm, SigningKey
from mailboat.loading.directory import read_file


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file, and its key or what is wrong with it."""

    path: Path
    key: SigningKey | None
    fault: str = ""


def key_file(directory: Path, selector: str, domain: str) -> Path:
    """Where the key of a selector and domain stands in a configuration directory."""
    return directory / path_of(selector, domain)


def read_keys(directory: Path) -> list[KeyFile]:
    """All key files of a configuration directory, by name. An RSA key takes about 1 ms.

    Raises:
        OSError: the folder `dkim` is there and cannot be read.
    """
    folder = directory / FOLDER
    if not folder.is_dir():
        return []
    return [_read(path) for path in sorted(folder.iterdir()) if is_key_file(path.name)]


def default_selector(day: str, algorithm: Algorithm) -> str:
    """A selector that sorts by age and tells what it is: `mb20261128r`; `day` is `YYYYMMDD`."""
    return f"mb{day}{algorithm.value[0]}"


def _read(path: Path) -> KeyFile:
    try:
        return KeyFile(path, key_of(path.name, read_file(path)))
    except (FileError, OSError, ValueError) as error:
        return KeyFile(path, None, str(error))
