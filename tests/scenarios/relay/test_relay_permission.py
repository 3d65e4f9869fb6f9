"""Who may relay by address, in a whole relay: lists that admit the Internet, and lists without loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, command, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.smtp_client import recipient_code

INTERNET = "192.0.2.0/24\n0.0.0.0/1\n128.0.0.0/2\n192.0.0.0/3\n"
MODULE = "_checks is an internal module of Mailboat, not a plugin"


@pytest.mark.parametrize("nodes", [0, 2])
async def test_a_start_goes_on_without_lines_that_are_refused_anew_and_says_so(
    tmp_path: Path, mx: ScriptedMx, nodes: int
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    config.put("relay_acl_allow", INTERNET)
    config.put("plugins", "_checks\nheaders\n")
    async with running(config) as relay:
        assert await recipient_code(config.smtp_port) == b"550"  # 127.0.0.1 is within 0.0.0.0/1
        _, configz = await relay.http("/configz")
        assert configz["error"] is None
        acl, plugin = configz["warnings"]
        assert acl.startswith("relay_acl_allow: admits 100% of the public IPv4 addresses: that is an open relay; ")
        assert plugin.startswith(f"plugins:1: {MODULE}")
        await relay.logged(acl)
        await relay.logged(plugin)
        code, out, _ = await command("config", "check", str(config.directory))
        assert (code, out.splitlines()) == (78, [acl, plugin])
        # The list as it should be is taken, and nothing is left to warn of.
        config.put("plugins", "headers\n")
        config.put("relay_acl_allow", "127.0.0.0/8\n")
        await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["warnings"] == [])
        assert await recipient_code(config.smtp_port) == b"250"


@pytest.mark.parametrize(("name", "text"), [("relay_acl_allow", INTERNET), ("plugins", "_checks\n")])
async def test_a_reload_refuses_what_is_refused_anew(tmp_path: Path, mx: ScriptedMx, name: str, text: str) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config) as relay:
        config.put(name, text)
        _, configz = await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["error"])
        assert configz["error"].startswith(f"{name}:")
        assert configz["warnings"] == []
        assert await recipient_code(config.smtp_port) == b"250"


async def test_a_list_without_loopback_lets_no_client_of_this_machine_relay(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("relay_acl_allow", "192.0.2.0/24\n")
    async with running(config) as relay:
        assert await recipient_code(config.smtp_port) == b"550"
        _, configz = await relay.http("/configz")
        assert (configz["error"], configz["warnings"]) == (None, [])
