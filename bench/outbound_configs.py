"""`python -m bench operator`: a thousand OutboundConfigs, held against the limits for them.

Starts etcd and a real API server on this machine, then `mailboat operator`; `kubectl create` makes the resources as
fast as it can. How long after the last one all are Programmed; then the operator is restarted on the settled objects:
how soon it is idle, whether it writes anything, what memory it takes. docs/benchmarks.md says more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.kube_api import KubeApi
from tests.support.operator_process import OperatorProcess
from tools.cluster.apiserver import ApiServer, running

from bench import machine
from bench.fault import BenchError

AFTER_LAST_MAX = 5.0
"""Seconds from the last create until all are Programmed."""
IDLE_MAX = 10.0
"""Seconds from the start of the process until it has looked at all that is settled."""
MEMORY_MAX = 150 * 2**20
"""Octets resident, at any time."""
_CRD = Path(__file__).resolve().parents[1] / "crds" / "outboundconfigs.yaml"
_PATIENCE = 180.0
_POLL = 0.05
_QUIET = 15.0
"""Seconds after a restart in which nothing may be written; the short resync falls into them."""
_NAMESPACE = "bench"
_DONE = 'controller_runtime_reconcile_total{controller="outboundconfig",result="success"}'
_READY = 'mailboat_operator_outboundconfigs{ready="True"}'


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    what: str
    found: str
    limit: str
    kept: bool


def main(words: Sequence[str]) -> int:
    """Prints the table; 0 when every limit is kept, 1 when one is missed, 2 when nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench operator", description=__doc__.partition("\n")[0])
    parser.add_argument("--resources", type=int, default=1000, metavar="N", help="OutboundConfigs (1000)")
    number = parser.parse_args(words).resources
    with tempfile.TemporaryDirectory(prefix="mailboat-bench-", dir="/var/tmp") as name:
        try:
            print("\n".join(machine.look(Path(name)).lines()))
            with running(controllers="") as server:
                lines = _measure(server, Path(name), number)
        except (BenchError, AssertionError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 2
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            return 130
    print(f"\n{number:,} OutboundConfigs, API server and etcd on the same machine\n")
    print("| | measured | limit | |\n|---|---|---|---|")
    for line in lines:
        judged = ("kept" if line.kept else "**missed**") if line.limit else ""
        print(f"| {line.what} | {line.found} | {line.limit} | {judged} |")
    return 0 if all(line.kept for line in lines) else 1


def _measure(server: ApiServer, directory: Path, number: int) -> list[Line]:
    kubectl = server.kubectl(_NAMESPACE)
    kubectl.apply(_CRD.read_text())
    kubectl("wait", "--for=condition=Established", "crd/outboundconfigs.mailboat.dev")
    kubectl("create", "namespace", _NAMESPACE)
    api = KubeApi(server.kubeconfig, _NAMESPACE)
    with _operator(server, directory) as first:
        first.until_ready()
        cpu = _cpu(first)
        began = time.monotonic()
        kubectl("create", "-f", "-", stdin=_documents(number), timeout=_PATIENCE)
        created = time.monotonic()
        _until(lambda: first.metric(_READY) >= number, "all are Programmed")
        after = time.monotonic() - created
        _check(api, number)
        work = (_cpu(first) - cpu) / number
        peak = _peak(first)
    before = _versions(api)
    began_again = time.monotonic()
    with _operator(server, directory, "--resync=5") as second:
        _until(lambda: second.metric(_DONE) >= number, "the second operator has looked at all")
        idle = time.monotonic() - began_again
        _rest(_QUIET)
        resyncs = second.metric(_DONE) / number
        peak_again = _peak(second)
    written = sum(1 for key, version in _versions(api).items() if before.get(key) != version)
    memory = max(peak, peak_again)
    rate = number / (created - began)
    return [
        Line("`kubectl create`", f"{created - began:.1f} s, {rate:.0f} a second", "", kept=True),
        Line(
            "all Programmed after the last create", f"{after:.1f} s", f"{AFTER_LAST_MAX:g} s", after <= AFTER_LAST_MAX
        ),
        Line("CPU time of the operator a resource", f"{work * 1e3:.1f} ms", "", kept=True),
        Line("idle after a restart over all of them", f"{idle:.1f} s", f"{IDLE_MAX:g} s", idle <= IDLE_MAX),
        Line(f"objects written then, {resyncs:.0f} readings of everything", f"{written}", "0", written == 0),
        Line("memory, resident", f"{memory / 2**20:.0f} MiB", f"{MEMORY_MAX // 2**20} MiB", memory <= MEMORY_MAX),
    ]


@contextmanager
def _operator(server: ApiServer, directory: Path, *words: str) -> Iterator[OperatorProcess]:
    process = OperatorProcess(server.kubeconfig, directory, f"--namespace={_NAMESPACE}", *words)
    try:
        yield process
    finally:
        process.stop()


def _documents(number: int) -> str:
    bodies = (
        {
            "apiVersion": "mailboat.dev/v1alpha1",
            "kind": "OutboundConfig",
            "metadata": {"name": f"relay-{each}"},
            "spec": {"outbound": {"concurrencyMax": each + 1}},
        }
        for each in range(number)
    )
    return "\n---\n".join(map(json.dumps, bodies))


def _check(api: KubeApi, number: int) -> None:
    """The API server says so too, of every one."""
    programmed = sum(
        any(c["type"] == "Programmed" and c["status"] == "True" for c in item.get("status", {}).get("conditions", ()))
        for item in api.items("outboundconfigs")
    )
    children = len([item for item in api.items("configmaps") if item["metadata"].get("ownerReferences")])
    if (programmed, children) != (number, 2 * number):
        raise BenchError(f"{programmed} are Programmed, with {children} children")


def _versions(api: KubeApi) -> dict[tuple[str, str], str]:
    return {
        (plural, item["metadata"]["name"]): item["metadata"]["resourceVersion"]
        for plural in ("outboundconfigs", "configmaps", "secrets")
        for item in api.items(plural)
    }


def _until(good: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not good():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {_PATIENCE:g} s in vain until {what}")
        time.sleep(_POLL)


def _rest(seconds: float) -> None:
    time.sleep(seconds)


def _cpu(process: OperatorProcess) -> float:
    """Seconds of user and system time."""
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def _peak(process: OperatorProcess) -> int:
    """Octets, the most that was ever resident."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
