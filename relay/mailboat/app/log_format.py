"""Formats records of the relay's log: lines of a limited length, without text of messages.

Several workers share one standard error, and log collectors cut long lines. Exceptions may quote their input, such as
`int()` the whole text that is not a number: the text of an exception is shown only if it is short. Called by `logging`;
`process` sets it up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

LINE_LIMIT = 4096
"""Octets of a line with its line feed; the event log has the same (PIPE_BUF)."""
SHOWN = 200
"""Characters that are shown of a line over the limit."""
SAID_LIMIT = 200
"""Longest text of an exception; longer ones are probably data. `int()` alone quotes 200 characters."""


class BoundedFormatter(logging.Formatter):
    """Time, level, logger and message, followed by a traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as lines."""
        text = super().format(record)
        for said in _long_texts(record.exc_info[1] if record.exc_info else None):
            text = text.replace(said, f"({len(said)} characters, not shown)")
        return text if len(text) * 6 < LINE_LIMIT else "\n".join(map(_bounded, text.split("\n")))


def _long_texts(error: BaseException | None) -> Iterator[str]:
    """The texts of a traceback's exceptions that are too long."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        # asyncio shows an exception that was never retrieved by its repr.
        yield from (said for said in (str(error), repr(error)) if len(said) > SAID_LIMIT)
        error = error.__cause__ or error.__context__


def _bounded(line: str) -> str:
    size = len(line.encode("utf-8", "backslashreplace")) + 1
    return line if size <= LINE_LIMIT else f"{line[:SHOWN]}… ({size} octets, cut)"
