"""Users of a whole relay: taken live, counted, and in each worker the same."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.smtp_client import TEXT

USER = "anna@example.com"


def users(config: RelayConfig, password: str) -> None:
    config.put("auth_flat_file.ini", f"[users]\n{USER}={password}\n")


def submit(port: int, password: str) -> int:
    """Authenticate and send a mail; the code of the reply to AUTH."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        client.user, client.password = USER, password
        try:
            code, _ = client.auth("PLAIN", client.auth_plain)
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code
        client.sendmail(USER, ["bob@there.test"], TEXT)
        return code


@pytest.mark.parametrize("nodes", [0, 2])
async def test_users_are_taken_live(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    config.put("plugins", "auth_flat_file\n")
    config.put("relay_acl_allow", "192.0.2.0/24\n")
    users(config, "sesame")
    async with running(config) as relay:
        assert await asyncio.to_thread(submit, config.smtp_port, "sesame") == 235
        await relay.event("delivered")
        users(config, "other")
        await relay.poll(
            relay.metrics, lambda metrics: metrics.get("mailboat_config_reloads_total{result=success}", 0) == 1
        )
        while await asyncio.to_thread(submit, config.smtp_port, "other") != 235:
            pass  # each worker takes the change by itself
        await relay.event("delivered", 2)
        config.put("auth_flat_file.ini", "[users]\nanna=\n")
        await relay.logged("has no password")
        while await asyncio.to_thread(submit, config.smtp_port, "other") != 235:
            pass  # a worker that had not taken the change yet keeps the users before it
        metrics = await relay.metrics()
        assert metrics["mailboat_plugin_auth_flat_file_attempts_total{result=succeeded}"] == 3
        assert metrics.get("mailboat_rejected_total{reason=auth}", 0) == metrics.get(
            "mailboat_plugin_auth_flat_file_attempts_total{result=failed}", 0
        )
