"""The private keys of a configuration directory: `dkim/SELECTOR._domainkey.DOMAIN.pem`, named as the DNS has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailboat.config.hosts import domain_name
from mailboat.dkim.keys import Algorithm, KeyFault, SigningKey, parse_key, split_dns_name

DIRECTORY: Final = "dkim"
SUFFIX: Final = ".pem"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file, and its key or what is wrong with it."""

    path: Path
    key: SigningKey | None
    fault: str = ""


def key_file(directory: Path, selector: str, domain: str) -> Path:
    """Where the key of a selector and domain stands in a configuration directory."""
    return directory / DIRECTORY / f"{selector}._domainkey.{domain}{SUFFIX}"


def read_keys(directory: Path) -> list[KeyFile]:
    """All key files of a configuration directory, by name. Checking an RSA key takes about 0.1 s of CPU.

    Raises:
        OSError: the folder `dkim` is there and cannot be read.
    """
    folder = directory / DIRECTORY
    if not folder.is_dir():
        return []
    return [_read(path) for path in sorted(folder.iterdir()) if path.suffix == SUFFIX and not path.name.startswith(".")]


def default_selector(day: str, algorithm: Algorithm) -> str:
    """A selector that sorts by age and tells what it is: `mb20261128r`; `day` is `YYYYMMDD`."""
    return f"mb{day}{algorithm.value[0]}"


def _read(path: Path) -> KeyFile:
    try:
        selector, domain = split_dns_name(path.name.removesuffix(SUFFIX))
        private, warning = parse_key(path.read_bytes())
        return KeyFile(path, SigningKey(domain_name(domain), selector, private, warning))
    except OSError as error:
        return KeyFile(path, None, error.strerror or str(error))
    except (KeyFault, ValueError) as error:
        return KeyFile(path, None, str(error))
