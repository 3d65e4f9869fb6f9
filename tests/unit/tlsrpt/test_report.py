"""The report: its JSON by the schema of RFC 8460, its names, and the mail that carries it."""

import json
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tls_reports import SCHEMA, reported_in, valid_report

from mailboat.message.tls_report import build
from mailboat.tlsrpt.datagram import datagram
from mailboat.tlsrpt.report import SPREAD, TlsReport, day_from, day_text, due_at
from mailboat.tlsrpt.results import (
    DAY,
    PolicyType,
    ReasonCode,
    ReportedPolicy,
    ResultType,
    TlsCount,
    TlsFailure,
    TlsResult,
    day_of,
    result_of_verify_code,
)

STS = ReportedPolicy(
    "example.com", PolicyType.STS, ("version: STSv1", "mode: testing", "mx: *.example.com"), ("*.example.com",)
)
MISMATCH = TlsFailure(ResultType.CERTIFICATE_HOST_MISMATCH, "mx.example.com", "192.0.2.1", "198.51.100.1")
REPORT = TlsReport(
    "Example & Co",
    "mailto:tls@example.net",
    "example.net",
    "relay-0.example.net",
    "example.com",
    day_from("2026-01-31"),
    (TlsCount(TlsResult(STS), 3), TlsCount(TlsResult(STS, MISMATCH), 1)),
)


def test_sessions_of_a_policy_are_summed_up_and_failures_told_apart() -> None:
    assert valid_report(REPORT.json) == {
        "organization-name": "Example & Co",
        "date-range": {"start-datetime": "2026-01-31T00:00:00Z", "end-datetime": "2026-01-31T23:59:59Z"},
        "contact-info": "mailto:tls@example.net",
        "report-id": REPORT.id,
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing", "mx: *.example.com"],
                    "policy-domain": "example.com",
                    "mx-host": ["*.example.com"],
                },
                "summary": {"total-successful-session-count": 3, "total-failure-session-count": 1},
                "failure-details": [
                    {
                        "result-type": "certificate-host-mismatch",
                        "sending-mta-ip": "198.51.100.1",
                        "receiving-mx-hostname": "mx.example.com",
                        "receiving-ip": "192.0.2.1",
                        "failed-session-count": 1,
                    }
                ],
            }
        ],
    }


def test_no_policy_names_the_domain_too_and_unknown_details_are_left_out() -> None:
    none = ReportedPolicy("example.com")
    failure = TlsFailure(ResultType.VALIDATION_FAILURE, reason=ReasonCode.HANDSHAKE_FAILED)
    report = valid_report(replace(REPORT, counts=[TlsCount(TlsResult(none, failure), 2)]).json)
    (policy,) = report["policies"]
    assert policy["policy"] == {"policy-type": "no-policy-found", "policy-domain": "example.com"}
    assert policy["failure-details"] == [
        {"result-type": "validation-failure", "failure-reason-code": "handshake-failed", "failed-session-count": 2}
    ]


