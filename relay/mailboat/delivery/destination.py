"""What the relay has learnt of the hosts that it sends to: each address, and the destination that they make up. Pure.

A destination is what shares connections and their limits: the MX hosts of a domain, whatever other domains name the
same ones, or a route (`routing.answers.Site`). What is told of it comes from `delivery.verdict` as a `Signal`; time is
an argument. Kept by `gate`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailboat.delivery.verdict import Signal, Trouble
from mailboat.delivery.window import Window
from mailboat.routing.answers import Site

PROVEN = 600.0
"""Seconds for which an address that has answered a message is expected to go on."""
UNPROVEN_AFTER = 3
"""Failures in a row after which it is expected no more, and left alone for a while."""
FIRST_CAP, LARGEST_CAP = 2, 20
"""Connections at once to an address that nothing is known of, and at most."""
LAST_FOR = 300.0
"""Seconds for which an address that kept silent is tried after all others, and once at a time."""
FIRST_BACK_OFF, LONGEST_BACK_OFF = 60.0, 1800.0
"""Seconds for which a dead address is left alone; each failure at their end doubles them."""
PATIENCE = 5.0
"""Seconds that an unproven address may keep silent while others wait; doubled each time that it does."""


class HostAddress:
    """One address, whatever destinations it is of."""

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
        """Attempts at once at most."""
        self.failures = 0
        """In a row."""
        self.last_until = 0.0
        """Until then others are tried first."""
        self.dead_until = 0.0
        """Until then it is not tried."""
        self.patience = PATIENCE
        self.blocked: dict[str, None] = {}
        """Queues that wait for an attempt at it to end."""
        self.proven_until = 0.0
        """Until then it is expected to answer, unless it fails too often: see `is_proven`."""
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
            return len(self.blocked)  # they are told so
        return (1 if now < self.last_until else self.cap) - self.open

    def learn(self, signal: Signal, now: float, chance: float) -> None:
        """What one attempt told of it; `chance` (0 to 1) spreads the ends of back-offs."""
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
        """Nothing bad is known of it any more."""
        self.failures = 0
        self.last_until = self.dead_until = self._back_off = self._cohorts = 0.0
        self.patience = PATIENCE

    def retry_now(self) -> None:
        """Let the next attempt prove it."""
        self.dead_until = self.last_until = 0.0


class Destination:
    """What shares a window, and what was learnt of it."""

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
        """What `tiers` were made of."""
        self.window = Window()
        self.tiers: tuple[tuple[HostAddress, ...], ...] = ()
        """Its addresses by preference, the most preferred first."""
        self.addresses: tuple[HostAddress, ...] = ()
        """All of them."""
        self.running = 0
        """Attempts."""
        self.conversing = 0
        """Those of them that have a session."""
        self.trouble: Trouble | None = None
        """Why the last attempt failed that did; None after a success."""
        self.host = ""
        """Which of its hosts that was."""
        self.blocked: dict[str, None] = {}
        """Queues that wait for an attempt to end."""
        self.unproven: dict[str, None] = {}
        """Queues that wait for their turn among those whose hosts are not proven, as far as they are remembered."""

    def lead_to(self, tiers: tuple[tuple[HostAddress, ...], ...]) -> None:
        """These are its addresses from now on, by preference."""
        self.tiers, self.addresses = tiers, tuple(address for tier in tiers for address in tier)

    def is_proven(self, now: float) -> bool:
        """Whether one of its addresses is expected to answer."""
        for address in self.addresses:  # noqa: SIM110 - asked for each message: a generator and calls cost more
            if now < address.proven_until and address.failures < UNPROVEN_AFTER:
                return True
        return False

    def room(self, each: int, now: float) -> int:
        """How many more attempts its window allows; `each` is the limit of any."""
        return self.window.limit(each, now) - self.running

    def dead_until(self) -> float:
        """When the first of its addresses may be tried again; in the past while one is alive."""
        return min((address.dead_until for address in self.addresses), default=0.0)

    def with_room(self, now: float) -> HostAddress | None:
        """The first address whose turn it is and that has room.

        Mail does not go to a host of lower preference because a better one is busy, only when that does not work.
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
        """Where none has room: the addresses that it waits for. Empty where none is alive, too."""
        for tier in self.tiers:
            if busy := [a for a in tier if now >= a.dead_until and now >= a.last_until]:
                return busy
        return [address for address in self.addresses if now >= address.dead_until]
