"""Decides who may connect, who may relay, and whether there is room, before a message is received.

Decides synchronously from its arguments; knows no sockets. Called by `policy`; `app` updates `Load`.
"""

from __future__ import annotations

import ipaddress
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from mailboat.config.settings import Network, Settings
from mailboat.ingress.auth_gate import network_of
from mailboat.queue.store import Store


class Refusal(Enum):
    """Why a client or a message is refused for now."""

    TOO_MANY_CONNECTIONS = auto()
    TOO_MANY_FROM_CLIENT = auto()
    DRAINING = auto()
    OVERLOAD = auto()
    MEMORY_FULL = auto()
    STORAGE_FULL = auto()
    STORAGE_FAULT = auto()


@dataclass(slots=True)
class Load:
    """How near the worker is to its limits; updated by the watch in `app`, read for each message."""

    memory_full: bool = False
    """The process is near its memory limit."""
    disk_full: bool = False
    """The spool's file system is nearly full."""
    draining: bool = False
    room_for_strangers: int = sys.maxsize
    """Number of strangers for which there is memory in the worst case."""


class AdmittedConnection(Protocol):
    """A client's connection."""

    @property
    def is_idle(self) -> bool:
        """Whether the client would lose nothing: the relay waits for it, and no recipient is accepted."""

    def make_room(self) -> None:
        """Close it, so that another client can connect."""


@dataclass(slots=True)
class Admission:
    """Counts the clients of one worker. Strangers are those that may not relay: not by address, and not yet by AUTH."""

    store: Store
    load: Load
    settings: Settings
    _counted: dict[AdmittedConnection, str] = field(default_factory=dict)
    """The key that each is counted under: its address; for a stranger, `network_of` it."""
    _strangers: dict[AdmittedConnection, None] = field(default_factory=dict)
    """The oldest first."""
    _clients: Counter[str] = field(default_factory=Counter)
    _relay_cache: dict[str, bool] = field(default_factory=dict)

    @property
    def connections(self) -> int:
        """Clients that are connected."""
        return len(self._counted)

    def configure(self, settings: Settings) -> None:
        """Apply new settings."""
        self.settings = settings
        self._relay_cache.clear()

    def enter(self, client: str, connection: AdmittedConnection) -> Refusal | None:
        """Count a client that has connected, or refuse it. The oldest idle stranger may be closed for it."""
        is_stranger = not self.may_relay(client)
        if self.load.draining:
            return Refusal.DRAINING
        if is_stranger and self.load.memory_full:
            return Refusal.MEMORY_FULL
        name = network_of(client) if is_stranger else client
        if client and self._clients[name] >= self.settings.smtp.max_connections_per_client:
            return Refusal.TOO_MANY_FROM_CLIENT
        if self._is_full(is_stranger) and not self._make_room():
            return Refusal.TOO_MANY_CONNECTIONS
        self._counted[connection] = name
        self._clients[name] += 1
        if is_stranger:
            self._strangers[connection] = None
        return None

    def trust(self, connection: AdmittedConnection) -> None:
        """A client may relay now: it is no longer a stranger."""
        self._strangers.pop(connection, None)

    def leave(self, connection: AdmittedConnection) -> None:
        """A client has disconnected, or its connection is being closed."""
        self._strangers.pop(connection, None)
        name = self._counted.pop(connection, None)
        if name is not None:
            self._clients[name] -= 1
            if not self._clients[name]:
                del self._clients[name]

    def relieve(self) -> None:
        """While memory is short, close the older half of the idle strangers, so that mail can be received."""
        if self.load.memory_full:
            for connection in list(self._strangers)[: (len(self._strangers) + 1) // 2]:
                if connection.is_idle:
                    self._close_for_room(connection)

    def _is_full(self, for_stranger: bool) -> bool:
        smtp = self.settings.smtp
        if len(self._counted) >= smtp.max_connections:
            return True
        # A tenth is reserved for clients that may relay.
        most = smtp.max_strangers or min(
            smtp.max_connections - smtp.max_connections // 10, self.load.room_for_strangers
        )
        return for_stranger and len(self._strangers) >= most

    def _make_room(self) -> bool:
        oldest = next((connection for connection in self._strangers if connection.is_idle), None)
        if oldest is not None:
            self._close_for_room(oldest)
        return oldest is not None

    def _close_for_room(self, connection: AdmittedConnection) -> None:
        self.leave(connection)
        connection.make_room()

    def may_relay(self, client: str) -> bool:
        """Whether `relay_acl_allow` names this address."""
        known = self._relay_cache.get(client)
        if known is None:
            if len(self._relay_cache) > 10_000:
                self._relay_cache.clear()
            known = self._relay_cache[client] = _is_in(client, self.settings.relay_acl)
        return known

    def room(self) -> Refusal | None:
        """Whether a new message can be accepted now. Deliveries continue in any case, and free space."""
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
