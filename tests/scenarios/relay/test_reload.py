"""Live reload: each file takes effect soon, a bad one changes nothing, and what needs a restart is said so."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import ssl
from pathlib import Path

import pytest
from tests.support.mounted_volume import MountedVolume
from tests.support.pem import self_signed
from tests.support.relay_process import Relay, RelayConfig, running
from tests.support.scripted_mx import Held, ScriptedMx
from tests.support.smtp_client import recipient_code

from mailboat.loading.load import load

WITHIN = 5.0
"""Seconds: one for the reload, the rest for a busy machine."""


async def reloaded(relay: Relay, before: float, result: str = "success") -> None:
    """Wait until one reload more is counted; it must not take long."""
    name = f"mailboat_config_reloads_total{{result={result}}}"
    async with asyncio.timeout(WITHIN):
        await relay.poll(relay.metrics, lambda metrics: metrics.get(name, 0) == before + 1)


@pytest.mark.parametrize("nodes", [0, 2])
async def test_disabled_stops_attempts_keeps_accepting_and_resumes(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    async with running(config) as relay:
        _, before = await relay.http("/configz")
        config.outbound_is("disabled=true")
        async with asyncio.timeout(WITHIN):  # while workers differ, the one that is still to go is shown
            await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["hash"] != before["hash"])
        for n in range(4):
            await relay.submit(f"u{n}@there.test")
        assert [e["attempts"] for e in await relay.queue()] == [0] * 4
        config.outbound_is("disabled=false")
        await relay.event("delivered", 4)
        # Each worker takes the change, and the relay counts it once.
        assert (await relay.metrics())["mailboat_config_reloads_total{result=success}"] == 2
    assert len(mx.mails) == 4


@pytest.mark.parametrize(
    "slip", ["ann@example.com Tr0ub4dor", "ann&x=Tr0ub4dor", "ann=Tr0ub4dor\nann=Tr0ub4dor", "ann=$6$Tr0ub4dor"]
)
async def test_a_slip_in_a_file_of_passwords_is_told_without_the_password(
    tmp_path: Path, mx: ScriptedMx, slip: str
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("plugins", "auth_flat_file\n")
    config.put("auth_flat_file.ini", "[users]\nann=old\n")
    async with running(config) as relay:
        config.put("auth_flat_file.ini", f"[users]\n{slip}\n")
        await reloaded(relay, 0, "failure")
        _, configz = await relay.http("/configz")
        (event,) = await relay.event("config", error=configz["error"])
        assert configz["error"].startswith("auth_flat_file.ini:")
        assert "ub4dor" not in str((configz, event, relay.log, relay.events))


async def test_a_bad_file_changes_nothing_and_is_told_everywhere(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config) as relay:
        _, before = await relay.http("/configz")
        assert before["error"] is None
        config.outbound_is("temp_fail_intervals=0x10s", "disabled=true")
        await reloaded(relay, 0, "failure")
        _, after = await relay.http("/configz")
        assert "temp_fail_intervals" in after["error"]
        assert after["hash"] == before["hash"]
        assert (await relay.metrics())["mailboat_config_last_reload_successful"] == 0
        await relay.logged("the new configuration is refused, the last good one stays")
        status, _ = await relay.http("/readyz")
        assert status == 200
        await relay.submit()
        await relay.event("delivered")  # `disabled` of the bad file is not in force
        config.outbound_is()
        await reloaded(relay, 0)
        _, healed = await relay.http("/configz")
        assert (healed["error"], healed["hash"]) == (None, before["hash"])
        assert (await relay.metrics())["mailboat_config_last_reload_successful"] == 1


async def test_a_kubernetes_volume_is_followed_when_its_data_link_is_swapped(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, outbound=[f"queue_dir={tmp_path / 'queue'}"])
    versions = []
    for lines in ([], ["disabled=true"]):
        config.outbound_is(f"queue_dir={tmp_path / 'queue'}", *lines)
        versions.append({path.name: path.read_bytes() for path in config.directory.iterdir()})
    volume = MountedVolume(tmp_path / "volume")
    volume.publish(versions[0])
    config.directory = volume.path
    async with running(config) as relay:
        _, before = await relay.http("/configz")
        volume.publish(versions[1])
        await reloaded(relay, 0)
        _, after = await relay.http("/configz")
        assert after["hash"] != before["hash"]
        await relay.submit()
        assert len(await relay.queue()) == 1


async def test_the_retry_plan_the_route_and_the_bounce_text_are_taken(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config) as relay, ScriptedMx.start() as other:
        other.on_rcpt("bob@there.test", "450 4.2.0 later")
        config.sink_port = other.port
        config.outbound_is("temp_fail_intervals=none")
        config.put("outbound.bounce_message", "Subject: {subject}\n\nAlas, {to}.\n")
        await reloaded(relay, 0)
        await relay.submit()
        await relay.event("bounced")
        await other.wait_for(lambda mx: mx.mails)
    assert mx.connections == []
    assert b"Alas, " in other.mails[0].body


async def test_me_and_the_relay_permission_are_taken(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config) as relay:
        config.put("me", "renamed.test\n")
        config.put("relay_acl_allow", "192.0.2.0/24\n")
        async with asyncio.timeout(WITHIN):
            await relay.poll(lambda: recipient_code(config.smtp_port), lambda code: code == b"550")
        reader, writer = await asyncio.open_connection("127.0.0.1", config.smtp_port)
        assert b"renamed.test" in await reader.readline()
        writer.close()


async def test_a_renewed_certificate_is_shown_to_the_next_client(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    elsewhere = tmp_path / "certificates"
    elsewhere.mkdir()
    names = [f"key={elsewhere / 'key.pem'}", f"cert={elsewhere / 'cert.pem'}"]
    first, second = self_signed("relay.test"), self_signed("relay.test")
    renew(elsewhere, *first)
    config.put("tls.ini", "\n".join(names))
    async with running(config) as relay:
        assert await asyncio.to_thread(shown, config.smtp_port) == ssl.PEM_cert_to_DER_cert(first[1].decode())
        (elsewhere / "cert.pem").write_bytes(second[1])  # does not fit the key yet
        await reloaded(relay, 0, "failure")
        assert await asyncio.to_thread(shown, config.smtp_port) == ssl.PEM_cert_to_DER_cert(first[1].decode())
        renew(elsewhere, *second)
        await reloaded(relay, 0)
        assert await asyncio.to_thread(shown, config.smtp_port) == ssl.PEM_cert_to_DER_cert(second[1].decode())


async def test_metrics_say_when_the_certificate_that_runs_expires(tmp_path: Path, mx: ScriptedMx) -> None:
    gauge = "mailboat_certificate_expiry_timestamp_seconds{use=%s}"
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config) as relay:
        assert gauge % "server" not in await relay.metrics()
        until = datetime.datetime(2040, 1, 2, tzinfo=datetime.UTC)
        renew(config.directory, *self_signed("relay.test", until=until))
        config.put("tls.ini", "key=key.pem\ncert=cert.pem\n")
        await reloaded(relay, 0)
        metrics = await relay.metrics()
        assert metrics[gauge % "server"] == metrics[gauge % "client"] == until.timestamp()
        config.put("tls.ini", "key=key.pem\ncert=cert.pem\n[outbound]\nkey=\ncert=\n")
        await reloaded(relay, 1)
        assert gauge % "client" not in await relay.metrics()


def renew(directory: Path, key: bytes, certificate: bytes) -> None:
    """Put both files in place."""
    (directory / "key.pem").write_bytes(key)
    (directory / "cert.pem").write_bytes(certificate)


def shown(port: int) -> bytes:
    """The certificate that STARTTLS shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        stream = sock.makefile("rwb", buffering=0)
        stream.readline()
        stream.write(b"EHLO c.test\r\n")
        while stream.readline().startswith(b"250-"):
            pass
        stream.write(b"STARTTLS\r\n")
        assert stream.readline().startswith(b"220")
        with context.wrap_socket(sock) as secure:
            found = secure.getpeercert(binary_form=True)
            assert found is not None
            return found


