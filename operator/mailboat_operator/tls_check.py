"""Whether OpenSSL takes what would be written: asked by the relay's own code, before it is. Called by `reconcile`.

Not pure, because OpenSSL reads files, which `mailboat.config.openssl` makes in memory. What a relay pod would refuse at
its next start must not take the place of what it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mailboat.config.openssl import TlsMaterial, TlsRefusal, refusals
from mailboat_operator import fields
from mailboat_operator.checks import RefFault, RefReason, Resolved, route_file
from mailboat_operator.references import Reference
from mailboat_operator.spec import Spec, TlsSpec

_REASONS = {
    "cert": RefReason.INVALID_CERTIFICATE,
    "ca": RefReason.INVALID_CA_BUNDLE,
    "dhparam": RefReason.INVALID_DH_PARAMETERS,
}


@dataclass(frozen=True, slots=True)
class TlsFaults:
    """What OpenSSL refuses."""

    spec: tuple[str, ...]
    """What stands in the resource itself, with its path."""
    refs: tuple[RefFault, ...]
    """What it refers to."""


def tls_faults(spec: Spec, resolved: Resolved) -> TlsFaults:
    """Everything that OpenSSL would refuse, each told where it is given."""
    found = tuple(dict.fromkeys(_all_faults(spec, resolved)))
    return TlsFaults(
        tuple(fault for fault in found if isinstance(fault, str)),
        tuple(fault for fault in found if isinstance(fault, RefFault)),
    )


def _all_faults(spec: Spec, resolved: Resolved) -> Iterator[str | RefFault]:
    """Of both sides of `tls.ini`, each with what it gives itself or inherits, and of the routes."""
    main = _material(spec.tls, "", resolved.files, TlsMaterial())
    yield from _faults(spec.tls, "spec.tls", main)
    outbound = _material(spec.tls_outbound, "outbound-", resolved.files, main)
    yield from _faults(spec.tls_outbound, "spec.tls.outbound", outbound)
    for route in spec.routes:
        for key in fields.ROUTE_BUNDLES & route.files.keys():
            material = TlsMaterial(ca=resolved.files[route_file(route.name, key)])
            for refusal in refusals(material):
                yield _ref_fault(route.files[key], "ca", refusal)


def _material(side: TlsSpec, prefix: str, files: Mapping[str, bytes], inherited: TlsMaterial) -> TlsMaterial:
    given: dict[str, Any] = {}
    if side.certificate:
        given |= {"cert": files[f"{prefix}tls.crt"], "key": files[f"{prefix}tls.key"]}
    if side.ca:
        given["ca"] = files[f"{prefix}ca.crt"]
    if side.dhparam:
        given["dhparam"] = files[f"{prefix}dhparam.pem"]
    if "ciphers" in side.keys:
        given["ciphers"] = side.keys["ciphers"]
    return replace(inherited, **given)


def _faults(side: TlsSpec, path: str, material: TlsMaterial) -> Iterator[str | RefFault]:
    """Those of what a side gives itself; the rest has been told by the side that it inherits from."""
    references = {"cert": side.certificate, "ca": side.ca, "dhparam": side.dhparam}
    for refusal in refusals(material):
        key = refusal.keys[0]
        ref = references.get(key)
        if ref:
            yield _ref_fault(ref, key, refusal)
        elif key == "ciphers" and key in side.keys:
            yield f"{path}.ciphers: {refusal.message}"


def _ref_fault(ref: Reference, key: str, refusal: TlsRefusal) -> RefFault:
    return RefFault(_REASONS[key], f"{ref}: {ref.key}: {refusal.message} ({ref.path})")
