"""How this machine is told to find hosts: /etc/resolv.conf and /etc/hosts, as they are now (resolv.conf(5), hosts(5)).

Reads the two files again when they have changed, and goes on with what they said last while one of them cannot be read
or says nothing. Asks no server: `resolver` does, by what it finds here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mailboat.config.settings import Endpoint
from mailboat.loading.fingerprint import Mark, file_mark
from mailboat.model.clock import Clock

REFRESH = 5.0
"""Seconds between two looks at a file: libc looks at every query, and a name server that appears must not be missed."""

_DNS_PORT = 53
_MAX_NDOTS = 15  # as glibc caps it
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What of resolv.conf(5) is followed."""

    servers: tuple[Endpoint, ...] = ()
    search: tuple[str, ...] = ()
    """Domains that are tried behind a short name, in order."""
    ndots: int = 1
    """A name with fewer dots is tried with the search list first."""


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """The addresses of one name in /etc/hosts, as text."""

    v4: tuple[str, ...] = ()
    v6: tuple[str, ...] = ()


class SystemFiles:
    """Both files, each at most `REFRESH` seconds old."""

    def __init__(
        self, clock: Clock, *, resolv_conf: Path = Path("/etc/resolv.conf"), hosts: Path = Path("/etc/hosts")
    ) -> None:
        self._resolv_conf = _Followed(resolv_conf, clock, parse_resolv_conf, ResolvConf())
        self._hosts: _Followed[Mapping[str, HostAddresses]] = _Followed(hosts, clock, parse_hosts, {})

    def resolv_conf(self) -> ResolvConf:
        """The servers, and how short names are completed; this host's server, as with libc, where none is named."""
        found = self._resolv_conf.now(lambda conf: bool(conf.servers))
        return found if found.servers else ResolvConf((Endpoint("127.0.0.1", _DNS_PORT),), found.search, found.ndots)

    def host(self, name: str) -> HostAddresses | None:
        """The addresses of a name in /etc/hosts; None when it is not there."""
        return self._hosts.now(bool).get(name.lower())


class _Followed(Generic[_T]):
    """One file, and what was made of it when it last made sense."""

    def __init__(self, path: Path, clock: Clock, parse: Callable[[str], _T], nothing: _T) -> None:
        self._path = path
        self._clock = clock
        self._parse = parse
        self._value = nothing
        self._mark: Mark | None = None
        self._looked_at: float | None = None

    def now(self, is_usable: Callable[[_T], bool]) -> _T:
        """What the file says. What is not usable counts only while nothing usable was ever read."""
        now = self._clock.monotonic()
        if self._looked_at is None or now - self._looked_at >= REFRESH:
            self._looked_at = now
            mark = file_mark(self._path)
            if mark != self._mark:
                self._mark = mark
                self._read(is_usable)
        return self._value

    def _read(self, is_usable: Callable[[_T], bool]) -> None:
        try:
            found = self._parse(self._path.read_text("utf-8", errors="replace"))
        except OSError:
            return
        if is_usable(found) or not is_usable(self._value):
            self._value = found


def parse_resolv_conf(text: str) -> ResolvConf:
    """The lines `nameserver`, `search` (or `domain`; the last one counts) and `options ndots:N`; the rest is passed."""
    servers: list[Endpoint] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_] if (server := _address(address)) is not None:
                servers.append(Endpoint(str(server), _DNS_PORT))
            case ["search" | "domain" as keyword, *domains]:
                domains = domains if keyword == "search" else domains[:1]
                search = tuple(name for domain in domains if (name := domain.lower().strip(".")))
            case ["options", *options]:
                for option in options:
                    name, _, number = option.partition(":")
                    if name == "ndots" and number.isascii() and number.isdigit():
                        ndots = min(int(number[:9]), _MAX_NDOTS)
    return ResolvConf(tuple(servers), search, ndots)


def parse_hosts(text: str) -> dict[str, HostAddresses]:
    """Each name, in lower case, with the addresses of all lines that list it."""
    found: dict[str, HostAddresses] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        address = _address(words[0]) if len(words) > 1 else None
        if address is None or getattr(address, "scope_id", None):
            continue  # an interface of this machine is no part of where mail goes
        for name in words[1:]:
            known = found.get(name.lower(), HostAddresses())
            v4, v6 = ((str(address),), ()) if address.version == 4 else ((), (str(address),))
            found[name.lower()] = HostAddresses(known.v4 + v4, known.v6 + v6)
    return found


def candidates(name: str, conf: ResolvConf) -> tuple[str, ...]:
    """The absolute names that a name may stand for, in the order to ask for them (resolv.conf(5), `ndots`)."""
    if name.endswith("."):
        return (name.removesuffix("."),)
    searched = tuple(f"{name}.{domain}" for domain in conf.search)
    return (name, *searched) if name.count(".") >= conf.ndots else (*searched, name)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
