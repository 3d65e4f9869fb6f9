"""Names, addresses, endpoints and lists of them, from text. Pure: nothing is looked up. Used through `values`.

Domain names come out normalised as routing compares them: lower case, IDN as A-labels, no final dot. An IPv6 address
with a port stands in brackets (RFC 5321 4.1.3, RFC 3986 3.2.2): `::1:25` is ambiguous, so it is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import idna

from mailboat.config.nouns import Bind, BindKind, Endpoint, HopUrl, IPAddress, Network, RouteHost

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_HOST_PORT = re.compile(r"(?:\[(?P<literal>[^\[\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>.*))?", re.DOTALL)
_LOCAL_PART = re.compile(r"[^\s<>]+")
_MAX_PORT = 65535
_SCHEMES = ("smtp", "smtps", "lmtp")
LOOPBACK = "loopback"
"""Stands for all loopback addresses in `dns_trust_ad`."""
_NONE = "none"
_DNS_PORT = 53

_Item = TypeVar("_Item")


def domain_name(text: str) -> str:
    """A domain, normalised. Underscores are allowed, because such names exist in the DNS."""
    name = text.removesuffix(".").lower()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise ValueError("is not a domain name") from None
    # RFC 1035 2.3.4: labels of up to 63 octets, names of up to 253 as text.
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError("is not a domain name")
    return name


def host_name(text: str) -> str:
    """A host's name as allowed in EHLO: a domain of letters, digits and hyphens (RFC 5321 4.1.2), not an address."""
    name = domain_name(text)
    if "_" in name or name.rpartition(".")[2].isdigit():
        raise ValueError("is not a host name")
    return name


def endpoints(text: str) -> tuple[Endpoint, ...]:
    """Where to listen: `ip:port`, `[ipv6]:port`, `name:port`, or a port alone for all addresses of this machine."""
    found = [endpoint for item in _items(text) for endpoint in _endpoint(item)]
    if any(e.port and found.count(e) > 1 for e in found):
        raise ValueError("lists an address and port twice")
    return tuple(found)


def host_and_port(text: str) -> tuple[str, int | None]:
    """`host[:port]`, `[ipv6][:port]` or a bare IPv6 address: a name, normalised, or an address, and the port if any."""
    host, port = _split(text)
    return host if _address(host) is not None else domain_name(host), port


def dns_servers(text: str) -> tuple[Endpoint, ...]:
    """Addresses `ip[:port]`, `[ipv6][:port]`; the port is 53 when none is given."""

    def server(item: str) -> Endpoint:
        host, port = _split(item)
        if _address(host) is None:
            raise ValueError("is not an IP address: a DNS server needs one")
        return Endpoint(host, _DNS_PORT if port is None else port)

    return _unique(text, server)


def trusted_resolvers(text: str) -> tuple[str, ...]:
    """IP addresses and `loopback`, or `none`."""
    if text.lower() == _NONE:
        return (_NONE,)

    def resolver(item: str) -> str:
        if item.lower() == LOOPBACK:
            return LOOPBACK
        address = _address(item)
        if address is None:
            raise ValueError(f"is neither an IP address nor `{LOOPBACK}`, and not `{_NONE}` alone")
        return str(address)

    return _unique(text, resolver)


def route_hosts(text: str) -> tuple[RouteHost, ...]:
    """Next hops `host[:port][/priority]`, or `/path` of a unix socket."""
    return _unique(text, _route_host)


def hop_url(text: str) -> HopUrl:
    """A next hop as a URL. A refused one is never quoted, because it may have a password."""
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme not in _SCHEMES:
        raise ValueError(f"the scheme is not one of {', '.join(_SCHEMES)}")
    # The last @: a password may have an unencoded one, a host has none.
    userinfo, _, where = rest.removesuffix("/").rpartition("@")
    if any(c in where for c in "/?#"):
        raise ValueError("the URL of a next hop must not have a path or a query")
    user, _, password = userinfo.partition(":")
    return HopUrl(scheme, where, _decoded(user), _decoded(password))


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the percent-encoded user or password of the URL is not UTF-8") from None


