"""One SendingDomain from what it says to what is there: the one idempotent step, run by a work queue.

Every state follows from the Secret, the status, the DNS and the pods, so that a run that was cut short is made up for
by the next one. Keys are written first, then records, then the status, from which follows what pods get.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from mailboat.dkim.keys import dns_name, make_key, to_pem
from mailboat_operator import names
from mailboat_operator.authority import ServerTexts
from mailboat_operator.brought_keys import brought_keys
from mailboat_operator.conditions import Verdict, short
from mailboat_operator.desired.endpoint import endpoint
from mailboat_operator.events import Event, EventRecorder
from mailboat_operator.kube import ApiError
from mailboat_operator.observe import ClusterObserver
from mailboat_operator.observed import ChildKey, LiveChild, ObjectKey
from mailboat_operator.record_checks import RecordChecks
from mailboat_operator.references import SourceKind
from mailboat_operator.sending import status
from mailboat_operator.sending.dmarc import dmarc_verdict
from mailboat_operator.sending.findings import judged
from mailboat_operator.sending.keys import UPCOMING, DnsAnswer, DomainKey, KeyState, NewKey, RelayReport
from mailboat_operator.sending.life import CHECK, CHECK_SOON, KeyFacts, KeyPlan, needs_queue, plan_keys
from mailboat_operator.sending.rows import read_rows
from mailboat_operator.sending.signed import file_name, held_keys
from mailboat_operator.sending.spec import DeletionPolicy, PublishMode, SendingSpec, parse_sending_domain
from mailboat_operator.sending.spf import SpfFindings, spf_verdict
from mailboat_operator.sending.status import SendingFindings, SendingReason
from mailboat_operator.sending_apply import ForeignChildError, SendingApplier
from mailboat_operator.source_addresses import SourceAddressCache, SourceAddresses
from mailboat_operator.watch_cache import WatchCache
from mailboat_operator.workqueue import RetryAfter

_FRESH = CHECK_SOON.total_seconds()
"""Seconds for which an answer of the DNS is one of this very run."""


_AGAIN = 60.0
"""Seconds after which is looked again at what is in the way and no watch tells of: a quota, a foreign DNSEndpoint."""


@dataclass(frozen=True, slots=True)
class _Run:
    """What one run begins with."""

    key: ObjectKey
    resource: Mapping[str, Any]
    spec: SendingSpec
    now: datetime
    rows: tuple[DomainKey, ...]
    """The keys in its status."""
    secret: LiveChild | None
    """The Secret with its keys that the run has judged, or has written itself: no other one is changed."""

    @property
    def uid(self) -> str:
        return str(self.resource["metadata"]["uid"])

    @property
    def owner(self) -> str:
        """The uid of what the children go with; empty: they stay."""
        return self.uid if self.spec.deletion is DeletionPolicy.DELETE else ""

    @property
    def compromised(self) -> frozenset[str]:
        said = str((self.resource["metadata"].get("annotations") or {}).get(names.COMPROMISED, ""))
        return frozenset(selector.strip() for selector in said.split(",") if selector.strip())


class SendingReconciler:
    """Everything that one run needs. `now` is the time of day."""

    def __init__(
        self,
        cache: WatchCache,
        observer: ClusterObserver,
        applier: SendingApplier,
        recorder: EventRecorder,
        checks: RecordChecks,
        now: Callable[[], datetime],
    ) -> None:
        self._cache = cache
        self._observer = observer
        self._applier = applier
        self._recorder = recorder
        self._checks = checks
        self._now = now
        self._sources = SourceAddressCache()

    async def __call__(self, key: ObjectKey) -> float | None:
        """Seconds after which to look again, or None. Raises RetryAfter for what may pass."""
        resource = self._cache.resources.get(key)
        if resource is None or resource["metadata"]["deletionTimestamp"]:
            self._checks.forget(key)
            return None
        self._checks.meet(key, str(resource["metadata"]["uid"]))
        try:
            return await self._reconcile(key, resource)
        except ApiError as error:
            raise RetryAfter(str(error), error.retry_after) from error

    async def _reconcile(self, key: ObjectKey, resource: Mapping[str, Any]) -> float | None:
        spec, faults = parse_sending_domain(resource)
        now = self._now()
        if spec is None:
            trouble = Verdict("False", SendingReason.INVALID_SPEC, short("; ".join(faults)))
            await self._tell(key, resource, status.compute(resource, None, SendingFindings(trouble), now))
            return None
        known = _Run(key, resource, spec, now, read_rows(resource.get("status") or {}, spec.domain), self._secret(key))
        trouble_or_none = self._in_the_way(known)
        findings = SendingFindings(trouble_or_none) if trouble_or_none else await self._look_after(known)
        await self._tell(key, resource, status.compute(resource, spec, findings, now))
        if findings.plan is None:
            return _AGAIN * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
        await self._drop(known, findings.plan)
        return 0.0 if findings.plan.make else None

    def _in_the_way(self, known: _Run) -> Verdict | None:
        """Why its keys are not to be touched."""
        if rival := self._cache.signing.rival(known.key):
            message = f"the older SendingDomain {rival} is for {known.spec.domain} already, with a relay of this one"
            return Verdict("False", SendingReason.CONFLICT, message)
        live = known.secret
        if live is not None and live.label != known.key.name:
            message = f"Secret {live.key.name} belongs to another owner; rename or delete it"
            return Verdict("False", SendingReason.CHILD_NOT_OWNED, message)
        if live is not None and live.controller[2] not in ("", known.uid):
            raise RetryAfter(f"Secret {live.key.name} is about to go with an earlier SendingDomain")
        return None

    async def _look_after(self, known: _Run) -> SendingFindings:
        """Take one step with its keys."""
        try:
            brought, known = await self._bring(known)
            facts = await self._facts(known)
            plan = plan_keys(facts, known.now)
            known = await self._make(known, plan.make)
            no_endpoint = await self._publish(known, plan)
        except ForeignChildError as error:
            message = f"{error} belongs to another owner; rename or delete it"
            return SendingFindings(Verdict("False", SendingReason.CHILD_NOT_OWNED, message))
        except ApiError as error:
            if not error.permanent:
                raise
            return SendingFindings(Verdict("False", SendingReason.WRITE_REFUSED, short(str(error))))
        self._tell_of_lost(known, plan)
        self._ask_again(known, plan)
        coming = plan.make or any(key.state in UPCOMING for key in plan.keys)
        found = SendingFindings(
            brought=brought,
            plan=plan,
            rotate=status.rotate_requested(known.resource) if coming else "",
            signing=_signing(facts.relays),
            waits={selector: answer.wait for selector, answer in facts.answers.items()},
            no_endpoint=no_endpoint,
        )
        return self._with_records(known, found)

    async def _bring(self, known: _Run) -> tuple[Verdict | None, _Run]:
        """Write copies of the keys that `existingKeys` name, and take out those that it does not name any more.

        What is wrong with them, and the run with the Secret as it is then.
        """
        sources = await self._observer.sources(known.key, [existing.secret for existing in known.spec.existing])
        brought = brought_keys(known.spec, sources, self._cache.signing.files(known.key))
        theirs = {existing.selector for existing in known.spec.existing}
        files = self._cache.signing.files(known.key)
        gone = (
            file_name(row.selector, known.spec.domain)
            for row in known.rows
            if row.existing and row.selector not in theirs
        )
        changed = await self._change(known, {**brought.new, **{name: None for name in gone if name in files}})
        return brought.trouble, changed

    async def _facts(self, known: _Run) -> KeyFacts:
        domain, rows = known.spec.domain, known.rows
        theirs = [existing.selector for existing in known.spec.existing]
        held = held_keys(self._cache.signing.files(known.key), domain, theirs)
        hashes = {key.selector: key.public_hash for key in held} | {row.selector: row.public_hash for row in rows}
        relays = [ObjectKey(known.key.namespace, name) for name in known.spec.outbound_configs]
        return KeyFacts(
            known.spec.policy,
            rows,
            "keys" not in (known.resource.get("status") or {}),
            held,
            self._answers(known),
            tuple([await self._report(relay, known, hashes) for relay in relays]),
            known.compromised,
            bool(status.rotate_requested(known.resource)),
            not set(theirs) <= {key.selector for key in held},
            self._cache.signing.selectors(known.key.namespace, domain),
        )

    async def _report(self, relay: ObjectKey, known: _Run, hashes: Mapping[str, str]) -> RelayReport:
        report = self._observer.report(relay, known.spec.domain, hashes)
        if not needs_queue(known.rows, report.life, known.now):
            return report
        oldest = await self._observer.oldest_queued(relay)
        return replace(report, oldest_queued=None if oldest is None else known.now - timedelta(seconds=oldest))

    def _answers(self, known: _Run) -> dict[str, DnsAnswer]:
        """What the DNS has said just now."""
        report = self._checks.report(known.key)
        if report is None or self._checks.age(known.key) > _FRESH:
            return {}
        answers = {}
        for row in self._all_keys(known):
            said = report.answers.get(dns_name(row.selector, known.spec.domain))
            if isinstance(said, ServerTexts):
                publication = judged(row, known.spec.domain, said.texts).publication
                answers[row.selector] = DnsAnswer(publication, said.wait)
        return answers

    def _with_records(self, known: _Run, findings: SendingFindings) -> SendingFindings:
        """The findings with what the DNS has said last, however long ago."""
        report = self._checks.report(known.key)
        if report is None or findings.plan is None:
            return findings
        sources = self._source_addresses(known)
        said = {
            key.selector: (key, report.answers.get(dns_name(key.selector, known.spec.domain)))
            for key in findings.plan.keys
        }
        return replace(
            findings,
            records={
                selector: judged(key, known.spec.domain, answer.texts)
                for selector, (key, answer) in said.items()
                if isinstance(answer, ServerTexts)
            },
            silence=next((answer for _, answer in said.values() if isinstance(answer, str)), ""),
            checked=True,
            reconciled=report.request,
            spf=spf_verdict(
                SpfFindings(
                    known.spec.domain,
                    report.spf,
                    sources.known,
                    sources.unknown,
                    report.spf_results,
                    {host: report.hosts.get(host) for host in sources.hosts},
                )
            ),
            dmarc=dmarc_verdict(report.dmarc),
        )

    def _source_addresses(self, known: _Run) -> SourceAddresses:
        """Where mail of the domain comes from."""
        relays = [ObjectKey(known.key.namespace, name) for name in known.spec.outbound_configs]
        resources = {relay: self._cache.resources.get(relay) for relay in relays}
        return self._sources.addresses(known.spec.domain, resources)

    def _all_keys(self, known: _Run) -> list[DomainKey]:
        """The rows, and rows for the keys that have none yet."""
        rows = {row.selector: row for row in known.rows}
        for file in self._cache.signing.files(known.key).values():
            if file.key.domain == known.spec.domain and file.key.selector not in rows:
                held = file.held
                rows[held.selector] = DomainKey(
                    held.selector, held.algorithm, held.record, held.public_hash, known.now, known.now
                )
        return list(rows.values())

    # Writing.

    async def _make(self, known: _Run, wanted: Sequence[NewKey]) -> _Run:
        """Make keys, and write them before anything refers to them; the run with the Secret as it is then."""
        made = {}
        for new in wanted:
            private = await asyncio.to_thread(make_key, new.algorithm)
            made[file_name(new.selector, known.spec.domain)] = to_pem(private)
        return await self._change(known, made)

    async def _drop(self, known: _Run, plan: KeyPlan) -> None:
        """Take keys that are of no use any more out of the Secret, once the status says so."""
        files = self._cache.signing.files(known.key)
        useless = [key for key in plan.keys if key.selector in plan.drop]
        hashes = {file_name(key.selector, known.spec.domain): key.public_hash for key in useless}
        gone = [name for name, file in files.items() if hashes.get(name) == file.key.public_hash]
        await self._change(replace(known, secret=self._secret(known.key)), dict.fromkeys(gone))

    async def _change(self, known: _Run, changes: Mapping[str, bytes | None]) -> _Run:
        """Change the Secret, if it still is what the run has judged: else an ApiError, and another run judges anew.

        A watch may tell of another one while keys are made, in which these would be a second pair, or lie over the
        first.
        """
        strange = known.secret is not None and known.secret.controller[2] != known.owner
        if not changes and not strange:
            return known
        return replace(known, secret=await self._applier.keys(known.key, known.owner, known.secret, changes))

    async def _publish(self, known: _Run, plan: KeyPlan) -> str:
        """Write the DNSEndpoint where there is to be one; why that is not possible, or an empty text."""
        if known.spec.publish.mode is not PublishMode.DNS_ENDPOINT or not plan.keys:
            return ""
        return await self._applier.endpoint(known.key, known.owner, endpoint(known.spec, plan.keys))

    def _secret(self, key: ObjectKey) -> LiveChild | None:
        child = ChildKey(SourceKind.SECRET, key.name + names.DKIM)
        return self._cache.children(key, [child]).get(child)

    # Asking and telling.

    def _ask_again(self, known: _Run, plan: KeyPlan) -> None:
        """Say when the DNS is to be asked next: soon for what may change soon, and never all domains at once."""
        keys = {*(key.selector for key in plan.keys), *(key.selector for key in self._all_keys(known))}
        wanted = tuple(sorted(dns_name(selector, known.spec.domain) for selector in keys))
        sources = self._source_addresses(known)
        report, request = self._checks.report(known.key), status.reconcile_requested(known.resource)
        unknown = self._checks.follow(known.key, known.spec.domain, wanted, sources.known, sources.hosts, request)
        age = self._checks.age(known.key)
        soon = plan.next_check < CHECK or bool(plan.make) or plan.unjudged or not status.was_asked(known.resource)
        delay = plan.next_check.total_seconds()
        requested = request != "" and (report is None or report.request != request)
        if requested or (unknown and (soon or age < float("inf"))) or _is_ripe(plan, age):
            delay = random.uniform(0, 0.2)  # noqa: S311 - no secret
        elif unknown:
            delay *= random.random()  # noqa: S311
        elif delay >= _FRESH:
            delay = max(0.0, delay * random.uniform(0.9, 1.1) - age)  # noqa: S311
        self._checks.later(known.key, delay)

    async def _tell(self, key: ObjectKey, resource: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Write the status and post Events, where anything has changed."""
        old = resource.get("status") or {}
        if new == old:
            return
        uid = str(resource["metadata"]["uid"])
        await self._applier.status(key, uid, new)
        for reason, message, warning in status.told_changes(old, new):
            self._recorder.tell(Event(key, uid, reason, message, warning))

    def _tell_of_lost(self, known: _Run, plan: KeyPlan) -> None:
        before = {row.selector: row.state for row in known.rows}
        for key in plan.keys:
            if (
                not key.held
                and before.get(key.selector, key.state) is not key.state
                and key.selector not in known.compromised
            ):
                message = f"the private key of {dns_name(key.selector, known.spec.domain)} is gone from its Secret"
                self._recorder.tell(Event(known.key, known.uid, "KeyDeleted", message, warning=True))


def _signing(reports: Iterable[RelayReport]) -> tuple[frozenset[str], ...] | None:
    """What each ready pod of all relays signs with; None where that is not known of one."""
    pods = [report.signing for report in reports]
    return None if None in pods else tuple(pod for of_one in pods for pod in of_one or ())


def _is_ripe(plan: KeyPlan, age: float) -> bool:
    """Whether a key may wait for nothing but a fresh answer of the DNS: the pods have it, or its status was lost."""
    waits = plan.unjudged or any(key.state is KeyState.PUBLISHED for key in plan.keys)
    return waits and _FRESH < age < float("inf")
