"""Tasks that a fake server has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Collection


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel them and wait for them, however they end."""
    begun = tuple(tasks)
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)
