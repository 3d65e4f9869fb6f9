"""Decides who may relay to which domains, and the next hop: Haraka's `relay` without the open relay.

docs/plugins/relay.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mailboat.hooks import CONT, DENY, OK, Address, Answer, Connection, HMail, Mx, Plugin, PluginConfig, Point

_KEYS = ("acl", "force_routing", "all", "dest_domains")
_ACTIONS = ("accept", "continue", "deny")
_ANY = "any"


@dataclass(frozen=True, slots=True)
class RelayRules:
    """`relay.ini`."""

    acl: bool
    """Clients of `relay_acl_allow` may relay."""
    force_routing: bool
    dest_domains: bool


@dataclass(frozen=True, slots=True)
class DomainRule:
    """A line of `relay_dest_domains.ini`."""

    action: str
    """`accept`, `continue`, `deny`, or empty: the line has only a next hop."""
    next_hop: Mx | None


def register(plugin: Plugin) -> None:
    """Hooks for clients, recipients and next hops."""
    rules = plugin.config("relay.ini", parse_rules, secret=False)
    domains = plugin.config("relay_dest_domains.ini", parse_domains)

    async def connect(connection: Connection) -> None:
        if not rules.value.acl:
            connection.relaying = False

    async def rcpt(connection: Connection, recipient: Address, _: object) -> Answer:
        if connection.relaying or not rules.value.dest_domains:
            return CONT
        destination = domains.value.get(recipient.ascii_domain)
        action = destination.action if destination else ""
        if action == "accept":
            return OK
        if action == "continue":
            connection.relaying = True  # for this recipient: other plugins may still refuse it
        return (DENY, "5.7.1 Mail for that recipient is not accepted here") if action == "deny" else CONT

    async def get_mx(_: HMail, domain: str) -> Answer:
        if not rules.value.force_routing:
            return CONT
        destination = domains.value.get(domain) or domains.value.get(_ANY)
        return (OK, destination.next_hop) if destination and destination.next_hop else CONT

    plugin.register_hook(Point.CONNECT, connect)
    plugin.register_hook(Point.RCPT, rcpt)
    plugin.register_hook(Point.GET_MX, get_mx)


def parse_rules(config: PluginConfig[None]) -> RelayRules:
    """`relay.ini`. ValueError for what is wrong with it."""
    for key in config.section("relay"):
        if key not in _KEYS:
            raise ValueError(f"[relay] {key}: not one of {', '.join(_KEYS)}")
    config.read("all", _nobody, False, "relay")
    return RelayRules(
        acl=config.boolean("acl", True, "relay"),
        force_routing=config.boolean("force_routing", True, "relay"),
        dest_domains=config.boolean("dest_domains", False, "relay"),
    )


def _nobody(text: str) -> bool:
    if text.strip().lower() not in ("false", "no", "off", "disabled", "0"):
        raise ValueError("would let everybody relay: list clients in relay_acl_allow, or have them authenticate")
    return False


def parse_domains(config: PluginConfig[None]) -> Mapping[str, DomainRule]:
    """`relay_dest_domains.ini`. ValueError for what is wrong with it."""
    found = {}
    for domain in config.section("domains"):
        destination = config.read(domain, _destination, DomainRule("", None), "domains")
        if domain.lower() == _ANY and destination.action in _ACTIONS[:2]:
            raise ValueError(f"[domains] {domain}: action {destination.action} would let everybody relay")
        found[domain.lower().removesuffix(".")] = destination
    return found


def _destination(text: str) -> DomainRule:
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise ValueError('is not of the form {"action": "accept", "nexthop": "host:port"}')
    if set(given) - {"action", "nexthop"}:
        raise ValueError("may have action and nexthop only")
    action = given.get("action", "")
    if action not in ("", *_ACTIONS):
        raise ValueError(f"action is not one of {', '.join(_ACTIONS)}")
    return DomainRule(action, Mx.of(given["nexthop"]) if given.get("nexthop") else None)
