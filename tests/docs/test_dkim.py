"""The three lines about DKIM in the README and on its page: run as written, the mail that comes out is signed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.support.dkim import verified
from tests.support.dns_server import DnsServer
from tests.support.plugin_relay import PluginConfig
from tests.support.programs import run
from tests.support.relay_process import COMMAND, running
from tests.support.scripted_mx import ScriptedMx

from mailboat.loading.dkim_keys import read_keys

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/dkim.md"])
async def test_the_three_lines_sign_mail(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / page).read_text()
    (block,) = re.findall(r"```sh\n(mailboat dkim keygen.*?)```", text, re.DOTALL)
    keygen, check, relay = (shlex.split(line, comments=True)[1:] for line in block.splitlines())
    monkeypatch.chdir(tmp_path)
    async with ScriptedMx.start() as mx, DnsServer.start() as dns:
        config = PluginConfig(tmp_path / "config", mx.port, outbound=[f"dns_servers={dns.endpoint}"])
        made = await run(COMMAND, *keygen)
        assert made.status == 0, made.output
        name, record = made.output.splitlines()[1].split(". 3600 IN TXT ")
        dns.zone.add(name, "TXT", record)
        checked = await run(COMMAND, *check)
        assert checked.status == 0, checked.output
        assert relay == ["relay", "--config", "config"]
        async with running(config) as it:
            await it.submit(body=b"From: joe@example.com\r\n\r\nhi\r\n")
            await it.event("delivered")
    (file,) = read_keys(config.directory)
    assert file.key is not None
    assert verified(mx.mails[0].body, file.key) == [True]
