"""The bench's DNS server answers what a resolver asks on the way to an MX, and survives what it should not get."""

from __future__ import annotations

import ipaddress

import dns.flags
import dns.message
import dns.rcode
import pytest
from bench import dns_server
from hypothesis import given
from hypothesis import strategies as st

SPECIAL = {b"dead": ipaddress.IPv4Address("127.0.0.77")}


def ask(name: str, kind: str) -> dns.message.Message:
    """The server's answer as dnspython reads it, which also matches it to the query."""
    query = dns.message.make_query(name, kind)
    reply = dns_server.answer(query.to_wire(), SPECIAL)
    assert reply is not None
    response = dns.message.from_wire(reply)
    assert query.is_response(response)
    return response


def test_every_domain_has_an_mx_below_it() -> None:
    assert ask("d17.test", "MX").answer[0].to_text() == "d17.test. 300 IN MX 10 mx.d17.test."


@pytest.mark.parametrize(("name", "address"), [("mx.d17.test", "127.0.0.1"), ("MX.Dead.TEST", "127.0.0.77")])
def test_every_mx_has_an_address_and_special_ones_their_own(name: str, address: str) -> None:
    assert [record.to_text() for record in ask(name, "A").answer[0]] == [address]


def test_other_types_are_no_data_that_may_be_cached() -> None:
    response = ask("mx.d17.test", "AAAA")
    assert (response.rcode(), response.answer, len(response.authority)) == (dns.rcode.NOERROR, [], 1)
    assert response.flags & dns.flags.AA


def test_other_domains_are_refused() -> None:
    assert ask("example.org", "MX").rcode() == dns.rcode.REFUSED


@given(st.binary(max_size=80))
def test_any_octets_are_answered_or_ignored_and_raise_nothing(query: bytes) -> None:
    reply = dns_server.answer(query, SPECIAL)
    assert reply is None or reply[:2] == query[:2]
