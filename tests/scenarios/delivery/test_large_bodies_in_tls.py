"""A large message inside TLS: piece by piece, under both event loops."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import uvloop
from tests.support.attempts import delivery_rig, make_entry
from tests.support.pem import self_signed
from tests.support.scripted_mx import After, Drop, ScriptedMx

from mailboat.model.outcome import Result

BODY = b"Subject: large\r\n\r\n" + b"0123456789\r\n.0123456789\r\n" * 400_000


def context(directory: Path) -> ssl.SSLContext:
    """A server's, for mx.test."""
    key, cert = self_signed("mx.test")
    (directory / "key.pem").write_bytes(key)
    (directory / "cert.pem").write_bytes(cert)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return tls


async def deliver(tls: ssl.SSLContext) -> None:
    """One peer cuts the connection within the message, the other takes it."""
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        for mx in (bad, good):
            mx.starttls(tls)
        bad.on("BODY", After(1000, Drop(reset=True)))
        rig.bodies.body_of_all = BODY
        report = await rig.attempt(make_entry(body=BODY), bad.target("bad.test"), good.target("mx.test"))

        assert (report.outcomes[0].result, report.outcomes[0].mx) == (Result.DELIVERED, "mx.test")
        assert good.bodies == [BODY]
        assert good.connections[0].tls


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_it_arrives_whole_or_goes_to_the_next_target(loop_factory: object, tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[arg-type]
        runner.run(deliver(context(tmp_path)))
