"""The collaborators of an attempt. Wired by `app.build`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mailboat.delivery.gate import Gate
from mailboat.delivery.oauth import TokenSource
from mailboat.delivery.overrides import WorkerOverrides
from mailboat.delivery.pool import Pool
from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.clock import Clock
from mailboat.model.observer import Observer
from mailboat.model.tls import NOTHING_ASKED, MessageTls
from mailboat.queue.store import Store
from mailboat.routing.answers import RoutingAnswer, Target, Targets


class Routing(Protocol):
    """What an attempt asks of routing."""

    async def route(
        self, domain: str, sender: Address = NULL_SENDER, asked: MessageTls = NOTHING_ASKED, by: str = ""
    ) -> RoutingAnswer:
        """The targets for mail from a sender to a domain; `by`, here and below: by this route, if it exists."""

    async def route_anew(
        self,
        answer: Targets,
        domain: str,
        sender: Address = NULL_SENDER,
        asked: MessageTls = NOTHING_ASKED,
        by: str = "",
    ) -> RoutingAnswer:
        """The same instead of the answer that was given, after a look whether there are new MTA-STS policies."""

    async def renewed(
        self,
        target: Target,
        domain: str,
        sender: Address = NULL_SENDER,
        asked: MessageTls = NOTHING_ASKED,
        by: str = "",
    ) -> Target | None:
        """The target with the TLSA records of now; None: they are the same, or there are none."""


@dataclass(frozen=True, slots=True)
class AttemptParts:
    """The collaborators of attempts."""

    router: Routing
    pool: Pool
    store: Store
    observer: Observer
    clock: Clock
    gate: Gate
    tokens: TokenSource
    overrides: WorkerOverrides | None = None
    """Rules from replies; None: there are none."""
