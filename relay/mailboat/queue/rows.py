"""Converts entries to rows of the database and back. Column order is that of `schema`: the tables, and the view
`listing`.

No I/O. Used by `transaction` (writing) and `queries` (reading). Reading trusts nothing: an invalid row raises
`Damaged`, and never affects other rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mailboat.model.address import Address
from mailboat.model.envelope import (
    DEFAULT_TENANT,
    Entry,
    EntryKey,
    Message,
    Owed,
    Parameters,
    Recipient,
    State,
    StoredNotes,
)
from mailboat.model.outcome import Outcome, ReportAction, Result, Stage
from mailboat.model.reply import Reply
from mailboat.queue import ids

STATE_CODES = {State.ACTIVE: 0, State.DEFERRED: 1, State.HELD: 2}
STATES = (State.ACTIVE, State.DEFERRED, State.HELD)
HELD = STATE_CODES[State.HELD]

FORCE_TLS, TLS_REQUIRED_NO = 4, 8
"""Bits of the column `flags`."""
_FLAGS = {("BODY", "8BITMIME"): 2, ("SMTPUTF8", ""): 1}
"""Common parameters of MAIL, each a bit of it. Others are stored as JSON."""

Row = Sequence[Any]

MAX_COUNT = 2**53
"""Larger numbers are not exact in JSON readers and sums."""
_YEAR_10000 = 253402300800.0
"""Seconds since the epoch; RFC 3339 and `datetime` end there."""


class Damaged(Exception):  # noqa: N818 - what the row is
    """A row is invalid; the message says why."""

    def __init__(self, row: int, why: str) -> None:
        super().__init__(why)
        self.row = row


def clean(text: str) -> str:
    """Text for the database: surrogates become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def message_row(number: int, message: Message, file: str | None) -> tuple[object, ...]:
    """A row of `message`, without its `origin`. Raises TypeError if the notes are not JSON."""
    sender = message.sender
    flags, parameters = _flags_of(message)
    notes = orjson.dumps(dict(message.notes)).decode() if message.notes else None
    return (
        number,
        clean(sender.local),
        clean(sender.domain),
        clean(sender.ascii_domain),
        message.queued_at,
        message.size,
        flags,
        notes,
        file,
        parameters,
        None if message.tenant == DEFAULT_TENANT else clean(message.tenant),
        _json([clean(label) for label in message.labels]) if message.labels else None,
    )


def _flags_of(message: Message) -> tuple[int, str | None]:
    """The columns `flags` and `parameters`."""
    flags = FORCE_TLS * message.force_tls | TLS_REQUIRED_NO * message.tls_required_no
    if not message.parameters:
        return flags, None
    others = {}
    for keyword, value in message.parameters.items():
        bit = _FLAGS.get((keyword, value), 0)
        flags |= bit
        if not bit:
            others[keyword] = value
    return flags, _json(others) if others else None


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def entry_row(entry: Entry) -> tuple[object, ...]:
    """A row of `entry`."""
    return (
        entry.key.row,
        entry.domain,
        STATE_CODES[entry.state],
        entry.attempts,
        entry.next_attempt,
        recipients_text(entry.recipients),
        clean(entry.last_reply),
        clean(entry.last_mx),
        entry.message.size,
        noted_text(entry.noted),
        parameters_text(entry.recipients),
        reports_text(entry),
    )


def remaining_row(entry: Entry) -> tuple[object, ...]:
    """The columns that an attempt changes: (id, state, attempts, next_attempt, recipients, last_reply, last_mx,
    noted, reports)."""
    return (
        entry.key.row,
        STATE_CODES[entry.state],
        entry.attempts,
        None if entry.state is State.HELD else entry.next_attempt,
        recipients_text(entry.recipients),
        clean(entry.last_reply),
        clean(entry.last_mx),
        noted_text(entry.noted),
        reports_text(entry),
    )


