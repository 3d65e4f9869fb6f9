"""What holds for some mail: limits add up, properties override."""

from __future__ import annotations

import random

import pytest
from tests.support.shaping import shaping_table

from mailboat.config.settings import InetPrefer, OutboundSettings, Route
from mailboat.shaping.effective import Effective, Facts, effective, site_id
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.table import LimitTable

PROVIDER = "[provider:p]\nmx[]=.p.test\nsample_mx[]=mx.p.test\n"
NONE = "[main]\ntable=none\n"
OURS = ("a.p.test", "b.p.test")


def found(text: str, domain: str = "d.test", hosts: tuple[str, ...] = OURS, source: str = "default") -> Effective:
    return effective(shaping_table(NONE + text), Facts(domain, hosts), source)


def limits(of: Effective, key: LimitKey = LimitKey.CONNECTIONS) -> dict[str, str]:
    return {counted.section: str(counted.said.value) for counted in of.limits if counted.key is key}


def test_each_section_that_applies_has_its_own_limit() -> None:
    both = found(f"{PROVIDER}connections=3\n[domain:d.test]\nconnections=1\n[domain:.test]\nconnections=9\n")
    assert limits(both) == {"provider:p": "3", "domain:.test": "9", "domain:d.test": "1"}


def test_limits_of_default_stand_in_only_where_no_other_section_has_that_key() -> None:
    text = f"[default]\nconnections=5\nrate=10/1m\n{PROVIDER}connections=3\n"
    assert limits(found(text)) == {"provider:p": "3"}
    assert limits(found(text), LimitKey.RATE) == {"default": "10/1m"}
    assert limits(found(text, hosts=("mx.other.test",))) == {"default": "5"}


def test_none_is_a_value() -> None:
    assert limits(found(f"[default]\nconnections=5\n{PROVIDER}connections=none\n")) == {}


def test_the_most_specific_section_decides_about_a_property() -> None:
    text = (
        f"[default]\ninet=v4\nmessages_per_connection=9\n{PROVIDER}inet=v6\n[site:b.p.test]\ninet=v4-only\n"
        "[domain:.test]\nmessages_per_connection=7\n[domain:d.test]\nmessages_per_connection=8\n"
    )
    here = found(text)
    assert here.value("inet") is InetPrefer.V4_ONLY
    assert here.value("messages_per_connection") == 8
    assert str(here.properties["inet"].said_at) == "shaping.ini:11 [site:b.p.test]"
    assert found(text, "x.d.test", ()).value("messages_per_connection") == 7
    assert found(text, "e.example", ("mx.e.example",)).value("inet") is InetPrefer.V4


def test_a_source_has_values_of_its_own() -> None:
    text = f"{PROVIDER}connections=3\ninet=v4\n[provider:p @default]\nconnections=1\n"
    assert limits(found(text)) == {"provider:p": "1"}
    assert limits(found(text, source="other")) == {"provider:p": "3"}
    assert found(text).value("inet") is InetPrefer.V4


def test_each_source_is_counted_by_itself_unless_all_are_meant() -> None:
    (one,) = found(f"{PROVIDER}connections=3\n").limits
    (every,) = found(f"{PROVIDER}connections=3 all sources\n").limits
    assert (one.counter()[-1], every.counter()[-1]) == ("default", "*")


def test_what_is_counted_by_itself_is_part_of_the_counter() -> None:
    def place(value: str, domain: str = "d.test", hosts: tuple[str, ...] = OURS) -> str:
        (counted,) = found(f"{PROVIDER}connections={value}\n", domain, hosts).limits
        return counted.counter("a.p.test", "192.0.2.1")[2]

    assert place("3") == place("3", "e.test", ("a.p.test",)) == ""
    assert place("3 per site") == site_id(OURS) == place("3 per site", "e.test") != place("3 per site", hosts=OURS[:1])
    assert place("3 per domain") == "d.test"
    assert place("3 per host") == "a.p.test"
    assert place("3 per address") == "192.0.2.1"


def test_in_default_each_site_is_counted_by_itself() -> None:
    (counted,) = found("[default]\nrate=3/1m\n").limits
    assert counted.counter()[2] == site_id(OURS)


def test_a_domain_that_is_separate_leaves_its_site_and_provider() -> None:
    text = f"{PROVIDER}connections=3\ninet=v4\n[site:a.p.test]\nconnections=2\n[domain:d.test]\nseparate=true\n"
    alone = found(text)
    assert (limits(alone), alone.value("inet")) == ({}, InetPrefer.V4)
    assert limits(found(text, "e.test")) == {"provider:p": "3", "site:a.p.test": "2"}


@pytest.mark.parametrize(
    ("domain", "hosts", "provider"),
    [
        ("d.test", OURS, "p"),
        ("d.test", (*OURS, "mx.other.test"), ""),
        ("d.test", ("p.test",), ""),
        ("d.test", (), ""),
        ("filtered.test", ("mx.filter.test",), "p"),
        ("sub.filtered.test", ("mx.filter.test",), ""),
    ],
)
def test_a_provider_has_all_hosts_of_a_site_or_the_domain(domain: str, hosts: tuple[str, ...], provider: str) -> None:
    assert found(f"{PROVIDER}domain[]=filtered.test\n", domain, hosts).provider == provider


def test_mail_of_a_route_knows_only_default_and_the_route() -> None:
    settings = OutboundSettings(routes=(Route("hub"),))
    text = (
        f"{NONE}[default]\nrate=9/1m\n{PROVIDER}connections=3\n[route:hub]\nconnections=2\n[domain:d.test]\nrate=1/1m\n"
    )
    here = effective(shaping_table(text, outbound=settings), Facts(route="hub"), "default")
    assert [counted.section for counted in here.limits] == ["route:hub", "default"]


def test_the_order_of_sections_makes_no_difference() -> None:
    sections = [
        "[default]\nconnections=9\ninet=v4\n",
        f"{PROVIDER}connections=3\ninet=v6\n",
        "[site:a.p.test]\nrate=5/1m\ninet=v4-only\n",
        "[site:b.p.test]\nrate=6/1m\ninet=v6-only\n",
        "[domain:d.test]\nconnections=1\n",
        "[domain:.test]\nrate=7/1m\n",
    ]
    chance = random.Random(5)

    def what(text: str) -> tuple[dict[str, str], dict[str, str], object]:
        here = found(text)
        return limits(here), limits(here, LimitKey.RATE), here.value("inet")

    first = what("".join(sections))
    for _ in range(30):
        assert what("".join(chance.sample(sections, len(sections)))) == first


def test_nothing_holds_without_a_table() -> None:
    nothing = effective(LimitTable(), Facts("d.test", OURS), "default")
    assert (nothing.provider, nothing.limits, dict(nothing.properties)) == ("", (), {})
