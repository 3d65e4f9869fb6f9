"""TLS requirements: the base, checks that raise it or refuse, and what a connection must have after the handshake."""

from __future__ import annotations

import ipaddress
from itertools import product

import pytest
from tests.support.tls_checks import Subject, requirement

from mailboat.config.settings import TlsLevel, TlsSettings
from mailboat.routing import security
from mailboat.routing.answers import SessionTls, TlsRequirement
from mailboat.routing.security import HostList, TlsPolicy, check_session

LEVELS = list(TlsLevel)
IP = ipaddress.ip_address("1.2.3.4")
SUBJECT = Subject("example.test", "mx.example.test", IP)


def policy(enable_tls: bool = True, **tls: object) -> TlsPolicy:
    return TlsPolicy.of(enable_tls, TlsSettings(**tls))  # type: ignore[arg-type]


def level(found: TlsRequirement) -> tuple[TlsLevel, bool]:
    return found.level, found.verify


def test_tls_is_opportunistic_by_default() -> None:
    assert requirement(policy(), SUBJECT) == TlsRequirement(TlsLevel.OPPORTUNISTIC, verify=False, reason="")


def test_enable_tls_off_disables_it() -> None:
    assert requirement(policy(enable_tls=False), SUBJECT).level is TlsLevel.DISABLED


@pytest.mark.parametrize("entry", ["example.test", "MX.example.TEST", "mx.example.test.", "1.2.3.4", "1.2.0.0/16"])
def test_no_tls_hosts_match_domain_host_and_address(entry: str) -> None:
    found = requirement(policy(no_tls_hosts=(entry,)), SUBJECT)
    assert found == TlsRequirement(TlsLevel.DISABLED, verify=False, reason="no_tls_hosts")


@pytest.mark.parametrize("entry", ["example.test", "Mx.Example.Test", "1.2.3.4", "1.2.3.0/24"])
def test_force_tls_hosts_match_domain_host_and_address(entry: str) -> None:
    found = requirement(policy(force_tls_hosts=(entry,)), SUBJECT)
    assert found == TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="force_tls_hosts")


@pytest.mark.parametrize("entry", ["other.test", "sub.example.test", "test", "1.2.3.5", "1.2.4.0/24", "2001:db8::/32"])
def test_what_a_list_does_not_name_is_left_alone(entry: str) -> None:
    settings = policy(force_tls_hosts=(entry,), no_tls_hosts=(entry,))
    assert requirement(settings, SUBJECT).level is TlsLevel.OPPORTUNISTIC


def test_an_ipv4_network_matches_the_mapped_address() -> None:
    mapped = Subject("d.test", "mx.test", ipaddress.ip_address("::ffff:1.2.3.4"))
    assert HostList(("1.2.3.0/24",)).matches(mapped)


def test_a_unix_socket_has_no_address_to_match() -> None:
    assert not HostList(("0.0.0.0/0", "::/0")).matches(Subject("d.test", "/run/lmtp"))


def test_force_beats_everything_that_switches_tls_off() -> None:
    settings = policy(enable_tls=False, no_tls_hosts=("example.test",), force_tls_hosts=("example.test",))
    assert level(requirement(settings, SUBJECT)) == (TlsLevel.REQUIRED, True)


def test_a_message_can_ask_for_tls_or_nothing() -> None:
    subject = Subject("example.test", "mx.example.test", IP, wanted=TlsLevel.DISABLED, route="r", force_tls=True)
    found = requirement(policy(enable_tls=False, no_tls_hosts=("example.test",)), subject)
    assert found == TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="the message's force_tls")


@pytest.mark.parametrize("wanted", [TlsLevel.REQUIRED, TlsLevel.IMPLICIT])
def test_a_route_that_requires_tls_verifies_and_is_not_switched_off(wanted: TlsLevel) -> None:
    subject = Subject("example.test", "hub.test", IP, "hub", wanted)
    found = requirement(policy(enable_tls=False, no_tls_hosts=("hub.test",)), subject)
    assert found == TlsRequirement(wanted, verify=True, reason="route hub")


def test_a_route_can_disable_tls() -> None:
    subject = Subject("example.test", "hub.test", IP, "hub", TlsLevel.DISABLED)
    assert requirement(policy(), subject) == TlsRequirement(TlsLevel.DISABLED, verify=False, reason="route hub")


def test_implicit_tls_is_not_lowered_to_starttls_by_force() -> None:
    subject = Subject("example.test", "hub.test", IP, "hub", TlsLevel.IMPLICIT, force_tls=True)
    settings = policy(force_tls_hosts=("hub.test",))
    assert level(requirement(settings, subject)) == (TlsLevel.IMPLICIT, True)


def test_reject_unauthorized_verifies_where_tls_is_used() -> None:
    settings = policy(reject_unauthorized=True)
    found = requirement(settings, SUBJECT)
    assert found == TlsRequirement(TlsLevel.OPPORTUNISTIC, verify=True, reason="rejectUnauthorized")
    plain = Subject("example.test", "hub.test", IP, "hub", TlsLevel.DISABLED)
    assert level(requirement(settings, plain)) == (TlsLevel.DISABLED, False)


