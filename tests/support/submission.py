"""A `Submitter` over a store of the test's, without a relay around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.fixed_clock import FixedClock
from tests.support.ingress import ME, Facts
from tests.support.memory_store import MemoryStore

from mailboat.config.settings import OutboundSettings, Settings, SmtpSettings
from mailboat.model.envelope import Entry, SpooledBody
from mailboat.queue.store import Selection, Store
from mailboat.submission import sending
from mailboat.submission.submitter import Submitter


@dataclass
class OutboundRig:
    """What a plugin's mail goes through."""

    store: Store
    facts: Facts
    clock: FixedClock
    submitter: Submitter = field(init=False)
    trouble: str = ""
    """Why there is no room."""

    async def mails(self) -> list[tuple[Entry, bytes]]:
        """Each entry of the queue, and its body."""
        page = await self.store.page(Selection(), 1000)
        return [(entry, octets(await self.store.body(entry))) for entry in page.entries]


def octets(body: bytes | SpooledBody) -> bytes:
    """A body, wherever it is."""
    if isinstance(body, bytes):
        return body
    with open(body.path, "rb") as file:  # noqa: PTH123 - a plain path of the store's
        return file.read()


@asynccontextmanager
async def outbound_rig(
    store: Store | None = None, *, outbound: dict[str, Any] | None = None, **smtp: Any
) -> AsyncIterator[OutboundRig]:
    """Bound to the running event loop while it lasts."""
    clock = FixedClock(1_700_000_000.0)
    rig = OutboundRig(store or MemoryStore(clock), Facts(), clock)
    settings = Settings("", ME, smtp=SmtpSettings(**smtp))
    settings = replace(settings, outbound=OutboundSettings(**(outbound or {})))
    rig.submitter = Submitter(settings, rig.store, rig.facts, clock, lambda: rig.trouble)
    sending.bind(rig.submitter)
    try:
        yield rig
    finally:
        sending.unbind()
        await rig.store.close()
