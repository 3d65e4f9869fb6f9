"""Whether OpenSSL takes what would be written: asked by the relay's own code, before it is. Called by `reconcile`.

Not pure, because OpenSSL reads files, which `mailboat.config.openssl` makes in memory. What a relay pod would refuse at
its next start must not take the place of what it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mailboat.config.openssl import TlsMaterial, refusals
from mailboat_operator.checks import RefFault, RefReason, Resolved
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
    """Both sides of `tls.ini`, each with what it gives itself or inherits; told where it is given."""
    main = _material(spec.tls, "", resolved.files, TlsMaterial())
    outbound = _material(spec.tls_outbound, "outbound-", resolved.files, main)
    found = [*_faults(spec.tls, "spec.tls", main), *_faults(spec.tls_outbound, "spec.tls.outbound", outbound)]
    return TlsFaults(
        tuple(fault for fault in found if isinstance(fault, str)),
        tuple(dict.fromkeys(fault for fault in found if isinstance(fault, RefFault))),
    )


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
            yield RefFault(_REASONS[key], f"{ref}: {ref.key}: {refusal.message} ({ref.path})")
        elif key == "ciphers" and key in side.keys:
            yield f"{path}.ciphers: {refusal.message}"
