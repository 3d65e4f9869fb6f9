"""TLS requirements: the base, checks that raise it or refuse, and what a connection must have after the handshake."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from tests.support.tls_checks import Subject, requirement

from mailboat.config.settings import OutboundTlsSettings, RequireTls, TlsLevel
from mailboat.model.tls import MessageTls, PolicySource, TlsDemand, VerifiedBy
from mailboat.routing import security
from mailboat.routing.answers import SessionTls, TlsRequirement
from mailboat.routing.records import TlsaRecord
from mailboat.routing.security import check_session
from mailboat.routing.subject import HostList, TlsPolicy
from mailboat.tlsrpt.results import ResultType

LEVELS = list(TlsLevel)
IP = ipaddress.ip_address("1.2.3.4")
ROUTE, CONFIG, MESSAGE = PolicySource.ROUTE, PolicySource.CONFIG, PolicySource.MESSAGE
SUBJECT = Subject("example.test", "mx.example.test", IP)


def policy(enable_tls: bool = True, **tls: object) -> TlsPolicy:
    return TlsPolicy.of(enable_tls, OutboundTlsSettings(**tls))  # type: ignore[arg-type]


def level(found: TlsRequirement) -> tuple[TlsLevel, bool]:
    return found.level, found.verify


def test_tls_is_opportunistic_by_default() -> None:
    assert requirement(policy(), SUBJECT) == TlsRequirement(TlsLevel.OPPORTUNISTIC, verify=False, reason="")


def test_enable_tls_off_disables_it() -> None:
    assert requirement(policy(enable_tls=False), SUBJECT).level is TlsLevel.DISABLED


@pytest.mark.parametrize("entry", ["example.test", "MX.example.TEST", "mx.example.test.", "1.2.3.4", "1.2.0.0/16"])
def test_no_tls_hosts_match_domain_host_and_address(entry: str) -> None:
    found = requirement(policy(no_tls_hosts=(entry,)), SUBJECT)
    assert found == TlsRequirement(TlsLevel.DISABLED, verify=False, reason="no_tls_hosts", policy=CONFIG)


@pytest.mark.parametrize("entry", ["example.test", "Mx.Example.Test", "1.2.3.4", "1.2.3.0/24"])
def test_force_tls_hosts_match_domain_host_and_address(entry: str) -> None:
    found = requirement(policy(force_tls_hosts=(entry,)), SUBJECT)
    assert found == TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="force_tls_hosts", policy=CONFIG)


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
    subject = Subject(
        "example.test", "mx.example.test", IP, wanted=TlsLevel.DISABLED, route="r", asked=MessageTls(forced=True)
    )
    found = requirement(policy(enable_tls=False, no_tls_hosts=("example.test",)), subject)
    assert found == TlsRequirement(
        TlsLevel.REQUIRED, verify=True, reason="the message's force_tls", policy=PolicySource.MESSAGE
    )


@pytest.mark.parametrize("wanted", [TlsLevel.REQUIRED, TlsLevel.IMPLICIT])
def test_a_route_that_requires_tls_verifies_and_is_not_switched_off(wanted: TlsLevel) -> None:
    subject = Subject("example.test", "hub.test", IP, "hub", wanted)
    found = requirement(policy(enable_tls=False, no_tls_hosts=("hub.test",)), subject)
    assert found == TlsRequirement(wanted, verify=True, reason="route hub", policy=ROUTE)


def test_a_route_can_disable_tls() -> None:
    subject = Subject("example.test", "hub.test", IP, "hub", TlsLevel.DISABLED)
    assert requirement(policy(), subject) == TlsRequirement(
        TlsLevel.DISABLED, verify=False, reason="route hub", policy=PolicySource.ROUTE
    )


def test_implicit_tls_is_not_lowered_to_starttls_by_force() -> None:
    subject = Subject("example.test", "hub.test", IP, "hub", TlsLevel.IMPLICIT, asked=MessageTls(forced=True))
    settings = policy(force_tls_hosts=("hub.test",))
    assert level(requirement(settings, subject)) == (TlsLevel.IMPLICIT, True)


def test_reject_unauthorized_verifies_where_tls_is_used() -> None:
    settings = policy(reject_unauthorized=True)
    found = requirement(settings, SUBJECT)
    assert found == TlsRequirement(
        TlsLevel.OPPORTUNISTIC, verify=True, reason="rejectUnauthorized", policy=PolicySource.CONFIG
    )
    plain = Subject("example.test", "hub.test", IP, "hub", TlsLevel.DISABLED)
    assert level(requirement(settings, plain)) == (TlsLevel.DISABLED, False)


def test_no_check_lowers_what_stands() -> None:
    """For every combination of settings: with one more reason for TLS, the level is never lower."""
    for wanted, enabled, never, verify in product(LEVELS, (True, False), ((), ("example.test",)), (True, False)):
        settings = {"no_tls_hosts": never, "reject_unauthorized": verify}
        plain = Subject("example.test", "h.test", IP, "r", wanted)
        forced = Subject("example.test", "h.test", IP, "r", wanted, asked=MessageTls(forced=True))
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
    found = requirement(policy(), Subject("example.test", "/run/lmtp", None, "hub", wanted, MessageTls(forced)))
    by_name = requirement(policy(), Subject("example.test", "h.test", IP, "hub", wanted, MessageTls(forced)))
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
    monkeypatch.setattr(
        security, "CHECKS", (*security.CHECKS, lambda *_: TlsRequirement(refusal="no", policy=PolicySource.STS))
    )
    found = requirement(policy(force_tls_hosts=("1.2.3.4",)), SUBJECT)
    assert found == TlsRequirement(
        TlsLevel.REQUIRED, verify=True, reason="force_tls_hosts", refusal="no", policy=PolicySource.STS
    )


@pytest.mark.parametrize("wanted", LEVELS)
@pytest.mark.parametrize("verify", [True, False])
def test_a_connection_without_tls_is_refused_where_tls_is_required(wanted: TlsLevel, verify: bool) -> None:
    refusal = check_session(TlsRequirement(wanted, verify, "the message's force_tls"), SessionTls())
    assert bool(refusal) == (wanted in (TlsLevel.ENCRYPT, TlsLevel.REQUIRED, TlsLevel.IMPLICIT))
    assert not refusal or "(the message's force_tls)" in refusal


@pytest.mark.parametrize("wanted", LEVELS)
@pytest.mark.parametrize("verify", [True, False])
def test_a_connection_whose_certificate_was_not_verified_is_refused_where_it_must(
    wanted: TlsLevel, verify: bool
) -> None:
    demanded = TlsRequirement(wanted, verify)
    assert not check_session(demanded, SessionTls("TLSv1.3", verified_by=VerifiedBy.PKIX))
    refused = bool(check_session(demanded, SessionTls("TLSv1.3")))
    assert refused == (verify or wanted in (TlsLevel.REQUIRED, TlsLevel.IMPLICIT))


# What the recipients' domain publishes: DANE first, then MTA-STS.

RECORD = TlsaRecord(3, 1, 1, b"\xab" * 32)
DANE = TlsRequirement(
    TlsLevel.REQUIRED, reason="TLSA", policy=PolicySource.DANE, tlsa=(RECORD,), servername="end.test", names=("d.test",)
)
UNUSABLE = TlsRequirement(TlsLevel.ENCRYPT, reason="unusable TLSA", policy=PolicySource.DANE)
STS = TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="MTA-STS", policy=PolicySource.STS)
UNLISTED = TlsRequirement(refusal="mta-sts: host not listed", policy=PolicySource.STS)


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the recipients' domain publish these."""

    def published(*found: TlsRequirement | None) -> None:
        def check(wanted: TlsRequirement | None) -> security.Check:
            return lambda _policy, _subject, standing: standing if wanted is None else wanted

        monkeypatch.setattr(security, "PUBLISHED", tuple(check(one) for one in found))

    return published


