"""AUTH by other people's clients, each mechanism, against a whole relay with users in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.interop.test_nodemailer import mail as composed
from tests.interop.test_nodemailer import send
from tests.support import programs
from tests.support.programs import Done
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_relay import TlsRelay, route

pytestmark = pytest.mark.interop

USER, PASSWORD = "alice@here.test", "s3s am=e"
FILES = {
    "plugins": "auth_flat_file\n",
    "auth_flat_file.ini": f"[core]\nmethods=PLAIN, LOGIN, CRAM-MD5\n[users]\n{USER}={PASSWORD}\n",
    "relay_acl_allow": "192.0.2.0/24\n",
}
METHODS = ["PLAIN", "LOGIN", "CRAM-MD5"]


@pytest.fixture
async def relay(sink: ScriptedMx, tmp_path: Path) -> AsyncIterator[TlsRelay]:
    """Relays for whoever authenticates, and for nobody else."""
    async with TlsRelay.start(tmp_path / "relay", route(sink.port), FILES) as running:
        yield running


async def swaks(port: int, *options: str) -> Done:
    address = ("--server", "127.0.0.1", "--port", str(port), "--helo", "client.test")
    envelope = ("--from", USER, "--to", "bob@there.test")
    return await programs.run(programs.find("swaks"), *address, *envelope, *options)


@pytest.mark.parametrize("tls", [[], ["--tls"], ["--tls-on-connect"]], ids=["clear", "starttls", "smtps"])
@pytest.mark.parametrize("method", METHODS)
async def test_swaks_authenticates_and_relays(method: str, tls: list[str], relay: TlsRelay, sink: ScriptedMx) -> None:
    port = relay.smtps_port if tls == ["--tls-on-connect"] else relay.port
    done = await swaks(port, *tls, "--auth", method, "--auth-user", USER, "--auth-password", PASSWORD)
    assert done.status == 0, done.output
    assert f"AUTH {method}" in done.output
    assert "235 2.7.0 " in done.output
    assert (await relay.event("received"))["protocol"] == ("ESMTPSA" if tls else "ESMTPA")
    await sink.wait_for(lambda mx: mx.mails)
    assert sink.mails[0].recipients == ["bob@there.test"]


@pytest.mark.parametrize("method", METHODS)
async def test_swaks_is_told_that_its_password_is_wrong(method: str, relay: TlsRelay) -> None:
    done = await swaks(relay.port, "--auth", method, "--auth-user", USER, "--auth-password", "wrong")
    assert done.status == 28, done.output
    assert "535 5.7.8 " in done.output
    assert (await relay.event("rejected"))["reason"] == "auth"


async def test_swaks_without_auth_is_told_to_authenticate(relay: TlsRelay) -> None:
    done = await swaks(relay.port)
    assert "530 5.7.0 Authentication required" in done.output
    done = await swaks(relay.smtps_port, "--tls-on-connect")
    assert done.status == 23, done.output  # refused at MAIL
    assert "530 5.7.0 Authentication required" in done.output


@pytest.mark.parametrize("method", METHODS)
async def test_nodemailer_authenticates_and_relays(method: str, relay: TlsRelay, sink: ScriptedMx) -> None:
    await send([composed()], port=relay.port, auth={"user": USER, "pass": PASSWORD}, authMethod=method)
    await sink.wait_for(lambda mx: mx.mails)
    assert (await relay.event("received"))["protocol"] == "ESMTPSA"
