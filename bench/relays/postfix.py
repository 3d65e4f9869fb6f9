"""Postfix under test: Debian's package, an instance of its own that shares nothing with the system's.

Called by `bench.measure` through `bench.relays.relay.Relay`; the configuration is `bench/postfix`.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from bench import install, process
from bench.fault import BenchError
from bench.process import Service
from bench.relays.relay import Place
from bench.templates import TEMPLATES, render

_TEMPLATE = TEMPLATES / "postfix"


class Postfix:
    """A private instance by `postfix -c`: own configuration, queue and data directories, no chroot."""

    name = "Postfix"

    def prepare(self) -> None:
        """Installs Debian's package when it is missing; needs root, as Postfix itself does."""
        if os.geteuid() != 0:
            raise BenchError("Postfix starts only as root: run as root, or leave it out with --relays mailboat,haraka")
        install.debian("postfix", "postfix")

    def version(self) -> str:
        """As `postconf` says it."""
        return "Postfix " + process.run(["postconf", "-d", "-h", "mail_version"]).strip()

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
