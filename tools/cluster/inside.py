"""The first process of a test cluster's namespaces: makes its mounts and its network, and keeps its daemons running.

`machine` runs it as `unshare --net --mount --pid --fork --kill-child … python -m tools.cluster.inside DIRECTORY`. What
ends is started again, unless a file `held/NAME` says that it shall not be; nothing here outlives this process.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tools.cluster.node import ADDRESS, BRIDGE, POD_RANGES
from tools.cluster.processes import Service

_TICK = 0.05
_RESTART_AFTER = 0.5


def main(directory: Path) -> None:
    """Run the node of a directory until killed."""
    plan = json.loads((directory / "plan.json").read_text())
    _mounts(directory)
    _network()
    services = {daemon["name"]: Service(daemon["name"], daemon["argv"], directory) for daemon in plan["daemons"]}
    waiting = {daemon["name"] for daemon in plan["daemons"] if daemon["needs_api"]}
    ended: dict[str, float] = {}
    while True:
        if waiting and _api_is_ready(plan["url"], plan["ca"]):
            waiting.clear()
        for name, service in services.items():
            held = (directory / "held" / name).exists()
            due = time.monotonic() - ended.get(name, 0.0) > _RESTART_AFTER
            if service.process is None and due and not held and name not in waiting:
                service.start()
                (directory / "pids" / name).write_text(str(service.process_id))
        _note_ends(services, ended)
        time.sleep(_TICK)


def _note_ends(services: dict[str, Service], ended: dict[str, float]) -> None:
    """Of daemons, and of all orphans: the containers' shims are children of the first process."""
    with contextlib.suppress(ChildProcessError):
        while (end := os.waitpid(-1, os.WNOHANG))[0] != 0:
            for name, service in services.items():
                if service.process and service.process.pid == end[0]:
                    service.process.returncode = os.waitstatus_to_exitcode(end[1])
                    print(f"{name} has ended with {service.process.returncode}", flush=True)
                    service.process = None
                    ended[name] = time.monotonic()


def _mounts(directory: Path) -> None:
    """The machine's tree, but what Kubernetes writes outside its own directories stays in this namespace."""
    _run("mount", "--make-rprivate", "/")
    _run("mount", "--make-rshared", "/")  # the kubelet asks for it
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in ("lib", "log"):
        upper, work = directory / "var" / name, directory / "var" / f"{name}.work"
        upper.mkdir(parents=True)
        work.mkdir()
        options = f"lowerdir=/var/{name},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "-o", options, "overlay", f"/var/{name}")


def _network() -> None:
    """A pair of interfaces carries the node's address, and the route that service addresses need to have."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "node0", "type", "veth", "peer", "name", "node1")
    _run("ip", "address", "add", f"{ADDRESS}/24", "dev", "node0")
    for interface in ("node0", "node1"):
        _run("ip", "link", "set", interface, "up")
    _run("ip", "route", "add", "default", "via", "10.89.0.254", "dev", "node0")
    # The plugin would make the bridge, but give it one IPv4 address only.
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    for network in map(ipaddress.ip_network, POD_RANGES):
        _run("ip", "address", "add", f"{network[1]}/{network.prefixlen}", "dev", BRIDGE, "nodad")
    _run("ip", "link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")


def _api_is_ready(url: str, ca: str) -> bool:
    context = ssl.create_default_context(cafile=ca)
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", context=context, timeout=2):
        return True
    return False


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
