"""A cluster of one node on this machine: starts it, enters its network, and leaves nothing of it behind. Needs root.

Everything runs below one `unshare --net --mount --pid --kill-child`: no address, mount or process of it is outside, and
the end of that one process ends all of it, containers included. It is tied to its starter: see `processes`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tools.cluster import containerd, credentials, images, node
from tools.cluster.cache import alone
from tools.cluster.kubectl import Failed, Kubectl, run, until
from tools.cluster.names import SignedZone, Zone
from tools.cluster.processes import TIED
from tools.cluster.programs import program

PREFIX = "mailboat-cluster-"
_CGROUPS = Path("/sys/fs/cgroup")
_CLONE_NEWNET = 0x40000000


class Machine:
    """A cluster that runs, of a run directory."""

    def __init__(self, directory: Path) -> None:
        """The one of a directory, which may run already; `new` makes another."""
        self.layout = node.Layout(directory, program)
        self.directory = directory
        self.kubeconfig = self.layout.plane.pki / "admin.kubeconfig"
        self.zone = Zone(self.layout.zone)
        self.signed_root = SignedZone(self.layout.signed_root, ".")
        self.signed_zone = SignedZone(self.layout.signed_zone, f"{node.SIGNED}.", self.signed_root)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def _images(self) -> Path:
        """Which archives the node holds, one a line."""
        return self.directory / "images"

    @property
    def pid(self) -> int:
        """The first process of its namespaces, as this machine counts."""
        return int((self.directory / "pid").read_text())

    # Its life.

    @classmethod
    def new(cls) -> Machine:
        """One that is still to be started. What earlier ones left, because they were killed, is removed."""
        with alone("machines"):  # so that no process removes the directory before it is locked
            for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
                if _nobody_uses(old):
                    _remove(old)
            machine = cls(Path(tempfile.mkdtemp(prefix=PREFIX)))
            machine._lock = (machine.directory / "lock").open("w")
            fcntl.flock(machine._lock, fcntl.LOCK_SH)
        return machine

    def start(self, tied: bool = True) -> None:
        """Start it, and return when the node is ready and has all images. `tied`: it dies with this process."""
        assert self._lock, "it runs already"
        self._write()
        with (self.directory / "log" / "node.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(TIED if tied else ()),
                    *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                    *(sys.executable, "-m", "tools.cluster.inside", self.directory),
                ],
                cwd=images.ROOT,
                env=images.ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[self._lock.fileno()],  # while any process of it lives, no other one removes the directory
            )
        (self.directory / "pid").write_text(str(self._first_child(self._process.pid)))
        try:
            self._until_ready()
        except Failed as error:
            logs = [f"{log.name}:\n{_read(log)[-1500:]}" for log in sorted((self.directory / "log").glob("*.log"))]
            raise Failed("\n".join([f"the node does not become ready: {error}", *logs])) from None

    def _until_ready(self) -> None:
        with self.entered():
            kubectl = self.kubectl()
            until(lambda: kubectl.get("node", node.NAME), _is_ready, patience=180)
            until(lambda: kubectl.exists("serviceaccount", "default"), bool)
            kubectl.apply(*node.objects(self.layout))

    def _write(self) -> None:
        layout = self.layout
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        credentials.make(layout.plane.pki, layout.plane.url, names, ["127.0.0.1", node.ADDRESS, "10.96.0.1"])
        for path, text in node.files(layout).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in ("log", "held", "pids", "dns"):
            (self.directory / name).mkdir(exist_ok=True)
        for number in range(node.VOLUMES):
            (layout.volumes / f"{number:03}").mkdir(parents=True)
        self.zone.write()
        self.signed_zone.write()
        containerd.copy_store(layout.containerd_root)
        self._images.write_text(_lines(images.archives()))
        for hierarchy in _hierarchies():
            (hierarchy / layout.cgroup).mkdir(exist_ok=True)
        daemons = [
            {"name": each.name, "argv": [str(word) for word in each.argv], "needs_api": each.needs_api}
            for each in node.daemons(layout)
        ]
        plan = {"url": layout.plane.url, "ca": str(layout.plane.pki / "ca.crt"), "daemons": daemons}
        (self.directory / "plan.json").write_text(json.dumps(plan))

    def _first_child(self, pid: int) -> int:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return int(until(lambda: _read(children).split(), bool, patience=10)[0])

    def load_images(self) -> None:
        """Have the node, which runs, hold the images of this checkout in the place of those that it held before."""
        wanted = images.archives()
        held = self._images.read_text().splitlines()
        for name, archive in wanted.items():
            if str(archive) not in held:
                self.load({name: archive})
        self._images.write_text(_lines(wanted))

    def load(self, archives: Mapping[str, Path]) -> None:
        """Have the node, which runs, hold further images."""
        containerd.load(self.layout.containerd_socket, archives)

    def stop(self) -> None:
        """End it and everything in it, and remove its directory."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.pid, signal.SIGKILL)
        if self._process:
            self._process.wait()
        if self._lock:
            self._lock.close()
        _remove(self.directory)

    # What tests ask of it.

    def kubectl(self, namespace: str = "default") -> Kubectl:
        """kubectl as the administrator; from within `entered` only."""
        return Kubectl(program("kubectl"), self.kubeconfig, namespace)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Enter the node's network for the block: this thread, and the threads and programs that it starts."""
        with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{self.pid}/ns/net").open() as theirs:
            _set_network(theirs.fileno())
            try:
                yield
            finally:
                _set_network(ours.fileno())

    def kill(self, daemon: str, held: bool = False) -> None:
        """SIGKILL to a daemon of the node, such as `kube-apiserver`. It is started again, but not while it is held."""
        held_file = self.directory / "held" / daemon
        if held:
            held_file.touch()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.outer_pid(int((self.directory / "pids" / daemon).read_text())), signal.SIGKILL)

    def release(self, daemon: str) -> None:
        """Let a daemon that was held be started again."""
        (self.directory / "held" / daemon).unlink(missing_ok=True)

    def outer_pid(self, inner: int) -> int:
        """The process id here of what the cluster calls `inner`. Raises ProcessLookupError."""
        for pid in self._all_pids():
            if _inner_pid(pid) == [inner]:
                return pid
        raise ProcessLookupError(inner)

    def processes_of(self, pod_uid: str, container_id: str) -> list[int]:
        """The process ids, as this machine counts, of a container; `container_id` as in the pod's status."""
        wanted = container_id.rpartition("/")[2]
        found = []
        for path in Path("/proc").glob("[0-9]*/cgroup"):
            groups = _read(path)
            if wanted in groups and pod_uid in groups:
                found.append(int(path.parent.name))
        return sorted(found)

    def addresses_of(self, pod: dict[str, Any], container: str) -> list[str]:
        """Every address that a pod has, those of further networks included, which the API does not show."""
        shown = json.loads(self._within(pod, container, "ip", "-json", "address"))
        return [each["local"] for interface in shown for each in interface["addr_info"]]

    def add_address(self, pod: dict[str, Any], container: str, address: str) -> None:
        """Give a running pod one address more, until it ends; with its prefix, such as 10.90.0.200/24."""
        usable_at_once = ("nodad",) if ":" in address else ()
        self._within(pod, container, "ip", "address", "add", address, "dev", "eth0", *usable_at_once)

    def _within(self, pod: dict[str, Any], container: str, *words: str) -> str:
        """Run a program of this machine in a pod's network."""
        state = next(each for each in pod["status"]["containerStatuses"] if each["name"] == container)
        pid = self.processes_of(pod["metadata"]["uid"], state["containerID"])[0]
        return run("nsenter", f"--net=/proc/{pid}/ns/net", *words)

    def _all_pids(self) -> Iterator[int]:
        namespace = Path(f"/proc/{self.pid}/ns/pid").readlink()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (path / "ns/pid").readlink() == namespace:
                    yield int(path.name)


def _remove(directory: Path) -> None:
    """Remove a run directory and the cgroups of its pods, once its processes are gone."""
    deadline = time.monotonic() + 20
    groups = [hierarchy / directory.name for hierarchy in _hierarchies()]
    while any(map(_remove_cgroup, groups)) and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(directory)


def _lines(archives: dict[str, Path]) -> str:
    return "\n".join(map(str, archives.values()))


def _nobody_uses(directory: Path) -> bool:
    try:
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _hierarchies() -> list[Path]:
    """The roots of cgroup version 1, one a controller, or the one of version 2."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove_cgroup(group: Path) -> bool:
    """Whether something of it is still there."""
    for path, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):  # a process in it has not ended yet
            Path(path).rmdir()
    return group.exists()


def _is_ready(answer: dict[str, dict[str, list[dict[str, str]]]]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in answer["status"]["conditions"])


def _set_network(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _inner_pid(pid: int) -> list[int]:
    """What a process is called in the namespaces below ours."""
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[2:]]
    return []


def _read(path: Path) -> str:
    """The text of a file; empty where there is none."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
