"""Which of our addresses a delivery comes from, and by which name it says hello: the `[bind]` section.

Never chooses another address in silence: what is configured is used, or the delivery waits. Does not open sockets.
Used by `delivery.pool`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mailboat.config.settings import Bind, IPAddress, Network, Settings
from mailboat.delivery.verdict import FaultKind, PeerTrouble, Trouble
from mailboat.model.outcome import Stage
from mailboat.routing.answers import Target


@dataclass(frozen=True, slots=True)
class Source:
    """Where a connection comes from."""

    address: str
    """Our numeric address; empty: the system's choice."""
    ehlo: str


class SourceMissing(PeerTrouble):
    """The configured address is not on this machine. `source` is what was configured."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(Trouble(Stage.BIND, FaultKind.BIND, reason))
        self.source = source


class Sources:
    """Picks the source of a connection."""

    def __init__(self, pod: str, host: str, addresses: Callable[[], Collection[IPAddress]]) -> None:
        """`pod` is POD_NAME or empty, `host` this system's name, `addresses` reads those of its interfaces."""
        self._names = (pod, host, "default")
        self._addresses = addresses
        # Asked for every message: what was found is kept for as long as settings and addresses are the same objects.
        self._settings: Settings | None = None
        self._entry: Bind | None = None
        self._known: Collection[IPAddress] = ()
        self._within: dict[Network, IPAddress | None] = {}

    def entry(self, settings: Settings) -> Bind | None:
        """The `[bind]` entry that applies here: the pod's, else the host's, else `default`."""
        if settings is not self._settings:
            binds = dict(settings.outbound.binds)
            self._settings = settings
            self._entry = next((binds[name] for name in self._names if name and name in binds), None)
        return self._entry

    def pick(self, settings: Settings, target: Target) -> Source:
        """The source for a target.

        Raises:
            SourceMissing: a network is configured and no address of this machine is in it.
            PeerTrouble: the entry has no address of the target's family.
        """
        entry = self.entry(settings)
        ehlo = target.ehlo or (entry.ehlo if entry is not None else "") or settings.me
        if target.path:
            return Source("", ehlo)
        if target.bind:
            return Source(target.bind, ehlo)
        if entry is None or (entry.v4 is None and entry.v6 is None):
            return Source("", ehlo)
        version = 6 if ":" in target.ip else 4
        wanted = entry.v6 if version == 6 else entry.v4
        if wanted is None:
            reason = f"[bind] has no IPv{version} address, and {target.ip} needs one"
            raise PeerTrouble(Trouble(Stage.BIND, FaultKind.BIND, reason))
        if isinstance(wanted, ipaddress.IPv4Network | ipaddress.IPv6Network):
            return Source(str(self._own_within(wanted)), ehlo)
        return Source(str(wanted), ehlo)

    def _own_within(self, network: Network) -> IPAddress:
        """This machine's address within a network; the lowest, should it have several."""
        known = self._addresses()
        if known is not self._known:
            self._known, self._within = known, {}
        if network not in self._within:
            own = (address for address in known if address.version == network.version and address in network)
            self._within[network] = min(own, default=None, key=int)
        found = self._within[network]
        if found is None:
            raise SourceMissing(str(network), f"this machine has no address in {network}, which [bind] names")
        return found
