"""The same under uvloop, the loop of production."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.support.attempts import BODY, delivery_rig, make_entry
from tests.support.pem import self_signed
from tests.support.scripted_mx import After, Drop, ScriptedMx, Silence

from mailboat.config.settings import Bind, OutboundTlsSettings, TlsLevel
from mailboat.model.outcome import Result
from mailboat.model.tls import VerifiedBy
from mailboat.routing.answers import Target, TlsRequirement

Scenario = Callable[[Path], Coroutine[Any, Any, None]]


async def plain(_: Path) -> None:
    """Two messages over one connection."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        for row in range(2):
            assert (await rig.outcome(mx.target(), entry=make_entry(row=row))).result is Result.DELIVERED
        assert (mx.bodies, len(mx.connections)) == ([BODY, BODY], 1)


async def starttls(directory: Path) -> None:
    """Two messages over one verified TLS connection."""
    key, cert = self_signed("mx.test")
    (directory / "key.pem").write_bytes(key)
    (directory / "cert.pem").write_bytes(cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(context)
        rig.tls = OutboundTlsSettings(key="", cert="", ca=str(directory / "cert.pem"))
        for row in range(2):
            report = await rig.attempt(make_entry(row=row), mx.target(tls=TlsRequirement(TlsLevel.REQUIRED)))
            assert report.outcomes[0].result is Result.DELIVERED
            assert report.peer is not None
            assert (report.peer.tls_version, report.peer.tls_verified_by) == ("TLSv1.3", VerifiedBy.PKIX)
        assert len(mx.connections) == 1


async def broken_tls(directory: Path) -> None:
    """A handshake that fails, then plaintext."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        mx.on("TLS", Drop(reset=True))
        assert (await rig.outcome(mx.target())).result is Result.DELIVERED
        assert len(mx.connections) == 2


async def implicit_tls_timeout(_: Path) -> None:
    """A peer that never shakes hands."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.context, mx.implicit_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), True
        mx.on("TLS", Silence())
        rig.outbound["helo_timeout"] = 0.2
        outcome = await rig.outcome(mx.target(tls=TlsRequirement(TlsLevel.IMPLICIT)))
        assert outcome.result is Result.DEFERRED


async def refused(_: Path) -> None:
    """Nobody listens."""
    async with delivery_rig() as rig:
        outcome = await rig.outcome(Target("gone.test", "127.0.0.1", 1))
        assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.4.1")
        assert "connection refused" in outcome.reason


async def unix_socket(directory: Path) -> None:
    """LMTP over a unix socket."""
    async with ScriptedMx.start(lmtp=True, path=str(directory / "mx.sock")) as mx, delivery_rig() as rig:
        assert (await rig.outcome(mx.target())).result is Result.DELIVERED


async def bound(_: Path) -> None:
    """A source address."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.outbound["binds"] = (("default", Bind(ipaddress.ip_address("127.0.0.7"))),)
        report = await rig.attempt(make_entry(), mx.target())
        assert report.peer is not None
        assert report.peer.source == mx.connections[0].peer[0] == "127.0.0.7"


async def cut_off_within_the_body(_: Path) -> None:
    """The end never left: the next target has it."""
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        body = b"x" * 30_000_000 + b"\r\n"
        bad.on("BODY", After(1000, Drop(reset=True)))
        rig.bodies.body_of_all = body
        report = await rig.attempt(make_entry(body=body), bad.target("bad.test"), good.target("good.test"))
        assert (report.outcomes[0].mx, report.outcomes[0].ambiguous) == ("good.test", False)


async def silent_dot(_: Path) -> None:
    """No reply to the end."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on(".", Silence())
        rig.outbound["dot_timeout"] = 0.2
        assert (await rig.outcome(mx.target())).ambiguous


async def died_while_idle(_: Path) -> None:
    """A dead connection in the pool."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await rig.attempt(make_entry(), mx.target())
        await mx.hang_up()
        assert (await rig.outcome(mx.target())).result is Result.DELIVERED


SCENARIOS: list[Scenario] = [
    plain,
    starttls,
    broken_tls,
    implicit_tls_timeout,
    refused,
    unix_socket,
    bound,
    cut_off_within_the_body,
    silent_dot,
    died_while_idle,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_it_works_under_uvloop(scenario: Scenario, tmp_path: Path) -> None:
    """Each scenario's first line says what."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario(tmp_path))
