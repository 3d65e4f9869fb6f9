"""Next hops of Haraka's plugins made into `[route:NAME]` sections of `outbound.ini`, passwords into files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailboat.config import values
from mailboat.config.hosts import hop_url, host_and_port
from mailboat.haraka.journal import SourceLine
from mailboat.haraka.product import Product

FILE = "outbound.ini"
_PORTS = {"smtp": 25, "smtps": 465, "lmtp": 24}


@dataclass(frozen=True, slots=True)
class HarakaHop:
    """One host, and how it is spoken to."""

    host: str
    """`host[:port]`."""
    tls: bool = True
    """STARTTLS where it is offered."""
    implicit: bool = False
    """TLS from the first octet."""
    user: str = ""
    password: str = ""
    auth_type: str = ""
    lmtp: bool = False


def hop_of(text: str) -> HarakaHop:
    """A next hop as Haraka writes it: `host[:port]`, or a URL such as `lmtp://user:password@host:port`.

    ValueError, which quotes nothing, for what is neither: there may be a password in it.
    """
    if "://" not in text:
        return HarakaHop(text)
    try:
        url = hop_url(text)
        host, port = host_and_port(url.where)
    except ValueError as error:
        raise ValueError(f"the next hop is a URL that cannot be used: {error}") from None
    port = port or _PORTS[url.scheme]
    return HarakaHop(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        implicit=url.scheme == "smtps",
        user=url.user,
        password=url.password,
        lmtp=url.scheme == "lmtp",
    )


def add_route(place: SourceLine, domain: str, hop: HarakaHop, product: Product) -> bool:
    """Mail for a domain, or for all (`*`), goes there; False, and a note, where that cannot be."""
    sections = product.inis.setdefault(FILE, {"main": {}})
    if any(name.startswith("route:") and keys.get("domains") == domain for name, keys in sections.items()):
        product.journal.lost(place, f"mail for {'all domains' if domain == '*' else domain} already has a route")
        return False
    try:
        values.domains(domain)
        values.route_hosts(hop.host)
        values.auth_type(hop.auth_type)
    except ValueError as error:
        product.journal.lost(place, str(error))
        return False
    name = _name(domain, sections)
    keys: dict[str, str | list[str]] = {"domains": domain, "hosts": hop.host}
    if hop.lmtp:
        keys["protocol"] = "lmtp"
    if hop.implicit or not hop.tls:
        keys["tls"] = "implicit" if hop.implicit else "disabled"
    if hop.user and hop.password:
        keys |= {"auth_user": hop.user, "auth_pass_file": f"{name}.password"}
        if hop.auth_type:
            keys["auth_type"] = hop.auth_type
        product.file(f"{name}.password", f"{hop.password}\n".encode(), secret=True)
    sections[f"route:{name}"] = keys
    return True


def _name(domain: str, sections: dict[str, dict[str, str | list[str]]]) -> str:
    base = "default" if domain == "*" else re.sub(r"[^A-Za-z0-9._-]", "-", domain).strip(".")[:50] or "route"
    name, number = base, 1
    while f"route:{name}" in sections:
        number += 1
        name = f"{base}-{number}"
    return name
