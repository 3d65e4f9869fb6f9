"""Shows text of unknown length and content in a message: quoted, escaped, and short. Pure."""

from __future__ import annotations

_SHOWN = 60


def quoted(text: str) -> str:
    """The text in quotes on one line, truncated if it is long."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"
