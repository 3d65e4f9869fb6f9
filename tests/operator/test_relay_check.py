"""What a relay would refuse is found by its own code before it is written, and told where it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.outbound_config import KEY as RESOURCE
from tests.support.outbound_config import UID, parsed, resolved, secret, secrets
from tests.support.pem import self_signed

from mailboat_operator import fields
from mailboat_operator.checks import RefReason, Sources, route_file
from mailboat_operator.desired.children import build
from mailboat_operator.relay_check import RelayFaults, relay_faults
from mailboat_operator.spec import Spec

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


ROUTE = {
    "name": "a",
    "domains": ["*"],
    "hosts": [{"host": "smtp.example.net"}],
    "authSecretRef": {"name": "user"},
    "caBundleRef": {"kind": "Secret", "name": "roots"},
}


def faults(tls: dict[str, Any], sources: Sources = SOURCES) -> RelayFaults:
    return faults_of(parsed({"tls": tls}), sources)


def faults_of(spec: Spec, sources: Sources = SOURCES) -> RelayFaults:
    return relay_faults(spec, build(RESOURCE, UID, spec, resolved(spec, sources), bytes(32)))


def test_what_openssl_takes_is_no_fault() -> None:
    good = {"certificateSecretRef": {"name": "good"}, "ciphers": "HIGH"}

    assert faults({}) == faults({**good, "outbound": good}) == RelayFaults((), ())


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


@pytest.mark.parametrize(
    ("key", "content", "reason", "said"),
    [
        ("ca", b"no PEM", RefReason.INVALID_CA_BUNDLE, "Secret roots: ca.crt: OpenSSL refuses it: "),
        ("auth_pass_file", b"two\nlines", RefReason.INVALID_CREDENTIALS, "Secret user: password: the file has more "),
    ],
)
def test_a_file_of_a_route_is_told_by_what_it_comes_from(
    key: str, content: bytes, reason: RefReason, said: str
) -> None:
    sources = secrets(roots=secret(ca__crt=CERTIFICATE), user=secret(username="relay", password="secret"))
    spec = parsed({"routes": [ROUTE]})
    good = resolved(spec, sources)
    bad = replace(good, files={**good.files, route_file("a", key): content})

    (fault,) = relay_faults(spec, build(RESOURCE, UID, spec, bad, bytes(32))).refs

    assert fault.reason is reason
    assert fault.message.startswith(said)
    assert f"(spec.routes[0].{fields.ROUTE[key]}" in fault.message


def test_what_no_check_of_the_operator_finds_is_told_by_file_and_line() -> None:
    spec = replace(parsed({}), outbound={"concurrency_max": "many"})

    (fault,) = faults_of(spec).spec

    assert fault.startswith("outbound.ini:3: [main] concurrency_max: ")
