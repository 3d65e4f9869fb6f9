"""LMTP to Postfix's smtp-sink, which writes down what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtplib
import pytest
from tests.support import programs
from tests.support.mails import AWKWARD, added, mail
from tests.support.tls_relay import TlsRelay

pytestmark = pytest.mark.interop


@contextlib.asynccontextmanager
async def smtp_sink(socket: Path, dump: Path) -> AsyncIterator[None]:
    """An LMTP server on a unix socket that keeps each mail in a file of `dump`."""
    privileges = ("-u", "root") if os.geteuid() == 0 else ()
    command = (programs.find("smtp-sink"), "-L", *privileges, "-d", f"{dump}/mail.", f"unix:{socket}", "10")
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(programs.PATIENCE):
            while not await _answers(socket):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield
    finally:
        await programs.stop(process)


async def _answers(socket: Path) -> bytes:
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return b""
    try:
        return await reader.readline()
    finally:
        writer.close()


async def test_mail_is_handed_over_by_lmtp_as_it_was(tmp_path: Path) -> None:
    people = ["bob@there.test", "carol@there.test"]
    socket, dump = tmp_path / "lmtp.sock", tmp_path / "dump"
    dump.mkdir()
    outbound = f"[route:lmtp]\ndomains=*\nhosts={socket}\nprotocol=lmtp\n"
    async with smtp_sink(socket, dump), TlsRelay.start(tmp_path / "relay", outbound) as relay:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=relay.port, start_tls=False) as client:
            await client.sendmail("alice@here.test", people, mail(AWKWARD))
        delivered = await relay.event("delivered")
    assert delivered["recipients"] == people
    (written,) = [path for path in dump.iterdir() if b"X-Mail-Args" in path.read_bytes()]
    kept = written.read_bytes()
    assert kept.count(b"X-Rcpt-Args: <") == 2
    # smtp-sink writes line feeds, its own fields on top, and a blank line below.
    arrived = kept.rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    assert "X-Mail-Args" in added(arrived, mail(AWKWARD))
