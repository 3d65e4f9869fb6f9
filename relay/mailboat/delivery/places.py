"""The places of a worker: how many attempts go on at once, and that silent peers keep nobody from theirs. Pure.

Every attempt holds one of `concurrency_max` places. One whose peer keeps silent gives its place up and goes on beside
them (*parked*), until the peer says something. What has never answered shares a part of the places. `gate` decides by
these counts who may begin; `watch` parks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mailboat.delivery.destination import Destination, HostAddress

SILENT_AFTER = 5.0
"""Seconds without an octet after which an attempt gives its place up."""
SILENT_AFTER_UNPROVEN = 1.0
"""The same where the peer has never answered."""
PARKED = 15
"""Parked attempts at unproven peers at most, by place: each takes a socket and about 20 KiB."""


class Line(Protocol):
    """An open session, as far as its progress can be seen."""

    @property
    def heard(self) -> int:
        """Pieces that have come from the peer."""

    @property
    def sent(self) -> int | None:
        """Octets of the body that have left; None: the body is not under way."""

    @property
    def dot_sent(self) -> bool:
        """The final dot is out, and its reply is not in."""


class Place:
    """One attempt, as far as it is counted."""

    __slots__ = (
        "address",
        "began",
        "conversing",
        "destination",
        "heard",
        "interrupt",
        "line",
        "mark",
        "proven",
        "reserved",
        "seen",
        "silent",
    )

    def __init__(self, destination: Destination, now: float, *, proven: bool) -> None:
        self.destination = destination
        self.address: HostAddress | None = None
        """Where it is connected or connects to."""
        self.reserved: HostAddress | None = None
        """Where room is kept for it until it connects, so that no others take it meanwhile."""
        self.proven = proven
        """Whether the peer is expected to answer."""
        self.conversing = False
        """It has a session."""
        self.silent = False
        """It is parked."""
        self.began = now
        self.heard = now
        """When the peer last said something, or something began that it has to answer."""
        self.seen = 0
        """What had been heard then."""
        self.line: Line | None = None
        """Its session."""
        self.mark: tuple[float, int] | None = None
        """When the progress of the body was measured last, and how far it was."""
        self.interrupt: Callable[[str], None] | None = None
        """Ends what it waits for, with a reason for people."""


class Places:
    """Counts them."""

    def __init__(self) -> None:
        self.most = 1
        """`concurrency_max`."""
        self.held: set[Place] = set()
        self._active = {True: 0, False: 0}
        """Places in use, by whether the peer is proven."""
        self._parked = {True: 0, False: 0}
        self._silent_dials = 0
        """Parked attempts without a session at unproven peers."""

    @property
    def active(self) -> int:
        """Places in use."""
        return self._active[True] + self._active[False]

    @property
    def parked(self) -> int:
        """Attempts that gave theirs up."""
        return self._parked[True] + self._parked[False]

    def has_room(self, *, proven: bool, others_wait: bool = False) -> bool:
        """Whether one more may begin; `others_wait`: unproven ones would, too, and keep a small part for them."""
        most, active = self.most, self.active
        if active >= most or self.parked >= (PARKED + 1) * most:
            return False
        if proven and not others_wait:
            return True
        least = max(1, most // 20)
        if proven:
            return most == 1 or active < most - least or self._active[False] >= least
        share = max(least, (most + 1) // 2 - self._active[True])
        return self._active[False] < share and self._parked[False] < PARKED * most and not self.is_crowded

    @property
    def is_crowded(self) -> bool:
        """Whether no more unproven peers are dialled, because so many of them keep silent."""
        return self._silent_dials >= self.most

    def take(self, place: Place) -> None:
        """An attempt begins."""
        self.held.add(place)
        self._count(place, 1)

    def give(self, place: Place) -> None:
        """It is over."""
        self.held.discard(place)
        self._count(place, -1)

    def change(
        self, place: Place, *, silent: bool | None = None, proven: bool | None = None, conversing: bool | None = None
    ) -> None:
        """It goes on in another way."""
        if not (place.silent or silent) and (proven is None or proven == place.proven):
            if conversing is not None:
                place.conversing = conversing  # which is counted of those that are parked
            return
        self._count(place, -1)
        if silent is not None:
            place.silent = silent
        if proven is not None:
            place.proven = proven
        if conversing is not None:
            place.conversing = conversing
        self._count(place, 1)

    def _count(self, place: Place, change: int) -> None:
        if not place.silent:
            self._active[place.proven] += change
            return
        self._parked[place.proven] += change
        if not (place.proven or place.conversing):
            self._silent_dials += change
