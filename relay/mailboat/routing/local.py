"""The addresses of this machine, for detecting mail loops by MX, and for choosing a source from a network.

Reads the kernel's tables under /proc/net; without them, asks the kernel which source addresses it would use. Must not
know what the addresses are for. Used by `router` and `delivery.source`; `app` builds one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

from mailboat.config.settings import IPAddress
from mailboat.model.clock import Clock

REFRESH = 60.0
"""Seconds that the list is cached: addresses change rarely, and reading them has a cost."""

_LOCAL_V4 = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket to them sends nothing."""


class LocalAddresses:
    """The interface addresses, loopback included, read again when older than `REFRESH`."""

    def __init__(self, clock: Clock, proc_net: Path = Path("/proc/net")) -> None:
        self._clock = clock
        self._proc_net = proc_net
        self._known: frozenset[IPAddress] = frozenset()
        self._read_at: float | None = None

    def addresses(self) -> frozenset[IPAddress]:
        """All addresses, at most `REFRESH` seconds old."""
        now = self._clock.monotonic()
        if self._read_at is None or now - self._read_at >= REFRESH:
            self._known, self._read_at = self._read(), now
        return self._known

    def contains(self, ip: IPAddress) -> bool:
        """Whether an address is this machine's own. An IPv4-mapped IPv6 address is the IPv4 one."""
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return (mapped or ip) in self.addresses()

    def refresh(self) -> None:
        """Read again at the next use: a source address was not found."""
        self._read_at = None

    def _read(self) -> frozenset[IPAddress]:
        v4 = _text(self._proc_net / "fib_trie")
        v6 = _text(self._proc_net / "if_inet6")
        if v4 is None and v6 is None:
            return frozenset(_routed())
        return frozenset([*parse_fib_trie(v4 or ""), *parse_if_inet6(v6 or "")])


def parse_fib_trie(text: str) -> list[IPAddress]:
    """The IPv4 addresses that the kernel delivers to itself, from its routing trie."""
    return [ipaddress.IPv4Address(match) for match in _LOCAL_V4.findall(text)]


def parse_if_inet6(text: str) -> list[IPAddress]:
    """The IPv6 addresses of all interfaces: the first column, as 32 hexadecimal digits."""
    columns = [line.split() for line in text.splitlines()]
    return [ipaddress.IPv6Address(int(words[0], 16)) for words in columns if words]


def _text(path: Path) -> str | None:
    try:
        return path.read_text("ascii")
    except OSError:
        return None


def _routed() -> list[IPAddress]:
    """The source addresses that routing would choose, one a family, where there is no /proc."""
    found = []
    for family, destination in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((destination, 9))
                found.append(ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]))
        except OSError:
            continue  # no route in this family, so no address
    return found
