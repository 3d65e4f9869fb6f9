"""A check of the TLS policy that asks the DNS: what it raises or refuses, and who waits for it.

The check here does what DANE will: it wants the TLSA records of the host, and refuses a host whose records cannot be
looked up. The DNS server, the resolver and the hosts are real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.dns_server import Behaviour
from tests.support.routing import Bench, bench
from tests.support.scripted_mx import ScriptedMx

from mailboat.config.settings import OutboundTlsSettings, TlsLevel
from mailboat.model.outcome import Result
from mailboat.routing import security
from mailboat.routing.ahead import Ahead
from mailboat.routing.answers import RoutingAnswer, Site, Targets, TlsRequirement
from mailboat.routing.records import Answer, LookupFailure
from mailboat.routing.resolver import Patience
from mailboat.routing.security import Check
from mailboat.routing.subject import Subject, TlsPolicy

RECORD = f"3 1 1 {'ab' * 32}"


async def tlsa(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
    match await subject.lookups.tlsa(f"_25._tcp.{subject.host}"):
        case LookupFailure(reason):
            return TlsRequirement(refusal=reason)
        case Answer(secure=True):
            return TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="TLSA")
    return standing


@pytest.fixture
def use_check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put checks before those that there are, or behind them."""

    def use(*first: Check, last: tuple[Check, ...] = ()) -> None:
        monkeypatch.setattr(security, "CHECKS", (*first, *security.CHECKS, *last))

    return use


@pytest.fixture(autouse=True)
def _with_tlsa(use_check: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """One check that asks for TLSA records, instead of the real one."""
    monkeypatch.setattr(security, "PUBLISHED", ())
    use_check(tlsa)


def signed_zone(at: Bench, *hosts: str, domain: str = "d.test") -> None:
    """A domain with these MX hosts, of equal addresses, in a zone whose answers are authenticated."""
    at.dns.zone.secure = True
    at.dns.zone.mx(domain, *((10 * (number + 1), host) for number, host in enumerate(hosts)))
    for host in hosts:
        at.dns.zone.a(host, "127.0.0.1")


def by_host(answer: RoutingAnswer) -> dict[str, TlsRequirement]:
    assert isinstance(answer, Targets), answer
    return {target.host: target.tls for target in answer.targets}


async def test_a_check_that_waits_for_the_dns_raises_the_level_of_the_host_that_it_is_about() -> None:
    async with bench(local_mx_ok=True) as at:
        signed_zone(at, "mx1.test", "mx2.test")
        at.dns.zone.add("_25._tcp.mx1.test", "TLSA", RECORD)
        found = by_host(await at.router.route("d.test"))
        assert found["mx1.test"] == TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="TLSA")
        assert found["mx2.test"] == TlsRequirement()


async def test_an_answer_that_is_not_authenticated_raises_nothing() -> None:
    async with bench(local_mx_ok=True) as at:
        signed_zone(at, "mx.test")
        at.dns.zone.secure = False
        at.dns.zone.add("_25._tcp.mx.test", "TLSA", RECORD)
        assert by_host(await at.router.route("d.test")) == {"mx.test": TlsRequirement()}


async def test_a_smart_host_and_an_address_literal_are_asked_about_as_well() -> None:
    async with bench(local_mx_ok=True) as at:
        await at.router.route("[192.0.2.1]")
        assert at.dns.asked_for("_25._tcp.192.0.2.1", "TLSA") == 1


