"""TLSA records towards a peer: the certificate is judged by them alone, before anything else is said to the host."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.attempts import Rig, delivery_rig, make_entry
from tests.support.certificates import EXPIRED, Issued, Wanted, authority
from tests.support.scripted_mx import ScriptedMx

from mailboat.config.settings import OutboundTlsSettings, TlsLevel
from mailboat.model.outcome import Result, Stage
from mailboat.model.tls import PolicySource, VerifiedBy
from mailboat.routing.answers import TlsRequirement
from mailboat.routing.records import TlsaRecord

BASE = "mx.example.test"
LEAF = Wanted("elsewhere.test", valid=EXPIRED).issue()
CA = authority()
CERTIFIED = Wanted(BASE, by=CA).issue()


def dane(*records: TlsaRecord, names: tuple[str, ...] = (), level: TlsLevel = TlsLevel.REQUIRED) -> TlsRequirement:
    return TlsRequirement(
        level,
        verify=True,
        reason=f"DANE: TLSA records of {BASE}",
        policy=PolicySource.DANE,
        tlsa=records,
        servername=BASE,
        names=names,
    )


async def test_a_certificate_that_nobody_else_would_take_is_taken_if_it_matches(tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(LEAF.server(tmp_path))
        report = await rig.attempt(make_entry(), mx.target(tls=dane(LEAF.tlsa(3, 1, 1))))

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert report.peer.tls_verified_by is VerifiedBy.DANE_EE
        assert mx.connections[0].sni == BASE


async def test_nothing_is_said_to_a_host_whose_certificate_does_not_match(tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(LEAF.server(tmp_path))
        outcome = await rig.outcome(mx.target(tls=dane(CERTIFIED.tlsa(3, 1, 1))))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.5", Stage.TLS)
        demand = "(verified TLS is demanded: DANE: TLSA records of mx.example.test)"
        assert f"the certificate matches no TLSA record {demand}" in outcome.reason
        assert mx.connections[0].verbs == ["EHLO", "STARTTLS"]


async def test_the_next_host_is_tried_after_one_whose_certificate_does_not_match(tmp_path: Path) -> None:
    async with ScriptedMx.start() as first, ScriptedMx.start() as second, delivery_rig() as rig:
        first.starttls(LEAF.server(tmp_path))
        second.starttls(CERTIFIED.server(tmp_path))
        requirement = dane(CERTIFIED.tlsa(3, 1, 1))
        report = await rig.attempt(make_entry(), first.target(tls=requirement), second.target(tls=requirement))

        assert report.outcomes[0].result is Result.DELIVERED
        assert (len(first.mails), len(second.mails)) == (0, 1)


async def test_records_that_do_not_match_are_asked_again_once_an_attempt(tmp_path: Path) -> None:
    """The host has changed its certificate since they were asked, and the DNS has the record of the new one."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(LEAF.server(tmp_path))
        old = mx.target(tls=dane(CERTIFIED.tlsa(3, 1, 1)))
        rig.router.new_tlsa = (LEAF.tlsa(3, 1, 1),)
        assert (await rig.outcome(old)).result is Result.DELIVERED
        assert rig.router.renewals == 1

        for records in (None, (CA.tlsa(3, 1, 1),)):
            rig.router.new_tlsa, rig.router.renewals = records, 0
            assert (await rig.outcome(old, old)).status == "4.7.5"
            assert rig.router.renewals == 1
        assert len(mx.mails) == 1


@pytest.mark.parametrize("names", [(BASE,), ("example.test",)])
async def test_the_certificate_of_a_private_ca_is_taken_for_the_right_name_only(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(CERTIFIED.server(tmp_path, CA))
        report = await rig.attempt(make_entry(), mx.target(tls=dane(CA.tlsa(2, 0, 1), names=names)))

        if BASE in names:
            assert report.outcomes[0].result is Result.DELIVERED
            assert report.peer is not None
            assert report.peer.tls_verified_by is VerifiedBy.DANE_TA
        else:
            assert report.outcomes[0].status == "4.7.5"
            assert "the certificate is for another name" in report.outcomes[0].reason


async def test_a_host_that_does_not_offer_starttls_gets_nothing_in_plaintext() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        outcome = await rig.outcome(mx.target(tls=dane(LEAF.tlsa(3, 1, 1))))

        assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.7.4")
        assert mx.connections[0].verbs == ["EHLO"]


@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "502 5.5.1 what?"])
async def test_a_host_that_refuses_starttls_gets_nothing_in_plaintext(tmp_path: Path, reply: str) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(LEAF.server(tmp_path))
        mx.on("STARTTLS", reply)
        outcome = await rig.outcome(mx.target(tls=dane(LEAF.tlsa(3, 1, 1))))

        assert outcome.result is Result.DEFERRED
        assert [connection.verbs for connection in mx.connections] == [["EHLO", "STARTTLS"]]