def recipients_text(recipients: Sequence[Recipient]) -> str:
    """Recipients as JSON, one array each, which preserves ids and every octet of the addresses."""
    return orjson.dumps(
        [[r.id, clean(r.address.local), clean(r.address.domain), r.address.ascii_domain] for r in recipients]
    ).decode()


def parameters_text(recipients: Sequence[Recipient]) -> str | None:
    """The parameters of recipients as JSON, by the recipient's id; None if there are none."""
    said = {str(r.id): dict(r.parameters) for r in recipients if r.parameters}
    return _json(said) if said else None


def noted_text(noted: StoredNotes | None) -> str | None:
    """The notes of hooks as JSON; None for nearly every entry. Raises TypeError if they are not JSON."""
    if noted is None:
        return None
    return orjson.dumps(
        {"notes": dict(noted.notes)}
        | ({} if noted.todo is None else {"todo": dict(noted.todo)})
        | ({} if noted.force_tls is None else {"force_tls": noted.force_tls})
        | ({"route": clean(noted.route)} if noted.route else {})
    ).decode()


def reports_text(entry: Entry) -> str | None:
    """What the sender was told of an entry, and is still to be told, as JSON; None: nothing."""
    if not entry.delay_reported and not entry.owed:
        return None
    owed = {"owed": [_owed(owed) for owed in entry.owed]} if entry.owed else {}
    return _json({"delayed": entry.delay_reported, **owed})


def _owed(owed: Owed) -> dict[str, object]:
    outcome, reply = owed.outcome, owed.outcome.reply
    return {
        "recipient": orjson.Fragment(recipients_text([owed.recipient])[1:-1]),
        "parameters": {clean(keyword): clean(value) for keyword, value in owed.recipient.parameters.items()},
        "action": owed.action,
        "at": owed.at,
        "status": clean(outcome.status),
        "reason": clean(outcome.reason),
        "reply": None if reply is None else [reply.code, clean(reply.text)],
        "mx": clean(outcome.mx),
    }


def read_entry(row: Row, spool: int, tag: str) -> Entry:
    """A row of `listing` as an entry. Raises `Damaged`."""
    (id_, domain, state, attempts, next_attempt, recipients, reply, mx, noted, *others) = row
    held_reason, said, reports, *message = others
    try:
        shared = _read_message(id_, message, tag)
        delay_reported, owed = (False, ()) if reports is None else _read_reports(reports)
        return Entry(
            EntryKey(spool, _row_number(id_)),
            f"{shared.id}.{ids.ordinal_of(id_)}",
            shared,
            _text(domain),
            () if owed and recipients == "[]" else _read_recipients(recipients, said),
            _count(attempts),
            None if next_attempt is None else _time(next_attempt),
            STATES[_count(state)],
            _text(reply),
            _text(mx),
            None if noted is None else _read_noted(noted),
            "" if held_reason is None else _text(held_reason),
            delay_reported,
            owed,
        )
    except (ValueError, TypeError, LookupError) as error:
        raise Damaged(id_, f"damaged row {id_} of the queue database: {error}") from error


