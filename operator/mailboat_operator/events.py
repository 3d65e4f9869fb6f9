"""Kubernetes Events: one for each change of state, posted in the background. Called by `reconcile`.

They are shown by `kubectl describe`. They wait while the API server is unreachable; when there are too many, they are
dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import logging
import os
from dataclasses import dataclass

from mailboat_operator import names
from mailboat_operator.kube import ApiError, Kube, core
from mailboat_operator.observed import ObjectKey
from mailboat_operator.workqueue import RetryAfter

log = logging.getLogger(__name__)

_WAITING_MAX = 2000
_PAUSE = 0.04
"""Seconds between two Events, which limits their rate after a change of many resources."""
_AGAIN = 2.0
"""Seconds until posting an Event is retried."""
_MESSAGE_MAX = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a resource."""

    key: ObjectKey
    uid: str
    reason: str
    message: str
    warning: bool = False


class EventRecorder:
    """Posts events."""

    def __init__(self, kube: Kube, instance: str) -> None:
        """`instance` is this replica's name."""
        self._kube = kube
        self._instance = instance
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_WAITING_MAX)
        self._numbers = itertools.count()

    def tell(self, event: Event) -> None:
        """Post it soon."""
        log.log(logging.WARNING if event.warning else logging.INFO, "%s: %s %s", event.key, event.reason, event.message)
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(event)

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            event = await self._queue.get()
            body = self._body(event)
            while not await self._post(event, body):  # noqa: ASYNC110 - the API server is not in this process
                await asyncio.sleep(_AGAIN)
            await asyncio.sleep(_PAUSE)

    async def _post(self, event: Event, body: dict[str, object]) -> bool:
        """Post an Event; False: retry, because the API server does not answer, or this replica must not write now."""
        try:
            await self._kube.write("POST", core(event.key.namespace, "events"), body)
        except RetryAfter:
            return False
        except ApiError as error:
            # The fault is already in the log; the namespace may have been deleted. 409: an earlier try succeeded.
            log.debug("an Event was not posted: %s", error)
            return 0 < error.status < 500
        return True

    def _body(self, event: Event) -> dict[str, object]:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "metadata": {
                "name": f"{event.key.name}.{os.urandom(4).hex()}{next(self._numbers):x}",
                "namespace": event.key.namespace,
            },
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": event.key.kind,
                "namespace": event.key.namespace,
                "name": event.key.name,
                "uid": event.uid,
            },
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "message": event.message[:_MESSAGE_MAX],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": names.FIELD_MANAGER},
            "reportingComponent": names.FIELD_MANAGER,
            "reportingInstance": self._instance,
        }
