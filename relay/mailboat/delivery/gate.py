"""Decides which attempts may start, and learns about hosts from attempts. Pure: no I/O, time is an argument.

An attempt starts when its targets are known (`routing.ahead`), the window of the destination has room (`window`), one
of its addresses has room (`destination`), and there is a free place (`places`). Proven hosts come first; among the
others, those without a failure are preferred to those with one, three to one. Each decision costs a few dictionary
look-ups, however many destinations there are. Called by `queue.schedule`, `engine` and `attempt`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, TypeVar

from mailboat.delivery.destination import Destination, HostAddress
from mailboat.delivery.limits import DeliveryLimits
from mailboat.delivery.places import Line, Place, Places
from mailboat.delivery.verdict import FaultKind, Signal, Trouble
from mailboat.model.envelope import Entry
from mailboat.model.outcome import Stage
from mailboat.queue.schedule import Ring
from mailboat.routing.answers import NotYet, Site, Spot, Target, Unroutable

REMEMBERED = 50_000
"""Maximum of destinations, and of addresses, in memory; the least recently used are dropped first."""
AT_ONCE = 256
"""Concurrent attempts without a place, which make no connections."""
UNPROVEN_MARKED = 1_000
"""Queues of an unproven destination that are moved at once when it is proven; others are moved at their turn."""
_TURNS = 4
"""Among unproven hosts, one turn in this many is for those that failed, while others wait."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Whereabouts(Protocol):
    """Knows the targets of mail, or looks them up."""

    def where(self, name: str, entry: Entry, now: float) -> Site | Unroutable | NotYet | None:
        """The site of a queue, or why there is none; None: it is being looked up, and `Gate.resume` follows."""

    def known(self, name: str) -> Site | None:
        """The site of a queue as of its last look-up; None: there is none. Begins no look-up."""

    def forget_failures(self) -> None:
        """Look up again what failed."""


@dataclass(frozen=True, slots=True)
class PutOff:
    """Mail that is not attempted for a while, because all its hosts failed recently, or because it is suspended."""

    until: float
    """Monotonic time."""
    trouble: Trouble
    host: str = ""
    said: str = ""
    """What is in the way, if not that all its hosts failed recently."""
    held_by: str = ""
    """The same as a name, such as `rule NAME`."""
    restarts: bool = True
    """At its end one connection comes first."""


class Suspensions(Protocol):
    """What is suspended at the moment."""

    def held(self, entry: Entry, site: Site, now: float) -> PutOff | None:
        """Until when mail is not attempted, and why; None: it may be."""


class Approach(Enum):
    """Whether an attempt may connect to an address."""

    GO = auto()
    BUSY = auto()
    """It is at its limit of connections."""
    DEAD = auto()
    """It failed so often that it is in back-off."""


class Cost(Enum):
    """The consequence of a failed target for the mail."""

    ATTEMPT = auto()
    NOTHING = auto()
    """Other attempts have sessions with the same destination: the failure says nothing about the mail."""
    TURN = auto()
    """The host accepted other connections instead: the mail can be attempted when one of them ends."""


class Busy(Exception):  # noqa: N818 - the adjective says what holds
    """Nothing was tried, because other attempts to the same hosts are under way: retry when one of them ends."""

    def __init__(self, addresses: Sequence[HostAddress] = ()) -> None:
        super().__init__("the destination is busy")
        self.addresses = addresses
        """Addresses at their limit; empty: the window is at its limit."""


