"""How much TLS a delivery must have, and who decides it: what a whole relay sends, reports and counts."""

from __future__ import annotations

from pathlib import Path

from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx


async def test_a_deferral_for_tls_says_what_was_demanded_by_whom_and_what_was_met(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("tls.ini", "[outbound]\nforce_tls_hosts[]=strict.test\n")
    async with running(config) as relay:
        await relay.submit("bob@strict.test")
        await relay.submit("bob@lenient.test")
        (deferred,) = await relay.event("deferred")
        (delivered,) = await relay.event("delivered")
        (waiting,) = await relay.queue()
        metrics = await relay.metrics()
    words = ("tls_policy", "tls_level", "tls_verified")
    assert [deferred[word] for word in words] == ["config", "verify", "none"]
    assert [delivered[word] for word in words] == ["none", "clear", "none"]
    assert deferred["enhanced"] == "4.7.4"
    assert "TLS is required (force_tls_hosts), but the host does not offer STARTTLS" in waiting["last_reply"]
    assert metrics["mailboat_tls_policy_results_total{policy=config}{result=failed}"] == 1
    assert metrics["mailboat_tls_policy_results_total{policy=none}{result=met}"] == 1
