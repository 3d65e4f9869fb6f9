"""Limits by destination domain: how many attempts at once, and how many in a span of time. Counts in each worker.

Mail beyond a limit waits in the queue, and that counts as no attempt. Beyond a rate, each message gets a place in a
later window and passes when its time has come without being counted again, so that what waits never comes all at
once. docs/plugins/limit.md
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mailboat.hooks import CONT, DELAY, Answer, HMail, Plugin, PluginConfig, Point
from mailboat.plugins._checks import only

NOTE = "limit.turn"
"""In `hmail.notes`: when the message has its place, seconds since the epoch."""
MOST_DOMAINS = 10_000
"""Domains under `default` that are remembered before those without a count are forgotten."""
FARTHEST = 86400.0
"""Seconds ahead that places are given; beyond it a message waits so long and asks again."""

_RATE = re.compile(r"(\d{1,9})\s*/\s*(\d{0,6})\s*([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds; `count` 0: no limit."""

    count: int
    span: float


@dataclass(frozen=True, slots=True)
class Limits:
    """`limit.ini`."""

    delay: float
    at_once: Mapping[str, int]
    rates: Mapping[str, Rate]


def register(plugin: Plugin) -> None:
    """Ask before each attempt."""
    limiter = Limiter(plugin.config("limit.ini", parse), time.time)
    plugin.register_hook(Point.SEND_EMAIL, limiter.send_email, priority=100)


@dataclass(slots=True)
class _Window:
    """One span of time of a rate, by its number since the epoch."""

    number: int
    ends: float
    given: int = 0
    """Places in it that are taken."""


class Limiter:
    """The counts of one worker. Everything is on the event loop, and nothing awaits: there are no races."""

    def __init__(self, config: PluginConfig[Limits], now: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self._running: dict[str, int] = {}
        self._windows: dict[str, _Window] = {}
        """By domain: the last window in which a place was given."""

    async def send_email(self, hmail: HMail) -> Answer:
        """DELAY for what is beyond a limit."""
        limits, domain = self._config.value, hmail.todo.domain
        name, most = _limit_of(limits.at_once, domain)
        running = self._running.get(name, 0)
        if most and running >= most:
            # Not all at the same time again.
            return DELAY, limits.delay * random.uniform(1, 2)  # noqa: S311 - fairness, not secrecy
        name_of_rate, rate = _limit_of(limits.rates, domain)
        if rate is not None and rate.count and (wait := self._wait(hmail, name_of_rate, rate)) > 0:
            return DELAY, wait
        if most:
            self._running[name] = running + 1
            hmail.when_over(lambda: self._release(name))
        return CONT

    def _release(self, name: str) -> None:
        left = self._running.get(name, 0) - 1
        if left > 0:
            self._running[name] = left
        else:
            self._running.pop(name, None)

    def _wait(self, hmail: HMail, name: str, rate: Rate) -> float:
        """Seconds until a message has its turn; 0: now."""
        now = self._now()
        turn = hmail.notes.get(NOTE)
        if isinstance(turn, int | float) and turn < now + FARTHEST + rate.span:
            if turn > now:
                return turn - now  # somebody flushed the queue
            del hmail.notes[NOTE]
            return 0.0
        window = self._window(name, rate, now)
        begins = window.ends - rate.span
        if begins <= now:
            window.given += 1
            return 0.0
        # Within its window each has a moment of its own.
        turn = begins + window.given / rate.count * rate.span
        if turn - now > FARTHEST:
            return FARTHEST * random.uniform(0.5, 1)  # noqa: S311
        window.given += 1
        hmail.notes[NOTE] = turn
        return turn - now

    def _window(self, name: str, rate: Rate, now: float) -> _Window:
        """The first window with room: windows fill one after the other, so it is the last one, or the next."""
        current = int(now // rate.span)
        window = self._windows.get(name)
        if window is None or not _holds(window, rate, current):
            window = _Window(current, (current + 1) * rate.span)
        elif window.given >= rate.count:
            window = _Window(window.number + 1, (window.number + 2) * rate.span)
        if len(self._windows) > MOST_DOMAINS:
            self._windows = {key: value for key, value in self._windows.items() if value.ends > now}
        self._windows[name] = window
        return window


def _holds(window: _Window, rate: Rate, current: int) -> bool:
    """Whether a window still counts: it is not over, and neither the clock nor the rate has been changed."""
    same = window.ends == (window.number + 1) * rate.span
    return same and current <= window.number <= current + FARTHEST / rate.span + 1


def _limit_of(table: Mapping[str, _T], domain: str) -> tuple[str, _T | None]:
    """The limit of a domain or the nearest one above it, with the name that it counts under; else the default."""
    name = domain
    while name:
        if name in table and name != "default":
            return name, table[name]
        name = name.partition(".")[2]
    return domain, table.get("default")


def parse(config: PluginConfig[None]) -> Limits:
    """The limits in `limit.ini`. ValueError for what is wrong with them."""
    only(config, {"outbound": None, "rate_outbound": None})
    delay = config.seconds("delay", 30.0, "outbound")
    if delay < 1:
        raise ValueError("[outbound] delay: at least one second")
    at_once = {
        key.lower(): config.integer(key, section="outbound") for key in config.section("outbound") if key != "delay"
    }
    if any(most < 0 for most in at_once.values()):
        raise ValueError("[outbound]: a limit is 0 (none) or more")
    rates = {
        key.lower(): config.read(key, _rate, Rate(0, 1), "rate_outbound") for key in config.section("rate_outbound")
    }
    return Limits(delay, at_once, rates)


def _rate(text: str) -> Rate:
    if text.strip() == "0":
        return Rate(0, 1.0)
    match = _RATE.fullmatch(text.strip().lower())
    if match is None or match[2] == "0":
        raise ValueError(f"{text!r} is not a rate such as 100/1m or 10/30s")
    return Rate(int(match[1]), float(int(match[2] or 1) * _UNITS[match[3]]))
