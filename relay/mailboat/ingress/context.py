"""What all connections of a worker share. Made by `app.build`, which also puts new settings in; decides nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailboat.config.settings import Settings
from mailboat.hooks import NO_HOOKS, Hooks
from mailboat.ingress.admission import Admission
from mailboat.ingress.auth_gate import AuthGate
from mailboat.ingress.tls import ServerTls
from mailboat.model.clock import Clock
from mailboat.model.observer import Observer
from mailboat.queue.store import Store

if TYPE_CHECKING:
    from mailboat.ingress.wire import Wire


@dataclass(slots=True)
class IngressContext:
    """The surroundings of a connection. `settings` and `hooks` are replaced on reload.

    A session keeps the settings that it began with; plugins are asked as they are at each point.
    """

    settings: Settings
    store: Store
    admission: Admission
    observer: Observer
    clock: Clock
    tls: ServerTls
    connections: set[Wire]
    """Every connection that is not gone, also those that were only told to go."""
    deserted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the last connection that goes; whoever waits for it clears it before."""
    hooks: Hooks = NO_HOOKS
    auth_gate: AuthGate = field(default_factory=AuthGate)
