"""A queue on a small file system: full means 452 and not ready, nothing is lost, and room made is room used.

The file system is a tmpfs in a mount namespace of the relay's own; the test reaches it through /proc.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import aiosmtplib
import pytest
from tests.support.relay_process import Relay, RelayConfig, running
from tests.support.scripted_mx import ScriptedMx

SIZE = 16 * 2**20
TEXT = b"Subject: hi\r\nDate: today\r\nMessage-ID: <1@here.test>\r\n\r\nGood day.\r\n"


@cache
def namespace() -> list[str]:
    """The command that gives a process mounts of its own; skips the test where nobody may."""
    words = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    try:
        subprocess.run([*words, "mount", "-t", "tmpfs", "none", "/mnt"], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no mount namespaces here: {error.stderr.decode().strip()}")
    return words


def on_small_disk(queue: Path) -> list[str]:
    """A prefix that runs a relay with a small file system as its queue directory."""
    mount = f"mount -t tmpfs -o size={SIZE} none {shlex.quote(str(queue))}"
    return [*namespace(), "sh", "-c", f'{mount} && exec "$@"', "sh"]


@pytest.fixture
async def mx() -> AsyncIterator[ScriptedMx]:
    """Where all mail goes."""
    async with ScriptedMx.start() as server:
        yield server


def config_of(tmp_path: Path, mx: ScriptedMx, *outbound: str) -> RelayConfig:
    """A relay whose queue is on the small file system."""
    queue = tmp_path / "queue"
    queue.mkdir()
    return RelayConfig(tmp_path / "config", mx.port, outbound=[f"queue_dir={queue}", *outbound])


async def refusal(relay: Relay, body: bytes = TEXT) -> str:
    """The reply that refuses a message; empty when it was taken."""
    try:
        await relay.submit(body=body)
    except aiosmtplib.SMTPResponseException as error:
        return f"{error.code} {error.message}"
    return ""


def fill(path: Path, size: int) -> None:
    """Have a file take so many octets of the disk."""
    path.write_bytes(b"x" * size)


@pytest.mark.crash
async def test_a_disk_that_others_fill_refuses_mail_until_there_is_room_again(tmp_path: Path, mx: ScriptedMx) -> None:
    config = config_of(tmp_path, mx, "disabled=true")
    async with running(config, prefix=on_small_disk(tmp_path / "queue")) as relay:
        await relay.submit()
        filler = Path(f"/proc/{relay.process.pid}/root{tmp_path}/queue/filler")
        fill(filler, SIZE - 3 * 2**18)
        await relay.poll(relay.http_readyz, lambda status: status == 503)
        assert (await refusal(relay)).startswith("452 4.3.1")
        _, checks = await relay.http("/readyz")
        assert "storage" in checks
        fill(filler, 0)
        await relay.poll(relay.http_readyz, lambda status: status == 200)
        await relay.submit()
        config.outbound_is(f"queue_dir={tmp_path / 'queue'}")
        await relay.event("delivered", 2)
        await relay.settled()
        assert await relay.stop() == 0
    assert len(mx.mails) == 2


@pytest.mark.crash
@pytest.mark.parametrize("size", [20_000, 600_000])
async def test_a_queue_that_fills_its_own_disk_drains_it_and_takes_mail_again(
    tmp_path: Path, mx: ScriptedMx, size: int
) -> None:
    config = config_of(tmp_path, mx, "disabled=true")
    body = TEXT + (b"y" * 98 + b"\r\n") * (size // 100)
    async with running(config, prefix=on_small_disk(tmp_path / "queue")) as relay:
        taken = 0
        while not (reply := await refusal(relay, body)):
            taken += 1
        assert taken > 10
        assert reply.startswith("452 4.3.1")
        await relay.poll(relay.http_readyz, lambda status: status == 503)
        assert len(await relay.queue()) == taken
        config.outbound_is(f"queue_dir={tmp_path / 'queue'}")
        await relay.event("delivered", taken)
        await relay.settled()
        await relay.poll(relay.http_readyz, lambda status: status == 200)
        await relay.submit(body=body)
        await relay.event("delivered", taken + 1)
        assert await relay.stop() == 0
    assert len(mx.mails) == taken + 1
    assert all(mail.body.endswith(body) for mail in mx.mails)
