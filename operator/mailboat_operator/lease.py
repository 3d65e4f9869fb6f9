"""One writer among several replicas: a Lease that is held, renewed, and abandoned before it expires. Used by `app`.

A holder that cannot renew for `DEADLINE` seconds may not write until it can again, and others may take over only after
`DURATION`: between the two no replica writes. Times are by the local clock: the clocks of two machines are never
compared.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Callable
from typing import Any

from mailboat_operator.kube import ApiError, Kube, group
from mailboat_operator.metrics import Metrics
from mailboat_operator.workqueue import RetryAfter

log = logging.getLogger(__name__)

NAME = "mailboat-operator"
DURATION = 10
"""Seconds that a lease is valid after its last renewal."""
DEADLINE = 6.0
"""Seconds without a renewal after which the holder stops writing."""
LANDING = 1.0
"""Seconds before a take-over is possible by which a write has finished or is abandoned."""
PERIOD = 2.0
"""Seconds between two renewals."""
LOOK = 1.0
"""Seconds between two checks by a waiting replica: a fail-over takes at most twice this plus `DURATION`."""

_API = "coordination.k8s.io/v1"


class NotLeaderError(RetryAfter):
    """This replica must not write: it does not hold the lease, or can no longer be sure to."""


def _now() -> float:
    """A clock that continues while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The lease, seen from one replica."""

    def __init__(self, kube: Kube, namespace: str, identity: str, metrics: Metrics) -> None:
        self._kube = kube
        self._namespace = namespace
        self._path = group(_API, namespace, "leases", NAME)
        self.identity = identity
        self._leader = metrics.leader.labels(NAME)
        self._renewed: float | None = None
        """Start of the last successful renewal; None: not held."""
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0
        self._heard_at = _now()
        self.regained: Callable[[], None] = lambda: None
        """Called when it is held again after it could not be renewed for a while."""

    def silence(self) -> float:
        """Seconds since the API server has answered."""
        return _now() - self._heard_at

    @property
    def held(self) -> bool:
        """Whether this replica may write."""
        return self._renewed is not None and _now() - self._renewed < DEADLINE

    def check(self) -> float:
        """Timeout in seconds of a write that starts now. Raises NotLeaderError unless the lease is held."""
        if self._renewed is None or not self.held:
            raise NotLeaderError("this replica does not hold the lease")
        return self._renewed + DURATION - LANDING - _now()

    async def acquire(self) -> None:
        """Wait until this replica holds the lease."""
        while not await self._try():  # noqa: ASYNC110 - the other holder is not in this process
            await asyncio.sleep(LOOK)
        self._leader.set(1)
        log.info("%s holds the lease %s/%s", self.identity, self._namespace, NAME)

    async def keep(self) -> None:
        """Renew until another replica has it. While the API server is unreachable none can, and nothing is written."""
        while True:
            await asyncio.sleep(PERIOD)
            was_held = self.held
            self._leader.set(was_held)
            try:
                async with asyncio.timeout(DEADLINE):
                    kept = await self._try()
            except TimeoutError:
                continue
            if kept and not was_held:
                log.info("%s holds the lease again", self.identity)
                self.regained()
            if kept is False:
                break
        self._renewed = None
        self._leader.set(0)
        log.error("%s has lost the lease %s/%s", self.identity, self._namespace, NAME)

    async def release(self) -> None:
        """Release it, so that another replica gets it at once."""
        if not self.held:
            return
        self._renewed = None
        self._leader.set(0)
        try:
            lease = await self._kube.get(self._path)
            if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._kube.call("PUT", self._path, body=lease)
        except ApiError as error:
            log.warning("the lease was not released; other replicas wait until it expires: %s", error)

    async def _try(self) -> bool | None:
        """Acquire or renew it, if it is free, expired, or held; whether it is held now. None: the call failed."""
        began = _now()
        try:
            lease = await self._kube.get(self._path)
            self._heard_at = _now()
            if lease is None:
                body: dict[str, Any] = {"metadata": {"name": NAME, "namespace": self._namespace}, "spec": {}}
                self._claim(body["spec"])
                await self._kube.call("POST", group(_API, self._namespace, "leases"), body=body)
            elif self._may_take(lease["spec"]):
                self._claim(lease["spec"])
                # It has the version that was read: of two concurrent writers, one gets 409.
                await self._kube.call("PUT", self._path, body=lease)
            else:
                return False
        except ApiError as error:
            log.warning("the lease could not be acquired or renewed: %s", error)
            return None
        self._renewed = began
        return True

    def _may_take(self, spec: dict[str, Any]) -> bool:
        holder = spec.get("holderIdentity") or ""
        state = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if state != self._seen:
            self._seen, self._seen_at = state, _now()
        over = _now() - self._seen_at > (spec.get("leaseDurationSeconds") or DURATION)
        return holder in ("", self.identity) or over

    def _claim(self, spec: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if spec.get("holderIdentity") != self.identity:
            transitions = (spec.get("leaseTransitions") or 0) + 1 if spec.get("holderIdentity") is not None else 0
            spec |= {"holderIdentity": self.identity, "acquireTime": now, "leaseTransitions": transitions}
        spec |= {"renewTime": now, "leaseDurationSeconds": DURATION}
