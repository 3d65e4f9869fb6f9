"""The parts of a connection without one: what they answer, and when, by a dialogue that only notes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from ipaddress import ip_network
from math import inf
from typing import Any

import pytest
from tests.support.ingress import ME, Facts, surroundings

from mailboat.ingress import replies
from mailboat.ingress.authenticator import LONGEST_DELAY, MAX_FAILURES
from mailboat.ingress.client import ConnectedClient
from mailboat.ingress.context import IngressContext
from mailboat.ingress.policy import Policy
from mailboat.ingress.policy_gate import MAX_IDLE_COMMANDS, PolicyGate
from mailboat.ingress.receiver import SLOWEST_RATE, MessageReceiver
from mailboat.model.address import Address
from mailboat.model.observer import RejectReason
from mailboat.smtp import events
from mailboat.smtp.extensions import Offers
from mailboat.smtp.sasl import SaslCredentials
from mailboat.smtp.session import ServerSession, SessionLimits

ALICE = Address("alice", "here.test", "here.test")
BOB = Address("bob", "there.test", "there.test")


class Transport(asyncio.BaseTransport):
    """One whose socket has no addresses."""


@dataclass(eq=False)
class Notes:
    """A dialogue that notes what is said."""

    session: ServerSession = field(default_factory=lambda: ServerSession(ME, SessionLimits(), Offers(1000)))
    client_address: str = "192.0.2.1"
    deadline: float = 0.0
    held: bool = False
    committing: bool = False
    closing: bool = False
    is_idle: bool = True
    said: list[bytes] = field(default_factory=list)
    resumed: int = 0

    def answer(self, reply: bytes, *, accepted: bool = True) -> None:
        self.said.append(reply)

    def touch(self) -> None:
        self.deadline = inf

    def allow(self, seconds: float) -> None:
        self.deadline = seconds

    def flush(self) -> None:
        self.said.append(self.session.data_to_send())

    def go_on(self) -> None:
        self.resumed += 1

    def close_with(self, reply: bytes) -> None:
        self.said.append(reply)
        self.closing = True

    def tls(self) -> tuple[str, str]:
        return "", ""

    def make_room(self) -> None:
        self.closing = True


class Parts:
    """All parts of one connection."""

    def __init__(self, *, submission: bool = False, client: str = "192.0.2.1", **changes: Any) -> None:
        self.facts = Facts()
        changes.setdefault("acl", (ip_network("192.0.2.0/24"),))
        self.context: IngressContext = surroundings(facts=self.facts, **changes)
        self.dialogue = Notes(client_address=client)
        self.client = ConnectedClient()
        self.gate = PolicyGate(self.context, self.dialogue, self.client)
        self.policy = Policy(self.context, self.dialogue, self.gate, submission=submission)
        self.receiver = MessageReceiver(self.context, self.dialogue, self.gate, self.policy)
        assert self.policy.enter(Transport()) is None
        self.policy.open()
        self.policy.hello(events.Hello("client.test", extended=True))
        self.dialogue.said.clear()

    def mail(self, size: int = 0) -> bytes:
        """The reply to MAIL."""
        self.receiver.mail(events.Mail(ALICE, {"SIZE": str(size)}))
        return self.dialogue.said[-1]

    def rcpt(self) -> bytes:
        """The reply to RCPT."""
        self.receiver.recipient(events.Rcpt(BOB))
        return self.dialogue.said[-1]


async def test_a_message_is_answered_250_when_its_commit_is_done_and_not_before() -> None:
    parts = Parts()
    assert (parts.mail(), parts.rcpt()) == (replies.SENDER_OK, replies.RECIPIENT_OK)
    parts.receiver.data()
    parts.receiver.end_of_data(events.EndOfData(b"Subject: x\r\n\r\nx\r\n", None))
    assert parts.dialogue.said[-1] == replies.GO_AHEAD
    assert parts.dialogue.committing
    await parts.facts.until(lambda facts: len(facts.mails) == 1)
    assert parts.dialogue.said[-1].startswith(b"250 2.0.0 Message Queued (")
    assert not parts.dialogue.committing
    assert parts.dialogue.resumed == 1
    assert parts.client.message is None


async def test_a_message_counts_as_a_whole_for_the_deadline() -> None:
    parts = Parts(inactivity_timeout=300)
    parts.mail()
    parts.rcpt()
    parts.receiver.data()
    parts.receiver.chunk(events.Chunk(b"x" * SLOWEST_RATE))
    assert parts.dialogue.deadline == parts.context.clock.monotonic() + 301
    parts.receiver.drop()


async def test_what_a_plugin_allows_in_a_transaction_ends_with_it() -> None:
    parts = Parts(client="198.51.100.1")
    parts.mail()
    parts.client.relaying = True
    assert parts.rcpt() == replies.RECIPIENT_OK
    parts.receiver.drop()
    parts.mail()
    assert parts.rcpt() == replies.RELAY_DENIED
    parts.receiver.drop()


async def test_starttls_takes_back_what_was_said_in_clear_and_leaves_what_the_address_allows() -> None:
    parts = Parts()
    parts.client.auth_user, parts.client.relaying, parts.client.may_relay = "bob", True, True
    parts.policy.secured(implicit_tls=False)
    assert not (parts.client.auth_user)
    assert not (parts.client.hello_name)
    assert parts.client.relaying
    stranger = Parts(client="198.51.100.1")
    stranger.client.auth_user, stranger.client.relaying, stranger.client.may_relay = "bob", True, True
    stranger.policy.secured(implicit_tls=False)
    assert not stranger.client.relaying


async def test_mail_that_is_declared_too_big_is_refused_before_plugins_hear_of_it() -> None:
    parts = Parts(databytes=1000)
    assert parts.mail(size=1001) == replies.TOO_BIG
    assert parts.client.message is None
    assert parts.mail(size=1000) == replies.SENDER_OK
    parts.receiver.drop()


async def test_errors_close_the_connection_and_what_follows_a_refusal_for_now_is_none() -> None:
    parts = Parts(max_errors=2)
    bad = events.RejectedCommand("503 5.5.1 MAIL first", "sequence")
    parts.gate.refuse(RejectReason.STORAGE, replies.STORAGE_FULL)
    for _ in range(5):
        parts.policy.refused(bad)
    assert not parts.dialogue.closing
    parts.policy.reset()
    parts.policy.refused(bad)
    assert not parts.dialogue.closing
    parts.policy.refused(bad)
    assert parts.dialogue.said[-1] == replies.TOO_MANY_ERRORS


async def test_idle_commands_become_errors_when_they_are_many() -> None:
    parts = Parts(max_errors=1)
    for _ in range(MAX_IDLE_COMMANDS - 1):  # the EHLO was one
        parts.policy.idle()
    assert not parts.dialogue.closing
    parts.policy.idle()
    assert parts.dialogue.said[-1] == replies.TOO_MANY_ERRORS


@pytest.mark.parametrize("failures", range(1, MAX_FAILURES + 1))
async def test_wrong_credentials_are_answered_later_each_time_and_at_last_with_421(failures: int) -> None:
    parts = Parts(client="198.51.100.1")
    foreign = events.Auth(SaslCredentials("PLAIN", "bob", "secret", authorize_as="eve"))
    now = parts.context.clock.monotonic()
    authentication = parts.policy.authenticator
    for count in range(failures):
        authentication.check(foreign)
        delay = min(2.0**count, LONGEST_DELAY)
        authentication.tick(now + delay - 0.1)
        assert parts.dialogue.held
        assert len(parts.dialogue.said) == count
        authentication.tick(now + delay)
        assert not parts.dialogue.held
    last = replies.TOO_MANY_AUTH_FAILURES if failures == MAX_FAILURES else replies.AUTH_FAILED
    assert parts.dialogue.said[-1] == last
    assert parts.dialogue.closing == (failures == MAX_FAILURES)