@pytest.mark.parametrize(
    ("dane", "sts", "counts"),
    [
        (None, None, TlsRequirement()),
        (None, STS, STS),
        (DANE, None, DANE),
        (DANE, STS, DANE),
        (DANE, UNLISTED, DANE),
        (UNUSABLE, STS, UNUSABLE),
        (None, UNLISTED, UNLISTED),
    ],
)
def test_where_dane_applies_mta_sts_does_not(
    publish: Callable[..., None], dane: TlsRequirement | None, sts: TlsRequirement | None, counts: TlsRequirement
) -> None:
    publish(dane, sts)
    assert requirement(policy(), SUBJECT) == counts


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        (MessageTls(lax=True), TlsRequirement()),
        (MessageTls(requiretls=True, lax=True), DANE),
    ],
)
def test_tls_required_no_removes_what_the_domain_publishes_unless_the_message_has_requiretls(
    publish: Callable[..., None], asked: MessageTls, counts: TlsRequirement
) -> None:
    publish(DANE, STS)
    assert requirement(policy(), Subject("d.test", "mx.test", IP, asked=asked)).tlsa == counts.tlsa


def test_tls_required_no_removes_nothing_that_the_settings_demand(publish: Callable[..., None]) -> None:
    publish(STS)
    found = requirement(
        policy(force_tls_hosts=("mx.test",)), Subject("d.test", "mx.test", IP, asked=MessageTls(lax=True))
    )
    assert (found.level, found.policy) == (TlsLevel.REQUIRED, PolicySource.CONFIG)