class Gate:
    """The gate of one worker."""

    def __init__(self, whereabouts: Whereabouts, chance: Callable[[], float]) -> None:
        """`chance` returns numbers from 0 to 1, which spread the ends of back-offs."""
        self._whereabouts = whereabouts
        self._chance = chance
        self.places = Places()
        self.resume: Callable[[str], bool] = lambda _name: False
        """Have a queue take its turn; False: it has nothing to start."""
        self.limits: DeliveryLimits | None = None
        """Those of shaping.ini; None: nothing is limited."""
        self.suspensions: Suspensions | None = None
        """None: nothing is suspended."""
        self._each = 1
        self._destinations: OrderedDict[str, Destination] = OrderedDict()
        self._addresses: OrderedDict[Spot, HostAddress] = OrderedDict()
        self._blocked: dict[Destination | HostAddress, None] = {}
        """Those that queues wait for."""
        self._candidate: Destination | PutOff | None = None
        """What `ring_of` found last."""
        self._with_room: HostAddress | None = None
        """The address to which its next attempt is expected to connect."""
        self._placeless = 0
        self._turn = 0

    def configure(self, most: int, each: int) -> None:
        """Limit the concurrent attempts in all, and to each destination."""
        self.places.most = most
        self._each = each

    def retry_now(self) -> None:
        """Forget failures: the next attempt at each host decides whether it is proven."""
        self._whereabouts.forget_failures()
        for address in self._addresses.values():
            address.retry_now()
        for destination in self._destinations.values():
            destination.window.forget_ceiling()

    # For the schedule.

    def next_ring(self, waiting: Mapping[Ring, Sized]) -> Ring | None:
        """The ring whose first queue has its turn; None: nothing may start."""
        if waiting[Ring.FREE] and self._placeless < AT_ONCE:
            return Ring.FREE
        fresh, failed = waiting[Ring.FRESH], waiting[Ring.FAILED]
        if waiting[Ring.PROVEN] and self.places.has_room(proven=True, others_wait=bool(fresh or failed)):
            return Ring.PROVEN
        if (fresh or failed) and self.places.has_room(proven=False):
            its_turn = failed and self._turn % _TURNS == _TURNS - 1
            return Ring.FAILED if its_turn or not fresh else Ring.FRESH
        return None

    def ring_of(self, name: str, entry: Entry, now: float) -> Ring | None:
        """The ring in which the queue waits for its next entry to start.

        `FREE`: it starts without a place. None: it waits until `resume`.
        """
        where = self._whereabouts.where(name, entry, now)
        self._candidate = None
        if where is None:
            return None
        if isinstance(where, Unroutable):
            return Ring.FREE
        if isinstance(where, NotYet):
            trouble = Trouble(Stage.ROUTE, FaultKind.LOOK_UP, where.why.reason)
            self._candidate = PutOff(where.until, trouble)
            return Ring.FREE
        destination = self._candidate = self._destination(where)
        if self.suspensions is not None and self._is_suspended(self.suspensions, destination, entry, where, now):
            return Ring.FREE
        if destination.trouble is not None and (until := destination.dead_until()) > now:
            self._candidate = PutOff(until, destination.trouble, destination.host)
            return Ring.FREE
        if destination.room(self._each, now) <= 0:
            self._block(name, destination)
            return None
        self._with_room = destination.with_room(now)
        if self._with_room is None and (in_the_way := destination.in_the_way(now)):
            for address in in_the_way:
                self._block(name, address)
            return None
        if self.limits is not None and not self.limits.is_ready(name, entry, where, now):
            return None
        if destination.is_proven(now):
            return Ring.PROVEN
        if len(destination.unproven) < UNPROVEN_MARKED:
            destination.unproven[name] = None
        return Ring.FRESH if destination.trouble is None else Ring.FAILED

    def _is_suspended(
        self, suspensions: Suspensions, destination: Destination, entry: Entry, site: Site, now: float
    ) -> bool:
        """Whether an entry is suspended; it is put off then."""
        held = suspensions.held(entry, site, now)
        if held is None:
            return False
        if held.restarts:
            destination.window.restart()  # at the end, one connection comes first
        self._candidate = held
        return True

    # For the engine.

    def begin(self, now: float) -> Place | PutOff | None:
        """Begin the attempt of the last `ring_of`. None: there are no targets, so it needs no place."""
        candidate = self._candidate
        if isinstance(candidate, Destination):
            place = self.occupy(candidate, now)
            if self.limits is not None:
                place.hold = self.limits.begin()
            if self._with_room is not None:
                place.reserved = self._with_room
                place.reserved.open += 1
            return place
        self._placeless += 1
        return candidate

    def occupy(self, destination: Destination, now: float) -> Place:
        """Use a place for work at a destination, even beyond the limit."""
        place = Place(destination, now, proven=destination.is_proven(now))
        if not place.proven:
            self._turn += 1
        destination.running += 1
        self.places.add(place)
        return place

    def end(self, place: Place | PutOff | None, now: float) -> None:
        """It is over."""
        if not isinstance(place, Place):
            self._placeless -= 1
            return
        self.leave(place, now)
        if place.hold is not None:
            place.hold.close(now)
        self.places.remove(place)
        destination = place.destination
        destination.running -= 1
        if destination.blocked:
            self._let_in(destination, now)

    def wait_for(self, name: str, address: HostAddress) -> None:
        """Resume a queue when an attempt at this address ends."""
        self._block(name, address)

    def tick(self, now: float) -> None:
        """Resume queues whose back-off is over. Call it about every second while `has_blocked`."""
        for holder in list(self._blocked):
            self._let_in(holder, now)

    def parked(self) -> int:
        """How many attempts have silent peers, so that their connections do not count."""
        return self.places.parked

    def destination(self, name: str) -> Destination | None:
        """What is known of the destination of a queue; None: nothing."""
        site = self._whereabouts.known(name)
        return None if site is None else self._destinations.get(site.key)

    def window(self, destination: Destination, now: float) -> int:
        """How many attempts at a destination may run at once."""
        return destination.window.limit(self._each, now)

    @property
    def has_blocked(self) -> bool:
        """Whether anything waits for an attempt to end."""
        return bool(self._blocked)

    # For an attempt.

    def place_at(self, name: str, now: float) -> Place:
        """A place for an attempt that the schedule did not start, or whose targets became known late."""
        return self.occupy(self._destination(Site(name, ())), now)

    def order(self, targets: Sequence[Target], now: float) -> Sequence[Target]:
        """The targets in the order to try them: addresses that were silent recently come last."""
        if len(targets) == 1:
            return targets
        known = self._addresses
        last = [t for t in targets if (a := known.get(t.spot)) is not None and a.last_until > now]
        return targets if not last else [*(t for t in targets if t not in last), *last]

    def approach(self, place: Place, spot: Spot, now: float) -> tuple[Approach, HostAddress]:
        """Whether an attempt may connect to a target: only with `GO`."""
        address = self._address(spot)
        has_room = place.reserved is address
        if not has_room:
            self.leave(place, now)
        if now < address.dead_until:
            self.leave(place, now)
            return Approach.DEAD, address
        if not has_room:
            if not address.is_free(now):
                return Approach.BUSY, address
            address.open += 1
        place.address, place.reserved = address, None
        place.heard = now
        self.places.change(place, silent=False, proven=address.is_proven(now))
        return Approach.GO, address

    def opened(self, place: Place, line: Line, now: float) -> None:
        """The attempt has a session."""
        place.line, place.seen, place.heard = line, line.heard, now
        place.destination.conversing += not place.conversing
        self.places.change(place, silent=False, conversing=True)

    def leave(self, place: Place, now: float) -> None:
        """The attempt has finished with its target: release the reservation."""
        if place.conversing:
            place.destination.conversing -= 1
            self.places.change(place, conversing=False)
            place.line = place.mark = None
        address = place.address or place.reserved
        if address is not None:
            place.address = place.reserved = None
            address.open -= 1
            if address.blocked:
                self._let_in(address, now)

    def learn(self, place: Place, signal: Signal, now: float, trouble: Trouble | None = None, host: str = "") -> Cost:
        """Learn from a target; returns the cost for the mail if the target failed."""
        destination, address = place.destination, place.address
        if signal is Signal.WELL:
            destination.window.succeeded(destination.running, destination.conversing, now)
            destination.trouble = None
            if not place.proven:
                self.places.change(place, proven=True)
        elif signal is not Signal.NOTHING:
            others = self._beside(place, signal)
            if others:
                destination.window.turned_away(others, now)
                return Cost.TURN
            destination.window.failed()
            destination.trouble, destination.host = trouble, host
        if address is not None:
            address.learn(signal, now, self._chance())
        if signal is Signal.WELL and destination.unproven:
            names, destination.unproven = destination.unproven, {}
            for name in names:
                self.resume(name)  # they wait among those with unproven hosts
        return Cost.NOTHING if destination.conversing > place.conversing else Cost.ATTEMPT

    def _beside(self, place: Place, signal: Signal) -> int:
        """How many other connections the host may have accepted instead of this one."""
        if signal is Signal.TURNED_AWAY:
            return place.destination.running - 1
        if signal is Signal.REFUSED and place.address is not None:
            return place.address.open - 1
        return 0

    # Memory.

    def _destination(self, site: Site) -> Destination:
        known = self._destinations
        destination = known.get(site.key)
        if destination is None:
            destination = known[site.key] = Destination(site.key)
            _forget_oldest(known, lambda d: not d.running and not d.blocked)
        else:
            known.move_to_end(site.key)
        if destination.site is not site:
            destination.site = site
            destination.lead_to(tuple(tuple(self._address(spot) for spot in tier) for tier in site.tiers))
            if site.tiers:
                destination.bound(site.window)
        return destination

    def _address(self, spot: Spot) -> HostAddress:
        known = self._addresses
        address = known.get(spot)
        if address is None:
            address = known[spot] = HostAddress()
            _forget_oldest(known, lambda a: not a.open and not a.blocked)
        else:
            known.move_to_end(spot)
        return address

    def _block(self, name: str, holder: Destination | HostAddress) -> None:
        holder.blocked[name] = None
        self._blocked[holder] = None

    def _let_in(self, holder: Destination | HostAddress, now: float) -> None:
        """Resume as many queues as there is room for."""
        room = holder.room(self._each, now)
        while room > 0 and holder.blocked:
            name = next(iter(holder.blocked))
            del holder.blocked[name]
            room -= self.resume(name)
        if not holder.blocked:
            self._blocked.pop(holder, None)


def _forget_oldest(known: OrderedDict[_Key, _Value], is_idle: Callable[[_Value], bool]) -> None:
    """Drop the oldest unused item if there are too many."""
    for _ in range(min(2, len(known) - REMEMBERED)):
        key, oldest = next(iter(known.items()))
        if is_idle(oldest):
            del known[key]
        else:
            known.move_to_end(key)
