"""What the relay has learnt of hosts: of each address, and of the destinations that addresses belong to. Pure.

A destination shares connections and limits: a route, or a set of MX hosts with all the domains that they serve
(`routing.answers.Site`). It learns from each `Signal` of `delivery.verdict`; time is an argument. Kept by `gate`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailboat.delivery.verdict import Signal, Trouble
from mailboat.delivery.window import Window
from mailboat.routing.answers import Site
from mailboat.shaping.limits import WindowRange

PROVEN = 600.0
"""Seconds for which an address that has answered a message is expected to keep answering."""
UNPROVEN_AFTER = 3
"""Failures in a row after which an address is no longer proven, and is in back-off for a while."""
FIRST_CAP, LARGEST_CAP = 2, 20
"""Concurrent connections to an unknown address, and the maximum."""
LAST_FOR = 300.0
"""Seconds for which a silent address is tried after all others, and with one connection at a time."""
FIRST_BACK_OFF, LONGEST_BACK_OFF = 60.0, 1800.0
"""Back-off of a dead address in seconds; each failure after it doubles it."""
PATIENCE = 5.0
"""Seconds that an unproven address may be silent while others wait; doubled each time it is."""


class HostAddress:
    """One address, which may belong to several destinations."""

    __slots__ = (
        "_back_off",
        "_cohorts",
        "blocked",
        "cap",
        "dead_until",
        "failures",
        "last_until",
        "open",
        "patience",
        "proven_until",
    )

    def __init__(self) -> None:
        self.open = 0
        """Attempts at it."""
        self.cap = FIRST_CAP
        """Limit of concurrent attempts."""
        self.failures = 0
        """In a row."""
        self.last_until = 0.0
        """Time until which others are tried first."""
        self.dead_until = 0.0
        """Time until which it is not tried."""
        self.patience = PATIENCE
        self.blocked: dict[str, None] = {}
        """Queues that wait for an attempt at it to end."""
        self.proven_until = 0.0
        """Time until which it is expected to answer, unless it fails too often: see `is_proven`."""
        self._cohorts = 0.0
        self._back_off = 0.0

    def is_proven(self, now: float) -> bool:
        """Whether it is expected to answer."""
        return now < self.proven_until and self.failures < UNPROVEN_AFTER

    def is_free(self, now: float) -> bool:
        """Whether one more attempt may be made."""
        return now >= self.dead_until and self.open < (1 if now < self.last_until else self.cap)

    def room(self, _each: int, now: float) -> int:
        """How many more attempts may be made at it."""
        if now < self.dead_until:
            return len(self.blocked)  # they are refused at their turn
        return (1 if now < self.last_until else self.cap) - self.open

    def learn(self, signal: Signal, now: float, chance: float) -> None:
        """Learn from one attempt; `chance` (0 to 1) spreads the ends of back-offs."""
        if signal is Signal.WELL:
            self._succeeded(now)
        elif signal is not Signal.NOTHING:
            self._failed(now, chance, silent=signal is Signal.SILENT)

    def _succeeded(self, now: float) -> None:
        self.proven_until = now + PROVEN
        if self.failures or self.last_until:
            self.forgive()
            self.cap = FIRST_CAP
        elif self.cap < LARGEST_CAP:
            self.cap += 1

    def _failed(self, now: float, chance: float, *, silent: bool) -> None:
        self.failures += 1
        self._cohorts += 1 / max(1, self.open)
        self.cap = 1
        if silent:
            self.last_until = now + LAST_FOR
            self.patience *= 2
        # Many connections that break at once are one failure of the host (Postfix's cohorts).
        if self.failures >= UNPROVEN_AFTER and self._cohorts >= 1 and now >= self.dead_until:
            self._back_off = min(LONGEST_BACK_OFF, self._back_off * 2 or FIRST_BACK_OFF)
            self.dead_until = now + self._back_off * (0.8 + 0.4 * chance)

    def forgive(self) -> None:
        """Forget its failures."""
        self.failures = 0
        self.last_until = self.dead_until = self._back_off = self._cohorts = 0.0
        self.patience = PATIENCE

    def retry_now(self) -> None:
        """End its back-off, so that the next attempt may prove it."""
        self.dead_until = self.last_until = 0.0


class Destination:
    """A set of addresses with one window, and what was learnt of it."""

    __slots__ = (
        "addresses",
        "blocked",
        "conversing",
        "host",
        "key",
        "running",
        "site",
        "tiers",
        "trouble",
        "unproven",
        "window",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.site: Site | None = None
        """The source of `tiers`."""
        self.window = Window()
        self.tiers: tuple[tuple[HostAddress, ...], ...] = ()
        """Its addresses by preference, the most preferred first."""
        self.addresses: tuple[HostAddress, ...] = ()
        """All of them."""
        self.running = 0
        """Attempts."""
        self.conversing = 0
        """Attempts that have a session."""
        self.trouble: Trouble | None = None
        """Why the last attempt failed that did; None after a success."""
        self.host = ""
        """The host of `trouble`."""
        self.blocked: dict[str, None] = {}
        """Queues that wait for an attempt to end."""
        self.unproven: dict[str, None] = {}
        """Some of the queues that wait for their turn among those with unproven hosts."""

    def lead_to(self, tiers: tuple[tuple[HostAddress, ...], ...]) -> None:
        """Set its addresses, by preference."""
        self.tiers, self.addresses = tiers, tuple(address for tier in tiers for address in tier)

    def bound(self, bounds: WindowRange | None) -> None:
        """Take what shaping.ini says of its window; addresses that have not failed may have as many from the start."""
        self.window.bound(bounds)
        if bounds is not None:
            for address in self.addresses:
                if not address.failures:
                    address.cap = max(address.cap, bounds.start)

    def is_proven(self, now: float) -> bool:
        """Whether one of its addresses is expected to answer."""
        for address in self.addresses:  # noqa: SIM110 - asked for each message: a generator and calls cost more
            if now < address.proven_until and address.failures < UNPROVEN_AFTER:
                return True
        return False

    def room(self, each: int, now: float) -> int:
        """How many more attempts its window allows; `each` is the limit of every destination."""
        return self.window.limit(each, now) - self.running

    def dead_until(self) -> float:
        """When the first of its addresses may be tried again; in the past if one is alive."""
        return min((address.dead_until for address in self.addresses), default=0.0)

    def with_room(self, now: float) -> HostAddress | None:
        """The first address by preference that may be tried and is not at its limit.

        A host of lower preference is used if the better one does not work, not if it is busy.
        """
        for tier in self.tiers:
            busy = False
            for address in tier:
                if now >= address.dead_until and now >= address.last_until:
                    if address.open < address.cap:
                        return address
                    busy = True
            if busy:
                return None
        return next((address for address in self.addresses if address.is_free(now)), None)

    def in_the_way(self, now: float) -> Sequence[HostAddress]:
        """The addresses to wait for if all are at their limit. Empty also if none is alive."""
        for tier in self.tiers:
            if busy := [a for a in tier if now >= a.dead_until and now >= a.last_until]:
                return busy
        return [address for address in self.addresses if now >= address.dead_until]