def test_the_schema_refuses_what_the_rfc_does() -> None:
    wrong = json.loads(REPORT.json) | {"policies": [{"policy": {"policy-type": "sts"}}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


_DOMAINS = st.sampled_from(["example.com", "b.example", "xn--bcher-kva.example"])
_POLICIES = st.builds(
    ReportedPolicy, _DOMAINS, st.sampled_from(PolicyType), st.lists(st.text(max_size=9), max_size=3).map(tuple)
)
_FAILURES = st.builds(
    TlsFailure,
    st.sampled_from(ResultType),
    st.sampled_from(["", "mx.example.com"]),
    st.sampled_from(["", "192.0.2.1", "2001:db8::1"]),
    st.just(""),
    st.sampled_from(ReasonCode),
)
_COUNTS = st.builds(TlsCount, st.builds(TlsResult, _POLICIES, st.none() | _FAILURES), st.integers(1, 9))


@given(st.lists(_COUNTS, min_size=1, unique_by=lambda count: count.result))
def test_any_counts_make_a_valid_report_with_the_same_sum(counts: list[TlsCount]) -> None:
    report = valid_report(replace(REPORT, counts=counts).json)
    summed = sum(sum(policy["summary"].values()) for policy in report["policies"])
    assert summed == sum(count.sessions for count in counts)
    for policy in report["policies"]:
        failed = sum(detail["failed-session-count"] for detail in policy.get("failure-details", ()))
        assert failed == policy["summary"]["total-failure-session-count"]


def test_the_mail_is_a_multipart_report_with_the_report_compressed() -> None:
    message, part, report = reported_in(build(REPORT, "tls@example.net", "reports@example.com"))
    assert report == json.loads(REPORT.json)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "tlsrpt"
    assert message["TLS-Report-Domain"] == "example.com"
    assert message["TLS-Report-Submitter"] == "example.net"
    assert message["TLS-Required"] == "No"
    assert message["Subject"] == f"Report Domain: example.com Submitter: example.net Report-ID: <{REPORT.id}>"
    assert part.get_content_type() == "application/tlsrpt+gzip"
    begin = REPORT.day * DAY
    assert part.get_filename() == f"example.net!example.com!{begin}!{begin + DAY - 1}!relay-0.example.net.json.gz"


def test_a_report_made_again_is_the_same_and_another_relay_makes_another() -> None:
    assert REPORT.compressed == replace(REPORT).compressed
    other = replace(REPORT, host="relay-1.example.net")
    assert other.id != REPORT.id
    assert other.file_name != REPORT.file_name


def test_days_are_written_as_they_are_read() -> None:
    assert day_text(0) == "1970-01-01"
    assert day_from("2026-01-31") == day_of(1769817600) == day_of(1769817600 + DAY - 0.1)
    for wrong in ("2026-02-30", "20260131", "2026-W05-6", "tomorrow!!", ""):
        with pytest.raises(ValueError, match="not a day"):
            day_from(wrong)


@given(st.integers(0, 50_000), st.text(), st.text())
def test_reports_are_sent_in_the_four_hours_after_midnight(day: int, domain: str, host: str) -> None:
    assert 0 <= due_at(day, domain, host) - (day + 1) * DAY < SPREAD


@pytest.mark.parametrize(
    ("code", "result"),
    [
        (62, ResultType.CERTIFICATE_HOST_MISMATCH),
        (9, ResultType.CERTIFICATE_EXPIRED),
        (10, ResultType.CERTIFICATE_EXPIRED),
        (18, ResultType.CERTIFICATE_NOT_TRUSTED),
        (19, ResultType.CERTIFICATE_NOT_TRUSTED),
        (20, ResultType.CERTIFICATE_NOT_TRUSTED),
        (21, ResultType.CERTIFICATE_NOT_TRUSTED),
        (23, ResultType.VALIDATION_FAILURE),
        (0, ResultType.VALIDATION_FAILURE),
    ],
)
def test_openssl_s_verdicts_have_their_names_of_the_rfc(code: int, result: ResultType) -> None:
    found, reason = result_of_verify_code(code)
    assert found is result
    assert bool(reason) == (result is ResultType.VALIDATION_FAILURE)


def test_a_datagram_says_one_result_in_libtlsrpt_s_numbers() -> None:
    record = "v=TLSRPTv1;rua=mailto:r@example.com"
    assert json.loads(datagram(TlsResult(STS, MISMATCH), record)) == {
        "dpv": "1",
        "d": "example.com",
        "pr": record,
        "policies": [
            {
                "policy-type": 2,
                "policy-string": list(STS.strings),
                "policy-domain": "example.com",
                "mx-host": ["*.example.com"],
                "failure-details": [{"c": 202, "s": "198.51.100.1", "n": "mx.example.com", "r": "192.0.2.1"}],
                "t": 1,
                "f": 1,
            }
        ],
    }
    (success,) = json.loads(datagram(TlsResult(ReportedPolicy("example.com")), record))["policies"]
    assert (success["policy-type"], success["failure-details"], success["t"], success["f"]) == (9, [], 0, 0)


def test_every_result_has_a_number_for_the_collector() -> None:
    policy = ReportedPolicy("example.com", PolicyType.TLSA)
    sent = [json.loads(datagram(TlsResult(policy, TlsFailure(result)), "")) for result in ResultType]
    assert len({one["policies"][0]["failure-details"][0]["c"] for one in sent}) == len(ResultType)
