"""Look-ups in the DNS, with a cache, timeouts and retries.

Concurrent look-ups of one name share one query. Every result is a value of `records`; no server can cause an exception.
Must not know what a mail is. Called by `finder`.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from mailboat.config.hosts import LOOPBACK
from mailboat.config.settings import Endpoint
from mailboat.model.clock import Clock
from mailboat.model.observer import DnsResult, Observer
from mailboat.routing import dnsquery
from mailboat.routing.dnsquery import BadResponse, InvalidName, Response
from mailboat.routing.records import (
    Answer,
    Families,
    Lookup,
    LookupFailure,
    MxRecord,
    NoData,
    NxDomain,
    RecordType,
    TlsaRecord,
)
from mailboat.routing.system import REFRESH, HostAddresses, SystemFiles, candidates

POSITIVE_TTL = (5.0, 86_400.0)
"""Lower and upper bound of an answer's TTL, seconds."""
TEXT_TTL = (5.0, 300.0)
"""The same for TXT: what `_mta-sts` announces may have to change at once."""
NEGATIVE_TTL = (5.0, 3600.0)
"""The same for "no such name" and "no such record"; RFC 2308 5 suggests one to three hours at most."""
FAILURE_TTL = 3.0
"""Seconds that a failure is cached: less than the shortest retry delay, so that a retry queries again."""
MAX_ALIASES = 8
"""Maximum of CNAMEs followed from response to response; a server itself follows those that it knows."""
_ROOT = (".", RecordType.NS)
_DEMOTED = 30.0
"""Seconds for which a server that timed out is asked last."""

