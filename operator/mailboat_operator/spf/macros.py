"""Macros in SPF records (RFC 7208 7): which are allowed, and what they expand to. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Final
from urllib.parse import quote

from mailboat.config.nouns import IPAddress

# c, r and t are for explanations only (RFC 7208 7.2), which are not fetched here.
_MACRO: Final = r"%(?:\{[slodiphvSLODIPHV](?:[1-9][0-9]*)?[rR]?[-.+,/_=]*\}|[%_-])"
_LITERAL: Final = r"[!-$&-~]"
_TOP_LABEL: Final = r"(?![0-9]+\.?$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"

MACRO_STRING: Final = re.compile(rf"(?:{_MACRO}|{_LITERAL})*")
DOMAIN_SPEC: Final = re.compile(rf"(?:{_MACRO}|{_LITERAL})*(?:\.{_TOP_LABEL}\.?|{_MACRO})")
_EXPANDED: Final = re.compile(
    r"%(?:\{(?P<letter>[A-Za-z])(?P<digits>[0-9]*)(?P<reverse>[rR]?)(?P<by>[^}]*)\}|(?P<sign>.))"
)
_SIGNS: Final = {"%": "%", "_": " ", "-": "%20"}
_NAME_MAX: Final = 253


def expand(spec: str, values: Mapping[str, str]) -> str:
    """The domain that a domain-spec names. `values` has the text of each letter, in lower case."""
    name = _EXPANDED.sub(lambda macro: _value(macro, values), spec).removesuffix(".")
    if len(name) > _NAME_MAX:  # labels are left out from the left (RFC 7208 7.3)
        name = name[-_NAME_MAX - 1 :].partition(".")[2]
    return name


def uses(spec: str, letter: str) -> bool:
    """Whether a domain-spec has the macro of this letter."""
    return any((macro["letter"] or "").lower() == letter for macro in _EXPANDED.finditer(spec))


def dotted(address: IPAddress) -> str:
    """The address as the macro `i` has it: an IPv6 one as 32 nibbles."""
    return str(address) if isinstance(address, IPv4Address) else ".".join(address.exploded.replace(":", ""))


def _value(macro: re.Match[str], values: Mapping[str, str]) -> str:
    if macro["sign"]:
        return _SIGNS[macro["sign"]]
    parts = re.split(f"[{re.escape(macro['by'] or '.')}]", values[macro["letter"].lower()])
    if macro["reverse"]:
        parts.reverse()
    text = ".".join(parts[-int(macro["digits"]) :] if macro["digits"] else parts)
    return quote(text, safe="") if macro["letter"].isupper() else text
