"""Limits by destination domain: how many attempts at once, and how many in a span of time. Counts in each worker.

Mail beyond a limit waits in the queue, and that counts as no attempt. Beyond a rate, each message gets a time in a
later window and is then not counted again, so that waiting messages are spread. docs/plugins/limit.md
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mailboat.hooks import CONT, DELAY, Answer, HMail, Plugin, PluginConfig, Point
from mailboat.plugins._checks import only
from mailboat.plugins._turns import FARTHEST, Rate, Turns, parse_rate

NOTE = "limit.turn"
"""In `hmail.notes`: when the message has its place, seconds since the epoch."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limits:
    """`limit.ini`."""

    delay: float
    at_once: Mapping[str, int]
    rates: Mapping[str, Rate]


def register(plugin: Plugin) -> None:
    """Ask before each attempt."""
    limiter = Limiter(plugin.config("limit.ini", parse, secret=False), time.time)
    plugin.register_hook(Point.SEND_EMAIL, limiter.send_email, priority=100)


class Limiter:
    """The counts of one worker. Everything is on the event loop, and nothing awaits: there are no races."""

    def __init__(self, config: PluginConfig[Limits], now: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self._running: dict[str, int] = {}
        self._turns = Turns()

    async def send_email(self, hmail: HMail) -> Answer:
        """DELAY for mail beyond a limit."""
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
                return turn - now  # the queue was flushed
            del hmail.notes[NOTE]
            return 0.0
        turn = self._turns.acquire(name, rate, now)
        if turn is None:  # it asks again
            return FARTHEST * random.uniform(0.5, 1)  # noqa: S311
        if turn > now:
            hmail.notes[NOTE] = turn
        return turn - now


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
        key.lower(): config.read(key, parse_rate, Rate(0, 1), "rate_outbound")
        for key in config.section("rate_outbound")
    }
    return Limits(delay, at_once, rates)