@pytest.mark.parametrize("settings", [{"enable_tls": False}, {"no_tls_hosts": ("mx.test",)}])
def test_settings_that_switch_tls_off_do_so_whatever_the_domain_publishes(
    publish: Callable[..., None], settings: dict[str, Any]
) -> None:
    publish(DANE, STS)
    found = requirement(policy(**settings), Subject("d.test", "mx.test", IP))
    assert (found.level, found.tlsa, found.policy) == (TlsLevel.DISABLED, (), PolicySource.CONFIG)


def test_a_certificate_that_must_match_tlsa_records_is_not_verified_by_pkix_as_well(
    publish: Callable[..., None],
) -> None:
    publish(DANE)
    settings = policy(reject_unauthorized=True, force_tls_hosts=("mx.test",))
    found = requirement(settings, Subject("d.test", "mx.test", IP, asked=MessageTls(forced=True)))
    assert found == DANE
    assert not found.verifies


FORCED = ("mx.test",)
"""`force_dane_hosts`."""


@pytest.mark.parametrize("asked", [MessageTls(), MessageTls(lax=True), MessageTls(forced=True)])
@pytest.mark.parametrize("settings", [{}, {"enable_tls": False}, {"no_tls_hosts": FORCED}, {"force_tls_hosts": FORCED}])
def test_a_host_that_must_have_dane_is_used_by_its_records_only(
    publish: Callable[..., None], settings: dict[str, Any], asked: MessageTls
) -> None:
    publish(DANE)
    found = requirement(policy(**settings, force_dane_hosts=FORCED), Subject("d.test", "mx.test", IP, asked=asked))
    assert (found.refusal, found.tlsa, found.demand) == ("", DANE.tlsa, TlsDemand.VERIFY)
    assert not found.verifies


@pytest.mark.parametrize(
    ("published", "failure", "lack"),
    [
        (None, ResultType.DANE_REQUIRED, "no TLSA records that count"),
        (STS, ResultType.DANE_REQUIRED, "no TLSA records that count"),
        (UNUSABLE, ResultType.TLSA_INVALID, "no TLSA record that can be used"),
    ],
)
def test_a_host_that_must_have_dane_is_refused_without_it(
    publish: Callable[..., None], published: TlsRequirement | None, failure: ResultType, lack: str
) -> None:
    publish(published)
    found = requirement(policy(force_dane_hosts=FORCED), Subject("d.test", "mx.test", IP))
    assert found.refusal == f"DANE is demanded (force_dane_hosts), but mx.test has {lack}"
    assert (found.policy, found.dane_failure) == (PolicySource.CONFIG, failure)
    assert not requirement(policy(force_dane_hosts=FORCED), Subject("d.test", "mx2.test", IP)).refusal


def test_unusable_tlsa_records_do_not_weaken_what_the_settings_demand(publish: Callable[..., None]) -> None:
    publish(UNUSABLE)
    found = requirement(policy(force_tls_hosts=("mx.test",)), Subject("d.test", "mx.test", IP))
    assert (found.level, found.verifies, found.demand) == (TlsLevel.REQUIRED, True, TlsDemand.VERIFY)


