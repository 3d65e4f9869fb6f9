"""The grammar of SPF records (RFC 7208 12): one wrong term, wherever it stands, and the record counts as none."""

from __future__ import annotations

import contextlib
import time
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat_operator.spf.record import SpfMechanism, SpfPermError, SpfWord, parse_spf, spf_records

MECHANISMS = {
    "all": SpfMechanism("all", SpfWord.PASS),
    "+all": SpfMechanism("all", SpfWord.PASS),
    "-ALL": SpfMechanism("all", SpfWord.FAIL),
    "~all": SpfMechanism("all", SpfWord.SOFTFAIL),
    "?all": SpfMechanism("all", SpfWord.NEUTRAL),
    "ip4:192.0.2.9": SpfMechanism("ip4", SpfWord.PASS, network=ip_network("192.0.2.9/32")),
    "-ip4:192.0.2.9/24": SpfMechanism("ip4", SpfWord.FAIL, network=ip_network("192.0.2.0/24")),
    "ip4:192.0.2.9/0": SpfMechanism("ip4", SpfWord.PASS, network=ip_network("0.0.0.0/0")),
    "ip6:2001:db8::1/64": SpfMechanism("ip6", SpfWord.PASS, network=ip_network("2001:db8::/64")),
    "ip6:::ffff:192.0.2.9": SpfMechanism("ip6", SpfWord.PASS, network=ip_network("::ffff:192.0.2.9/128")),
    "a": SpfMechanism("a", SpfWord.PASS),
    "A/24": SpfMechanism("a", SpfWord.PASS, v4_length=24),
    "mx//64": SpfMechanism("mx", SpfWord.PASS, v6_length=64),
    "a:mail.example.com/0//0": SpfMechanism("a", SpfWord.PASS, "mail.example.com", v4_length=0, v6_length=0),
    "mx:example.net.": SpfMechanism("mx", SpfWord.PASS, "example.net."),
    "ptr": SpfMechanism("ptr", SpfWord.PASS),
    "ptr:example.org": SpfMechanism("ptr", SpfWord.PASS, "example.org"),
    "?include:_spf.example.net": SpfMechanism("include", SpfWord.NEUTRAL, "_spf.example.net"),
    "exists:%{ir}.%{l1r+-}._spf.%{d}": SpfMechanism("exists", SpfWord.PASS, "%{ir}.%{l1r+-}._spf.%{d}"),
    "exists:%{i}%%%_%-.example.com": SpfMechanism("exists", SpfWord.PASS, "%{i}%%%_%-.example.com"),
    "a:3.1-4.example.com": SpfMechanism("a", SpfWord.PASS, "3.1-4.example.com"),
}


@pytest.mark.parametrize("term", MECHANISMS)
def test_a_mechanism_is_read(term: str) -> None:
    assert parse_spf(f"v=spf1 {term}").mechanisms == (MECHANISMS[term],)


WRONG = [
    *("all.", "all:example.com", "all/8", "-", "foo", "foo:bar", "!all", "++all", "+redirect=example.com"),
    *("ip4", "ip4:", "ip4:192.0.2", "ip4:192.0.2.09", "ip4:192.0.2.1/33", "ip4:192.0.2.1/08", "ip4:192.0.2.1//24"),
    *("ip4:2001:db8::1", "ip4:192.0.2.1/255.255.255.0", "ip6:192.0.2.1", "ip6:fe80::1%eth0", "ip6:2001:db8::/129"),
    *("a:", "a:/24", "a/33", "a//129", "a/024", "a/", "a:example.com:8080", "a:example", "a:example.com.123", "a:com-"),
    *("include", "include:", "include/24", "exists", "exists:", "ptr:", "ptr/0", "mx=example.com/x%"),
    *("exists:%{x}.example.com", "exists:%{d0}.example.com", "exists:%{d", "exists:%a.example.com", "exists:%(d)"),
    *("exists:%{c}.example.com", "exists:%{r}.example.com", "exists:%{t}.example.com", "exists:%{d}%{i"),
    *("redirect=", "redirect=%{x}", "exp=", "exp=example", "redirect=example.com/24"),
    *("redirect=a.test redirect=b.test", "exp=a.test exp=b.test", "a\tmx", "a:é.example.com", "ip4:192.0.2.1,a"),
]


@pytest.mark.parametrize("term", WRONG)
def test_a_wrong_term_makes_the_whole_record_wrong_even_behind_all(term: str) -> None:
    with pytest.raises(SpfPermError):
        parse_spf(f"v=spf1 +all {term}")


def test_the_message_names_the_term_as_printable_text() -> None:
    with pytest.raises(SpfPermError, match=r"^ipv4:192\.0\.2\.1\? is no term of SPF$"):
        parse_spf("v=spf1 ipv4:192.0.2.1\x07 -all")


def test_unknown_modifiers_are_ignored_and_blanks_may_be_several() -> None:
    record = parse_spf("v=spf1  moo.cow-far_out=man:dog/cat  redirect=%{d2} ")

    assert (record.mechanisms, record.redirect) == ((), "%{d2}")


def test_only_what_begins_with_the_version_is_a_record() -> None:
    texts = ["v=spf1", "V=SPF1 -all", "v=spf10 -all", "v=spf1-all", " v=spf1", "spf1"]

    assert spf_records(texts) == texts[:2]


@given(st.lists(st.sampled_from([*MECHANISMS, *WRONG, "", "x=y"]) | st.text(max_size=30)))
def test_any_text_is_a_record_or_an_error_of_its_owner(terms: list[str]) -> None:
    with contextlib.suppress(SpfPermError):
        parse_spf(" ".join(["v=spf1", *terms]))


HOSTILE = [
    "exists:" + "." * 30_000 + "!",
    "exists:." + "a" * 60_000 + "!",
    "a:" + ".a-" * 20_000,
    "exists:" + "%{d}" * 15_000 + "!",
    "a" + "/" * 60_000,
    "ip4:" + "1" * 60_000,
]


@pytest.mark.parametrize("term", HOSTILE, ids=[term[:12] for term in HOSTILE])
def test_a_record_as_long_as_the_dns_can_carry_is_read_in_no_time(term: str) -> None:
    begin = time.process_time()
    with pytest.raises(SpfPermError):
        parse_spf(f"v=spf1 {term}")
    assert time.process_time() - begin < 2
