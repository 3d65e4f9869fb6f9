"""What only OpenSSL refuses is found before it is written, and told where it is given."""

from __future__ import annotations

from typing import Any

from tests.support.outbound_config import parsed, resolved, secret, secrets
from tests.support.pem import self_signed

from mailboat_operator.checks import RefReason, Sources
from mailboat_operator.tls_check import TlsFaults, tls_faults

KEY, CERTIFICATE = self_signed("relay.example.com")
WEAK_KEY, WEAK_CERTIFICATE = self_signed("relay.example.com", rsa_bits=1024)
DH_512 = """-----BEGIN DH PARAMETERS-----
MEYCQQCsiezmeMygmhs+aO/xzde6dUiiHj2n6a5wjlz+vFY3DsYcGZc4gxoHkHFe
WuRuCMG3BfB0f+fLfKzMo+7PC2h/AgEC
-----END DH PARAMETERS-----
"""
SOURCES = secrets(
    good=secret(tls__key=KEY, tls__crt=CERTIFICATE),
    weak=secret(tls__key=WEAK_KEY, tls__crt=WEAK_CERTIFICATE),
    dh=secret(dhparam__pem=DH_512),
)


def faults(tls: dict[str, Any], sources: Sources = SOURCES) -> TlsFaults:
    spec = parsed({"tls": tls})
    return tls_faults(spec, resolved(spec, sources))


def test_what_openssl_takes_is_no_fault() -> None:
    good = {"certificateSecretRef": {"name": "good"}, "ciphers": "HIGH"}

    assert faults({}) == faults({**good, "outbound": good}) == TlsFaults((), ())


def test_a_key_that_is_too_short_is_told_by_its_secret() -> None:
    (fault,) = faults({"certificateSecretRef": {"name": "weak"}}).refs

    assert fault.reason is RefReason.INVALID_CERTIFICATE
    said = "tls.crt: OpenSSL refuses it: the key of the certificate is too short (spec.tls.certificateSecretRef)"
    assert fault.message == f"Secret weak: {said}"


def test_parameters_that_are_too_short_are_told() -> None:
    (fault,) = faults({"dhparamSecretRef": {"name": "dh"}}).refs

    assert fault.reason is RefReason.INVALID_DH_PARAMETERS
    assert "the parameters are too short" in fault.message


def test_a_cipher_list_that_matches_nothing_is_a_fault_of_the_spec() -> None:
    found = faults({"ciphers": "HIGH", "outbound": {"ciphers": "NO-SUCH-CIPHER"}})

    assert found.refs == ()
    (fault,) = found.spec
    assert fault.startswith("spec.tls.outbound.ciphers: OpenSSL refuses it: ")


def test_what_is_inherited_is_told_once() -> None:
    found = faults({"certificateSecretRef": {"name": "weak"}, "ciphers": "NO-SUCH-CIPHER", "outbound": {}})

    assert [fault.partition(":")[0] for fault in found.spec] == ["spec.tls.ciphers"]
    assert len(found.refs) == 1
