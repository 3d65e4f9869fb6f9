"""The value of an ini key, from text: one parser a kind of value, each pure, each saying what is wrong.

A parser takes the text behind `=` and returns the value; ValueError carries a reason that a person can act on. It
knows no key, file or section: `settings` names the parser of each key, `sections` calls it and says where it failed.
Names and addresses are in `hosts`, retry intervals in `intervals`; all are offered here under one name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeVar

from mailboat.config.hosts import (
    bind,
    dns_servers,
    domains,
    endpoints,
    host_list,
    host_name,
    route_hosts,
    senders,
    token_url,
    trusted_resolvers,
)
from mailboat.config.intervals import intervals, span
from mailboat.config.nouns import CPUS, InetPrefer
from mailboat.model.envelope import TENANT_NAME
from mailboat.tlsrpt.record import is_mailbox

__all__ = [
    "auth_type",
    "bind",
    "boolean",
    "choice",
    "ciphers",
    "dns_servers",
    "domains",
    "endpoints",
    "header_text",
    "host_list",
    "host_name",
    "inet_prefer",
    "integer",
    "intervals",
    "nodes",
    "oauth_text",
    "optional",
    "path",
    "route_auth_type",
    "route_hosts",
    "seconds",
    "senders",
    "size",
    "size_limit",
    "tenant_names",
    "text",
    "tls_version",
    "token_url",
    "trusted_resolvers",
    "user_names",
]

_Choice = TypeVar("_Choice", bound=StrEnum)
_Value = TypeVar("_Value")

_TRUE = ("true", "yes", "ok", "enabled", "on", "1")
_FALSE = ("false", "no", "disabled", "off", "0")
_SIZE = re.compile(r"(?P<number>[0-9]{1,18})\s*(?P<unit>[kmg]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_MAX_NODES = 256
_HEADER_TEXT_MAX = 200
_CIPHERS = re.compile(r"[A-Za-z0-9:!+@=_.,\- ]{0,4096}")
_AUTH_TYPES = ("PLAIN", "LOGIN", "CRAM-MD5")
TOKEN_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")
"""SASL mechanisms that send an access token."""
_TLS_VERSIONS = {"tlsv1": "TLSv1", "tlsv1.0": "TLSv1", "tlsv1.1": "TLSv1.1", "tlsv1.2": "TLSv1.2", "tlsv1.3": "TLSv1.3"}


def boolean(text: str) -> bool:
    """Haraka's words for true and for false. Unlike Haraka, anything else is an error and not a quiet false."""
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"is neither true ({', '.join(_TRUE)}) nor false ({', '.join(_FALSE)})")


def integer(lo: int, hi: int) -> Callable[[str], int]:
    """A whole number from `lo` to `hi` in decimal digits."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError("is not a whole number")
        return _within(int(text), lo, hi)

    return parse


def seconds(lo: float, hi: float) -> Callable[[str], float]:
    """A time from `lo` to `hi` seconds: a number alone is seconds, and `s`, `m`, `h` or `d` may follow it."""

    def parse(text: str) -> float:
        return _within(span(text, unit_required=False), lo, hi)

    return parse


def size(lo: int, hi: int) -> Callable[[str], int]:
    """Octets from `lo` to `hi`; a following `k`, `m` or `g` multiplies by 1024, 1024² or 1024³."""

    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text)
        if not match:
            raise ValueError("is not a size in octets, such as 26214400 or 25M")
        return _within(int(match["number"]) * _UNITS[match["unit"].lower()], lo, hi)

    return parse


def size_limit(lo: int, hi: int) -> Callable[[str], int]:
    """A size as above, or `0` for no limit, as Postfix and Haraka have it: that is `hi`."""
    within = size(lo, hi)

    def parse(text: str) -> int:
        return hi if text == "0" else within(text)

    return parse


def text(text: str) -> str:
    """Any text, as it stands."""
    return text


def header_text(text: str) -> str:
    """Text that may stand in a header's comment (RFC 5322 3.2.2) as it is: printable ASCII, parentheses in pairs."""
    if not text:
        raise ValueError("is empty: remove the key for the default, or write `disabled` for none")
    if len(text) > _HEADER_TEXT_MAX:
        raise ValueError(f"is longer than {_HEADER_TEXT_MAX} characters")
    if not re.fullmatch(r"[ -~]+", text):
        raise ValueError("has characters that are not printable ASCII")
    depth = 0
    for char in text:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "\\" or depth < 0:
            break
    if "\\" in text or depth:
        raise ValueError("has a backslash or a lone parenthesis, which would break the header")
    return text


