"""A model of the session, told to do random things with random answers: what the RFC promises holds after each.

The model is three facts: was there a hello, a sender, a recipient. Everything else must follow (RFC 5321 4.1.4).
"""

from __future__ import annotations

import re

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mailboat.smtp import events
from mailboat.smtp.data import DataFault
from mailboat.smtp.extensions import Offers
from mailboat.smtp.session import ServerSession, SessionLimits

HELLO, MAIL, RCPT, DATA = b"EHLO c.test", b"MAIL FROM:<a@b.test>", b"RCPT TO:<c@d.test>", b"DATA"
OUT_OF_ORDER = re.compile(rb"503 5\.5\.1 [^\r\n]+\r\n")
REFUSED = re.compile(rb"5\d\d 5\.\d\.\d [^\r\n]+\r\n")
answers = st.booleans()


class SessionModel(RuleBasedStateMachine):
    """One client's session, one command at a time, each cut where hypothesis likes."""

    @initialize(cut=st.integers(1, 40))
    def begin(self, cut: int) -> None:
        offers = Offers(1000, starttls=True, auth=("PLAIN", "LOGIN", "CRAM-MD5"))
        self.server = ServerSession("relay.test", SessionLimits(), offers, ticket=lambda: b"<1@relay.test>")
        self.cut = cut
        self.hello = self.sender = self.recipient = False
        self.authenticated = False
        self.closed = False

    def say(self, octets: bytes) -> events.Event | None:
        """Feed octets in pieces; the one event that they bring, if any."""
        found = None
        for start in range(0, len(octets), self.cut):
            self.server.feed(octets[start : start + self.cut])
            event = self.server.next_event()
            while isinstance(event, events.Chunk):
                event = self.server.next_event()
            if event is not None:
                assert found is None, "two events for one command"
                found = event
        return found

    def say_at_once(self, octets: bytes) -> events.Event | None:
        """The same in one piece."""
        cut, self.cut = self.cut, 1_000_000
        event = self.say(octets + b"\r\n")
        self.cut = cut
        return event

    def answer(self, accepted: bool) -> None:
        assert self.server.data_to_send() == b"", "nothing is said before the owner has decided"
        self.server.answer(b"250 2.0.0 yes\r\n" if accepted else b"550 5.0.0 no\r\n", accepted=accepted)
        assert self.server.data_to_send()

    def expect_refusal(self, event: events.Event | None, reply: re.Pattern[bytes]) -> None:
        assert isinstance(event, events.RejectedCommand)
        assert reply.fullmatch(self.server.data_to_send())

    @precondition(lambda self: not self.closed)
    @rule(accepted=answers)
    def says_hello(self, accepted: bool) -> None:
        event = self.say(HELLO + b"\r\n")
        assert isinstance(event, events.Hello)
        self.answer(accepted)
        self.hello |= accepted
        self.sender = self.recipient = False

    @precondition(lambda self: not self.closed)
    @rule(accepted=answers)
    def names_a_sender(self, accepted: bool) -> None:
        event = self.say(MAIL + b"\r\n")
        if self.hello and not self.sender:
            assert isinstance(event, events.Mail)
            self.answer(accepted)
            self.sender = accepted
        else:
            self.expect_refusal(event, OUT_OF_ORDER)

    @precondition(lambda self: not self.closed)
    @rule(accepted=answers)
    def names_a_recipient(self, accepted: bool) -> None:
        event = self.say(RCPT + b"\r\n")
        if self.sender:
            assert isinstance(event, events.Rcpt)
            self.answer(accepted)
            self.recipient |= accepted
        else:
            self.expect_refusal(event, OUT_OF_ORDER)

    @precondition(lambda self: not self.closed)
    @rule(
        taken=answers,
        accepted=answers,
        text=st.sampled_from(
            [b"", b"x\r\n", b"..\r\n", b"QUIT\r\nRSET\r\n", b"a\nb\r\n", b"a\n.\r\nMAIL FROM:<e@e.test>"]
        ),
    )
    def sends_a_message(self, taken: bool, accepted: bool, text: bytes) -> None:
        event = self.say(DATA + b"\r\n")
        if not self.recipient:
            self.expect_refusal(event, OUT_OF_ORDER)
            return
        assert isinstance(event, events.Data), "DATA needs an accepted recipient, and no more"
        self.answer(taken)
        if not taken:
            return
        end = self.say(text + b".\r\n")
        assert isinstance(end, events.EndOfData)
        self.answer(accepted)
        self.sender = self.recipient = False
        self.closed = end.fault is DataFault.FALSE_END

    @precondition(lambda self: not self.closed)
    @rule()
    def resets(self) -> None:
        assert isinstance(self.say(b"RSET\r\n"), events.Reset)
        assert self.server.data_to_send() == b"250 2.0.0 Reset\r\n"
        self.sender = self.recipient = False

    @precondition(lambda self: not self.closed)
    @rule(accepted=answers)
    def starts_tls(self, accepted: bool) -> None:
        event = self.say(b"STARTTLS\r\n")
        if not self.hello or self.sender:
            self.expect_refusal(event, OUT_OF_ORDER)
        elif not self.server.offers.starttls:
            self.expect_refusal(event, REFUSED)
        else:
            assert isinstance(event, events.StartTls)
            self.answer(accepted)
            if accepted:
                self.server.restart(Offers(1000, auth=("PLAIN", "LOGIN", "CRAM-MD5")))
                self.hello = self.authenticated = False

    @precondition(lambda self: not self.closed)
    @rule(
        exchange=st.sampled_from(
            [
                [b"AUTH PLAIN AGEAYg=="],
                [b"AUTH PLAIN", b"AGEAYg=="],
                [b"AUTH LOGIN", b"YQ==", b"Yg=="],
                [b"AUTH CRAM-MD5", b"YSA5MzYwMjdhYzM4YmE1YzE0NmQ4NGQ1MzBiZGM1Yzc2Ng=="],
            ]
        ),
        spoiled=st.sampled_from([b"*", b"!", b"a\rb", b"x" * 13_000, None]),
        accepted=answers,
    )
    def authenticates(self, exchange: list[bytes], spoiled: bytes | None, accepted: bool) -> None:
        event = self.say(exchange[0] + b"\r\n")
        if not self.hello or self.sender or self.authenticated:
            self.expect_refusal(event, OUT_OF_ORDER)
            return
        for line in exchange[1:]:
            assert isinstance(event, events.Challenge)
            assert re.fullmatch(rb"334 [A-Za-z0-9+/=]*\r\n", self.server.data_to_send())
            assert not self.server.is_idle
            if spoiled is not None:
                self.expect_refusal(self.say_at_once(spoiled), REFUSED)
                return
            event = self.say(line + b"\r\n")
        assert isinstance(event, events.Auth)
        self.answer(accepted)
        self.authenticated |= accepted

    @precondition(lambda self: not self.closed)
    @rule(command=st.sampled_from([b"NOOP", b"HELP", b"VRFY x", b"NOOP x y"]))
    def talks_idly(self, command: bytes) -> None:
        assert isinstance(self.say(command + b"\r\n"), events.NoOp)
        assert self.server.data_to_send().startswith(b"2")

    @precondition(lambda self: not self.closed)
    @rule(
        command=st.sampled_from([b"", b"EXPN x", b"WHAT", b"EHLO", b"\xff", b"BDAT 1", b"VRFY", b"a\nb", b"x" * 5000])
    )
    def talks_nonsense(self, command: bytes) -> None:
        server, cut, self.cut = self.server, self.cut, 10_000
        server.feed(command + b"\r\n")
        while (event := server.next_event()) is not None:
            assert isinstance(event, events.RejectedCommand)
        assert re.fullmatch(rb"(?:5\d\d 5\.\d\.\d [^\r\n]+\r\n)+", server.data_to_send())
        self.cut = cut

    @precondition(lambda self: not self.closed)
    @rule(how=st.sampled_from([b"QUIT", b"GET / HTTP/1.1"]))
    def leaves(self, how: bytes) -> None:
        assert isinstance(self.say(how + b"\r\n"), events.Quit | events.RejectedCommand)
        assert self.server.data_to_send()[:4] in (b"221 ", b"421 ")
        self.closed = True

    @precondition(lambda self: self.closed)
    @rule(octets=st.sampled_from([HELLO + b"\r\n", b"\r\n.\r\n", MAIL + b"\r\n" + RCPT + b"\r\n"]))
    def talks_on_after_the_end(self, octets: bytes) -> None:
        assert self.say(octets) is None
        assert self.server.data_to_send() == b""

    @invariant()
    def says_what_it_is(self) -> None:
        assert self.server.is_closing == self.closed
        assert self.server.authenticated == self.authenticated
        assert self.server.is_idle == (not self.sender and not self.closed)
        assert self.server.buffered == 0


TestSessionModel = SessionModel.TestCase
TestSessionModel.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
