"""Polls ready relay pods; when the answer of one changes, its OutboundConfig is reconciled.

No watch reports changes of a pod's `/configz`, such as a lost source address. Polling a pod makes no call of the API
server, so it can be frequent. `observe` selects the pods; `app` runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from mailboat_operator.observed import ObjectKey, PodState
from mailboat_operator.relays import Pod

INTERVAL = 3.0
"""Seconds between two requests to a pod."""
_RATE = 200.0
"""Requests a second to all pods: with more than 600 pods the interval is longer."""


class PodPoller:
    """Stores the last answers of pods. `ask` requests one."""

    def __init__(self, ask: Callable[[Pod], Awaitable[PodState]], interval: float = INTERVAL) -> None:
        self._ask = ask
        self._interval = interval
        self._followed: dict[ObjectKey, dict[Pod, PodState]] = {}
        self._asking: set[Pod] = set()
        self.changed: Callable[[ObjectKey], None] = lambda _: None
        """Called when the answer of a resource's pod changes."""

    def follow(self, key: ObjectKey, pods: Mapping[Pod, PodState]) -> None:
        """Poll these pods, whose last answers are given, instead of all others of the same resource."""
        ready = {pod: state for pod, state in pods.items() if pod.ready}
        if ready:
            self._followed[key] = ready
        else:
            self._followed.pop(key, None)

    async def run(self) -> None:
        """Poll until cancelled, one pod after the other, evenly over the interval."""
        async with asyncio.TaskGroup() as group:
            while True:
                asked = [(key, pod) for key, pods in self._followed.items() for pod in pods]
                pause = max(self._interval / max(len(asked), 1), 1 / _RATE)
                for key, pod in asked:
                    # A pod that does not answer does not delay others.
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
            known[pod] = state  # reported once
            self.changed(key)
