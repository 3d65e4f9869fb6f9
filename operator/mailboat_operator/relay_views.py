"""What the pods of each OutboundConfig run, told by the hashes that they report. `observe` puts in; no I/O.

A hash says which keys a pod has and signs with, where it is that of a `dkim.ini` that this process has rendered. A pod
that runs something else may sign with any key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from mailboat_operator.observed import ObjectKey, PodState
from mailboat_operator.sending.keys import RelayReport
from mailboat_operator.sending.signed import SignedDomain

_RENDERINGS_MAX = 64
"""Of one OutboundConfig: older ones are taken for unknown."""


_Rendering = Mapping[str, SignedDomain]
"""The keys in one configuration, by domain. What has not changed is the same object in all of them: 64 lists of a
thousand domains took 30 MB.
"""


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
    run: Mapping[str, _Rendering | None] = field(default_factory=dict)
    """By hash, what the pods ran when they were asked last; None: something unknown."""


class RelayViews:
    """All OutboundConfigs."""

    def __init__(self) -> None:
        self._views: dict[ObjectKey, _View] = {}
        self.changed: Callable[[ObjectKey, Collection[str] | None], None] = lambda _, __: None
        """Called when the pods of an OutboundConfig run something else for these domains; None: for all, perhaps."""

    def rendered(self, relay: ObjectKey, hash_: str, domains: Iterable[SignedDomain], life: float) -> None:
        """A configuration with this hash is written. `life`: seconds that mail may wait in its queue."""
        view = self._views.setdefault(relay, _View())
        view.renderings[hash_] = {signed.domain: signed for signed in domains}
        view.renderings.move_to_end(hash_)
        if len(view.renderings) > _RENDERINGS_MAX:
            view.renderings.popitem(last=False)
        view.life = timedelta(seconds=life)

    def asked(self, relay: ObjectKey, pods: Sequence[PodState], wanted: int) -> None:
        """What its pods have said; `wanted` is how many there should be."""
        view = self._views.setdefault(relay, _View())
        before, run = (view.hashes, view.complete), view.run
        view.hashes = tuple(sorted(pod.hash for pod in pods if pod.ready))
        view.complete = len(view.hashes) == wanted > 0 and all(view.hashes)
        view.run = {hash_: view.renderings.get(hash_) for hash_ in view.hashes}
        if before == (view.hashes, view.complete) and run == view.run:
            return
        known = [rendering for rendering in (*run.values(), *view.run.values()) if rendering is not None]
        if before[1] != view.complete or not run or not view.run or len(known) < len(run) + len(view.run):
            self.changed(relay, None)
        elif domains := _differing(known):
            # A thousand domains that wait would all be looked at for each of them that goes on.
            self.changed(relay, domains)

    def forget(self, relay: ObjectKey) -> None:
        """It is gone. What its pods run is not known any more: they keep their last configuration."""
        self._views.pop(relay, None)

    def report(self, relay: ObjectKey, domain: str, hashes: Mapping[str, str]) -> RelayReport:
        """What its pods do with the keys of a domain, given by selector and hash; the queue is not asked for here."""
        view = self._views.get(relay)
        if view is None or view.hashes is None:
            return RelayReport(in_use=None, complete=False)
        run = [view.renderings.get(hash_) for hash_ in view.hashes]
        known = [rendering for rendering in run if rendering is not None]
        strange = len(known) < len(run)
        held = [_held(rendering.get(domain), hashes) for rendering in known]
        signing = [_signing(rendering.get(domain), hashes) for rendering in known]
        loaded = frozenset[str]() if strange or not run else frozenset(hashes).intersection(*held)
        in_use = frozenset(hashes) if strange else frozenset[str]().union(*signing)
        written = next(reversed(view.renderings.values())).get(domain) if view.renderings else None
        signs = _signing(written, hashes).union(*signing)
        return RelayReport(loaded, in_use, signs, None if strange else tuple(signing), view.complete, view.life)


def _differing(renderings: Sequence[_Rendering]) -> frozenset[str]:
    """The domains that are not the same in all of them."""
    first, *others = renderings
    return frozenset(
        domain for other in others for domain in {**first, **other} if first.get(domain) != other.get(domain)
    )


def _held(signed: SignedDomain | None, hashes: Mapping[str, str]) -> frozenset[str]:
    """Selectors of the keys, given by selector and hash, that a configuration has."""
    return frozenset(s for s, hash_ in hashes.items() if signed and signed.hashes.get(s) == hash_)


def _signing(signed: SignedDomain | None, hashes: Mapping[str, str]) -> frozenset[str]:
    """Those of them that sign."""
    return _held(signed, hashes).intersection(signed.signing) if signed else frozenset()
