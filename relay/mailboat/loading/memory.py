"""How much memory the relay may use. Asked by `app`, which refuses mail and strangers in time, and by plugins.

Read anew at each call: a limit may be changed while the relay runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def memory_limit(root: Path = Path("/")) -> float:
    """Octets: the lowest limit of the cgroups (versions 1 and 2) that this process is in, or the machine's memory."""
    machine = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min([machine, *_limits(root / "proc/self/cgroup", root / "sys/fs/cgroup")])


def _limits(membership: Path, mount: Path) -> Iterator[float]:
    """The limit of each cgroup that holds this process: its own, and those above it.

    In a container the path may be that of the host, and only the last directory of it be mounted: as the root.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)  # cgroups(7)
        if not controllers:
            yield from _upwards(mount, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _upwards(mount / "memory", path, "memory.limit_in_bytes")


def _upwards(mount: Path, path: str, name: str) -> Iterator[float]:
    below = PurePosixPath(path.lstrip("/"))
    for directory in (below, *below.parents):
        try:
            yield float((mount / directory / name).read_text())
        except (OSError, ValueError):  # not mounted here; or "max": no limit
            continue