@pytest.mark.parametrize("nodes", [0, 2])
async def test_what_needs_a_restart_is_said_and_the_rest_is_taken(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    async with running(config) as relay:
        config.nodes, config.smtp = 3, ["max_recipients=1"]
        config.outbound = ["queue_dir=another"]
        config.write()
        workers = max(1, nodes)
        await relay.logged("smtp.ini [main] nodes changed: this takes effect at the next restart", workers)
        await relay.logged("outbound.ini [main] queue_dir changed: this takes effect at the next restart", workers)
        reader, writer = await asyncio.open_connection("127.0.0.1", config.smtp_port)
        writer.write(b"HELO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<e@d.test>\r\nQUIT\r\n")
        assert (await reader.read()).splitlines()[4].startswith(b"452 4.5.3")
        writer.close()
        assert len(relay.workers()) == (0 if nodes == 0 else 2)
    assert not (config.directory / "another").exists()


async def test_a_reload_does_not_disturb_what_is_under_way(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on("MAIL", Held("250 2.1.0 ok"))
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config) as relay:
        await relay.submit()
        await mx.wait_for(lambda mx: mx.connections and "MAIL" in mx.connections[0].verbs)
        config.outbound_is("concurrency_max=1", "destination_concurrency_max=1")
        await reloaded(relay, 0)
        mx.release()
        await relay.event("delivered")
        await relay.settled()
    assert len(mx.mails) == 1


async def test_a_file_that_is_written_in_two_steps_is_taken_as_it_ends(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config) as relay:
        path = config.directory / "outbound.ini"
        whole = path.read_text().replace("local_mx_ok=true", "local_mx_ok=true\ndisabled=true")
        with path.open("w") as file:
            file.write(whole[:40])
            file.flush()
            os.fsync(file.fileno())
            await asyncio.sleep(0)
            file.write(whole[40:])
        settings = load(config.directory, {}).settings
        assert settings is not None
        wanted = {"hash": settings.hash, "error": None}
        await relay.poll(lambda: relay.http("/configz"), lambda answer: wanted.items() <= answer[1].items())
        await relay.submit()
        assert mx.connections == []


async def test_a_source_address_that_is_missing_is_told_until_it_is_there(tmp_path: Path, mx: ScriptedMx) -> None:
    """By `/configz`, which the operator reads, and by a metric; mail waits meanwhile."""
    config = RelayConfig(tmp_path / "config", mx.port)
    name = "mailboat_bind_address_available"
    async with running(config) as relay:
        assert (await relay.http("/configz"))[1]["warnings"] == []
        config.outbound_is("[bind]", "default=192.0.2.77")
        _, told = await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["warnings"])
        assert told["error"] is None
        assert told["warnings"] == ["this machine does not have the source address 192.0.2.77, which [bind] names"]
        assert told["unbound"] == told["warnings"]
        metrics = await relay.metrics()
        assert (metrics[f"{name}{{family=ipv4}}"], metrics[f"{name}{{family=ipv6}}"]) == (0, 1)
        await relay.submit("bob@there.test")
        await relay.event("bind_failed")
        config.outbound_is("[bind]", "default=127.0.0.1")
        await relay.poll(lambda: relay.http("/configz"), lambda now: not now[1]["warnings"])
        assert (await relay.metrics())[f"{name}{{family=ipv4}}"] == 1


async def test_an_awaited_outbound_ini_that_nobody_writes_is_told_until_it_is_there(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    """A resource that no operator watches has an empty status: the pods alone can say why mail waits."""
    config = RelayConfig(tmp_path / "config", mx.port, smtp=["await_outbound=true"])
    (config.directory / "outbound.ini").unlink()
    async with running(config) as relay:
        await relay.submit()
        _, told = await relay.http("/configz")
        assert [warning.partition(":")[0] for warning in told["warnings"]] == [
            "outbound.ini does not exist yet, so all mail waits"
        ]
        assert told["unbound"] == []

        config.write()

        await relay.poll(lambda: relay.http("/configz"), lambda now: not now[1]["warnings"])
        await relay.event("delivered")
