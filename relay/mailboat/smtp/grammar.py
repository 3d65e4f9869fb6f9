"""Parses addresses and parameters in SMTP commands (RFC 5321 4.1.2, 6531).

The only parser of addresses in the relay: routing, policy and logs all use its results.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

import idna

from mailboat.model.address import NULL_SENDER, Address

MAX_DOMAIN = 255
"""RFC 5321 4.5.3.1.2."""
MAX_PATH = 254
"""RFC 5321 4.5.3.1.3: 256 octets with the angle brackets.

Nothing else limits a local part: 64 octets (4.5.3.1.1) are what every server must accept at least; those of VERP, SRS
and ticket systems are longer."""

_UTF8 = r"\u00a0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
"""What RFC 6531 3.3 adds to a local part, without what ends a line somewhere (C1 controls, U+2028, U+2029) and without
surrogates, which are no UTF-8."""
_LOCAL_ATOM = re.compile(rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.{_UTF8}-]+")
_LOCAL_QUOTED = re.compile(rf'"(?:[ !#-\[\]-~{_UTF8}]|\\[ -~])*"')
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_SOURCE_ROUTE = re.compile(r"@[^:>]+:")
XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
"""RFC 3461 4, of at least one character."""
_ESMTP_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


class GrammarError(ValueError):
    """The client's input breaks the grammar. `reply` is the whole reply, without CRLF."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


def split_path(argument: str, *, bare: bool = False) -> tuple[str, str]:
    """Take `<path>` off the front of a MAIL or RCPT argument; return the path without brackets, and the parameters.

    `bare`: a path without brackets, which ends at the first blank, is taken too. An empty one is not.
    """
    argument = argument.lstrip(" ")
    if bare and argument and "<" not in argument:
        path, _, rest = argument.partition(" ")
        return path, rest.strip(" ")
    if not argument.startswith("<"):
        raise GrammarError("501 5.5.4 Syntax: address must be in angle brackets")
    end = _closing_bracket(argument)
    rest = argument[end + 1 :]
    if rest and not rest.startswith(" "):
        raise GrammarError("501 5.5.4 Syntax: unexpected text after the address")
    return argument[1:end], rest.strip(" ")


def _closing_bracket(argument: str) -> int:
    end = argument.find(">")
    if '"' in argument[:end]:  # a quoted local part may hold a ">"
        match = re.match(r'<(?:[^">]|"(?:[^"\\]|\\.)*")*>', argument)
        end = match.end() - 1 if match else -1
    if end < 0:
        raise GrammarError("501 5.5.4 Syntax: address must be in angle brackets")
    return end


@lru_cache(maxsize=16384)
def parse_address(path: str) -> Address:
    """Parse an addr-spec, with or without an obsolete source route (RFC 5321 appendix C: accepted and ignored).

    Raises GrammarError with status 5.1.3 (or 5.1.7 must be put in by the caller for senders).
    """
    if path.startswith("@"):
        path = _SOURCE_ROUTE.sub("", path, count=1)
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise GrammarError("501 5.1.3 Address is too long")
    local, at, domain = path.rpartition("@")
    if not at or not local:
        raise GrammarError("501 5.1.3 Address needs a local part and a domain")
    if not (_LOCAL_ATOM.fullmatch(local) or _LOCAL_QUOTED.fullmatch(local)):
        raise GrammarError("501 5.1.3 Bad local part in the address")
    return Address(local, domain, normalize_domain(domain))


def parse_sender(path: str) -> Address:
    """Parse a reverse-path: an address, or nothing for the null sender."""
    if not path:
        return NULL_SENDER
    try:
        return parse_address(path)
    except GrammarError as error:
        raise GrammarError(error.reply.replace(" 5.1.3 ", " 5.1.7 ", 1)) from None


@lru_cache(maxsize=16384)
def normalize_domain(domain: str) -> str:
    """The form that routing and comparison use: lower case, no final dot, IDN as A-labels, literals as they are."""
    if domain.startswith("["):
        return _address_literal(domain)
    name = domain.removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise GrammarError("501 5.1.3 Domain of the address is no valid IDN") from None
    if not name or len(name) > MAX_DOMAIN or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise GrammarError("501 5.1.3 Bad domain in the address")
    return name.lower()


def _address_literal(domain: str) -> str:
    """RFC 5321 4.1.3: `[192.0.2.1]` or `[IPv6:2001:db8::1]`."""
    inner = domain[1:-1] if domain.endswith("]") else ""
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        raise GrammarError("501 5.1.3 Bad address literal") from None


def parse_parameters(text: str) -> dict[str, str]:
    """`KEY[=VALUE] …` behind a path; keys upper case, each once."""
    parameters: dict[str, str] = {}
    for item in text.split():
        keyword, _, value = item.partition("=")
        key = keyword.upper()
        if not _ESMTP_KEYWORD.fullmatch(keyword) or key in parameters:
            raise GrammarError("501 5.5.4 Syntax error in parameters")
        parameters[key] = value
    return parameters


def not_recognized(keyword: str) -> GrammarError:
    """The error for a parameter that was not offered (RFC 5321 4.1.1.11)."""
    return GrammarError(f"555 5.5.4 Parameter not recognized: {keyword[:64]}")
