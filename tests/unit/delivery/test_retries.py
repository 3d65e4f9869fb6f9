"""The retry plan of mail by its destination: what shaping.ini says of it, and what holds while hosts are unknown."""

from __future__ import annotations

from dataclasses import replace

from tests.support.facts import entry as entry_of
from tests.support.shaping import shaping_table

from mailboat.config.settings import OutboundSettings, Settings
from mailboat.delivery.destination import Destination
from mailboat.delivery.places import Place
from mailboat.delivery.retries import RetryPlans

TEXT = (
    "[provider:p]\nmx[]=.p.test\nsample_mx[]=a.p.test\ntemp_fail_intervals=10s*5\n"
    "[domain:d.test]\ntemp_fail_intervals=1h\n"
)


def plans(text: str) -> RetryPlans:
    outbound = OutboundSettings(temp_fail_intervals=(60.0, 120.0))
    return RetryPlans(Settings("/etc/mailboat", "relay.test", outbound=outbound, shaping=shaping_table(text)))


def at(*hosts: str) -> Place:
    return Place(Destination(",".join(hosts)), 0.0, proven=True)


def test_the_most_specific_section_says_when_mail_is_tried_again() -> None:
    found, entry = plans(TEXT), replace(entry_of(), domain="e.test")
    assert found.of(entry, at("a.p.test")).delays == (10.0,) * 5
    assert found.of(replace(entry, domain="d.test"), at("a.p.test")).delays == (3600.0,)
    assert found.of(entry, at("a.q.test")).delays == (60.0, 120.0)


def test_while_hosts_are_not_known_no_plan_of_theirs_ends_earlier() -> None:
    found, entry = plans(TEXT), replace(entry_of(), domain="e.test")
    assert found.of(entry, None).delays == found.longest.delays == (3600.0, 120.0, 10.0, 10.0, 10.0)


def test_without_such_a_section_the_plan_is_that_of_outbound_ini_wherever_mail_goes() -> None:
    found, entry = plans("[default]\ninet=v4\n"), replace(entry_of(), domain="e.test")
    assert found.of(entry, None) is found.of(entry, at("a.p.test")) is found.longest is found.usual
