"""Entries and reports for tests of what only looks at them."""

from __future__ import annotations

from collections.abc import Sequence

from mailboat.model.address import Address
from mailboat.model.envelope import Entry, EntryKey, Message, Recipient, State
from mailboat.model.outcome import AttemptReport, Outcome, PeerFacts, Result, Stage
from mailboat.model.reply import Reply
from mailboat.model.tls import VerifiedBy

T0 = 1_700_000_000.0
"""2023-11-14T22:13:20Z."""

PEER = PeerFacts(
    "mx.example.net", "192.0.2.1", 25, "192.0.2.9", "SMTP", "TLSv1.3", "TLS_AES_256_GCM_SHA384", VerifiedBy.PKIX
)


class StoppedClock:
    """Time that a test sets."""

    def __init__(self, now: float = T0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def address(text: str) -> Address:
    """`local@domain` without further ado."""
    local, _, domain = text.rpartition("@")
    return Address(local, domain, domain.lower())


def message(name: str = "ABCDE-0001", size: int = 4096, sender: str = "alice@example.org") -> Message:
    """A message queued at `T0`."""
    return Message(name, address(sender), size, T0)


def entry(
    recipients: Sequence[str] = ("bob@example.net",),
    *,
    row: int = 1,
    of: Message | None = None,
    state: State = State.ACTIVE,
    attempts: int = 0,
    next_attempt: float | None = T0,
) -> Entry:
    """An entry of one domain: that of its first recipient."""
    whole = of or message()
    people = tuple(Recipient(n, address(text)) for n, text in enumerate(recipients, 1))
    return Entry(
        key=EntryKey(0, row),
        id=f"{whole.id}.1",
        message=whole,
        domain=people[0].address.ascii_domain,
        recipients=people,
        attempts=attempts,
        next_attempt=next_attempt,
        state=state,
    )


def outcome(recipient: int, result: Result, reply: str = "", *, ambiguous: bool = False) -> Outcome:
    """The outcome that `reply` (`250 2.0.0 Ok`) would give; without one nothing was reached."""
    if not reply:
        return Outcome(recipient, result, "4.4.1", Stage.CONNECT, "refused", ambiguous=ambiguous)
    said = Reply(int(reply[:3]), reply[4:])
    return Outcome(recipient, result, said.enhanced or "2.0.0", Stage.DOT, str(said), said, "mx.example.net", ambiguous)


def report(
    *outcomes: Outcome,
    peer: PeerFacts | None = PEER,
    started_at: float = T0 + 1,
    duration: float = 0.25,
    counted: bool = True,
) -> AttemptReport:
    """An attempt that began a second after the message came."""
    return AttemptReport(tuple(outcomes), peer, started_at, duration, counted=counted)
