"""A next hop chosen by a plugin: made from a string, a URL, a dictionary or any object with the same fields. Pure.

Delivery turns it into targets; names are looked up there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import ParseResult, SplitResult

from mailboat.config.hosts import hop_url, host_and_port, host_name
from mailboat.config.nouns import ROUTE_TLS_LEVELS
from mailboat.config.settings import TlsLevel
from mailboat.config.values import auth_type

_SMTP_PORT = 25
_LMTP_PORT = 24  # RFC 2033 5 forbids 25 and names no other; 24 is the usual one
_SMTPS_PORT = 465  # RFC 8314 7.3
_MAX_PORT = 65535
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Mx:
    """A next hop, and how to use it. ValueError for invalid fields."""

    exchange: str = ""
    """A host's name, or an address without brackets; empty with `path`."""
    path: str = ""
    """A unix socket."""
    priority: int = 0
    """For information; a list is tried in its order."""
    port: int = 0
    """Default: 25 (or `mx_port`), 24 for LMTP, 465 for implicit TLS."""
    bind: str = ""
    """Source address; empty: the pod's."""
    bind_helo: str = ""
    """EHLO name; empty: the pod's."""
    bind_ehlo: str = ""
    """The same as `bind_helo`; one of the two is enough."""
    using_lmtp: bool = False
    auth_user: str = ""
    auth_pass: str = ""
    auth_type: str = ""
    """`PLAIN`, `LOGIN` or `CRAM-MD5`; empty: the strongest that is offered."""
    auth_without_tls: bool = False
    """With a user, verified TLS is required, unless the host is loopback or a unix socket, `tls` is `disabled`, or
    this is true: then anyone on the network path may read the password."""
    ca: str = ""
    """Root certificates that verify it, PEM text (not a file's name); empty: those of tls.ini."""
    tls: TlsLevel | None = None
    """TLS level; None: as configured."""
    from_dns: str = ""
    """The name by which `exchange` was found, for TLS and for people; empty: none."""
    by_system: bool = False
    """Look `exchange` up as the system does: /etc/hosts, then the search list. Not for names from the DNS."""
    port_given: bool = field(init=False, default=False, compare=False)
    """Whether a port was given; else `port` is the protocol's default."""

    def __post_init__(self) -> None:
        _check_types(self)
        if bool(self.exchange) == bool(self.path):
            raise ValueError("an MX has either an exchange or the path of a unix socket")
        if not 0 <= self.port <= _MAX_PORT:
            raise ValueError(f"port is not one from 1 to {_MAX_PORT}")
        if self.bind_helo and self.bind_ehlo and self.bind_helo != self.bind_ehlo:
            raise ValueError("bind_helo and bind_ehlo name the same field, but differ")
        helo = self.bind_helo or self.bind_ehlo
        helo = host_name(helo) if helo else ""
        self._set("bind_helo", helo)
        self._set("bind_ehlo", helo)
        self._set("bind", str(_address(self.bind)) if self.bind else "")
        self._set("auth_type", auth_type(self.auth_type))
        self._set("exchange", _host(self.exchange))
        self._set("port_given", self.port != 0)
        self._set("port", self.port or self._default_port())

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _default_port(self) -> int:
        if self.using_lmtp:
            return _LMTP_PORT
        return _SMTPS_PORT if self.tls is TlsLevel.IMPLICIT else _SMTP_PORT

    def __repr__(self) -> str:
        return f"Mx({str(self)!r})"  # never the password

    def __str__(self) -> str:
        scheme = "lmtp" if self.using_lmtp else "smtps" if self.tls is TlsLevel.IMPLICIT else "smtp"
        if self.path:
            return f"{scheme}:{self.path}"
        host = f"[{self.exchange}]" if ":" in self.exchange else self.exchange
        return f"{scheme}://{host}:{self.port}"

    @classmethod
    def of(cls, source: object) -> Mx:
        """The next hop that `source` names. ValueError with the fault.

        A string is `host`, `host:port`, an address (IPv6 in brackets where a port follows), `/path` of a unix socket,
        or a URL `smtp://`, `smtps://` or `lmtp://` as `user:password@host:port`, percent-encoded. A dictionary or an
        object has the fields of this class.
        """
        if isinstance(source, Mx):
            return source
        if isinstance(source, str):
            return _of_text(source.strip())
        if isinstance(source, SplitResult | ParseResult):
            return _of_url(source.geturl())
        if isinstance(source, Mapping):
            return _of_fields(source)
        found = {name: value for name in _FIELDS if (value := getattr(source, name, None)) is not None}
        if found:
            return _of_fields(found)
        raise ValueError(f"a value of type {type(source).__name__} does not name an MX")


