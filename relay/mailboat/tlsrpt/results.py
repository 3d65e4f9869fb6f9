"""What is counted of connections to a domain's MX hosts, in the words of RFC 8460.

Pure values. `delivery` makes them, `queue.tlsrpt_table` stores them, `report` and `datagram` write them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

DAY = 86_400
"""Seconds. A report is for one day of UTC (RFC 8460 4.1)."""


class PolicyType(StrEnum):
    """The kind of policy that applied (RFC 8460 4.4)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class ResultType(StrEnum):
    """Why TLS failed (RFC 8460 4.3)."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


class ReasonCode(StrEnum):
    """`failure-reason-code`: always words of the relay, never a text of the peer."""

    NONE = ""
    STARTTLS_REFUSED = "starttls-refused"
    HANDSHAKE_FAILED = "handshake-failed"
    CERTIFICATE_INVALID = "certificate-invalid"
    TLSA_MISMATCH = "tlsa-mismatch"
    MX_NOT_IN_POLICY = "mx-not-in-policy"
    OTHER = "other"
    """Failures beyond the number that is kept apart."""


class ReportedPolicy(NamedTuple):
    """The policy of a recipients' domain that a connection was made under."""

    domain: str
    """A-labels, lower case, without the final dot."""
    type: PolicyType = PolicyType.NONE
    strings: tuple[str, ...] = ()
    """The TLSA records in presentation form, or the lines of the MTA-STS policy."""
    mx_hosts: tuple[str, ...] = ()
    """The patterns of an MTA-STS policy."""


class TlsReporting(NamedTuple):
    """What to report of connections to one host."""

    policy: ReportedPolicy
    failure: ResultType | None = None
    """What is wrong with the policy, or with the host under it, whatever TLS there is."""
    reason: ReasonCode = ReasonCode.NONE
    trial: bool = False
    """The policy only tests (RFC 8461 5): a certificate that is not valid for the host is a failure, and mail goes."""


class TlsFailure(NamedTuple):
    """One kind of failure; what is unknown is empty."""

    result: ResultType
    mx: str = ""
    receiving_ip: str = ""
    sending_ip: str = ""
    reason: ReasonCode = ReasonCode.NONE


class TlsResult(NamedTuple):
    """How one connection ended, as far as TLS goes."""

    policy: ReportedPolicy
    failure: TlsFailure | None = None
    """None: success."""


class TlsCount(NamedTuple):
    """How many connections of one day had the same result."""

    result: TlsResult
    sessions: int


_BY_VERIFY_CODE = {
    # X509_verify_cert_error_string(3): X509_V_ERR_…
    9: ResultType.CERTIFICATE_EXPIRED,  # not yet valid
    10: ResultType.CERTIFICATE_EXPIRED,
    18: ResultType.CERTIFICATE_NOT_TRUSTED,  # self-signed
    19: ResultType.CERTIFICATE_NOT_TRUSTED,  # self-signed in the chain
    20: ResultType.CERTIFICATE_NOT_TRUSTED,  # no issuer found
    21: ResultType.CERTIFICATE_NOT_TRUSTED,  # no chain to verify the first one
    62: ResultType.CERTIFICATE_HOST_MISMATCH,
    64: ResultType.CERTIFICATE_HOST_MISMATCH,  # for another address
}


def result_of_verify_code(code: int) -> tuple[ResultType, ReasonCode]:
    """What OpenSSL's verdict on a certificate is called."""
    result = _BY_VERIFY_CODE.get(code)
    if result is None:
        return ResultType.VALIDATION_FAILURE, ReasonCode.CERTIFICATE_INVALID
    return result, ReasonCode.NONE


def day_of(time: float) -> int:
    """The day of a time in seconds since the epoch, as days since the epoch."""
    return int(time // DAY)
