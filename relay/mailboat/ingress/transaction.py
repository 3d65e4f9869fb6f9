"""One mail transaction: the envelope, the message's octets, and the draft made of them.

Knows no sockets and no replies; `receiver` has one at a time. `queue.body_writer` decides where the octets are stored,
`hooks.transaction` what plugins see and change.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mailboat.config.settings import TENANT_FIELD, Settings, may_name
from mailboat.hooks.transaction import MessageTransaction
from mailboat.message import headers, received
from mailboat.message.prepare import Preparation
from mailboat.model.address import Address, mailboxes
from mailboat.model.clock import Clock
from mailboat.model.envelope import DEFAULT_TENANT, Body, Draft, Parameters, SpooledBody
from mailboat.queue.body_writer import BodyWriter, prepare
from mailboat.queue.entry import group
from mailboat.queue.store import Store
from mailboat.smtp import extensions
from mailboat.smtp.events import Mail
from mailboat.smtp.extensions import eightbitmime, smtputf8

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MailTransaction:
    """From MAIL to the end of data."""

    mail: Mail
    origin: received.Origin
    settings: Settings
    store: Store
    tenant: str = DEFAULT_TENANT
    recipients: list[Address] = field(default_factory=list)
    _mailboxes: set[str] = field(default_factory=set)
    """Those of `recipients`, normalised."""
    _parameters: dict[str, Parameters] = field(default_factory=dict)
    """The parameters of RCPT, by mailbox, if there are any."""
    id: str = ""
    """The queue id, from DATA on, or earlier if a plugin asks for it."""
    began_at: float = 0.0
    """Monotonic: when DATA was accepted."""
    size: int = 0
    """Octets of the message so far, as received."""
    _date: bytes = b""
    _writer: BodyWriter = field(init=False)
    _body: Body | None = field(default=None, repr=False)
    """The whole message with its trace header; owned by the transaction until it is in a draft."""
    _for_hooks: MessageTransaction | None = None

    def __post_init__(self) -> None:
        self._writer = BodyWriter(self.store, self._preparation, self.settings.smtp.nul)

    def begin(self, clock: Clock) -> None:
        """DATA is accepted."""
        self.id = self.id or self.store.reserve_id()
        self.began_at = clock.monotonic()
        self._date = received.rfc5322_date(clock.now())

    def for_hooks(self) -> MessageTransaction:
        """This transaction as plugins see it, the same each time."""
        view = self._for_hooks
        if view is None:
            self.id = self.id or self.store.reserve_id()
            view = MessageTransaction(self.id, self.mail.sender, list(self.recipients), utf8=self.is_smtputf8)
            view.tenant = self.tenant
            if self._body is not None:
                view.hold(self._body)
            self._for_hooks = view
        return view

    def add_recipient(self, recipient: Address, parameters: Parameters) -> None:
        """RCPT is accepted; a mailbox named before, in any spelling, is kept once."""
        mailbox = recipient.normalised
        if mailbox in self._mailboxes:
            return
        self._mailboxes.add(mailbox)
        self.recipients.append(recipient)
        if parameters:
            self._parameters[mailbox] = extensions.stored(parameters)
        if self._for_hooks is not None:
            self._for_hooks.rcpt_to.append(recipient)

    @property
    def is_smtputf8(self) -> bool:
        """Whether the client gave SMTPUTF8."""
        return smtputf8.is_declared(self.mail.parameters)

    @property
    def is_too_big(self) -> bool:
        """Whether the message has more octets than `databytes` allows."""
        return self.size > self.settings.smtp.databytes

    @property
    def has_nul(self) -> bool:
        """Whether the client sent a NUL octet."""
        return self._writer.has_nul

    @property
    def text_digest(self) -> bytes | None:
        """See `BodyWriter`."""
        return self._writer.text_digest

    def write(self, octets: bytes) -> asyncio.Future[None] | None:
        """Add octets of the message; after a fault they are only counted. See `BodyWriter.write`."""
        self.size += len(octets)
        if self.size <= self.settings.smtp.databytes:
            return self._writer.write(octets)
        self._writer.discard()
        return None

    def finish(self) -> asyncio.Future[Body] | None:
        """All octets have been received: add the trace header. Raises OSError or UnfitError, or the future fails with
        it.

        If a future is returned, the message is available when it is done.
        """
        body = self._writer.finish()
        if isinstance(body, asyncio.Future):
            body.add_done_callback(self._finished)
            return body
        self._hold(body)
        return None

    def _finished(self, done: asyncio.Future[Body]) -> None:
        if done.exception() is None:
            self._hold(done.result())

    def _hold(self, body: Body) -> None:
        self._body = body
        if self._for_hooks is not None:
            self._for_hooks.hold(body)

    @property
    def needs_rewriting(self) -> bool:
        """Whether a plugin changed the header of a message in a file: call `rewrite` before `draft`."""
        view = self._for_hooks
        return view is not None and view.is_edited and isinstance(self._body, SpooledBody)

    def rewrite(self) -> None:
        """Write the message with its new header. Blocks: call it in a thread. Raises OSError."""
        if self._for_hooks is not None:
            self._body = self._for_hooks.edited(self.store.new_body_file)

    def draft(self) -> Draft:
        """The finished message, ready for the store, which owns its body from now on. Raises OSError."""
        view = self._for_hooks
        if view is not None:
            self._body = view.edited(self.store.new_body_file)
            self.recipients = self._left_by_plugins(view)
        body, self._body = self._body, None
        assert body is not None
        edited = None if view is None else view.tls_required_no
        return Draft(
            sender=self.mail.sender,
            recipients=self.recipients,
            body=body,
            groups=group(self.recipients, split=self.settings.outbound.always_split),
            id=self.id,
            parameters=eightbitmime.with_body(
                extensions.stored(self.mail.parameters), is_ascii=self._writer.ascii.is_ascii
            ),
            recipient_parameters=self._parameters,
            force_tls=view is not None and bool(view.force_tls),
            notes=view.stored_notes() if view is not None else {},
            tenant=self.tenant if view is None else view.stored_tenant(),
            labels=() if view is None else view.stored_labels(),
            tls_required_no=self._writer.tls_required_no if edited is None else edited,
        )

    def _left_by_plugins(self, view: MessageTransaction) -> list[Address]:
        """The recipients after changes by plugins; an empty list counts as a fault of a plugin."""
        left = [address for address in view.rcpt_to if isinstance(address, Address) and not address.is_null]
        if not left:
            log.error("%s: plugins removed all recipients, so the message goes to all that were accepted", self.id)
        return mailboxes(left) or self.recipients

    def discard(self) -> None:
        """Drop the octets, and remove the file if there is one."""
        self._writer.discard()
        if isinstance(self._body, SpooledBody):
            with suppress(OSError):  # the store removes it at its next start
                Path(self._body.path).unlink(missing_ok=True)
        self._body = None

    def _preparation(self) -> Preparation:
        """The changes of the message: trace fields (RFC 5321 4.4), missing fields, fields to remove."""
        settings = self.settings
        trace = received.client_trace(
            self.origin,
            me=settings.me,
            id=self.id,
            date=self._date,
            recipient=self.recipients[0].wire if len(self.recipients) == 1 else "",
            smtputf8=self.is_smtputf8,
        )
        look = self._read_tenant if settings.tenants else None
        return prepare(
            settings, self.id, self._date, trace=trace, removed=settings.smtp.message_drop_headers, look=look
        )

    def _read_tenant(self, header: bytes) -> None:
        """Read the tenant named in the header, unless a plugin has set one."""
        named = (headers.value_of(header, TENANT_FIELD.encode()) or b"").decode("ascii", "replace")
        view = self._for_hooks
        if may_name(self.settings.tenants, self.tenant, named) and (view is None or view.tenant == self.tenant):
            self.tenant = named
            if view is not None:
                view.tenant = named
