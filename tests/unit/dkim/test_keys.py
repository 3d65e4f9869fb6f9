"""Key files as people have them, and what is published of a key (RFC 6376 3.6.1, RFC 8463)."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mailboat.dkim.keys import KeyFault, SigningKey, parse_key, split_dns_name, to_pem

RSA = rsa.generate_private_key(65_537, 2048)
ED25519 = Ed25519PrivateKey.generate()
PEM = to_pem(RSA)
PKCS1 = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    "octets",
    [
        PEM,
        PKCS1,
        PEM.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + PEM,
        b"\n\n  " + PEM.replace(b"\n", b"  \n") + b" \n",
    ],
)
def test_rsa_keys_are_taken_as_people_have_them(octets: bytes) -> None:
    key, warning = parse_key(octets)
    assert to_pem(key) == PEM
    assert warning == ""


def test_ed25519_keys_are_taken_as_pem_and_as_a_bare_seed() -> None:
    seed = ED25519.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    for octets in (to_pem(ED25519), base64.b64encode(seed), base64.b64encode(seed) + b"\r\n"):
        assert to_pem(parse_key(octets)[0]) == to_pem(ED25519)


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (PEM + PEM, "2 PEM blocks"),
        (to_pem(ec.generate_private_key(ec.SECP256R1())), "of the kind EC"),  # type: ignore[arg-type]
        (
            RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            "PUBLIC KEY",
        ),
        (
            RSA.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"x"),
            ),
            "ENCRYPTED PRIVATE KEY",
        ),
        (
            RSA.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.BestAvailableEncryption(b"x"),
            ),
            "encrypted",
        ),
        (PEM[:200] + PEM[300:], "damaged"),
        (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "CERTIFICATE"),
        (b"", "neither a PEM block nor"),
        (b"hello", "neither a PEM block nor"),
        (b"\xff\xfe\0", "not text"),
        (b"A" * 70_000, "larger than"),
    ],
)
def test_what_is_no_key_is_refused_with_what_was_found(octets: bytes, found: str) -> None:
    with pytest.raises(KeyFault, match=found):
        parse_key(octets)


def test_short_and_long_rsa_keys_are_warned_of_and_very_short_ones_refused() -> None:
    assert "1024 bits is weak" in parse_key(to_pem(rsa.generate_private_key(65_537, 1024)))[1]
    assert "4608 bits" in parse_key(to_pem(rsa.generate_private_key(65_537, 4608)))[1]
    weak = b"""-----BEGIN PRIVATE KEY-----
MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEAt5nsM1B1uB0Kd0UA
-----END PRIVATE KEY-----"""
    with pytest.raises(KeyFault, match="damaged"):
        parse_key(weak)


def test_the_record_holds_an_spki_for_rsa_and_bare_octets_for_ed25519() -> None:
    record = SigningKey("example.com", "s", RSA).record
    assert record.startswith("v=DKIM1; k=rsa; h=sha256; p=")
    loaded = serialization.load_der_public_key(base64.b64decode(record.partition("p=")[2]))
    assert loaded == RSA.public_key()
    record = SigningKey("example.com", "s", ED25519).record
    assert record.startswith("v=DKIM1; k=ed25519; h=sha256; p=")
    assert base64.b64decode(record.partition("p=")[2]) == ED25519.public_key().public_bytes_raw()


def test_a_key_is_never_shown() -> None:
    assert repr(SigningKey("example.com", "s", RSA)) == "SigningKey('s._domainkey.example.com', rsa)"


def test_a_dns_name_is_a_selector_and_a_domain() -> None:
    assert split_dns_name("S1.a._domainkey.Example.com") == ("s1.a", "example.com")
    for name in ("s1.example.com", "_domainkey.example.com", "s1._domainkey.", "-._domainkey.example.com"):
        with pytest.raises(ValueError, match="is not SELECTOR"):
            split_dns_name(name)
