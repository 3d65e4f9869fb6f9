"""Slows the disk of one relay down: compiles `slowsync.c`, gives the environment that preloads it, reads what it did.

Knows nothing of relays or rows. Called by `bench.measure`.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.fault import BenchError

_ACCOUNT = struct.Struct("=QQ")
"""`struct account` of slowsync.c."""
_TOLERANCE = 0.99
"""A sleep may be rounded by the clock, never cut short."""


@dataclass(frozen=True, slots=True)
class Syncs:
    """What the shim has seen in all processes that it was loaded into."""

    count: int
    waited: float
    """Seconds that the calls were held back, summed."""


@dataclass(frozen=True, slots=True)
class SlowSync:
    """One compiled shim and its account."""

    library: Path
    account: Path
    delay: float
    """Seconds added to each sync."""

    def environment(self) -> dict[str, str]:
        """What the relay's processes need to see."""
        return {
            "LD_PRELOAD": str(self.library),
            "SLOWSYNC_USEC": str(round(self.delay * 1_000_000)),
            "SLOWSYNC_COUNTER": str(self.account),
        }

    def read(self) -> Syncs:
        """The account so far."""
        count, waited = _ACCOUNT.unpack(self.account.read_bytes())
        return Syncs(count, waited / 1e9)

    def since(self, earlier: Syncs) -> Syncs:
        """What was added after `earlier`; raises BenchError unless syncs happened and each was held back."""
        now = self.read()
        seen = Syncs(now.count - earlier.count, now.waited - earlier.waited)
        if seen.count <= 0:
            raise BenchError("the slow disk is not in effect: the relay made no fsync or fdatasync that the shim saw")
        if seen.waited < seen.count * self.delay * _TOLERANCE:
            raise BenchError(
                f"the slow disk is not in effect: {seen.count} syncs were held back {seen.waited:.3f} s in all"
            )
        return seen


def build(directory: Path, delay: float) -> SlowSync:
    """Compiles the shim into `directory`; raises BenchError when there is no compiler or it fails."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("no C compiler (cc): install one, or leave the slow rows out with --fsync plain")
    library, account = directory / "slowsync.so", directory / "syncs"
    source = Path(__file__).with_suffix(".c")
    command = [
        compiler,
        "-O2",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(library),
        str(source),
        "-ldl",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"slowsync.c does not compile:\n{done.stderr}")
    account.write_bytes(bytes(_ACCOUNT.size))
    account.chmod(0o666)  # mapped by daemons that run as another user
    return SlowSync(library, account, delay)
