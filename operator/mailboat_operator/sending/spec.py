"""A SendingDomain as a frozen value, or everything that is wrong with it. Pure.

Knows no API and no Secret's content: a key that is there already has a name here. A missing field has the default of
the CRD, which a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from mailboat.config.text import quoted
from mailboat.config.values import host_name
from mailboat.dkim.keys import SELECTOR
from mailboat_operator.reader import SpecReader
from mailboat_operator.references import Reference, allowed_key
from mailboat_operator.sending.keys import ALGORITHMS, KeyPolicy, SelectorStyle

_MAX_DAYS = 3650
_MAX_TTL = 604_800
_MAX_PREFIX = 20


class WhenNoKey(StrEnum):
    """What becomes of mail when no key may sign it any more."""

    HOLD = "Hold"
    UNSIGNED = "Unsigned"


class PublishMode(StrEnum):
    """How records come into the DNS."""

    MANUAL = "Manual"
    DNS_ENDPOINT = "DNSEndpoint"


class Quoting(StrEnum):
    """How a provider of ExternalDNS takes the text of a TXT record."""

    QUOTED = "Quoted"
    BARE = "Bare"


class DeletionPolicy(StrEnum):
    """What becomes of the Secret with the keys when the resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


@dataclass(frozen=True, slots=True)
class ExistingKey:
    """A key that is there already."""

    selector: str
    secret: Reference


@dataclass(frozen=True, slots=True)
class PublishSpec:
    """`spec.publish`."""

    mode: PublishMode = PublishMode.MANUAL
    ttl: int = 3600
    """Seconds; 0: the provider's default."""
    quoting: Quoting = Quoting.QUOTED
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


_POLICY = KeyPolicy()
_PUBLISH = PublishSpec()


@dataclass(frozen=True, slots=True)
class SendingSpec:
    """What a SendingDomain asks for."""

    domain: str
    outbound_configs: tuple[str, ...]
    """Names of the OutboundConfigs whose relays sign."""
    policy: KeyPolicy = _POLICY
    existing: tuple[ExistingKey, ...] = ()
    when_no_key: WhenNoKey = WhenNoKey.HOLD
    publish: PublishSpec = _PUBLISH
    deletion: DeletionPolicy = DeletionPolicy.RETAIN


def parse_sending_domain(resource: Mapping[str, Any]) -> tuple[SendingSpec | None, tuple[str, ...]]:
    """The spec, or None and its faults, each with its path."""
    faults: list[str] = []
    given = resource.get("spec")
    if not isinstance(given, Mapping):
        return None, ("spec: is not an object",)
    spec = SpecReader(given, "spec", faults)
    dkim = _part(spec, "dkim")
    parsed = SendingSpec(
        domain=_domain(spec),
        outbound_configs=_outbound_configs(spec),
        policy=_policy(dkim),
        existing=_existing(dkim),
        when_no_key=dkim.word("whenNoKey", {word.value: word for word in WhenNoKey}, WhenNoKey.HOLD),
        publish=_publish(_part(spec, "publish")),
        deletion=spec.word("deletionPolicy", {word.value: word for word in DeletionPolicy}, DeletionPolicy.RETAIN),
    )
    return (None if faults else parsed), tuple(faults)


def _part(reader: SpecReader, name: str) -> SpecReader:
    """An object of the spec; empty where it is missing."""
    return reader.child(name) or SpecReader({}, f"{reader.path}.{name}", reader.faults)


def _domain(spec: SpecReader) -> str:
    text = spec.text("domain")
    try:
        name = host_name(text)
    except ValueError as error:
        spec.fault("domain", f"{quoted(text)} {error}")
        return ""
    if name != text or "." not in name:
        spec.fault("domain", f"{quoted(text)} is not a domain in lower case, as A-labels")
    return name


def _outbound_configs(spec: SpecReader) -> tuple[str, ...]:
    found = tuple(ref.text("name") for ref in spec.children("outboundConfigRefs"))
    if not found or not all(found) or len(set(found)) < len(found):
        spec.fault("outboundConfigRefs", "needs the names of OutboundConfigs, each once")
    return found


def _policy(dkim: SpecReader) -> KeyPolicy:
    selectors, rotation = _part(dkim, "selectors"), _part(dkim, "rotation")
    prefix = selectors.text("prefix", _POLICY.prefix)
    if not SELECTOR.fullmatch(prefix) or "." in prefix or len(prefix) > _MAX_PREFIX:
        selectors.fault("prefix", f"{quoted(prefix)} is not the beginning of a selector")
    days = _within(rotation, "everyDays", _POLICY.every.days, 1, _MAX_DAYS)
    return KeyPolicy(
        _algorithms(dkim) if dkim.has("algorithms") else _POLICY.algorithms,
        prefix,
        selectors.word("style", {style.value: style for style in SelectorStyle}, _POLICY.style),
        timedelta(days=days),
        rotation.flag("suspended"),
    )


def _algorithms(dkim: SpecReader) -> tuple[Any, ...]:
    words = [word for _, word in dkim.texts("algorithms")]
    if not words or not ALGORITHMS.keys() >= set(words):
        dkim.fault("algorithms", f"is not one or more of {', '.join(ALGORITHMS)}")
    return tuple(algorithm for word, algorithm in ALGORITHMS.items() if word in words)


def _existing(dkim: SpecReader) -> tuple[ExistingKey, ...]:
    keys = []
    for reader in dkim.children("existingKeys"):
        selector = reader.text("selector")
        if not SELECTOR.fullmatch(selector):
            reader.fault("selector", f"{quoted(selector)} is not a selector (RFC 6376 3.1)")
        ref = reader.child("secretKeyRef")
        if ref is None or not ref.text("name") or not ref.text("key"):
            reader.fault("secretKeyRef", "needs the name of a Secret and a key in it")
            continue
        keys.append(ExistingKey(selector, allowed_key(ref, "key", "")))
    if len({key.selector for key in keys}) < len(keys):
        dkim.fault("existingKeys", "two have the same selector")
    return tuple(keys)


def _publish(reader: SpecReader) -> PublishSpec:
    return PublishSpec(
        reader.word("mode", {mode.value: mode for mode in PublishMode}, _PUBLISH.mode),
        _within(reader, "ttl", _PUBLISH.ttl, 0, _MAX_TTL),
        reader.word("quoting", {word.value: word for word in Quoting}, _PUBLISH.quoting),
        _text_map(reader, "labels"),
        _text_map(reader, "annotations"),
    )


def _within(reader: SpecReader, name: str, default: int, lowest: int, highest: int) -> int:
    number = reader.number(name, default)
    if not lowest <= number <= highest:
        reader.fault(name, f"is not from {lowest} to {highest}")
    return number


def _text_map(reader: SpecReader, name: str) -> Mapping[str, str]:
    below = reader.child(name)
    return below.text_map() if below else {}
