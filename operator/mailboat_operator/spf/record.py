"""The text of an SPF record as terms (RFC 7208 4.6, 5, 6 and 12). Pure.

A record with one wrong term counts as none, wherever that term stands (RFC 7208 4.6), so all are read first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from mailboat_operator.spf.macros import DOMAIN_SPEC, MACRO_STRING

_TERM: Final = re.compile(r"(?P<qualifier>[+?~-]?)(?P<name>[A-Za-z][A-Za-z0-9_.-]*)(?P<rest>[:/=].*)?")
_CIDR: Final = re.compile(r"(?:/(?P<v4>0|[1-9][0-9]?))?(?://(?P<v6>0|[1-9][0-9]{0,2}))?$")
_NETWORKS: Final = {
    "ip4": (re.compile(r":([0-9.]+(?:/(?:0|[1-9][0-9]?))?)"), IPv4Network),
    "ip6": (re.compile(r":([0-9A-Fa-f:.]+(?:/(?:0|[1-9][0-9]{0,2}))?)"), IPv6Network),
}
_SHOWN: Final = 60
"""Characters of a wrong term that a message shows."""


class SpfWord(StrEnum):
    """A result (RFC 7208 2.6)."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    PERMERROR = "permerror"
    TEMPERROR = "temperror"


QUALIFIERS: Final = {
    "": SpfWord.PASS,
    "+": SpfWord.PASS,
    "-": SpfWord.FAIL,
    "~": SpfWord.SOFTFAIL,
    "?": SpfWord.NEUTRAL,
}


class SpfPermError(Exception):
    """A record that cannot be evaluated, until its owner changes it; the message says why."""


@dataclass(frozen=True, slots=True)
class SpfMechanism:
    """One mechanism (RFC 7208 5)."""

    name: str
    """In lower case."""
    result: SpfWord
    """Of an address that it matches."""
    domain_spec: str = ""
    """With its macros; empty: the domain of the record."""
    network: IPv4Network | IPv6Network | None = None
    """Of `ip4` and `ip6`."""
    v4_length: int = 32
    v6_length: int = 128
    """Length of the prefix in which addresses are compared, of `a` and `mx`."""


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """One record."""

    mechanisms: tuple[SpfMechanism, ...]
    redirect: str = ""
    """The domain-spec of the record that counts where nothing matches; empty: none."""


def spf_records(texts: Iterable[str]) -> list[str]:
    """Those of the TXT records that are SPF records (RFC 7208 4.5)."""
    return [text for text in texts if text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")]


def parse_spf(text: str) -> SpfRecord:
    """The terms of a record. Raises SpfPermError with the one that is wrong."""
    mechanisms = []
    modifiers: dict[str, str] = {}
    for term in text.split(" ")[1:]:
        if not term:
            continue
        found = _TERM.fullmatch(term)
        if found is None:
            raise _wrong(term)
        name, rest = found["name"].lower(), found["rest"] or ""
        if not rest.startswith("="):
            mechanisms.append(_mechanism(term, name, QUALIFIERS[found["qualifier"]], rest))
            continue
        if found["qualifier"] or not MACRO_STRING.fullmatch(rest[1:]):
            raise _wrong(term)
        if name in ("redirect", "exp"):
            if name in modifiers:
                raise SpfPermError(f"{name}= stands there twice")
            if not DOMAIN_SPEC.fullmatch(rest[1:]):
                raise _wrong(term)
            modifiers[name] = rest[1:]
    return SpfRecord(tuple(mechanisms), modifiers.get("redirect", ""))


def _mechanism(term: str, name: str, result: SpfWord, rest: str) -> SpfMechanism:
    if name in _NETWORKS:
        return SpfMechanism(name, result, network=_network(term, name, rest))
    if name == "all" and not rest:
        return SpfMechanism(name, result)
    if name in ("include", "exists") and rest.startswith(":"):
        return SpfMechanism(name, result, _domain_spec(term, rest))
    if name == "ptr":
        return SpfMechanism(name, result, _domain_spec(term, rest))
    if name in ("a", "mx"):
        return _addresses(term, name, result, rest)
    raise _wrong(term)


def _network(term: str, name: str, rest: str) -> IPv4Network | IPv6Network:
    pattern, kind = _NETWORKS[name]
    found = pattern.fullmatch(rest)
    try:
        if found is not None and isinstance(network := ip_network(found[1], strict=False), kind):
            return network
    except ValueError:
        pass
    raise _wrong(term)


def _addresses(term: str, name: str, result: SpfWord, rest: str) -> SpfMechanism:
    """`a` or `mx`, with the lengths of prefixes behind its domain."""
    cidr = _CIDR.search(rest)
    assert cidr is not None  # it may be empty
    v4, v6 = int(cidr["v4"] or 32), int(cidr["v6"] or 128)
    if v4 > 32 or v6 > 128:
        raise _wrong(term)
    return SpfMechanism(name, result, _domain_spec(term, rest[: cidr.start()]), v4_length=v4, v6_length=v6)


def _domain_spec(term: str, rest: str) -> str:
    if not rest:
        return ""
    if not rest.startswith(":") or not DOMAIN_SPEC.fullmatch(rest[1:]):
        raise _wrong(term)
    return rest[1:]


def _wrong(term: str) -> SpfPermError:
    shown = "".join(char if " " < char < "\x7f" else "?" for char in term[:_SHOWN])
    return SpfPermError(f"{shown} is no term of SPF")
