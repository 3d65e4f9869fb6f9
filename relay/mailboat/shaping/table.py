"""All that shaping.ini and the built-in table say, ready to be asked. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mailboat.model.address import domain_patterns
from mailboat.shaping.rules import Rule
from mailboat.shaping.scopes import Scope

BUILTIN = "built-in"
"""The file of what the relay brings along."""


@dataclass(frozen=True, slots=True)
class SaidAt:
    """Where something is said."""

    file: str
    line: int
    section: str

    @property
    def is_builtin(self) -> bool:
        """Whether the relay brings it along."""
        return self.file == BUILTIN

    def __str__(self) -> str:
        return f"{self.file} [{self.section}]" if self.is_builtin else f"{self.file}:{self.line} [{self.section}]"


@dataclass(frozen=True, slots=True)
class Said:
    """The value of a key, and where it is from."""

    value: Any
    """A `Limit` for the keys of `LimitKey`; for other keys as their parser returns it."""
    said_at: SaidAt


Section = Mapping[str, Said]
"""What a section says, by key."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A named set of sites."""

    name: str
    mx: tuple[str, ...] = ()
    """Host names, or `.suffix` for all names below it; normalised. All hosts of a site must be among them."""
    domains: tuple[str, ...] = ()
    """Recipient domains, or `.suffix`, that belong to it whatever their MX is."""
    samples: tuple[tuple[str, ...], ...] = ()
    """Sites that belong to it, each with its hosts."""


@dataclass(frozen=True)
class LimitTable:
    """Sections, providers and rules; those of the built-in table and of shaping.ini together."""

    sections: Mapping[Scope, Section] = field(default_factory=dict)
    providers: tuple[Provider, ...] = ()
    rules: tuple[Rule, ...] = ()

    def provider_of(self, domain: str, hosts: Collection[str]) -> str:
        """The provider of a site, or of a domain in particular; empty: none. Names are normalised.

        A site whose hosts are of several providers, or not all of one, belongs to none.
        """
        if domain and (found := _first(self._by_domain, domain)):
            return found
        names = {_first(self._by_mx, host) for host in hosts}
        return names.pop() if len(names) == 1 else ""

    def says(self, key: str) -> bool:
        """Whether any section has this key."""
        return key in self._keys

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(key for section in self.sections.values() for key in section)

    @cached_property
    def _by_mx(self) -> Mapping[str, str]:
        return {pattern: provider.name for provider in self.providers for pattern in provider.mx}

    @cached_property
    def _by_domain(self) -> Mapping[str, str]:
        return {pattern: provider.name for provider in self.providers for pattern in provider.domains}


def _first(by_pattern: Mapping[str, str], name: str) -> str:
    """What belongs to the most specific pattern that matches a name; empty: none does."""
    found: Iterator[str] = (by_pattern[pattern] for pattern in domain_patterns(name) if pattern in by_pattern)
    return next(found, "")
