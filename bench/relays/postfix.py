"""Postfix under test: Debian's package, a separate instance that shares nothing with the system's.

OpenDKIM signs as its milter, one process a DKIM key. Called by `bench.measure` through `bench.relays.relay.Relay`; the
configuration is `bench/postfix` and `bench/opendkim`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from bench import install, process
from bench.fault import BenchError
from bench.process import Service
from bench.relays.relay import Place
from bench.templates import TEMPLATES, render

_TEMPLATE = TEMPLATES / "postfix"
_MILTER_TEMPLATE = TEMPLATES / "opendkim"


class Postfix:
    """A private instance by `postfix -c`: own configuration, queue and data directories, no chroot."""

    name = "Postfix"
    signs = frozenset(("rsa", "ed25519"))

    def __init__(self, *, dkim: bool = False) -> None:
        """`dkim`: whether it will have to sign."""
        self._dkim = dkim
        self._milters: list[Service] = []

    def prepare(self) -> None:
        """Installs Debian's package when it is missing; needs root, as Postfix itself does."""
        if os.geteuid() != 0:
            raise BenchError("Postfix starts only as root: run as root, or leave it out with --relays mailboat,haraka")
        install.debian("postfix", "postfix")
        if self._dkim:
            install.debian("opendkim", "opendkim")

    def version(self) -> str:
        """As `postconf` says it, and as `opendkim` does."""
        postfix = "Postfix " + process.run(["postconf", "-d", "-h", "mail_version"]).strip()
        if not self._dkim:
            return postfix
        return f"{postfix} with {process.run(['opendkim', '-V']).splitlines()[0].removeprefix('opendkim: ')}"

    def start(self, place: Place) -> Service:
        """Runs `master` in the foreground."""
        config = place.directory / "config"
        # Postfix hands its daemons a clean environment: what is to pass is named here (postconf(5)).
        preload = " ".join(f"{name}={value}" for name, value in place.preload.items())
        values = {
            "ROOT": place.directory,
            "PORT": place.port,
            "NEXT_HOP": place.next_hop,
            "CERT": place.certificate.cert,
            "KEY": place.certificate.key,
            "PRELOAD": preload,
            "MILTERS": " ".join(self._start_milter(place, key) for key in place.keys),
        }
        render(_TEMPLATE, config, values)
        (place.directory / "queue").mkdir()
        data = place.directory / "data"
        data.mkdir()
        shutil.chown(data, "postfix", "postfix")
        return process.start(self.name, ["postfix", "-c", config, "start-fg"], place.directory / "log", place.preload)

    def stop(self, place: Place, service: Service) -> None:
        """`postfix stop`, which ends the daemons as well."""
        with contextlib.suppress(BenchError):  # not running any more
            process.run(["postfix", "-c", place.directory / "config", "stop"])
        service.stop()
        while self._milters:
            self._milters.pop().stop()

    def _start_milter(self, place: Place, key: Path) -> str:
        """Runs OpenDKIM with a key, whose selector is its algorithm; where Postfix finds it."""
        port = process.free_port()
        selector, _, domain = key.stem.partition("._domainkey.")
        config = place.directory / f"opendkim-{selector}"
        render(_MILTER_TEMPLATE, config, {"PORT": port, "KEY": key, "SELECTOR": selector, "DOMAIN": domain})
        command: list[str | Path] = ["opendkim", "-f", "-x", config / "opendkim.conf"]
        milter = process.start("OpenDKIM", command, config / "log")
        self._milters.append(milter)
        process.wait_for_port(milter.process, milter.name, port)
        return f"inet:127.0.0.1:{port}"
