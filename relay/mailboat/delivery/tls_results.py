"""How a connection is reported to the recipients' domain (RFC 8460 4.3). Pure; called by `delivery.client`."""

from __future__ import annotations

from mailboat.delivery.verdict import FaultKind, PeerTrouble, Trouble
from mailboat.model.outcome import Stage
from mailboat.routing.answers import Target
from mailboat.tlsrpt.results import (
    ReasonCode,
    ResultType,
    TlsFailure,
    TlsReporting,
    TlsResult,
    result_of_verify_code,
)

Found = tuple[ResultType, ReasonCode]
_NO_STARTTLS: Found = ResultType.STARTTLS_NOT_SUPPORTED, ReasonCode.NONE
_REFUSED: Found = ResultType.STARTTLS_NOT_SUPPORTED, ReasonCode.STARTTLS_REFUSED


def opened(target: Target, tls_version: str, sending_ip: str) -> TlsResult | None:
    """The result of a connection that mail can go over; None: it is not reported."""
    reporting = target.tls.reporting
    if reporting is None:
        return None
    return _result(target, reporting, None if tls_version else _NO_STARTTLS, sending_ip)


def failed(target: Target, trouble: PeerTrouble, sending_ip: str = "") -> TlsResult | None:
    """The result of a connection that was given up; None: it is not reported, because TLS was not the reason."""
    reporting = target.tls.reporting
    found = None if reporting is None else _about_tls(trouble.trouble, getattr(trouble.__cause__, "verify_code", 0))
    return None if reporting is None or found is None else _result(target, reporting, found, sending_ip)


def refused(target: Target) -> TlsResult | None:
    """The result for a host that the policy of the recipients' domain refuses; None: it is not reported."""
    reporting = target.tls.reporting
    return None if reporting is None or reporting.failure is None else _result(target, reporting, None, "")


def _about_tls(trouble: Trouble, verify_code: int) -> Found | None:
    if trouble.stage is Stage.STARTTLS:
        return _REFUSED if trouble.reply is not None else _NO_STARTTLS
    if trouble.stage is not Stage.TLS or trouble.kind is FaultKind.LOCAL:
        return None
    if trouble.kind is FaultKind.TLSA:
        return ResultType.VALIDATION_FAILURE, ReasonCode.TLSA_MISMATCH
    if verify_code:
        return result_of_verify_code(verify_code)
    return ResultType.VALIDATION_FAILURE, ReasonCode.HANDSHAKE_FAILED


def _result(target: Target, reporting: TlsReporting, found: Found | None, sending_ip: str) -> TlsResult:
    """What failed in the connection counts; else what is wrong with the policy."""
    if found is None and reporting.failure is not None:
        found = reporting.failure, reporting.reason
    if found is None:
        return TlsResult(reporting.policy)
    host = target.host.rstrip(".").lower()
    return TlsResult(reporting.policy, TlsFailure(found[0], host, target.ip, sending_ip, found[1]))
