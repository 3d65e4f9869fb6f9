"""What all SendingDomains add to OutboundConfigs, and which of two with the same domain is heard. No I/O.

`watch_cache` puts in what the watches report, and gets the resources that it concerns; `observe` and
`sending_reconcile` read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailboat_operator.observed import ObjectKey
from mailboat_operator.sending.keys import UPCOMING, KeyState
from mailboat_operator.sending.rows import read_rows
from mailboat_operator.sending.signed import SignedDomain, StoredKey, key_files, signed_domain

_WAITING = UPCOMING | {KeyState.RETIRING}
"""States that what pods say may end."""
_UNSIGNED = "Unsigned"


@dataclass(slots=True)
class _KnownDomain:
    """One SendingDomain."""

    domain: str
    relays: frozenset[ObjectKey]
    """The OutboundConfigs that it names."""
    age: tuple[str, str]
    signed: SignedDomain | None = field(default=None, repr=False)
    waits: bool = True
    """Whether what pods say may change something."""


class SigningDomains:
    """The SendingDomains of one operator."""

    def __init__(self) -> None:
        self._known: dict[ObjectKey, _KnownDomain] = {}
        self._files: dict[ObjectKey, dict[str, StoredKey]] = {}
        """Of each Secret with keys, also where it has outlived its SendingDomain."""
        self._holders: dict[tuple[str, str], set[ObjectKey]] = {}
        """The Secrets that have had keys of a domain."""
        self._status: dict[ObjectKey, Mapping[str, Any]] = {}
        self._signers: dict[ObjectKey, set[ObjectKey]] = {}
        """By OutboundConfig, the SendingDomains that name it."""
        self._by_domain: dict[tuple[str, str], set[ObjectKey]] = {}

    # Reading.

    def signed(self, relay: ObjectKey) -> tuple[SignedDomain, ...]:
        """What an OutboundConfig renders, in the order of the domains' names."""
        heard = (self._known[key] for key in self._signers.get(relay, ()) if not self.rival(key))
        return tuple(sorted((known.signed for known in heard if known.signed), key=lambda signed: signed.domain))

    def files(self, key: ObjectKey) -> Mapping[str, StoredKey]:
        """The keys in the Secret of a SendingDomain, by file name."""
        return self._files.get(key, {})

    def selectors(self, namespace: str, domain: str) -> frozenset[str]:
        """Those of all keys of a domain that are in Secrets."""
        holders = self._holders.get((namespace, domain), ())
        files = (file for holder in holders for file in self.files(holder).values())
        return frozenset(file.key.selector for file in files if file.key.domain == domain)

    def rival(self, key: ObjectKey) -> str:
        """The older SendingDomain of the same domain and a common relay; empty: none."""
        mine = self._known[key]
        others = (self._known[other] for other in self._by_domain[key.namespace, mine.domain] - {key})
        older = [other.age for other in others if other.age < mine.age and other.relays & mine.relays]
        return min(older)[1] if older else ""

    def signers(self, relay: ObjectKey) -> frozenset[ObjectKey]:
        """The SendingDomains that name an OutboundConfig."""
        return frozenset(self._signers.get(relay, ()))

    def waiting(self, relay: ObjectKey, domains: Collection[str] | None) -> list[ObjectKey]:
        """The SendingDomains of these domains, or of all, for which it matters what an OutboundConfig's pods say."""
        signers = ((key, self._known[key]) for key in self._signers.get(relay, ()))
        return [key for key, known in signers if known.waits and (domains is None or known.domain in domains)]

    # Writing: each returns the resources that have to be looked at besides the SendingDomain itself.

    def put(self, key: ObjectKey, body: Mapping[str, Any]) -> set[ObjectKey]:
        """A SendingDomain as it is now."""
        old = self._known.get(key)
        new = _read(key, body)
        self._status[key] = body
        self._sign(key, new, old.signed if old else None)
        if old is not None and (old.domain, old.relays) == (new.domain, new.relays):
            self._known[key] = new
            return set() if old.signed == new.signed else set(new.relays)
        concerned = self.forget(key)
        self._status[key] = body
        self._known[key] = new
        for relay in new.relays:
            self._signers.setdefault(relay, set()).add(key)
        namesakes = self._by_domain.setdefault((key.namespace, new.domain), set())
        namesakes.add(key)
        return concerned | set(new.relays) | namesakes - {key}

    def forget(self, key: ObjectKey) -> set[ObjectKey]:
        """A SendingDomain is gone; its Secret may stay."""
        self._status.pop(key, None)
        known = self._known.pop(key, None)
        if known is None:
            return set()
        for relay in known.relays:
            _discard(self._signers, relay, key)
        namesakes = self._by_domain[key.namespace, known.domain] - {key}
        _discard(self._by_domain, (key.namespace, known.domain), key)
        return set(known.relays) | namesakes

    def put_files(self, key: ObjectKey, data: Mapping[str, bytes]) -> set[ObjectKey]:
        """The content of the Secret with its keys; nothing: it is not there."""
        self._files[key] = key_files(data)
        if not data:
            del self._files[key]
        for file in self.files(key).values():
            self._holders.setdefault((key.namespace, file.key.domain), set()).add(key)
        known = self._known.get(key)
        if known is None:
            return set()
        before = known.signed
        self._sign(key, known, before)
        return set() if before == known.signed else set(known.relays)

    def _sign(self, key: ObjectKey, known: _KnownDomain, before: SignedDomain | None) -> None:
        body = self._status[key]
        rows = read_rows(body.get("status") or {}, known.domain)
        hold = _when_no_key(body) != _UNSIGNED
        known.signed = signed_domain(known.domain, rows, self.files(key), hold=hold)
        if before and not rows and self.files(key):
            known.signed = before  # the status was lost: what pods run stays until it is made up again
        if known.signed == before:
            known.signed = before  # the same object in all that is remembered of renderings (`relay_views`)
        known.waits = not rows or not _keys_are_ready(body) or any(row.state in _WAITING for row in rows)


def _read(key: ObjectKey, body: Mapping[str, Any]) -> _KnownDomain:
    """Only what the API server has checked: the rest of a spec may be wrong without harm to the mail that is signed."""
    spec = body.get("spec") or {}
    refs = (ref.get("name", "") for ref in spec.get("outboundConfigRefs") or ())
    relays = frozenset(ObjectKey(key.namespace, name) for name in refs)
    return _KnownDomain(spec.get("domain", ""), relays, (body["metadata"].get("creationTimestamp", ""), key.name))


def _keys_are_ready(body: Mapping[str, Any]) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "KeysReady" and c.get("status") == "True" for c in conditions)


def _when_no_key(body: Mapping[str, Any]) -> str:
    return str(((body.get("spec") or {}).get("dkim") or {}).get("whenNoKey", ""))


def _discard(index: dict[Any, set[ObjectKey]], place: Any, key: ObjectKey) -> None:
    index[place].discard(key)
    if not index[place]:
        del index[place]
