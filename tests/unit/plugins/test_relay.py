"""Haraka's relay rules: what the files may say, each action, and the way that mail is forced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.plugins import loaded, read

from mailboat.hooks import CONT, ConfigError, Decision, Hooks, Point, parse_address
from mailboat.hooks.loader import PluginsError
from mailboat.model.observer import Observer
from mailboat.plugins.relay import RelayRules, parse_domains, parse_rules

DOMAINS = """[domains]
accept.test={"action": "accept", "nexthop": "smtp.accept.test:2525"}
continue.test={"action": "continue"}
deny.test={"action": "deny"}
way.test={"nexthop": "[2001:db8::1]:26"}
any={"nexthop": "lmtp://default.test"}
"""


def hooks(directory: Path, rules: str = "[relay]\ndest_domains=true\n", domains: str = DOMAINS) -> Hooks:
    (directory / "relay.ini").write_text(rules)
    (directory / "relay_dest_domains.ini").write_text(domains)
    return loaded(directory, "relay")(Observer())


async def rcpt(some: Hooks, domain: str, *, relaying: bool = False) -> tuple[Decision, bool]:
    connection: Any = SimpleNamespace(relaying=relaying)
    decision = await some.run(Point.RCPT, connection, parse_address(f"bob@{domain}"), {})
    return decision, connection.relaying


@pytest.mark.parametrize(
    ("domain", "code", "relaying"),
    [
        ("accept.test", "OK", False),
        ("ACCEPT.test", "OK", False),
        ("continue.test", "CONT", True),
        ("deny.test", "DENY", False),
        ("way.test", "CONT", False),
        ("unlisted.test", "CONT", False),
        ("any", "CONT", False),
        ("sub.accept.test", "CONT", False),
    ],
)
async def test_each_action_opens_what_it_says_and_no_more(
    domain: str, code: str, relaying: bool, tmp_path: Path
) -> None:
    decision, now = await rcpt(hooks(tmp_path), domain)
    assert (decision.code.value, now) == (code, relaying)


async def test_who_may_relay_anyway_is_not_asked(tmp_path: Path) -> None:
    decision, _ = await rcpt(hooks(tmp_path), "deny.test", relaying=True)
    assert decision.code is CONT


async def test_destinations_count_only_where_they_are_switched_on(tmp_path: Path) -> None:
    decision, relaying = await rcpt(hooks(tmp_path, ""), "accept.test")
    assert (decision.code, relaying) == (CONT, False)


@pytest.mark.parametrize(
    ("domain", "way"),
    [
        ("accept.test", "smtp://smtp.accept.test:2525"),
        ("way.test", "smtp://[2001:db8::1]:26"),
        ("elsewhere.test", "lmtp://default.test:24"),
        ("continue.test", ""),
    ],
)
async def test_mail_is_forced_the_way_of_its_domain_or_of_any(domain: str, way: str, tmp_path: Path) -> None:
    decision = await hooks(tmp_path).run(Point.GET_MX, None, domain)
    assert [str(mx) for mx in decision.mx] == ([way] if way else [])


async def test_nothing_is_forced_where_that_is_switched_off(tmp_path: Path) -> None:
    some = hooks(tmp_path, "[relay]\nforce_routing=false\n")
    assert (await some.run(Point.GET_MX, None, "way.test")).code is CONT


@pytest.mark.parametrize(("acl", "relaying"), [("true", True), ("false", False)])
async def test_the_list_of_clients_can_be_switched_off(acl: str, relaying: bool, tmp_path: Path) -> None:
    connection = SimpleNamespace(relaying=True)
    await hooks(tmp_path, f"[relay]\nacl={acl}\n").run(Point.CONNECT, connection)
    assert connection.relaying is relaying


def test_without_files_nothing_is_opened(tmp_path: Path) -> None:
    assert read(parse_rules, tmp_path, "relay.ini", "") == RelayRules(acl=True, force_routing=True, dest_domains=False)
    assert read(parse_domains, tmp_path, "relay_dest_domains.ini", "") == {}


@pytest.mark.parametrize("value", ["true", "yes", "1", "perhaps", ""])
async def test_an_open_relay_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(PluginsError, match="everybody"):
        hooks(tmp_path, f"[relay]\nall={value}\n")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('any={"action": "accept"}', "everybody"),
        ('any={"action": "continue", "nexthop": "a.test"}', "everybody"),
        ('a.test={"action": "allow"}', "is not one of"),
        ('a.test={"hop": "b.test"}', "may have action and nexthop"),
        ('a.test={"action": 1}', "form"),
        ("a.test=accept", "form"),
        ('a.test=["accept"]', "form"),
        ('a.test={"nexthop": "b.test:70000"}', "the port is not one"),
    ],
)
def test_lines_that_cannot_be_meant_are_faults(line: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"relay_dest_domains.ini:?\d*") as caught:
        read(parse_domains, tmp_path, "relay_dest_domains.ini", f"[domains]\n{line}\n")
    assert fault in str(caught.value)


def test_unknown_keys_are_faults(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not one of"):
        read(parse_rules, tmp_path, "relay.ini", "[relay]\nforce_route=true\n")
