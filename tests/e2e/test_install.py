"""From nothing to a delivered mail: both charts, an OutboundConfig, a mail to the Service, and Prometheus counts it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.e2e.relays import ADMIN, Relays
from tests.e2e.releases import RELAY, Releases
from tests.e2e.sink import Sink
from tests.support.prometheus_server import Prometheus, until
from tools.cluster.helm import Helm
from tools.cluster.kubectl import Kubectl
from tools.cluster.programs import HELMS
from tools.cluster.use import Cluster


@pytest.fixture(params=HELMS)
def helm(request: pytest.FixtureRequest, cluster: Cluster, namespace: str) -> Helm:
    """Each Helm that HELM chooses."""
    return cluster.helm(request.param, namespace)


async def test_mail_through_what_helm_installs_arrives_and_prometheus_counts_it(
    releases: Releases, kubectl: Kubectl, sink: Sink, tmp_path: Path
) -> None:
    relays = releases.both()
    releases.configure()
    print(f"from apply to loaded by all pods: {releases.loaded():.1f} s")
    shown = kubectl("get", "obc", RELAY)
    assert re.search(rf"^{RELAY} +True +Ready +2/2 +false +100 ", shown, re.MULTILINE), shown

    await relays.submit(f"service/{RELAY}", 587, "submission")
    (mail,) = sink.until(1, "submission")
    assert (mail.sender, mail.recipients) == ("alice@sender.test", ("bob@there.test",))
    await relays.submit(f"service/{RELAY}", 25, "smtp", "carol@there.test", "dave@elsewhere.test")
    assert {mail.recipients[0] for mail in sink.until(2, "smtp")} == {"carol@there.test", "dave@elsewhere.test"}
    await _counted(releases.cluster, kubectl, relays, tmp_path / "prometheus")


async def _counted(cluster: Cluster, kubectl: Kubectl, relays: Relays, directory: Path) -> None:
    """A real Prometheus that scrapes each pod says the same."""
    with ExitStack() as stack:
        places = [stack.enter_context(cluster.reach(kubectl, f"pod/{relays.pod(number)}", ADMIN)) for number in (0, 1)]
        targets = {relays.pod(number): f"{host}:{port}" for number, (host, port) in enumerate(places)}
        async with Prometheus.start(directory, targets) as prometheus:

            async def all_counted() -> bool:
                (total,) = await prometheus.query('sum(mailboat_deliveries_total{outcome="delivered"})')
                return float(total["value"][1]) == 3

            await until(all_counted)
            (waiting,) = await prometheus.query("sum(mailboat_queue_messages)")
            assert float(waiting["value"][1]) == 0
            (hashes,) = await prometheus.query("count(count by (hash) (mailboat_config_info))")
            assert float(hashes["value"][1]) == 1
