"""DSN (RFC 3461): what a sender wants to be told of its mail, and how much of it comes back.

A peer that offers DSN is told the same, and sends the reports from there on; where it does not, they are ours to send.
"""

from __future__ import annotations

import re

from mailboat.model.envelope import Parameters
from mailboat.smtp.extensions.extension import Extension, Offers
from mailboat.smtp.grammar import GrammarError

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_UTF_8_ADDRESS = re.compile(r"(?:[!-*,-<>-\[\]-~]|\\x\{[0-9A-F]{2,6}\}|\+[0-9A-F]{2}|[^\x00-\x7f])+")
"""RFC 6533 3: as xtext, or with characters as they are; `\\x{HEX}` is one that could not be written."""
_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*/?^_`{|}~-]+")
"""An atom (RFC 5321 4.1.2) without the octets that stand for something else here."""
_ENCODED = re.compile(r"\+([0-9A-F]{2})")
_MOST_ENVID, _MOST_ORCPT = 100, 500
_EVENTS = frozenset({"SUCCESS", "FAILURE", "DELAY"})


def wants_success(recipient: Parameters) -> bool:
    """Whether the sender asked to be told when this recipient has the mail."""
    return "SUCCESS" in recipient.get("NOTIFY", "").split(",")


def wants_failure(recipient: Parameters) -> bool:
    """Whether the sender is to be told when this recipient cannot get it: unless it said otherwise (RFC 3461 4.1)."""
    notify = recipient.get("NOTIFY")
    return notify is None or "FAILURE" in notify.split(",")


def wants_delay(recipient: Parameters, *, unasked: bool) -> bool:
    """Whether the sender is to be told that the mail for this recipient is late; `unasked`: if it did not say."""
    notify = recipient.get("NOTIFY")
    return unasked if notify is None else "DELAY" in notify.split(",")


def wants_header_only(message: Parameters) -> bool:
    """Whether a report of failure is to bring back the header alone."""
    return message.get("RET") == "HDRS"


def envelope_id(message: Parameters) -> str:
    """ENVID as the sender meant it; empty without."""
    return _decoded(message.get("ENVID", ""))


def original_recipient(recipient: Parameters) -> str:
    """ORCPT as `type;address`, as the sender meant it; empty without."""
    kind, _, address = recipient.get("ORCPT", "").partition(";")
    return f"{kind};{_decoded(address)}" if address else ""


def _decoded(xtext: str) -> str:
    """RFC 3461 4. What is said again to a peer stays encoded: only so can it add nothing to a command."""
    return _ENCODED.sub(lambda found: chr(int(found[1], 16)), xtext)


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _ret(value: str, _: Offers) -> str:
    if value.upper() not in ("FULL", "HDRS"):
        raise GrammarError("501 5.5.4 Bad RET parameter")
    return value.upper()


def _envid(value: str, _: Offers) -> str:
    if len(value) > _MOST_ENVID or not _XTEXT.fullmatch(value) or not _is_printable(_decoded(value)):
        raise GrammarError("501 5.5.4 Bad ENVID parameter")
    return value


def _notify(value: str, _: Offers) -> str:
    words = value.upper().split(",")
    if words != ["NEVER"] and not _EVENTS.issuperset(words):
        raise GrammarError("501 5.5.4 Bad NOTIFY parameter")
    return ",".join(words)


def _orcpt(value: str, _offers: Offers) -> str:
    kind, _, address = value.partition(";")
    grammar = _UTF_8_ADDRESS if kind.lower() == "utf-8" else _XTEXT
    if not _TYPE.fullmatch(kind) or not grammar.fullmatch(address):
        raise GrammarError("501 5.5.4 Bad ORCPT parameter")
    # The peer may lack SMTPUTF8, and takes this as well (RFC 6533 3), up to the same length.
    address = "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in address)
    if len(kind) + 1 + len(address) > _MOST_ORCPT or not _is_printable(_decoded(address)):
        raise GrammarError("501 5.5.4 Bad ORCPT parameter")
    return f"{kind};{address}"


DSN = Extension(
    "DSN",
    "RFC 3461",
    mail={"RET": _ret, "ENVID": _envid},
    rcpt={"NOTIFY": _notify, "ORCPT": _orcpt},
)
