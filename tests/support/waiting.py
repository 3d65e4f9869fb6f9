"""Rows of what waits."""

from __future__ import annotations

from mailboat.model.waiting import WaitingRow


def waiting_row(destination: str, waiting: int = 1, oldest: float = 1.0) -> WaitingRow:
    """A row of which nothing more is known."""
    return WaitingRow(
        destination=destination,
        site=None,
        provider=None,
        source=None,
        waiting=waiting,
        oldest=oldest,
        connections=None,
        window=None,
        rate=None,
        held_by=None,
        last_reply=None,
        next_attempt_at=None,
    )
