"""A server that counts what limits are about: connections that are open, and when messages come."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

from tests.support.mx_conversation import Answer
from tests.support.scripted_mx import ScriptedMx


class CountingMx(ScriptedMx):
    """The server."""

    def __init__(self, *, lmtp: bool = False) -> None:
        super().__init__(lmtp=lmtp)
        self.most_open = 0
        """Connections at once, idle ones included."""
        self.times: list[float] = []
        """When each DATA came."""
        self.accepted: list[float] = []
        """When each connection came."""

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.most_open = max(self.most_open, 1 + sum(not connection.closed for connection in self.connections))
        self.accepted.append(asyncio.get_running_loop().time())
        await super()._accept(reader, writer)

    def next_answer(self, verb: str, address: str = "") -> Answer:
        """What to answer now."""
        if verb == "DATA":
            self.times.append(asyncio.get_running_loop().time())
        return super().next_answer(verb, address)


def fullest(times: Sequence[float], period: float) -> int:
    """The most of these times in any half-open window of so many seconds."""
    return max((bisect_right(times, at) - bisect_right(times, at - period) for at in times), default=0)
