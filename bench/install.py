"""What the benchmarks need on the machine and not in the checkout: Debian packages, Haraka from npm, environments.

Called by the relays, by `bench.interpreter` and by the benchmarks before anything is measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import process
from bench.fault import BenchError

_POLICY = Path("/usr/sbin/policy-rc.d")
_CHECKOUT = Path(__file__).resolve().parent.parent
_LOCKS = ("requirements/relay.txt", "requirements/build.txt")


def cache() -> Path:
    """Where installed peers are kept between runs: outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "mailboat-bench"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def debian(package: str, command: str) -> None:
    """Installs `package` when `command` is missing; raises BenchError when that needs rights or tools we lack."""
    if shutil.which(command):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BenchError(
            f"`{command}` is missing: install the package {package} (on Debian: apt-get install {package})"
        )
    with _no_services():
        # Postfix's package asks how to set up a system-wide mail server: not at all.
        if package == "postfix" and shutil.which("debconf-set-selections"):
            choice = "postfix postfix/main_mailer_type select No configuration"
            process.run(["sh", "-c", f"echo '{choice}' | debconf-set-selections"])
        process.run(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", package])


def npm(project: Path, home: Path) -> None:
    """Installs the npm project's lock into `home`, unless that very lock is there already."""
    if not shutil.which("npm"):
        raise BenchError(
            "`npm` is missing: install Node.js 20 or later, or leave Haraka out with --relays mailboat,postfix"
        )
    lock, done = project / "package-lock.json", home / "installed"
    if done.exists() and done.read_bytes() == lock.read_bytes():
        return
    home.mkdir(parents=True, exist_ok=True)
    for file in (project / "package.json", lock):
        shutil.copy(file, home)
    process.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=home)
    shutil.copy(lock, done)


def environment(python: Path) -> Path:
    """A virtual environment of `python` with this checkout and its locked dependencies, recreated when those change.

    Packages come by this environment's own pip, so `python` needs neither pip nor ensurepip.
    """
    version = process.run([python, "-I", "-c", "import sys; print(sys.version)"])
    asked = [*_LOCKS, "pyproject.toml", "relay/mailboat/__init__.py"]
    state = "\n".join([str(_CHECKOUT), str(python), version, *((_CHECKOUT / name).read_text() for name in asked)])
    home = cache() / f"python-{version.split()[0]}"
    done = home / "installed"
    if done.exists() and done.read_text() == state:
        return home
    process.run([python, "-I", "-m", "venv", "--clear", "--without-pip", home])
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--python",
        home / "bin" / "python",
    ]
    locks = [word for name in _LOCKS for word in ("-r", name)]
    process.run([*pip, "install", "--require-hashes", *locks], cwd=_CHECKOUT)
    process.run([*pip, "install", "--no-deps", "--no-build-isolation", "--editable", _CHECKOUT])
    done.write_text(state)
    return home


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Packages installed in this block do not start their services (Debian's policy-rc.d)."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
