"""Who may connect, who may relay, and whether there is room: the decisions before a message is looked at.

Decides synchronously from what it is given; knows no sockets. `connection` asks; `app` keeps `Load` up to date.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from mailboat.config.settings import Network, Settings
from mailboat.queue.store import Store


class Refusal(Enum):
    """Why a client or a message is turned away for now."""

    TOO_MANY_CONNECTIONS = auto()
    TOO_MANY_FROM_CLIENT = auto()
    DRAINING = auto()
    OVERLOAD = auto()
    STORAGE_FULL = auto()
    STORAGE_FAULT = auto()


@dataclass(slots=True)
class Load:
    """How near the worker is to its limits; kept by the watch in `app`, read for each message."""

    memory_full: bool = False
    """The process is near its memory limit."""
    disk_full: bool = False
    """The spool's file system is near its end."""
    draining: bool = False


@dataclass(slots=True)
class Admission:
    """The doorkeeper of one worker."""

    store: Store
    load: Load
    settings: Settings
    connections: int = 0
    """Clients that are here."""
    _clients: Counter[str] = field(default_factory=Counter)
    _relay_cache: dict[str, bool] = field(default_factory=dict)

    def configure(self, settings: Settings) -> None:
        """Take new settings."""
        self.settings = settings
        self._relay_cache.clear()

    def enter(self, client: str) -> Refusal | None:
        """A client has connected and is counted, or is refused."""
        smtp = self.settings.smtp
        if self.load.draining:
            return Refusal.DRAINING
        if self.connections >= smtp.max_connections:
            return Refusal.TOO_MANY_CONNECTIONS
        if client and self._clients[client] >= smtp.max_connections_per_client:
            return Refusal.TOO_MANY_FROM_CLIENT
        self.connections += 1
        self._clients[client] += 1
        return None

    def leave(self, client: str) -> None:
        """A client that had entered is gone."""
        self.connections -= 1
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    def may_relay(self, client: str) -> bool:
        """Whether `relay_acl_allow` names this address."""
        known = self._relay_cache.get(client)
        if known is None:
            if len(self._relay_cache) > 10_000:
                self._relay_cache.clear()
            known = self._relay_cache[client] = _is_in(client, self.settings.relay_acl)
        return known

    def room(self) -> Refusal | None:
        """Whether a new message can be taken now. Deliveries go on either way, and make room."""
        if self.load.disk_full:
            return Refusal.STORAGE_FULL
        if self.store.fault:
            return Refusal.STORAGE_FAULT
        if self.load.memory_full or self.store.pressure >= 1.0:
            return Refusal.OVERLOAD
        return None


def _is_in(client: str, networks: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:  # a unix socket, or a scoped address
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks if network.version == address.version)