async def test_implicit_tls_is_judged_before_ehlo(tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.context, mx.implicit_tls = LEAF.server(tmp_path), True
        wrong = await rig.outcome(mx.target(tls=dane(CERTIFIED.tlsa(3, 1, 1), level=TlsLevel.IMPLICIT)))
        right = await rig.outcome(mx.target(tls=dane(LEAF.tlsa(3, 1, 1), level=TlsLevel.IMPLICIT)))

        assert (wrong.status, right.result) == ("4.7.5", Result.DELIVERED)
        assert [connection.verbs[:1] for connection in mx.connections] == [[], ["EHLO"]]


async def test_a_session_is_reused_under_the_same_records_only(tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(LEAF.server(tmp_path))
        one = dane(LEAF.tlsa(3, 1, 1))
        requirements = [TlsRequirement(), one, one, dane(LEAF.tlsa(3, 0, 1)), replace(one, servername="other.test")]
        for row, requirement in enumerate(requirements):
            assert (await rig.outcome(mx.target(tls=requirement), entry=make_entry(row=row))).result is Result.DELIVERED

        assert len(mx.connections) == 4


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_with_a_short_key_matches(tmp_path: Path, version: ssl.TLSVersion) -> None:
    weak = Wanted(BASE, key=rsa.generate_private_key(65537, 1024)).issue()
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        context = weak.server(tmp_path)
        context.minimum_version = context.maximum_version = version
        mx.starttls(context)
        assert (await rig.outcome(mx.target(tls=dane(weak.tlsa(3, 1, 1))))).result is Result.DELIVERED


async def test_a_host_that_shows_no_certificate_gets_nothing(tmp_path: Path) -> None:
    """Anonymous cipher suites exist up to TLS 1.2, for a relay whose settings allow them."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.tls = OutboundTlsSettings(key="", cert="", ciphers="ALL:@SECLEVEL=0")
        context = LEAF.server(tmp_path)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:@SECLEVEL=0")
        mx.starttls(context)
        assert (await rig.outcome(mx.target())).result is Result.DELIVERED
        assert mx.connections[0].tls

        outcome = await rig.outcome(mx.target(tls=dane(LEAF.tlsa(3, 1, 1))))
        assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.7.5")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_below_1_2_does_not_do(tmp_path: Path) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.tls = OutboundTlsSettings(key="", cert="", min_version="TLSv1", ciphers="ALL:@SECLEVEL=0")
        context = LEAF.server(tmp_path)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        mx.starttls(context)
        assert (await rig.outcome(mx.target())).result is Result.DELIVERED
        assert mx.connections[0].tls

        outcome = await rig.outcome(mx.target(tls=dane(LEAF.tlsa(3, 1, 1))))
        assert (outcome.result, outcome.status) == (Result.DEFERRED, "4.7.5")


async def delivered(rig: Rig, mx: ScriptedMx, *records: TlsaRecord) -> Result:
    return (await rig.outcome(mx.target(tls=dane(*records, names=(BASE,))))).result


async def both_usages(directory: Path, issued: Issued, record: TlsaRecord, wrong: TlsaRecord) -> None:
    """One record that matches, and one that does not."""
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(issued.server(directory, CA))
        assert await delivered(rig, mx, wrong) is Result.DEFERRED
        assert await delivered(rig, mx, record) is Result.DELIVERED


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("usage", [2, 3])
def test_certificates_are_judged_alike_under_each_event_loop(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], usage: int
) -> None:
    record = {2: CA.tlsa(2, 0, 1), 3: CERTIFIED.tlsa(3, 0, 1)}[usage]
    scenario: Coroutine[Any, Any, None] = both_usages(tmp_path, CERTIFIED, record, LEAF.tlsa(usage, 0, 1))
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario)
