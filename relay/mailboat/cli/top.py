"""`mailboat top`: what waits in a running relay, how long, and what holds it; again and again on a terminal."""

from __future__ import annotations

import json as json_format
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mailboat.cli.queue import http_settings
from mailboat.cli.queue_source import Api, QueueCommandError
from mailboat.metrics.text import printable

_HEADINGS = (
    "DESTINATION", "PROVIDER", "WAITING", "OLDEST", "CONN", "WINDOW", "RATE", "NEXT", "HELD BY", "LAST REPLY",
)  # fmt: skip
_RIGHT = (2, 3, 4, 5, 7)
_WIDEST = 60
"""Columns of a cell but the last."""
_PAUSE = 9
"""The pause between two looks at least, as a multiple of what one takes: with many destinations it costs the relay
work."""
_CLEAR = "\x1b[H\x1b[J"
_LEAST_ROWS = 5


def top(config: Path, by: str, sort: str, limit: int | None, interval: float, *, once: bool, json: bool) -> int:
    """Print it; the exit status."""
    try:
        api = Api(http_settings(config))
        live = not (once or json) and sys.stdout.isatty()
        while True:
            began = time.monotonic()
            rows = api.destinations(by, sort, limit or _rows(live=live))
            if json:
                print(json_format.dumps({"destinations": rows}))
                return os.EX_OK
            _show(rows, by, live=live)
            if not live:
                return os.EX_OK
            time.sleep(max(interval, _PAUSE * (time.monotonic() - began)))
    except QueueCommandError as error:
        print(f"mailboat top: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return os.EX_OK


def _rows(*, live: bool) -> int:
    """As many as the terminal has room for."""
    return max(_LEAST_ROWS, shutil.get_terminal_size().lines - 3) if live else 20


def _show(rows: Sequence[Mapping[str, Any]], by: str, *, live: bool) -> None:
    lines = list(table(rows, time.time()))
    if not live:
        print(*(lines or ["nothing waits"]), sep="\n")
        return
    width = shutil.get_terminal_size().columns
    total = sum(row["waiting"] for row in rows)
    head = (
        f"mailboat top by {by}, {time.strftime('%H:%M:%S')}: {total} entries wait in {len(rows)} rows; Ctrl-C ends it"
    )
    sys.stdout.write(_CLEAR + "\n".join(line[:width] for line in [head, "", *(lines or ["nothing waits"])]))
    sys.stdout.flush()


def table(rows: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    """The lines of a table, headings first; nothing without rows. `now` in seconds since the epoch."""
    if not rows:
        return
    cells = [_HEADINGS, *(_cells(row, now) for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(_HEADINGS))]
    for line in cells:
        padded = (cell.rjust(width) if n in _RIGHT else cell.ljust(width) for n, (cell, width) in
                  enumerate(zip(line, widths, strict=True)))  # fmt: skip
        yield "  ".join(padded).rstrip()


def _cells(row: Mapping[str, Any], now: float) -> tuple[str, ...]:
    cells = (
        row["destination"],
        row["provider"],
        row["waiting"],
        _span(row["oldest"]),
        row["connections"],
        row["window"],
        row["rate"],
        _until(row["next_attempt_at"], now),
        row["held_by"],
    )
    return (*(_cut(_text(cell)) for cell in cells), _text(row["last_reply"]))


def _text(cell: object) -> str:
    return "-" if cell is None or cell == "" else printable(str(cell))


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _until(when: str | None, now: float) -> str:
    """The time until an instant of RFC 3339."""
    if when is None:
        return "-"
    left = datetime.fromisoformat(when).timestamp() - now
    return "now" if left <= 0 else _span(left)


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{int(seconds)} s"
