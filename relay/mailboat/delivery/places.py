"""The places of a worker: limits concurrent attempts, without letting silent peers block others. Pure.

Every attempt holds one of `concurrency_max` places. An attempt with a silent peer is *parked*: it releases its place
and continues, until the peer sends something. Unproven peers share a part of the places. `gate` decides by these counts
which attempts may start; `watch` parks them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mailboat.delivery.destination import Destination, HostAddress
from mailboat.delivery.limits import Hold

SILENT_AFTER = 5.0
"""Seconds without an octet after which an attempt is parked."""
SILENT_AFTER_UNPROVEN = 1.0
"""The same for a peer that has never answered."""
PARKED = 15
"""Maximum of parked attempts at unproven peers for each place: each uses a socket and about 20 KiB."""


class Line(Protocol):
    """The progress of an open session."""

    @property
    def heard(self) -> int:
        """Number of reads from the peer."""

    @property
    def sent(self) -> int | None:
        """Octets of the body that were sent; None: the body is not being sent."""

    @property
    def dot_sent(self) -> bool:
        """The final dot was sent, and its reply was not received."""


class Place:
    """The place of one attempt."""

    __slots__ = (
        "address",
        "began",
        "conversing",
        "destination",
        "heard",
        "hold",
        "interrupt",
        "line",
        "mark",
        "most",
        "proven",
        "reserved",
        "seen",
        "silent",
    )

    def __init__(self, destination: Destination, now: float, *, proven: bool) -> None:
        self.destination = destination
        self.address: HostAddress | None = None
        """The address that it is connected or connecting to."""
        self.reserved: HostAddress | None = None
        """The address at which a connection is reserved for it until it connects."""
        self.proven = proven
        """Whether the peer is expected to answer."""
        self.conversing = False
        """It has a session."""
        self.silent = False
        """It is parked."""
        self.began = now
        self.most: float | None = None
        """Seconds that the attempt may take up to the reply to DATA; None: `attempt_timeout` of outbound.ini."""
        self.heard = now
        """When the peer last sent something, or a step began that it must answer."""
        self.seen = 0
        """The count `heard` at that time."""
        self.line: Line | None = None
        """Its session."""
        self.mark: tuple[float, int] | None = None
        """Time and octets of the last measurement of the body's progress."""
        self.hold: Hold | None = None
        """What it took of limits."""
        self.interrupt: Callable[[str], None] | None = None
        """Interrupts the attempt, with a reason for people."""


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
        """Parked attempts."""
        return self._parked[True] + self._parked[False]

    def has_room(self, *, proven: bool, others_wait: bool = False) -> bool:
        """Whether one more may begin; `others_wait`: keep a small part for waiting unproven ones."""
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
        """Whether too many unproven peers are silent to connect to more of them."""
        return self._silent_dials >= self.most

    def add(self, place: Place) -> None:
        """An attempt begins."""
        self.held.add(place)
        self._count(place, 1)

    def remove(self, place: Place) -> None:
        """It is over."""
        self.held.discard(place)
        self._count(place, -1)

    def change(
        self, place: Place, *, silent: bool | None = None, proven: bool | None = None, conversing: bool | None = None
    ) -> None:
        """Change the state of an attempt."""
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
