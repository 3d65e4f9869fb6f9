"""The facts about one client, also for plugins; see `mailboat.hooks.Connection`. Made by `connection`."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field

from mailboat.config.settings import Endpoint
from mailboat.hooks.objects import Notes
from mailboat.hooks.transaction import MessageTransaction
from mailboat.ingress.transaction import MailTransaction
from mailboat.message import received

_NO_ORIGIN = received.Origin("", "")


@dataclass(slots=True)
class ConnectedClient:
    """A client and its open transaction. A plugin may set `relaying` and `notes`."""

    listener: Endpoint | None = None
    """The listener that accepted it, spelled as in `smtp.ini`."""
    _transport: asyncio.BaseTransport | None = None
    remote_ip: str = ""
    """Empty when it has none."""
    relaying: bool = False
    """Whether it may relay."""
    may_relay: bool = False
    """Whether the connection may relay. `relaying` set by a plugin in `mail` is for this transaction, and in `rcpt`
    for this recipient: permission for one must not extend to all."""
    hello_name: str = ""
    tls: bool = False
    auth_user: str | None = None
    notes: Notes = field(default_factory=dict)
    message: MailTransaction | None = None
    """The open transaction, as ingress sees it."""
    origin: received.Origin = _NO_ORIGIN
    """Its part of the trace field."""
    _uuid: str = ""

    def connected(self, transport: asyncio.BaseTransport, ip: str, *, relaying: bool) -> None:
        """The client has connected and is admitted."""
        self._transport = transport
        self.remote_ip = ip
        self.relaying = self.may_relay = relaying

    @property
    def uuid(self) -> str:
        """Names the connection in logs."""
        if not self._uuid:
            self._uuid = str(uuid.uuid4()).upper()
        return self._uuid

    @property
    def remote_port(self) -> int:
        """The client's port; 0 when it has none."""
        return self._port("peername")

    @property
    def local_port(self) -> int:
        """Our port; 0 when there is none."""
        return self._port("sockname")

    def _port(self, end: str) -> int:
        address = self._transport.get_extra_info(end) if self._transport is not None else None
        return int(address[1]) if isinstance(address, tuple) else 0

    @property
    def transaction(self) -> MessageTransaction | None:
        """The open transaction, as plugins see it."""
        return self.message.for_hooks() if self.message is not None else None
