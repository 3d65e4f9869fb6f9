"""What only OpenSSL refuses is found from octets alone, without a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.pem import self_signed

from mailboat.config.openssl import TlsMaterial, TlsRefusal, refusals

DH_512 = b"""-----BEGIN DH PARAMETERS-----
MEYCQQCsiezmeMygmhs+aO/xzde6dUiiHj2n6a5wjlz+vFY3DsYcGZc4gxoHkHFe
WuRuCMG3BfB0f+fLfKzMo+7PC2h/AgEC
-----END DH PARAMETERS-----
"""
KEY, CERT = self_signed("relay.example.com")
OTHER_KEY, _ = self_signed("other.example.com")
WEAK_KEY, WEAK_CERT = self_signed("relay.example.com", rsa_bits=1024)


@pytest.mark.parametrize(
    ("material", "keys", "message"),
    [
        (TlsMaterial(key=WEAK_KEY, cert=WEAK_CERT), ("cert", "key"), "the key of the certificate is too short"),
        (
            TlsMaterial(key=self_signed("other.example")[0], cert=CERT),
            ("cert", "key"),
            "the key does not belong to the certificate",
        ),
        (TlsMaterial(key=b"junk", cert=CERT), ("cert", "key"), ""),
        (TlsMaterial(dhparam=DH_512), ("dhparam",), "the parameters are too short"),
        (TlsMaterial(dhparam=b"junk"), ("dhparam",), ""),
        (TlsMaterial(ca=b"junk"), ("ca",), ""),
        (TlsMaterial(ciphers="NO-SUCH-CIPHER"), ("ciphers",), "No cipher can be selected"),
    ],
)
def test_what_openssl_refuses_is_told_by_key(material: TlsMaterial, keys: tuple[str, ...], message: str) -> None:
    (refusal,) = refusals(material)
    assert refusal.keys == keys
    assert refusal.message.startswith("OpenSSL refuses it: ")
    assert message in refusal.message
    assert refusal.message.isprintable()


def test_all_is_told_at_once() -> None:
    material = TlsMaterial(key=WEAK_KEY, cert=WEAK_CERT, ca=b"junk", dhparam=DH_512, ciphers="NO-SUCH-CIPHER")
    assert [refusal.keys[0] for refusal in refusals(material)] == ["cert", "ca", "ciphers", "dhparam"]


def test_good_files_are_taken_and_no_descriptor_is_left() -> None:
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    assert list(refusals(TlsMaterial(key=KEY, cert=CERT, ca=CERT, ciphers="HIGH"))) == []
    assert list(refusals(TlsMaterial())) == []
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


def test_a_key_is_never_shown() -> None:
    assert KEY.decode().splitlines()[1] not in repr(TlsMaterial(key=KEY))
    assert isinstance(next(refusals(TlsMaterial(ca=b"junk"))), TlsRefusal)
