"""What is known of one client, as plugins see it too; see `mailboat.hooks.Connection`. Made by `connection`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from mailboat.hooks.objects import Notes
from mailboat.hooks.transaction import MessageTransaction
from mailboat.ingress.transaction import Transaction


@dataclass(slots=True)
class Client:
    """A client and its open transaction. A plugin may set `relaying` and `notes`."""

    remote_ip: str = ""
    """Empty when it has none."""
    remote_port: int = 0
    local_port: int = 0
    relaying: bool = False
    """Whether it may send to everybody. How long what a plugin sets here counts, `asking` says."""
    hello_name: str = ""
    tls: bool = False
    auth_user: str | None = None
    notes: Notes = field(default_factory=dict)
    message: Transaction | None = None
    """The open transaction, as ingress sees it."""
    _uuid: str = ""

    @property
    def uuid(self) -> str:
        """Names the connection in logs."""
        if not self._uuid:
            self._uuid = str(uuid.uuid4()).upper()
        return self._uuid

    @property
    def transaction(self) -> MessageTransaction | None:
        """The open transaction, as plugins see it."""
        return self.message.for_hooks() if self.message is not None else None