def token_url(text: str) -> str:
    """The URL of a token server, or none: https, or http to loopback. A refused one is never quoted."""
    if not text:
        return ""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("has a space, or a character that is not ASCII")
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError("is not a URL such as https://host/path") from None
    if url.username is not None or url.password is not None:
        raise ValueError("holds a user or password: use oauth_client_id and oauth_client_secret_file")
    if url.fragment:
        raise ValueError("has a fragment, which RFC 6749 3.2 does not allow")
    address = _address(host)
    if url.scheme == "http" and not (host == "localhost" or (address is not None and address.is_loopback)):
        raise ValueError("is http, which reveals the secret and is for loopback only: write https")
    if url.scheme not in ("http", "https") or port == 0:
        raise ValueError("is not a URL such as https://host/path")
    if address is None:
        domain_name(host)
    return text


def domains(text: str) -> tuple[str, ...]:
    """Recipient domains: a name, `.name` (also spelled `*.name`) for all below it, or `*` for all."""
    return _unique(text, lambda item: item if item == "*" else domain_pattern(item))


def senders(text: str) -> tuple[str, ...]:
    """Senders: a mailbox, a domain, `.name` for all below it, or `<>` for the null sender. In lower case."""

    def pattern(item: str) -> str:
        local, at, domain = item.rpartition("@")
        if item == "<>":
            return item
        if not at:
            return domain_pattern(item)
        if not _LOCAL_PART.fullmatch(local):
            raise ValueError("is not an address")
        return f"{local.lower()}@{domain_name(domain)}"

    return _unique(text, pattern)


def host_list(text: str) -> tuple[str, ...]:
    """Names, addresses and networks of TLS lists; networks match by containment, others exactly."""

    def host(item: str) -> str:
        network = _network(item)
        if network is not None:
            # As in Haraka, host bits are allowed: 192.168.31.1/24 is the network around that host.
            return str(network) if "/" in item else str(network.network_address)
        if item.startswith((".", "*")):
            raise ValueError("is a pattern; name each host or domain, or give a network")
        return domain_name(item)

    return _unique(text, host)


def network(text: str) -> Network:
    """One address or CIDR; host bits are allowed and ignored. An IPv4-mapped IPv6 network is the IPv4 one."""
    found = _network(text)
    if found is None:
        raise ValueError("is not an address or network, such as 192.0.2.1 or 2001:db8::/32")
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    if mapped is not None and found.prefixlen >= 96:
        return ipaddress.IPv4Network((mapped, found.prefixlen - 96))
    return found


def sender_pattern(text: str) -> str:
    """What a sender is compared with: `domain`, `.parent` for all below it, or an address; domains normalised."""
    local, at, domain = text.rpartition("@")
    if at and not _LOCAL_PART.fullmatch(local):
        raise ValueError("is not a domain or an address; write one on each line")
    dot = "." if not at and domain.startswith(".") else ""
    return f"{local}{at}{dot}{domain_name(domain.removeprefix(dot))}"


def bind(text: str) -> Bind:
    """`ADDR[, ADDR6] [EHLO-NAME]`: at most one source of each family, an address or a network, and a name.

    `pod-ip` or `none` may replace the addresses.
    """
    word, _, rest = text.strip().partition(" ")
    if word.lower() in (BindKind.POD_IP, BindKind.NONE):
        return Bind(ehlo=host_name(rest.strip()) if rest.strip() else "", kind=BindKind(word.lower()))
    sources: dict[int, IPAddress | Network] = {}
    ehlo = ""
    for word in re.split(r"[,\s]+", text.strip(", \t")):
        source = _source(word)
        if source is None and not ehlo:
            ehlo = host_name(word)
        elif source is None or ehlo:
            raise ValueError("unexpected word: addresses come first, then one EHLO name")
        elif source.version in sources:
            raise ValueError(f"has a second IPv{source.version} address; only one of each family is allowed")
        else:
            sources[source.version] = source
    return Bind(sources.get(4), sources.get(6), ehlo)


