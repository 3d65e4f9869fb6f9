"""What `helm test` runs in its pod, run here against a relay on loopback."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx
from tools.ports import free_ports

PROGRAM = Path(__file__).resolve().parents[2] / "charts" / "mailboat-relay" / "files" / "send_test.py"


async def run(config: RelayConfig, *arguments: str) -> tuple[int, str]:
    """Exit code and all output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAM,
        f"--server=127.0.0.1:{config.smtp_port}",
        f"--pods=127.0.0.1:{config.admin_port}",
        "--timeout=30",
        *arguments,
        env={**os.environ, "POD_IP": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


class Direct(RelayConfig):
    """Nothing leads to a sink: mail goes where its address says."""

    def route(self) -> list[str]:
        return []


async def test_a_mail_to_the_pod_itself_arrives_and_is_counted(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = Direct(tmp_path, port, outbound=[f"mx_port={port}"])
    async with running(config):
        status, output = await run(config, "--allowed=127.0.0.0/8", f"--port={port}")
    assert status == 0, output
    assert output.splitlines()[-2:] == ["arrived here", "counted as delivered"]


async def test_a_mail_to_somebody_else_is_counted(tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx:
        config = RelayConfig(tmp_path, mx.port)
        async with running(config):
            status, output = await run(
                config, "--allowed=127.0.0.0/8", "--recipient=a@b.test", f"--port={free_ports(1)[0]}"
            )
    assert status == 0, output
    assert output.splitlines()[-1] == "counted as delivered"


async def test_a_mail_that_stays_away_fails_the_test(tmp_path: Path) -> None:
    port, other = free_ports(2)
    config = Direct(tmp_path, port, outbound=[f"mx_port={other}"])
    async with running(config):
        status, output = await run(config, "--allowed=127.0.0.0/8", f"--port={port}", "--timeout=1")
    assert status == 1
    assert "after 1 s it is not here" in output


async def test_a_mail_that_waits_for_an_operator_fails_the_test_with_that_reason(tmp_path: Path) -> None:
    config = Direct(tmp_path / "config", 25, smtp=["await_outbound=true"])
    (config.directory / "outbound.ini").unlink()
    async with running(config, environ={"MAILBOAT_QUEUE_DIR": str(tmp_path / "queue")}):
        status, output = await run(config, "--allowed=127.0.0.0/8", f"--port={free_ports(1)[0]}", "--timeout=1")
    assert status == 1
    assert "the relays warn: outbound.ini does not exist yet" in output
    assert "an operator that watches its namespace?" in output


async def test_a_stranger_must_be_refused(tmp_path: Path) -> None:
    config = Direct(tmp_path, 25)
    config.put("relay_acl_allow", "192.0.2.0/24\n")
    async with running(config):
        status, output = await run(config, "--allowed=192.0.2.0/24")
    assert status == 0, output
    assert "was refused, as it must be" in output


async def test_a_stranger_that_is_let_in_fails_the_test(tmp_path: Path) -> None:
    config = Direct(tmp_path, 25)
    async with running(config):
        status, output = await run(config)
    assert status == 1
    assert "its mail was taken all the same" in output
