"""How `mailboat queue` shows things to people: aligned columns, and a pager for what is long. No HTTP, no database."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import IO

from mailboat.admin.control import EntryJson
from mailboat.cli.queue_source import Share
from mailboat.metrics.text import printable
from mailboat.model.envelope import State

_BATCH = 200
"""Rows whose widths are measured together: a long queue is shown as it comes, not when it is read to its end."""
_HEADINGS = ("ID", "STATE", "QUEUED", "SIZE", "TRIES", "NEXT", "SENDER", "RECIPIENTS", "LAST REPLY")
_RIGHT = (3, 4)
_PAGER = "less -FRSX"


def table(entries: Iterable[EntryJson]) -> Iterator[str]:
    """The lines of a listing, headings first; nothing for an empty queue."""
    rows = iter(entries)
    widths = [len(heading) for heading in _HEADINGS]
    first = True
    while batch := [_row(entry) for entry in islice(rows, _BATCH)]:
        widths = [max(width, *(len(row[n]) for row in batch)) for n, width in enumerate(widths)]
        if first:
            yield _line(_HEADINGS, widths)
            first = False
        for row in batch:
            yield _line(row, widths)


def _row(entry: EntryJson) -> tuple[str, ...]:
    recipients = entry["recipients"]
    more = f" and {len(recipients) - 1} more" if len(recipients) > 1 else ""
    reply = f"{entry['last_mx']}: {entry['last_reply']}" if entry["last_mx"] else entry["last_reply"]
    cells = (
        entry["id"],
        entry["state"],
        _second(entry["queued_at"]),
        _octets(entry["size"]),
        str(entry["attempts"]),
        _second(entry["next_attempt_at"]),
        f"<{entry['sender']}>",
        f"<{recipients[0] if recipients else ''}>{more}",
        reply or "-",
    )
    return tuple(printable(cell) for cell in cells)


def _line(cells: Iterable[str], widths: list[int]) -> str:
    padded = (
        cell.rjust(width) if n in _RIGHT else cell.ljust(width)
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def details(entry: EntryJson) -> Iterator[str]:
    """Everything about one entry, a line each."""
    for name, value in entry.items():
        shown = value if isinstance(value, list) else [value]
        for n, one in enumerate(shown):
            text = "-" if one is None or one == "" else str(one)
            yield f"{(name if n == 0 else ''):<16} {printable(text)}"


def stats_table(shares: Mapping[State, Share]) -> Iterator[str]:
    """The queue's size by state, and the sum."""
    total = Share(
        sum(share.messages for share in shares.values()),
        sum(share.octets for share in shares.values()),
        max((share.oldest_seconds for share in shares.values()), default=0.0),
    )
    yield f"{'STATE':<10}{'MESSAGES':>10}{'SIZE':>12}{'OLDEST':>10}"
    for name, share in [*((state.value, shares[state]) for state in State), ("all", total)]:
        oldest = _span(share.oldest_seconds) if share.messages else "-"
        yield f"{name:<10}{share.messages:>10}{_octets(share.octets):>12}{oldest:>10}"


def _second(time: str | None) -> str:
    """RFC 3339 without its milliseconds."""
    return f"{time.partition('.')[0]}Z" if time else "-"


def _octets(size: float) -> str:
    if size < 1024:
        return f"{int(size)} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{int(seconds)} s"


@contextmanager
def pager() -> Iterator[IO[str]]:
    """Where to print what may be long: through `$PAGER` on a terminal, straight to standard output otherwise."""
    command = shlex.split(os.environ.get("PAGER", _PAGER)) if sys.stdout.isatty() else []
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True) if command else None  # noqa: S603 - the user's own
    except OSError:
        process = None  # no such pager: print
    if process is None or process.stdin is None:
        yield sys.stdout
        return
    try:
        yield process.stdin
    finally:
        with suppress(BrokenPipeError):  # the reader has seen enough
            process.stdin.close()
        process.wait()