def mailbox(text: str) -> str:
    """An ASCII mail address without brackets; empty for none."""
    if text and not is_mailbox(text):
        raise ValueError("is not a mail address such as reports@example.com")
    return text


def path(text: str) -> str:
    """A file's path; empty for none. The loader makes it absolute."""
    if "\0" in text:
        raise ValueError("has a NUL octet")
    return text


def choice(kinds: Iterable[_Choice]) -> Callable[[str], _Choice]:
    """One word of a closed set, in any case."""
    by_word: dict[str, _Choice] = {kind.value: kind for kind in kinds}

    def parse(text: str) -> _Choice:
        try:
            return by_word[text.lower()]
        except KeyError:
            raise ValueError(f"is not one of {', '.join(by_word)}") from None

    return parse


def field_names(text: str) -> tuple[str, ...]:
    """Names of header fields (RFC 5322 2.2) separated by commas, in lower case, each once."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if not re.fullmatch(r"[!-9;-~]+", name):
            raise ValueError("is not the name of a header field")
    return tuple(dict.fromkeys(names))


def user_names(text: str) -> tuple[str, ...]:
    """Names with which clients authenticate, each once."""
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if not all(name.isprintable() for name in names):
        raise ValueError("a name has a character that cannot be printed")
    return names


def tenant_names(text: str) -> tuple[str, ...]:
    """Names of tenants, each once."""
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if not all(map(TENANT_NAME.fullmatch, names)):
        raise ValueError("an item is not a tenant's name: letters, digits, `.`, `_` and `-`")
    return names


def inet_prefer(text: str) -> InetPrefer:
    """Which address families, and which first; Haraka's `default` is `both`."""
    return InetPrefer.BOTH if text.lower() == "default" else choice(InetPrefer)(text)


def optional(parse: Callable[[str], _Value]) -> Callable[[str], _Value | None]:
    """The same, and None for no text: the value that holds elsewhere."""
    return lambda text: parse(text) if text else None


def nodes(text: str) -> int:
    """A number of worker processes, or `cpus` (`CPUS`)."""
    if text.lower() == "cpus":
        return CPUS
    if not text.isdecimal():
        raise ValueError("is neither a number of processes nor `cpus`")
    return integer(0, _MAX_NODES)(text)


def auth_type(text: str) -> str:
    """The name of a SASL mechanism that we speak; empty for the strongest offered."""
    return _mechanism(text, _AUTH_TYPES)


def route_auth_type(text: str) -> str:
    """The same, or one that sends an access token."""
    return _mechanism(text, (*_AUTH_TYPES, *TOKEN_MECHANISMS))


def _mechanism(text: str, known: tuple[str, ...]) -> str:
    if text and text.upper() not in known:
        raise ValueError(f"is not one of {', '.join(known)}")
    return text.upper()


def oauth_text(text: str) -> str:
    """A client id or scope: printable ASCII (RFC 6749 A.1, A.4)."""
    if not re.fullmatch(r"[ -~]{0,4096}", text):
        raise ValueError("has characters that are not printable ASCII, or more than 4096")
    return text


def ciphers(text: str) -> str:
    """The shape of an OpenSSL cipher list; whether OpenSSL knows its names, the loader asks it."""
    if not _CIPHERS.fullmatch(text):
        raise ValueError("is not an OpenSSL cipher list")
    return text


def tls_version(text: str) -> str:
    """The name of a TLS version as Haraka and OpenSSL spell it."""
    try:
        return _TLS_VERSIONS[text.lower()]
    except KeyError:
        raise ValueError("is not one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3") from None


_Number = TypeVar("_Number", int, float)


def _within(value: _Number, lo: float, hi: float) -> _Number:
    if not lo <= value <= hi:
        raise ValueError(f"is not between {lo:.15g} and {hi:.15g}")
    return value
