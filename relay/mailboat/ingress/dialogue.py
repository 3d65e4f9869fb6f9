"""What the parts of a connection may do with it: answer, wait, go on, end. `connection` is what they get.

Only here so that `policy_gate`, `authenticator`, `policy` and `receiver` need not know the connection that has them.
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
    """Something is being decided, or a reply held back: further input waits."""
    committing: bool
    """The client waits for us: it cannot time out, and it may have closed its side."""
    closing: bool
    """Our last reply is written; what still comes is dropped."""

    def answer(self, reply: bytes, *, accepted: bool = True) -> None:
        """Answer the session's last event; the client has its whole time again."""

    def touch(self) -> None:
        """The client has its whole time again."""

    def allow(self, seconds: float) -> None:
        """The client has so long from now."""

    def flush(self) -> None:
        """Send what is said."""

    def go_on(self) -> None:
        """Do what has waited for a reply of ours, or for the client to read one."""

    def close_with(self, reply: bytes) -> None:
        """Send a last reply, and close."""

    def tls(self) -> tuple[str, str]:
        """The version and the cipher of TLS; empty in clear."""
