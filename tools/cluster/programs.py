"""Kubernetes, etcd, CoreDNS and Helm, built from their pinned Go modules: where each program is.

Each directory beside this file with a `go.mod` is a separate module, and its `go.sum` pins what is built to its
content. The first use builds (all of them: about eleven minutes on two cores), later ones find them in the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.cluster.cache import digest, entry

HERE = Path(__file__).resolve().parent


class Unable(Exception):  # noqa: N818 - it is what a person reads
    """This machine lacks something; the text says what, and what helps."""


@dataclass(frozen=True, slots=True)
class _Module:
    """A Go module of ours and what it gives."""

    directory: str
    package: str
    programs: tuple[str, ...]
    """One binary under each of these names: it acts as it is called."""


_MODULES = (
    _Module(
        "kube",
        ".",
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"),
    ),
    _Module("pause", ".", ("pause",)),
    _Module("etcd", "go.etcd.io/etcd/server/v3", ("etcd",)),
    _Module("coredns", "github.com/coredns/coredns", ("coredns",)),
    _Module("helm3", "helm.sh/helm/v3/cmd/helm", ("helm3",)),
    _Module("helm4", "helm.sh/helm/v4/cmd/helm", ("helm4",)),
)


def chosen_helms(choice: str) -> tuple[str, ...]:
    """The Helm programs that a value of HELM names: `3`, `4` or `both`. Raises Unable for any other."""
    found = {"3": ("helm3",), "4": ("helm4",), "both": ("helm3", "helm4")}.get(choice)
    if found is None:
        raise Unable(f"HELM is 3, 4 or both, not {choice!r}")
    return found


HELMS = chosen_helms(os.environ.get("HELM") or "4")
"""What the charts are tested with. One is enough between releases, and saves building the other."""
HELM = HELMS[-1]
"""The one for tests that need only one."""


@cache
def program(name: str) -> Path:
    """The path of a program, which is built where it is not in the cache. Raises Unable without Go."""
    module = next(module for module in _MODULES if name in module.programs)
    return _built(module) / name


def all_programs() -> dict[str, Path]:
    """Each program that tests use, by its name: of Helm the versions that HELM chooses."""
    names = [name for module in _MODULES for name in module.programs]
    return {name: program(name) for name in names if name in HELMS or not name.startswith("helm")}


@cache
def kubernetes_version() -> str:
    """The version that is built, such as `v1.37.2`."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (HERE / "kube" / "go.mod").read_text())
    assert found
    return found[1]


@cache
def _go() -> str:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise Unable(
            "the test cluster is built from Go modules, and there is no Go: install Go 1.26 or newer and put it on PATH"
        )
    return go


@cache
def _built(module: _Module) -> Path:
    directory = HERE / module.directory
    go = _go()
    version = subprocess.run([go, "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout.strip()
    flags = _link_flags(module)
    key = digest(directory, (path for path in directory.iterdir() if path.is_file()), version, module.package, flags)
    return entry(module.directory, key, lambda into: _build(module, go, flags, into))


def _build(module: _Module, go: str, flags: str, into: Path) -> None:
    print(f"cluster: building {module.directory} from its Go module", file=sys.stderr, flush=True)
    begin = time.monotonic()
    first, *others = module.programs
    done = subprocess.run(
        ["nice", go, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", into / first, module.package],
        cwd=HERE / module.directory,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unable(f"{module.directory} does not build here; go build says:\n{done.stderr[-4000:]}")
    for other in others:
        (into / other).symlink_to(first)
    print(f"cluster: built {module.directory} in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


def _link_flags(module: _Module) -> str:
    """No symbols; and for Kubernetes its version, which its own build scripts set this way and clients ask for."""
    flags = ["-s", "-w"]
    if module.directory == "kube":
        version = kubernetes_version()
        major, minor, _ = version.removeprefix("v").split(".", 2)
        facts = {
            "gitVersion": version,
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "archive",
            "gitCommit": "0" * 40,
            "buildDate": "1970-01-01T00:00:00Z",
        }
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags += [f"-X {package}.{name}={value}" for name, value in facts.items()]
    if module.directory == "helm3":
        # Helm 4 reads it from its own build; Helm 3 takes itself for one of Kubernetes 1.20 without.
        _, minor, _ = kubernetes_version().split(".", 2)
        for package in ("pkg/chartutil", "pkg/lint/rules"):
            flags += [
                f"-X helm.sh/helm/v3/{package}.k8sVersionMajor=1",
                f"-X helm.sh/helm/v3/{package}.k8sVersionMinor={minor}",
            ]
    return " ".join(flags)
