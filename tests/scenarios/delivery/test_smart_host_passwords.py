"""A smart host's password goes to that host alone: over verified TLS, or not at all, unless somebody asked for it."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.support.attempts import delivery_rig
from tests.support.pem import self_signed
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_checks import Subject, requirement

from mailboat.config.settings import TlsLevel
from mailboat.model.outcome import Result, Stage
from mailboat.routing.answers import Credentials, Target
from mailboat.routing.subject import TlsPolicy

USER = Credentials("user", "secret", required=True)
ELSEWHERE = ip_address("192.0.2.1")
CLEAR = ["AUTH PLAIN CRAM-MD5"]


def target(mx: ScriptedMx, ca: str = "", **subject: Any) -> Target:
    """The test's server with the TLS that a host on another machine would have to have."""
    known = {"ip": ELSEWHERE, "has_secret": True, "route": "smart"} | subject
    tls = requirement(TlsPolicy(enabled=True), Subject("there.test", "mx.test", **known))
    return mx.target(credentials=USER, tls=tls.with_roots(ca))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context for mx.test, and its certificate in PEM."""
    key, cert = self_signed("mx.test")
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "cert.pem").write_bytes(cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context, cert.decode()


async def test_a_password_waits_for_a_host_that_offers_no_tls() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = CLEAR
        outcome = await rig.outcome(target(mx))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.4", Stage.STARTTLS)
        assert "auth_without_tls" in outcome.reason
        assert mx.connections[0].verbs == ["EHLO"]


async def test_a_password_waits_for_a_certificate_that_nobody_vouches_for(
    certificate: tuple[ssl.SSLContext, str],
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate[0])
        mx.extensions_in_tls = CLEAR
        outcome = await rig.outcome(target(mx))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.5", Stage.TLS)
        assert not any("AUTH" in c.verbs for c in mx.connections)


async def test_roots_of_the_route_verify_its_host(certificate: tuple[ssl.SSLContext, str]) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate[0])
        mx.extensions_in_tls = ["AUTH PLAIN"]
        assert (await rig.outcome(target(mx, certificate[1]))).result is Result.DELIVERED
        # A connection that these roots verified is not for a target that has others.
        assert (await rig.outcome(target(mx))).result is Result.DEFERRED

        assert mx.mails[0].connection.tls
        assert len(mx.connections) == 2


async def test_roots_that_are_none_defer_with_the_reason(certificate: tuple[ssl.SSLContext, str]) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate[0])
        outcome = await rig.outcome(target(mx, "nothing"))

        assert (outcome.result, outcome.stage) == (Result.DEFERRED, Stage.TLS)
        assert "the root certificates" in outcome.reason


@pytest.mark.parametrize(
    "subject",
    [{"has_secret": False}, {"wanted": TlsLevel.DISABLED}, {"ip": ip_address("127.0.0.1")}, {"ip": None}],
    ids=["auth_without_tls", "tls=disabled", "loopback", "unix socket"],
)
async def test_a_password_goes_in_clear_where_that_is_asked_for_or_stays_on_this_machine(
    subject: dict[str, Any],
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = CLEAR
        mx.on("AUTH", "334 PDEuMkBteC50ZXN0Pg==", "235 2.7.0 ok")

        assert (await rig.outcome(target(mx, **subject))).result is Result.DELIVERED
        assert mx.connections[0].lines[1] == "AUTH CRAM-MD5", "what does not show the password goes first"
