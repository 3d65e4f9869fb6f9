"""Chooses the source address and the EHLO name of a delivery by the `[bind]` section.

Either the configured address is used, or the delivery waits. Opens no sockets. The choice of a message is known before
it is scheduled (`chosen_source`), because a ready queue has one destination and one source; `delivery.pool` gets the
address when it connects.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from mailboat.config.settings import Bind, BindKind, IPAddress, Network, Settings
from mailboat.delivery.verdict import FaultKind, PeerTrouble, Trouble
from mailboat.model.envelope import Entry
from mailboat.model.outcome import Stage
from mailboat.routing.answers import Target
from mailboat.shaping.scopes import DEFAULT_SOURCE

_NAME = re.compile(r"[!-~]{1,255}")
"""A valid argument of EHLO: others could be another command."""


@dataclass(frozen=True, slots=True)
class BindSource:
    """Where a connection comes from."""

    address: str
    """The numeric source address; empty: the system's choice."""
    ehlo: str


class SourceMissing(PeerTrouble):
    """The configured address is not on this machine. `source` is what was configured."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(Trouble(Stage.BIND, FaultKind.BIND, reason))
        self.source = source


@dataclass(frozen=True, slots=True)
class ChosenSource:
    """The source that a message asks for, by its notes. It is known before the message is scheduled."""

    bind: str
    """`outbound_ip`; empty: what `[bind]` says."""
    ehlo: str
    """`outbound_helo`; empty: the same."""

    @property
    def name(self) -> str:
        """The source, as sections of shaping.ini name it."""
        return self.bind or DEFAULT_SOURCE

    def qualified(self, name: str) -> str:
        """The name of a destination with this source, whose ready queue and limits are separate."""
        return f"{name} from {self.bind or '-'} as {self.ehlo or '-'}"

    def applied_to(self, target: Target) -> Target:
        """A target with this source. Its EHLO name overrides that of the target; the target's address overrides its
        own."""
        return replace(target, bind=target.bind or self.bind, ehlo=self.ehlo or target.ehlo)


def chosen_source(entry: Entry) -> ChosenSource | None:
    """None: the source is that of `[bind]`, the usual case."""
    notes = entry.todo_notes
    if not notes:
        return None
    ip, helo = notes.get("outbound_ip"), notes.get("outbound_helo")
    return ChosenSource(str(ip or ""), str(helo or "")) if ip or helo else None


def source_name(entry: Entry) -> str:
    """The source that an entry is sent from, as sections of shaping.ini name it."""
    chosen = chosen_source(entry)
    return DEFAULT_SOURCE if chosen is None else chosen.name


def _chosen(target: Target) -> str:
    """The source address that a plugin chose; it is used, or the delivery waits. Raises PeerTrouble."""
    try:
        address = ipaddress.ip_address(target.bind)
    except ValueError:
        raise PeerTrouble(Trouble(Stage.BIND, FaultKind.BIND, f"{target.bind[:80]!r} is no address")) from None
    if address.version != (6 if ":" in target.ip else 4):
        reason = f"{address} cannot reach {target.ip}, which is of the other family"
        raise PeerTrouble(Trouble(Stage.BIND, FaultKind.BIND, reason))
    return str(address)


class Sources:
    """Chooses the source of a connection."""

    def __init__(
        self,
        pod: str,
        host: str,
        addresses: Callable[[], Collection[IPAddress]],
        pod_ips: Collection[IPAddress] = (),
    ) -> None:
        """`pod` is POD_NAME or empty, `host` this system's name, `addresses` reads those of its interfaces."""
        self._names = (pod, host, "default")
        self._addresses = addresses
        self._pod_ips = {address.version: address for address in pod_ips}
        # Used for every message: the result is cached as long as settings and addresses are the same objects.
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

    def pick(self, settings: Settings, target: Target) -> BindSource:
        """The source for a target.

        Raises:
            SourceMissing: a network is configured and no address of this machine is in it.
            PeerTrouble: the entry has no address of the target's family.
        """
        entry = self.entry(settings)
        ehlo = target.ehlo or (entry.ehlo if entry is not None else "") or settings.me
        if target.ehlo and not _NAME.fullmatch(ehlo):
            raise PeerTrouble(Trouble(Stage.BIND, FaultKind.BIND, f"{ehlo[:80]!r} is not a name for EHLO"))
        if target.path:
            return BindSource("", ehlo)
        if target.bind:
            return BindSource(_chosen(target), ehlo)
        if entry is None or entry == Bind(ehlo=entry.ehlo):
            return BindSource("", ehlo)
        version = 6 if ":" in target.ip else 4
        wanted = self._wanted(entry)[version]
        if wanted is None:
            reason = f"[bind] has no IPv{version} address, and {target.ip} needs one"
            raise PeerTrouble(Trouble(Stage.BIND, FaultKind.BIND, reason))
        if isinstance(wanted, ipaddress.IPv4Network | ipaddress.IPv6Network):
            return BindSource(str(self._own_within(wanted)), ehlo)
        return BindSource(str(wanted), ehlo)

    def _wanted(self, entry: Bind) -> Mapping[int, IPAddress | Network | None]:
        """The source of each IP version; None if the entry has none. Raises SourceMissing if it has no source at
        all."""
        if entry.kind is BindKind.ADDRESSES:
            return {4: entry.v4, 6: entry.v6}
        if entry.kind is BindKind.NONE:
            raise SourceMissing(entry.kind, "[bind] names no source for this pod")
        if not self._pod_ips:
            raise SourceMissing(entry.kind, "[bind] has pod-ip, but neither POD_IPS nor POD_IP is set")
        return {4: self._pod_ips.get(4), 6: self._pod_ips.get(6)}

    def missing(self, settings: Settings) -> Mapping[int, str]:
        """Why deliveries of an IP version wait: its source address, which `[bind]` names, is not on this machine."""
        entry = self.entry(settings)
        if entry is None:
            return {}
        try:
            wanted = self._wanted(entry)
        except SourceMissing as missing:
            return dict.fromkeys((4, 6), missing.trouble.text)
        known = self._addresses()
        return {
            version: f"this machine does not have the source address {source}, which [bind] names"
            for version, source in wanted.items()
            if source is not None and not _among(source, known)
        }

    def _own_within(self, network: Network) -> IPAddress:
        """This machine's address within a network; the lowest if there are several."""
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


def _among(source: IPAddress | Network, known: Collection[IPAddress]) -> bool:
    if isinstance(source, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return any(address.version == source.version and address in source for address in known)
    return source in known


def pod_ips(environ: Mapping[str, str]) -> tuple[IPAddress, ...]:
    """The pod's addresses from the downward API; invalid ones are ignored."""
    found = []
    for word in (environ.get("POD_IPS") or environ.get("POD_IP") or "").split(","):
        try:
            found.append(ipaddress.ip_address(word.strip()))
        except ValueError:
            continue  # nothing set, or not expanded
    return tuple(found)
