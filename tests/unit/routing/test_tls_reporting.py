"""Which policy a connection is reported under, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from mailboat.config.settings import TlsLevel
from mailboat.model.observer import StsResult
from mailboat.model.sts import StsAnswer, StsMode, StsPolicy
from mailboat.model.tls import PolicySource
from mailboat.routing.answers import TlsRequirement
from mailboat.routing.records import TlsaRecord
from mailboat.routing.subject import Lookups, Subject
from mailboat.routing.tls_reporting import reporting
from mailboat.tlsrpt.results import PolicyType, ReasonCode, ReportedPolicy, ResultType, TlsReporting

RECORD = TlsaRecord(3, 1, 1, bytes(32))
LISTED, UNLISTED = ("*.example.com",), ("mx.other.test",)
NO_STS = ReportedPolicy("example.com", PolicyType.STS)
NONE = TlsReporting(ReportedPolicy("example.com"))


@dataclass
class StsOnly:
    """Look-ups of MTA-STS only."""

    answer: StsAnswer | None

    async def sts(self, domain: str) -> StsAnswer | None:
        assert domain == "example.com"
        return self.answer


async def reported(answer: StsAnswer | None = None, tls: TlsRequirement = TlsRequirement()) -> TlsReporting:  # noqa: B008
    lookups = cast("Lookups", StsOnly(answer))
    return await reporting(Subject("example.com", "MX.example.com", by_mx=True, lookups=lookups), tls)


def sts(mode: StsMode, mx: tuple[str, ...] = LISTED) -> StsAnswer:
    return StsAnswer(0.0, StsPolicy(mode, 86_400, mx), "1")


def of_sts(mode: str, mx: tuple[str, ...] = LISTED) -> ReportedPolicy:
    lines = ("version: STSv1", f"mode: {mode}", *(f"mx: {host}" for host in mx), "max_age: 86400")
    return ReportedPolicy("example.com", PolicyType.STS, lines, mx)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, NONE),
        (StsAnswer(0.0), NONE),
        (sts(StsMode.NONE), NONE),
        (sts(StsMode.ENFORCE), TlsReporting(of_sts("enforce"))),
        (sts(StsMode.TESTING), TlsReporting(of_sts("testing"), trial=True)),
        (
            sts(StsMode.TESTING, UNLISTED),
            TlsReporting(of_sts("testing", UNLISTED), ResultType.VALIDATION_FAILURE, ReasonCode.MX_NOT_IN_POLICY),
        ),
        (StsAnswer(0.0, pending=True), TlsReporting(NO_STS, ResultType.STS_POLICY_FETCH_ERROR)),
        (
            StsAnswer(0.0, failure=StsResult.FETCH_ERROR),
            TlsReporting(NO_STS, ResultType.STS_POLICY_FETCH_ERROR),
        ),
        (StsAnswer(0.0, failure=StsResult.POLICY_INVALID), TlsReporting(NO_STS, ResultType.STS_POLICY_INVALID)),
        (StsAnswer(0.0, failure=StsResult.WEBPKI_INVALID), TlsReporting(NO_STS, ResultType.STS_WEBPKI_INVALID)),
    ],
)
async def test_the_policy_of_mta_sts(answer: StsAnswer | None, expected: TlsReporting) -> None:
    assert await reported(answer) == expected


async def test_a_host_under_dane_counts_for_its_records_and_not_for_mta_sts() -> None:
    tls = TlsRequirement(TlsLevel.REQUIRED, policy=PolicySource.DANE, tlsa=(RECORD,))
    policy = ReportedPolicy("example.com", PolicyType.TLSA, ("3 1 1 " + "00" * 32,))
    assert await reported(sts(StsMode.ENFORCE, UNLISTED), tls) == TlsReporting(policy)


async def test_records_that_cannot_be_used_or_looked_up_are_failures_of_the_policy() -> None:
    policy = ReportedPolicy("example.com", PolicyType.TLSA)
    unusable = TlsRequirement(TlsLevel.ENCRYPT, policy=PolicySource.DANE)
    assert await reported(None, unusable) == TlsReporting(policy, ResultType.TLSA_INVALID)
    bogus = TlsRequirement(refusal="DANE: SERVFAIL", policy=PolicySource.DANE)
    assert await reported(None, bogus) == TlsReporting(policy, ResultType.DNSSEC_INVALID)


@pytest.mark.parametrize("failure", [ResultType.DANE_REQUIRED, ResultType.TLSA_INVALID])
async def test_dane_that_the_settings_demand_and_the_host_lacks_is_a_failure_whatever_mta_sts_says(
    failure: ResultType,
) -> None:
    tls = TlsRequirement(refusal="DANE is demanded", policy=PolicySource.CONFIG, dane_failure=failure)
    policy = ReportedPolicy("example.com", PolicyType.TLSA)
    assert await reported(sts(StsMode.ENFORCE), tls) == TlsReporting(policy, failure)