def read_damaged(row: Row, spool: int, tag: str) -> Entry:
    """A damaged row as an entry that people can see and delete: held, without recipients."""
    id_ = row[0]
    number = max(0, ids.number_of(id_))
    name = ids.message_id(tag, number)
    return Entry(
        EntryKey(spool, id_),
        f"{name}.{ids.ordinal_of(id_)}",
        Message(name, Address("", "", ""), 0, 0.0),
        str(row[1]),
        (),
        state=State.HELD,
        last_reply=str(row[6]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


def is_count(value: object) -> bool:
    """Whether a column has a valid count or size."""
    return isinstance(value, int) and 0 <= value <= MAX_COUNT


def is_time(value: object) -> bool:
    """Whether a column has a valid time in seconds since the epoch, which RFC 3339 can represent."""
    return isinstance(value, int | float) and 0 <= value < _YEAR_10000  # false of a NaN too


def time_or_none(value: Any) -> float | None:
    """The time of a column; None if it has none, or is damaged."""
    return float(value) if is_time(value) else None


def _count(value: Any) -> int:
    if not is_count(value):
        raise ValueError(f"{value!r:.40} is not a count")
    return int(value)


def _row_number(value: int) -> int:
    if value < 0:
        raise ValueError("its number is negative")
    return value


def _time(value: Any) -> float:
    if not is_time(value):
        raise ValueError(f"{value!r:.40} is not a time")
    return float(value)


def _read_recipients(text: str, parameters: object) -> tuple[Recipient, ...]:
    said = {} if parameters is None else orjson.loads(_text(parameters))
    recipients = tuple(
        Recipient(
            _count(id_),
            Address(_text(local), _text(domain), _text(ascii_domain)),
            _read_parameters(said.get(str(id_), {})) if said else {},
        )
        for id_, local, domain, ascii_domain in orjson.loads(text)
    )
    if not recipients:
        raise ValueError("no recipients")
    return recipients


def _read_parameters(said: object) -> Parameters:
    if not isinstance(said, dict):
        raise TypeError("parameters are not a JSON object")
    return {keyword: _text(value) for keyword, value in said.items()}


def _read_noted(text: str) -> StoredNotes:
    said = orjson.loads(text)
    if not isinstance(said, dict):
        raise TypeError("the notes of hooks are not a JSON object")
    todo, force_tls = said.get("todo"), said.get("force_tls")
    return StoredNotes(
        dict(said.get("notes", {})),
        None if todo is None else dict(todo),
        None if force_tls is None else bool(force_tls),
        _text(said.get("route", "")),
    )


def _read_reports(text: object) -> tuple[bool, tuple[Owed, ...]]:
    said = orjson.loads(_text(text))
    if not isinstance(said, dict):
        raise TypeError("what was reported is not a JSON object")
    return said.get("delayed") is True, tuple(_read_owed(owed) for owed in said.get("owed", ()))


def _read_owed(said: Mapping[str, Any]) -> Owed:
    id_, local, domain, ascii_domain = said["recipient"]
    address = Address(_text(local), _text(domain), _text(ascii_domain))
    reply = None if said["reply"] is None else Reply(_count(said["reply"][0]), _text(said["reply"][1]))
    status, reason, mx = (_text(said[name]) for name in ("status", "reason", "mx"))
    return Owed(
        Recipient(_count(id_), address, _read_parameters(said["parameters"])),
        Outcome(id_, Result.DELIVERED, status, Stage.DOT, reason, reply, mx),
        ReportAction(said["action"]),
        _time(said["at"]),
    )


def _read_message(row: int, columns: Row, tag: str) -> Message:
    local, domain, ascii_domain, queued_at, size, flags, notes, origin, others, tenant, labels = columns
    if queued_at is None:
        raise ValueError("its message is missing")
    return Message(
        ids.message_id(tag, ids.number_of(row)) if origin is None else _text(origin),
        Address(_text(local), _text(domain), _text(ascii_domain)),
        _count(size),
        _time(queued_at),
        _read_mail_parameters(flags, others),
        bool(flags & FORCE_TLS),
        {} if notes is None else dict(orjson.loads(notes)),
        "" if origin is None else origin,
        DEFAULT_TENANT if tenant is None else _text(tenant),
        () if labels is None else _read_labels(orjson.loads(_text(labels))),
        bool(flags & TLS_REQUIRED_NO),
    )


def _read_labels(said: object) -> tuple[str, ...]:
    if not isinstance(said, list):
        raise TypeError("labels are not a JSON array")
    return tuple([_text(label) for label in said])


def _read_mail_parameters(flags: int, others: object) -> Parameters:
    said = {keyword: value for (keyword, value), bit in _FLAGS.items() if flags & bit} if flags else {}
    return said if others is None else {**said, **_read_parameters(orjson.loads(_text(others)))}
