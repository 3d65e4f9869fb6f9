"""The service extensions that this relay has, as a server and as a client, in the order in which EHLO names them.

To add one, write its module and its row here. Other extensions are neither announced nor accepted from clients, and are
not used with a peer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from mailboat.model.envelope import Parameters
from mailboat.smtp.extensions.auth import AUTH
from mailboat.smtp.extensions.dsn import DSN
from mailboat.smtp.extensions.eightbitmime import EIGHTBITMIME
from mailboat.smtp.extensions.extension import Extension, Misfit, Offers, Parse
from mailboat.smtp.extensions.limits import LIMITS
from mailboat.smtp.extensions.requiretls import REQUIRETLS
from mailboat.smtp.extensions.size import SIZE
from mailboat.smtp.extensions.smtputf8 import SMTPUTF8
from mailboat.smtp.extensions.starttls import STARTTLS
from mailboat.smtp.grammar import not_recognized, parse_parameters

__all__ = [
    "AUTH",
    "DSN",
    "EIGHTBITMIME",
    "EXTENSIONS",
    "LIMITS",
    "PIPELINING",
    "REQUIRETLS",
    "SIZE",
    "SMTPUTF8",
    "STARTTLS",
    "Extension",
    "Misfit",
    "Offers",
    "ehlo_reply",
    "mail_parameters",
    "offers_before_auth",
    "rcpt_parameters",
    "stored",
]

PIPELINING = Extension("PIPELINING", "RFC 2920")

EXTENSIONS = (
    PIPELINING,
    SIZE,
    EIGHTBITMIME,
    SMTPUTF8,
    Extension("ENHANCEDSTATUSCODES", "RFC 2034"),
    DSN,
    LIMITS,
    REQUIRETLS,
    STARTTLS,
    AUTH,
    Extension("HELP", "RFC 5321"),
)

_AT_MAIL = {keyword: parse for extension in EXTENSIONS for keyword, parse in extension.mail.items()}
_AT_RCPT = {keyword: parse for extension in EXTENSIONS for keyword, parse in extension.rcpt.items()}
_NOT_STORED = frozenset(keyword for e in EXTENSIONS if not e.stored for keyword in (*e.mail, *e.rcpt))


@lru_cache(maxsize=16)
def ehlo_reply(host: str, greeting: str, offers: Offers) -> bytes:
    """The multi-line 250 reply to EHLO."""
    offered = (extension for extension in EXTENSIONS if extension.offered(offers))
    lines = [f"{host} {greeting}", *(f"{e.keyword} {e.value(offers)}".rstrip() for e in offered)]
    head = "".join(f"250-{line}\r\n" for line in lines[:-1])
    return f"{head}250 {lines[-1]}\r\n".encode()


@lru_cache(maxsize=16)
def offers_before_auth(
    max_size: int, starttls: bool, max_recipients: int = 0, requiretls: bool | None = None
) -> Offers:
    """The offers to a client without AUTH.

    Equal offers are one object, so that the cache of `ehlo_reply` compares nothing.
    """
    return Offers(max_size, starttls, max_recipients=max_recipients, requiretls=requiretls)


def mail_parameters(text: str, offers: Offers) -> Parameters:
    """What is kept of the parameters behind the path of MAIL, by keyword in capitals. Raises `GrammarError`."""
    return _read(text, _AT_MAIL, offers)


def rcpt_parameters(text: str, offers: Offers) -> Parameters:
    """The same for RCPT."""
    return _read(text, _AT_RCPT, offers)


def stored(parameters: Parameters) -> Parameters:
    """Those of a command's parameters that the queue keeps."""
    return {keyword: value for keyword, value in parameters.items() if keyword not in _NOT_STORED}


def _read(text: str, known: Mapping[str, Parse], offers: Offers) -> Parameters:
    kept = {}
    for keyword, value in parse_parameters(text).items():
        parse = known.get(keyword)
        if parse is None:
            raise not_recognized(keyword)
        said = parse(value, offers)
        if said is not None:
            kept[keyword] = said
    return kept
