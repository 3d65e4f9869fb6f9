"""A release from its test to its end and beyond: queues and the resource type outlive it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml
from tests.e2e.relays import Relays
from tests.e2e.releases import CHARTS, OPERATOR, RELAY, TYPES, Releases, Values
from tests.e2e.sink import Sink
from tools.cluster.helm import Helm
from tools.cluster.kubectl import Kubectl, until


def test_helm_test_sends_a_mail_through_the_service(helm: Helm, releases: Releases) -> None:
    releases.relays()
    assert "counted as delivered" in helm("test", RELAY, "--logs")


async def test_what_waits_survives_uninstall_and_is_delivered_by_the_next_release(
    helm: Helm, kubectl: Kubectl, releases: Releases, sink: Sink
) -> None:
    relays = releases.both({"outboundConfig": _created(releases, disabled=True)})
    releases.loaded()
    await _queue(relays)
    claims = {each["metadata"]["name"]: each["spec"]["volumeName"] for each in kubectl.items("pvc")}
    for release in (RELAY, OPERATOR):
        helm("uninstall", release, "--wait")
    until(lambda: kubectl.exists("statefulset,pod", "-l", "app.kubernetes.io/part-of=mailboat"), lambda left: not left)
    assert {each["metadata"]["name"]: each["spec"]["volumeName"] for each in kubectl.items("pvc")} == claims
    assert all(map(kubectl.exists, TYPES))
    assert sink.mails() == []

    relays = releases.both({"outboundConfig": _created(releases, disabled=False)})
    _arrived(sink)
    assert [relays.queue(number) for number in (0, 1)] == [[], []]


async def test_an_upgrade_from_the_chart_before_keeps_the_queues(
    helm: Helm, kubectl: Kubectl, releases: Releases, sink: Sink, tmp_path: Path
) -> None:
    """The chart before: this one under a lower version, whose pods therefore are replaced by the upgrade."""
    before = _chart_before(helm, tmp_path)
    releases.operator(wait=False)
    values: Values = {"outboundConfig": _created(releases, disabled=True)}
    relays = releases.relays(values, chart=before)
    assert f"{RELAY}-0.0.1" in helm("list")
    releases.loaded()
    await _queue(relays)
    lives = relays.lives()
    releases.relays({"outboundConfig": _created(releases, disabled=False), "podAnnotations": {"example.test/new": "1"}})
    assert f"{RELAY}-0.0.1" not in helm("list")
    assert not set(relays.lives()) & set(lives), "every pod was replaced"
    _arrived(sink)
    labels = kubectl.get("statefulset", RELAY)["metadata"]["labels"]
    assert labels["helm.sh/chart"] == f"{RELAY}-{_version()}"


def _created(releases: Releases, *, disabled: bool) -> Values:
    return {"create": True, "spec": {**releases.spec(), "outbound": {"disabled": disabled}}}


async def _queue(relays: Relays) -> None:
    """Two mails wait in each of two pods."""
    for number in (0, 1):
        for letter in "ab":
            await relays.submit(f"pod/{relays.pod(number)}", 2525, f"{letter}{number}")
        assert {each["state"] for each in relays.queue(number)} == {"active"}
        assert len(relays.queue(number)) == 2


def _arrived(sink: Sink) -> None:
    assert sorted(mail.subject for mail in sink.until(4)) == ["a0", "a1", "b0", "b1"]


def _version() -> str:
    return str(yaml.safe_load((CHARTS / RELAY / "Chart.yaml").read_text())["version"])


def _chart_before(helm: Helm, directory: Path) -> Path:
    """The package of the chart as it is, but of version 0.0.1."""
    copy = directory / RELAY
    shutil.copytree(CHARTS / RELAY, copy)
    said = helm("package", str(copy), "--version=0.0.1", "--app-version=0.0.1", f"--destination={directory}")
    found = re.search(r"saved it to: (\S+)", said)
    assert found, said
    return Path(found[1])
