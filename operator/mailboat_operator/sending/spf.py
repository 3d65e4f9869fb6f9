"""What SPF makes of the addresses that the mail of a domain comes from: the condition SPFPasses. Pure.

Bounces have no sender, and are judged by the EHLO name instead (RFC 7208 2.4). A name without a record is no fault.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final

from mailboat.config.nouns import IPAddress
from mailboat_operator.conditions import Verdict, short
from mailboat_operator.spf.check_host import SpfHost, SpfResult
from mailboat_operator.spf.record import SpfWord, spf_records


class SpfReason(StrEnum):
    """Reasons of SPFPasses."""

    SPF_PASSES = "SPFPasses"
    SPF_MISSING = "SPFMissing"
    SPF_MULTIPLE = "SPFMultiple"
    SPF_PERM_ERROR = "SPFPermError"
    SPF_FAIL = "SPFFail"
    SPF_SOFT_FAIL = "SPFSoftFail"
    SPF_NEUTRAL = "SPFNeutral"
    SOURCE_UNKNOWN = "SourceUnknown"
    DNS_UNAVAILABLE = "DNSUnavailable"


_OF_RESULTS: Final = {
    SpfWord.PERMERROR: SpfReason.SPF_PERM_ERROR,
    SpfWord.FAIL: SpfReason.SPF_FAIL,
    SpfWord.SOFTFAIL: SpfReason.SPF_SOFT_FAIL,
    SpfWord.NEUTRAL: SpfReason.SPF_NEUTRAL,
    SpfWord.NONE: SpfReason.SPF_MISSING,
}
"""Of all results that are no pass, the worst first."""
_OF_HOSTS: Final = {
    SpfWord.PERMERROR: SpfReason.SPF_PERM_ERROR,
    SpfWord.FAIL: SpfReason.SPF_FAIL,
    SpfWord.SOFTFAIL: SpfReason.SPF_SOFT_FAIL,
    SpfWord.TEMPERROR: SpfReason.DNS_UNAVAILABLE,
}
_NAMED: Final = 8
"""Addresses that a message names."""


@dataclass(frozen=True, slots=True)
class SpfFindings:
    """What is known of a domain."""

    domain: str
    texts: tuple[str, ...] | str
    """Its TXT records; a text: why the DNS gives none."""
    addresses: tuple[IPAddress, ...] = ()
    """Where its mail comes from."""
    unknown: str = ""
    """Why these may not be all; empty: they are."""
    results: Mapping[IPAddress, SpfResult] = field(default_factory=dict)
    """What each address got, as far as it was asked for."""
    hosts: Mapping[SpfHost, SpfResult | None] = field(default_factory=dict)
    """The same by EHLO name; None: it was not asked for yet."""


def spf_verdict(found: SpfFindings) -> Verdict | None:
    """The condition SPFPasses; None: not all addresses were asked for yet."""
    if isinstance(found.texts, str):
        return Verdict("Unknown", SpfReason.DNS_UNAVAILABLE, found.texts or "the DNS has not been asked yet")
    records = spf_records(found.texts)
    if len(records) > 1:
        message = f"remove all but one of the {len(records)} records: verifiers take none"
        return Verdict("False", SpfReason.SPF_MULTIPLE, message)
    if not records:
        message = f"publish a TXT record at {found.domain}: {_allowing(found.addresses, 'v=spf1 ~all')}"
        return Verdict("False", SpfReason.SPF_MISSING, message)
    results = {address: found.results[address] for address in found.addresses if address in found.results}
    if silent := next((result for result in results.values() if result.word is SpfWord.TEMPERROR), None):
        return Verdict("Unknown", SpfReason.DNS_UNAVAILABLE, short(silent.why))
    if len(results) < len(found.addresses) or None in found.hosts.values():
        return None
    hosts = {host: result for host, result in found.hosts.items() if result is not None}
    return _refused(found.domain, results, records[0]) or _refused_host(hosts) or _passed(found, records[0])


def _refused(domain: str, results: Mapping[IPAddress, SpfResult], record: str) -> Verdict | None:
    """The worst result, with all addresses that have it, and what to publish."""
    for word, reason in _OF_RESULTS.items():
        bad = [address for address, result in results.items() if result.word is word]
        if bad:
            advice = results[bad[0]].why or f"publish at {domain}: {_allowing(bad, record)}"
            return Verdict("False", reason, short(f"{_named(bad)}: {word}; {advice}"))
    return None


def _refused_host(results: Mapping[SpfHost, SpfResult]) -> Verdict | None:
    """The worst result of an EHLO name that harms."""
    for word, reason in _OF_HOSTS.items():
        for host, result in results.items():
            if result.word is word:
                address = f"ip{host.address.version}:{host.address}"
                advice = short(result.why) or f"{address} has to pass in the SPF record of {host.name}"
                message = f"{host.address} with the EHLO name {host.name}: {word}, for bounces; {advice}"
                status = "Unknown" if word is SpfWord.TEMPERROR else "False"
                return Verdict(status, reason, short(message))
    return None


def _passed(found: SpfFindings, record: str) -> Verdict:
    passed = f"{_named(found.addresses)}: pass" if found.addresses else record
    if found.unknown:
        return Verdict("Unknown", SpfReason.SOURCE_UNKNOWN, short(f"{passed}; {found.unknown}"))
    return Verdict("True", SpfReason.SPF_PASSES, short(passed))


def _allowing(addresses: Collection[IPAddress], record: str) -> str:
    """The record with a term for each address, before all others: no term can fail before it."""
    terms = [f"ip{address.version}:{address}" for address in islice(addresses, _NAMED)] or ["ip4:ADDRESS"]
    version, _, rest = record.partition(" ")
    return " ".join(filter(None, [version, *terms, rest]))


def _named(addresses: Collection[IPAddress]) -> str:
    more = len(addresses) - _NAMED
    return ", ".join(map(str, islice(addresses, _NAMED))) + (f" and {more} more" if more > 0 else "")
