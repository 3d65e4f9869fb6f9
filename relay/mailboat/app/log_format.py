"""How a record of the relay's log becomes text: lines of a bounded length, and nothing of what a message says.

Several workers share one standard error, and whatever collects it cuts long lines. Exceptions may quote what they were
raised for, such as `int()` the whole text that is no number: what one says is shown up to a limit, or not at all.
Called by `logging`; `process` sets it up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

LINE_LIMIT = 4096
"""Octets of a line with its line feed; the event log has the same (PIPE_BUF)."""
SHOWN = 200
"""Characters that are left of a line over the limit."""
SAID_LIMIT = 200
"""Characters that an exception may say; more of them are data, not words. `int()` alone quotes 200."""


class BoundedFormatter(logging.Formatter):
    """Time, level, logger and message, a traceback behind it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as lines."""
        text = super().format(record)
        for said in _long_texts(record.exc_info[1] if record.exc_info else None):
            text = text.replace(said, f"({len(said)} characters, not shown)")
        return text if len(text) * 6 < LINE_LIMIT else "\n".join(map(_bounded, text.split("\n")))


def _long_texts(error: BaseException | None) -> Iterator[str]:
    """What the exceptions of a traceback say, where it is much."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        # asyncio shows an exception that was never retrieved by its repr.
        yield from (said for said in (str(error), repr(error)) if len(said) > SAID_LIMIT)
        error = error.__cause__ or error.__context__


def _bounded(line: str) -> str:
    size = len(line.encode("utf-8", "backslashreplace")) + 1
    return line if size <= LINE_LIMIT else f"{line[:SHOWN]}… ({size} octets, cut)"