Query: TypeAlias = Callable[[Endpoint, str, RecordType], Awaitable[Response]]
_Key: TypeAlias = tuple[str, RecordType]
_Begun: TypeAlias = Lookup[Any] | asyncio.Task[Lookup[Any]]


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits of look-ups; times in seconds."""

    query: float = 5.0
    """For one query to one server."""
    rounds: int = 2
    """Number of queries to each server."""
    total: float = 25.0
    """For a whole look-up, including waiting for its turn."""
    in_flight: int = 1280
    """Concurrent queries; each uses a socket. More than the look-ups of `ahead`, so that none waits for timeouts."""
    cache_size: int = 50_000
    """Maximum of cached look-ups; the least recently used are dropped first."""


_PATIENT = Patience()


class Resolver:
    """Answers queries from the cache or the servers. One for each worker."""

    def __init__(
        self,
        *,
        observer: Observer,
        clock: Clock,
        patience: Patience = _PATIENT,
        system: SystemFiles | None = None,
        query: Query = dnsquery.query,
    ) -> None:
        """`system` None: that of this machine."""
        self._observer = observer
        self._clock = clock
        self._patience = patience
        self._system = system or SystemFiles(clock)
        self._query = query
        self._turn = asyncio.Semaphore(patience.in_flight)
        self._configured: tuple[Endpoint, ...] = ()
        self._servers: tuple[Endpoint, ...] = ()
        self._trust_ad: frozenset[str] = frozenset()
        self._silent: dict[Endpoint, float] = {}
        self._cache: OrderedDict[_Key, Lookup[Any]] = OrderedDict()
        self._lookups: dict[_Key, asyncio.Task[Lookup[Any]]] = {}
        self._tasks: set[asyncio.Task[Lookup[Any]]] = set()

    def configure(self, servers: Sequence[Endpoint], trust_ad: Collection[str] = (LOOPBACK,)) -> None:
        """Use these servers; if there are none, the system's, which may change at any time.

        `trust_ad`: the addresses of servers whose AD is believed; `loopback` stands for all of loopback.
        """
        self._configured = tuple(servers)
        if self._trust_ad != (trusted := frozenset(trust_ad)):
            self._trust_ad, self._servers = trusted, ()
        self._follow_system()

    def _follow_system(self) -> None:
        """Clear the cache if the servers have changed."""
        wanted = self._configured or self._system.resolv_conf().servers
        if wanted == self._servers:
            return
        self._servers = wanted
        self._silent = {}
        self._cache = OrderedDict()
        # Running look-ups finish for their callers, but are neither shared nor cached.
        self._lookups = {}

    async def mx(self, name: str) -> Lookup[MxRecord]:
        """The MX records of a name (lower case, A-labels, no final dot)."""
        return cast("Lookup[MxRecord]", await self._look_up(name, RecordType.MX))

    async def families(self, name: str, versions: Sequence[int]) -> Families:
        """The addresses of one absolute name, of the wanted IP versions only."""
        v6, v4 = (
            self._begin(name, rdtype) if version in versions else NoData(float("inf"))
            for version, rdtype in ((6, RecordType.AAAA), (4, RecordType.A))
        )
        return await _end(v6), await _end(v4)

    async def host(self, name: str, versions: Sequence[int]) -> Families:
        """The addresses of a configured host, looked up as the system does: /etc/hosts, then the search list.

        Not for names from the DNS: with a search list, mail could be sent to a wrong host.
        """
        known = self._system.host(name.removesuffix("."))
        if known is not None:
            return self._as_lookups(known)
        found: Families | None = None
        for candidate in candidates(name, self._system.resolv_conf()):
            found = await self.families(candidate, versions)
            # After a failure, the next name of the list might be a different host.
            if any(isinstance(family, Answer | LookupFailure) for family in found):
                break
        assert found is not None
        return found

    def _as_lookups(self, known: HostAddresses) -> Families:
        until = self._clock.monotonic() + REFRESH
        v6, v4 = (Answer(family, until) if family else NoData(until) for family in (known.v6, known.v4))
        return v6, v4

    async def texts(self, name: str) -> Lookup[str]:
        """The TXT records of a name, the strings of each joined."""
        return cast("Lookup[str]", await self._look_up(name, RecordType.TXT))

    async def texts_anew(self, name: str) -> Lookup[str]:
        """The same, past the cache."""
        self._cache.pop((name, RecordType.TXT), None)
        return await self.texts(name)

    def ask_ahead(self, name: str) -> None:
        """Begin the look-up of `texts`, unless the answer is known."""
        self._begin(name, RecordType.TXT)

    async def tlsa(self, name: str) -> Lookup[TlsaRecord]:
        """The TLSA records of a name such as `_25._tcp.mx.example.com` (RFC 6698 3)."""
        return cast("Lookup[TlsaRecord]", await self._look_up(name, RecordType.TLSA))

    async def tlsa_anew(self, name: str) -> Lookup[TlsaRecord]:
        """The same, past the cache."""
        self._cache.pop((name, RecordType.TLSA), None)
        return await self.tlsa(name)

    async def cname(self, name: str) -> Lookup[str]:
        """The name that a name is itself an alias of; NoData: it is none."""
        return cast("Lookup[str]", await self._look_up(name, RecordType.CNAME))

    async def not_validated(self) -> str:
        """Why no answer can be secure; empty if answers are validated. Asks for the root, past the cache."""
        self._follow_system()
        if not any(map(self._is_trusted, self._servers)):
            servers = ", ".join(server.host for server in self._servers)
            return f"no DNS server is trusted to validate: {servers} not in dns_trust_ad"
        self._cache.pop(_ROOT, None)
        found = await self._look_up(*_ROOT)
        if isinstance(found, LookupFailure):
            return found.reason
        return "" if found.secure else "the DNS servers do not validate: the root's name servers come without AD"

    async def close(self) -> None:
        """End the look-ups in flight."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_up(self, name: str, rdtype: RecordType) -> Lookup[Any]:
        return await _end(self._begin(name, rdtype))

    def _begin(self, name: str, rdtype: RecordType) -> _Begun:
        """The cached result, or the running look-up."""
        self._follow_system()
        key = (name, rdtype)
        known = self._cache.get(key)
        if known is not None and self._clock.monotonic() < known.expires:
            self._cache.move_to_end(key)
            self._observer.dns_query(DnsResult.CACHED)
            return known
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = asyncio.get_running_loop().create_task(self._resolve(key))
            self._tasks.add(lookup)
            lookup.add_done_callback(self._tasks.discard)
        return lookup

    async def _resolve(self, key: _Key) -> Lookup[Any]:
        cache, lookups = self._cache, self._lookups
        try:
            async with asyncio.timeout(self._patience.total):
                found = await self._follow(*key)
        except TimeoutError:
            found = self._failure(*key, f"no answer within {self._patience.total:g} s")
        finally:
            lookups.pop(key, None)
        cache[key] = found
        cache.move_to_end(key)
        while len(cache) > self._patience.cache_size:
            cache.popitem(last=False)
        return found

    async def _follow(self, name: str, rdtype: RecordType) -> Lookup[Any]:
        """Query, and follow aliases; the result is valid as long as its shortest TTL."""
        target = name
        alias: Response | None = None
        for _ in range(MAX_ALIASES):
            try:
                response = await self._ask_round(target, rdtype)
            except InvalidName:
                # The DNS cannot have such a name.
                return NxDomain(self._until(NEGATIVE_TTL[1], NEGATIVE_TTL))
            if response.failure:
                return self._failure(name, rdtype, response.failure)
            if alias is not None:
                response = replace(
                    response,
                    ttl=min(alias.ttl, response.ttl),
                    secure=alias.secure and response.secure,
                    aliases=alias.aliases + response.aliases,
                )
            if not response.alias:
                return self._value(response, TEXT_TTL if rdtype is RecordType.TXT else POSITIVE_TTL)
            alias, target = response, response.alias
        return self._failure(name, rdtype, f"more than {MAX_ALIASES} aliases")

    async def _ask_round(self, name: str, rdtype: RecordType) -> Response:
        """Ask the servers in turn until one answers. A server that answered, even with a failure, is not asked
        again."""
        remaining = self._in_order()
        reasons = {}
        for _ in range(self._patience.rounds):
            for server in tuple(remaining):
                response, silent = await self._ask(server, name, rdtype)
                if not response.failure:
                    return response
                reasons[server] = f"{response.failure} from {server}"
                if not silent:
                    remaining.remove(server)
        return Response(failure="; ".join(reasons.values()))

    async def _ask(self, server: Endpoint, name: str, rdtype: RecordType) -> tuple[Response, bool]:
        """One query. The flag: the server timed out and may be asked again."""
        try:
            async with self._turn, asyncio.timeout(self._patience.query):
                response = await self._query(server, name, rdtype)
        except BadResponse as error:
            self._observer.dns_query(DnsResult.INVALID)
            return Response(failure=f"nonsense ({error})"), False
        except (TimeoutError, OSError) as error:
            self._observer.dns_query(DnsResult.TIMEOUT)
            self._silent[server] = self._clock.monotonic() + _DEMOTED
            return Response(failure=f"no answer ({error})" if str(error) else "no answer"), True
        self._silent.pop(server, None)
        self._observer.dns_query(_result(response))
        if response.secure and not self._is_trusted(server):
            response = replace(response, secure=False)
        return response, False

    def _is_trusted(self, server: Endpoint) -> bool:
        """Whether a server's AD is believed: on the path from another machine an attacker may set it (RFC 4035
        4.9.3)."""
        is_local = LOOPBACK in self._trust_ad and ipaddress.ip_address(server.host).is_loopback
        return is_local or server.host in self._trust_ad

    def _in_order(self) -> list[Endpoint]:
        """The servers in order, those that timed out recently last, so that a dead server costs one timeout."""
        now = self._clock.monotonic()
        return sorted(self._servers, key=lambda server: self._silent.get(server, 0.0) > now)

    def _value(self, response: Response, positive: tuple[float, float]) -> Lookup[Any]:
        if response.records:
            return Answer(response.records, self._until(response.ttl, positive), response.secure, response.aliases)
        expires = self._until(response.ttl, NEGATIVE_TTL)
        return NoData(expires, response.secure) if response.exists else NxDomain(expires, response.secure)

    def _failure(self, name: str, rdtype: RecordType, why: str) -> LookupFailure:
        reason = f"{rdtype.name} look-up of {name[:255]} failed: {why}"
        return LookupFailure(reason, self._clock.monotonic() + FAILURE_TTL)

    def _until(self, ttl: float, bounds: tuple[float, float]) -> float:
        return self._clock.monotonic() + min(max(ttl, bounds[0]), bounds[1])


async def _end(begun: _Begun) -> Lookup[Any]:
    # A caller may be cancelled; the look-up continues for the others.
    return await asyncio.shield(begun) if isinstance(begun, asyncio.Task) else begun


def _result(response: Response) -> DnsResult:
    if response.failure:
        return DnsResult.SERVFAIL
    if not response.exists:
        return DnsResult.NXDOMAIN
    return DnsResult.ANSWER if response.records or response.alias else DnsResult.NODATA
