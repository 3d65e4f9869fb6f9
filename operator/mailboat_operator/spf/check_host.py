"""Whether a domain lets an address send its mail (RFC 7208 4): `check_host`, as every receiver does it.

Does no I/O: DNS look-ups are an argument. `record_checks` calls it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Final, NamedTuple

from mailboat.config.nouns import IPAddress
from mailboat_operator.spf.macros import dotted, expand, uses
from mailboat_operator.spf.record import SpfMechanism, SpfPermError, SpfRecord, SpfWord, parse_spf, spf_records

LOOKUPS_MAX: Final = 10
"""Terms of one evaluation that ask the DNS (RFC 7208 4.6.4)."""
VOID_MAX: Final = 2
"""Look-ups of one evaluation that may find nothing (RFC 7208 4.6.4)."""
_HOSTS_MAX: Final = 10
"""Hosts of one `mx` or `ptr` (RFC 7208 4.6.4)."""
_LABEL_MAX: Final = 63

Lookup = Callable[[str, str], Awaitable[tuple[str, ...]]]
"""The records of a name and a type (TXT, A, AAAA, MX, PTR): of MX the hosts, the preferred first; none where there is
no such name. Raises SpfTempError."""


class SpfTempError(Exception):
    """The DNS does not answer; the message says what."""


class SpfHost(NamedTuple):
    """A host that delivers, as receivers see it."""

    name: str
    """What it says in EHLO."""
    address: IPAddress


@dataclass(frozen=True, slots=True)
class SpfResult:
    """What came out."""

    word: SpfWord
    why: str = ""
    """Of errors."""


async def check_host(address: IPAddress, domain: str, lookup: Lookup) -> SpfResult:
    """The result for mail of postmaster@domain (RFC 7208 2.4) that comes from an address."""
    try:
        return SpfResult(await _Evaluation(address, domain, lookup).check(domain))
    except SpfPermError as error:
        return SpfResult(SpfWord.PERMERROR, str(error))
    except SpfTempError as error:
        return SpfResult(SpfWord.TEMPERROR, str(error))


class _Evaluation:
    """One run, with what it has asked so far."""

    def __init__(self, address: IPAddress, sender_domain: str, lookup: Lookup) -> None:
        self._address = address
        self._sender_domain = sender_domain
        self._lookup = lookup
        self._asked = 0
        self._void = 0

    async def check(self, domain: str) -> SpfWord:
        """The result of one record, and of those that it refers to."""
        texts = spf_records(await self._lookup(domain, "TXT")) if _is_name(domain) else []
        if not texts:
            return SpfWord.NONE
        if len(texts) > 1:
            raise SpfPermError(f"{domain} has {len(texts)} SPF records")
        try:
            record = parse_spf(texts[0])
        except SpfPermError as error:
            raise SpfPermError(f"{domain}: {error}") from error
        return await self._evaluate(record, domain)

    async def _evaluate(self, record: SpfRecord, domain: str) -> SpfWord:
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain):
                return mechanism.result
        if not record.redirect:
            return SpfWord.NEUTRAL  # RFC 7208 4.7
        self._count()
        target = await self._target(record.redirect, domain)
        result = await self.check(target)
        if result is SpfWord.NONE:  # RFC 7208 6.1
            raise SpfPermError(f"{domain}: redirect={target} leads to no SPF record")
        return result

    async def _matches(self, mechanism: SpfMechanism, domain: str) -> bool:
        if mechanism.name == "all":
            return True
        if mechanism.network is not None:
            return self._address in mechanism.network
        self._count()
        target = await self._target(mechanism.domain_spec, domain)
        match mechanism.name:
            case "include":
                return await self._is_included(target, domain)
            case "a":
                return await self._is_address_of(mechanism, target)
            case "mx":
                return await self._is_mx(mechanism, target)
            case "exists":
                return bool(await self._found(target, "A"))
            case _:
                return await self._validated(target) is not None

    async def _is_included(self, target: str, domain: str) -> bool:
        """RFC 7208 5.2."""
        result = await self.check(target)
        if result is SpfWord.NONE:
            raise SpfPermError(f"{domain}: include:{target} leads to no SPF record")
        return result is SpfWord.PASS

    async def _is_address_of(self, mechanism: SpfMechanism, host: str) -> bool:
        length = mechanism.v4_length if self._address.version == 4 else mechanism.v6_length
        addresses = await self._found(host, self._address_type)
        return any(self._address in ip_interface(f"{address}/{length}").network for address in addresses)

    async def _is_mx(self, mechanism: SpfMechanism, domain: str) -> bool:
        hosts = await self._found(domain, "MX")
        if len(hosts) > _HOSTS_MAX:
            raise SpfPermError(f"{domain} has more than {_HOSTS_MAX} MX records")
        for host in hosts:
            if await self._is_address_of(mechanism, host):
                return True
        return False

    async def _validated(self, domain: str) -> str | None:
        """A name of the address that has the address (RFC 7208 5.5): the domain, else one below it; if empty, any."""
        try:
            names = await self._lookup(self._address.reverse_pointer, "PTR")
        except SpfTempError:
            return None
        for name in sorted(names[:_HOSTS_MAX], key=lambda name: name.lower() != domain.lower()):
            below = not domain or f".{name}".lower().endswith(f".{domain}".lower())
            if below and await self._has_address(name):
                return name
        return None

    async def _has_address(self, name: str) -> bool:
        try:
            addresses = await self._lookup(name, self._address_type) if _is_name(name) else ()
        except SpfTempError:
            return False
        return self._address in map(ip_address, addresses)

    async def _found(self, name: str, rdtype: str) -> tuple[str, ...]:
        """Records. Finding nothing is allowed twice."""
        found = await self._lookup(name, rdtype) if _is_name(name) else ()
        if not found:
            self._void += 1
            if self._void > VOID_MAX:
                raise SpfPermError(f"more than {VOID_MAX} look-ups find nothing, the last one that of {name}")
        return found

    async def _target(self, spec: str, domain: str) -> str:
        """The domain that a term is about."""
        if not spec:
            return domain
        values = {
            "s": f"postmaster@{self._sender_domain}",
            "l": "postmaster",
            "o": self._sender_domain,
            "h": self._sender_domain,
            "d": domain,
            "i": dotted(self._address),
            "v": "in-addr" if self._address.version == 4 else "ip6",
        }
        if uses(spec, "p"):
            values["p"] = await self._validated(domain) or await self._validated("") or "unknown"
        return expand(spec, values)

    def _count(self) -> None:
        self._asked += 1
        if self._asked > LOOKUPS_MAX:
            raise SpfPermError(f"more than {LOOKUPS_MAX} look-ups are needed")

    @property
    def _address_type(self) -> str:
        return "A" if self._address.version == 4 else "AAAA"


def _is_name(name: str) -> bool:
    """Whether the DNS can be asked for it (RFC 7208 4.3)."""
    labels = name.removesuffix(".").split(".")
    return len(labels) > 1 and len(name) <= 253 and all(0 < len(label) <= _LABEL_MAX for label in labels)
