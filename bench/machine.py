"""The facts of the machine that a figure means nothing without, and a place on its disk.

Called by `bench.compare` and the other benchmarks.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.fault import BenchError

_SYNCS = 200
_BLOCK = bytes(4096)
_MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the figures were taken."""

    cpu: str
    cores: int
    memory: int
    """Octets."""
    system: str
    file_system: str
    fsync_median: float
    """Seconds for a 4 KiB append and its fdatasync."""
    fsync_p99: float
    load: float
    """Load average of the last minute before the run: above 0.5, other work spoils the figures."""

    def lines(self) -> list[str]:
        """For people."""
        sync = f"append of 4 KiB + fdatasync: {self.fsync_median * 1e3:.2f} ms (p99 {self.fsync_p99 * 1e3:.2f} ms)"
        return [
            f"{self.cpu}, {self.cores} cores, {self.memory / 2**30:.0f} GiB",
            f"{self.system}; queues on {self.file_system}; {sync}",
            f"load average before the run: {self.load:.2f}",
        ]


@contextmanager
def scratch(disk: Path) -> Iterator[Path]:
    """A directory on a disk for one run. Postfix's daemons and the sink, which run as other users, may enter it."""
    with tempfile.TemporaryDirectory(prefix="mailboat-bench-", dir=disk) as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def look(directory: Path) -> Machine:
    """Reads the facts; `directory` is where the queues will be, and gets a file for a moment."""
    samples = sorted(_sync_times(directory))
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        system=f"{platform.system()} {platform.release()}",
        file_system=file_system(directory),
        fsync_median=statistics.median(samples),
        fsync_p99=samples[int(len(samples) * 0.99)],
        load=os.getloadavg()[0],
    )


def file_system(directory: Path) -> str:
    """Type of the file system that holds `directory`; raises BenchError for one that is only memory."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    here = directory.resolve()
    holding = [(mount[1], mount[2]) for mount in mounts if here.is_relative_to(mount[1])]
    kind = max(holding, key=lambda mount: len(mount[0]))[1]
    if kind in _MEMORY_FILE_SYSTEMS:
        raise BenchError(
            f"{directory} is on {kind}: a sync costs nothing there. Choose a directory on a disk with --work"
        )
    return kind


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _sync_times(directory: Path) -> list[float]:
    """Seconds of each of some appends that are synced."""
    file, times = directory / "sync-probe", []
    with file.open("wb", buffering=0) as out:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            out.write(_BLOCK)
            os.fdatasync(out.fileno())
            times.append(time.perf_counter() - began)
    file.unlink()
    return times
