"""Mailboat under test: this checkout or another commit (`bench.against`), a worker a core, all that it ships with on.

Called by `bench.measure`, `bench.destinations` and `bench.backlog`; the configuration is `bench/mailboat`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from bench import process
from bench.interpreter import Interpreter
from bench.process import Service
from bench.relays.relay import Place
from bench.templates import TEMPLATES, render

_TEMPLATE = TEMPLATES / "mailboat"
_CHECKOUT = Path(__file__).resolve().parent.parent.parent
_FILL = """
import asyncio, pathlib, sys
from bench import long_queue
queue, messages, due = sys.argv[1:]
print(asyncio.run(long_queue.fill(pathlib.Path(queue), int(messages), due=int(due))))
"""
_FILL_TIMEOUT = 3600.0


class Mailboat:
    """`mailboat relay`, its event log to a file, its metrics served."""

    name = "Mailboat"
    signs = frozenset(("rsa", "ed25519"))

    def __init__(self, interpreter: Interpreter, nodes: str = "cpus", name: str = name, tree: Path = _CHECKOUT) -> None:
        """`nodes`: workers, as `smtp.ini` says it; `name`: as the table shows it; `tree`: where its code lies."""
        self.name = name
        self._interpreter = interpreter
        self._tree = tree
        self._nodes = nodes

    def prepare(self) -> None:
        """Nothing: choosing the interpreter has installed it."""

    def version(self) -> str:
        """Mailboat's, and what it runs on."""
        mailboat = process.run([self._interpreter.command, "--version"]).strip()
        return f"{mailboat} on {self._interpreter.described}"

    def start(self, place: Place, outbound: str = "", files: Mapping[str, str] | None = None) -> Service:
        """Runs the relay in the foreground; `outbound` replaces the route to the next hop in `outbound.ini`.

        `files` are more files of the configuration directory.
        """
        config = place.directory / "config"
        route = f"[route:sink]\ndomains=*\nhosts=127.0.0.1:{place.next_hop}\n"
        values = {
            "PORT": place.port,
            "ADMIN_PORT": process.free_port(),
            "NODES": self._nodes,
            "OUTBOUND": outbound or route,
        }
        render(_TEMPLATE, config, values)
        for name, text in (files or {}).items():
            (config / name).parent.mkdir(exist_ok=True)
            (config / name).write_text(text)
        for key in place.keys:
            (config / "dkim").mkdir(exist_ok=True)
            shutil.copy(key, config / "dkim")
        shutil.copy(place.certificate.cert, config / "tls_cert.pem")
        shutil.copy(place.certificate.key, config / "tls_key.pem")
        command: list[str | Path] = [self._interpreter.command, "relay", "--config", config]
        return process.start(self.name, command, place.directory / "log", place.preload)

    def fill(self, queue: Path, messages: int, due: int) -> int:
        """Adds deferred messages to a queue, in the format of this very commit; see `long_queue.fill`."""
        path = f"PYTHONPATH={self._tree / 'relay'}:{self._tree}"
        words: list[str | Path] = [
            "env",
            path,
            self._interpreter.python,
            "-P",
            "-c",
            _FILL,
            queue,
            str(messages),
            str(due),
        ]
        return int(process.run(words, timeout=_FILL_TIMEOUT))

    def stop(self, place: Place, service: Service) -> None:  # noqa: ARG002 - the protocol's
        """SIGTERM drains."""
        service.stop()