async def test_each_check_sees_what_those_before_it_left_standing_whichever_of_them_waits(
    use_check: Callable[..., None],
) -> None:
    seen: list[tuple[str, TlsRequirement]] = []

    def at_once(_policy: TlsPolicy, _subject: Subject, standing: TlsRequirement) -> TlsRequirement:
        seen.append(("at once", standing))
        return standing

    async def waits(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
        await subject.lookups.texts(f"_mta-sts.{subject.domain}")
        seen.append(("waits", standing))
        return standing

    use_check(waits, at_once, last=(waits, at_once))
    async with bench(local_mx_ok=True, tls=OutboundTlsSettings(force_tls_hosts=("d.test",))) as at:
        signed_zone(at, "mx.test")
        at.dns.zone.add("_25._tcp.mx.test", "TLSA", RECORD)
        await at.router.route("d.test")
    names, standing = zip(*seen, strict=True)
    assert names == ("waits", "at once", "waits", "at once")
    assert [found.reason for found in standing] == ["", "", "TLSA", "TLSA"]


async def test_all_addresses_of_a_host_cost_one_look_up_and_another_message_none() -> None:
    async with bench(local_mx_ok=True) as at:
        signed_zone(at, "mx.test")
        at.dns.zone.a("mx.test", "127.0.0.2", "127.0.0.3")
        await at.router.route("d.test")
        await at.router.route("d.test")
        assert at.dns.asked_for("_25._tcp.mx.test") == 1


async def test_what_a_check_found_holds_no_longer_than_the_answer_behind_it() -> None:
    async with bench(local_mx_ok=True) as at:
        signed_zone(at, "mx.test")
        at.dns.zone.negative_ttl = 10
        assert by_host(await at.router.route("d.test"))["mx.test"].level is TlsLevel.OPPORTUNISTIC
        at.dns.zone.add("_25._tcp.mx.test", "TLSA", RECORD)
        at.clock.advance(11)
        assert by_host(await at.router.route("d.test"))["mx.test"].level is TlsLevel.REQUIRED


async def test_a_host_whose_look_up_fails_is_not_connected_to_and_the_next_one_gets_the_mail() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig, bench(local_mx_ok=True, mx_port=mx.port) as at:
        signed_zone(at, "mx1.test", "mx2.test")
        at.dns.zone.a("mx1.test", "127.0.0.2")
        at.dns.zone.behave("_25._tcp.mx1.test", Behaviour.SERVFAIL)
        report = await rig.attempt(make_entry(), answer=await at.router.route("d.test"))
        assert report.outcomes[0].result is Result.DELIVERED
        assert report.outcomes[0].mx == "mx2.test"


async def test_mail_is_deferred_and_never_sent_in_the_clear_while_the_look_up_fails_for_every_host() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig, bench(local_mx_ok=True, mx_port=mx.port) as at:
        signed_zone(at, "mx.test")
        at.dns.zone.behave("_25._tcp.mx.test", Behaviour.SERVFAIL)
        answer = await at.router.route("d.test")
        [outcome] = (await rig.attempt(make_entry(), answer=answer)).outcomes
        assert outcome.result is Result.DEFERRED
        assert "TLSA look-up of _25._tcp.mx.test failed" in outcome.reason
        assert not mx.connections

        at.dns.zone.behaviours.clear()
        at.clock.advance(4)  # a failure is remembered for 3 seconds, and no result that rests on nothing else longer
        report = await rig.attempt(make_entry(), answer=await at.router.route("d.test"))
        assert report.outcomes[0].result is Result.DELIVERED


async def test_hosts_that_are_refused_do_not_count_as_hosts_that_were_looked_up_or_tried() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig, bench(local_mx_ok=True, mx_port=mx.port) as at:
        hosts = [f"mx{number}.test" for number in range(6)]
        signed_zone(at, *hosts)
        for host in hosts[:5]:
            at.dns.zone.behave(f"_25._tcp.{host}", Behaviour.SERVFAIL)
        report = await rig.attempt(make_entry(), answer=await at.router.route("d.test"))
        assert report.outcomes[0].result is Result.DELIVERED
        assert report.outcomes[0].mx == "mx5.test"


async def test_a_look_up_that_is_never_answered_ends_in_time_and_refuses_the_host() -> None:
    # Long enough for the answers that do come, on a busy machine; the silence is waited for once.
    async with bench(local_mx_ok=True, patience=Patience(query=2.0, rounds=1)) as at:
        signed_zone(at, "mx.test")
        at.dns.zone.behave("_25._tcp.mx.test", Behaviour.SILENCE)
        async with asyncio.timeout(60):
            found = by_host(await at.router.route("d.test"))
        assert "TLSA look-up of _25._tcp.mx.test failed: no answer" in found["mx.test"].refusal


async def test_other_destinations_do_not_wait_for_a_check_that_waits() -> None:
    async with bench(local_mx_ok=True) as at:
        signed_zone(at, "mx.dark.test", domain="dark.test")
        signed_zone(at, "mx.good.test", domain="good.test")
        at.dns.zone.behave("_25._tcp.mx.dark.test", Behaviour.HELD)
        ready: asyncio.Queue[str] = asyncio.Queue()
        ahead = Ahead(lambda entry: at.router.locate(entry.domain), at.clock)
        ahead.ready = ready.put_nowait
        dark, good = (replace(make_entry(), domain=domain) for domain in ("dark.test", "good.test"))
        async with asyncio.timeout(60):
            assert ahead.where("dark.test", dark, at.clock.monotonic()) is None
            await at.dns.wait_for_query("_25._tcp.mx.dark.test")
            assert ahead.where("good.test", good, at.clock.monotonic()) is None
            assert await ready.get() == "good.test"
            assert isinstance(ahead.where("good.test", good, at.clock.monotonic()), Site)
            at.dns.release()
            assert await ready.get() == "dark.test"


async def test_a_check_that_breaks_lets_nothing_be_sent(
    use_check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_policy: TlsPolicy, subject: Subject, standing: TlsRequirement) -> TlsRequirement:
        await subject.lookups.cname(subject.host)
        raise RuntimeError("a bug of a check")

    use_check(broken)
    async with ScriptedMx.start() as mx, delivery_rig() as rig, bench(local_mx_ok=True, mx_port=mx.port) as at:
        signed_zone(at, "mx.test", domain="there.test")
        monkeypatch.setattr(rig.router, "route", at.router.route)
        outcome = await rig.outcome(entry=make_entry())
        assert outcome.result is Result.DEFERRED
        assert not mx.connections