def domain_pattern(item: str) -> str:
    """A domain, normalised, or `.name` (also spelled `*.name`) for all below it."""
    below = item.removeprefix("*")
    return "." + domain_name(below[1:]) if below.startswith(".") else domain_name(item)


def _items(text: str) -> Iterator[str]:
    """The items of a list separated by commas; none for no text."""
    if not text.strip():
        return
    for item in text.split(","):
        if not item.strip():
            raise ValueError("an item is empty: remove the extra comma")
        yield item.strip()


def _unique(text: str, parse: Callable[[str], _Item]) -> tuple[_Item, ...]:
    items = tuple(_items(text))
    found: dict[_Item, None] = {}
    for number, item in enumerate(items, 1):
        try:
            found[parse(item)] = None
        except ValueError as error:
            raise ValueError(f"item {number}: {error}" if len(items) > 1 else str(error)) from None
    return tuple(found)


def _endpoint(item: str) -> Iterator[Endpoint]:
    if item.startswith("/"):
        raise ValueError("mail is not received on unix sockets, whose clients have no address")
    if item.isascii() and item.isdigit():
        port = _port(item, lowest=0)
        # Haraka listens on [::0] with both families in one socket; two are equivalent and also work with IPv6-only
        # sockets.
        yield from (Endpoint("0.0.0.0", port), Endpoint("::", port))
        return
    host, port_given = _split(item, lowest=0)
    if port_given is None:
        hint = " (an IPv6 address with a port is in brackets)" if ":" in host else ""
        raise ValueError(f"has no port{hint}")
    yield Endpoint(host if _address(host) is not None else host_name(host), port_given)


def _route_host(item: str) -> RouteHost:
    if item.startswith("/"):
        return RouteHost(item)
    where, slash, priority = item.partition("/")
    if slash and not re.fullmatch(r"[0-9]{1,5}", priority):
        raise ValueError("the priority is not a whole number up to 99999")
    host, port = _split(where)
    # A final dot is kept: it means that the search list is not applied.
    name = host if _address(host) is not None else domain_name(host) + "." * host.endswith(".")
    return RouteHost(name, port or 0, int(priority or 0))


def _split(item: str, lowest: int = 1) -> tuple[str, int | None]:
    """Host and port of `host[:port]`, `[ipv6][:port]` or a bare IPv6 address."""
    if _address(item) is not None:
        return str(ipaddress.ip_address(item)), None
    match = _HOST_PORT.fullmatch(item)
    if not match:
        hint = " (an IPv6 address with a port is in brackets)" if item.count(":") > 1 else ""
        raise ValueError(f"is not a host and port{hint}")
    host = match["host"]
    if host is None:
        address = _address(match["literal"])
        if address is None or address.version != 6:
            raise ValueError("only an IPv6 address may be in brackets")
        host = str(address)
    return host, None if match["port"] is None else _port(match["port"], lowest)


def _port(text: str, lowest: int) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not lowest <= int(text) <= _MAX_PORT:
        raise ValueError(f"the port is not one from {lowest} to {_MAX_PORT}")
    return int(text)


def _address(text: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _source(word: str) -> IPAddress | Network | None:
    """A source address or network; None when the word is neither."""
    found: IPAddress | Network | None = _address(word)
    if found is None and "/" in word:
        found = _network(word)
        if found is None:
            raise ValueError("is not an address or network")
        if str(found.network_address) != str(ipaddress.ip_address(word.partition("/")[0])):
            # Ambiguous: the address of an interface, or its network. A wrong choice would be noticed late.
            raise ValueError("has host bits set: write the address alone, or the network's own")
    if found is not None and (found.is_unspecified or found.is_multicast):
        raise ValueError("cannot be a source address")
    return found
