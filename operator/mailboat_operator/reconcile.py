"""Reconciles one OutboundConfig: one idempotent step, run by the work queue.

Gathers, checks, writes differences, and reports. A fault that the user must correct becomes a condition; a temporary
one is raised, and the queue retries.
"""

from __future__ import annotations

import datetime
import logging
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mailboat_operator import checks, names, plan, status
from mailboat_operator.apply import Applier
from mailboat_operator.desired.children import Desired, build
from mailboat_operator.events import Event, EventRecorder
from mailboat_operator.kube import ApiError
from mailboat_operator.metrics import Metrics
from mailboat_operator.observe import ClusterObserver
from mailboat_operator.observed import ObjectKey, Observed
from mailboat_operator.pod_status import judge, obstacle
from mailboat_operator.relay_check import relay_faults
from mailboat_operator.rollout import RolloutTracker
from mailboat_operator.spec import Spec, is_paused, parse
from mailboat_operator.status import Findings, Type
from mailboat_operator.watch_cache import WatchCache
from mailboat_operator.workqueue import RetryAfter

log = logging.getLogger(__name__)

REFUSED_AGAIN = 60.0
"""Seconds after which a write that the API server refused is retried: for example, a quota may have been raised."""


class Reconciler:
    """The collaborators of a run."""

    def __init__(
        self,
        cache: WatchCache,
        observer: ClusterObserver,
        applier: Applier,
        recorder: EventRecorder,
        metrics: Metrics,
        rollouts: RolloutTracker,
    ) -> None:
        self._cache = cache
        self._observer = observer
        self._applier = applier
        self._recorder = recorder
        self._metrics = metrics
        self._rollouts = rollouts

    async def __call__(self, key: ObjectKey) -> float | None:
        """Seconds to the next run, or None. Raises RetryAfter after a temporary fault."""
        resource = self._cache.resources.get(key)
        if resource is None or resource["metadata"]["deletionTimestamp"]:
            # The API server deletes its children.
            self._rollouts.forget(key)
            self._observer.forget(key)
            return None
        try:
            return await self._reconcile(key, resource)
        except ApiError as error:
            raise RetryAfter(str(error), error.retry_after) from error

    async def _reconcile(self, key: ObjectKey, resource: Mapping[str, Any]) -> float | None:
        if is_paused(resource, names.PAUSED):
            observed = await self._observer.gather(key, resource, None)
            await self._tell(observed, status.paused(observed, _now()))
            return None
        spec, faults = parse(resource)
        observed = await self._observer.gather(key, resource, spec)
        findings = Findings(faults=faults) if spec is None else await self._program(observed, spec)
        await self._tell(observed, status.compute(observed, findings, _now()))
        if findings.refused:
            return REFUSED_AGAIN * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
        load_status = findings.load_status
        return self._rollouts.next(key, load_status) if load_status else None

    async def _program(self, observed: Observed, spec: Spec) -> Findings:
        """Write differences, and ask the relays."""
        resolved, ref_faults = checks.resolve(spec, observed.sources)
        if resolved is None:
            return await self._with_relays(observed, spec, Findings(ref_faults=ref_faults))
        try:
            uid = str(observed.metadata["uid"])
            desired = build(observed.key, uid, spec, resolved, observed.hash_key, observed.domains)
        except ValueError as error:
            return Findings(faults=(str(error),))
        refused = relay_faults(spec, desired)
        if refused.spec or refused.refs:
            return await self._with_relays(observed, spec, Findings(faults=refused.spec, ref_faults=refused.refs))
        wanted = plan.plan(observed, spec, desired)
        if wanted.foreign:
            return await self._with_relays(observed, spec, Findings(foreign=wanted.foreign))
        if said := await self._execute(observed, wanted):
            return Findings(refused=said)
        self._observer.rendered(observed, desired.hash, refused.longest_wait)
        self._rollouts.programmed(observed.key, desired.hash, changed=bool(wanted.actions))
        warnings = (*checks.warnings_of(resolved), *refused.warnings)
        return await self._with_relays(observed, spec, _programmed(desired, warnings))

    async def _execute(self, observed: Observed, wanted: plan.Plan) -> str:
        """Execute the plan; returns the error if the API server permanently refuses a write."""
        for action in wanted.actions:
            try:
                await self._applier.execute(observed.key, action)
            except ApiError as error:
                if error.permanent:
                    return str(error)
                raise
        for child in wanted.drifted:
            self._metrics.drift.labels(child.kind.value).inc()
            self._event(observed, "DriftCorrected", f"{child.kind} {child.name} was changed by another writer")
        return ""

    async def _with_relays(self, observed: Observed, spec: Spec, findings: Findings) -> Findings:
        """The findings with the configuration that the relays report."""
        hash_ = findings.hash or str((observed.status.get("config") or {}).get("hash", ""))
        flushed = status.flush_requested(observed) and await self._flush(observed, spec)
        pods = await self._observer.ask(observed.key, spec) if not obstacle(observed, spec) else ()
        load_status = judge(observed, spec, pods, hash_) if hash_ else None
        return replace(findings, load_status=load_status, pods=pods, flushed=flushed)

    async def _flush(self, observed: Observed, spec: Spec) -> bool:
        """Ask every ready relay to attempt its deferred mail; the result becomes an Event."""
        token = checks.admin_token(spec, observed.sources)
        in_the_way = obstacle(observed, spec)
        results = {} if in_the_way else await self._observer.flush(observed.key, spec, token)
        failed = "; ".join(f"{pod}: {result}" for pod, result in results.items() if result)
        if not results:
            why = in_the_way[1] if in_the_way else "no relay pod is ready, or there is no targetRef"
            self._event(observed, "FlushFailed", why, warning=True)
        elif failed:
            self._event(observed, "FlushFailed", failed, warning=True)
        else:
            self._event(observed, "Flushed", f"{len(results)} relay pods attempt their deferred mail")
        return True

    async def _tell(self, observed: Observed, new: Mapping[str, Any]) -> None:
        """Write the status and post Events, where anything has changed."""
        if new == observed.status:
            return
        await self._applier.status(observed.key, observed.metadata["uid"], new)
        for kind, verdict in status.changes(observed.status, new):
            if kind is Type.READY or verdict.status == "Unknown" or verdict.reason in _QUIET:
                continue
            message = verdict.message or _WORDS.get(verdict.reason, "")
            warning = verdict.status == "False" and kind is not Type.PAUSED and verdict.reason not in _EXPECTED
            self._event(observed, verdict.reason, message, warning=warning)

    def _event(self, observed: Observed, reason: str, message: str, *, warning: bool = False) -> None:
        uid = str(observed.metadata["uid"])
        self._recorder.tell(Event(observed.key, uid, reason, message, warning))


_QUIET = frozenset({"Accepted", "ResolvedRefs", "NotPaused", "PodsReady", "DANEAvailable", "DANEOff"})
"""Reasons that say only that nothing is wrong."""
_WORDS = {"Programmed": "the configuration is rendered for the relays"}
_EXPECTED = frozenset({"Loading", "NoReadyPods", "LastGoodKept", "PodsNotReady", "NoValidatingResolver"})
"""Reasons of False that are no trouble, or told by another condition."""


def _programmed(desired: Desired, warnings: tuple[str, ...]) -> Findings:
    return Findings(hash=desired.hash, children=tuple(child.key for child in desired.children), warnings=warnings)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
