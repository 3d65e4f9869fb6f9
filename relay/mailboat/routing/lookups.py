"""The look-ups for one query to `finder`, and how long their result is valid.

Passes each query to `resolver`, which has the cache and the timeouts. `finder` needs MX and addresses; the checks of
`security` need the records that decide the TLS requirement.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TypeVar

from mailboat.model.clock import Clock
from mailboat.model.sts import StsAnswer
from mailboat.routing.records import Families, Lookup, LookupFailure, MxRecord, TlsaRecord
from mailboat.routing.resolver import Resolver
from mailboat.routing.sts_cache import StsPolicies

MAX_AGE = 60.0
"""Longest validity of a result in seconds: this machine's addresses, or a host whose look-up failed, may change."""

_Record = TypeVar("_Record", str, MxRecord, TlsaRecord)


class QueryLookups:
    """The look-ups of one query. The methods that ask are those of `Resolver`."""

    def __init__(self, resolver: Resolver, clock: Clock, policies: StsPolicies | None = None) -> None:
        self._resolver = resolver
        self._policies = policies
        self._sts: dict[str, StsAnswer | None] = {}
        self._known = self._failed = clock.monotonic() + MAX_AGE
        self.failed = False
        """Whether any look-up failed so far."""

    async def mx(self, name: str) -> Lookup[MxRecord]:
        """The MX records of a name."""
        return self._note(await self._resolver.mx(name))

    async def families(self, name: str, versions: Sequence[int]) -> Families:
        """The addresses of a name, of these IP versions."""
        return self._note_families(await self._resolver.families(name, versions))

    async def host(self, name: str, versions: Sequence[int]) -> Families:
        """The addresses of a configured host."""
        return self._note_families(await self._resolver.host(name, versions))

    async def texts(self, name: str) -> Lookup[str]:
        """The TXT records of a name."""
        return self._note(await self._resolver.texts(name))

    async def sts(self, domain: str) -> StsAnswer | None:
        """What MTA-STS says of a recipients' domain, once for all its hosts; None if it is off."""
        if domain not in self._sts:
            found = None if self._policies is None else await self._policies.find(domain)
            self._sts[domain] = found
            self._known = min(self._known, inf if found is None else found.expires)
        return self._sts[domain]

    async def tlsa(self, name: str) -> Lookup[TlsaRecord]:
        """The TLSA records of a name."""
        return self._note(await self._resolver.tlsa(name))

    async def cname(self, name: str) -> Lookup[str]:
        """The name that a name is itself an alias of."""
        return self._note(await self._resolver.cname(name))

    def expires(self, *, usable: bool) -> float:
        """Monotonic time until which a result is valid.

        A failure besides hosts that work is retried after `MAX_AGE`; one that defers mail, soon.
        """
        return self._known if usable else min(self._known, self._failed)

    def _note_families(self, found: Families) -> Families:
        v6, v4 = found
        return self._note(v6), self._note(v4)

    def _note(self, found: Lookup[_Record]) -> Lookup[_Record]:
        if isinstance(found, LookupFailure):
            self.failed = True
            self._failed = min(self._failed, found.expires)
        else:
            self._known = min(self._known, found.expires)
        return found
