"""Mail of a tenant, and with a label, is found and held by them, on a running relay and on a stopped one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.relay_process import Relay, RelayConfig, command, running
from tests.support.scripted_mx import ScriptedMx

LABEL = """
def hook_data_post(connection):
    transaction = connection.transaction
    transaction.labels.update((transaction.header.get("X-Campaign") or "").split())
"""


async def queue(relay: Relay, *words: str) -> str:
    """Run a verb; what it printed."""
    status, out, err = await command("queue", *words, "--config", str(relay.config.directory))
    assert status == 0, err
    return out


async def found(relay: Relay, *words: str) -> Sequence[dict[str, Any]]:
    """The entries of `queue list --json`."""
    return [json.loads(line) for line in (await queue(relay, "list", "--json", *words)).splitlines()]


@pytest.mark.parametrize("nodes", [0, 2])
async def test_mail_is_selected_by_its_tenant_and_by_its_labels(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes, outbound=["disabled=true"])
    config.put("tenants.ini", f"[tenant:shop]\nlisteners=127.0.0.1:{config.smtp_port}\n")
    (config.directory / "plugins.d").mkdir()
    config.put("plugins.d/label.py", LABEL)
    config.put("plugins", "label\n")
    async with running(config) as relay:
        one = await relay.submit(body=b"X-Campaign: news weekly\r\n\r\nGood day.\r\n")
        two = await relay.submit()
        (received, _) = await relay.event("received", 2)
        assert received["tenant"] == "shop"

        assert {e["id"] for e in await found(relay, "--tenant", "shop")} == {f"{one}.1", f"{two}.1"}
        assert await found(relay, "--tenant", "default") == []
        (labelled,) = await found(relay, "--label", "weekly")
        assert (labelled["id"], labelled["tenant"], labelled["labels"]) == (f"{one}.1", "shop", ["news", "weekly"])
        assert await queue(relay, "hold", "--label", "news") == "1 held\n"
        assert [e["id"] for e in await found(relay, "--state", "held")] == [f"{one}.1"]
        assert await relay.stop() == 0
    assert await found(relay, "--label", "weekly") == [labelled | {"state": "held", "next_attempt_at": None}]
    assert await queue(relay, "release", "--tenant", "shop") == "1 released\n"
