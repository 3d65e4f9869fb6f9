"""Which TLSA records count for a host: the cases of RFC 7672 2 and RFC 7671 7, with the answers of a fake DNS."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.certificates import Wanted

from mailboat.model.sts import StsAnswer
from mailboat.routing.answers import TlsRequirement
from mailboat.routing.dane import DaneFinding, by_records, find, usable
from mailboat.routing.records import (
    MALFORMED_TLSA,
    Answer,
    Families,
    Lookup,
    LookupFailure,
    MxRecord,
    NoData,
    NxDomain,
    TlsaRecord,
)
from mailboat.routing.subject import Subject, TlsPolicy

LATER = 1e9
HOST, END = "mx.example.test", "host.example.net"
RECORD = TlsaRecord(3, 1, 1, b"k" * 32)
FAILURE = LookupFailure("SERVFAIL", LATER)
SECURE_V4 = Answer(("192.0.2.1",), LATER, secure=True)
INSECURE_V4 = Answer(("192.0.2.1",), LATER)
ALIASED_V4 = Answer(("192.0.2.1",), LATER, secure=True, aliases=("between.example.net", END))
INSECURELY_ALIASED_V4 = Answer(("192.0.2.1",), LATER, aliases=(END,))
TLSA = Answer((RECORD,), LATER, secure=True)
NONE = NoData(LATER, secure=True)


@dataclass
class FakeLookups:
    """Gives the answers that a test has put there, and notes what was asked."""

    v6: Lookup[str] = NONE
    v4: Lookup[str] = SECURE_V4
    answers: dict[str, Lookup[Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def mx(self, name: str) -> Lookup[MxRecord]:
        return self._answer(f"MX {name}")

    async def texts(self, name: str) -> Lookup[str]:
        raise AssertionError(name)

    async def sts(self, domain: str) -> StsAnswer | None:
        raise AssertionError(domain)

    async def families(self, name: str, versions: Sequence[int]) -> Families:
        assert (name, versions) == (HOST, (6, 4))
        return self.v6, self.v4

    async def tlsa(self, name: str) -> Lookup[TlsaRecord]:
        return self._answer(name)

    async def cname(self, name: str) -> Lookup[str]:
        return self._answer(f"CNAME {name}")

    def _answer(self, name: str) -> Lookup[Any]:
        self.asked.append(name)
        return self.answers[name]


def found(lookups: FakeLookups, port: int = 25) -> DaneFinding:
    return asyncio.run(find(lookups, HOST, port, (6, 4)))


AT_HOST, AT_END, ALIAS = f"_25._tcp.{HOST}", f"_25._tcp.{END}", f"CNAME {HOST}"


def test_a_host_whose_addresses_are_not_authenticated_has_no_dane_and_is_not_asked_for_records() -> None:
    lookups = FakeLookups(v4=INSECURE_V4)
    assert found(lookups) == DaneFinding()
    assert lookups.asked == []


def test_authenticated_records_of_an_authenticated_host_count() -> None:
    lookups = FakeLookups(answers={AT_HOST: TLSA})
    assert found(lookups) == DaneFinding(HOST, (RECORD,))
    assert lookups.asked == [AT_HOST]


def test_records_are_asked_for_the_port_that_is_connected_to() -> None:
    assert found(FakeLookups(answers={f"_2525._tcp.{HOST}": TLSA}), port=2525).usable == (RECORD,)


def test_the_end_of_an_authenticated_chain_of_aliases_is_the_base_domain() -> None:
    lookups = FakeLookups(v4=ALIASED_V4, answers={AT_END: TLSA})
    assert found(lookups) == DaneFinding(END, (RECORD,))
    assert lookups.asked == [AT_END]


@pytest.mark.parametrize(
    "nothing", [NoData(LATER, secure=True), NxDomain(LATER, secure=True), NoData(LATER), Answer((RECORD,), LATER)]
)
def test_the_original_name_is_the_base_domain_if_the_end_of_its_aliases_has_no_authenticated_records(
    nothing: Lookup[TlsaRecord],
) -> None:
    lookups = FakeLookups(v4=ALIASED_V4, answers={AT_END: nothing, AT_HOST: TLSA})
    assert found(lookups) == DaneFinding(HOST, (RECORD,))
    assert lookups.asked == [AT_END, AT_HOST]


def test_an_authenticated_alias_to_an_unauthenticated_host_is_asked_for_records_itself() -> None:
    alias = Answer((END,), LATER, secure=True)
    lookups = FakeLookups(v4=INSECURELY_ALIASED_V4, answers={ALIAS: alias, AT_HOST: TLSA})
    assert found(lookups) == DaneFinding(HOST, (RECORD,))
    assert lookups.asked == [ALIAS, AT_HOST]


@pytest.mark.parametrize("alias", [Answer((END,), LATER), NoData(LATER, secure=True), FAILURE])
def test_an_alias_that_is_not_authenticated_has_no_dane(alias: Lookup[str]) -> None:
    lookups = FakeLookups(v4=INSECURELY_ALIASED_V4, answers={ALIAS: alias})
    assert not found(lookups).base
    assert lookups.asked == [ALIAS]


@pytest.mark.parametrize(
    "nothing",
    [
        NoData(LATER, secure=True),
        NxDomain(LATER, secure=True),
        NoData(LATER),
        NxDomain(LATER),
        Answer((RECORD,), LATER),
    ],
)
def test_a_host_without_authenticated_records_has_no_dane(nothing: Lookup[TlsaRecord]) -> None:
    assert found(FakeLookups(answers={AT_HOST: nothing})) == DaneFinding()


@pytest.mark.parametrize(
    ("v4", "answers"),
    [
        (SECURE_V4, {AT_HOST: FAILURE}),
        (ALIASED_V4, {AT_END: FAILURE, AT_HOST: TLSA}),
        (ALIASED_V4, {AT_END: NoData(LATER, secure=True), AT_HOST: FAILURE}),
    ],
)
def test_a_host_must_not_be_used_if_it_is_not_known_whether_it_has_records(
    v4: Lookup[str], answers: dict[str, Lookup[Any]]
) -> None:
    assert found(FakeLookups(v4=v4, answers=answers)) == DaneFinding(failure="SERVFAIL")


def test_records_of_which_none_is_usable_are_found() -> None:
    answer = Answer((TlsaRecord(1, 1, 1, b"k" * 32), MALFORMED_TLSA), LATER, secure=True)
    assert found(FakeLookups(answers={AT_HOST: answer})) == DaneFinding(HOST, ())


def test_unusable_records_beside_usable_ones_do_not_count() -> None:
    answer = Answer((MALFORMED_TLSA, RECORD), LATER, secure=True)
    assert found(FakeLookups(answers={AT_HOST: answer})) == DaneFinding(HOST, (RECORD,))


@pytest.mark.parametrize("other", [Answer(("2001:db8::1",), LATER), FAILURE, NxDomain(LATER)])
def test_one_authenticated_address_family_is_enough(other: Lookup[str]) -> None:
    assert found(FakeLookups(v6=other, answers={AT_HOST: TLSA})).base == HOST
    v6 = Answer(("2001:db8::1",), LATER, secure=True)
    assert found(FakeLookups(v6=v6, v4=other, answers={AT_HOST: TLSA})).base == HOST


def answer(*records: TlsaRecord) -> Answer[TlsaRecord]:
    return Answer(records, LATER, secure=True)


def test_the_order_of_an_answer_makes_no_difference() -> None:
    other = TlsaRecord(2, 0, 2, b"c" * 64)
    assert usable(answer(RECORD, other, RECORD)) == usable(answer(other, RECORD)) == (RECORD, other)


def demanded(lookups: FakeLookups, *, dane: bool = True, mx_secure: bool = True, by_mx: bool = True) -> TlsRequirement:
    """What the check answers for the host of `example.test`."""
    address = ipaddress.ip_address("192.0.2.1")
    about = Subject("example.test", HOST, address, dane=dane, by_mx=by_mx, mx_secure=mx_secure, lookups=lookups)

    async def check() -> TlsRequirement:
        proposed = by_records(TlsPolicy(), about, STANDING)
        return proposed if isinstance(proposed, TlsRequirement) else await proposed

    return asyncio.run(check())


STANDING = TlsRequirement()
ANCHOR = TlsaRecord(2, 0, 1, b"c" * 32)


@pytest.mark.parametrize("off", [{"dane": False}, {"mx_secure": False}])
def test_nothing_is_asked_if_the_settings_or_the_way_to_the_host_forbid_dane(off: dict[str, bool]) -> None:
    lookups = FakeLookups()
    assert demanded(lookups, **off) is STANDING
    assert lookups.asked == []


def test_a_certificate_by_usage_2_may_be_for_the_host_the_domain_or_what_that_is_an_alias_of() -> None:
    mx = Answer((MxRecord(10, HOST),), LATER, secure=True, aliases=("example.net",))
    lookups = FakeLookups(answers={AT_HOST: answer(ANCHOR), "MX example.test": mx})
    assert demanded(lookups).names == (HOST, "example.test", "example.net")
    assert demanded(lookups, by_mx=False).names == (HOST,)


def test_names_do_not_count_if_all_records_are_of_usage_3_so_that_domains_can_share_a_session() -> None:
    requirement = demanded(FakeLookups(answers={AT_HOST: TLSA}))
    assert (requirement.names, requirement.servername, requirement.tlsa) == ((), HOST, (RECORD,))


CERTIFICATE = Wanted(HOST).issue()


@pytest.mark.parametrize("usage", [2, 3])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_usages_2_and_3_are_usable_with_each_known_selector_and_matching_type(
    usage: int, selector: int, matching: int
) -> None:
    record = CERTIFICATE.tlsa(usage, selector, matching)
    assert usable(answer(record)) == (record,)


@pytest.mark.parametrize(
    "record",
    [
        CERTIFICATE.tlsa(0, 1, 1),
        CERTIFICATE.tlsa(1, 1, 1),
        TlsaRecord(4, 1, 1, b"k" * 32),
        TlsaRecord(3, 2, 1, b"k" * 32),
        TlsaRecord(3, 1, 3, b"k" * 32),
        TlsaRecord(3, 1, 1, b"k" * 31),
        TlsaRecord(3, 1, 2, b"k" * 32),
        TlsaRecord(3, 0, 0, b""),
        TlsaRecord(3, 0, 0, CERTIFICATE.public_key),
        TlsaRecord(2, 1, 0, CERTIFICATE.der),
        MALFORMED_TLSA,
    ],
)
def test_other_records_and_those_that_nothing_can_match_are_not_usable(record: TlsaRecord) -> None:
    assert usable(answer(record)) == ()
