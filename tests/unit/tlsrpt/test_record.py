"""The TXT record that says where TLS reports go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.tlsrpt.record import MAX_ADDRESSES, read_record

V = "v=TLSRPTv1;"


@pytest.mark.parametrize(
    ("text", "mail", "urls"),
    [
        (f"{V}rua=mailto:tls@example.com", ("tls@example.com",), ()),
        (f"{V} rua=mailto:tls@example.com;", ("tls@example.com",), ()),
        (
            f"{V} rua=https://r.example.com/v1?a=b , mailto:a@example.org",
            ("a@example.org",),
            ("https://r.example.com/v1?a=b",),
        ),
        (f"{V}rua=MAILTO:tls%2Breports@example.com", ("tls+reports@example.com",), ()),
        (f"{V}rua=mailto:tls@example.com?subject=x", ("tls@example.com",), ()),
        (f"{V}x=1; rua=HTTPS://r.example.com:8443/", (), ("https://r.example.com:8443/",)),
        (f"{V}rua=tls@example.com,ftp://example.com/,mailto:a@example.com", ("a@example.com",), ()),
        (f"{V}rua=mailto:a@example.com,mailto:a@example.com", ("a@example.com",), ()),
    ],
)
def test_every_usable_address_is_taken(text: str, mail: tuple[str, ...], urls: tuple[str, ...]) -> None:
    record = read_record(["v=spf1 -all", text])
    assert record is not None
    assert (record.text, record.mail, record.urls) == (text, mail, urls)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["v=TLSRPTv1"],
        ["v=TLSRPTv2; rua=mailto:a@example.com"],
        [" v=TLSRPTv1; rua=mailto:a@example.com"],
        [V],
        [f"{V}rua="],
        [f"{V}rua=a@example.com"],
        [f"{V}rua=mailto:example.com"],
        [f"{V}rua=mailto:a%0d%0ab@example.com"],
        [f"{V}rua=mailto:a%20b@example.com"],
        [f"{V}rua=mailto:a@b@example.com"],
        [f"{V}rua=http://example.com/"],
        [f"{V}rua=https://127.0.0.1/,https://[::1]/,https://localhost/"],
        [f"{V}rua=https://user@example.com/"],
        [f"{V}rua=https://example.com:99999/"],
        [f"{V}rua=mailto:a@example.com", f"{V}rua=mailto:b@example.com"],
    ],
)
def test_a_record_that_is_not_one_names_no_address(texts: list[str]) -> None:
    assert read_record(texts) is None


def test_addresses_beyond_the_fifth_are_ignored() -> None:
    record = read_record([V + "rua=" + ",".join(f"mailto:a{i}@example.com" for i in range(9))])
    assert record is not None
    assert len(record.mail) == MAX_ADDRESSES


_PIECES = st.sampled_from(["v=TLSRPTv1;", "rua=", "mailto:", "https://", "a@example.com", "r.example.com/", "%0d", "%"])


@given(st.lists(st.one_of(st.text(), st.lists(st.one_of(_PIECES, st.text(max_size=8))).map("".join)), max_size=3))
def test_any_text_is_read_and_what_comes_out_can_be_used(texts: list[str]) -> None:
    record = read_record(texts)
    if record is not None:
        assert 1 <= len(record.mail) + len(record.urls) <= MAX_ADDRESSES
        for address in (*record.mail, *record.urls):
            assert address.isascii()
            assert address.isprintable()
            assert " " not in address
