"""The DNSEndpoint from which ExternalDNS publishes the records of a SendingDomain. Pure.

How a TXT record has to be quoted there is the provider's business: Route 53 wants strings in quotation marks, RFC 2136
takes what stands bare behind a `;` for a comment, and Azure takes the text as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mailboat.dkim.keys import dns_name
from mailboat.dkim.record import strings_of
from mailboat_operator.sending.keys import DomainKey
from mailboat_operator.sending.spec import Quoting, SendingSpec

API = "externaldns.k8s.io/v1alpha1"
KIND = "DNSEndpoint"
PLURAL = "dnsendpoints"


def endpoint(spec: SendingSpec, keys: Iterable[DomainKey]) -> dict[str, Any]:
    """Labels, annotations and spec. Keys that were brought are published by those who brought them."""
    publish = spec.publish
    return {
        "labels": publish.labels,
        "annotations": publish.annotations,
        "spec": {"endpoints": [_endpoint(spec, key) for key in keys if not key.existing]},
    }


def _endpoint(spec: SendingSpec, key: DomainKey) -> dict[str, Any]:
    target = strings_of(key.value) if spec.publish.quoting is Quoting.QUOTED else key.value
    found: dict[str, Any] = {
        "dnsName": dns_name(key.selector, spec.domain),
        "recordType": "TXT",
        "targets": [target],
    }
    return found | ({"recordTTL": spec.publish.ttl} if spec.publish.ttl else {})
