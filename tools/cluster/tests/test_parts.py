"""The parts of the test cluster that need no cluster: the cache and the zone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import dns.dnssec
import dns.name
import dns.zone
import pytest
from dns.rdataset import Rdataset
from tools.cluster import cache, images, programs
from tools.cluster.images import ROOT, context_files
from tools.cluster.names import SignedZone, Zone

SETUP = Path(__file__).parents[1] / "setup"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the real one alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_what_is_in_the_cache_is_not_made_again() -> None:
    made: list[str] = []

    def make(into: Path) -> None:
        made.append(into.name)
        (into / "it").write_text("content")

    first = cache.entry("thing", "1", make)
    assert cache.entry("thing", "1", make) == first
    assert (first / "it").read_text() == "content"
    assert len(made) == 1


def test_what_fails_halfway_leaves_nothing() -> None:
    def make(into: Path) -> None:
        (into / "half").touch()
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        cache.entry("thing", "1", make)
    assert [path for path in cache.root().iterdir() if path.is_dir()] == []


def test_old_entries_of_a_name_go_and_those_of_others_stay() -> None:
    other = cache.entry("thing-of-others", "1", Path.touch)
    entries = [cache.entry("thing", str(number), Path.touch) for number in range(cache.KEPT + 2)]
    assert all(path.exists() for path in entries), "somebody may be using them"
    for number, path in enumerate([*entries, other]):
        os.utime(path, (number, number))
    entries.append(cache.entry("thing", "new", Path.touch))
    assert [path.exists() for path in entries] == [False] * 3 + [True] * cache.KEPT
    assert other.exists()


def test_a_key_changes_with_content_name_and_mode(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    keys = set()
    for change in (
        lambda: file.write_text("one"),
        lambda: file.write_text("two"),
        lambda: file.chmod(0o755),
        lambda: file.rename(other),
    ):
        change()
        keys.add(cache.digest(tmp_path, [path for path in (file, other) if path.exists()]))
    assert len(keys) == 4


def test_a_machine_without_go_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    programs._go.cache_clear()
    with pytest.raises(programs.Unable, match=r"there is no Go: install Go 1\.26 or newer"):
        programs._go()


@pytest.mark.parametrize(("choice", "built"), [("3", ("helm3",)), ("4", ("helm4",)), ("both", ("helm3", "helm4"))])
def test_only_the_helm_that_is_chosen_is_built(
    choice: str, built: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "HELMS", programs.chosen_helms(choice))
    monkeypatch.setattr(programs, "program", Path)
    assert tuple(name for name in programs.all_programs() if name.startswith("helm")) == built


def test_a_choice_of_helm_that_is_none_is_refused_with_what_it_may_be() -> None:
    with pytest.raises(programs.Unable, match="HELM is 3, 4 or both, not '5'"):
        programs.chosen_helms("5")


def test_somebody_who_is_not_root_is_told_so(tmp_path: Path) -> None:
    fake = tmp_path / "id"
    fake.write_text("#!/bin/sh\necho 1000\n")
    fake.chmod(0o755)
    done = subprocess.run(
        [SETUP], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "needs root" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_cluster_that_is_there_needs_nothing_installed() -> None:
    done = subprocess.run([SETUP], env={"PATH": "/usr/bin:/bin", "KUBECONFIG": "/some/where"}, check=False)
    assert done.returncode == 0


def test_the_images_are_made_of_sources_and_locks_only() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in context_files()}
    assert {"Dockerfile", "requirements/relay.txt", "requirements/operator.txt", "pyproject.toml"} <= names
    assert "requirements/dev.txt" not in names
    assert not any(name.endswith(".pyc") for name in names)


def test_the_images_of_an_earlier_tree_are_made_with_the_locks_in_its_root(tmp_path: Path) -> None:
    names = {path.relative_to(tmp_path).as_posix() for path in context_files(tmp_path)}
    assert {"requirements.txt", "requirements-operator.txt", "requirements-build.txt"} <= names


def test_the_resolvers_image_has_the_packages_that_the_dockerfile_installs() -> None:
    (line,) = re.findall(r"apt-get install --yes --no-install-recommends (.*?) &&", (ROOT / "Dockerfile").read_text())
    assert line.split() == images._RESOLVER_PACKAGES.split(",")


def test_the_dockerfile_installs_locks_of_the_context_only() -> None:
    locks = {path.name for path in context_files() if path.parent.name == "requirements"}
    asked = set(re.findall(r"inputs/(\S+\.txt)", (ROOT / "Dockerfile").read_text()))
    assert asked == locks


def test_a_signed_zone_is_signed_anew_with_each_change_but_for_what_is_added_unsigned(tmp_path: Path) -> None:
    root = SignedZone(tmp_path / "root", ".")
    zone = SignedZone(tmp_path / "zone", "signed.", root)
    zone.mx("example.signed", "mx.example.signed")
    zone.unsigned.append("forged.signed. 1 IN A 10.0.0.1")
    zone.address("mx.example.signed", "10.91.0.7")
    (dnskey,) = validated(zone, ("example.signed.", "MX"), ("mx.example.signed.", "A"), ("signed.", "NSEC"))
    validated(root, (".", "NS"), ("signed.", "DS"))
    assert zone.ds == f"signed. 1 IN DS {dns.dnssec.make_ds('signed.', dnskey, 'SHA256')}"
    assert zone.ds in root.path.read_text()
    assert "RRSIG" not in "".join(line for line in zone.path.read_text().splitlines() if line.startswith("forged"))


def validated(zone: SignedZone, *records: tuple[str, str]) -> Rdataset:
    """The keys of a zone, which have signed these records; else ValidationFailure."""
    read = dns.zone.from_text(zone.path.read_text(), origin=zone.origin, relativize=False)
    keys = read.find_rdataset(zone.origin, "DNSKEY")
    for text, kind in records:
        name = dns.name.from_text(text)
        signed, signatures = read.find_rdataset(name, kind), read.find_rdataset(name, "RRSIG", kind)
        dns.dnssec.validate((name, signed), (name, signatures), {dns.name.from_text(zone.origin): keys})
    return keys


def test_records_are_replaced_and_each_change_has_a_new_serial_number(tmp_path: Path) -> None:
    zone = Zone(tmp_path / "zone")
    serials = set()
    for target in ("one.test", "two.test"):
        zone.mx("example.test", target)
        lines = zone.path.read_text().splitlines()
        serials.add(next(line for line in lines if "SOA" in line))
        assert [line for line in lines if "MX" in line] == [f"example.test. 1 IN MX 10 {target}."]
    zone.address("one.test", "10.91.0.7", "fd90::7")
    assert "one.test. 1 IN A 10.91.0.7" in zone.path.read_text()
    assert "one.test. 1 IN AAAA fd90::7" in zone.path.read_text()
    assert len(serials) == 2
