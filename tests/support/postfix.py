"""A Postfix of its own for one test: private configuration, queue and data directories, nothing of the system's.

Used as `async with Postfix.start(relayhost=…) as postfix:`. The templates are tests/interop/postfix. Needs root, as
Postfix does. It hands on what it accepts to `relayhost`, and refuses what the template's access table says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import programs
from tests.support.pem import self_signed
from tools.ports import free_ports

_TEMPLATES = Path(__file__).resolve().parents[1] / "interop" / "postfix"
_PLACE = re.compile(r"@([A-Z_]+)@")
_PATIENCE = 30.0


class Postfix:
    """A running instance."""

    def __init__(self, root: Path, relayhost: int) -> None:
        self.root = root
        self.relayhost = relayhost
        # The first offers STARTTLS and SMTPUTF8, the second neither, the third insists on STARTTLS.
        self.port, self.plain_port, self.strict_port = free_ports(3)
        self.certificate = root / "cert.pem"
        """Self-signed, for `localhost`."""

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, relayhost: int) -> AsyncIterator[Postfix]:
        """Run until the block ends; accepted mail goes to this port of loopback."""
        if os.geteuid() != 0:
            pytest.fail("Postfix starts only as root: run these tests as root")
        master = programs.find("postfix")
        # Not pytest's tmp_path: Postfix's daemons are other users and must get in.
        with tempfile.TemporaryDirectory(prefix="mailboat-postfix-", ignore_cleanup_errors=True) as name:
            self = cls(Path(name), relayhost)
            self._write()
            process = await asyncio.create_subprocess_exec(
                *(master, "-c", self.root / "config", "start-fg"), stdin=asyncio.subprocess.DEVNULL
            )
            try:
                await self._greets(process)
                yield self
            finally:
                await programs.run(master, "-c", self.root / "config", "stop")
                await programs.stop(process)

    def log(self) -> str:
        """What it has written to its log."""
        path = self.root / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def _write(self) -> None:
        self.root.chmod(0o755)
        for name in ("config", "queue", "data"):
            (self.root / name).mkdir()
        shutil.chown(self.root / "data", "postfix", "postfix")
        key, certificate = self_signed("localhost")
        (self.root / "key.pem").write_bytes(key)
        (self.root / "key.pem").chmod(0o600)
        self.certificate.write_bytes(certificate)
        values = {
            "ROOT": self.root,
            "NEXT_HOP": self.relayhost,
            "PORT": self.port,
            "PLAIN_PORT": self.plain_port,
            "STRICT_PORT": self.strict_port,
        }
        for template in _TEMPLATES.iterdir():
            text = _PLACE.sub(lambda place: str(values[place[1]]), template.read_text())
            (self.root / "config" / template.name).write_text(text)

    async def _greets(self, process: asyncio.subprocess.Process) -> None:
        """Return when it answers on every port: master opens them one by one, before any daemon runs."""
        try:
            async with asyncio.timeout(_PATIENCE):
                for port in (self.port, self.plain_port, self.strict_port):
                    while not await _greeting(port):
                        assert process.returncode is None, self.log()
                        await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"Postfix does not answer\n{self.log()}")


async def _greeting(port: int) -> bytes:
    """What a server says at first; empty when there is none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b""
    try:
        greeting = await reader.readline()
        writer.write(b"QUIT\r\n")
        await reader.read()
        return greeting
    finally:
        writer.close()
