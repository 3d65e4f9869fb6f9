"""What is reported of connections to an MX host: the policy that applies, and what is wrong with it (RFC 8460 4).

Pure; called by `security`, when the requirement for the host is known.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailboat.model.observer import StsResult
from mailboat.model.sts import StsAnswer, StsMode, StsPolicy
from mailboat.model.tls import PolicySource
from mailboat.routing.answers import TlsRequirement
from mailboat.routing.records import TlsaRecord
from mailboat.routing.subject import Subject
from mailboat.tlsrpt.results import PolicyType, ReasonCode, ReportedPolicy, ResultType, TlsReporting

_POLICY_FAILURES = {
    StsResult.FETCH_ERROR: ResultType.STS_POLICY_FETCH_ERROR,
    StsResult.POLICY_INVALID: ResultType.STS_POLICY_INVALID,
    StsResult.WEBPKI_INVALID: ResultType.STS_WEBPKI_INVALID,
}


async def reporting(subject: Subject, tls: TlsRequirement) -> TlsReporting:
    """For one target. A host under DANE counts for its TLSA records only, as MTA-STS does not apply (RFC 8461 2)."""
    if tls.dane_failure is not None:
        return TlsReporting(ReportedPolicy(subject.domain, PolicyType.TLSA), tls.dane_failure)
    if tls.tlsa or tls.policy is PolicySource.DANE:
        policy = ReportedPolicy(subject.domain, PolicyType.TLSA, tuple(map(presentation, tls.tlsa)))
        if tls.refusal:
            return TlsReporting(policy, ResultType.DNSSEC_INVALID)
        return TlsReporting(policy, None if tls.tlsa else ResultType.TLSA_INVALID)
    answer = await subject.lookups.sts(subject.domain)
    return TlsReporting(ReportedPolicy(subject.domain)) if answer is None else _under_sts(subject, answer)


def _under_sts(subject: Subject, answer: StsAnswer) -> TlsReporting:
    policy = answer.policy
    failure = StsResult.FETCH_ERROR if answer.pending else answer.failure
    if failure is not None:
        return TlsReporting(ReportedPolicy(subject.domain, PolicyType.STS), _POLICY_FAILURES[failure])
    if policy is None or policy.mode is StsMode.NONE:
        return TlsReporting(ReportedPolicy(subject.domain))
    reported = ReportedPolicy(subject.domain, PolicyType.STS, tuple(_lines(policy)), policy.mx)
    if not policy.matches(subject.host.lower()):
        # RFC 8461 4.1; no certificate was seen, so it is no certificate-host-mismatch.
        return TlsReporting(reported, ResultType.VALIDATION_FAILURE, ReasonCode.MX_NOT_IN_POLICY)
    return TlsReporting(reported, trial=policy.mode is StsMode.TESTING)


def _lines(policy: StsPolicy) -> Iterator[str]:
    yield from ("version: STSv1", f"mode: {policy.mode}")
    yield from (f"mx: {host}" for host in policy.mx)
    yield f"max_age: {policy.max_age}"


def presentation(record: TlsaRecord) -> str:
    """A TLSA record as zone files have it (RFC 6698 2.2)."""
    return f"{record.usage} {record.selector} {record.matching} {record.data.hex()}"
