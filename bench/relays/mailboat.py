"""Mailboat under test: this checkout, a worker a core, everything that it ships with switched on.

Called by `bench.measure` and `bench.destinations`; the configuration is `bench/mailboat`.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path

from bench import process
from bench.fault import BenchError
from bench.process import Service
from bench.relays.relay import Place
from bench.templates import TEMPLATES, render

_TEMPLATE = TEMPLATES / "mailboat"
_COMMAND = Path(sys.executable).parent / "mailboat"


class Mailboat:
    """`mailboat relay`, its event log to a file, its metrics served."""

    name = "Mailboat"

    def prepare(self) -> None:
        """Needs the checkout's virtual environment."""
        if not _COMMAND.exists():
            raise BenchError("no `mailboat` command beside this Python: run `make` targets, which set up .venv")

    def version(self) -> str:
        """Mailboat's, Python's and SQLite's."""
        mailboat = process.run([_COMMAND, "--version"]).strip()
        return f"{mailboat} on Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"

    def start(self, place: Place, outbound: str = "") -> Service:
        """Runs the relay in the foreground; `outbound` replaces the route to the next hop in `outbound.ini`."""
        config = place.directory / "config"
        route = f"[route:sink]\ndomains=*\nhosts=127.0.0.1:{place.next_hop}\n"
        values = {"PORT": place.port, "ADMIN_PORT": process.free_port(), "OUTBOUND": outbound or route}
        render(_TEMPLATE, config, values)
        shutil.copy(place.certificate.cert, config / "tls_cert.pem")
        shutil.copy(place.certificate.key, config / "tls_key.pem")
        return process.start(self.name, [_COMMAND, "relay", "--config", config], place.directory / "log", place.preload)

    def stop(self, place: Place, service: Service) -> None:  # noqa: ARG002 - the protocol's
        """SIGTERM drains."""
        service.stop()
