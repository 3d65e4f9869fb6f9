"""However whoever started a cluster ends, nothing of the cluster goes on, and the next start clears up what is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tools.cluster import machine
from tools.cluster.images import ROOT
from tools.cluster.kubectl import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

START = """
from tools.cluster.machine import Machine
machine = Machine.new()
print(machine.directory, flush=True)
machine.start()
print("ready", flush=True)
input()
"""


def processes_of(directory: Path) -> list[str]:
    """What runs in a cluster, or for it, by the paths in their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(directory) in command:
            found.append(command)
    return found


def traces_of(directory: Path) -> list[Path]:
    """What is left of a cluster outside of its processes."""
    return [path for path in (directory, *Path("/sys/fs/cgroup").glob(f"*/{directory.name}")) if path.exists()]


@pytest.mark.parametrize("when", ["starting", "ready"])
def test_nothing_outlives_whoever_started_it(when: str) -> None:
    starter = subprocess.Popen([sys.executable, "-c", START], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert starter.stdout
    directory = Path(starter.stdout.readline().decode().strip())
    if when == "ready":
        assert starter.stdout.readline() == b"ready\n"
    else:
        until((directory / "pids" / "containerd").exists, bool)
    assert processes_of(directory)
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    until(lambda: processes_of(directory), lambda left: not left, patience=10)
    machine.Machine.new().stop()
    assert traces_of(directory) == []


def test_a_cluster_that_is_ended_leaves_neither_files_nor_interfaces_nor_mounts() -> None:
    def outside() -> tuple[set[str], list[str]]:
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if machine.PREFIX in line]
        return {path.name for path in Path("/sys/class/net").iterdir()}, mounts

    before = outside()
    running = machine.Machine.new()
    running.start()
    with running.entered():
        assert running.kubectl().items("nodes")
    running.stop()
    assert outside() == before
    assert processes_of(running.directory) == []
    assert traces_of(running.directory) == []
