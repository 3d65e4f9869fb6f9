"""Asks ready relay pods again and again whether they still say the same; when not, their OutboundConfig is reconciled.

No watch tells what a pod says at `/configz`, such as a source address that went away. Asking a pod costs no call of the
API server, so that it can be done often. `observe` says who is asked; `app` runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from mailboat_operator.observed import ObjectKey, PodState
from mailboat_operator.relays import Pod

INTERVAL = 3.0
"""Seconds between two questions to a pod."""
_RATE = 200.0
"""Questions in a second, to all pods: with more than 600 pods the interval is longer."""


class PodPoller:
    """Remembers what pods have said last. `ask` asks one."""

    def __init__(self, ask: Callable[[Pod], Awaitable[PodState]], interval: float = INTERVAL) -> None:
        self._ask = ask
        self._interval = interval
        self._followed: dict[ObjectKey, dict[Pod, PodState]] = {}
        self._asking: set[Pod] = set()
        self.changed: Callable[[ObjectKey], None] = lambda _: None
        """Called when a pod of a resource says something else."""

    def follow(self, key: ObjectKey, pods: Mapping[Pod, PodState]) -> None:
        """Ask these pods from now on, in place of all others of the same resource, which have said this."""
        ready = {pod: state for pod, state in pods.items() if pod.ready}
        if ready:
            self._followed[key] = ready
        else:
            self._followed.pop(key, None)

    async def run(self) -> None:
        """Ask until cancelled, one pod after the other, evenly over the interval."""
        async with asyncio.TaskGroup() as group:
            while True:
                asked = [(key, pod) for key, pods in self._followed.items() for pod in pods]
                pause = max(self._interval / max(len(asked), 1), 1 / _RATE)
                for key, pod in asked:
                    # A pod that does not answer delays no other.
                    if pod not in self._asking:
                        self._asking.add(pod)
                        group.create_task(self._look(key, pod))
                    await asyncio.sleep(pause)
                if not asked:
                    await asyncio.sleep(pause)

    async def _look(self, key: ObjectKey, pod: Pod) -> None:
        try:
            state = await self._ask(pod)
        finally:
            self._asking.discard(pod)
        known = self._followed.get(key, {})
        if pod in known and known[pod] != state:
            known[pod] = state  # told once
            self.changed(key)
