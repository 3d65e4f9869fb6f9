"""What benchmarks of the operator share: its process, what it takes, and the table that is printed."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.crds import CRDS
from tests.support.kube_api import KubeApi
from tests.support.operator_process import OperatorProcess
from tools.cluster.apiserver import ApiServer, running

from bench import machine
from bench.fault import BenchError

NAMESPACE = "bench"
PATIENCE = 180.0
"""Seconds."""
MEMORY_MAX = 150 * 2**20
"""Octets resident, at any time."""
_POLL = 0.2
"""Seconds: an exposition of the metrics of a thousand resources takes milliseconds of what is measured."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    what: str
    found: str
    limit: str = ""
    kept: bool = True


Measure = Callable[[ApiServer, Path, int], list[Line]]
"""With a server that knows no resource types, a directory and so many resources."""


def run(name: str, doc: str, what: str, words: Sequence[str], measure: Measure) -> int:
    """Prints the table; 0 when every limit is kept, 1 when one is missed, 2 when nothing could be measured."""
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=doc.partition("\n")[0])
    parser.add_argument("--resources", type=int, default=1000, metavar="N", help=f"{what} (1000)")
    number = parser.parse_args(words).resources
    with tempfile.TemporaryDirectory(prefix="mailboat-bench-", dir="/var/tmp") as directory:
        try:
            print("\n".join(machine.look(Path(directory)).lines()))
            with running(controllers="") as server:
                lines = measure(server, Path(directory), number)
        except (BenchError, AssertionError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 2
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            return 130
    print(f"\n{number:,} {what}, API server and etcd on the same machine\n")
    print("| | measured | limit | |\n|---|---|---|---|")
    for line in lines:
        judged = ("kept" if line.kept else "**missed**") if line.limit else ""
        print(f"| {line.what} | {line.found} | {line.limit} | {judged} |")
    return 0 if all(line.kept for line in lines) else 1


def namespace(server: ApiServer, *plurals: str) -> KubeApi:
    """The API in a new namespace, knowing these of our resource types."""
    kubectl = server.kubectl(NAMESPACE)
    for plural in plurals:
        kubectl.apply((CRDS / f"{plural}.yaml").read_text())
        kubectl.established(f"crd/{plural}.mailboat.dev")
    kubectl("create", "namespace", NAMESPACE)
    return KubeApi(server.kubeconfig, NAMESPACE)


@contextmanager
def operator(server: ApiServer, directory: Path, *words: str) -> Iterator[OperatorProcess]:
    """One that has just been started, for the namespace."""
    process = OperatorProcess(server.kubeconfig, directory, f"--namespace={NAMESPACE}", *words)
    try:
        yield process
    finally:
        process.stop()


def versions(api: KubeApi, *plurals: str) -> dict[tuple[str, str], str]:
    """The version of each object of these kinds."""
    return {
        (plural, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
        for plural in plurals
        for item in api.items(plural)
    }


def changed(before: dict[tuple[str, str], str], now: dict[tuple[str, str], str]) -> int:
    """How many objects were written."""
    return sum(1 for key, version in now.items() if before.get(key) != version)


def until(good: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait. Raises BenchError when `patience` seconds are over."""
    deadline = time.monotonic() + patience
    while not good():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {patience:g} s in vain until {what}")
        time.sleep(_POLL)


def cpu(process: OperatorProcess) -> float:
    """Seconds of user and system time."""
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def peak(process: OperatorProcess) -> int:
    """Octets, the most that was ever resident."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def memory_line(octets: int) -> Line:
    """The row of memory."""
    return Line("memory, resident", f"{octets / 2**20:.0f} MiB", f"{MEMORY_MAX // 2**20} MiB", octets <= MEMORY_MAX)
