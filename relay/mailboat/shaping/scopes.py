"""The sections of shaping.ini by name: which mail each is about. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SOURCE = " @"
"""Before the source in the name of a section."""
DEFAULT_SOURCE = "default"
"""The name of the source that `[bind]` says, the one that there is."""


class ScopeKind(StrEnum):
    """What a section is about, the least specific first."""

    DEFAULT = "default"
    PROVIDER = "provider"
    SITE = "site"
    """All domains of one set of MX hosts, which any of its hosts names."""
    DOMAIN = "domain"
    """A recipient domain, or with a dot first all domains below it."""
    ROUTE = "route"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose mail a section is about."""

    kind: ScopeKind
    name: str = ""
    """Empty for `default`."""
    source: str = ""
    """Only mail from this source; empty: from any."""

    @property
    def of_any_source(self) -> Scope:
        """The same without a source."""
        return Scope(self.kind, self.name) if self.source else self

    def __str__(self) -> str:
        name = f"{self.kind}:{self.name}" if self.name else self.kind.value
        return f"{name}{SOURCE}{self.source}" if self.source else name


DEFAULT = Scope(ScopeKind.DEFAULT)
