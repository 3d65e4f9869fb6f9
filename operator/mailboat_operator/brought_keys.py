"""The keys that `existingKeys` name: from the Secrets of others to files beside the keys that are made here. Pure.

A copy is never written over: another key under the same selector would not match what caches have of the DNS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mailboat.dkim.keys import SigningKey, parse_key, to_pem
from mailboat_operator.checks import RefFault, RefReason, Sources, not_allowed
from mailboat_operator.conditions import Verdict, short
from mailboat_operator.sending.signed import StoredKey, file_name
from mailboat_operator.sending.spec import ExistingKey, SendingSpec
from mailboat_operator.sending.status import SendingReason


@dataclass(frozen=True, slots=True)
class BroughtKeys:
    """What they give."""

    new: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Files that are to be written, by name."""
    trouble: Verdict | None = None
    """What is wrong with the others."""


def brought_keys(spec: SendingSpec, sources: Sources, files: Mapping[str, StoredKey]) -> BroughtKeys:
    """Follow every reference; `files` are those that are there."""
    new: dict[str, bytes] = {}
    faults: list[tuple[str, str]] = []
    for existing in spec.existing:
        name = file_name(existing.selector, spec.domain)
        try:
            key = _key(spec.domain, existing, sources)
        except _BadKeyError as error:
            faults.append((error.reason, str(error)))
            continue
        there = files.get(name)
        if there is None:
            new[name] = to_pem(key.private)
        elif there.key.public_hash != key.public_hash:
            message = f"{existing.secret} has another key for {existing.selector} now: use another selector for it"
            faults.append((SendingReason.KEY_CHANGED, message))
    if not faults:
        return BroughtKeys(new)
    return BroughtKeys(new, Verdict("False", faults[0][0], short("; ".join(message for _, message in faults))))


class _BadKeyError(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _key(domain: str, existing: ExistingKey, sources: Sources) -> SigningKey:
    ref = existing.secret
    fault = next(_faults(existing, sources), None)
    if fault is not None:
        raise _BadKeyError(fault.reason, fault.message)
    source = sources[ref.source]
    assert source is not None
    try:
        private, _ = parse_key(source.data[ref.key])
    except ValueError as error:
        raise _BadKeyError(SendingReason.INVALID_KEY, f"{ref}: {ref.key}: {error} ({ref.path})") from None
    return SigningKey(domain, existing.selector, private)


def _faults(existing: ExistingKey, sources: Sources) -> Iterator[RefFault]:
    ref = existing.secret
    source = sources.get(ref.source)
    if source is None:
        yield RefFault(RefReason.SECRET_NOT_FOUND, f"{ref} does not exist ({ref.path})")
    elif not source.allowed:
        yield not_allowed(ref)
    elif ref.key not in source.data:
        yield RefFault(RefReason.KEY_NOT_FOUND, f"{ref} has no key {ref.key} ({ref.path})")
