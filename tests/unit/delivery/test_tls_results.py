"""How the end of a connection is reported."""

from __future__ import annotations

import pytest

from mailboat.delivery import tls_results
from mailboat.delivery.verdict import FaultKind, PeerTrouble, Trouble
from mailboat.model.outcome import Stage
from mailboat.model.reply import Reply
from mailboat.routing.answers import Target, TlsRequirement
from mailboat.tlsrpt.results import (
    PolicyType,
    ReasonCode,
    ReportedPolicy,
    ResultType,
    TlsFailure,
    TlsReporting,
    TlsResult,
)

POLICY = ReportedPolicy("example.com", PolicyType.STS)
V = ResultType.VALIDATION_FAILURE


def target(reporting: TlsReporting | None = TlsReporting(POLICY)) -> Target:  # noqa: B008 - a value
    return Target("MX.example.com.", "192.0.2.1", 25, tls=TlsRequirement(reporting=reporting))


def trouble(
    stage: Stage, kind: FaultKind | None = None, *, verify_code: int = 0, reply: Reply | None = None
) -> PeerTrouble:
    made = PeerTrouble(Trouble(stage, kind, "text of the peer", reply))
    if verify_code:
        made.__cause__ = OSError()
        made.__cause__.verify_code = verify_code  # type: ignore[attr-defined]
    return made


def failure(result: ResultType, reason: ReasonCode = ReasonCode.NONE) -> TlsResult:
    return TlsResult(POLICY, TlsFailure(result, "mx.example.com", "192.0.2.1", "192.0.2.2", reason))


def test_a_connection_with_tls_is_a_success_and_one_without_is_a_failure() -> None:
    assert tls_results.opened(target(), "TLSv1.3", "192.0.2.2") == TlsResult(POLICY)
    assert tls_results.opened(target(), "", "192.0.2.2") == failure(ResultType.STARTTLS_NOT_SUPPORTED)


def test_what_is_wrong_with_the_policy_counts_where_the_connection_has_tls() -> None:
    wrong = target(TlsReporting(POLICY, ResultType.STS_POLICY_FETCH_ERROR))
    assert tls_results.opened(wrong, "TLSv1.3", "192.0.2.2") == failure(ResultType.STS_POLICY_FETCH_ERROR)
    assert tls_results.opened(wrong, "", "192.0.2.2") == failure(ResultType.STARTTLS_NOT_SUPPORTED)


@pytest.mark.parametrize(
    ("end", "result"),
    [
        (trouble(Stage.STARTTLS, FaultKind.NO_TLS), failure(ResultType.STARTTLS_NOT_SUPPORTED)),
        (
            trouble(Stage.STARTTLS, reply=Reply(454, "no")),
            failure(ResultType.STARTTLS_NOT_SUPPORTED, ReasonCode.STARTTLS_REFUSED),
        ),
        (trouble(Stage.TLS, FaultKind.TLS, verify_code=62), failure(ResultType.CERTIFICATE_HOST_MISMATCH)),
        (trouble(Stage.TLS, FaultKind.TLS, verify_code=10), failure(ResultType.CERTIFICATE_EXPIRED)),
        (trouble(Stage.TLS, FaultKind.TLS, verify_code=24), failure(V, ReasonCode.CERTIFICATE_INVALID)),
        (trouble(Stage.TLS, FaultKind.TLS), failure(V, ReasonCode.HANDSHAKE_FAILED)),
        (trouble(Stage.TLS, FaultKind.TLSA), failure(V, ReasonCode.TLSA_MISMATCH)),
    ],
)
def test_a_connection_that_fails_in_tls_has_a_result_type(end: PeerTrouble, result: TlsResult) -> None:
    assert tls_results.failed(target(), end, "192.0.2.2") == result


@pytest.mark.parametrize(
    "end",
    [
        trouble(Stage.CONNECT, FaultKind.CONNECT),
        trouble(Stage.GREETING, reply=Reply(554, "no")),
        trouble(Stage.EHLO, FaultKind.TIMEOUT),
        trouble(Stage.TLS, FaultKind.LOCAL),
    ],
)
def test_a_connection_that_fails_for_another_reason_is_not_reported(end: PeerTrouble) -> None:
    assert tls_results.failed(target(), end, "") is None


def test_a_host_that_is_refused_counts_for_what_is_wrong_with_it() -> None:
    unlisted = target(TlsReporting(POLICY, V, ReasonCode.MX_NOT_IN_POLICY))
    refused = TlsFailure(V, "mx.example.com", "192.0.2.1", "", ReasonCode.MX_NOT_IN_POLICY)
    assert tls_results.refused(unlisted) == TlsResult(POLICY, refused)
    assert tls_results.refused(target()) is None


def test_without_reports_nothing_is_told() -> None:
    off = target(None)
    assert tls_results.opened(off, "TLSv1.3", "") is None
    assert tls_results.failed(off, trouble(Stage.TLS, FaultKind.TLS), "") is None
    assert tls_results.refused(off) is None
