"""The rows of the comparison: which load, with or without TLS, on which disk.

Pure. Called by `bench.compare` and `bench.report`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass

SIZES = {"4k": 4096, "100k": 102_400}
SESSIONS = {"new": False, "reused": True}
TLS = {"off": False, "on": True}
DISKS = {"plain": False, "slow": True}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; the fields are keys of the choices above."""

    sessions: str
    size: str
    tls: str
    disk: str

    @property
    def key(self) -> str:
        """Stable name in the JSON."""
        return f"{self.sessions}/{self.size}/tls-{self.tls}/{self.disk}"


def choose(
    sessions: Collection[str], sizes: Collection[str], tls: Collection[str], disks: Collection[str]
) -> list[Row]:
    """All combinations, in the order of the table: the disk outermost, then TLS, size and sessions."""
    combined = itertools.product(
        (disk for disk in DISKS if disk in disks),
        (choice for choice in TLS if choice in tls),
        (size for size in SIZES if size in sizes),
        (mode for mode in SESSIONS if mode in sessions),
    )
    return [Row(mode, size, choice, disk) for disk, choice, size, mode in combined]
