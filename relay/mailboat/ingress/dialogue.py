"""The interface of a connection to its parts: answer, wait, continue, end. Implemented by `connection`.

Separate, so that `policy_gate`, `authenticator`, `policy` and `receiver` do not depend on the connection.
"""

from __future__ import annotations

from typing import Protocol

from mailboat.ingress.admission import AdmittedConnection
from mailboat.smtp.session import ServerSession

MAX_BUFFERED = 65_536
"""Octets of pipelined input that wait for a reply before reading stops."""


class Dialogue(AdmittedConnection, Protocol):
    """A client's connection, as its parts see it."""

    session: ServerSession
    client_address: str
    """The client's address; empty when it has none."""
    deadline: float
    """Monotonic: when the client has taken too long."""
    held: bool
    """A decision is pending, or a reply is delayed: further input waits."""
    committing: bool
    """The client waits for the relay: it cannot time out, and may have closed its side."""
    closing: bool
    """The last reply is written; further input is discarded."""

    def answer(self, reply: bytes, *, accepted: bool = True) -> None:
        """Answer the session's last event, and restart the client's timeout."""

    def touch(self) -> None:
        """Restart the client's timeout."""

    def allow(self, seconds: float) -> None:
        """Set the client's timeout, from now."""

    def flush(self) -> None:
        """Write the session's replies."""

    def go_on(self) -> None:
        """Continue with input that waited for a reply, or for the client to read one."""

    def close_with(self, reply: bytes) -> None:
        """Send a last reply, and close."""

    def tls(self) -> tuple[str, str]:
        """The version and the cipher of TLS; empty without TLS."""
