"""Who may relay, as whom, and to where: Haraka's `relay_acl_allow`, `relay.ini` with its domains, and users."""

from __future__ import annotations

import ipaddress
import re

import orjson

from mailboat.config.acl import surplus
from mailboat.config.hosts import network
from mailboat.config.settings import Network
from mailboat.haraka.journal import SourceLine
from mailboat.haraka.product import Product
from mailboat.haraka.reader import MAIN, HarakaDirectory, Ini, Item, boolean, is_number
from mailboat.haraka.routes import add_route, hop_of

ACL = "relay_acl_allow"
DOMAINS = "relay_dest_domains.ini"
USERS = "auth_flat_file.ini"

_METHODS = ("PLAIN", "LOGIN", "CRAM-MD5")
_ACTIONS = ("accept", "continue", "deny")


def convert_acl(source: HarakaDirectory, product: Product, *, is_used: bool) -> None:
    """Who may relay by address. Not `is_used`: no plugin of Haraka's looks at the list, so nobody may."""
    lines = source.lines(ACL)
    allowed = {found: place for place, line in lines or () if (found := _allowed(place, line, product)) is not None}
    for found in surplus(allowed):
        product.journal.lost(allowed.pop(found), f"{found} would let the Internet relay")
    written = [f"{found}\n" for found in allowed]
    if not is_used:
        for place, _ in (lines or [])[:1]:
            product.journal.lost(
                SourceLine(place.file), "Haraka does not read it: the plugin relay is not listed, or its acl is off"
            )
        written = []
    if not written:
        product.journal.remark(SourceLine(ACL), "is empty: with Haraka no address may relay, not even this machine")
    product.file(ACL, "".join(written).encode())


def _allowed(place: SourceLine, line: str, product: Product) -> Network | None:
    try:
        found = network(line)
    except ValueError as error:
        product.journal.lost(place, str(error))
        return None
    if found.prefixlen == 0:
        product.journal.lost(place, f"{line} would let everybody relay")
        return None
    if "/" not in line and isinstance(found, ipaddress.IPv6Network):
        product.journal.became(place, f"{found}: Haraka takes an IPv6 address without a length for a /32 network")
    return found


def convert_relay(source: HarakaDirectory, product: Product, *, is_listed: bool, forwards: bool) -> bool:
    """`relay.ini`; whether `relay_acl_allow` counts. Next hops become routes, and the rest stays with the plugin.

    `forwards`: smtp_forward hands all mail on before Haraka looks for a next hop.
    """
    ini = source.ini("relay.ini")
    acl, all_, force, dest = (ini.pop("relay", key) for key in ("acl", "all", "force_routing", "dest_domains"))
    if not is_listed:
        for name in ("relay.ini", DOMAINS):
            if source.content(name) is not None:
                product.journal.lost(SourceLine(name), "the plugin relay is not listed")
        return False
    journal = product.journal
    if all_ is not None and boolean(all_, journal):
        journal.lost(all_.place, "would let everybody relay to every domain")
    for section in ini.sections():
        for item in ini.rest(section):
            journal.lost(item.place, "unknown key")
    asks_for_domains = dest is not None and boolean(dest, journal)
    routing = force is None or boolean(force, journal)
    _domains(source.ini(DOMAINS), product, routing=routing, asking=asks_for_domains, forwards=forwards)
    return acl is None or boolean(acl, journal)


def _domains(ini: Ini, product: Product, *, routing: bool, asking: bool, forwards: bool) -> None:
    for item in ini.rest("domains"):
        rule = _rule(item, product)
        if rule is None:
            continue
        hop = rule.get("nexthop")
        if hop is not None and routing and forwards:
            text = "Haraka never uses its nexthop: smtp_forward with enable_outbound forwards the mail first"
            product.journal.lost(item.place, text)
        elif hop is not None and routing:
            _next_hop(item, str(hop), product)
        action = str(rule.get("action", ""))
        if asking and item.key == "any" and action and action != "deny":
            product.journal.lost(item.place, f"action {action[:40]} for every domain would let everybody relay")
        elif asking and action:
            if action not in _ACTIONS:
                product.journal.became(item.place, f'"deny", as Haraka reads {action[:40]!r}')
                action = "deny"
            product.put(item.place, DOMAINS, "domains", item.key, orjson.dumps({"action": action}).decode())
    for section in ini.sections():
        for item in ini.rest(section):
            product.journal.lost(item.place, f"Haraka reads no section [{section}] of this file")
    if asking:
        product.plugins.append("relay")
        product.put(SourceLine("relay.ini"), "relay.ini", "relay", "dest_domains", "true")
        product.journal.remark(
            SourceLine("relay.ini"), "the plugin relay asks its list of domains; the ACL needs no plugin"
        )


def _next_hop(item: Item, text: str, product: Product) -> None:
    try:
        hop = hop_of(text)
    except ValueError as error:
        product.journal.lost(item.place, str(error))
        return
    if add_route(item.place, "*" if item.key == "any" else item.key, hop, product):
        product.journal.became(item.place, f"[route:…] in outbound.ini, to {hop.host}")


def _rule(item: Item, product: Product) -> dict[str, object] | None:
    try:
        rule = orjson.loads(item.value)
    except orjson.JSONDecodeError as error:
        product.journal.lost(item.place, f"not JSON: {error}")
        return None
    if isinstance(rule, dict):
        return rule
    product.journal.lost(item.place, "not a JSON object")
    return None


def convert_users(source: HarakaDirectory, product: Product, *, is_listed: bool) -> bool:
    """`auth_flat_file.ini`; whether the plugin has anything to do."""
    ini, journal = source.ini(USERS), product.journal
    methods, constrain = ini.pop("core", "methods"), ini.pop("core", "constrain_sender")
    users = ini.rest("users")
    for section in ini.sections():
        for item in ini.rest(section):
            journal.lost(item.place, "Haraka does not read it" if section == MAIN else "unknown key")
    if not is_listed:
        if users:
            journal.lost(SourceLine(USERS), "the plugin auth/flat_file is not listed")
        return False
    offered = _methods(methods, product)
    if not offered:
        journal.lost(SourceLine(USERS), "no methods are offered, so no client can authenticate")
        return False
    place = methods.place if methods else SourceLine(USERS)
    product.secret_inis.add(USERS)
    product.put(place, USERS, "core", "methods", ",".join(offered))
    if constrain is not None:
        product.put(constrain.place, USERS, "core", "constrain_sender", str(boolean(constrain, journal)).lower())
    for user in users:
        kept = product.put(user.place, USERS, "users", user.key, user.value)
        if kept and is_number(user.value):
            journal.remark(user.place, "is text now; Haraka reads such a password as a number and loses leading zeros")
    return True


def _methods(item: Item | None, product: Product) -> list[str]:
    found = [word for word in re.split(r"[,\s]+", item.value) if word] if item else []
    known = [word.upper() for word in found if word.upper() in _METHODS]
    for word in found:
        if item is not None and word.upper() not in _METHODS:
            product.journal.lost(item.place, f"{word[:40]!r} is not one of {', '.join(_METHODS)}")
    return known
