"""Gates that let in what a test wants in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sized

from mailboat.delivery.destination import LARGEST_CAP, Destination, HostAddress
from mailboat.delivery.gate import Gate
from mailboat.delivery.window import Window
from mailboat.model.envelope import Entry
from mailboat.queue.schedule import Ring
from mailboat.routing.answers import NotYet, Site, Spot, Unroutable


class Anywhere:
    """Every destination is known, and shares nothing with others, unless the test says otherwise."""

    def __init__(self) -> None:
        self.sites: dict[str, Site | Unroutable | NotYet | None] = {}
        self.forgotten = 0

    def where(self, name: str, entry: Entry, now: float) -> Site | Unroutable | NotYet | None:
        """As the test said."""
        return self.sites.setdefault(name, Site(name, ()))

    def known(self, name: str) -> Site | None:
        """As the test said, if it is a site."""
        site = self.sites.get(name)
        return site if isinstance(site, Site) else None

    def forget_failures(self) -> None:
        """Count it."""
        self.forgotten += 1


class WideWindow(Window):
    """Allows what the configuration does."""

    def limit(self, most: int, now: float) -> int:
        """All of it."""
        return most


class WideGate(Gate):
    """A gate that begins as if every destination had been served well for long."""

    def __init__(self, whereabouts: Anywhere | None = None) -> None:
        super().__init__(whereabouts or Anywhere(), lambda: 0.5)

    def _destination(self, site: Site) -> Destination:
        destination = super()._destination(site)
        if not isinstance(destination.window, WideWindow):
            destination.window = WideWindow()
        return destination

    def _address(self, spot: Spot) -> HostAddress:
        known = spot in self._addresses
        address = super()._address(spot)
        if not known:
            address.cap = LARGEST_CAP
        return address


class Turnstile:
    """A gatekeeper for a schedule alone: so many at once in all and for each destination."""

    def __init__(self, total: int = 100, each: int = 100) -> None:
        self.total = total
        self.each = each
        self.running: Counter[str] = Counter()
        self.blocked: dict[str, None] = {}

    def next_ring(self, waiting: Mapping[Ring, Sized]) -> Ring | None:
        """All stand in one ring."""
        return Ring.FREE if waiting[Ring.FREE] and self.running.total() < self.total else None

    def ring_of(self, name: str, entry: Entry, now: float) -> Ring | None:
        """Its limit decides."""
        if self.running[name] >= self.each:
            self.blocked[name] = None
            return None
        self.running[name] += 1
        return Ring.FREE
