"""What waits and why, as the admin API, `mailboat top` and the metrics show it. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict


class WaitCause(StrEnum):
    """Why an entry waits. The values are those of the label `cause`."""

    RATE = "rate"
    RECIPIENT_RATE = "recipient_rate"
    CONNECTIONS = "connections"
    CONNECTION_RATE = "connection_rate"
    WINDOW = "window"
    """As many deliveries are under way as the hosts have been seen to take."""
    BACKOFF = "backoff"
    """All hosts failed so often that they are left alone for a while."""
    PLACES = "places"
    """As many deliveries are under way as `concurrency_max` allows."""
    TURN = "turn"
    """Nothing holds it: its hosts are being looked up, or it is next."""
    RETRY = "retry"
    """An attempt failed: it is not due yet."""


@dataclass(frozen=True, slots=True)
class HeldBy:
    """What does not let due mail start."""

    cause: WaitCause
    text: str
    """For people: `limit rate of domain:example.com`, `window`, `backoff` or `places`."""
    until: float | None = None
    """Monotonic time when that may change; None: it is not known."""


class GroupBy(StrEnum):
    """What a row counts the mail of."""

    SITE = "site"
    DOMAIN = "domain"
    TENANT = "tenant"
    SOURCE = "source"


class SortBy(StrEnum):
    """Which rows come first."""

    WAITING = "waiting"
    """Those with the most entries."""
    OLDEST = "oldest"
    """Those with the oldest entry."""


class WaitingRow(TypedDict):
    """The mail of a site, domain, tenant or source that waits. Times are seconds since the epoch."""

    destination: str
    """Its name."""
    site: str | None
    provider: str | None
    source: str | None
    waiting: int
    """Entries, without those that an operator holds."""
    oldest: float
    """Seconds since the oldest of them was queued."""
    connections: int | None
    """Open connections, idle ones included; None: not counted for tenants and sources."""
    window: int | None
    """Deliveries at once that the hosts have been seen to take; the sum of all workers."""
    rate: str | None
    """The `rate` of shaping.ini that is the lowest, such as `30/1m`."""
    held_by: str | None
    last_reply: str | None
    next_attempt_at: float | None
    """When the next of them is due, or what holds it ends, if that is later and known."""
