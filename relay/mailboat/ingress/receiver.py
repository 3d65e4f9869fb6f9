"""From MAIL to the 250: the envelope, the octets, plugins, the commit, and the reply.

Knows no sockets; made by `connection`. The 250 is sent after the store's future, that is, after the fsync of the group
commit, and after `queue_ok`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mailboat.config.settings import tenant_of
from mailboat.hooks import Code, Decision, Point
from mailboat.ingress import policy_replies, replies
from mailboat.ingress.context import IngressContext
from mailboat.ingress.dialogue import MAX_BUFFERED, Dialogue
from mailboat.ingress.policy import Policy
from mailboat.ingress.policy_gate import PolicyGate
from mailboat.ingress.transaction import MailTransaction
from mailboat.message import received
from mailboat.message.prepare import UnfitError
from mailboat.model.envelope import DEFAULT_TENANT, Body, Draft, Entry, SignedBy
from mailboat.model.observer import Received, RejectReason
from mailboat.queue.body_writer import discard_body
from mailboat.queue.signing import sign
from mailboat.queue.store import StorageError
from mailboat.smtp import events
from mailboat.smtp.data import DataFault

log = logging.getLogger(__name__)

SLOWEST_RATE = 1024
"""Slowest rate of a message in octets a second, in addition to one `inactivity_timeout`."""
_BEFORE_QUEUEING = (Point.DATA_POST, Point.QUEUE_OUTBOUND, Point.PRE_SEND_TRANS_EMAIL)


class MessageReceiver:
    """Receives one client's messages, one after another."""

    __slots__ = ("_client", "_context", "_dialogue", "_gate", "_policy", "_settings", "_signed_by")

    def __init__(self, context: IngressContext, dialogue: Dialogue, gate: PolicyGate, policy: Policy) -> None:
        self._context = context
        self._settings = context.settings
        self._dialogue = dialogue
        self._gate = gate
        self._policy = policy
        self._client = gate.client
        self._signed_by: Sequence[SignedBy] = ()
        """Reply for the message that is being committed."""

    # The open transaction.

    def _current(self) -> MailTransaction:
        """The open transaction: the session refuses RCPT and DATA without one."""
        message = self._client.message
        assert message is not None
        return message

    @property
    def has_recipients(self) -> bool:
        """Whether a message is under way that the client would have to send again."""
        message = self._client.message
        return message is not None and bool(message.recipients)

    def _end(self) -> None:
        """The transaction is queued or dropped."""
        self._client.message = None
        self._client.relaying = self._client.may_relay

    def drop(self) -> None:
        """Drop the transaction, if one is open."""
        message = self._client.message
        if message is not None:
            message.discard()
            self._end()

    # The envelope.

    def mail(self, event: events.Mail) -> None:
        """Decide about MAIL, and answer."""
        self._gate.put_off = False
        refusal = self._policy.refusal_of_mail(event)
        if refusal is not None:
            reply, reason = refusal
            self._gate.refuse(reason, reply)
            return
        client, settings = self._client, self._settings
        tenant = tenant_of(settings.tenants, client.auth_user, client.listener) if settings.tenants else DEFAULT_TENANT
        client.message = MailTransaction(event, client.origin, settings, self._context.store, tenant)
        if self._context.hooks.wants(Point.MAIL):
            self._gate.ask(Point.MAIL, self._mail_decided, event.sender, dict(event.parameters))
        else:
            self._dialogue.answer(replies.SENDER_OK)

    def _mail_decided(self, decision: Decision) -> None:
        if decision.code in policy_replies.REFUSALS:
            self._deny_message(Point.MAIL, decision)
        else:
            self._dialogue.answer(replies.SENDER_OK)

    def recipient(self, event: events.Rcpt) -> None:
        """Decide about RCPT, and answer."""
        message = self._current()
        if len(message.recipients) >= self._settings.smtp.max_recipients:
            too_many = RejectReason.TOO_MANY_RECIPIENTS
            self._gate.refuse(too_many, replies.TOO_MANY_RECIPIENTS, str(event.recipient))
        elif self._context.hooks.wants(Point.RCPT):
            then = partial(self._recipient_decided, event, self._client.relaying)
            self._gate.ask(Point.RCPT, then, event.recipient, dict(event.parameters))
        else:
            self._add_recipient(event, message, allowed=self._client.relaying)

    def _recipient_decided(self, event: events.Rcpt, relaying: bool, decision: Decision) -> None:
        allowed = self._client.relaying or decision.code is Code.OK
        self._client.relaying = relaying
        if decision.code in policy_replies.REFUSALS:
            self._gate.deny(Point.RCPT, decision, str(event.recipient))
        else:
            self._add_recipient(event, self._current(), allowed=allowed)

    def _add_recipient(self, event: events.Rcpt, message: MailTransaction, *, allowed: bool) -> None:
        if allowed:
            message.add_recipient(event.recipient, event.parameters)
            self._dialogue.answer(replies.RECIPIENT_OK)
        else:
            self._gate.refuse(RejectReason.RELAY_DENIED, self._policy.relay_denied(), str(event.recipient))

    # The octets.

    def data(self) -> None:
        """DATA: answer 354."""
        self._gate.put_off = False
        self._current().begin(self._context.clock)
        self._dialogue.answer(replies.GO_AHEAD)

    def chunk(self, event: events.Chunk) -> None:
        """Octets of the message."""
        dialogue, message, smtp = self._dialogue, self._current(), self._settings.smtp
        writing = message.write(event.octets)
        dialogue.touch()
        # Slow input must not keep a connection open: the time of the whole message counts.
        slowest = smtp.inactivity_timeout + message.size / SLOWEST_RATE
        dialogue.deadline = min(dialogue.deadline, message.began_at + slowest)
        if message.size > 2 * smtp.databytes + MAX_BUFFERED:
            self._gate.reject(RejectReason.TOO_BIG, replies.TOO_BIG)
            dialogue.close_with(replies.TOO_BIG)
        elif writing is not None:
            self._wait_for_disk(writing, dialogue.touch)

    def end_of_data(self, event: events.EndOfData) -> None:
        """The whole message has been received: queue or refuse it, and answer."""
        writing = self._current().write(event.octets)
        ended = partial(self._message_ended, event.fault)
        if writing is None:
            ended()
        else:
            self._wait_for_disk(writing, ended)

    def _wait_for_disk(self, work: asyncio.Future[Any], then: Callable[[], None]) -> None:
        """Stop reading until a thread has written the file; this time does not count for the client's timeout."""
        self._dialogue.held = self._dialogue.committing = True
        since = self._context.clock.monotonic()
        work.add_done_callback(lambda _: self._disk_done(since, then))

    def _disk_done(self, since: float, then: Callable[[], None]) -> None:
        message = self._current()
        self._dialogue.held = self._dialogue.committing = False
        if self._dialogue.closing:  # no 250 was sent
            self.drop()
            return
        message.began_at += self._context.clock.monotonic() - since
        then()
        self._dialogue.go_on()

    def _message_ended(self, fault: DataFault | None) -> None:
        message = self._current()
        if fault is not None:
            reply, reason = replies.DATA_FAULTS[fault]
            self._refuse_message(reason, reply)
            return
        if message.is_too_big:
            self._refuse_message(RejectReason.TOO_BIG, replies.TOO_BIG)
            return
        if message.has_nul:
            self._context.observer.nul_found(message.settings.smtp.nul)
        try:
            finishing = message.finish()
        except UnfitError as error:
            reply, reason = replies.UNFIT[type(error)]
            self._refuse_message(reason, reply)
        except OSError as error:
            self._storage_failed(error)
        else:
            if finishing is None:
                self._decide()
            else:
                self._wait_for_disk(finishing, partial(self._message_finished, finishing))

    def _message_finished(self, done: asyncio.Future[Body]) -> None:
        error = done.exception()
        if error is None:
            self._decide()
        else:
            self._storage_failed(error)

    def _decide(self) -> None:
        self._gate.await_decision(self._context.hooks.begin_many(_BEFORE_QUEUEING, self._client), self._message_decided)

    def _message_decided(self, decision: Decision) -> None:
        if decision.code in policy_replies.REFUSALS:
            self._deny_message(Point(decision.point), decision)
        elif decision.code is Code.OK and decision.point == Point.QUEUE_OUTBOUND:
            self._queued_elsewhere(decision)
        else:
            self._ready()

    def _queued_elsewhere(self, decision: Decision) -> None:
        """A plugin has queued the message elsewhere: drop it here."""
        id_ = self._current().id
        log.info("%s: the plugin %s has queued the message", id_, decision.plugin)
        self.drop()
        self._gate.idle_commands = 0
        self._dialogue.answer(policy_replies.accepted(b"250", "2.0.0", f"{decision.text or 'Message Queued'} ({id_})"))

    def _ready(self) -> None:
        message = self._current()
        if message.needs_rewriting:
            self._dialogue.committing = True
            rewritten = asyncio.get_running_loop().run_in_executor(None, message.rewrite)
            rewritten.add_done_callback(partial(self._rewritten, message))
        else:
            self._queue(message)

    def _rewritten(self, message: MailTransaction, done: asyncio.Future[None]) -> None:
        """The file has its new header, or there was no space for it."""
        self._dialogue.committing = False
        error = done.exception()
        if self._dialogue.closing:  # no 250 was sent
            message.discard()
        elif error is None:
            self._queue(message)
        else:
            self._storage_failed(error)
            self._dialogue.go_on()

    def _queue(self, message: MailTransaction) -> None:
        try:
            draft = message.draft()
        except OSError as error:
            self._refuse_message(RejectReason.STORAGE, replies.storage_reply(error))
            return
        if (signer := message.settings.signer) is None:
            self._commit(draft)
            return
        self._dialogue.committing = True
        context = self._context
        signing = asyncio.ensure_future(sign(draft, message.text_digest, signer, context.clock, context.observer))
        signing.add_done_callback(partial(self._signed, draft.body))

    def _signed(self, body: Body, done: asyncio.Future[Draft]) -> None:
        """The draft is signed, or signing failed."""
        error = StorageError("given up") if done.cancelled() else done.exception()
        if error is None and not self._dialogue.closing:
            self._commit(done.result())
            return
        discard_body(body)
        self._dialogue.committing = False
        if error is None or self._dialogue.closing:  # no 250 was sent
            self.drop()
        else:
            self._storage_failed(error)
            self._dialogue.go_on()

    def _commit(self, draft: Draft) -> None:
        self._signed_by = draft.signed_by
        committed = self._context.store.accept(draft)
        self._dialogue.committing = True
        committed.add_done_callback(self._committed)

    def _committed(self, done: asyncio.Future[Sequence[Entry]]) -> None:
        """C1 is durable, or failed: only now the reply may be sent."""
        error = StorageError("given up") if done.cancelled() else done.exception()
        if error is None:
            message = self._current()
            self._tell(message, done.result())
            if not self._context.hooks.wants(Point.QUEUE_OK):
                self._confirm()
                return
            text = f"Message Queued ({message.id})"
            asked = self._context.hooks.begin(Point.QUEUE_OK, self._client, text)
            if isinstance(asked, Decision):
                self._confirm()
            else:  # not `ask`: the message is queued, and the hook runs even if the client has disconnected
                asked.on_done(lambda _: self._confirm())
        else:
            self._dialogue.committing = False
            self._storage_failed(error)
            self._dialogue.go_on()

    def _storage_failed(self, error: BaseException) -> None:
        if not isinstance(error, StorageError | OSError):
            log.error("a message could not be queued; its client gets 451", exc_info=error)
        self._refuse_message(RejectReason.STORAGE, replies.storage_reply(error))

    def _tell(self, message: MailTransaction, entries: Sequence[Entry]) -> None:
        origin = message.origin
        protocol = received.protocol(
            extended=origin.extended,
            tls=bool(origin.tls_version),
            authenticated=origin.authenticated,
            smtputf8=message.is_smtputf8,
        )
        recipients = [str(address) for address in message.recipients]
        user = self._client.auth_user or ""
        self._context.observer.received(
            Received(entries[0].message, recipients, self._dialogue.client_address, protocol, user, self._signed_by)
        )

    def _confirm(self) -> None:
        """The message is durable, and observers and plugins have been notified."""
        self._dialogue.committing = False
        id_ = self._current().id
        self._end()
        self._gate.idle_commands = 0
        self._dialogue.answer(replies.queued(id_))
        self._dialogue.go_on()

    def _refuse_message(self, reason: RejectReason, reply: bytes) -> None:
        self._gate.refuse(reason, reply)
        self.drop()

    def _deny_message(self, point: Point, decision: Decision) -> None:
        self._gate.deny(point, decision)
        self.drop()