def test_no_check_lowers_what_stands() -> None:
    """For every combination of settings: with one more reason for TLS, the level is never lower."""
    for wanted, enabled, never, verify in product(LEVELS, (True, False), ((), ("example.test",)), (True, False)):
        settings = {"no_tls_hosts": never, "reject_unauthorized": verify}
        plain = Subject("example.test", "h.test", IP, "r", wanted)
        forced = Subject("example.test", "h.test", IP, "r", wanted, force_tls=True)
        before = requirement(policy(enabled, **settings), plain)
        for after in (
            requirement(policy(enabled, **settings), forced),
            requirement(policy(enabled, **settings, force_tls_hosts=("h.test",)), plain),
        ):
            assert LEVELS.index(after.level) >= max(LEVELS.index(before.level), LEVELS.index(TlsLevel.REQUIRED))
            assert after.verify


def test_even_a_check_that_tries_cannot_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "CHECKS", (*security.CHECKS, lambda *_: TlsRequirement(TlsLevel.DISABLED)))
    assert level(requirement(policy(force_tls_hosts=("1.2.3.4",)), SUBJECT)) == (TlsLevel.REQUIRED, True)


@pytest.mark.parametrize("enabled", [True, False])
def test_credentials_want_verified_tls_whatever_switches_tls_off(enabled: bool) -> None:
    subject = Subject("example.test", "hub.test", IP, "hub", has_secret=True)
    found = requirement(policy(enabled, no_tls_hosts=("hub.test",)), subject)
    assert level(found) == (TlsLevel.REQUIRED, True)


def test_credentials_leave_implicit_tls_implicit_and_an_explicit_disabled_disabled() -> None:
    implicit = Subject("example.test", "hub.test", IP, "hub", TlsLevel.IMPLICIT, has_secret=True)
    disabled = Subject("example.test", "hub.test", IP, "hub", TlsLevel.DISABLED, has_secret=True)
    assert level(requirement(policy(), implicit)) == (TlsLevel.IMPLICIT, True)
    assert level(requirement(policy(), disabled)) == (TlsLevel.DISABLED, False)


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", None])
def test_credentials_for_this_machine_want_no_more_than_others(ip: str | None) -> None:
    address = None if ip is None else ipaddress.ip_address(ip)
    subject = Subject("example.test", "hub.test", address, "hub", has_secret=True)
    assert level(requirement(policy(), subject)) == (TlsLevel.OPPORTUNISTIC, False)


@pytest.mark.parametrize("wanted", LEVELS)
@pytest.mark.parametrize("forced", [True, False])
def test_a_unix_socket_is_refused_where_tls_is_required_for_it_has_no_name_to_verify(
    wanted: TlsLevel, forced: bool
) -> None:
    found = requirement(policy(), Subject("example.test", "/run/lmtp", None, "hub", wanted, forced))
    by_name = requirement(policy(), Subject("example.test", "h.test", IP, "hub", wanted, forced))
    required = forced or wanted in (TlsLevel.REQUIRED, TlsLevel.IMPLICIT)
    assert bool(found.refusal) == required
    assert not required or found.refusal.startswith("TLS is required (")
    assert not by_name.refusal


def test_a_check_may_refuse_and_the_first_refusal_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = [lambda *_, why=why: TlsRequirement(refusal=why) for why in ("no usable policy", "another")]
    monkeypatch.setattr(security, "CHECKS", (*refusing, *security.CHECKS))
    found = requirement(policy(force_tls_hosts=("1.2.3.4",)), SUBJECT)
    assert found.refusal == "no usable policy"


def test_a_level_that_was_raised_before_a_refusal_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "CHECKS", (*security.CHECKS, lambda *_: TlsRequirement(refusal="no")))
    found = requirement(policy(force_tls_hosts=("1.2.3.4",)), SUBJECT)
    assert found == TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="force_tls_hosts", refusal="no")


@pytest.mark.parametrize("wanted", LEVELS)
@pytest.mark.parametrize("verify", [True, False])
def test_a_connection_without_tls_is_refused_where_tls_is_required(wanted: TlsLevel, verify: bool) -> None:
    refusal = check_session(TlsRequirement(wanted, verify, "the message's force_tls"), SessionTls())
    assert bool(refusal) == (wanted in (TlsLevel.REQUIRED, TlsLevel.IMPLICIT))
    assert not refusal or "(the message's force_tls)" in refusal


@pytest.mark.parametrize("wanted", LEVELS)
@pytest.mark.parametrize("verify", [True, False])
def test_a_connection_whose_certificate_was_not_verified_is_refused_where_it_must(
    wanted: TlsLevel, verify: bool
) -> None:
    demanded = TlsRequirement(wanted, verify)
    assert not check_session(demanded, SessionTls("TLSv1.3", verified=True))
    refused = bool(check_session(demanded, SessionTls("TLSv1.3")))
    assert refused == (verify or wanted in (TlsLevel.REQUIRED, TlsLevel.IMPLICIT))
