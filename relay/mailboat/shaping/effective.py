"""What holds for some mail. Pure.

Limits add up: each section that applies has its own, which is counted over exactly that section. Properties override:
the most specific section that says one decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mailboat.model.address import domain_patterns
from mailboat.shaping.limits import Limit, LimitKey, Per
from mailboat.shaping.scopes import DEFAULT, Scope, ScopeKind
from mailboat.shaping.table import LimitTable, Said, Section

SEPARATE = "separate"
"""The property that keeps a domain out of the counts of its site and provider."""
_SHARED = frozenset({ScopeKind.PROVIDER, ScopeKind.SITE})
ANY_SOURCE = "*"
_LIMITS = frozenset(key.value for key in LimitKey)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of some mail when it is routed. Names are normalised."""

    domain: str = ""
    hosts: tuple[str, ...] = ()
    """The MX hosts of the domain, of all preferences."""
    route: str = ""
    """The `[route]` that takes it; there are no other facts then."""

    @property
    def site(self) -> str:
        """The id of its site, the same for all domains with the same hosts."""
        return f"route:{self.route}" if self.route else site_id(self.hosts)


NOTHING_KNOWN = Facts()


def site_id(hosts: Collection[str]) -> str:
    """The id of a set of MX hosts: 10 hexadecimal digits."""
    return hashlib.sha256(",".join(sorted(hosts)).encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Counted:
    """A limit that holds, and where it is counted."""

    key: LimitKey
    limit: Limit
    """Its amount is never None; `per` is what goes without saying, too."""
    said: Said
    section: str
    """The section in which it is counted, such as `provider:google`."""
    place: str
    """What is counted by itself within the section; empty: the whole section, or, for `per host` and `per address`,
    what `counter` is given."""
    source: str
    """The source whose mail is counted; `*`: of all sources together."""

    def counter(self, host: str = "", address: str = "") -> tuple[str, str, str, str]:
        """What identifies the count; `host` and `address` are those that are connected to."""
        place = {Per.HOST: host, Per.ADDRESS: address}.get(self.limit.per or Per.SITE, self.place)
        return self.key.value, self.section, place, self.source

    @property
    def counted(self) -> str:
        """What is counted, for people."""
        per = f" per {self.limit.per}" if self.limit.per else ""
        each = f" each {self.limit.each}" if self.limit.each else ""
        sources = "all sources" if self.source == ANY_SOURCE else f"source {self.source}"
        return f"{self.section}{per}, {sources}{each}"


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds for some mail from one source."""

    provider: str
    """Empty: none."""
    limits: tuple[Counted, ...]
    """All of them must allow a start."""
    properties: Mapping[str, Said]

    def value(self, key: str) -> Any:
        """The value of a property; None: nothing is said of it."""
        said = self.properties.get(key)
        return None if said is None else said.value


def effective(table: LimitTable, facts: Facts, source: str) -> Effective:
    """What the table says of mail from a source."""
    provider = "" if facts.route else table.provider_of(facts.domain, facts.hosts)
    found = [(scope, _of_source(table, scope, source)) for scope in scopes(facts, provider)]
    properties: dict[str, Said] = {}
    for _, section in found:
        properties |= {key: said for key, said in section.items() if key not in _LIMITS}
    if (separate := properties.get(SEPARATE)) is not None and separate.value:
        found = [(scope, section) for scope, section in found if scope.kind not in _SHARED]
    limits = []
    for key in LimitKey:
        saying = [(scope, section[key]) for scope, section in found if key in section]
        particular = [pair for pair in saying if pair[0] != DEFAULT]
        limits += [
            _counted(key, scope, said, facts, source)
            for scope, said in particular or saying
            if said.value.amount is not None
        ]
    return Effective(provider, tuple(limits), properties)


def scopes(facts: Facts, provider: str) -> Iterator[Scope]:
    """The sections that may apply, the least specific first."""
    yield DEFAULT
    if facts.route:
        yield Scope(ScopeKind.ROUTE, facts.route)
        return
    if provider:
        yield Scope(ScopeKind.PROVIDER, provider)
    yield from (Scope(ScopeKind.SITE, host) for host in sorted(set(facts.hosts)))
    yield from (Scope(ScopeKind.DOMAIN, name) for name in reversed(list(domain_patterns(facts.domain))))


def _of_source(table: LimitTable, scope: Scope, source: str) -> Section:
    """What a section says of mail from one source."""
    general = table.sections.get(scope, {})
    particular = table.sections.get(Scope(scope.kind, scope.name, source))
    return general if particular is None else {**general, **particular}


def _counted(key: LimitKey, scope: Scope, said: Said, facts: Facts, source: str) -> Counted:
    limit: Limit = said.value
    per = limit.per or (Per.SITE if scope == DEFAULT else None)
    place = {Per.SITE: facts.site, Per.DOMAIN: facts.domain}.get(per, "") if per else ""
    return Counted(key, replace(limit, per=per), said, str(scope), place, ANY_SOURCE if limit.all_sources else source)
