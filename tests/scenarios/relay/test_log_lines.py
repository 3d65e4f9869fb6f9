"""What a relay writes to its two logs, whatever goes wrong: short lines, and nothing of what a message says."""

from __future__ import annotations

from pathlib import Path

import aiosmtplib
import pytest
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import running
from tests.support.scripted_mx import ScriptedMx

SECRET = "confidential"
BODY = f"Subject: {{habit}}\r\n\r\n{SECRET}\r\n".encode()
PLUGIN = """
def quotes(text, transaction):
    raise ValueError(text)

def counts(text, transaction):
    int(text)

def answers(text, transaction):
    return text

def notes(text, transaction):
    transaction.notes["text"] = text
    raise KeyError(text)

def spoils(text, transaction):
    transaction.notes["text"] = text
    transaction.rcpt_to.append(Address("a", "there.test", "\\udc80.test"))

def hook_data_post(connection):
    transaction = connection.transaction
    return globals()[transaction.header.get("Subject")](transaction.body.read().decode(), transaction)
"""
HABITS = {
    "quotes": "raised",
    "counts": "raised",
    "answers": "nonsense",
    "notes": "raised",
    "spoils": "cannot be stored",
}


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("lines", [0, 15_000], ids=["small", "200 KiB"])
async def test_no_log_line_is_long_or_shows_the_message(tmp_path: Path, mx: ScriptedMx, habit: str, lines: int) -> None:
    config = PluginConfig(tmp_path / "config", mx.port)
    config.plug("p", PLUGIN)
    body = BODY.replace(b"{habit}", habit.encode()) + f"{SECRET}\r\n".encode() * (lines + 20)
    async with running(config) as relay:
        try:
            await relay.submit(body=body)
        except aiosmtplib.SMTPResponseException as error:
            assert error.code == 451  # noqa: PT017 - not all of them are refused
        await relay.logged(HABITS[habit])
        await relay.stop()
    for line in (*(line.encode() for line in relay.log), *(line.rstrip(b"\n") for line in relay.raw_lines)):
        assert len(line) < 4096
        assert SECRET.encode() not in line
