"""The rows of the comparison: which load, with or without TLS, on which disk, with which DKIM keys.

Pure. Called by `bench.compare` and `bench.report`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace

SIZES = {"4k": 4096, "100k": 102_400}
SESSIONS = {"new": False, "reused": True}
TLS = {"off": False, "on": True}
DISKS = {"plain": False, "slow": True}
DKIM = {"off": (), "rsa": ("rsa",), "ed25519": ("ed25519",), "both": ("rsa", "ed25519")}
"""The algorithms of the keys that sign each message."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; the fields are keys of the choices above."""

    sessions: str
    size: str
    tls: str
    disk: str
    dkim: str = "off"

    @property
    def key(self) -> str:
        """Stable name in the JSON."""
        return f"{self.sessions}/{self.size}/tls-{self.tls}/{self.disk}" + f"/dkim-{self.dkim}" * (self.dkim != "off")

    @property
    def unsigned(self) -> Row:
        """The same without DKIM."""
        return replace(self, dkim="off")


def choose(
    sessions: Collection[str],
    sizes: Collection[str],
    tls: Collection[str],
    disks: Collection[str],
    dkim: Collection[str] = ("off",),
) -> list[Row]:
    """All combinations, in the order of the table: DKIM outermost, then the disk, TLS, size and sessions.

    But those with DKIM are without TLS and on the disk as it is: signing is the same in all others.
    """
    combined = itertools.product(
        (signing for signing in DKIM if signing in dkim),
        (disk for disk in DISKS if disk in disks),
        (choice for choice in TLS if choice in tls),
        (size for size in SIZES if size in sizes),
        (mode for mode in SESSIONS if mode in sessions),
    )
    return [
        Row(mode, size, choice, disk, signing)
        for signing, disk, choice, size, mode in combined
        if signing == "off" or (choice == "off" and disk == "plain")
    ]
