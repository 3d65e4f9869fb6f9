"""Both charts in a test's namespace, as Helm installs them, with the images of this checkout.

    relays = releases.both()                # an operator and two relays, ready
    releases.configure({"outbound": {…}})   # kubectl apply of the OutboundConfig
    took = releases.loaded()                # seconds until each pod ran it

By that OutboundConfig all mail goes to the sink, unless a test says otherwise.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.e2e.relays import Relays
from tests.e2e.sink import Sink
from tools.cluster.helm import Helm
from tools.cluster.images import ROOT
from tools.cluster.kubectl import Failed, Kubectl
from tools.cluster.use import Cluster

OPERATOR, RELAY = "mailboat-operator", "mailboat-relay"
"""Names of the charts, of the releases, and of their objects."""
CHARTS = ROOT / "charts"
TYPES = ("crd/outboundconfigs.mailboat.dev", "crd/sendingdomains.mailboat.dev")
Values = dict[str, Any]

_IMAGE: Values = {"registry": "localhost", "tag": "e2e", "pullPolicy": "Never"}
_SMALL: Values = {"requests": {"cpu": "10m", "memory": "32Mi"}}
_OPERATOR: Values = {"image": _IMAGE, "resources": _SMALL, "readinessProbe": {"periodSeconds": 1}}
_RELAY: Values = {
    "image": _IMAGE,
    "resources": _SMALL,
    "config": {"relayAllow": ["10.0.0.0/8", "fd90::/64"]},
    "persistence": {"size": "1Gi"},
    # Nothing differs but that less time is spent on waiting for the next probe.
    "startupProbe": {"periodSeconds": 1, "failureThreshold": 120},
    "readinessProbe": {"periodSeconds": 1},
    "minReadySeconds": 0,
    "preStopSleepSeconds": 2,
}


class Releases:
    """The releases in one namespace."""

    charts: Path = CHARTS
    """Where the charts are that releases are installed or upgraded with."""

    def __init__(self, cluster: Cluster, kubectl: Kubectl, helm: Helm, sink: Sink) -> None:
        self.cluster = cluster
        self.kubectl = kubectl
        self.helm = helm
        self.sink = sink

    def both(self, relay: Values | None = None, operator: Values | None = None) -> Relays:
        """An operator for this namespace, and relays; all their pods are ready."""
        self.operator(operator, wait=False)
        relays = self.relays(relay)
        self.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")
        return relays

    def operator(self, values: Values | None = None, wait: bool = True) -> None:
        """Install or upgrade the operator."""
        self._adopt_types()
        self.install(OPERATOR, merged(_OPERATOR, values or {}), *([] if wait else ["--wait=false"]))

    def relays(self, values: Values | None = None, chart: Path | None = None) -> Relays:
        """Install or upgrade the relays; values are those of this call only."""
        self.install(RELAY, merged(_RELAY, values or {}), chart=chart)
        relays = Relays(self.cluster, self.kubectl, RELAY)
        relays.ready()
        return relays

    def install(self, release: str, values: Values, *more: str, chart: Path | None = None) -> None:
        """`helm upgrade --install` as a person types it."""
        self.helm.install(release, chart or self.charts / release, values, *more)

    def _adopt_types(self) -> None:
        """The resource types outlive releases and belong to one: in a cluster of many tests, to the one of now."""
        owner = (f"name={OPERATOR}", f"namespace={self.kubectl.namespace}")
        for crd in filter(self.kubectl.exists, TYPES):
            self.kubectl("annotate", "--overwrite", crd, *(f"meta.helm.sh/release-{word}" for word in owner))
            self.kubectl("label", "--overwrite", crd, "app.kubernetes.io/managed-by=Helm")

    # The OutboundConfig.

    def configure(self, spec: Values | None = None) -> None:
        """Apply the OutboundConfig of the relays: all mail goes to the sink, and what `spec` says besides."""
        resource = {
            "apiVersion": "mailboat.dev/v1alpha1",
            "kind": "OutboundConfig",
            "metadata": {"name": RELAY},
            "spec": merged(self.spec(), spec or {}),
        }
        self.kubectl.apply(resource)

    def spec(self) -> Values:
        """What every OutboundConfig here has."""
        hosts = [{"host": self.sink.host, "port": 25}]
        return {"targetRef": {"name": RELAY}, "routes": [{"name": "sink", "domains": ["*"], "hosts": hosts}]}

    def loaded(self, patience: float = 90) -> float:
        """Wait as a person does until all pods run what was applied last; the seconds that it took."""
        begin = time.monotonic()
        words = ("--for=condition=Ready", f"obc/{RELAY}", f"--timeout={patience:.0f}s")
        self.kubectl("wait", *words, timeout=patience + 30)
        return time.monotonic() - begin

    def condition(self, kind: str) -> dict[str, str]:
        """A condition of the OutboundConfig. Raises Failed where it has none of this type yet."""
        conditions = self.kubectl.get("obc", RELAY).get("status", {}).get("conditions", [])
        for condition in conditions:
            if condition["type"] == kind:
                return dict(condition)
        raise Failed(f"there is no condition {kind} among {conditions}")


def merged(one: Values, other: Values) -> Values:
    """Both; where they differ the second wins."""
    result = dict(one)
    for key, value in other.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
