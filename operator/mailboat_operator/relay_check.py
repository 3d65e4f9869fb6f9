"""Whether a relay takes what would be written: its own code reads it, before it is. Called by `reconcile`.

What a relay pod would refuse at its next start must not take the place of what it runs. Most of it has been told by
`spec` and `checks`, with better names; what OpenSSL says of certificates, parameters and ciphers is reported here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailboat.config import ini
from mailboat.config.dkim import FILE
from mailboat.config.fault import Fault, Report
from mailboat.config.files import GivenFiles
from mailboat.config.ini import MAIN
from mailboat.config.parse import longest_wait, settings_of
from mailboat.config.shaping import FILE as SHAPING
from mailboat.config.tenants import TENANT
from mailboat_operator import fields, names
from mailboat_operator.checks import RefFault, RefReason
from mailboat_operator.desired.children import Desired
from mailboat_operator.references import Reference
from mailboat_operator.spec import Spec, TenantSpec

_HOST_NAME = "relay.invalid"
"""Each pod has its own (RFC 2606)."""


@dataclass(frozen=True, slots=True)
class RelayFaults:
    """What a relay refuses."""

    spec: tuple[str, ...]
    """What stands in the resource itself, with its path."""
    refs: tuple[RefFault, ...]
    """What it refers to."""
    longest_wait: float = field(default=0.0, compare=False)
    """Seconds that mail may wait in its queue."""
    warnings: tuple[str, ...] = ()
    """What the relay warns of in `spec.shaping`."""


def relay_faults(spec: Spec, desired: Desired) -> RelayFaults:
    """Everything that a relay would refuse in the files of these children, each told where it is given."""
    report = Report()
    # Of DKIM only keys that have been read are written, and nothing that a user says: a thousand take a second.
    children = [child for child in desired.children if not child.key.name.endswith(names.DKIM_SECRETS)]
    contents = {name: content for child in children for name, content in child.data.items() if name != FILE}
    if listened := dict.fromkeys(address for tenant in spec.tenants for address in _listeners(tenant)):
        # Where the pods listen is not known here: wherever a tenant's mail is to come in.
        contents["smtp.ini"] = ini.write({MAIN: {"listen": ", ".join(listened)}}).encode()
    settings = settings_of(GivenFiles(contents, report), report, host_name=_HOST_NAME)
    found = list(dict.fromkeys(_told(spec, fault) for fault in report.faults))
    return RelayFaults(
        tuple(fault for fault in found if isinstance(fault, str)),
        tuple(fault for fault in found if isinstance(fault, RefFault)),
        longest_wait(settings.outbound, settings.shaping),
        tuple(str(_told(spec, fault)) for fault in report.warnings if fault.file == SHAPING),
    )


def _listeners(tenant: TenantSpec) -> list[str]:
    return [address for address in str(tenant.keys.get("listeners", "")).split(", ") if address]


def _told(spec: Spec, fault: Fault) -> str | RefFault:
    if fault.file == "tls.ini":
        return _told_of_tls(spec, fault)
    if fault.file == SHAPING and spec.shaping is not None:
        return spec.shaping.told(fault)
    for number, tenant in enumerate(spec.tenants):
        if fault.section == f"{TENANT}{tenant.name}" and fault.key in fields.TENANT:
            return f"spec.tenants[{number}].{fields.TENANT[fault.key]}: {fault.message}"
    for route in spec.routes:
        if fault.section == f"route:{route.name}" and (ref := route.files.get(fault.key)):
            bundle = fault.key in fields.ROUTE_BUNDLES
            return _ref_fault(ref, RefReason.INVALID_CA_BUNDLE if bundle else RefReason.INVALID_CREDENTIALS, fault)
    return str(fault)


def _told_of_tls(spec: Spec, fault: Fault) -> str | RefFault:
    side, path = (spec.tls, "spec.tls") if fault.section == MAIN else (spec.tls_outbound, "spec.tls.outbound")
    references = {
        "cert": (side.certificate, RefReason.INVALID_CERTIFICATE),
        "ca": (side.ca, RefReason.INVALID_CA_BUNDLE),
        "dhparam": (side.dhparam, RefReason.INVALID_DH_PARAMETERS),
    }
    ref, reason = references.get(fault.key, (None, RefReason.INVALID_CERTIFICATE))
    if ref:
        return _ref_fault(ref, reason, fault)
    return f"{path}.{fields.TLS[fault.key]}: {fault.message}" if fault.key in fields.TLS else str(fault)


def _ref_fault(ref: Reference, reason: RefReason, fault: Fault) -> RefFault:
    return RefFault(reason, f"{ref}: {ref.key}: {fault.message} ({ref.path})")
