"""Converts `spec.egress` to the `[bind]` section of `outbound.ini`, the source addresses of each pod. Pure.

Pods are named by their StatefulSet and ordinal. Called by `spec`.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from mailboat.config.nouns import Bind, BindKind
from mailboat.config.text import quoted
from mailboat.config.values import bind, host_name
from mailboat_operator.reader import SpecReader

Binds = tuple[tuple[str, str], ...]
"""Entries of `[bind]`: the name of a pod, or `default`, and its text."""

_DEFAULT = "default"


class Mode(StrEnum):
    """Where source addresses come from."""

    AUTO = "Auto"
    POD_IP = "PodIP"
    PER_POD = "PerPod"
    NETWORK = "Network"


def read_egress(reader: SpecReader, target: str) -> Binds:
    """The entries. `target` is the name of the StatefulSet, or empty."""
    mode = reader.word("mode", {mode.value: mode for mode in Mode}, Mode.AUTO)
    networks = _sources(reader, "networks")
    if reader.has("networks") != (mode is Mode.NETWORK):
        reader.fault("networks", "is required when mode is Network, and for that mode only")
    if mode is Mode.PER_POD and not reader.items("pods"):
        reader.fault("pods", "is required when mode is PerPod")
    source = _SOURCES.get(mode, ", ".join(networks))
    ehlo = _ehlo(reader)
    entries = [_entry(reader, _DEFAULT, source, ehlo)]
    seen: set[int] = set()
    owners: dict[str, int] = {}
    for pod in reader.children("pods"):
        ordinal = pod.number("ordinal", -1)
        if ordinal < 0 or ordinal in seen:
            pod.fault("ordinal", "is missing, negative or given twice")
        seen.add(ordinal)
        if not target:
            pod.fault("", "needs spec.targetRef, which the names of pods are formed from")
        addresses = _sources(pod, "bindIPs")
        if pod.has("bindIPs") != (mode is Mode.PER_POD):
            pod.fault("bindIPs", "is required when mode is PerPod, and for that mode only")
        for address in addresses:
            if (owner := owners.setdefault(address, ordinal)) != ordinal:
                pod.fault("bindIPs", f"{address} already belongs to the pod with the ordinal {owner}")
        entries.append(_entry(pod, f"{target}-{ordinal}", ", ".join(addresses) or source, _ehlo(pod) or ehlo))
    return tuple((name, text) for name, text in entries if text)


_SOURCES = {Mode.AUTO: "", Mode.POD_IP: BindKind.POD_IP.value, Mode.PER_POD: BindKind.NONE.value}
"""The entry of pods that are not listed; in mode Network the networks."""


def _sources(reader: SpecReader, name: str) -> list[str]:
    """The addresses (`bindIPs`) or networks (`networks`) of a list."""
    found = []
    for where, text in reader.texts(name):
        try:
            found.append(_source(text, network=name == "networks"))
        except ValueError as error:
            reader.fault(where, str(error))
    return found


def _source(text: str, *, network: bool) -> str:
    """One address, or one network."""
    parsed = bind(text)
    source = parsed.v4 or parsed.v6
    if source is None or parsed not in (Bind(source), Bind(v6=source)):
        raise ValueError(f"{quoted(text)} is not one address or network")
    if isinstance(source, IPv4Network | IPv6Network) != network:
        raise ValueError(f"{quoted(text)} is not {'a network' if network else 'an address'}")
    return str(source)


def _ehlo(reader: SpecReader) -> str:
    if not reader.has("ehlo"):
        return ""
    try:
        return host_name(reader.text("ehlo"))
    except ValueError as error:
        reader.fault("ehlo", str(error))
        return ""


def _entry(reader: SpecReader, name: str, source: str, ehlo: str) -> tuple[str, str]:
    """One entry as the relay writes it; its text may be empty."""
    text = f"{source} {ehlo}".strip()
    try:
        return name, str(bind(text)) if text else ""
    except ValueError as error:
        reader.fault("bindIPs" if reader.has("bindIPs") else "networks", str(error))
        return name, ""
