"""`python -m bench operator`: a thousand OutboundConfigs, held against the limits for them.

Starts etcd and a real API server on this machine, then `mailboat operator`; `kubectl create` makes the resources as
fast as it can. How long after the last one all are Programmed; then the operator is restarted on the settled objects:
how soon it is idle, whether it writes anything, what memory it takes. docs/benchmarks.md says more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.kube_api import KubeApi
from tools.cluster.apiserver import ApiServer

from bench import operator_rig
from bench.fault import BenchError
from bench.operator_rig import Line

AFTER_LAST_MAX = 5.0
"""Seconds from the last create until all are Programmed."""
IDLE_MAX = 10.0
"""Seconds from the start of the process until it has looked at all that is settled."""
_QUIET = 15.0
"""Seconds after a restart in which nothing may be written; the short resync falls into them."""
_DONE = 'controller_runtime_reconcile_total{controller="outboundconfig",result="success"}'
_READY = 'mailboat_operator_outboundconfigs{ready="True"}'
_WRITTEN = ("outboundconfigs", "configmaps", "secrets")


def main(words: Sequence[str]) -> int:
    """Prints the table; 0 when every limit is kept, 1 when one is missed, 2 when nothing could be measured."""
    return operator_rig.run("operator", __doc__, "OutboundConfigs", words, _measure)


def _measure(server: ApiServer, directory: Path, number: int) -> list[Line]:
    api = operator_rig.namespace(server, "outboundconfigs")
    kubectl = server.kubectl(api.namespace)
    with operator_rig.operator(server, directory) as first:
        first.until_ready()
        cpu = operator_rig.cpu(first)
        began = time.monotonic()
        kubectl("create", "-f", "-", stdin=_documents(number), timeout=operator_rig.PATIENCE)
        created = time.monotonic()
        operator_rig.until(lambda: first.metric(_READY) >= number, "all are Programmed")
        after = time.monotonic() - created
        _check(api, number)
        work = (operator_rig.cpu(first) - cpu) / number
        peak = operator_rig.peak(first)
    before = operator_rig.versions(api, *_WRITTEN)
    began_again = time.monotonic()
    with operator_rig.operator(server, directory, "--resync=5") as second:
        operator_rig.until(lambda: second.metric(_DONE) >= number, "the second operator has looked at all")
        idle = time.monotonic() - began_again
        _rest(_QUIET)
        resyncs = second.metric(_DONE) / number
        peak_again = operator_rig.peak(second)
    written = operator_rig.changed(before, operator_rig.versions(api, *_WRITTEN))
    rate = number / (created - began)
    return [
        Line("`kubectl create`", f"{created - began:.1f} s, {rate:.0f} a second"),
        Line(
            "all Programmed after the last create", f"{after:.1f} s", f"{AFTER_LAST_MAX:g} s", after <= AFTER_LAST_MAX
        ),
        Line("CPU time of the operator a resource", f"{work * 1e3:.1f} ms"),
        Line("idle after a restart over all of them", f"{idle:.1f} s", f"{IDLE_MAX:g} s", idle <= IDLE_MAX),
        Line(f"objects written then, {resyncs:.0f} readings of everything", f"{written}", "0", written == 0),
        operator_rig.memory_line(max(peak, peak_again)),
    ]


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


def _rest(seconds: float) -> None:
    time.sleep(seconds)
