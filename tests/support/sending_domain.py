"""SendingDomains for tests: resources as the API server would give them."""

from __future__ import annotations

from typing import Any

from tests.support.crds import CRDS, defaulted, schema_of

from mailboat_operator.sending.spec import SendingSpec, parse_sending_domain

CRD_FILE = CRDS / "sendingdomains.yaml"
SPEC: dict[str, Any] = {"domain": "example.com", "outboundConfigRefs": [{"name": "relay"}]}
"""The shortest spec."""


def sending_resource(**spec: Any) -> dict[str, Any]:
    """A SendingDomain with defaults; `spec` changes `SPEC`."""
    schema = schema_of(CRD_FILE)["properties"]["spec"]
    return {"metadata": {"namespace": "mail", "name": "example-com"}, "spec": defaulted(SPEC | spec, schema)}


def sending_spec(**spec: Any) -> SendingSpec:
    """The spec, which must have no faults."""
    found, faults = parse_sending_domain(sending_resource(**spec))
    assert faults == ()
    assert found is not None
    return found


def sending_faults(**spec: Any) -> tuple[str, ...]:
    """What is wrong with a spec; there must be something."""
    found, faults = parse_sending_domain(sending_resource(**spec))
    assert found is None
    assert faults
    return faults
