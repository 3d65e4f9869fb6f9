"""The state that all connections of a worker share. Made by `app.build`, which also sets new settings; decides
nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from mailboat.config.settings import Settings
from mailboat.hooks import NO_HOOKS, Hooks
from mailboat.ingress.admission import Admission
from mailboat.ingress.auth_gate import AuthGate
from mailboat.ingress.tls import ServerTls
from mailboat.model.clock import Clock
from mailboat.model.observer import Observer
from mailboat.queue.store import Store

SUBMISSION_PORT = 587
"""RFC 6409 3.1: for clients that submit mail, as are ports where TLS begins with the first octet (RFC 8314 3.3)."""


class OpenConnection(Protocol):
    """A connection, as the listener sees it."""

    def tick(self, now: float) -> None:
        """Time has passed; `now` is monotonic."""

    def expired(self, now: float) -> bool:
        """Whether the client has taken too long; `now` is monotonic."""

    def time_out(self) -> None:
        """Close: the client has taken too long."""

    @property
    def is_outdated(self) -> bool:
        """Inside TLS with a certificate or settings that have been replaced."""

    def shut_down(self, reply: bytes = ...) -> None:
        """Close with 421 if no transaction is under way (RFC 5321 3.8)."""

    def abort(self) -> None:
        """Close at once."""


@dataclass(slots=True)
class IngressContext:
    """The collaborators of a connection. `settings` and `hooks` are replaced on reload.

    A session keeps the settings that it began with; at each point, the plugins in force are called.
    """

    settings: Settings
    store: Store
    admission: Admission
    observer: Observer
    clock: Clock
    tls: ServerTls
    connections: set[OpenConnection]
    """Every open connection, including those that are closing."""
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection has ended; a caller clears it before it waits."""
    hooks: Hooks = NO_HOOKS
    auth_gate: AuthGate = field(default_factory=AuthGate)
    submission_port: int = SUBMISSION_PORT
