"""docs/kubernetes.md and the README as a reader follows them: each `sh` block, as written, in a real cluster."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e import sink as sinks
from tests.e2e.releases import TYPES
from tests.e2e.sink import Sink
from tests.support.dkim import signatures_of, verified_by
from tools.cluster import images
from tools.cluster.kubectl import Kubectl, run, until
from tools.cluster.programs import HELMS, program
from tools.cluster.use import Cluster

from mailboat import __version__

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "kubernetes.md"
README = ROOT / "README.md"
NAMESPACE = "mail"


def commands(page: Path) -> list[str]:
    """The `sh` blocks of a page, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


class Reader:
    """Somebody with a shell, who follows a page block by block."""

    def __init__(self, cluster: Cluster, helm: Path, bin_directory: Path) -> None:
        for name, path in (("helm", helm), ("kubectl", program("kubectl"))):
            (bin_directory / name).symlink_to(path)
        self._environ = {
            **os.environ,
            "PATH": f"{bin_directory}:{os.environ['PATH']}",
            "KUBECONFIG": str(cluster.kubeconfig),
            "REGISTRY": "localhost",
            "YOU": "you@example.test",
            "DOMAIN": "shop.test",
            "PODS": "10.90.0.0/15",
            **{f"HELM_{kind}_HOME": str(bin_directory / kind) for kind in ("CACHE", "CONFIG", "DATA")},
        }
        self.open(commands(PAGE))

    def open(self, blocks: list[str]) -> None:
        """Follow these from now on."""
        self._blocks = iter(blocks)

    def next(self, word: str) -> str:
        """Run the next block, which has this word in it; what it prints."""
        block = next(self._blocks)
        assert word in block
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=400,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}"
        return done.stdout

    def is_at_the_end(self) -> bool:
        """Whether every block has been run."""
        return next(self._blocks, None) is None


@pytest.fixture(params=HELMS)
def reader(request: pytest.FixtureRequest, cluster: Cluster, sink: Sink, tmp_path: Path) -> Iterator[Reader]:
    """A reader whose registry holds the images, and whose mail leads to the sink."""
    machine = cluster.own()
    client = ("ctr", "--address", machine.layout.containerd_socket, "--namespace", "k8s.io", "images", "tag", "--force")
    for image in (images.RELAY, images.OPERATOR):
        run(*client, image, image.replace(":e2e", f":{__version__}"))
    machine.zone.mx("example.test", sink.host)
    kubectl = cluster.kubectl(NAMESPACE)
    there = list(filter(kubectl.exists, TYPES))
    for crd in there:
        _hand_to_helm(kubectl, crd)
    yield Reader(cluster, program(request.param), tmp_path)
    print(kubectl("get", "all,pvc,events", "-o", "wide"))  # shown where the test failed
    kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)
    for crd in set(TYPES).difference(there):
        kubectl("delete", crd, "--ignore-not-found")


def _hand_to_helm(kubectl: Kubectl, crd: str) -> None:
    """A cluster that other tests use may have the types already; a reader's new one has not."""
    owner = ["meta.helm.sh/release-name=mailboat-operator", f"meta.helm.sh/release-namespace={NAMESPACE}"]
    kubectl("annotate", "--overwrite", crd, *owner)
    kubectl("label", "--overwrite", crd, "app.kubernetes.io/managed-by=Helm")


def test_the_readme_begins_like_the_page() -> None:
    _dkim, *kubernetes = commands(README)
    assert kubernetes[0] == commands(PAGE)[0]


def test_the_readme_and_the_page_of_dkim_have_the_same_commands() -> None:
    machine, _, *kubernetes = commands(README)
    assert [machine, *kubernetes] == commands(ROOT / "docs" / "dkim.md")


def test_a_reader_gets_a_mail_delivered_and_to_the_end_of_the_page(
    cluster: Cluster, sink: Sink, reader: Reader
) -> None:
    kubectl = cluster.kubectl(NAMESPACE)

    def pods() -> dict[str, str]:
        found = kubectl.items("pods", "-l", "app.kubernetes.io/name=mailboat-relay")
        return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}

    # From nothing to a delivered mail.
    assert "250 2.0.0" in reader.next("helm install mailboat-operator")
    (mail,) = sink.until(1)
    assert mail.recipients == ("you@example.test",)
    assert '"event":"delivered"' in reader.next("queue list")

    # Who may submit.
    first = pods()
    assert "counted as delivered" in reader.next("helm test")
    assert pods().items() >= first.items()

    # How mail is delivered.
    shown = reader.next("concurrencyMax=200")
    assert re.search(r"mailboat-relay +True +\S+ +2/2 ", shown), shown
    files = kubectl("exec", "mailboat-relay-0", "--", "mailboat", "config", "show", "/etc/mailboat")
    assert re.search(r"concurrency_max *= *200", files), files
    assert pods().items() >= first.items()

    # Volumes.
    reader.next("--cascade=orphan")
    assert pods().items() >= first.items()
    claims = kubectl.get("statefulset", "mailboat-relay")["spec"]["volumeClaimTemplates"]
    assert claims[0]["spec"]["resources"]["requests"]["storage"] == "16Gi"

    # More and fewer relays.
    reader.next("replicaCount=3")
    assert "mailboat-relay-2" in pods()
    assert "queue-mailboat-relay-2" in reader.next("replicaCount=2")
    until(pods, lambda found: set(found) == {"mailboat-relay-0", "mailboat-relay-1"})

    # Upgrades, and the end.
    reader.next("helm upgrade mailboat-operator")
    reader.next("helm uninstall mailboat-relay")
    assert all(map(kubectl.exists, TYPES))
    assert not kubectl.exists("statefulset,deployment,pvc")
    assert reader.is_at_the_end()


def test_a_reader_of_the_readme_gets_a_mail_with_signatures_that_verify(
    cluster: Cluster, kubectl: Kubectl, reader: Reader
) -> None:
    zone = cluster.own().zone
    printing = sinks.start(kubectl, images.RELAY, "printing", "--print-body")
    zone.mx("example.test", printing.host)
    _dkim, *kubernetes = commands(README)
    reader.open(kubernetes)
    reader.next("helm install mailboat-operator")

    lines = [line.split(" ", 1) for line in reader.next("zoneLine").splitlines() if " IN TXT " in line]
    records = {name.rstrip("."): rest.partition(" IN TXT ")[2] for name, rest in lines}
    for name, strings in records.items():
        zone.text(name, strings)
    reader.next("condition=Ready")

    (mail,) = until(lambda: printing.printed("you@shop.test"), bool)
    texts = {name: "".join(re.findall('"(.*?)"', strings)) for name, strings in records.items()}
    assert [tags["d"] for tags in signatures_of(mail)] == ["shop.test", "shop.test"]
    assert verified_by(mail, texts) == [True, True]
    assert reader.is_at_the_end()
