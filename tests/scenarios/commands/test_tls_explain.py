"""`mailboat tls explain`: what it says of a domain is what its mail then meets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.authority import server_context
from tests.support.dns_server import Behaviour
from tests.support.pem import self_signed
from tests.support.relay_process import RelayConfig, command, running
from tests.support.sts_domain import MX1, MX2, NAME, StsDomain

BOB = f"bob@{NAME}"
RECORD = f"_mta-sts.{NAME}"
DIGEST = "ab" * 32


async def explained(config: RelayConfig, *words: str, status: int = 0, domain: str = NAME) -> dict[str, Any]:
    found, out, err = await command("tls", "explain", domain, "--json", "--config", str(config.directory), *words)
    assert (found, err) == (status, "")
    answer: dict[str, Any] = json.loads(out)
    return answer


async def text(config: RelayConfig, domain: str = NAME) -> list[str]:
    status, out, err = await command("tls", "explain", domain, "--config", str(config.directory))
    assert (status, err) == (0, "")
    return out.splitlines()


def of(host: dict[str, Any], *words: str) -> list[Any]:
    return [host[word] for word in words or ("policy", "level", "verify", "used")]


# MTA-STS.


async def test_a_policy_demands_verified_tls_of_the_hosts_that_it_lists_and_excludes_the_others(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1)
        config = domain.config(tmp_path / "config")
        found = await explained(config)
        lines = await text(config)
    assert found["sts"] == {"mode": "enforce", "id": "id1", "max_age": 86_400, "mx": [MX1]}
    first, second = found["mx"]
    assert first == {
        "host": MX1,
        "preference": 1,
        "addresses": ["127.0.0.2"],
        "secure": False,
        "tlsa": [],
        "policy": "sts",
        "level": "verify",
        "verify": True,
        "reason": f"MTA-STS policy id1 of {NAME}",
        "used": True,
    }
    assert of(second, "host", "policy", "used", "reason") == [
        MX2,
        "sts",
        False,
        f"no usable MX by policy (mta-sts: {MX2} is not listed by {NAME})",
    ]
    assert lines[:4] == [
        f"{NAME}: by MX, not authenticated (DNSSEC)",
        f"MTA-STS: enforce, id id1, max_age 86400, mx {MX1}",
        f"1 {MX1} [127.0.0.2]: verified TLS is demanded: MTA-STS policy id1 of {NAME}",
        f"2 {MX2} [127.0.0.3]: not connected to: no usable MX by policy (mta-sts: {MX2} is not listed by {NAME})",
    ]
    assert domain.mx1.connections == []


async def test_what_a_deferral_says_was_demanded_is_what_was_explained(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        for name, mx in ((MX1, domain.mx1), (MX2, domain.mx2)):
            mx.extensions.remove("STARTTLS")
            mx.starttls(server_context(*self_signed(name)))
        config = domain.config(tmp_path / "config")
        async with running(config) as relay:
            await relay.submit(BOB)
            await relay.event("deferred")
            (entry,) = await relay.queue()
            lines = await text(config)
    demanded = f"verified TLS is demanded: MTA-STS policy id1 of {NAME}"
    assert f"({demanded})" in entry["last_reply"]
    assert [line.partition("]: ")[2] for line in lines[2:4]] == [demanded, demanded]


async def test_the_policy_that_the_relay_has_stored_counts_beside_it_and_after_it(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        config = domain.config(tmp_path / "config")
        async with running(config) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", tls_policy="sts")
            beside = await explained(config)
            assert await relay.stop() == 0
        assert domain.server.asked_for(NAME) == 1
        await domain.server.vanish()
        domain.dns.zone.forget(RECORD)
        after = await explained(config)
    assert after["mx"] == beside["mx"]
    assert after["sts"] == {"mode": "enforce", "id": "id1", "max_age": 86_400, "mx": [MX1, MX2]}


async def test_a_policy_that_demands_nothing_or_cannot_be_had_is_named(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, mode="testing")
        config = domain.config(tmp_path / "config")
        found = await explained(config)
        assert found["sts"]["mode"] == "testing"
        assert f"the MTA-STS policy of {NAME} demands nothing: its mode is testing" in found["notes"]
        assert of(found["mx"][0]) == ["none", "clear", False, True]
        domain.server.answers[NAME] = "nonsense"
        found = await explained(config)
        assert found["sts"] is None
        why = f"the MTA-STS policy that {NAME} announces cannot be had, and none is stored: policy_invalid"
        assert why in found["notes"]
        off = await explained(domain.config(tmp_path / "off", "mta_sts=false", "dane=false"))
        assert off["notes"] == [
            "MTA-STS policies are not looked up: mta_sts=false",
            "TLSA records are not looked up: dane=false",
        ]


# DANE.


def tlsa(domain: StsDomain, host: str, *records: str) -> None:
    domain.dns.zone.add(f"_{domain.mx1.port}._tcp.{host}", "TLSA", *records)


async def test_usable_records_demand_a_match_and_unusable_ones_tls_with_any_certificate(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.dns.zone.secure = True
        domain.publish(MX1)
        tlsa(domain, MX1, f"3 1 1 {DIGEST}", f"1 1 1 {DIGEST}")
        tlsa(domain, MX2, f"0 1 1 {DIGEST}")
        config = domain.config(tmp_path / "config")
        found = await explained(config)
        lines = await text(config)
    first, second = found["mx"]
    assert found["secure"] is True
    assert of(first) == ["dane", "verify", True, True]
    assert of(first, "secure", "reason", "tlsa") == [
        True,
        f"DANE: TLSA records of {MX1}",
        [f"1 1 1 {DIGEST}", f"3 1 1 {DIGEST}"],
    ]
    # DANE takes the place of the policy, by which the second host would be excluded (RFC 8461 2).
    assert of(second) == ["dane", "encrypt", False, True]
    assert of(second, "tlsa", "reason") == [[f"0 1 1 {DIGEST}"], f"DANE: no TLSA record of {MX2} can be used"]
    assert f"1 {MX1} [127.0.0.2]: verified TLS is demanded: DANE: TLSA records of {MX1}" in lines
    assert f"  TLSA 3 1 1 {DIGEST}" in lines


@pytest.mark.parametrize(
    ("outbound", "insecure", "why"),
    [
        (("dns_trust_ad=none",), False, "since DNS answers are not validated (dns_trust_ad): no DNS server is trusted"),
        ((), True, f"since the MX records of {NAME} are not authenticated (DNSSEC)"),
    ],
)
async def test_it_says_why_records_do_not_count(
    tmp_path: Path, outbound: tuple[str, ...], insecure: bool, why: str
) -> None:
    async with StsDomain.start() as domain:
        domain.dns.zone.secure = True
        if insecure:
            domain.dns.zone.insecure.add(NAME)
        tlsa(domain, MX1, f"3 1 1 {DIGEST}")
        found = await explained(domain.config(tmp_path / "config", outbound=outbound))
    assert (found["secure"], *of(found["mx"][0])) == (False, "none", "clear", False, True)
    assert [note for note in found["notes"] if f"no TLSA records count, {why}" in note]


async def test_a_host_whose_records_cannot_be_looked_up_is_not_used_and_the_status_is_75(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.dns.zone.secure = True
        at = f"_{domain.mx1.port}._tcp.{MX1}"
        domain.dns.zone.behave(at, Behaviour.SERVFAIL)
        found = await explained(domain.config(tmp_path / "config"), status=75)
    first, second = found["mx"]
    assert of(first, "policy", "used") == ["dane", False]
    assert f"DANE: TLSA look-up of {at} failed: SERVFAIL" in first["reason"]
    assert second["used"] is True


# Settings.


async def test_the_setting_that_decides_is_named(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        config = domain.config(tmp_path / "config", f"force_tls_hosts[]={MX2}", f"no_tls_hosts[]={MX1}")
        found = await explained(config)
        lines = await text(config)
    assert [of(host, "policy", "level", "reason") for host in found["mx"]] == [
        ["config", "clear", "no_tls_hosts"],
        ["config", "verify", "force_tls_hosts"],
    ]
    assert f"1 {MX1} [127.0.0.2]: TLS is not used: no_tls_hosts" in lines
    assert f"2 {MX2} [127.0.0.3]: verified TLS is demanded: force_tls_hosts" in lines


async def test_a_route_overrides_what_the_domain_publishes_and_may_depend_on_the_sender(tmp_path: Path) -> None:
    route = ("[route:hub]", f"domains={NAME}", "senders=shop@sender.test", f"hosts={MX2}.", "tls=required", "sts=true")
    async with StsDomain.start(MX2) as domain:
        domain.publish("mx.elsewhere.test")
        domain.publish(MX2, domain=MX2)
        config = domain.config(tmp_path / "config", outbound=route)
        assert (await explained(config))["route"] is None
        found = await explained(config, "--sender", "shop@sender.test")
    assert (found["route"], found["secure"], found["sts"]) == ("hub", False, None)
    assert [of(host, "host", "policy", "level", "verify", "used") for host in found["mx"]] == [
        [MX2, "route", "verify", True, True]
    ]
    assert found["notes"][0].startswith("route hub takes this mail")


# Where mail does not go.


async def test_hosts_without_address_and_domains_without_hosts_are_named(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.dns.zone.forget(MX1)
        domain.dns.zone.mx("null.test", (0, ""))
        config = domain.config(tmp_path / "config")
        first, second = (await explained(config))["mx"]
        null = await explained(config, domain="null.test")
        literal = await explained(config, domain="[127.0.0.2]")
    assert of(first, "host", "used", "reason") == [MX1, False, "it has no IPv4 address (inet_prefer=v4-only)"]
    assert second["used"] is True
    assert (null["mx"], null["error"]) == ([], "5.1.10 the domain null.test accepts no mail (null MX)")
    assert [of(host, "host", "policy") for host in literal["mx"]] == [["127.0.0.2", "none"]]


async def test_the_status_is_75_if_the_dns_does_not_answer(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1)
        config = domain.config(tmp_path / "config")
        domain.dns.zone.behave(RECORD, Behaviour.SERVFAIL)
        found = await explained(config, status=75)
        assert any(
            note.startswith(f"whether {NAME} announces an MTA-STS policy is not known") for note in found["notes"]
        )
        domain.dns.zone.behave(NAME, Behaviour.SERVFAIL)
        found = await explained(config, status=75)
    assert found["mx"] == []
    assert found["error"].startswith("4.4.3 ")


async def test_a_wrong_domain_is_64_and_a_wrong_configuration_78_with_its_faults(tmp_path: Path) -> None:
    status, out, err = await command("tls", "explain", "no domain", "--config", str(tmp_path))
    assert (status, out, err) == (64, "", "mailboat tls: 'no domain' is not a domain, or '' no address\n")
    (tmp_path / "outbound.ini").write_text("mx_port=none\n")
    status, out, err = await command("tls", "explain", NAME, "--config", str(tmp_path))
    assert (status, out) == (78, "")
    assert "mx_port" in err
