"""When certificates expire: read from the files that `tls.ini` names, whatever is in them."""

from __future__ import annotations

import datetime
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.pem import self_signed

from mailboat.config.expiry import first_expiry

NOW = datetime.datetime.now(datetime.UTC)


def certificate(until: datetime.datetime) -> str:
    return self_signed("relay.test", until=until)[1].decode()


@pytest.mark.parametrize("year", [2049, 2050, 9999])  # RFC 5280 4.1.2.5: two digits of the year until 2049, then four
def test_the_end_of_a_certificate_is_read_as_rfc_5280_writes_it(year: int) -> None:
    until = datetime.datetime(year, 12, 31, 23, 59, 58, tzinfo=datetime.UTC)
    assert first_expiry(certificate(until)) == until.timestamp()


def test_of_a_chain_the_first_that_expires_counts() -> None:
    soon, later = (NOW.replace(microsecond=0) + datetime.timedelta(days=days) for days in (3, 300))
    assert first_expiry(f"a comment\n{certificate(later)}\n{certificate(soon)}") == soon.timestamp()


@pytest.mark.parametrize("pem", ["", "no PEM", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"])
def test_what_holds_no_certificate_has_no_end(pem: str) -> None:
    assert first_expiry(pem) is None


@given(st.binary(max_size=60) | st.just(bytes.fromhex("3003300130")))
def test_any_octets_are_taken(octets: bytes) -> None:
    first_expiry(f"-----BEGIN CERTIFICATE-----\n{b64encode(octets).decode()}\n-----END CERTIFICATE-----")
