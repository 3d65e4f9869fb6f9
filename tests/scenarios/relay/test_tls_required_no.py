"""`TLS-Required: No` (RFC 8689 5): for such a message, what the recipients' domain publishes does not count; what is
configured here does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.authority import server_context
from tests.support.pem import self_signed
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.sts_domain import MX1, MX2, NAME, StsDomain

NO = b"TLS-Required: No\r\nSubject: hi\r\n\r\nGood day.\r\n"


@pytest.mark.parametrize(
    ("header", "obeyed", "policy"),
    [
        (b"TLS-Required: No\r\n", "true", "message"),
        (b"tls-required:\t nO \r\n", "true", "message"),
        (b"TLS-Required:\r\n No\r\n", "true", "message"),
        (b"TLS-Required: Yes\r\n", "true", "none"),
        (b"TLS-Required: No (really)\r\n", "true", "none"),
        (b"TLS-Required: No\r\nTLS-Required: No\r\n", "true", "none"),
        (b"X-TLS-Required: No\r\n", "true", "none"),
        (b"TLS-Required: No\r\n", "false", "none"),
    ],
)
async def test_one_field_that_says_no_is_obeyed_unless_it_is_turned_off(
    header: bytes, obeyed: str, policy: str, tmp_path: Path, mx: ScriptedMx
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("tls.ini", f"[outbound]\ntls_required_header={obeyed}\n")
    async with running(config) as relay:
        await relay.submit(body=header + b"Subject: hi\r\n\r\nGood day.\r\n")
        (delivered,) = await relay.event("delivered")
    assert delivered["tls_policy"] == policy
    assert header in mx.mails[0].body


async def test_a_policy_of_mta_sts_does_not_count_for_it(tmp_path: Path) -> None:
    """Where every host has a bad certificate, it is delivered; the next message without the field waits."""
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        for name, mx in ((MX1, domain.mx1), (MX2, domain.mx2)):
            mx.context = server_context(*self_signed(name))
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(f"bob@{NAME}", body=NO)
            (delivered,) = await relay.event("delivered")
            await relay.submit(f"bob@{NAME}")
            (deferred,) = await relay.event("deferred")
        ((mail,), others) = domain.mx1.mails, domain.mx2.mails
    assert not others
    assert (b"TLS-Required: No" in mail.body, mail.connection.tls) == (True, True)
    assert [delivered[word] for word in ("mx", "tls_policy", "tls_verified")] == [MX1, "message", "none"]
    assert [deferred[word] for word in ("enhanced", "tls_policy")] == ["4.7.5", "sts"]


async def test_it_undoes_nothing_that_is_configured(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("tls.ini", "[outbound]\nforce_tls_hosts[]=there.test\n")
    async with running(config) as relay:
        await relay.submit(body=NO)
        (deferred,) = await relay.event("deferred")
    assert (deferred["enhanced"], deferred["tls_policy"]) == ("4.7.4", "config")
    assert not mx.mails


async def test_it_holds_for_a_large_message_and_after_a_restart(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on("RCPT", "451 4.2.0 later", "250 2.1.5 ok")
    config = RelayConfig(tmp_path / "config", mx.port, outbound=["temp_fail_intervals=1h"])
    async with running(config) as relay:
        await relay.submit(body=NO + b"x" * 70 + b"\r\n" + b"y" * 70 + b"\r\n" * 200_000)
        (deferred,) = await relay.event("deferred")
        assert await relay.stop() == 0
    async with running(config) as relay:
        await relay.http("/v1/queue/flush", "POST", {})
        (delivered,) = await relay.event("delivered")
    assert [event["tls_policy"] for event in (deferred, delivered)] == ["message", "message"]


async def test_a_report_about_it_says_the_same(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on("RCPT", "550 5.1.1 no", "250 2.1.5 ok")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await relay.submit(body=NO)
        (delivered,) = await relay.event("delivered")
    (report,) = mx.mails
    header, _, _ = report.body.partition(b"\r\n\r\n")
    assert b"\r\nTLS-Required: No\r\n" in header
    assert delivered["tls_policy"] == "message"
