"""The reconciler of SendingDomains with an API server, name servers, pods and a clock that a test moves by hand.

Nothing runs by itself: a test says when a run, an answer of the DNS or the word of a pod comes, so that any order of
them can be had.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.memory_api import MemoryApi
from tests.support.sending_domain import sending_resource

from mailboat_operator import names
from mailboat_operator.apply import Applier
from mailboat_operator.authority import Authority, DnsSilence, ServerTexts
from mailboat_operator.desired import endpoint
from mailboat_operator.events import Event, EventRecorder
from mailboat_operator.kube import core, group
from mailboat_operator.observe import ClusterObserver
from mailboat_operator.observed import ObjectKey, PodState
from mailboat_operator.polling import PodPoller
from mailboat_operator.record_checks import RecordChecks
from mailboat_operator.relay_views import RelayViews
from mailboat_operator.relays import Relays
from mailboat_operator.sending_apply import SendingApplier
from mailboat_operator.sending_reconcile import SendingReconciler
from mailboat_operator.watch_cache import DELETED, WatchCache
from mailboat_operator.workqueue import RetryAfter

KEY = ObjectKey("mail", "example-com", names.SENDING_KIND)
RELAY = ObjectKey("mail", "relay")
PATH = group(names.API_VERSION, KEY.namespace, names.SENDING_PLURAL, KEY.name)
ENDPOINT = group(endpoint.API, KEY.namespace, endpoint.PLURAL, f"{KEY.name}-dkim")
SECRET = core(KEY.namespace, "secrets", f"{KEY.name}-dkim")
ED25519 = {"algorithms": ["Ed25519"]}
"""One key, which is made quickly."""


class TestAuthority(Authority):
    """Name servers that agree."""

    __test__ = False

    def __init__(self) -> None:
        self.texts_of: dict[str, tuple[str, ...]] = {}
        self.silent = False
        self.answering = asyncio.Event()
        """Cleared: answers wait."""
        self.answering.set()

    async def texts(self, name: str) -> ServerTexts:
        """What every server has of a name."""
        return ServerTexts({"ns1": await self.lookup(name)}, timedelta())

    async def lookup(self, name: str, rdtype: str = "TXT") -> tuple[str, ...]:
        """TXT records only."""
        await self.answering.wait()
        if self.silent:
            raise DnsSilence(f"{name}: ns1 does not answer")
        return self.texts_of.get(name, ()) if rdtype == "TXT" else ()


class TestRecorder(EventRecorder):
    """Keeps Events."""

    __test__ = False

    def __init__(self) -> None:
        self.events: list[Event] = []

    def tell(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


class SendingRig:
    """One SendingDomain of one operator, which may be started again."""

    def __init__(self) -> None:
        self.api = MemoryApi()
        self.dns = TestAuthority()
        self.seconds = 1000.0
        self.recorder = TestRecorder()
        self.retries = 0
        self.start()

    def start(self) -> None:
        """An operator that knows what a first list tells it."""
        self.cache = WatchCache(lambda: self.seconds)
        self.views = RelayViews()
        self.checks = RecordChecks(self.dns, lambda: self.seconds)
        self.delays: list[float] = []
        """Seconds after which the DNS was to be asked, in the order of the runs."""
        self.checks.later = lambda _, seconds: self.delays.append(seconds)
        observer = ClusterObserver(self.api, self.cache, Relays(), PodPoller(Relays().ask), self.views)
        applier = SendingApplier(self.api, self.cache, Applier(self.api, self.cache))
        self.reconcile = SendingReconciler(self.cache, observer, applier, self.recorder, self.checks, lambda: self.now)
        for path, kind in ((SECRET, "Secret"), (PATH, names.SENDING_KIND)):
            if path in self.api.objects:
                self.cache.put(kind, self.api.objects[path])

    @property
    def now(self) -> datetime:
        """The time of day."""
        return datetime(2026, 11, 28, 12, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def create(self, **spec: Any) -> None:
        """Create the SendingDomain, or another one of the same name, as a watch tells it."""
        body = sending_resource(**{"dkim": ED25519} | spec)
        body["metadata"]["creationTimestamp"] = "2026-11-28T12:00:00Z"
        self.cache.watched(names.SENDING_KIND, self.api.put(PATH, body), "ADDED")

    def delete(self) -> None:
        """Delete it; its Secret stays."""
        self.cache.watched(names.SENDING_KIND, self.api.objects.pop(PATH), DELETED)

    def annotate(self, annotation: str, value: str) -> None:
        """Set an annotation of our group; no watch tells it yet."""
        body = self.api.objects[PATH]
        body["metadata"]["annotations"] = {f"{names.GROUP}/{annotation}": value}
        self.api.put(PATH, body)

    def lose_status(self) -> None:
        """Somebody takes the status away."""
        self.api.put(PATH, {**self.api.objects[PATH], "status": {}})
        self.watch()

    def watch(self) -> None:
        """A watch tells the SendingDomain as it is."""
        self.cache.watched(names.SENDING_KIND, self.api.objects[PATH], "MODIFIED")

    async def run(self) -> float | None:
        """One run of the reconciler."""
        return await self.reconcile(KEY)

    async def ask(self) -> None:
        """The DNS is asked, and a run sees the answer."""
        await self.checks(KEY)
        await self.run()

    def publish(self) -> None:
        """Publish what the status shows."""
        self.dns.texts_of |= {record["name"]: (record["value"],) for record in self.status.get("records", ())}

    def pods_load(self) -> None:
        """Everything is rendered, and the one pod runs it."""
        hash_ = f"sha256:{self.seconds}"
        self.views.rendered(RELAY, hash_, self.cache.signing.signed(RELAY), 0.0)
        self.views.asked(RELAY, [PodState("relay-0", ready=True, hash=hash_)], 1)
        self.seconds += 1

    async def step(self) -> None:
        """A round of everything: the records are published, the DNS is asked, pods load, and what failed is retried."""
        self.pods_load()
        self.publish()
        for work in (self.run, self.ask):
            try:
                await work()
            except RetryAfter:
                self.retries += 1

    async def until_ready(self) -> None:
        """From nothing to a key that signs."""
        for _ in range(2):
            self.pods_load()
            await self.run()
        self.publish()
        for _ in range(3):
            await self.ask()
            self.pods_load()
        await self.run()
        assert self.condition("Ready") == ("True", "Ready")

    @property
    def status(self) -> dict[str, Any]:
        """As the API server has it."""
        found: dict[str, Any] = self.api.objects[PATH].get("status") or {}
        return found

    @property
    def keys(self) -> dict[str, str]:
        """The private keys in the Secret, by file."""
        secret = self.api.objects.get(SECRET) or {}
        return dict(secret.get("data") or {})

    @property
    def signing(self) -> list[str]:
        """The selectors that an OutboundConfig renders as those that sign."""
        return [selector for domain in self.cache.signing.signed(RELAY) for selector in domain.signing]

    @property
    def states(self) -> dict[str, str]:
        """The state of each key, by selector."""
        return {key["selector"]: key["state"] for key in self.status.get("keys", ())}

    def message(self, kind: str) -> str:
        """What a condition says."""
        return next(str(c["message"]) for c in self.status["conditions"] if c["type"] == kind)

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = {c["type"]: (c["status"], c["reason"]) for c in self.status.get("conditions", ())}
        return found.get(kind, ("", ""))
