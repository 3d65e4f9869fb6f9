"""`tls.ini`: two sides, inheritance key by key, and files that OpenSSL takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.pem import self_signed

if TYPE_CHECKING:
    from tests.support.config_directory import Directory


def write_pair(directory: Directory, name: str, passphrase: bytes = b"") -> None:
    key, cert = self_signed("relay.example.com", passphrase)
    directory.write(f"{name}.key", key)
    directory.write(f"{name}.crt", cert)


def test_without_a_file_there_is_no_certificate(directory: Directory) -> None:
    settings = directory.settings()
    assert (settings.tls.key, settings.tls.cert) == ("", "")
    assert (settings.tls_outbound.key, settings.tls_outbound.cert) == ("", "")


def test_the_default_pair_is_used_where_it_exists(directory: Directory) -> None:
    key, cert = self_signed("relay.example.com")
    directory.write("tls_key.pem", key)
    assert directory.faults() == ["tls.ini: [main] cert: the file does not exist"]
    directory.write("tls_cert.pem", cert)
    tls = directory.settings().tls
    assert (tls.key, tls.cert) == (str(directory.path / "tls_key.pem"), str(directory.path / "tls_cert.pem"))


def test_a_file_that_is_named_must_exist(directory: Directory) -> None:
    directory.write("tls.ini", "key=no.key\ncert=no.crt\nca=no.pem\ndhparam=no.dh\n")
    assert directory.faults() == [
        f"tls.ini:{line}: [main] {key}: the file does not exist"
        for line, (key, name) in enumerate(
            [("key", "no.key"), ("cert", "no.crt"), ("ca", "no.pem"), ("dhparam", "no.dh")], 1
        )
    ]


def test_key_and_certificate_must_belong_together(directory: Directory) -> None:
    write_pair(directory, "a")
    write_pair(directory, "b")
    directory.write("tls.ini", "key=a.key\ncert=b.crt\n")
    assert directory.faults() == [
        "tls.ini:2: [main] cert: OpenSSL refuses it: the key does not belong to the certificate"
    ]


def test_a_key_alone_is_half_a_pair(directory: Directory) -> None:
    write_pair(directory, "a")
    directory.write("tls.ini", "key=a.key\ncert=\n")
    assert directory.faults() == ["tls.ini:2: [main] cert: is missing: a key and a certificate come as a pair"]


def test_an_encrypted_key_is_a_fault_and_never_a_prompt(directory: Directory) -> None:
    write_pair(directory, "a", b"pass phrase")
    directory.write("tls.ini", "key=a.key\ncert=a.crt\n")
    (fault,) = directory.faults()
    assert fault.startswith("tls.ini:2: [main] cert: OpenSSL refuses it: ")


@pytest.mark.parametrize("key", ["ca", "dhparam"])
def test_a_file_without_pem_is_a_fault(directory: Directory, key: str) -> None:
    directory.write("junk.pem", "no PEM at all\n")
    directory.write("tls.ini", f"{key}=junk.pem\n")
    (fault,) = directory.faults()
    assert fault.startswith(f"tls.ini:1: [main] {key}: OpenSSL refuses it: ")
    assert "\n" not in fault


def test_a_cipher_list_that_selects_nothing_is_a_fault(directory: Directory) -> None:
    directory.write("tls.ini", "ciphers=NO-SUCH-CIPHER\n")
    (fault,) = directory.faults()
    assert fault.startswith("tls.ini:1: [main] ciphers: OpenSSL refuses it: ")


def test_outbound_overrides_each_key_and_inherits_the_rest(directory: Directory) -> None:
    write_pair(directory, "main")
    _, other = self_signed("other.example.com")
    directory.write("other.pem", other)
    directory.write(
        "tls.ini",
        "key=main.key\ncert=main.crt\nca=main.crt\nciphers=ECDHE+AESGCM\nforce_tls_hosts[]=a.example\n"
        "force_tls_hosts[]=192.0.2.1/24\n[outbound]\nminVersion=TLSv1.3\nca=other.pem\nno_tls_hosts[]=B.example\n",
    )
    settings = directory.settings()
    inbound, outbound = settings.tls, settings.tls_outbound
    assert (inbound.min_version, outbound.min_version) == ("TLSv1.2", "TLSv1.3")
    assert inbound.ca == str(directory.path / "main.crt")
    assert outbound.ca == str(directory.path / "other.pem")
    assert (outbound.key, outbound.cert, outbound.ciphers) == (inbound.key, inbound.cert, "ECDHE+AESGCM")
    assert outbound.force_tls_hosts == inbound.force_tls_hosts == ("a.example", "192.0.2.0/24")
    assert (inbound.no_tls_hosts, outbound.no_tls_hosts) == ((), ("b.example",))


def test_a_fault_of_main_is_not_told_again_for_outbound(directory: Directory) -> None:
    directory.write("tls.ini", "ca=no.pem\n[outbound]\nciphers=NO-SUCH-CIPHER\n")
    faults = directory.faults()
    assert faults[0] == "tls.ini:1: [main] ca: the file does not exist"
    assert faults[1].startswith("tls.ini:3: [outbound] ciphers: ")
    assert len(faults) == 2


def test_an_override_of_half_a_pair_is_judged_with_the_inherited_half(directory: Directory) -> None:
    write_pair(directory, "a")
    write_pair(directory, "b")
    directory.write("tls.ini", "key=a.key\ncert=a.crt\n[outbound]\nkey=b.key\n")
    assert directory.faults() == [
        "tls.ini:3: [outbound] cert: OpenSSL refuses it: the key does not belong to the certificate"
    ]


def test_a_renewed_certificate_makes_other_settings(directory: Directory) -> None:
    write_pair(directory, "a")
    directory.write("tls.ini", "key=a.key\ncert=a.crt\n")
    before = directory.settings()
    assert directory.settings() == before
    write_pair(directory, "a")
    after = directory.settings()
    assert after.tls.digest != before.tls.digest
    assert after.hash == before.hash


def test_a_host_cannot_be_in_both_lists(directory: Directory) -> None:
    directory.write("tls.ini", "force_tls_hosts[]=a.example\n[outbound]\nno_tls_hosts[]=A.example\n")
    assert directory.faults() == ["tls.ini:3: [outbound] no_tls_hosts: a.example is in force_tls_hosts too"]


def test_a_list_written_as_a_value_is_a_fault_because_unread_it_would_lower_security(directory: Directory) -> None:
    directory.write("tls.ini", "force_tls_hosts=a.example\n")
    assert directory.faults() == [
        "tls.ini:1: [main] force_tls_hosts: is a list: write force_tls_hosts[]=, one line for each item"
    ]


def test_old_versions_are_warnings(directory: Directory) -> None:
    directory.write("tls.ini", "minVersion=TLSv1\n")
    assert directory.warnings() == ["tls.ini:1: [main] minVersion: TLSv1 is deprecated and not secure (RFC 8996)"]


def test_sections_and_keys_of_haraka_that_are_not_read_say_why(directory: Directory) -> None:
    directory.write("tls.ini", "requestOCSP=true\n[redis]\ndisable_for_failed_hosts=true\n[no_tls_hosts]\n")
    first, second, third = directory.warnings()
    assert first.startswith("tls.ini:1: [main] requestOCSP: is not read: ")
    assert second.startswith("tls.ini:2: [redis]: is not read: ")
    assert third == "tls.ini:4: [no_tls_hosts]: is not read: write no_tls_hosts[] in [main]"


def test_implicit_tls_needs_a_certificate(directory: Directory) -> None:
    directory.write("smtp.ini", "smtps_listen=127.0.0.1:4650\n")
    assert directory.faults() == ["smtp.ini:1: [main] smtps_listen: needs a key and a certificate in tls.ini"]


def test_roots_for_policies_are_checked_like_other_files(directory: Directory) -> None:
    directory.write("tls.ini", "[outbound]\nsts_ca=roots.pem\n")
    assert directory.faults() == ["tls.ini:2: [outbound] sts_ca: the file does not exist"]
    directory.write("roots.pem", "nothing")
    (fault,) = directory.faults()
    assert fault.startswith("tls.ini:2: [outbound] sts_ca: ")
    directory.write("roots.pem", self_signed("root.test")[1])
    assert directory.settings().tls_outbound.sts_ca == str(directory.path / "roots.pem")
