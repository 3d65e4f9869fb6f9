"""MTA-STS (RFC 8461) through the whole relay: what a policy demands of MX hosts, and when it is asked for."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tests.support.authority import Authority, server_context
from tests.support.dns_server import Behaviour
from tests.support.pem import self_signed
from tests.support.policy_server import Reply, policy_text
from tests.support.relay_process import RelayConfig, command, running
from tests.support.scripted_mx import Drop, ScriptedMx
from tests.support.sts_domain import MX1, MX2, NAME, StsDomain

BOB = f"bob@{NAME}"
RECORD = f"_mta-sts.{NAME}"


def with_certificate(mx: ScriptedMx, context: ssl.SSLContext) -> None:
    """Show another certificate."""
    mx.extensions = [name for name in mx.extensions if name != "STARTTLS"]
    mx.starttls(context)


def bad_certificates(authority: Authority, name: str) -> dict[str, ssl.SSLContext]:
    return {
        "other name": authority.context(f"other.{NAME}"),
        "domain": authority.context(NAME),
        "common name only": authority.context(common_name=name),
        "expired": authority.context(name, expired=True),
        "other root": Authority().context(name),
        "self-signed": server_context(*self_signed(name)),
    }


BAD = list(bad_certificates(Authority(), MX1))
FAULTS = ["not listed", "self-signed", "no STARTTLS"]


# Enforce.


async def test_a_listed_host_with_a_good_certificate_is_delivered_to_over_verified_tls(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            (event,) = await relay.event("delivered")
            metrics = await relay.metrics()
        (connection,) = domain.mx1.connections
    assert (connection.tls, connection.sni) == (True, MX1)
    assert connection.verbs[:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"]
    assert (event["mx"], event["tls_policy"], event["tls_level"], event["tls_verified"]) == (
        MX1,
        "sts",
        "verify",
        "pkix",
    )
    assert metrics["mailboat_sts_fetches_total{result=ok}"] == 1


async def test_a_wildcard_lists_the_hosts_below_it(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(f"*.{NAME}")
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX1)


async def test_a_host_that_is_not_listed_is_not_connected_to(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX2)
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX2)
        assert domain.mx1.connections == []


async def test_mail_waits_with_4_7_5_while_no_host_is_listed(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish("mx.elsewhere.test")
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            (event,) = await relay.event("deferred")
            (entry,) = await relay.queue()
        assert domain.mx1.connections == domain.mx2.connections == []
    assert event["enhanced"] == "4.7.5"
    assert "no usable MX by policy (mta-sts: " in entry["last_reply"]
    assert (entry["state"], entry["attempts"]) == ("deferred", 1)


@pytest.mark.parametrize("fault", BAD)
async def test_a_bad_certificate_leads_to_the_next_host(tmp_path: Path, fault: str) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        with_certificate(domain.mx1, bad_certificates(domain.authority, MX1)[fault])
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX2)
        assert domain.mx1.mails == []
        assert all("MAIL" not in connection.verbs for connection in domain.mx1.connections)


async def test_mail_waits_while_every_host_has_a_bad_certificate(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        for name, mx in ((MX1, domain.mx1), (MX2, domain.mx2)):
            with_certificate(mx, bad_certificates(domain.authority, name)["self-signed"])
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            (event,) = await relay.event("deferred")
            (entry,) = await relay.queue()
        assert domain.mx1.mails == domain.mx2.mails == []
    assert (event["enhanced"], entry["state"]) == ("4.7.5", "deferred")


@pytest.mark.parametrize("fault", ["no STARTTLS", "454", "502", "no handshake"])
async def test_a_host_without_tls_leads_to_the_next_one_and_gets_nothing_in_clear(tmp_path: Path, fault: str) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        if fault == "no STARTTLS":
            domain.mx1.extensions.remove("STARTTLS")
        elif fault == "no handshake":
            domain.mx1.on("TLS", Drop())
        else:
            domain.mx1.on("STARTTLS", f"{fault} 4.7.0 not now")
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX2)
        assert all("MAIL" not in connection.verbs for connection in domain.mx1.connections)


async def test_a_domain_without_mx_is_its_own_host_and_must_be_listed(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.dns.zone.forget(NAME)
        domain.dns.zone.a(NAME, domain.mx1.ip)
        with_certificate(domain.mx1, domain.authority.context(NAME))
        domain.publish(MX1)
        async with running(domain.config(tmp_path / "config", outbound=("temp_fail_intervals=6s",))) as relay:
            await relay.submit(BOB)
            await relay.event("deferred", enhanced="4.7.5")
            domain.publish(NAME)
            await relay.event("delivered", mx=NAME)


async def test_a_connection_without_verified_tls_is_not_used_for_mail_under_a_policy(tmp_path: Path) -> None:
    """Another domain without a policy has the same host, and has left a connection open there."""
    async with StsDomain.start() as domain:
        domain.dns.zone.mx("lax.test", (1, MX1))
        domain.publish(MX1)
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit("bob@lax.test")
            await relay.event("delivered", domain="lax.test", tls_policy="none", tls_verified="none")
            await relay.submit(BOB)
            await relay.event("delivered", domain=NAME, tls_policy="sts", tls_verified="pkix")
        assert len(domain.mx1.connections) == 2


async def test_before_the_last_attempt_the_record_is_asked_for_again_though_it_is_cached(tmp_path: Path) -> None:
    """RFC 8461 5.1: not permanently failed until it has been checked for a new policy."""
    async with StsDomain.start() as domain:
        domain.publish("mx.elsewhere.test")
        domain.dns.zone.ttl = 3600
        async with running(domain.config(tmp_path / "config", outbound=("temp_fail_intervals=6s",))) as relay:
            await relay.submit(BOB)
            await relay.event("deferred", enhanced="4.7.5")
            assert domain.dns.asked_for(RECORD, "TXT") == 1
            domain.publish(MX1)
            await relay.event("delivered", mx=MX1)
        assert domain.dns.asked_for(RECORD, "TXT") == 2
        assert domain.dns.asked_for(NAME, "MX") == 1


async def test_so_is_that_of_a_smart_host(tmp_path: Path) -> None:
    async with StsDomain.start(MX1) as domain:
        domain.publish("mx.elsewhere.test", domain=MX1)
        domain.dns.zone.ttl = 3600
        outbound = ("temp_fail_intervals=6s", *smart_host(MX1, "sts=true"))
        async with running(domain.config(tmp_path / "config", outbound=outbound)) as relay:
            await relay.submit(BOB)
            await relay.event("deferred", enhanced="4.7.5")
            domain.publish(MX1, domain=MX1)
            await relay.event("delivered", mx=MX1, tls_policy="sts")


async def test_mail_bounces_once_the_last_attempt_finds_the_same_policy(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish("mx.elsewhere.test")
        async with running(domain.config(tmp_path / "config", outbound=("temp_fail_intervals=6s",))) as relay:
            await relay.submit(BOB)
            (bounced,) = await relay.event("bounced")
        assert domain.mx1.connections == domain.mx2.connections == []
    assert bounced["enhanced"] == "4.4.7"


# Testing, none.


@pytest.mark.parametrize("mode", ["testing", "none"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_policy_that_is_not_enforced_hinders_no_delivery(tmp_path: Path, mode: str, fault: str) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX2 if fault == "not listed" else MX1, mode=mode)
        if fault == "no STARTTLS":
            domain.mx1.extensions.remove("STARTTLS")
        elif fault != "not listed":
            with_certificate(domain.mx1, bad_certificates(domain.authority, MX1)[fault])
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX1)
        assert domain.server.asked_for(NAME) == 1


async def test_a_policy_in_testing_does_not_lower_what_the_settings_demand(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2, mode="testing")
        for name, mx in ((MX1, domain.mx1), (MX2, domain.mx2)):
            with_certificate(mx, bad_certificates(domain.authority, name)["self-signed"])
        async with running(domain.config(tmp_path / "config", f"force_tls_hosts[]={NAME}")) as relay:
            await relay.submit(BOB)
            await relay.event("deferred")
        assert domain.mx1.mails == domain.mx2.mails == []


# Policies that cannot be fetched.


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Reply(302, headers={"Location": "https://mta-sts.other.test/.well-known/mta-sts.txt"}), "fetch_error"),
        (Reply(body=b"x" * (10 << 20)), "fetch_error"),
        (Reply(404), "fetch_error"),
        ("version: STSv1\nmode: enforce\n", "policy_invalid"),
    ],
    ids=["redirect", "10-MiB", "404", "invalid"],
)
async def test_mail_to_a_domain_whose_policy_cannot_be_fetched_is_opportunistic(
    tmp_path: Path, answer: str | Reply, result: str
) -> None:
    async with StsDomain.start("other.test") as domain:
        domain.publish("mx.elsewhere.test")
        domain.dns.zone.a("mta-sts.other.test", "127.0.0.1")
        domain.server.answers[NAME] = answer
        domain.mx1.extensions.remove("STARTTLS")
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX1)
            metrics = await relay.metrics()
        assert domain.server.asked_for("other.test") == 0
    assert metrics[f"mailboat_sts_fetches_total{{result={result}}}"] == 1


async def test_a_policy_host_with_a_private_address_is_not_connected_to(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish("mx.elsewhere.test")
        async with running(domain.config(tmp_path / "config", allow_private=False)) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX1)
        assert domain.server.connections == 0


@pytest.mark.parametrize("answer", [Reply(silent=True), Reply(body=b"v", length=1000, drips=True)])
async def test_other_mail_does_not_wait_for_a_policy_that_does_not_come(tmp_path: Path, answer: Reply) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1)
        domain.server.answers[NAME] = answer
        domain.dns.zone.mx("lax.test", (1, MX1))
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            await domain.server.wait_for_request(NAME)
            await relay.submit("bob@lax.test")
            await relay.event("delivered", domain="lax.test")
            assert [event["domain"] for event in relay.events if event["event"] == "delivered"] == ["lax.test"]


async def test_one_fetch_serves_all_mail_that_comes_at_once(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        policy = domain.server.answers[NAME]
        assert isinstance(policy, str)
        domain.server.answers[NAME] = Reply(body=policy.encode(), silent=True)
        async with running(domain.config(tmp_path / "config")) as relay:
            for n in range(200):
                await relay.submit(f"u{n}@{NAME}")
            await domain.server.wait_for_request(NAME)
            assert domain.mx1.connections == []
            domain.server.release()
            await relay.event("delivered", 200, tls_verified="pkix")
        assert domain.server.asked_for(NAME) == 1


# What is remembered.


async def test_a_policy_is_enforced_after_a_restart_though_dns_and_https_are_dead(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1, MX2)
        config = domain.config(tmp_path / "config")
        async with running(config) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", tls_policy="sts")
            assert await relay.stop() == 0
        await domain.server.vanish()
        domain.dns.zone.behave(RECORD, Behaviour.SERVFAIL)
        domain.mx1.extensions.remove("STARTTLS")
        domain.mx2.extensions.remove("STARTTLS")
        async with running(config) as relay:
            await relay.submit(BOB)
            await relay.event("deferred")
        assert len(domain.mx1.mails) == 1
        assert domain.mx2.mails == []


async def test_a_new_id_counts_at_the_next_attempt(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish("mx.elsewhere.test")
        domain.mx1.extensions.remove("STARTTLS")
        async with running(domain.config(tmp_path / "config", outbound=("temp_fail_intervals=6s",))) as relay:
            await relay.submit(BOB)
            await relay.event("deferred", enhanced="4.7.5")
            domain.publish(mode="none")
            await relay.event("delivered", mx=MX1)
        assert domain.server.asked_for(NAME) == 2


# What is asked.


async def test_the_record_is_asked_for_together_with_the_mx_records_and_no_parent_is(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.dns.zone.behave(NAME, Behaviour.HELD, "MX")
        async with running(domain.config(tmp_path / "config")) as relay:
            await relay.submit(BOB)
            await domain.dns.wait_for_query(NAME, "MX")
            await domain.dns.wait_for_query(RECORD, "TXT")
            domain.dns.release()
            await relay.event("delivered")
        texts = [query.name for query in domain.dns.queries if query.type == "TXT"]
    assert texts == [RECORD]


async def test_nothing_is_asked_for_when_mta_sts_is_off(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish("mx.elsewhere.test")
        async with running(domain.config(tmp_path / "config", "mta_sts=false")) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX1)
        assert [query for query in domain.dns.queries if query.type == "TXT"] == []
        assert domain.server.connections == 0


async def test_the_settings_switch_tls_off_for_a_domain_with_a_policy(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish(MX1)
        async with running(domain.config(tmp_path / "config", f"no_tls_hosts[]={NAME}")) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", mx=MX1, tls_policy="config")
        assert domain.mx1.connections[0].tls is False


# Smart hosts.


@pytest.mark.parametrize("on", ["true", "false"])
async def test_the_policy_of_a_smart_host_counts_if_its_route_says_so(tmp_path: Path, on: str) -> None:
    """A host without STARTTLS, and a policy of its own that demands it."""
    async with StsDomain.start(MX1) as domain:
        domain.publish(MX1, domain=MX1)
        domain.publish("mx.elsewhere.test")
        domain.mx1.extensions.remove("STARTTLS")
        async with running(domain.config(tmp_path / "config", outbound=smart_host(MX1, f"sts={on}"))) as relay:
            await relay.submit(BOB)
            await relay.event(
                "deferred" if on == "true" else "delivered", mx=MX1, tls_policy="sts" if on == "true" else "none"
            )
        texts = [query.name for query in domain.dns.queries if query.type == "TXT"]
    assert set(texts) == ({f"_mta-sts.{MX1}"} if on == "true" else set())


async def test_a_smart_host_must_be_listed_by_its_own_policy(tmp_path: Path) -> None:
    async with StsDomain.start(MX1) as domain:
        domain.publish(MX2, domain=MX1)
        async with running(domain.config(tmp_path / "config", outbound=smart_host(MX1, "sts=true"))) as relay:
            await relay.submit(BOB)
            await relay.event("deferred", enhanced="4.7.5", tls_policy="sts")
            (entry,) = await relay.queue()
        assert domain.mx1.connections == []
    assert entry["last_reply"].endswith(f"no usable MX by policy (mta-sts: {MX1} is not listed by {MX1})")


async def test_a_smart_host_that_its_own_policy_lists_is_delivered_to_over_verified_tls(tmp_path: Path) -> None:
    async with StsDomain.start(MX1) as domain:
        domain.publish(MX1, domain=MX1)
        async with running(domain.config(tmp_path / "config", outbound=smart_host(MX1.upper(), "sts=true"))) as relay:
            await relay.submit(BOB)
            await relay.event("delivered", tls_policy="sts", tls_level="verify", tls_verified="pkix")


def smart_host(host: str, *lines: str) -> tuple[str, ...]:
    return ("[route:smart]", "domains=*", f"hosts={host}.", *lines)


# Forgotten by hand.


async def test_a_policy_that_was_changed_without_a_new_id_counts_once_the_old_one_is_flushed(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        domain.publish("mx.elsewhere.test")
        config = domain.config(tmp_path / "config")
        config.nodes = 2
        config.write()
        async with running(config) as relay:
            await relay.submit(BOB)
            await relay.event("deferred", enhanced="4.7.5")
            domain.server.answers[NAME] = policy_text(MX1)
            assert await sts_flush(config, NAME.upper()) == (0, "the policy is forgotten\n", "")
            assert (await command("queue", "flush", "--config", str(config.directory)))[0] == 0
            await relay.event("delivered", mx=MX1, tls_policy="sts")
            assert await sts_flush(config, "lax.test") == (0, "no policy was known\n", "")
            assert await sts_flush(config, NAME, "--json") == (0, '{"count":1}\n', "")


async def test_policies_are_flushed_by_a_running_relay_only_and_of_domains_only(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        config = domain.config(tmp_path / "config")
        status, out, err = await sts_flush(config, NAME)
        assert (status, out) == (75, "")
        assert err.startswith("mailboat sts: no relay is running")
        async with running(config):
            assert await sts_flush(config, "no domain") == (
                64,
                "",
                "mailboat sts: domain: not a domain name or address literal\n",
            )


async def sts_flush(config: RelayConfig, *words: str) -> tuple[int, str, str]:
    return await command("sts", "flush", *words, "--config", str(config.directory))
