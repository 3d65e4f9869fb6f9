"""Converts a message with its remaining entries to JSON and back, for moving it from one database to another.

No I/O. Input is checked as `rows` checks the database; in addition, addresses and parameters must not have control
characters, because they become SMTP commands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from mailboat.model.address import Address
from mailboat.model.envelope import Entry, Message, State
from mailboat.queue import ids, rows

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PackedMessage:
    """A message in transit between databases. Its id, and those of its entries, are those that the client was given."""

    entries: tuple[Entry, ...]
    digest: str
    """SHA-256 of the body."""

    @property
    def message(self) -> Message:
        """What the entries share."""
        return self.entries[0].message


def pack(packed: PackedMessage) -> bytes:
    """As JSON."""
    message = packed.message
    return orjson.dumps(
        {
            "id": message.id,
            "sender": _address(message.sender),
            "queued_at": message.queued_at,
            "size": message.size,
            "sha256": packed.digest,
            "parameters": dict(message.parameters),
            "force_tls": message.force_tls,
            "tls_required_no": message.tls_required_no,
            "notes": dict(message.notes),
            "tenant": rows.clean(message.tenant),
            "labels": [rows.clean(label) for label in message.labels],
            "entries": [_entry(entry) for entry in packed.entries],
        }
    )


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "ordinal": ids.ordinal_of(entry.key.row),
        "domain": entry.domain,
        "state": entry.state.value,
        "attempts": entry.attempts,
        "next_attempt": entry.next_attempt,
        "recipients": orjson.loads(rows.recipients_text(entry.recipients)),
        "last_reply": rows.clean(entry.last_reply),
        "last_mx": rows.clean(entry.last_mx),
        "noted": _loaded(rows.noted_text(entry.noted)),
        "parameters": _loaded(rows.parameters_text(entry.recipients)),
        "reports": _loaded(rows.reports_text(entry)),
    }


def _loaded(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def _stored(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _address(address: Address) -> list[str]:
    return [rows.clean(address.local), rows.clean(address.domain), rows.clean(address.ascii_domain)]


def unpack(octets: bytes) -> PackedMessage:
    """The unpacked message; keys name its former rows. Raises ValueError with the fault."""
    try:
        said = orjson.loads(octets)
        parsed = ids.parse(said["id"])
        if parsed is None or parsed.ordinal or ids.message_id(parsed.tag, parsed.number) != said["id"]:
            raise ValueError("its id is not valid")
        if _DIGEST.fullmatch(said["sha256"]) is None:
            raise ValueError("its digest is not valid")
        entries = tuple(_read_entry(said, entry, parsed) for entry in said["entries"])
        ordinals = [ids.ordinal_of(entry.key.row) for entry in entries]
    except (rows.Damaged, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its envelope is damaged ({error})") from None
    if not entries or not all(before < after for before, after in zip([0, *ordinals], ordinals, strict=False)):
        raise ValueError("its entries are not in order")
    return PackedMessage(entries, said["sha256"])


def _read_entry(message: Mapping[str, Any], entry: Mapping[str, Any], parsed: ids.Parsed) -> Entry:
    """Reads a row of `listing`, so that `rows` alone decides what is a valid entry."""
    ordinal, size = entry["ordinal"], message["size"]
    if type(ordinal) is not int or not 0 < ordinal <= ids.MAX_ORDINAL or type(size) is not int:
        raise ValueError("a number is not valid")
    state, next_attempt = State(entry["state"]), entry["next_attempt"]
    force_tls, tls_required_no = message["force_tls"], message.get("tls_required_no", False)
    if {type(force_tls), type(tls_required_no)} != {bool} or (next_attempt is None) is not (state is State.HELD):
        raise ValueError("a flag or a time is not valid")
    flags = force_tls * rows.FORCE_TLS | tls_required_no * rows.TLS_REQUIRED_NO
    row = (
        *(ids.row_of(parsed.number, ordinal), entry["domain"], rows.STATE_CODES[state], entry["attempts"]),
        *(next_attempt, orjson.dumps(entry["recipients"]).decode(), entry["last_reply"], entry["last_mx"]),
        *(_stored(entry["noted"]), None, _stored(entry["parameters"]), _stored(entry.get("reports"))),
        *(*message["sender"], message["queued_at"], size),
        *(flags, _stored(message["notes"]), message["id"]),
        *(_stored(message["parameters"]), message["tenant"], _stored(message["labels"])),
    )
    found = rows.read_entry(row, 0, parsed.tag)
    recipients = (*found.recipients, *(owed.recipient for owed in found.owed))
    addresses = [found.message.sender, *(recipient.address for recipient in recipients)]
    texts = [found.domain, *(text for a in addresses for text in (a.local, a.domain, a.ascii_domain))]
    for parameters in (found.message.parameters, *(recipient.parameters for recipient in recipients)):
        texts += [text for parameter in parameters.items() for text in parameter]
    if any(_CONTROL.search(text) for text in texts) or not all(a.local for a in addresses[1:]):
        raise ValueError("an address or a parameter is not valid")
    return found
