"""Haraka under test: from npm, pinned by `bench/haraka/package-lock.json`, installed outside the checkout.

Called by `bench.measure` through `bench.relays.relay.Relay`; the configuration is `bench/haraka/config`.
"""

from __future__ import annotations

import os
import shutil

from bench import install, process
from bench.process import Service
from bench.relays.relay import Place
from bench.templates import TEMPLATES, render

_TEMPLATE = TEMPLATES / "haraka"


class Haraka:
    """Haraka with a worker a core, its disk queue, and its own `relay` plugin for access and route."""

    name = "Haraka"
    signs: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._home = install.cache() / "haraka"

    def prepare(self) -> None:
        """`npm ci` into the cache, once for each content of the lock."""
        install.npm(_TEMPLATE, self._home)

    def version(self) -> str:
        """Haraka's and Node's."""
        haraka = process.run([*self._command(), "--version"]).strip().rpartition(" ")[2]
        return f"Haraka {haraka} on Node {process.run(['node', '--version']).strip()}"

    def start(self, place: Place) -> Service:
        """Runs the cluster master in the foreground."""
        values = {"PORT": place.port, "NEXT_HOP": place.next_hop, "NODES": os.cpu_count()}
        render(_TEMPLATE / "config", place.directory / "config", values)
        shutil.copy(place.certificate.cert, place.directory / "config" / "tls_cert.pem")
        shutil.copy(place.certificate.key, place.directory / "config" / "tls_key.pem")
        # Without this file it makes one on its first start, and keeps a core busy for seconds.
        made = process.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"])
        (place.directory / "config" / "dhparams.pem").write_text(made)
        (place.directory / "queue").mkdir()
        return process.start(
            self.name, [*self._command(), "-c", str(place.directory)], place.directory / "log", place.preload
        )

    def stop(self, place: Place, service: Service) -> None:  # noqa: ARG002 - the protocol's
        """The master ends its workers."""
        service.stop()

    def _command(self) -> list[str]:
        return ["node", str(self._home / "node_modules" / "Haraka" / "bin" / "haraka")]
