"""What the answers of the DNS make of a SendingDomain's keys. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from mailboat.dkim.keys import Algorithm, dns_name
from mailboat.dkim.record import Finding, Publication, judge, parse_record
from mailboat_operator.sending.keys import DomainKey, KeyState


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A key as `judge` compares it with the DNS."""

    dns_name: str
    record: str
    algorithm: Algorithm
    public: bytes


def judged(key: DomainKey, domain: str, servers: Mapping[str, tuple[str, ...]]) -> Finding:
    """What all servers say of one key: the first that shows something else than it should counts."""
    public = b""
    with contextlib.suppress(ValueError):
        public = parse_record(key.value).public
    recorded = _Recorded(dns_name(key.selector, domain), key.value, key.algorithm, public)
    for server, texts in servers.items():
        finding = judge(recorded, texts)
        if key.state is KeyState.REVOKED and finding.publication is Publication.REVOKED:
            continue
        if finding.publication is not Publication.PUBLISHED:
            return Finding(finding.publication, f"{server}: {finding.advice}")
    return Finding(Publication.PUBLISHED)
