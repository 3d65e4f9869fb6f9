"""One result as a datagram of libtlsrpt, protocol version 1, for its collector. Pure."""

from __future__ import annotations

from typing import Any, Final

import orjson

from mailboat.tlsrpt.results import PolicyType, ResultType, TlsFailure, TlsResult

MAX_DATAGRAM: Final = 65_000
"""Octets that the collector reads of one datagram."""

_POLICY_TYPES: Final = {PolicyType.TLSA: 1, PolicyType.STS: 2, PolicyType.NONE: 9}
_CODES: Final = {
    ResultType.STARTTLS_NOT_SUPPORTED: 201,
    ResultType.CERTIFICATE_HOST_MISMATCH: 202,
    ResultType.CERTIFICATE_NOT_TRUSTED: 203,
    ResultType.CERTIFICATE_EXPIRED: 204,
    ResultType.VALIDATION_FAILURE: 205,
    ResultType.STS_POLICY_FETCH_ERROR: 301,
    ResultType.STS_POLICY_INVALID: 302,
    ResultType.STS_WEBPKI_INVALID: 303,
    ResultType.TLSA_INVALID: 304,
    ResultType.DNSSEC_INVALID: 305,
    ResultType.DANE_REQUIRED: 306,
}


def datagram(result: TlsResult, record: str) -> bytes:
    """The datagram; `record` is the TXT record of the domain."""
    policy, failure = result
    told: dict[str, Any] = {
        "policy-type": _POLICY_TYPES[policy.type],
        "policy-string": list(policy.strings),
        "policy-domain": policy.domain,
        "mx-host": list(policy.mx_hosts),
        "failure-details": [] if failure is None else [_details(failure)],
        "t": 0 if failure is None else 1,
        "f": 0 if failure is None else 1,
    }
    return orjson.dumps({"dpv": "1", "d": policy.domain, "pr": record, "policies": [told]})


def _details(failure: TlsFailure) -> dict[str, Any]:
    known = {"s": failure.sending_ip, "n": failure.mx, "r": failure.receiving_ip, "f": failure.reason.value}
    return {"c": _CODES[failure.result], **{name: value for name, value in known.items() if value}}
