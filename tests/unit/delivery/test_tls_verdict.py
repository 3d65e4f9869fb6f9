"""What the TLS of a host leads to: every cell of the table of hosts and demands, and the status of every failure."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from tests.unit.delivery.test_verdict import PEOPLE

from mailboat.config.settings import TlsLevel
from mailboat.delivery import tls_verdict, verdict
from mailboat.delivery.tls_verdict import HostTls, TlsStep, tls_step
from mailboat.delivery.verdict import FaultKind, Trouble
from mailboat.model.outcome import Result, Stage
from mailboat.model.reply import Reply
from mailboat.model.tls import PolicySource, VerifiedBy
from mailboat.routing.answers import SessionTls, TlsRequirement
from mailboat.routing.records import TlsaRecord
from mailboat.routing.security import check_session

DEMANDS = {
    "disabled": TlsRequirement(TlsLevel.DISABLED),
    "opportunistic": TlsRequirement(),
    "encrypt": TlsRequirement(TlsLevel.ENCRYPT, reason="unusable TLSA records", policy=PolicySource.DANE),
    "pkix": TlsRequirement(TlsLevel.REQUIRED, True, "MTA-STS of d.test", policy=PolicySource.STS),
    "dane": TlsRequirement(TlsLevel.REQUIRED, reason="TLSA", tlsa=(TlsaRecord(3, 1, 1, bytes(32)),)),
}
CLEAR, RECONNECT, NEXT, ON = TlsStep.CLEAR, TlsStep.RECONNECT, TlsStep.NEXT, TlsStep.GO_ON
CELLS = {
    HostTls.NOT_OFFERED: (ON, ON, NEXT, NEXT, NEXT),
    HostTls.REFUSED: (None, CLEAR, NEXT, NEXT, NEXT),
    HostTls.BROKEN: (None, RECONNECT, NEXT, NEXT, NEXT),
    HostTls.UNVERIFIED: (None, ON, ON, NEXT, NEXT),
    HostTls.VERIFIED: (None, ON, ON, ON, NEXT),
    HostTls.MATCHED: (None, None, None, None, ON),
    HostTls.MISMATCHED: (None, None, None, None, NEXT),
    HostTls.INJECTED: (None, NEXT, NEXT, NEXT, NEXT),
}
"""None: there is no such connection."""


@pytest.mark.parametrize(
    ("host", "demand", "step"),
    [
        pytest.param(host, demand, step, id=f"{host.name}-{demand}")
        for host, row in CELLS.items()
        for demand, step in zip(DEMANDS, row, strict=True)
        if step is not None
    ],
)
def test_every_cell_of_the_table(host: HostTls, demand: str, step: TlsStep) -> None:
    assert tls_step(DEMANDS[demand], host) is step


SESSIONS = {
    HostTls.NOT_OFFERED: SessionTls(),
    HostTls.UNVERIFIED: SessionTls("TLSv1.3"),
    HostTls.VERIFIED: SessionTls("TLSv1.3", verified_by=VerifiedBy.PKIX),
    HostTls.MATCHED: SessionTls("TLSv1.3", verified_by=VerifiedBy.DANE_EE),
    HostTls.MISMATCHED: SessionTls("TLSv1.3"),
}


@pytest.mark.parametrize(("host", "demand"), list(product(SESSIONS, DEMANDS)))
def test_the_check_of_a_session_agrees_with_the_table(host: HostTls, demand: str) -> None:
    step = tls_step(DEMANDS[demand], host)
    assert bool(check_session(DEMANDS[demand], SESSIONS[host])) == (step is NEXT)


@pytest.mark.parametrize("host", [HostTls.REFUSED, HostTls.BROKEN])
def test_a_password_is_not_sent_in_plaintext_because_tls_failed(host: HostTls) -> None:
    assert tls_step(DEMANDS["opportunistic"], host, has_secret=True) is NEXT


def test_a_certificate_that_must_be_valid_should_tls_be_used_is_no_reason_for_plaintext() -> None:
    assert tls_step(TlsRequirement(verify=True), HostTls.UNVERIFIED) is NEXT


NOT_OFFERED = Trouble(Stage.STARTTLS, FaultKind.NO_TLS, "no STARTTLS")
REFUSED = Trouble(Stage.STARTTLS, reply=Reply(454, "4.7.0 not now"))
BROKEN = Trouble(Stage.TLS, FaultKind.TLS, "no handshake")
MISMATCHED = Trouble(Stage.TLS, FaultKind.TLSA, "no match")
UNLISTED = tls_verdict.refusal(TlsRequirement(refusal="mta-sts: host not listed", policy=PolicySource.STS))
UNREACHABLE = Trouble(Stage.CONNECT, FaultKind.CONNECT, "refused")


@pytest.mark.parametrize(
    ("trouble", "status", "with_requiretls"),
    [
        (NOT_OFFERED, "4.7.4", "5.7.10"),
        (REFUSED, "4.7.4", "5.7.10"),
        (Trouble(Stage.STARTTLS, reply=Reply(421, "bye")), "4.7.4", "4.7.4"),
        (BROKEN, "4.7.5", "5.7.10"),
        (MISMATCHED, "4.7.5", "5.7.10"),
        (UNLISTED, "4.7.5", "4.7.5"),
        (UNREACHABLE, "4.4.1", "4.4.1"),
        (Trouble(Stage.EHLO, FaultKind.CLOSED, "gone after TLS"), "4.4.1", "4.4.1"),
    ],
)
def test_the_status_of_a_failure_and_with_requiretls(trouble: Trouble, status: str, with_requiretls: str) -> None:
    troubles = [("mx", "mx:25", trouble)]
    assert {outcome.status for outcome in verdict.exhausted(PEOPLE, troubles)} == {status}
    found = tls_verdict.exhausted(PEOPLE, troubles)
    result = Result.BOUNCED if with_requiretls[0] == "5" else Result.DEFERRED
    assert {(outcome.status, outcome.result) for outcome in found} == {(with_requiretls, result)}


@pytest.mark.parametrize("mild", [UNLISTED, UNREACHABLE])
def test_one_host_that_was_merely_unreachable_makes_it_a_deferral(mild: Trouble) -> None:
    for troubles in ([mild, NOT_OFFERED], [NOT_OFFERED, mild]):
        found = tls_verdict.exhausted(PEOPLE, [("mx", "mx:25", trouble) for trouble in troubles])
        assert {outcome.result for outcome in found} == {Result.DEFERRED}


def test_a_failure_says_what_was_demanded_and_by_whom() -> None:
    tls = DEMANDS["pkix"]
    assert str(tls_verdict.with_demand(BROKEN, tls)) == "no handshake (verified TLS is demanded: MTA-STS of d.test)"
    said = str(tls_verdict.with_demand(REFUSED, DEMANDS["encrypt"]))
    assert said == "454 4.7.0 not now (TLS is demanded: unusable TLSA records)"
    told = replace(NOT_OFFERED, text="TLS is required (MTA-STS of d.test), but the host does not offer STARTTLS")
    assert tls_verdict.with_demand(told, tls) == told
