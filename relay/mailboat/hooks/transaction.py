"""A message as hooks see and change it, and the draft made of it.

Implements `objects.Transaction` for all that queue messages: ingress for clients, `submission` for plugins and
programs, delivery for bounces. Changes of the header are written once, after all hooks.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from mailboat.hooks.chain import Hooks
from mailboat.hooks.objects import Notes
from mailboat.hooks.points import Point
from mailboat.message import headers
from mailboat.message.header import MessageHeader
from mailboat.model.address import Address
from mailboat.model.envelope import DEFAULT_TENANT, TENANT_NAME, Body, Draft, SpooledBody
from mailboat.smtp.extensions import smtputf8

log = logging.getLogger(__name__)

NewFile = Callable[[], tuple[str, int]]
"""`Store.new_body_file`."""
_PIECE = 1 << 20
MOST_LABELS = 16
"""Labels that a message keeps, the first ones by name: they are read with each row of the queue."""
LABEL_LENGTH = 64
"""Characters."""


class MessageBody:
    """The octets of a whole message, in memory or in a file of the spool."""

    def __init__(self, body: Body) -> None:
        self._body = body

    @property
    def size(self) -> int:
        """Octets."""
        return self._body.size if isinstance(self._body, SpooledBody) else len(self._body)

    def open(self) -> BinaryIO:
        """A file to read it from."""
        body = self._body
        return open(body.path, "rb") if isinstance(body, SpooledBody) else io.BytesIO(body)  # noqa: PTH123

    def read(self) -> bytes:
        """All of it at once."""
        with self.open() as file:
            return file.read()


class MessageTransaction:
    """One message; see `objects.Transaction`."""

    def __init__(self, uuid: str, mail_from: Address, rcpt_to: list[Address], *, utf8: bool = False) -> None:
        """`utf8`: the message may hold UTF-8 in its header. Its octets come with `hold`."""
        self.uuid = uuid
        self.mail_from = mail_from
        self.rcpt_to = rcpt_to
        self.notes: Notes = {}
        self.force_tls = False
        self.tenant = DEFAULT_TENANT
        self.labels: set[str] = set()
        self.tls_required_no: bool | None = None
        """Whether the header that `edited` wrote says `TLS-Required: No`; None: it has changed nothing."""
        self._utf8 = utf8
        self._octets: Body | None = None
        self._header: MessageHeader | None = None
        self._header_end = 0

    def hold(self, body: Body) -> None:
        """Set the complete message, which hooks may read from now on."""
        self._octets = body

    @property
    def body(self) -> MessageBody:
        """The message as received."""
        return MessageBody(self._held())

    @property
    def header(self) -> MessageHeader:
        """The header; parsed when a hook first needs it."""
        if self._header is None:
            with self.body.open() as file:
                # In memory, or just written: reading does not wait for the disk.
                first = file.read(headers.SCAN_LIMIT)
            end = headers.scan(first, whole=len(first) == self.body.size).header_end
            self._header_end = len(first) if end < 0 else end
            self._header = MessageHeader(first[: self._header_end], utf8=self._utf8, whole=end >= 0)
        return self._header

    def _held(self) -> Body:
        if self._octets is None:
            raise RuntimeError("the message is not complete: header and body exist from data_post on")
        return self._octets

    @property
    def is_edited(self) -> bool:
        """Whether the header differs from that of the octets."""
        return self._header is not None and self._header.changed

    def edited(self, new_file: NewFile) -> Body:
        """The message with its changed header. For a large message this copies a file: do not call it on the event
        loop.

        Raises OSError, and then the old file is still there; otherwise it is gone if there is a new one.
        """
        body = self._held()
        if self._header is None or not self._header.changed:
            return body
        self.tls_required_no = headers.says_no(self._header.get_all("TLS-Required"))
        if isinstance(body, bytes):
            body = self._header.octets() + body[self._header_end :]
        else:
            body = _rewritten(body, self._header_end, self._header.octets(), new_file)
        self._header = None
        self._octets = body
        return body

    def stored_notes(self) -> Mapping[str, Any]:
        """The notes that can be stored; values that are not JSON are dropped, which is logged."""
        return storable(self.notes, self.uuid)

    def stored_tenant(self) -> str:
        """The tenant; an invalid name becomes `default`, which is logged."""
        if isinstance(self.tenant, str) and TENANT_NAME.fullmatch(self.tenant):
            return self.tenant
        log.error("%s: a plugin set the tenant %.80r, which is not a valid name", self.uuid, self.tenant)
        return DEFAULT_TENANT

    def stored_labels(self) -> tuple[str, ...]:
        """The labels in order; invalid ones are dropped, which is logged."""
        if not self.labels:
            return ()
        kept = {label for label in self.labels if _is_label(label)}
        for label in self.labels:
            if not _is_label(label):
                log.error("%s: %.80r cannot be a label", self.uuid, label)
        return tuple(sorted(kept)[:MOST_LABELS])


@dataclass(slots=True)
class LocalConnection:
    """The connection of a message without a client; see `objects.Connection`."""

    transaction: MessageTransaction | None
    uuid: str = ""
    relaying: bool = True
    remote_ip: str = ""
    remote_port: int = 0
    local_port: int = 0
    hello_name: str = ""
    tls: bool = False
    auth_user: str | None = None
    notes: Notes = field(default_factory=dict)


async def before_queueing(hooks: Hooks, draft: Draft, new_file: NewFile) -> Draft:
    """Call `pre_send_trans_email` for a message made by the relay; returns the draft after it.

    `draft` has an id. Raises OSError when a changed large message cannot be written; its old file is still there.
    """
    if not hooks.wants(Point.PRE_SEND_TRANS_EMAIL):
        return draft
    message = MessageTransaction(
        draft.id, draft.sender, list(draft.recipients), utf8=smtputf8.is_declared(draft.parameters)
    )
    message.notes.update(draft.notes)
    message.force_tls = draft.force_tls
    message.tenant, message.labels = draft.tenant, set(draft.labels)
    message.hold(draft.body)
    await hooks.run(Point.PRE_SEND_TRANS_EMAIL, LocalConnection(message, draft.id))
    body = draft.body
    if message.is_edited:
        on_disk = isinstance(body, SpooledBody)
        body = await asyncio.to_thread(message.edited, new_file) if on_disk else message.edited(new_file)
    return replace(
        draft,
        body=body,
        notes=message.stored_notes(),
        force_tls=bool(message.force_tls),
        tenant=message.stored_tenant(),
        labels=message.stored_labels(),
        tls_required_no=draft.tls_required_no if message.tls_required_no is None else message.tls_required_no,
    )


def _is_label(label: object) -> bool:
    return isinstance(label, str) and 0 < len(label) <= LABEL_LENGTH and label.isprintable()


def storable(notes: Mapping[str, Any], of: str) -> Mapping[str, Any]:
    """A copy of notes as JSON; other values are dropped, which is logged. `of` names the owner for the log."""
    if not notes:
        return {}
    kept = {}
    for name, value in list(notes.items()):
        try:
            kept[name] = orjson.loads(orjson.dumps({name: value}))[name]
        except (TypeError, KeyError) as error:
            log.warning("%s: the note %.80r is not stored: %s", of, name, error)
    return kept


def _rewritten(body: SpooledBody, header_end: int, header: bytes, new_file: NewFile) -> Body:
    """The same message in another file, with another header."""
    path, file = new_file()
    try:
        with open(file, "wb") as target, open(body.path, "rb") as source:  # noqa: PTH123
            source.seek(header_end)
            target.write(header)
            while piece := source.read(_PIECE):
                target.write(piece)
            size = target.tell()
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    os.unlink(body.path)  # noqa: PTH108
    return SpooledBody(path, size)
