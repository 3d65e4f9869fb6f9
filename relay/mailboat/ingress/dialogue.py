"""What the parts of a connection may do with it: answer, wait, go on, end. `connection` is what they get.

Only here so that `asking`, `authentication`, `policy` and `receiver` need not know the connection that has them.
"""

from __future__ import annotations

from typing import Protocol

from mailboat.ingress.admission import Visitor
from mailboat.smtp.session import ServerSession

MAX_BUFFERED = 65_536
"""Octets of pipelined input that wait for a reply before reading stops."""


class Dialogue(Visitor, Protocol):
    """A client's connection, as its parts see it."""

    session: ServerSession
    client: str
    """The client's address; empty when it has none."""
    deadline: float
    """Monotonic: when the client has taken too long."""
    held: bool
    """Something is being decided, or a reply held back: what the client says meanwhile waits."""
    committing: bool
    """The client waits for us: it cannot be too slow, and it may close its side already."""
    closing: bool
    """Our last word is said; what still comes is dropped."""

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

    def say_goodbye(self, reply: bytes) -> None:
        """Say a last word, and close."""

    def tls(self) -> tuple[str, str]:
        """The version and the cipher of TLS; empty in clear."""
