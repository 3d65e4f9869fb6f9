"""`dkim.ini` and the Secrets with the keys that it names, from the SendingDomains of one OutboundConfig. Pure.

All of a domain is in one of the Secrets, chosen by the hash of its name: a change of one domain writes one Secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from mailboat.config import ini
from mailboat.config.dkim import DOMAIN, FILE
from mailboat.config.nouns import Signing
from mailboat.dkim.keys import dns_name
from mailboat_operator import names
from mailboat_operator.sending.signed import SignedDomain

_HEAD = "; Rendered by mailboat-operator; what is edited here is undone.\n"


def dkim_ini(domains: Sequence[SignedDomain]) -> str | None:
    """`dkim.ini`; None without SendingDomains. Comments name every key: the hash covers those that do not sign yet."""
    if not domains:
        return None
    held = [
        f"; {dns_name(selector, domain.domain)} {domain.hashes[selector]}\n"
        for domain in domains
        for selector in sorted(domain.hashes)
    ]
    return _HEAD + "".join(held) + ini.write({f"{DOMAIN}{domain.domain}": _section(domain) for domain in domains})


def dkim_files(domains: Sequence[SignedDomain]) -> dict[str, str]:
    """`dkim.ini` by its name, where there is one."""
    text = dkim_ini(domains)
    return {} if text is None else {FILE: text}


def dkim_secrets(domains: Iterable[SignedDomain]) -> dict[str, dict[str, bytes]]:
    """Contents of `names.DKIM_SECRETS`, by suffix."""
    secrets: dict[str, dict[str, bytes]] = {suffix: {} for suffix in names.DKIM_SECRETS}
    for domain in domains:
        secrets[_suffix(domain.domain)] |= domain.files
    return secrets


def _section(domain: SignedDomain) -> Mapping[str, str]:
    if not domain.signing:
        return {"signing": (Signing.HOLD if domain.hold else Signing.OFF).value}
    return {"selectors": ", ".join(f"{selector} {domain.hashes[selector]}" for selector in domain.signing)}


def _suffix(domain: str) -> str:
    number = int.from_bytes(hashlib.sha256(domain.encode()).digest()[:4], "big")
    return names.DKIM_SECRETS[number % len(names.DKIM_SECRETS)]
