"""The images of a test cluster, as archives: those of the Dockerfile, and `pause`. No registry.

The base is made from Debian's packages by debootstrap; the Dockerfile is built on it by buildah, from wheels and Debian
packages that have been fetched before, so that the build itself needs no network. Layers are kept between builds: after
a change of the sources, only they are reinstalled. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tools.cluster.cache import alone, digest, entry
from tools.cluster.programs import Unable, program

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PYTHON = "3.11"
"""The suite's."""
PAUSE = "localhost/pause:e2e"
RELAY = "localhost/mailboat-relay:e2e"
OPERATOR = "localhost/mailboat-operator:e2e"
RESOLVER = "localhost/mailboat-resolver:e2e"

ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
"""Where root's programs are, too: not every shell of root's says so."""

_PACKAGES = "python3-minimal,python3-venv,ca-certificates"
_RESOLVER_PACKAGES = "unbound,dns-root-data"
"""What the Dockerfile installs for its target `resolver`."""
_RESOLVER_CONTEXT = ("Dockerfile", ".dockerignore", "resolver/start.py")
_NEEDLESS = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
_CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml")
_PLATFORMS = ("manylinux_2_36_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
_MOST_LAYERS = 400
"""Images in the builder's store, with intermediate ones, after which it is recreated."""


def archives() -> dict[str, Path]:
    """An archive for each image, by its name; what is missing is built. Raises Unable with what went wrong."""
    return {PAUSE: _pause(), RESOLVER: _resolver(), **of_tree(ROOT, "e2e")}


@cache
def of_tree(tree: Path, tag: str) -> dict[str, Path]:
    """The archives of the images that the Dockerfile of a tree makes of its sources, by their names with this tag."""
    return {f"localhost/mailboat-{target}:{tag}": _built(tree, target, tag) for target in ("relay", "operator")}


def context_files(tree: Path = ROOT) -> Iterator[Path]:
    """What the images are made of."""
    yield from (tree / name for name in _CONTEXT)
    yield from (_lock(tree, name) for name in ("build", "operator", "relay"))
    for package in ("relay", "operator"):
        for path in (tree / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _lock(tree: Path, name: str) -> Path:
    """A requirements file; trees from before `requirements/` have them in their root."""
    if (tree / "requirements").is_dir():
        return tree / "requirements" / f"{name}.txt"
    return tree / ("requirements.txt" if name == "relay" else f"requirements-{name}.txt")


def _built(tree: Path, target: str, tag: str) -> Path:
    name = f"localhost/mailboat-{target}:{tag}"
    files = list(context_files(tree))
    key = digest(tree, files, _store_key(), name)

    def build(into: Path) -> None:
        _build(name, into, {path.relative_to(tree): path for path in files} | {Path("wheels"): _wheels(tree)})

    return entry(f"image-{target}", key, build) / "image.tar"


@cache
def _resolver() -> Path:
    files = [ROOT / name for name in _RESOLVER_CONTEXT]
    key = digest(ROOT, files, _store_key(), _RESOLVER_PACKAGES)

    def build(into: Path) -> None:
        _build(RESOLVER, into, {path.relative_to(ROOT): path for path in files} | {Path("debs"): _debs()})

    return entry("image-resolver", key, build) / "image.tar"


def _build(name: str, into: Path, content: Mapping[Path, Path]) -> None:
    """Build the image of this name; `content` are files and directories by their places in the context."""
    begin = time.monotonic()
    target = name.rpartition("/")[2].partition(":")[0].removeprefix("mailboat-")
    with tempfile.TemporaryDirectory(prefix="mailboat-context-") as directory:
        context = Path(directory)
        for place, source in content.items():
            copy = context / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                shutil.copy(source, copy)
        with _store() as store:
            options = ["--layers", "--isolation=chroot", "--pull-never", "--build-arg=BASE=localhost/base"]
            _buildah(store, "bud", *options, f"--target={target}", f"--tag={name}", str(context))
            _buildah(store, "push", name, f"docker-archive:{into / 'image.tar'}:{name}")
    _say(f"built the image {name} in {time.monotonic() - begin:.0f} s")


@cache
def _pause() -> Path:
    binary = program("pause")
    key = digest(binary.parent, [binary])
    return entry("image-pause", key, lambda into: _build_pause(binary, into)) / "image.tar"


def _build_pause(binary: Path, into: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mailboat-context-") as directory:
        context = Path(directory)
        shutil.copy(binary, context / "pause")
        (context / "Dockerfile").write_text('FROM scratch\nCOPY pause /pause\nUSER 65535\nENTRYPOINT ["/pause"]\n')
        with _store() as store:
            _buildah(store, "bud", "--isolation=chroot", f"--tag={PAUSE}", str(context))
            _buildah(store, "push", PAUSE, f"docker-archive:{into / 'image.tar'}:{PAUSE}")


@contextlib.contextmanager
def _store() -> Iterator[Path]:
    """The builder's store, for one process at a time. It goes after a failure, which may be its, and when large."""
    with alone("builder"):
        store = entry("store", _store_key(), _make_store)
        keep = False
        try:
            yield store
            keep = len(_buildah(store, "images", "--all", "--quiet").splitlines()) <= _MOST_LAYERS
        finally:
            if not keep:
                shutil.rmtree(store, ignore_errors=True)


def _store_key() -> str:
    return digest(ROOT, [], SUITE, _PACKAGES, *_NEEDLESS)


def _make_store(into: Path) -> None:
    """The builder's own store, with the base in it. It grows with each build: the one entry that is not constant."""
    _say(f"making a base image from Debian's packages ({SUITE})")
    with tempfile.TemporaryDirectory(prefix="mailboat-base-") as directory:
        context = Path(directory)
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", SUITE, str(context / "rootfs"))
        for name in _NEEDLESS:
            shutil.rmtree(context / "rootfs" / name, ignore_errors=True)
            (context / "rootfs" / name).mkdir()
        (context / "Dockerfile").write_text("FROM scratch\nCOPY rootfs/ /\n")
        _buildah(into, "bud", "--isolation=chroot", "--tag=localhost/base", str(context))


def _wheels(tree: Path) -> Path:
    locks = [_lock(tree, name) for name in ("build", "operator")]  # the operator's holds the relay's
    return entry("wheels", digest(tree, locks, PYTHON, *_PLATFORMS), lambda into: _fetch_wheels(locks, into))


def _fetch_wheels(locks: list[Path], into: Path) -> None:
    """For the image's Python. Source distributions are refused: nothing is built, so nothing needs a compiler."""
    options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    options += ["--implementation=cp", f"--python-version={PYTHON}", *(f"--platform={name}" for name in _PLATFORMS)]
    for lock in locks:
        _run(sys.executable, "-m", "pip", "download", *options, f"--dest={into}", f"--requirement={lock}")


def _debs() -> Path:
    return entry("debs", digest(ROOT, [], SUITE, _PACKAGES, _RESOLVER_PACKAGES), _fetch_debs)


def _fetch_debs(into: Path) -> None:
    """The resolver's packages with all that they need and the base lacks, as archives."""
    with tempfile.TemporaryDirectory(prefix="mailboat-debs-") as directory:

        def debootstrap(step: str, packages: str) -> str:
            return _run("debootstrap", step, "--variant=minbase", f"--include={packages}", SUITE, directory)

        base = debootstrap("--print-debs", _PACKAGES).split()
        more = set(debootstrap("--print-debs", f"{_PACKAGES},{_RESOLVER_PACKAGES}").split()).difference(base)
        debootstrap("--download-only", f"{_PACKAGES},{_RESOLVER_PACKAGES}")
        for archive in Path(directory, "var/cache/apt/archives").glob("*.deb"):
            if archive.name.partition("_")[0] in more:
                shutil.copy(archive, into)


def _buildah(store: Path, *words: str) -> str:
    place = [f"--root={store / 'root'}", f"--runroot={store / 'run'}", "--storage-driver=overlay"]
    return _run("buildah", *place, *words)


def _run(*words: str) -> str:
    done = subprocess.run(
        ["nice", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    if done.returncode:
        raise Unable(f"{words[0]} fails: {' '.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def _say(text: str) -> None:
    print(f"cluster: {text}", file=sys.stderr, flush=True)
