"""SPF evaluated as receivers do it (RFC 7208): the examples of the RFC, its limits, and what goes wrong in the DNS."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.spf_zone import SpfZone

from mailboat_operator.spf.check_host import LOOKUPS_MAX, check_host
from mailboat_operator.spf.macros import dotted, expand
from mailboat_operator.spf.record import SpfWord

Records = dict[tuple[str, str], list[str]]

APPENDIX_A: Records = {
    ("example.com", "MX"): ["mail-a.example.com", "mail-b.example.com"],
    ("example.com", "A"): ["192.0.2.10", "192.0.2.11"],
    ("amy.example.com", "A"): ["192.0.2.65"],
    ("bob.example.com", "A"): ["192.0.2.66"],
    ("mail-a.example.com", "A"): ["192.0.2.129"],
    ("mail-b.example.com", "A"): ["192.0.2.130"],
    ("example.org", "MX"): ["mail-c.example.org"],
    ("mail-c.example.org", "A"): ["192.0.2.140"],
    ("65.2.0.192.in-addr.arpa", "PTR"): ["amy.example.com"],
    ("140.2.0.192.in-addr.arpa", "PTR"): ["mail-c.example.org"],
    ("4.0.0.10.in-addr.arpa", "PTR"): ["bob.example.com"],
}
HOSTS = [10, 11, 65, 66, 128, 129, 130, 131, 132, 140, 143]
"""Last octets that are tried."""
EXAMPLES = {
    "v=spf1 +all": HOSTS,
    "v=spf1 a -all": [10, 11],
    "v=spf1 a:example.org -all": [],
    "v=spf1 mx -all": [129, 130],
    "v=spf1 mx:example.org -all": [140],
    "v=spf1 mx mx:example.org -all": [129, 130, 140],
    "v=spf1 mx/30 mx:example.org/30 -all": [128, 129, 130, 131, 140, 143],
    "v=spf1 ptr -all": [65],
    "v=spf1 ip4:192.0.2.128/28 -all": [128, 129, 130, 131, 132, 140, 143],
}


@pytest.mark.parametrize("record", EXAMPLES)
def test_the_examples_of_appendix_a(record: str) -> None:
    zone = SpfZone(APPENDIX_A | {("example.com", "TXT"): [record]})

    assert [host for host in HOSTS if zone.check(f"192.0.2.{host}").word is SpfWord.PASS] == EXAMPLES[record]
    if record.endswith("-all"):
        assert zone.check("10.0.0.4").word is SpfWord.FAIL


SENDER = {
    "s": "strong-bad@email.example.com",
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "h": "mail.example.com",
    "p": "unknown",
}
EXPANSIONS = {
    "%{s}": "strong-bad@email.example.com",
    "%{o}": "email.example.com",
    "%{d4}": "email.example.com",
    "%{d2}": "example.com",
    "%{d1}": "com",
    "%{dr}": "com.example.email",
    "%{d2r}": "example.email",
    "%{l-}": "strong.bad",
    "%{lr}": "strong-bad",
    "%{lr-}": "bad.strong",
    "%{l1r-}": "strong",
    "%{S}": "strong-bad%40email.example.com",
    "%%%_%-": "% %20",
    "%{ir}.%{v}._spf.%{d2}": "3.2.0.192.in-addr._spf.example.com",
    "%{lr-}.lp._spf.%{d2}": "bad.strong.lp._spf.example.com",
    "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}": "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
    "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}": "3.2.0.192.in-addr.strong.lp._spf.example.com",
    "%{d2}.trusted-domains.example.net.": "example.com.trusted-domains.example.net",
}


@pytest.mark.parametrize("spec", EXPANSIONS)
def test_macros_expand_as_in_section_7_4(spec: str) -> None:
    assert expand(spec, SENDER | {"i": dotted(ip_address("192.0.2.3")), "v": "in-addr"}) == EXPANSIONS[spec]


def test_an_ipv6_address_expands_to_its_nibbles() -> None:
    values = SENDER | {"i": dotted(ip_address("2001:db8::cb01")), "v": "ip6"}

    expected = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    assert expand("%{ir}.%{v}._spf.%{d2}", values) == expected


def test_a_name_that_is_too_long_loses_labels_from_the_left() -> None:
    name = expand("%{s}." + "a234567890." * 30 + "example.com", SENDER)

    assert len(name) <= 253
    assert name.endswith(".example.com")
    assert set(name.removesuffix(".example.com").split(".")) == {"a234567890"}


def including(*terms: str, domain: str = "example.com", **further: str) -> SpfZone:
    """A zone with the record of one domain, and those of others below `test`."""
    zone = SpfZone({(domain, "TXT"): [" ".join(["v=spf1", *terms])]})
    zone.records |= {(f"{name}.test", "TXT"): [text] for name, text in further.items()}
    return zone


CASES: dict[str, tuple[SpfZone, SpfWord]] = {
    "no record": (SpfZone(), SpfWord.NONE),
    "nothing matches": (including("ip4:192.0.2.1"), SpfWord.NEUTRAL),
    "other records beside it": (
        SpfZone({("example.com", "TXT"): ["verification=1", "v=spf1 ip4:192.0.2.9 -all"]}),
        SpfWord.PASS,
    ),
    "the first match counts": (including("?ip4:192.0.2.0/24", "ip4:192.0.2.9", "-all"), SpfWord.NEUTRAL),
    "ip6 is for other addresses": (including("ip6:::/0", "~all"), SpfWord.SOFTFAIL),
    "what an include passes": (including("~include:a.test", "-all", a="v=spf1 ip4:192.0.2.9"), SpfWord.SOFTFAIL),
    "what an include fails": (including("include:a.test", "?all", a="v=spf1 -all"), SpfWord.NEUTRAL),
    "an include of nothing": (including("include:a.test", "+all"), SpfWord.PERMERROR),
    "an include that is wrong": (including("include:a.test", "+all", a="v=spf1 foo"), SpfWord.PERMERROR),
    "a redirect": (including("ip4:192.0.2.1", "redirect=a.test", a="v=spf1 ip4:192.0.2.9 -all"), SpfWord.PASS),
    "a redirect beside all": (including("-all", "redirect=a.test", a="v=spf1 +all"), SpfWord.FAIL),
    "a redirect to nothing": (including("redirect=a.test"), SpfWord.PERMERROR),
    "a redirect is evaluated as that domain": (including("redirect=a.test", a="v=spf1 a -all"), SpfWord.FAIL),
    "exists, by the sender": (
        SpfZone(
            {
                ("example.com", "TXT"): ["v=spf1 exists:%{l}.%{o}.%{ir}.%{v}.list.test -all"],
                ("postmaster.example.com.9.2.0.192.in-addr.list.test", "A"): ["127.0.0.2"],
            }
        ),
        SpfWord.PASS,
    ),
    "a validated name in a macro": (
        SpfZone(
            {
                ("example.com", "TXT"): ["v=spf1 exists:%{p}.list.test -all"],
                ("9.2.0.192.in-addr.arpa", "PTR"): ["liar.example.com", "MAIL.example.com"],
                ("mail.example.com", "A"): ["192.0.2.9"],
                ("mail.example.com.list.test", "A"): ["127.0.0.2"],
            }
        ),
        SpfWord.PASS,
    ),
    "eleven look-ups": (including(*["include:a.test"] * 11, "+all", a="v=spf1 ?all"), SpfWord.PERMERROR),
    "ten look-ups": (including(*["include:a.test"] * 10, "~all", a="v=spf1 ?all"), SpfWord.SOFTFAIL),
    "a circle": (including("include:example.com"), SpfWord.PERMERROR),
    "three look-ups of nothing": (including("a:a.test", "a:b.test", "mx:c.test", "+all"), SpfWord.PERMERROR),
    "two look-ups of nothing": (including("a:a.test", "mx:b.test", "+all"), SpfWord.PASS),
    "a name that no DNS can have": (including(f"a:{'a' * 64}.test", "+all"), SpfWord.PASS),
    "two records": (SpfZone({("example.com", "TXT"): ["v=spf1 +all", "v=spf1 -all"]}), SpfWord.PERMERROR),
}


@pytest.mark.parametrize("name", CASES)
def test_the_result_for_192_0_2_9(name: str) -> None:
    zone, expected = CASES[name]

    assert zone.check("192.0.2.9").word is expected


VALIDATED = {
    ("sub.example.com", "example.com"): "example.com",
    ("other.test", "sub.example.com"): "sub.example.com",
    ("other.test",): "other.test",
    (): "unknown",
}


@pytest.mark.parametrize("names", VALIDATED)
def test_the_macro_p_prefers_the_domain_then_one_below_it_then_any(names: tuple[str, ...]) -> None:
    """RFC 7208 7.3."""
    zone = including("exists:%{p}.list.test", "-all")
    zone.records["9.2.0.192.in-addr.arpa", "PTR"] = list(names)
    zone.records |= {(name, "A"): ["192.0.2.9"] for name in names}

    zone.check("192.0.2.9")

    assert zone.asked[-1] == (f"{VALIDATED[names]}.list.test", "A")


def test_more_than_ten_hosts_of_one_mx_are_an_error() -> None:
    zone = including("mx", "+all")
    zone.records["example.com", "MX"] = [f"mx{number}.test" for number in range(11)]

    result = zone.check("192.0.2.9")

    assert (result.word, result.why) == (SpfWord.PERMERROR, "example.com has more than 10 MX records")


def test_an_ipv6_address_is_looked_for_in_aaaa_records_with_the_second_prefix_length() -> None:
    zone = including("a/8//64", "-all")
    zone.records |= {("example.com", "A"): ["192.0.2.9"], ("example.com", "AAAA"): ["2001:db8::1"]}

    assert zone.check("2001:db8::9").word is SpfWord.PASS
    assert zone.check("2001:db8:1::9").word is SpfWord.FAIL


@pytest.mark.parametrize("silent", ["example.com", "a.test"])
def test_where_the_dns_does_not_answer_there_is_no_result(silent: str) -> None:
    zone = including("include:a.test", "+all", a="v=spf1 ?all")
    zone.silent = {silent}

    result = zone.check("192.0.2.9")

    assert (result.word, result.why) == (SpfWord.TEMPERROR, f"{silent}: no answer")


def test_ptr_does_not_match_where_the_dns_does_not_answer() -> None:
    zone = including("ptr", "-all")
    zone.silent = {"9.2.0.192.in-addr.arpa"}

    assert zone.check("192.0.2.9").word is SpfWord.FAIL


def test_an_error_in_an_include_names_the_domain_whose_record_it_is() -> None:
    result = including("include:a.test", a="v=spf1 ipv4:192.0.2.9").check("192.0.2.9")

    assert result.why == "a.test: ipv4:192.0.2.9 is no term of SPF"


NAMES = ["example.com", "a.test", "b.test"]
TERMS = [
    *(f"{sign}{term}" for sign in ("", "-") for term in ("a", "mx", "ptr", "all", "a:%{p}.test", "mx:b.test/24")),
    *(f"{word}:{name}" for word in ("include", "exists", "a") for name in NAMES),
    *("include:%{d}", "exists:%{ir}.%{d2}", "redirect=a.test", "redirect=%{d}", "ip4:192.0.2.0/25", "foo", "x=%{l}"),
]
RECORD = st.lists(st.sampled_from(TERMS), max_size=14).map(lambda terms: " ".join(["v=spf1", *terms]))
ANSWERS = {
    "TXT": st.lists(RECORD, max_size=2),
    "A": st.lists(st.sampled_from(["192.0.2.9", "192.0.2.200"]), max_size=2),
    "MX": st.lists(st.sampled_from([*NAMES, "none.test"]), max_size=12),
}
ZONES = st.fixed_dictionaries({(name, rdtype): answers for name in NAMES for rdtype, answers in ANSWERS.items()})


@given(ZONES, st.sets(st.sampled_from(NAMES)))
def test_every_zone_gives_a_result_after_a_bounded_number_of_look_ups(zone: Records, silent: set[str]) -> None:
    asked = SpfZone(zone)
    asked.silent = silent

    asked.check("192.0.2.9")

    # The record, and for each term that asks ten hosts of an MX, or twice a PTR record with its hosts.
    assert len(asked.asked) <= 1 + LOOKUPS_MAX * 24


@given(RECORD, ZONES)
def test_a_term_for_the_address_before_all_others_makes_a_sound_record_pass(record: str, zone: Records) -> None:
    """So it may be advised whatever else a record says."""
    better = record.replace("v=spf1", "v=spf1 ip4:192.0.2.9", 1)

    result = SpfZone(zone | {("example.com", "TXT"): [better]}).check("192.0.2.9")

    sound = "foo" not in record and record.count("redirect=") < 2
    assert (result.word is SpfWord.PASS) == sound


@given(st.ip_addresses(network=ip_network("192.0.2.0/24")))
def test_an_address_passes_where_its_network_does(address: object) -> None:
    zone = including("ip4:192.0.2.0/24", "-all")

    assert zone.check(str(address)).word is SpfWord.PASS


def test_look_ups_are_awaited_one_after_the_other() -> None:
    """So that one evaluation has one query under way."""
    zone, running, most = including("a:a.test", "a:b.test", "-all"), 0, 0

    async def lookup(name: str, rdtype: str) -> tuple[str, ...]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return await zone.lookup(name, rdtype)

    asyncio.run(check_host(ip_address("192.0.2.9"), "example.com", lookup))

    assert (most, len(zone.asked)) == (1, 3)
