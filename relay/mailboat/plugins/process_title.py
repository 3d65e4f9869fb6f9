"""Shows what a worker does in its process title, once a second, with Haraka's figures. docs/plugins/process_title.md"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from setproctitle import getproctitle, setproctitle

from mailboat.hooks import Address, Connection, HMail, Plugin, Point

FIRST = -1_000_000
"""The priority: before all others, so that nothing they answer hides an event from the figures."""
PERIOD = 1.0
"""Seconds."""


class Figure:
    """Something that is counted: in all, in the last second, on average and at most a second."""

    def __init__(self) -> None:
        self.total = 0
        self._before = 0
        self._seconds = 0.0
        self._last = self._most = 0.0

    def tick(self, seconds: float) -> None:
        """So many seconds have passed since the last tick."""
        self._seconds += seconds
        self._last = (self.total - self._before) / seconds
        self._most = max(self._most, self._last)
        self._before = self.total

    def rate(self) -> str:
        """Last, average, maximum."""
        average = self.total / self._seconds if self._seconds else 0.0
        return f"{self._last:.0f}/{average:.1f}/{self._most:.0f}"

    def each(self, of: Figure) -> str:
        """In all, and for each of something else."""
        return f"{self.total}/{self.total / of.total if of.total else 0:.1f}"


class Figures:
    """What one worker did so far."""

    def __init__(self, numbers: Callable[[], Mapping[str, Mapping[str, float]]]) -> None:
        self._numbers = numbers
        self.connections, self.recipients, self.messages = Figure(), Figure(), Figure()
        self.deliveries = 0
        """Under way."""

    async def connect(self, _: Connection) -> None:
        """A client has connected."""
        self.connections.total += 1

    async def rcpt(self, _: Connection, __: Address, ___: object) -> None:
        """A recipient was named."""
        self.recipients.total += 1

    async def queue_ok(self, _: Connection, __: str) -> None:
        """A message was queued."""
        self.messages.total += 1

    async def send_email(self, hmail: HMail) -> None:
        """A delivery begins."""
        self.deliveries += 1
        hmail.when_over(self._over)

    def _over(self) -> None:
        self.deliveries -= 1

    def tick(self, seconds: float) -> None:
        """So many seconds have passed."""
        for figure in (self.connections, self.recipients, self.messages):
            figure.tick(seconds)

    def title(self) -> str:
        """As it is shown."""
        numbers = self._numbers()
        clients = numbers.get("mailboat_inbound_connections", {}).get("", 0)
        queue = numbers.get("mailboat_queue_messages", {})
        ready = max(0, int(queue.get("active", 0)) - self.deliveries)
        connections, recipients, messages = self.connections, self.recipients, self.messages
        return (
            f"Mailboat (worker) cn={connections.total} cc={clients:.0f} cps={connections.rate()}"
            f" rcpts={recipients.each(messages)} rps={recipients.rate()}"
            f" msgs={messages.each(connections)} mps={messages.rate()}"
            f" out={self.deliveries}/{ready}/{queue.get('deferred', 0):.0f}"
        )


def register(plugin: Plugin) -> None:
    """Count, and show it as long as a relay runs."""
    figures = Figures(plugin.numbers)
    for point in (Point.CONNECT, Point.RCPT, Point.QUEUE_OK, Point.SEND_EMAIL):
        plugin.register_hook(point, getattr(figures, point.value), priority=FIRST)
    plugin.on_start(lambda: _show(figures))


async def _show(figures: Figures) -> None:
    """Until cancelled."""
    loop, before = asyncio.get_running_loop(), getproctitle()
    since = loop.time()
    try:
        while True:
            await asyncio.sleep(PERIOD)
            now = loop.time()
            figures.tick(now - since)
            since = now
            setproctitle(figures.title())
    finally:
        setproctitle(before)
