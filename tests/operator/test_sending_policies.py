"""The conditions SPFPasses and DMARCPresent: what is judged, and what the user is told to publish."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from mailboat.config.nouns import IPAddress
from mailboat_operator.sending.dmarc import dmarc_verdict, is_policy, policy_names
from mailboat_operator.sending.spf import SpfFindings, spf_verdict
from mailboat_operator.spf.check_host import SpfHost, SpfResult
from mailboat_operator.spf.record import SpfWord

RECORD = "v=spf1 include:spf.test -all"


def spf(*words: SpfWord, why: str = "", unknown: str = "", text: str = RECORD) -> tuple[str, str, str]:
    """The condition where the addresses 192.0.2.1 and so on got these results."""
    addresses: list[IPAddress] = [ip_address(f"192.0.2.{number}") for number, _ in enumerate(words, 1)]
    results = {address: SpfResult(word, why) for address, word in zip(addresses, words, strict=True)}
    verdict = spf_verdict(SpfFindings("example.com", (text,), tuple(addresses), unknown, results))
    assert verdict is not None
    return verdict.status, verdict.reason, verdict.message


def test_spf_passes_where_every_address_does() -> None:
    assert spf(SpfWord.PASS, SpfWord.PASS) == ("True", "SPFPasses", "192.0.2.1, 192.0.2.2: pass")


REFUSED = {SpfWord.FAIL: "SPFFail", SpfWord.SOFTFAIL: "SPFSoftFail", SpfWord.NEUTRAL: "SPFNeutral"}


@pytest.mark.parametrize("word", REFUSED)
def test_an_address_that_does_not_pass_is_told_with_the_record_that_would_help(word: SpfWord) -> None:
    expected = f"192.0.2.2: {word}; publish at example.com: v=spf1 ip4:192.0.2.2 include:spf.test -all"

    assert spf(SpfWord.PASS, word) == ("False", REFUSED[word], expected)


def test_the_worst_result_is_told_first() -> None:
    assert spf(SpfWord.SOFTFAIL, SpfWord.FAIL)[1] == "SPFFail"
    assert spf(SpfWord.FAIL, SpfWord.PERMERROR, why="more than 10 look-ups are needed") == (
        "False",
        "SPFPermError",
        "192.0.2.2: permerror; more than 10 look-ups are needed",
    )


def test_an_ipv6_address_is_allowed_by_ip6() -> None:
    address = ip_address("2001:db8::9")

    verdict = spf_verdict(SpfFindings("example.com", (RECORD,), (address,), "", {address: SpfResult(SpfWord.FAIL)}))

    assert verdict is not None
    assert "v=spf1 ip6:2001:db8::9 include:spf.test -all" in verdict.message


def test_where_not_all_addresses_are_known_a_failure_counts_and_a_pass_does_not() -> None:
    assert spf(SpfWord.PASS, unknown="behind NAT") == ("Unknown", "SourceUnknown", "192.0.2.1: pass; behind NAT")
    assert spf(unknown="behind NAT") == ("Unknown", "SourceUnknown", f"{RECORD}; behind NAT")
    assert spf(SpfWord.FAIL, unknown="behind NAT")[1] == "SPFFail"


HOST = SpfHost("mail.example.net", ip_address("192.0.2.1"))
HOSTS = {
    SpfWord.FAIL: ("False", "SPFFail"),
    SpfWord.SOFTFAIL: ("False", "SPFSoftFail"),
    SpfWord.PERMERROR: ("False", "SPFPermError"),
    SpfWord.TEMPERROR: ("Unknown", "DNSUnavailable"),
    SpfWord.PASS: ("True", "SPFPasses"),
    SpfWord.NEUTRAL: ("True", "SPFPasses"),
    SpfWord.NONE: ("True", "SPFPasses"),
}


@pytest.mark.parametrize("word", HOSTS)
def test_an_ehlo_name_whose_record_refuses_its_address_is_told_for_bounces_are_judged_by_it(word: SpfWord) -> None:
    results = {HOST.address: SpfResult(SpfWord.PASS)}
    found = SpfFindings("example.com", (RECORD,), (HOST.address,), "", results, {HOST: SpfResult(word)})

    verdict = spf_verdict(found)

    assert verdict is not None
    assert (verdict.status, verdict.reason) == HOSTS[word]
    assert ("ip4:192.0.2.1 has to pass in the SPF record of mail.example.net" in verdict.message) == (
        verdict.reason != "SPFPasses"
    )


def test_an_ehlo_name_that_was_not_asked_for_yet_leaves_it_as_it_was_and_the_domain_counts_first() -> None:
    passed, failed = SpfResult(SpfWord.PASS), SpfResult(SpfWord.FAIL)
    new = SpfFindings("example.com", (RECORD,), (HOST.address,), "", {HOST.address: passed}, {HOST: None})
    both = SpfFindings("example.com", (RECORD,), (HOST.address,), "", {HOST.address: failed}, {HOST: failed})

    assert spf_verdict(new) is None
    verdict = spf_verdict(both)
    assert verdict is not None
    assert "publish at example.com" in verdict.message


def test_without_a_record_one_is_proposed() -> None:
    known = spf_verdict(SpfFindings("example.com", ("v=spf10",), (ip_address("192.0.2.1"),)))
    unknown = spf_verdict(SpfFindings("example.com", ()))

    assert known is not None
    assert unknown is not None
    assert known.reason == unknown.reason == "SPFMissing"
    assert known.message.endswith("example.com: v=spf1 ip4:192.0.2.1 ~all")
    assert unknown.message.endswith("example.com: v=spf1 ip4:ADDRESS ~all")


def test_two_records_are_an_error_of_their_own() -> None:
    verdict = spf_verdict(SpfFindings("example.com", ("v=spf1 -all", "V=SPF1 ~all")))

    assert verdict is not None
    assert (verdict.status, verdict.reason) == ("False", "SPFMultiple")


def test_a_silent_dns_makes_spf_unknown_and_an_address_that_is_new_leaves_it_as_it_was() -> None:
    new = SpfFindings("example.com", (RECORD,), (ip_address("192.0.2.1"),))
    silent = spf_verdict(SpfFindings("example.com", "no answer"))

    assert spf(SpfWord.TEMPERROR, why="no answer") == ("Unknown", "DNSUnavailable", "no answer")
    assert silent is not None
    assert (silent.status, silent.reason) == ("Unknown", "DNSUnavailable")
    assert spf_verdict(new) is None


def test_of_many_addresses_some_are_named() -> None:
    assert spf(*[SpfWord.PASS] * 10)[2].endswith("192.0.2.8 and 2 more: pass")


def test_dmarc() -> None:
    assert dmarc_verdict(("v=DMARC1; p=none",)).status == "True"
    assert dmarc_verdict(("something else",)).reason == "DMARCMissing"
    assert dmarc_verdict(("v=DMARC1; p=none", "v=DMARC1; p=reject")).reason == "DMARCMultiple"
    assert dmarc_verdict("no answer").status == "Unknown"


@pytest.mark.parametrize(
    ("text", "noted"),
    [
        ("v=DMARC1; p=reject; adkim=s", True),
        ("v=DMARC1;ADKIM = S ;p=reject", True),
        ("v=DMARC1; p=reject; adkim=r; aspf=s", False),
        ("v=DMARC1; p=reject; xadkim=s", False),
    ],
)
def test_a_policy_under_which_mail_of_subdomains_is_not_aligned_is_told_with_it(text: str, *, noted: bool) -> None:
    """They are signed with the key of the domain above them, as long as they have none."""
    verdict = dmarc_verdict((text,))

    assert verdict.status == "True"
    assert verdict.message.startswith(text)
    assert ("not aligned, unless" in verdict.message) == noted


POLICIES = {
    "v=DMARC1": True,
    "v = DMARC1 ;p=none": True,
    "v=DMARC1;p=reject": True,
    "v=DMARC10; p=none": False,
    "v=dmarc1; p=none": False,
    "p=none; v=DMARC1": False,
    " v=DMARC1; p=none": False,
}


@pytest.mark.parametrize("text", POLICIES)
def test_a_dmarc_record_begins_with_its_version(text: str) -> None:
    assert is_policy(text) == POLICIES[text]


def test_a_policy_may_stand_at_every_domain_above_it() -> None:
    assert list(policy_names("news.example.com")) == ["_dmarc.news.example.com", "_dmarc.example.com", "_dmarc.com"]


def test_of_a_long_name_eight_are_asked_for() -> None:
    """RFC 9989 4.10: the name itself, then the last seven labels of it and fewer."""
    found = list(policy_names("a.b.c.d.e.f.g.h.i.j.mail.example.com"))

    assert len(found) == 8
    assert found[:2] == ["_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com", "_dmarc.g.h.i.j.mail.example.com"]
    assert found[-1] == "_dmarc.com"
