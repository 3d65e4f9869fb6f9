"""Names on the wire, and which packets count as an answer."""

from __future__ import annotations

import contextlib

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.routing.dnsquery import BadResponse, InvalidName, Response, _parse, _read, encode_name, is_answer
from mailboat.routing.records import MALFORMED_TLSA, RecordType, TlsaRecord

QUERY = dns.message.make_query("Example.test.", "A", id=0x1234, use_edns=False).to_wire()
QUESTION = QUERY[12:]


def response(**header: int) -> bytearray:
    """The right answer, without records, and with these octets of its header changed (`b2=…`)."""
    data = bytearray(QUERY)
    data[2] |= 0x80
    for place, value in header.items():
        data[int(place[1:])] = value
    return data


def test_a_name_is_written_with_its_labels() -> None:
    assert encode_name("mx1.example.test") == b"\x03mx1\x07example\x04test\x00"
    assert encode_name(".") == b"\x00"


@pytest.mark.parametrize("name", ["", "a..b", ".a", "a.", "x" * 64, ".".join(["x" * 63] * 4), "é.test"])
def test_a_name_that_the_dns_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        encode_name(name)


def test_the_longest_names_are_held() -> None:
    assert len(encode_name(".".join(["x" * 63] * 3 + ["x" * 61]))) == 255


def test_the_right_response_counts_in_whatever_case_its_question_is() -> None:
    assert is_answer(bytes(response()), QUERY, QUESTION)
    assert is_answer(bytes(response()).replace(b"Example", b"eXAMPLE"), QUERY, QUESTION)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x12\x34",
        QUERY,
        bytes(response(b0=0x99)),
        bytes(response(b2=0xA8)),
        bytes(response(b5=2)),
        bytes(response(b5=0)),
        bytes(response()).replace(b"Example", b"Exampla"),
        bytes(response())[:-1],
    ],
    ids=["empty", "short", "query", "id", "opcode", "questions", "no question", "name", "cut"],
)
def test_anything_else_does_not(data: bytes) -> None:
    assert not is_answer(data, QUERY, QUESTION)


@pytest.mark.parametrize(("rcode", "counts"), [(0, False), (1, True), (2, True), (3, False), (4, True), (5, True)])
def test_only_a_server_that_could_not_answer_may_leave_the_question_out(rcode: int, counts: bool) -> None:
    assert is_answer(bytes(response(b5=0, b3=rcode))[:12], QUERY, QUESTION) is counts


@given(st.binary(max_size=80))
def test_whatever_comes_in_is_a_message_or_a_bad_response(tail: bytes) -> None:
    for rdtype in RecordType:
        with contextlib.suppress(BadResponse):
            assert isinstance(_read(_parse(bytes(response(b7=1)) + tail, rdtype), rdtype), Response)


def test_a_message_of_very_many_records_is_not_parsed() -> None:
    with pytest.raises(BadResponse, match="65535 records"):
        _parse(bytes(response(b6=0xFF, b7=0xFF)))


DIGEST = bytes(range(32))
GOOD = b"\3\1\1" + DIGEST


def tlsa(*rdata: bytes, cut: int = 0) -> Response:
    """What is read of an answer that holds these octets as TLSA records, the last `cut` octets of it missing."""
    query = dns.message.make_query("_25._tcp.mx.test.", "TLSA", id=0x1234, use_edns=False).to_wire()
    head = query[:2] + b"\x81\x80" + query[4:6] + len(rdata).to_bytes(2, "big") + query[8:]
    records = (b"\xc0\x0c\0\x34\0\1\0\0\1\x2c" + len(one).to_bytes(2, "big") + one for one in rdata)
    wire = head + b"".join(records)
    return _read(_parse(wire[: len(wire) - cut], RecordType.TLSA), RecordType.TLSA)


def test_a_tlsa_record_is_read_as_it_was_published() -> None:
    assert tlsa(GOOD) == Response((TlsaRecord(3, 1, 1, DIGEST),), 300)


@pytest.mark.parametrize("broken", [b"", b"\3\1", b"\3\1\1", b"\3\1\1\0\1", b"\3\1\2" + DIGEST])
def test_a_malformed_tlsa_record_is_there_and_of_no_use(broken: bytes) -> None:
    """RFC 7672 2.2: taken for no record, a typo in a zone would switch DANE off."""
    assert tlsa(broken).records == (MALFORMED_TLSA,)
    assert tlsa(GOOD, broken).records == (TlsaRecord(3, 1, 1, DIGEST), MALFORMED_TLSA)


@given(
    st.lists(
        st.binary(max_size=70) | st.binary(min_size=30, max_size=34).map(GOOD[:3].__add__), min_size=1, unique=True
    )
)
def test_every_tlsa_record_of_an_answer_is_read_or_known_to_be_malformed(published: list[bytes]) -> None:
    sizes = {1: 32, 2: 64}
    sound = [one for one in published if len(one) >= 3 and len(one) - 3 == sizes.get(one[2], len(one) - 3)]
    expected = {TlsaRecord(one[0], one[1], one[2], one[3:]) for one in sound}
    assert set(tlsa(*published).records) == (expected if sound == published else {*expected, MALFORMED_TLSA})


@pytest.mark.parametrize("cut", [1, 20, 40])
def test_an_answer_of_tlsa_records_that_is_cut_is_no_answer(cut: int) -> None:
    with pytest.raises(BadResponse):
        tlsa(GOOD, GOOD[:-1] + b"\xff", cut=cut)
