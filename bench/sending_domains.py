"""`python -m bench domains`: a thousand SendingDomains with two keys each, held against the limits for them.

Starts etcd and a real API server on this machine, a name server whose answers take 20 ms, two relay pods that load what
is rendered, and `mailboat operator`. When all domains sign, the operator is restarted: how soon it has looked at all of
them, whether it writes anything, how much it asks the API server when nothing happens, how many questions to the DNS
were ever under way together, what memory it takes. docs/benchmarks.md says more.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.fake_relay import FakeRelay, pod, stateful_set
from tests.support.kube_api import KubeApi
from tests.support.name_servers import NameServers, name_servers
from tests.support.operator_process import OperatorProcess
from tests.support.sending_api import rendered_hash
from tools.cluster.apiserver import ApiServer

from bench import operator_rig
from bench.operator_rig import Line
from mailboat.dkim.keys import Algorithm, SigningKey, make_key, to_pem
from mailboat_operator.authority import QUERIES

RESTART_MAX = 5.0
"""Seconds from the start of the process until it has looked at every domain."""
CALLS_MAX = 120.0
"""Calls of the API server a minute when nothing happens; renewing the lease takes 60."""
_LATENCY = 0.02
"""Seconds that the name server takes for an answer."""
_PATIENCE = 600.0
_SETTLE, _IDLE = 10.0, 60.0
"""Seconds after the restart before idle calls are counted, and for which they are."""
_DONE = 'controller_runtime_reconcile_total{controller="sendingdomain",result="success"}'
_READY = 'mailboat_operator_sendingdomains{ready="True"}'
_CALLS = re.compile(r"^rest_client_requests_total\{.*\} (\S+)$", re.MULTILINE)
_BUSY = re.compile(
    r"^(?:workqueue_depth|controller_runtime_active_workers)"
    r'\{(?:name|controller)="(?:outboundconfig|sendingdomain)"\} (\S+)$',
    re.MULTILINE,
)
_QUEUES = 4
"""Series of these: two of each of two queues."""
_WRITTEN = ("outboundconfigs", "sendingdomains", "configmaps", "secrets")


def main(words: Sequence[str]) -> int:
    """Prints the table; 0 when every limit is kept, 1 when one is missed, 2 when nothing could be measured."""
    return operator_rig.run("domains", __doc__, "SendingDomains with two keys each", words, _measure)


def _measure(server: ApiServer, directory: Path, number: int) -> list[Line]:
    api = operator_rig.namespace(server, "outboundconfigs", "sendingdomains")
    kubectl = server.kubectl(api.namespace)
    keys = [make_key(Algorithm.RSA), make_key(Algorithm.ED25519)]
    with name_servers() as dns, _relay(api):
        words = (f"--dns-server=127.0.0.1:{dns.port}", f"--dns-port={dns.port}")
        named = [
            [
                SigningKey(f"domain-{each}.test", f"mb20261128{letter}", key)
                for letter, key in zip("re", keys, strict=True)
            ]
            for each in range(number)
        ]
        _publish(dns, named)
        with operator_rig.operator(server, directory, *words) as first:
            first.until_ready()
            began, cpu = time.monotonic(), operator_rig.cpu(first)
            for documents in _documents(named):
                kubectl("create", "-f", "-", stdin=documents, timeout=_PATIENCE)
            operator_rig.until(lambda: first.metric(_READY) >= number, "all domains sign", _PATIENCE)
            signing = time.monotonic() - began
            work = (operator_rig.cpu(first) - cpu) / number
            operator_rig.until(lambda: _is_idle(first), "nothing is left to do")
            peak = operator_rig.peak(first)
        asked = dns.servers[0].most_at_once
        before = operator_rig.versions(api, *_WRITTEN)
        began_again = time.monotonic()
        with operator_rig.operator(server, directory, *words) as second:
            operator_rig.until(
                lambda: second.metric(_DONE) >= number and _is_idle(second), "the second operator has looked at all"
            )
            restart, restart_cpu = time.monotonic() - began_again, operator_rig.cpu(second)
            _rest(_SETTLE)
            calls, cpu = _calls(second), operator_rig.cpu(second)
            _rest(_IDLE)
            calls = (_calls(second) - calls) * 60 / _IDLE
            idle_cpu = (operator_rig.cpu(second) - cpu) / _IDLE
            peak_again = operator_rig.peak(second)
        written = operator_rig.changed(before, operator_rig.versions(api, *_WRITTEN))
    return [
        Line("all sign, after `kubectl create` has begun", f"{signing:.0f} s"),
        Line("CPU time of the operator a domain, until then", f"{work * 1e3:.0f} ms"),
        Line("queries to the DNS under way at once, at most", f"{asked}", f"{QUERIES}", asked <= QUERIES),
        Line("all looked at after a restart", f"{restart:.1f} s", f"{RESTART_MAX:g} s", restart <= RESTART_MAX),
        Line("CPU time of that", f"{restart_cpu:.1f} s"),
        Line("objects written then", f"{written}", "0", written == 0),
        Line("calls of the API server a minute, idle", f"{calls:.0f}", f"{CALLS_MAX:g}", calls <= CALLS_MAX),
        Line("CPU, idle", f"{idle_cpu:.1%}"),
        operator_rig.memory_line(max(peak, peak_again)),
    ]


@contextlib.contextmanager
def _relay(api: KubeApi) -> Iterator[None]:
    """An OutboundConfig with two pods, which load whatever is rendered."""
    api.config("relay", {"targetRef": {"name": "relay"}})
    owner = stateful_set(api, 2)
    relays = [FakeRelay(), FakeRelay()]
    for ordinal, relay in enumerate(relays):
        relay.hash = lambda: rendered_hash(api)
        pod(api, owner, ordinal, relay)
    try:
        yield
    finally:
        for relay in relays:
            relay.close()


def _publish(dns: NameServers, named: Sequence[Sequence[SigningKey]]) -> None:
    """Each domain is a zone of the first name server, which shows all records; nothing may be kept for long."""
    zone = dns.zones[0]
    zone.latency = _LATENCY
    zone.a("ns1.test", "127.0.0.1")
    for keys in named:
        domain = keys[0].domain
        zone.add(domain, "SOA", f"ns1.test. hostmaster.{domain}. 1 3600 600 86400 1")
        zone.add(domain, "NS", "ns1.test.")
        zone.add(domain, "TXT", '"v=spf1 ip4:192.0.2.9 -all"')
        zone.add(f"_dmarc.{domain}", "TXT", '"v=DMARC1; p=none"')
        for key in keys:
            dns.publish(f"{key.selector}._domainkey.{domain}", key.record, (0,))


def _documents(named: Sequence[Sequence[SigningKey]]) -> Iterator[str]:
    """Secrets with keys, then their SendingDomains, which take them up: making RSA keys is not what is measured."""
    secrets, domains = [], []
    for each, keys in enumerate(named):
        domain, name = keys[0].domain, f"domain-{each}"
        labels = {"app.kubernetes.io/managed-by": "mailboat-operator", "mailboat.dev/sendingdomain": name}
        data = {
            f"{key.selector}._domainkey.{domain}.pem": base64.b64encode(to_pem(key.private)).decode() for key in keys
        }
        metadata = {"name": f"{name}-dkim", "labels": labels}
        secrets.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        spec = {"domain": domain, "outboundConfigRefs": [{"name": "relay"}]}
        kind = {"apiVersion": "mailboat.dev/v1alpha1", "kind": "SendingDomain"}
        domains.append({**kind, "metadata": {"name": name}, "spec": spec})
    for bodies in (secrets, domains):
        yield "\n---\n".join(map(json.dumps, bodies))


def _is_idle(process: OperatorProcess) -> bool:
    found = _BUSY.findall(process.http("/metrics")[1])
    return len(found) == _QUEUES and not any(map(float, found))


def _calls(process: OperatorProcess) -> float:
    return sum(float(count) for count in _CALLS.findall(process.http("/metrics")[1]))


def _rest(seconds: float) -> None:
    time.sleep(seconds)
