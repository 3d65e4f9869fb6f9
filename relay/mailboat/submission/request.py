"""A submission without its contents: from whom, to whom, and what shall be done to the header.

Pure: text in, addresses out, every fault named. Called by `sending` for plugins and by the admin API for programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import orjson

from mailboat.model.address import Address, mailboxes
from mailboat.model.envelope import Parameters
from mailboat.smtp.grammar import GrammarError, parse_address, parse_sender


class RefusalKind(Enum):
    """Why a message is refused."""

    MALFORMED = auto()
    TOO_BIG = auto()
    LOOP = auto()
    HOOK = auto()


class RefusedError(Exception):
    """A message that will be refused each time it is submitted; the text says why."""

    def __init__(self, text: str, kind: RefusalKind = RefusalKind.MALFORMED) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """The envelope and options of one message."""

    sender: Address
    recipients: tuple[Address, ...]
    """At least one."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """JSON values only."""
    dot_stuffed: bool = False
    """The contents are as in DATA: a line's leading dot is doubled."""
    remove_msgid: bool = False
    remove_date: bool = False
    requiretls: bool = False
    """As REQUIRETLS at MAIL (RFC 8689 2)."""
    origin: str = ""
    """Who submits it, for the log."""

    @property
    def needs_utf8(self) -> bool:
        """Whether an address cannot be written without SMTPUTF8 (RFC 6531)."""
        return not all(address.is_ascii for address in (self.sender, *self.recipients))

    @property
    def parameters(self) -> Parameters:
        """What MAIL would carry."""
        said = (("SMTPUTF8", self.needs_utf8), ("REQUIRETLS", self.requiretls))
        return {keyword: "" for keyword, is_said in said if is_said}


def sender_of(value: object) -> Address:
    """The envelope's sender: an Address, or text with or without brackets; `<>` is the null sender."""
    if isinstance(value, Address):
        return value
    if isinstance(value, str) and value.strip():
        try:
            return parse_sender(_bare(value))
        except GrammarError:
            pass
    raise RefusedError(f"Malformed from: {_shown(value)}")


def recipients_of(value: object) -> tuple[Address, ...]:
    """The envelope's recipients: one, or several of them, each mailbox once."""
    values: tuple[object, ...]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        values = tuple(value)
    else:
        values = (value,) if value else ()
    if not values:
        raise RefusedError("No recipients for email")
    return tuple(mailboxes([_recipient(value) for value in values]))


def json_notes(notes: object) -> Mapping[str, Any]:
    """Notes that the queue can keep: a mapping from text to JSON values, copied."""
    if notes is None:
        return {}
    if not isinstance(notes, Mapping):
        raise RefusedError("notes: not a mapping")
    try:
        copied: dict[str, Any] = orjson.loads(orjson.dumps(dict(notes)))
    except TypeError as error:
        raise RefusedError(f"notes: {error}") from None
    return copied


def _recipient(value: object) -> Address:
    if isinstance(value, Address) and not value.is_null:
        return value
    reason = "not an address"
    if isinstance(value, str):
        try:
            return parse_address(_bare(value))
        except GrammarError as error:
            reason = error.reply.split(" ", 2)[2]
    raise RefusedError(f"Malformed to address ({_shown(value)}): {reason}")


def _bare(text: str) -> str:
    text = text.strip()
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return "".join(c if c.isprintable() else "?" for c in text[:200])
