"""Decides which AUTH attempts may be checked now, so that more connections do not allow more password guesses.

Pure: time is an argument. Called by `authenticator`; each worker has its own.

Failures count by network (`network_of`) and by the name that was tried. From the fifth on, the next attempt of that
network, or for that name, is refused for a while, each time longer. For one network, and for one name, one attempt is
checked at a time, so that parallel attempts do not help. Neither limit applies to a client that has authenticated as
that user before, so that guessing does not lock out a user who knows the password.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

FREE = 5
"""Failures without a consequence."""
FREE_PROVEN = 20
"""Attempts of a proven client without success, including running ones, after which it is no longer proven."""
REMEMBERED = 3600.0
"""Seconds after the last failure until all are forgotten."""
MOST = 10_000
"""Maximum of networks, of names, and of proven clients in memory; the least recently used is dropped first."""
LONGEST_NAME = 320
"""Characters of a name that count."""


def network_of(address: str) -> str:
    """The smallest network that one host may own: an IPv4 address, or an IPv6 /64 (RFC 6177 2). Else the text
    itself."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return address
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))


@dataclass(slots=True, eq=False)
class AuthTry:
    """One attempt."""

    network: str
    user: str
    check: Callable[[bool], None]
    """Check it; the argument tells whether the client is proven. `AuthGate.done` must follow."""
    refuse: Callable[[], None]
    """Refuse it unchecked."""

    def __post_init__(self) -> None:
        self.user = self.user[:LONGEST_NAME]


class FailureCounts:
    """How often each name has failed recently."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float]] = {}
        """Failures, and when the last one was; in this order."""

    def add(self, name: str, now: float) -> None:
        """One more."""
        count = self._count(name, now)
        self._counts.pop(name, None)
        self._counts[name] = count + 1, now
        if len(self._counts) > MOST:
            del self._counts[next(iter(self._counts))]

    def is_held_back(self, name: str, now: float, longest: float) -> bool:
        """Whether it must wait: 1 s after the fifth failure, then 2, 4, …, at most `longest`."""
        surplus = self._count(name, now) - FREE
        return surplus >= 0 and now < self._counts[name][1] + min(2.0 ** min(surplus, 32), longest)

    def _count(self, name: str, now: float) -> int:
        count, last = self._counts.get(name, (0, now))
        return count if now < last + REMEMBERED else 0


class AuthGate:
    """The attempts of one worker."""

    def __init__(self, longest: float = 0.0) -> None:
        self.longest = longest
        """`longest`: maximum of seconds for which a network or a name is refused; 0: never, and no attempt waits."""
        self._of_networks = FailureCounts()
        self._of_names = FailureCounts()
        self._proven: dict[tuple[str, str], int] = {}
        """By network and user of clients that have succeeded: the number of attempts since."""
        self._checked: dict[AuthTry, bool] = {}
        """Attempts that are being checked, and whether their client is proven."""
        self._busy: set[tuple[str, str]] = set()
        """The networks and names of attempts by unproven clients."""
        self._waiting: dict[AuthTry, None] = {}
        self._looking = False

    def ask(self, attempt: AuthTry, now: float) -> None:
        """Check or refuse an attempt, now or when other attempts of its network and for its name are over."""
        if self._is_proven(attempt):
            self._check(attempt, proven=True)
        elif self.longest and self._is_held_back(attempt, now):
            attempt.refuse()
        elif self.longest and not self._busy.isdisjoint(_keys(attempt)):
            self._waiting[attempt] = None
        else:
            self._check(attempt, proven=False)

    def done(self, attempt: AuthTry, now: float, *, succeeded: bool | None) -> None:
        """An attempt has been checked; None: it could not be checked."""
        proven = self._checked.pop(attempt)
        client = attempt.network, attempt.user
        if succeeded:
            self._proven.pop(client, None)
            self._proven[client] = 0
            if len(self._proven) > MOST:
                del self._proven[next(iter(self._proven))]
        elif succeeded is False and not proven:
            self._of_networks.add(attempt.network, now)
            self._of_names.add(attempt.user, now)
        if not proven:
            self._busy.difference_update(_keys(attempt))
            self._look_again(now)

    def withdraw(self, attempt: AuthTry, now: float) -> None:
        """The client has disconnected. A running check counts as a failure, because it costs as much."""
        if attempt in self._checked:
            self.done(attempt, now, succeeded=False)
        self._waiting.pop(attempt, None)

    def _is_proven(self, attempt: AuthTry) -> bool:
        return self._proven.get((attempt.network, attempt.user), FREE_PROVEN) < FREE_PROVEN

    def _is_held_back(self, attempt: AuthTry, now: float) -> bool:
        return self._of_networks.is_held_back(attempt.network, now, self.longest) or self._of_names.is_held_back(
            attempt.user, now, self.longest
        )

    def _check(self, attempt: AuthTry, *, proven: bool) -> None:
        self._checked[attempt] = proven
        if proven:
            self._proven[attempt.network, attempt.user] += 1
        else:
            self._busy.update(_keys(attempt))
        attempt.check(proven)

    def _look_again(self, now: float) -> None:
        """Decide again for each waiting attempt, in order. Decisions during the pass call this too; one pass is
        enough."""
        if self._looking:
            return
        self._looking = True
        try:
            for attempt in list(self._waiting):
                if attempt in self._waiting:
                    del self._waiting[attempt]
                    self.ask(attempt, now)
        finally:
            self._looking = False


def _keys(attempt: AuthTry) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("network", attempt.network), ("name", attempt.user)
