"""MTA-STS policies as values (RFC 8461): read by `routing.sts`, stored by `queue.sts_table`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailboat.model.observer import StsResult


class StsMode(StrEnum):
    """How a policy is applied (RFC 8461 5); the values are those of `mode` in a policy."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """What a domain publishes about its mail exchangers."""

    mode: StsMode
    max_age: int
    """Seconds for which it may be cached."""
    mx: tuple[str, ...] = ()
    """Host names and `*.` with a domain, lower case, A-labels, without the final dot."""

    def matches(self, host: str) -> bool:
        """Whether the name in an MX record, normalised like `mx`, is one of the policy (RFC 8461 4.1).

        A wildcard stands for exactly one label, the leftmost.
        """
        _, dot, parent = host.partition(".")
        return host in self.mx or (bool(dot) and f"*.{parent}" in self.mx)


@dataclass(frozen=True, slots=True)
class StsAnswer:
    """What applies to mail for a domain."""

    expires: float
    """Monotonic time until which its TXT record need not be looked up again."""
    policy: StsPolicy | None = None
    """None: there is no policy, or none that can be fetched."""
    id: str = ""
    """The id that was announced for the policy."""
    failure: StsResult | None = None
    """Why a policy that is announced cannot be had; None: none is announced, or it applies."""
    pending: bool = False
    """A policy is announced and not fetched yet: what applies is not known."""


@dataclass(frozen=True, slots=True)
class StsEntry:
    """What is remembered of a domain. Times are seconds since the epoch: they are compared after a restart."""

    domain: str
    policy: StsPolicy | None = None
    """None: it was never fetched."""
    id: str = ""
    """The id of its TXT record when the policy was fetched."""
    fetched: float = 0.0
    expires: float = 0.0
    checked: float = 0.0
    """When the policy was last looked at again, with or without success."""
    tried_id: str = ""
    """The id for which a fetch failed, at `tried_at`."""
    tried_at: float = 0.0
    used: float = 0.0
    """When mail was last routed by it; exact to a day."""
    failure: StsResult | None = None
    """Why the fetch for `tried_id` failed; not stored."""
