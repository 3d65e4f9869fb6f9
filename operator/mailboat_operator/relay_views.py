"""What the pods of each OutboundConfig run, told by the hashes that they report. `observe` puts in; no I/O.

A hash says which keys a pod has and signs with, where it is that of a `dkim.ini` that this process has rendered. A pod
that runs something else may sign with any key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from mailboat_operator.observed import ObjectKey, PodState
from mailboat_operator.sending.keys import RelayReport
from mailboat_operator.sending.signed import SignedDomain

_RENDERINGS_MAX = 64
"""Of one OutboundConfig: older ones are taken for unknown."""


_KeyName = tuple[str, str, str]
"""Domain, selector and hash of the public key."""


@dataclass(frozen=True, slots=True)
class _Rendering:
    """The keys in one configuration."""

    held: frozenset[_KeyName]
    signing: frozenset[_KeyName]


@dataclass(slots=True)
class _View:
    """One OutboundConfig."""

    renderings: OrderedDict[str, _Rendering] = field(default_factory=OrderedDict)
    """By hash."""
    life: timedelta = timedelta()
    hashes: tuple[str, ...] | None = None
    """What its ready pods report; None: they have not been asked."""
    complete: bool = False
    """Whether these are all pods that are wanted, and all have answered."""


class RelayViews:
    """All OutboundConfigs."""

    def __init__(self) -> None:
        self._views: dict[ObjectKey, _View] = {}
        self.changed: Callable[[ObjectKey], None] = lambda _: None
        """Called when the pods of an OutboundConfig run something else."""

    def rendered(self, relay: ObjectKey, hash_: str, domains: Iterable[SignedDomain], life: float) -> None:
        """A configuration with this hash is written. `life`: seconds that mail may wait in its queue."""
        view = self._views.setdefault(relay, _View())
        domains = tuple(domains)
        held = frozenset((d.domain, selector, hash_) for d in domains for selector, hash_ in d.hashes.items())
        signing = frozenset((d.domain, selector, d.hashes[selector]) for d in domains for selector in d.signing)
        view.renderings[hash_] = _Rendering(held, signing)
        view.renderings.move_to_end(hash_)
        if len(view.renderings) > _RENDERINGS_MAX:
            view.renderings.popitem(last=False)
        view.life = timedelta(seconds=life)

    def asked(self, relay: ObjectKey, pods: Sequence[PodState], wanted: int) -> None:
        """What its pods have said; `wanted` is how many there should be."""
        view = self._views.setdefault(relay, _View())
        before = (view.hashes, view.complete)
        view.hashes = tuple(sorted(pod.hash for pod in pods if pod.ready))
        view.complete = len(view.hashes) == wanted > 0 and all(view.hashes)
        if before != (view.hashes, view.complete):
            self.changed(relay)

    def forget(self, relay: ObjectKey) -> None:
        """It is gone. What its pods run is not known any more: they keep their last configuration."""
        self._views.pop(relay, None)

    def report(self, relay: ObjectKey, domain: str, hashes: Mapping[str, str]) -> RelayReport:
        """What its pods do with the keys of a domain, given by selector and hash; the queue is not asked for here."""
        view = self._views.get(relay)
        if view is None or view.hashes is None:
            return RelayReport(in_use=None, complete=False)
        run = [view.renderings.get(hash_) for hash_ in view.hashes]
        keys = {selector: (domain, selector, hash_) for selector, hash_ in hashes.items()}
        loaded = {s for s, key in keys.items() if run and all(r is not None and key in r.held for r in run)}
        in_use = {s for s, key in keys.items() if any(r is None or key in r.signing for r in run)}
        signing = [frozenset(s for s, key in keys.items() if key in r.signing) for r in run if r is not None]
        known = tuple(signing) if len(signing) == len(run) else None
        written = next(reversed(view.renderings.values())).signing if view.renderings else frozenset()
        signs = frozenset(s for s, key in keys.items() if key in written).union(*signing)
        return RelayReport(frozenset(loaded), frozenset(in_use), signs, known, view.complete, view.life)
