"""The grammar of time spans and of `temp_fail_intervals`, from text to seconds. Pure; used through `values`.

    intervals = "none" / item *("," item)
    item      = span ["*" count]
    span      = number ("s" / "m" / "h" / "d")

Spaces and letter case are ignored everywhere. One bad item refuses the whole list.
"""

from __future__ import annotations

import re

_SPAN = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,9})?)(?P<unit>[smhd]?)")
_COUNT = re.compile(r"[0-9]{1,6}")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SHORTEST = 5.0
"""Shortest interval in seconds; Haraka's limit, to protect hosts."""
_LONGEST = 365 * 86400.0
_MAX_INTERVALS = 10_000
"""Enough for any schedule; a typing error such as `*100000000` must not exhaust memory."""


def span(text: str, *, unit_required: bool = True) -> float:
    """One time span in seconds. ValueError when it is no number, or has no unit where one is required."""
    match = _SPAN.fullmatch(text.lower())
    if not match:
        raise ValueError("is not a time such as 30s, 5m, 2h or 1d")
    if unit_required and not match["unit"]:
        raise ValueError("has no unit: s, m, h or d must follow the number")
    return float(match["number"]) * _SECONDS[match["unit"]]


def intervals(text: str) -> tuple[float, ...] | None:
    """Delays between attempts in seconds; empty for `none` (the first failure bounces); None for no text at all."""
    squeezed = "".join(text.split()).lower()
    if not squeezed:
        return None
    if squeezed == "none":
        return ()
    delays: list[float] = []
    for item in squeezed.split(","):
        delay, count = _item(item)
        if len(delays) + count > _MAX_INTERVALS:
            raise ValueError(f"more than {_MAX_INTERVALS} intervals in all")
        delays += [delay] * count
    return tuple(delays)


def render(delays: tuple[float, ...] | None) -> str:
    """The text that reads back as these delays: equal neighbours folded, in seconds where no larger unit fits."""
    if delays is None:
        return ""
    runs: list[tuple[float, int]] = []
    for delay in delays:
        if runs and runs[-1][0] == delay:
            runs[-1] = (delay, runs[-1][1] + 1)
        else:
            runs.append((delay, 1))
    return ", ".join(_span_text(delay) + (f"*{count}" if count > 1 else "") for delay, count in runs) or "none"


def _item(item: str) -> tuple[float, int]:
    if not item:
        raise ValueError("an interval is empty: remove the extra comma")
    text, star, times = item.partition("*")
    delay = span(text)
    if delay < _SHORTEST:
        raise ValueError(f"an interval is shorter than {_SHORTEST:g} seconds")
    if delay > _LONGEST:
        raise ValueError("an interval is longer than a year")
    if not star:
        return delay, 1
    if not _COUNT.fullmatch(times) or int(times) == 0:
        raise ValueError("the repetition is not a whole number from 1")
    return delay, int(times)


def _span_text(delay: float) -> str:
    for unit in "dhm":
        if delay % _SECONDS[unit] == 0:
            return f"{delay / _SECONDS[unit]:.0f}{unit}"
    return f"{delay:.9f}".rstrip("0").rstrip(".") + "s"
