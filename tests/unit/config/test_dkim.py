"""`dkim.ini` and the keys in `dkim/`: what signs, and what is wrong."""

from __future__ import annotations

import pytest
from tests.support.config_directory import Directory

from mailboat.config.hash import config_hash
from mailboat.dkim.keys import Algorithm, SigningKey, make_key, to_pem
from mailboat.dkim.signer import CannotSignError, Signer

KEYS = {
    (selector, algorithm): SigningKey("example.com", selector, make_key(algorithm))
    for selector, algorithm in [("a", Algorithm.RSA), ("b", Algorithm.RSA), ("c", Algorithm.ED25519)]
}


@pytest.fixture
def keyed(directory: Directory) -> Directory:
    for key in KEYS.values():
        directory.write(f"dkim/{key.dns_name}.pem", to_pem(key.private))
    return directory


def signer_of(directory: Directory, ini: str = "") -> Signer:
    if ini:
        directory.write("dkim.ini", ini)
    signer = directory.settings().signer
    assert signer is not None
    return signer


def used(signer: Signer, author: str = "joe@example.com") -> list[str]:
    return [key.selector for key in signer.keys_for([f"From: {author}\r\n".encode()])]


def test_without_keys_nothing_signs(directory: Directory) -> None:
    assert directory.settings().signer is None


def test_of_each_algorithm_the_last_selector_signs_the_rsa_key_first(keyed: Directory) -> None:
    assert used(signer_of(keyed)) == ["b", "c"]


def test_selectors_say_which_keys_sign_and_by_their_hash_which_key_is_meant(keyed: Directory) -> None:
    key = KEYS["a", Algorithm.RSA]
    assert used(signer_of(keyed, f"[domain:example.com]\nselectors=c, a {key.public_hash}\n")) == ["a", "c"]
    other = KEYS["b", Algorithm.RSA].public_hash
    keyed.write("dkim.ini", f"[domain:example.com]\nselectors=a {other}, d\n")
    wrong, missing = (fault.message for fault in keyed.load().faults)
    assert wrong == f"the key of a is {key.public_hash}"
    assert missing == "there is no dkim/d._domainkey.example.com.pem"


def test_enabled_false_signs_nothing(keyed: Directory) -> None:
    keyed.write("dkim.ini", "[main]\nenabled=false\n")
    assert keyed.settings().signer is None


def test_fallback_domain_and_always_sign_for_others(keyed: Directory) -> None:
    assert used(signer_of(keyed), "a@other.example") == []
    assert used(signer_of(keyed, "[main]\nfallback_domain=example.com\n"), "a@other.example") == ["b", "c"]
    assert used(signer_of(keyed, "[domain:example.com]\nalways=true\n"), "nobody") == ["b", "c"]


def test_canonicalization_headers_and_oversign_make_the_form(keyed: Directory) -> None:
    form = signer_of(
        keyed, "[main]\ncanonicalization=simple/relaxed\nheaders=Precedence\noversign=List-Id\nexpire=9000000\n"
    ).form
    assert (form.header, form.body, form.lifetime) == ("simple", "relaxed", 9_000_000)
    names = form.coverage.names([b"Precedence: bulk\r\n", b"List-Id: <l>\r\n"])
    assert [names.count(name) for name in ("precedence", "list-id", "List-Id", "From")] == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("headers=Received", "received changes in transit"),
        ("canonicalization=relaxed", "is not HEADER/BODY"),
        ("expire=600000", "signatures would expire before"),
        ("fallback_domain=a b", "is not a domain"),
        ("fallback_domain=com", "has a single label"),
    ],
)
def test_what_cannot_be_is_a_fault(keyed: Directory, line: str, message: str) -> None:
    keyed.write("dkim.ini", f"[main]\n{line}\n")
    (fault,) = keyed.load().faults
    assert (fault.file, message in fault.message) == ("dkim.ini", True), fault.message


def test_a_file_that_is_no_key_is_named_with_what_was_found(keyed: Directory) -> None:
    keyed.write("dkim/s._domainkey.example.com.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    keyed.write("dkim/example.com.pem", "")
    keyed.write("dkim/s._domainkey.com.pem", to_pem(KEYS["c", Algorithm.ED25519].private))
    keyed.write("dkim/README", "is no key, and not to be one")
    assert [str(fault) for fault in keyed.load().faults] == [
        "dkim/example.com.pem: 'example.com' is not SELECTOR._domainkey.DOMAIN",
        "dkim/s._domainkey.com.pem: has a single label: a domain that signs has two or more (RFC 6376 3.5)",
        "dkim/s._domainkey.example.com.pem: a private key is expected, and this is a CERTIFICATE",
    ]


def test_the_hash_covers_dkim_ini_between_tls_ini_and_tenants_ini(keyed: Directory) -> None:
    assert keyed.settings().hash == config_hash(None, None)
    keyed.write("dkim.ini", "[main]\n")
    assert keyed.settings().hash == config_hash(None, None, dkim=b"[main]\n") != config_hash(None, None)


def test_signing_off_lets_the_keys_of_a_domain_wait(keyed: Directory) -> None:
    assert used(signer_of(keyed, "[domain:example.com]\nsigning=on\n")) == ["b", "c"]

    keyed.write("dkim.ini", "[domain:example.com]\nsigning=off\n")

    assert keyed.settings().signer is None


def test_signing_hold_refuses_mail_that_no_key_may_sign_and_no_other(keyed: Directory) -> None:
    signer = signer_of(keyed, "[domain:example.com]\nsigning=hold\nalways=true\nselectors=gone\n")

    with pytest.raises(CannotSignError, match="signing=hold"):
        used(signer, "joe@news.example.com")
    assert used(signer, "joe@example.net") == []
