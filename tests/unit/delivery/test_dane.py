"""Matching a host's certificates with its TLSA records (RFC 7672 3), and why none matches."""

from __future__ import annotations

import hashlib
import time
from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.certificates import EXPIRED, NOT_YET_VALID, Issued, Validity, Wanted, authority

from mailboat.delivery.dane import Mismatch, match, public_key_info
from mailboat.routing.dane import usable
from mailboat.routing.records import MALFORMED_TLSA, Answer, TlsaRecord

HOST = "mx.example.test"
ROOT = authority("Root")
CA = authority("Intermediate", by=ROOT)
LEAF = Wanted(HOST, by=CA).issue()
OTHER = Wanted(HOST).issue()
CHAIN = (LEAF, CA)

EVERY_WAY = list(product((0, 1), (0, 1, 2)))
"""Each selector with each matching type."""


def judged(chain: tuple[Issued, ...], *records: TlsaRecord, names: tuple[str, ...] = (HOST,)) -> TlsaRecord | Mismatch:
    return match([issued.der for issued in chain], records, names, time.time())


@pytest.mark.parametrize(("selector", "matching"), EVERY_WAY)
def test_usage_3_matches_the_leaf_by_each_selector_and_matching_type(selector: int, matching: int) -> None:
    record = LEAF.tlsa(3, selector, matching)
    assert judged(CHAIN, record) == record
    assert judged((OTHER,), record) is Mismatch.CERTIFICATE


@pytest.mark.parametrize("valid", [EXPIRED, NOT_YET_VALID])
def test_usage_3_checks_neither_names_nor_dates(valid: Validity) -> None:
    leaf = Wanted("elsewhere.test", names=(), valid=valid).issue()
    record = leaf.tlsa(3, 1, 1)
    assert judged((leaf,), record, names=()) == record


def test_usage_3_does_not_match_a_certificate_above_the_leaf() -> None:
    assert judged(CHAIN, CA.tlsa(3, 1, 1)) is Mismatch.CERTIFICATE


def test_usage_3_matches_a_leaf_with_a_key_of_1024_bits() -> None:
    leaf = Wanted(HOST, key=rsa.generate_private_key(65537, 1024)).issue()
    record = leaf.tlsa(3, 1, 1)
    assert judged((leaf,), record) == record


@pytest.mark.parametrize(("selector", "matching"), EVERY_WAY)
def test_usage_2_matches_an_issuer_that_is_sent(selector: int, matching: int) -> None:
    record = CA.tlsa(2, selector, matching)
    assert judged(CHAIN, record) == record
    assert judged((OTHER, CA), record) is Mismatch.CHAIN


@pytest.mark.parametrize("chain", [(LEAF, CA, ROOT), (LEAF, ROOT, CA), (LEAF, OTHER, CA, ROOT)])
def test_usage_2_matches_a_root_above_intermediates_in_any_order(chain: tuple[Issued, ...]) -> None:
    record = ROOT.tlsa(2, 0, 1)
    assert judged(chain, record) == record


def test_usage_2_does_not_match_the_leaf_itself() -> None:
    assert judged(CHAIN, LEAF.tlsa(2, 0, 1)) is Mismatch.CERTIFICATE


def test_a_whole_certificate_of_usage_2_need_not_be_sent() -> None:
    record = CA.tlsa(2, 0, 0)
    assert judged((LEAF,), record) == record
    assert judged((OTHER,), record) is Mismatch.CHAIN


@pytest.mark.parametrize(("selector", "matching"), [way for way in EVERY_WAY if way != (0, 0)])
def test_a_key_or_digest_of_usage_2_does_not_match_an_issuer_that_is_not_sent(selector: int, matching: int) -> None:
    assert judged((LEAF,), CA.tlsa(2, selector, matching)) is Mismatch.CERTIFICATE
    assert judged(CHAIN, ROOT.tlsa(2, selector, matching)) is Mismatch.CERTIFICATE


def test_usage_2_demands_one_of_the_names() -> None:
    record = CA.tlsa(2, 1, 1)
    assert judged(CHAIN, record, names=("example.test", HOST)) == record
    assert judged(CHAIN, record, names=("example.test",)) is Mismatch.NAME
    assert judged(CHAIN, record, names=()) is Mismatch.NAME


@pytest.mark.parametrize("name", ["a_b.example.test", "", "ü.test", "a..b", "x" * 300])
def test_usage_2_passes_over_a_name_that_no_certificate_can_have(name: str) -> None:
    record = CA.tlsa(2, 1, 1)
    assert judged(CHAIN, record, names=(name, HOST)) == record
    assert judged(CHAIN, record, names=(name,)) is Mismatch.NAME


def test_a_wildcard_is_one_label_on_the_left() -> None:
    leaf, record = Wanted("wild", names=("*.example.test",), by=CA).issue(), CA.tlsa(2, 1, 1)
    assert judged((leaf, CA), record) == record
    for name in ("example.test", "a.mx.example.test"):
        assert judged((leaf, CA), record, names=(name,)) is Mismatch.NAME


def test_usage_2_refuses_a_leaf_with_a_common_name_only() -> None:
    leaf = Wanted(HOST, names=(), by=CA).issue()
    assert judged((leaf, CA), CA.tlsa(2, 1, 1)) is Mismatch.CHAIN