@pytest.mark.parametrize(
    ("found", "demand"),
    [
        (TlsRequirement(TlsLevel.DISABLED), TlsDemand.CLEAR),
        (TlsRequirement(), TlsDemand.CLEAR),
        (TlsRequirement(verify=True), TlsDemand.CLEAR),
        (UNUSABLE, TlsDemand.ENCRYPT),
        (STS, TlsDemand.VERIFY),
        (DANE, TlsDemand.VERIFY),
        (TlsRequirement(TlsLevel.IMPLICIT), TlsDemand.VERIFY),
    ],
)
def test_what_is_demanded_of_a_connection_in_one_word(found: TlsRequirement, demand: TlsDemand) -> None:
    assert found.demand is demand


@pytest.mark.parametrize("verified_by", list(VerifiedBy))
def test_where_there_are_tlsa_records_only_one_that_matches_will_do(verified_by: VerifiedBy) -> None:
    refusal = check_session(DANE, SessionTls("TLSv1.3", verified_by=verified_by))
    assert bool(refusal) == (verified_by not in (VerifiedBy.DANE_TA, VerifiedBy.DANE_EE))


# REQUIRETLS (RFC 8689 4.2.1).

REQUIRETLS = MessageTls(requiretls=True)


@pytest.mark.parametrize(
    ("published", "secure", "refused"),
    [(None, True, False), (None, False, True), (STS, False, False), (DANE, True, False), (UNUSABLE, True, False)],
    ids=("dnssec", "nothing", "mta-sts", "dane", "unusable tlsa"),
)
def test_requiretls_wants_a_host_that_was_found_securely_and_a_certificate_that_is_verified(
    publish: Callable[..., None], published: TlsRequirement | None, secure: bool, refused: bool
) -> None:
    publish(published)
    found = requirement(policy(), Subject("d.test", "mx.test", IP, asked=REQUIRETLS, mx_secure=secure))
    assert (found.level, found.requiretls) == (TlsLevel.REQUIRED if not refused else TlsLevel.OPPORTUNISTIC, True)
    assert found.demand is TlsDemand.VERIFY
    assert bool(found.refusal) == refused
    assert found.verifies == (published not in (None, DANE) or (published is None and secure))


def test_a_refusal_by_a_published_policy_is_not_one_by_requiretls(publish: Callable[..., None]) -> None:
    publish(UNLISTED)
    found = requirement(policy(), Subject("d.test", "mx.test", IP, asked=REQUIRETLS))
    assert (found.refusal, found.policy, found.requiretls) == (UNLISTED.refusal, PolicySource.STS, False)


@pytest.mark.parametrize("settings", [{"enable_tls": False}, {"no_tls_hosts": ("mx.test",)}])
def test_requiretls_counts_where_the_settings_switch_tls_off(settings: dict[str, Any]) -> None:
    found = requirement(policy(**settings), Subject("d.test", "mx.test", IP, asked=REQUIRETLS, mx_secure=True))
    assert (found.level, found.verifies, found.requiretls) == (TlsLevel.REQUIRED, True, True)


def test_requiretls_that_is_relaxed_to_starttls_demands_tls_and_nothing_else() -> None:
    relaxed = policy(requiretls=RequireTls.STARTTLS)
    found = requirement(relaxed, Subject("d.test", "mx.test", IP, asked=REQUIRETLS))
    assert (found.level, found.verifies, found.requiretls) == (TlsLevel.ENCRYPT, False, False)
    assert not found.refusal


def test_tls_required_no_is_shown_as_what_decided_unless_it_is_turned_off() -> None:
    lax = Subject("d.test", "mx.test", IP, asked=MessageTls(lax=True))
    assert requirement(policy(), lax) == TlsRequirement(reason="TLS-Required: No", policy=PolicySource.MESSAGE)
    assert requirement(policy(tls_required_header=False), lax) == TlsRequirement()


def test_a_report_on_tls_needs_none_though_the_header_does_not_count() -> None:
    report = Subject("d.test", "mx.test", IP, asked=MessageTls(lax=True, reports=True))
    assert requirement(policy(tls_required_header=False), report).policy is PolicySource.MESSAGE
