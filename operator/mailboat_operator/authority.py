"""Asks the authoritative servers of a zone, each directly: what caches say may be old. Used by `record_checks`.

Servers are found by the system's resolver, or the ones that are given; their answers count only with AA set (RFC 1035
4.1.1). Knows no key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdatatype
import dns.resolver

QUERIES = 64
"""Queries under way at once, those to resolvers included."""
_TIMEOUT = 3.0
_LOOKUP_TIMEOUT = 10.0
_TRIES = 2
_ADDRESSES = 4
"""Of one server that are tried."""
_ALIASES = 8
_CACHE = 1000
"""Answers of resolvers that are kept, 3 KiB each: enough for the domains that are asked for together, whose zones are
looked for by each of their names, and for what many of them name, as name servers and `include` of SPF.
"""


class DnsSilence(Exception):  # noqa: N818 - no answer, which says nothing about the record
    """The DNS could not be asked; the message says which server, and why."""


@dataclass(frozen=True, slots=True)
class ServerTexts:
    """What the servers say of the TXT records of one name."""

    texts: Mapping[str, tuple[str, ...]]
    """By server. The strings of a record are joined without a blank (RFC 6376 3.6.2.2)."""
    wait: timedelta
    """How long caches may say something else: the larger of the records' TTL and that of negative answers."""


@dataclass(frozen=True, slots=True)
class _Zone:
    name: dns.name.Name
    servers: Mapping[str, tuple[str, ...]]
    """Addresses by name."""
    negative: int
    """Seconds that "no such name" may be cached (RFC 2308 5)."""


class Authority:
    """The client. Safe for any number of tasks."""

    def __init__(self, resolvers: Sequence[tuple[str, int]] = (), port: int = 53, queries: int = QUERIES) -> None:
        """`resolvers`: host and port, none for those of the system; `port` is that of authoritative servers.

        No more than so many `queries` are under way at once.
        """
        self._resolver = dns.asyncresolver.Resolver(configure=not resolvers)
        if resolvers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*where) for where in resolvers]
        self._resolver.lifetime = _LOOKUP_TIMEOUT
        self._resolver.cache = dns.resolver.LRUCache(_CACHE)
        self._port = port
        self._turn = asyncio.Semaphore(queries)

    async def texts(self, name: str) -> ServerTexts:
        """The TXT records of a name at every authoritative server. Raises DnsSilence unless all have answered."""
        try:
            return await self._texts(dns.name.from_text(name), _ALIASES)
        except (dns.exception.DNSException, OSError) as error:
            raise DnsSilence(f"{name}: {error or type(error).__name__}") from error

    async def lookup(self, name: str, rdtype: str = "TXT") -> tuple[str, ...]:
        """The records of a name as the resolver has them, as texts: of MX (the preferred first) and PTR the hosts.

        Raises DnsSilence.
        """
        try:
            answer = await self._resolve(dns.name.from_text(name), rdtype)
        except dns.resolver.NXDOMAIN:
            return ()
        except (dns.exception.DNSException, OSError) as error:
            raise DnsSilence(f"{name}: {error or type(error).__name__}") from error
        records = list(answer.rrset or ())
        match rdtype:
            case "TXT":
                return _joined(records)
            case "MX":
                records.sort(key=lambda record: record.preference)
                return tuple(record.exchange.to_text(omit_final_dot=True) for record in records)
            case "PTR":
                return tuple(record.target.to_text(omit_final_dot=True) for record in records)
            case _:
                return tuple(record.address for record in records)

    async def addresses(self, name: str) -> tuple[str, ...]:
        """The addresses of a host, those of IPv4 first; none where it has none. Raises DNSException."""
        return await self._addresses(dns.name.from_text(name))

    async def _texts(self, name: dns.name.Name, aliases: int) -> ServerTexts:
        zone = await self._zone(name)
        responses = await asyncio.gather(*(self._ask(server, zone, name) for server in zone.servers))
        texts: dict[str, tuple[str, ...]] = {}
        wait = timedelta(seconds=zone.negative)
        for server, response in zip(zone.servers, responses, strict=True):
            chain = response.resolve_chaining()
            if chain.answer is not None or chain.canonical_name == name or not aliases:
                texts[server] = _joined(chain.answer or ())
                wait = max(wait, timedelta(seconds=chain.minimum_ttl if chain.answer else 0))
                continue
            # An alias for a name that this server does not know: that of another zone, as a rule.
            further = await self._texts(chain.canonical_name, aliases - 1)
            texts |= {f"{server}, {theirs}": found for theirs, found in further.texts.items()}
            wait = max(wait, further.wait)
        return ServerTexts(texts, wait)

    async def _zone(self, name: dns.name.Name) -> _Zone:
        """The zone that a name is in: the closest one above it with an SOA record."""
        zone = name
        while zone != dns.name.root:
            try:
                answer = await self._resolve(zone, "SOA")
            except dns.resolver.NXDOMAIN:
                answer = None
            if answer is not None and answer.rrset is not None and answer.rrset.name == zone:
                negative = min(answer.rrset.ttl, answer.rrset[0].minimum)
                return _Zone(zone, await self._servers(zone), negative)
            zone = zone.parent()
        raise DnsSilence(f"{name}: no zone has this name")

    async def _servers(self, zone: dns.name.Name) -> dict[str, tuple[str, ...]]:
        records = (await self._resolve(zone, "NS")).rrset
        if not records:
            raise DnsSilence(f"{zone.to_text(omit_final_dot=True)}: the zone has no name servers")
        names = [record.target for record in records]
        found = await asyncio.gather(*map(self._addresses, names))
        return {str(name).rstrip("."): addresses for name, addresses in zip(names, found, strict=True)}

    async def _addresses(self, host: dns.name.Name) -> tuple[str, ...]:
        found: list[str] = []
        for rdtype in ("A", "AAAA"):
            try:
                answer = await self._resolve(host, rdtype)
            except dns.resolver.NXDOMAIN:
                break
            found += [record.address for record in answer.rrset or ()]
        return tuple(found)

    async def _resolve(self, name: dns.name.Name, rdtype: str) -> dns.resolver.Answer:
        """What the resolver says; no records where the name has none of the type. Raises DNSException, OSError."""
        async with self._turn:
            return await self._resolver.resolve(name, rdtype, raise_on_no_answer=False)

    async def _ask(self, server: str, zone: _Zone, name: dns.name.Name) -> dns.message.QueryMessage:
        """The answer of one server. Raises DnsSilence."""
        query = dns.message.make_query(name, dns.rdatatype.TXT, use_edns=0, payload=1232)
        query.flags &= ~dns.flags.RD
        trouble = "has no address"
        for address in zone.servers[server][:_ADDRESSES] * _TRIES:
            try:
                async with self._turn:
                    response, _ = await dns.asyncquery.udp_with_fallback(query, address, _TIMEOUT, self._port)
            except (dns.exception.DNSException, OSError) as error:
                trouble = f"does not answer ({error or type(error).__name__})"
                continue
            rcode = response.rcode()
            if response.flags & dns.flags.AA and rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                assert isinstance(response, dns.message.QueryMessage)
                return response
            trouble = f"answers {dns.rcode.to_text(rcode)}" + ("" if response.flags & dns.flags.AA else ", without AA")
        raise DnsSilence(f"the name server {server} of {zone.name.to_text(omit_final_dot=True)} {trouble}")


def _joined(records: object) -> tuple[str, ...]:
    return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in records)  # type: ignore[attr-defined]