@pytest.mark.parametrize("valid", [EXPIRED, NOT_YET_VALID])
def test_usage_2_checks_the_dates_of_all_certificates_of_the_path(valid: Validity) -> None:
    leaf = Wanted(HOST, by=CA, valid=valid).issue()
    assert judged((leaf, CA), CA.tlsa(2, 1, 1)) is Mismatch.EXPIRED
    old = Wanted("Old CA", by=ROOT, ca=True, valid=valid).issue()
    leaf = Wanted(HOST, by=old).issue()
    assert judged((leaf, old, ROOT), ROOT.tlsa(2, 1, 1)) is Mismatch.EXPIRED
    assert judged((leaf, old), old.tlsa(2, 1, 1)) is Mismatch.EXPIRED


def test_usage_2_refuses_a_path_that_is_not_valid() -> None:
    no_ca = Wanted("No CA", by=ROOT).issue()
    short = Wanted("Short", by=ROOT, ca=True, path_length=0).issue()
    below_short = authority("Below", by=short)
    narrow = Wanted("Narrow", by=ROOT, ca=True, permitted="elsewhere.test").issue()
    for above in ((no_ca,), (below_short, short), (narrow,)):
        leaf = Wanted(HOST, by=above[0]).issue()
        assert judged((leaf, *above, ROOT), ROOT.tlsa(2, 1, 1)) is Mismatch.CHAIN


def test_usage_2_passes_over_certificates_that_do_not_parse() -> None:
    chain, record = [LEAF.der, b"\x30\x03abc", CA.der], CA.tlsa(2, 1, 1)
    assert match(chain, [record], (HOST,), time.time()) == record
    assert match([b"garbage", CA.der], [record], (HOST,), time.time()) is Mismatch.CERTIFICATE


def test_a_leaf_that_does_not_parse_can_match_usage_3_by_its_octets() -> None:
    octets = b"\x30\x03abc"
    record = TlsaRecord(3, 0, 0, octets)
    assert match([octets], [record], (), time.time()) == record


def test_one_usage_that_matches_is_enough() -> None:
    matching, other = LEAF.tlsa(3, 1, 1), ROOT.tlsa(2, 0, 1)
    assert judged(CHAIN, other, matching) == matching
    anchor = CA.tlsa(2, 1, 1)
    assert judged(CHAIN, OTHER.tlsa(3, 1, 1), anchor) == anchor


def test_a_weaker_digest_does_not_count_beside_a_stronger_one() -> None:
    """RFC 7671 9: of one usage and selector; whole certificates and keys always count."""
    weak, strong, whole = LEAF.tlsa(3, 1, 1), OTHER.tlsa(3, 1, 2), LEAF.tlsa(3, 1, 0)
    assert judged(CHAIN, weak, strong) is Mismatch.CERTIFICATE
    assert judged(CHAIN, weak, strong, whole) == whole
    for elsewhere in (OTHER.tlsa(3, 0, 2), OTHER.tlsa(2, 1, 2)):
        assert judged(CHAIN, weak, elsewhere) == weak


def test_records_that_are_not_usable_match_nothing() -> None:
    for usage in (0, 1, 4, 255):
        assert judged(CHAIN, LEAF.tlsa(usage, 1, 1), CA.tlsa(usage, 1, 1)) is Mismatch.CERTIFICATE
    for record in (MALFORMED_TLSA, TlsaRecord(3, 2, 1, b"x" * 32), TlsaRecord(3, 1, 3, b""), TlsaRecord(3, 1, 1, b"")):
        assert judged(CHAIN, record) is Mismatch.CERTIFICATE


def test_no_certificate_matches_nothing() -> None:
    assert match([], [LEAF.tlsa(3, 1, 1)], (HOST,), time.time()) is Mismatch.CERTIFICATE


def test_the_public_key_is_cut_out_of_the_certificate() -> None:
    for issued in (LEAF, CA, Wanted("rsa.test", key=rsa.generate_private_key(65537, 2048)).issue()):
        assert public_key_info(issued.der) == issued.public_key


octets = st.one_of(st.binary(max_size=80), st.sampled_from([LEAF.der, CA.der, LEAF.der[:-1], LEAF.der + b"x"]))
numbers = st.integers(0, 255) | st.integers(0, 3)


@given(st.lists(octets, max_size=4), st.lists(st.builds(TlsaRecord, numbers, numbers, numbers, st.binary(max_size=70))))
def test_garbage_never_matches_and_never_raises(chain: list[bytes], records: list[TlsaRecord]) -> None:
    records = [record for record in records if record.data not in chain]
    assert isinstance(match(chain, records, (HOST,), time.time()), Mismatch)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, len(LEAF.der) - 1), st.integers(0, len(CA.der) - 1), st.binary(min_size=1, max_size=3))
@example(10, 12, b"\x05")
def test_a_damaged_certificate_raises_nothing_even_if_a_record_is_for_it(at: int, above_at: int, octets: bytes) -> None:
    leaf, above = damaged(LEAF.der, at, octets), damaged(CA.der, above_at, octets)
    for chain in ([leaf, CA.der], [LEAF.der, above]):
        digest = hashlib.sha256(chain[1]).digest()
        for record in (TlsaRecord(2, 0, 1, digest), TlsaRecord(2, 0, 0, chain[1])):
            match(chain, [record], ("other.test",), time.time())
            usable(Answer((record,), 0.0, secure=True))


def damaged(der: bytes, at: int, octets: bytes) -> bytes:
    return der[:at] + octets + der[at + len(octets) :]


@given(st.binary(max_size=400), st.integers(0, 400), st.binary(max_size=4))
def test_a_broken_certificate_has_no_public_key_or_raises_nothing(garbage: bytes, cut: int, inserted: bytes) -> None:
    public_key_info(garbage)
    public_key_info(LEAF.der[:cut] + inserted + LEAF.der[cut:])
