"""DKIM keys in a configuration directory, and how a verifier that nobody here wrote judges a mail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import dkim
from tests.support.relay_process import RelayConfig

from mailboat.dkim.keys import Algorithm, SigningKey, make_key, to_pem

DOMAIN = "example.com"


def add_key(config: RelayConfig, algorithm: Algorithm, domain: str = DOMAIN, selector: str = "") -> SigningKey:
    """A new key, with a file of it in the directory."""
    key = SigningKey(domain, selector or algorithm.value, make_key(algorithm))
    path = path_of(config, key)
    path.parent.mkdir(exist_ok=True)
    fresh = path.parent / ".new"
    fresh.write_bytes(to_pem(key.private))
    fresh.rename(path)
    return key


def path_of(config: RelayConfig, key: SigningKey) -> Path:
    return config.directory / "dkim" / f"{key.dns_name}.pem"


def signatures_of(mail: bytes) -> list[dict[str, str]]:
    """The tags of each DKIM-Signature, from the top."""
    header = re.sub(rb"\r\n[ \t]+", b"", mail.partition(b"\r\n\r\n")[0])
    fields = [line for line in header.split(b"\r\n") if line.lower().startswith(b"dkim-signature:")]
    return [dict(re.findall(r"(\w+)=([^;]*)", field.partition(b":")[2].decode())) for field in fields]


def verified(mail: bytes, *keys: SigningKey) -> list[bool]:
    """What dkimpy says of each signature, from the top, where these keys are published."""
    return verified_by(mail, {key.dns_name: key.record for key in keys})


def verified_by(mail: bytes, records: Mapping[str, str]) -> list[bool]:
    """The same where these TXT records are published."""

    def texts(name: bytes, **_: object) -> bytes | None:
        record = records.get(name.decode().rstrip("."))
        return record.encode() if record else None

    def passes(number: int) -> bool:
        try:
            return bool(dkim.DKIM(mail).verify(number, dnsfunc=texts))
        except dkim.DKIMException:
            return False

    return [passes(number) for number in range(len(signatures_of(mail)))]
