"""Processes of a benchmark: start, wait until they answer, measure, stop.

Knows nothing of mail but that a server speaks first with `220`. Called by the relays, the load and the tunnel.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.fault import BenchError

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_MEMORY_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Service:
    """A process that was started for one measurement, and its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def tail(self) -> str:
        """The end of its log, for error messages."""
        return self.log.read_text(errors="replace")[-1500:]

    def stop(self) -> None:
        """SIGTERM, and after a grace SIGKILL to the process group."""
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


def start(name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> Service:
    """Starts `command` in a separate process group, with both outputs appended to `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    return Service(name, process, log)


_given_ports: set[int] = set()


def run(command: Sequence[str | Path], *, cwd: Path | None = None, timeout: float = 600.0) -> str:
    """Runs `command` to its end and gives its output; raises BenchError with it when the command fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"`{' '.join(words)}` has not ended after {timeout:.0f} s") from None
    if done.returncode:
        raise BenchError(f"`{' '.join(words)}` failed ({done.returncode}):\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout + done.stderr


def free_port() -> int:
    """An unused TCP port of loopback, a different one each time."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port: int = server.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def wait_for_greeting(service: Service, port: int) -> None:
    """Returns once an SMTP server greets on `port`; raises BenchError if it ends or stays silent."""
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            raise BenchError(f"{service.name} ended with {service.process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            if client.recv(512).startswith(b"220"):
                client.sendall(b"QUIT\r\n")
                return
        time.sleep(0.05)
    raise BenchError(f"{service.name} does not greet on port {port}")


def wait_for_port(process: subprocess.Popen[bytes], name: str, port: int) -> None:
    """Returns once a process listens on `port`, without connecting; raises BenchError if none does."""
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text():
            return
        time.sleep(0.02)
    raise BenchError(f"{name} does not listen on port {port}")


def tree(root: int) -> list[int]:
    """`root` and all processes that descend from it now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def memory(root: int) -> int:
    """Octets of memory of `root` and its descendants: shared pages are counted once (PSS)."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError, ValueError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def tree_cpu(root: int) -> float:
    """Seconds of CPU time of `root` and its living descendants."""
    ticks = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_resident(pid: int) -> int:
    """Most octets that were resident in one process since it was started (VmHWM of proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class PeakMemory:
    """The most memory that a process tree was seen to use."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.peak = memory(root)

    def look(self) -> None:
        """Takes one sample."""
        self.peak = max(self.peak, memory(self._root))


@contextlib.contextmanager
def watch_memory(root: int) -> Iterator[PeakMemory]:
    """Samples the memory of a process tree once a second until the block ends."""
    watched, done = PeakMemory(root), threading.Event()

    def sample() -> None:
        while not done.wait(_MEMORY_INTERVAL):
            watched.look()

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        done.set()
        thread.join()
        watched.look()


def box_cpu() -> float:
    """Seconds of CPU time that the whole machine has spent working: user, nice, system, irq and softirq."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