_TEXTS = tuple(f.name for f in fields(Mx) if f.type == "str")
_FIELDS = tuple(f.name for f in fields(Mx) if f.init)


def _of_text(text: str) -> Mx:
    if text.startswith("/"):
        return Mx(path=text)
    return _of_url(text) if "://" in text else _of_host(text)


def _of_host(text: str, **more: Any) -> Mx:
    if "@" in text:  # never quoted: there may be a password before it
        raise ValueError("a user and password need a URL, such as smtp://user:password@host")
    host, port = host_and_port(text)
    return Mx(exchange=host, port=port or 0, **more)


def _of_url(text: str) -> Mx:
    url = hop_url(text)
    return _of_host(
        url.where,
        using_lmtp=url.scheme == "lmtp",
        tls=TlsLevel.IMPLICIT if url.scheme == "smtps" else None,
        auth_user=url.user,
        auth_pass=url.password,
    )


def _of_fields(found: Mapping[Any, Any]) -> Mx:
    if any(key not in _FIELDS for key in found):
        raise ValueError(f"an MX has no such field; its fields are {', '.join(_FIELDS)}")
    given: dict[str, Any] = {key: value for key, value in found.items() if value is not None}
    if isinstance(port := given.get("port"), str) and port.isascii() and port.isdigit():
        given["port"] = int(port)
    if isinstance(tls := given.get("tls"), str):
        given["tls"] = _level(tls)
    if "port" in given and given["port"] == 0:
        raise ValueError(f"port is not one from 1 to {_MAX_PORT}")
    return Mx(**given)


def _level(text: str) -> TlsLevel:
    level = next((level for level in ROUTE_TLS_LEVELS if level == text.lower()), None)
    if level is None:
        raise ValueError(f"tls is not one of {', '.join(ROUTE_TLS_LEVELS)}")
    return level


def _check_types(mx: Mx) -> None:
    for name in (
        "exchange",
        "path",
        "bind",
        "bind_helo",
        "bind_ehlo",
        "auth_user",
        "auth_pass",
        "auth_type",
        "ca",
        "from_dns",
    ):
        value = getattr(mx, name)
        if not isinstance(value, str):
            raise ValueError(f"{name} is not a string")  # noqa: TRY004 - one kind of error for all that is wrong
        if name != "ca" and _CONTROL.search(value):
            raise ValueError(f"{name} has a control character")
        if _SURROGATE.search(value):
            raise ValueError(f"{name} has an unpaired surrogate, which cannot be encoded")
    for name in ("priority", "port"):
        if not isinstance(getattr(mx, name), int) or isinstance(getattr(mx, name), bool):
            raise ValueError(f"{name} is not a whole number")  # noqa: TRY004
    for name in ("using_lmtp", "by_system", "auth_without_tls"):
        if not isinstance(getattr(mx, name), bool):
            raise ValueError(f"{name} is neither true nor false")  # noqa: TRY004
    if mx.tls is not None and not (isinstance(mx.tls, TlsLevel) and mx.tls in ROUTE_TLS_LEVELS):
        raise ValueError("tls is not a TlsLevel")
    if mx.path and not mx.path.startswith("/"):
        raise ValueError("path is not absolute")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("bind is not an address") from None


def _host(text: str) -> str:
    """A name or address in the form of routing, without a port."""
    if not text:
        return ""
    host, port = host_and_port(text)
    if port is not None:
        raise ValueError("the port has its own field")
    return host
