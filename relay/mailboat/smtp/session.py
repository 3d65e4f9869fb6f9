"""The server's side of one SMTP session as a state machine (RFC 5321 4.1.4): octets in, events and replies out.

`ingress.connection` feeds it, gets events one at a time, and answers those that need a decision with `answer`; until
then `next_event` returns None, and pipelined commands wait in the buffer. Replies collect in `data_to_send`, so that a
pipelined group is answered in one write (RFC 2920 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mailboat.smtp import grammar, sasl
from mailboat.smtp.data import DataFault, DataReceiver
from mailboat.smtp.events import (
    Auth,
    Challenge,
    Chunk,
    Data,
    EndOfData,
    Event,
    Hello,
    Mail,
    NoOp,
    Quit,
    Rcpt,
    RejectedCommand,
    Reset,
    StartTls,
)
from mailboat.smtp.extensions import Offers, ehlo_reply, mail_parameters, rcpt_parameters, smtputf8
from mailboat.smtp.grammar import GrammarError
from mailboat.smtp.lines import MAX_AUTH_LINE, MAX_COMMAND_LINE, LineBuffer, LineFault
from mailboat.smtp.states import NEXT, SessionState, Trigger


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits of a client's input, and the handling of bare newlines."""

    line: int = 65_536
    """Octets of a line of a message."""
    normalize_newlines: bool = False


_NEXT_IF_ACCEPTED: Mapping[type[Event], Mapping[SessionState, SessionState]] = {
    Hello: NEXT[Trigger.HELLO],
    Mail: NEXT[Trigger.MAIL],
    Rcpt: NEXT[Trigger.RCPT],
    Data: NEXT[Trigger.DATA],
    StartTls: NEXT[Trigger.STARTTLS],
    Auth: NEXT[Trigger.AUTH],
}


@dataclass(frozen=True, slots=True)
class _Command:
    handler: Callable[[ServerSession, str], Event]
    trigger: Trigger
    """Its row in the table of states."""
    otherwise: str = "503 5.5.1 Send EHLO or HELO first"
    """The reply in any other state."""
    allowed: Mapping[SessionState, SessionState] = field(init=False)
    """The states that the table allows it in, each with the next one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed", NEXT[self.trigger])


@dataclass(slots=True)
class ServerSession:
    """One client's session. Not for use from two tasks at once."""

    host: str
    limits: SessionLimits
    offers: Offers
    state: SessionState = SessionState.NEW
    extended: bool = False
    """The client sent EHLO, not HELO."""
    authenticated: bool = False
    ticket: Callable[[], bytes] = lambda: b""
    """Makes a challenge that was never used before: `<unique@host>` (RFC 2195 2)."""
    bare_paths: Callable[[], bool] = lambda: False
    """Whether addresses without angle brackets are accepted from this client now."""
    _lines: LineBuffer = field(default_factory=LineBuffer)
    _receiver: DataReceiver | None = None
    _data_input: bytes = field(default=b"", repr=False)
    _output: list[bytes] = field(default_factory=list, repr=False)
    _utf8: bool = False
    """MAIL of this transaction carried SMTPUTF8."""
    _exchange: sasl.Exchange | None = None
    """AUTH that is under way."""
    _awaiting: Event | None = None
    """The event whose answer is due."""

    def feed(self, data: bytes) -> None:
        """Add octets from the client."""
        if self.state is SessionState.DATA:
            self._data_input = self._data_input + data if self._data_input else data
        elif self.state is not SessionState.CLOSING:
            self._lines.feed(data)

    def next_event(self) -> Event | None:
        """The next event for the owner; None: more octets, or the answer to the last event, are needed."""
        if self._awaiting is None and self.state is not SessionState.CLOSING:
            if self.state is SessionState.DATA:
                return self._next_data_event()
            exchange = self._exchange
            line = self._lines.next_line(self._line_limit() if exchange or self.offers.auth else MAX_COMMAND_LINE)
            if line is None:
                return None
            event = self._command(line) if exchange is None else self._response(line, exchange)
            if type(event) in _ANSWERED:
                self._awaiting = event
            return event
        return None

    def answer(self, reply: bytes, *, accepted: bool) -> None:
        """Answer the last event with a whole reply, CRLF included; `accepted` moves the session on."""
        event, self._awaiting = self._awaiting, None
        self._output.append(reply)
        if isinstance(event, EndOfData):
            if event.fault is DataFault.FALSE_END:
                self._move(Trigger.FALSE_END)
        elif accepted and event is not None:
            self._advance(event)

    def _move(self, trigger: Trigger) -> None:
        self.state = NEXT[trigger][self.state]

    def _advance(self, event: Event) -> None:
        kind = type(event)
        self.state = _NEXT_IF_ACCEPTED[kind][self.state]
        if kind is Data:
            self._receiver = DataReceiver(self.limits.line, normalize=self.limits.normalize_newlines)
            self._data_input = self._lines.read_all()
        elif kind is Auth:
            self.authenticated = True
        elif kind is StartTls:
            # Plaintext after STARTTLS is discarded (RFC 3207 4.2).
            self._lines.clear()

    def greet(self) -> None:
        """Put the 220 greeting in the output."""
        self._output.append(f"220 {self.host} ESMTP Mailboat\r\n".encode())

    def ehlo(self) -> bytes:
        """The reply that accepts the last Hello."""
        if self.extended:
            return ehlo_reply(self.host, "at your service", self.offers)
        return f"250 {self.host}\r\n".encode()

    def restart(self, offers: Offers) -> None:
        """Restart inside TLS: the client must send EHLO again, and AUTH (RFC 3207 4.2)."""
        self._lines.clear()
        self.offers = offers
        self._move(Trigger.TLS)
        self.extended = False
        self.authenticated = False

    def close(self, reply: bytes) -> None:
        """Send `reply` (such as 421) and read no more."""
        self._output.append(reply)
        self._awaiting = None
        self._move(Trigger.CLOSE)

    def data_to_send(self) -> bytes:
        """The octets to write to the client now."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    @property
    def is_idle(self) -> bool:
        """Whether no transaction is under way and no answer is due."""
        return self._awaiting is None and self.state in (SessionState.NEW, SessionState.READY)

    @property
    def is_closing(self) -> bool:
        """Nothing more will be read: close when the output is sent."""
        return self.state is SessionState.CLOSING

    @property
    def buffered(self) -> int:
        """Octets that are not parsed yet: the owner stops reading if there are too many."""
        return len(self._data_input) + len(self._lines)

    def _next_data_event(self) -> Event | None:
        receiver = self._receiver
        if receiver is None or not self._data_input:
            return None
        octets, rest = receiver.feed(self._data_input)
        self._data_input = b""
        if rest is None and receiver.fault is not DataFault.FALSE_END:
            return Chunk(octets)
        self._receiver = None
        self._move(Trigger.END_OF_DATA)
        self._lines.feed(rest or b"")
        self._awaiting = EndOfData(octets, receiver.fault)
        return self._awaiting

    def _line_limit(self) -> int:
        """The longest line that may come now, where AUTH is offered."""
        may_be_long = self._exchange is not None or self._lines.begins_with(b"AUTH ")
        return MAX_AUTH_LINE if may_be_long else MAX_COMMAND_LINE

    def _command(self, line: bytes | LineFault) -> Event:
        if isinstance(line, LineFault):
            return self._refuse(_LINE_REPLIES[line], line.name.lower())
        verb, _, argument = line.partition(b" ")
        command = COMMANDS.get(verb.upper())
        if command is None:
            return self._unknown(verb.upper())
        if self.state not in command.allowed:
            return self._refuse(command.otherwise, "sequence")
        try:
            return command.handler(self, argument.decode("utf-8"))
        except GrammarError as error:
            return self._refuse(error.reply, "auth" if isinstance(error, sasl.SaslError) else "syntax")
        except UnicodeDecodeError:
            return self._refuse("501 5.5.4 Command is not UTF-8", "syntax")

    def _unknown(self, verb: bytes) -> RejectedCommand:
        if verb in _HTTP_METHODS:
            self.close(f"{_NOT_HTTP}\r\n".encode())
            return RejectedCommand(_NOT_HTTP, "syntax")
        return self._refuse("500 5.5.2 Command not recognized", "syntax")

    def _refuse(self, reply: str, kind: str) -> RejectedCommand:
        self._say(reply)
        return RejectedCommand(reply, kind)

    def _say(self, reply: str) -> None:
        self._output.append(f"{reply}\r\n".encode())

    def _hello(self, argument: str, *, extended: bool) -> Event:
        name = argument.strip()
        if not _is_hello_name(name):
            return self._refuse("501 5.5.4 Syntax: EHLO hostname", "syntax")
        self._move(Trigger.RESET)  # RFC 5321 4.1.4: an EHLO in mid-transaction is a RSET
        self.extended = extended
        return Hello(name, extended)

    def _mail(self, argument: str) -> Event:
        if argument[:5].upper() != "FROM:":
            raise GrammarError("501 5.5.4 Syntax: MAIL FROM:<address>")
        path, rest = grammar.split_path(argument[5:], bare=self.bare_paths())
        parameters = mail_parameters(rest, self.offers) if rest else {}
        sender = grammar.parse_sender(path)
        utf8 = smtputf8.is_declared(parameters)
        self._check_utf8(path, utf8)
        self._utf8 = utf8
        return Mail(sender, parameters)

    def _rcpt(self, argument: str) -> Event:
        if argument[:3].upper() != "TO:":
            raise GrammarError("501 5.5.4 Syntax: RCPT TO:<address>")
        path, rest = grammar.split_path(argument[3:], bare=self.bare_paths())
        parameters = rcpt_parameters(rest, self.offers) if rest else {}
        if path.lower() == "postmaster":  # RFC 5321 4.5.1: taken without a domain, and then it is this host's
            path = f"{path}@{self.host}"
        recipient = grammar.parse_address(path)
        self._check_utf8(path, self._utf8)
        return Rcpt(recipient, parameters)

    @staticmethod
    def _check_utf8(path: str, declared: bool) -> None:
        if not declared and not path.isascii():
            raise GrammarError("553 5.6.7 Non-ASCII address needs SMTPUTF8")

    def _data(self, argument: str) -> Event:
        if argument.strip():
            return self._refuse("501 5.5.4 Syntax: no parameters allowed", "syntax")
        return Data()

    def _starttls(self, argument: str) -> Event:
        if argument.strip():
            return self._refuse("501 5.5.4 Syntax: no parameters allowed", "syntax")
        if not self.offers.starttls:
            return self._refuse("502 5.5.1 STARTTLS is not available", "sequence")
        return StartTls()

    def _auth(self, argument: str) -> Event:
        if self.authenticated:
            return self._refuse("503 5.5.1 Already authenticated", "sequence")  # RFC 4954 4
        if not self.extended:
            return self._refuse("503 5.5.1 Send EHLO first", "sequence")
        exchange = sasl.Exchange()
        return self._auth_step(exchange, exchange.begin(argument, self.offers, self.ticket))

    def _response(self, line: bytes | LineFault, exchange: sasl.Exchange) -> Event:
        """The client's answer to a challenge. A fault ends the exchange."""
        self._exchange = None
        self._move(Trigger.RESPONSE)
        if isinstance(line, LineFault):
            return self._refuse(_RESPONSE_REPLIES[line], "auth")
        try:
            return self._auth_step(exchange, exchange.respond(line))
        except sasl.SaslError as error:
            return self._refuse(error.reply, "auth")

    def _auth_step(self, exchange: sasl.Exchange, step: bytes | sasl.SaslCredentials) -> Event:
        if isinstance(step, sasl.SaslCredentials):
            return Auth(step)
        self._exchange = exchange
        self._move(Trigger.CHALLENGE)
        self._output.append(step)
        return Challenge()

    def _rset(self, _: str) -> Event:
        self._move(Trigger.RESET)
        self._say("250 2.0.0 Reset")
        return Reset()

    def _quit(self, _: str) -> Event:
        self._say(f"221 2.0.0 {self.host} closing connection")
        self._move(Trigger.QUIT)
        return Quit()

    def _vrfy(self, argument: str) -> Event:
        if not argument.strip():
            return self._refuse("501 5.5.4 Syntax: VRFY address", "syntax")
        return self._fixed("252 2.5.2 Cannot verify, but will try to deliver")  # RFC 5321 3.5.3

    def _fixed(self, reply: str) -> Event:
        self._say(reply)
        return NoOp()


def _is_hello_name(name: str) -> bool:
    """Printable, no spaces: a stricter rule refuses real clients, a looser one would damage the trace header."""
    return 0 < len(name) <= 255 and name.isprintable() and " " not in name


_ANSWERED = (Hello, Mail, Rcpt, Data, EndOfData, StartTls, Auth)
_LINE_REPLIES = {
    LineFault.TOO_LONG: "500 5.5.2 Line too long",
    LineFault.BARE_NEWLINE: "500 5.5.2 Line must end with CRLF, and hold no other CR or LF",
}
_RESPONSE_REPLIES = {
    LineFault.TOO_LONG: "500 5.5.6 Authentication exchange line is too long",  # RFC 4954 6
    LineFault.BARE_NEWLINE: _LINE_REPLIES[LineFault.BARE_NEWLINE],
}
_HTTP_METHODS = frozenset(
    {b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PRI", b"PUT", b"TRACE"}
)
"""A web page may make a browser on an address that may relay connect here, with a request body of its choice: such a
client is disconnected."""
_NOT_HTTP = "421 4.7.0 This is SMTP, not HTTP"

COMMANDS: dict[bytes, _Command] = {
    b"EHLO": _Command(lambda s, a: s._hello(a, extended=True), Trigger.HELLO),
    b"HELO": _Command(lambda s, a: s._hello(a, extended=False), Trigger.HELLO),
    b"MAIL": _Command(ServerSession._mail, Trigger.MAIL, "503 5.5.1 Send EHLO first, and one MAIL a transaction"),
    b"RCPT": _Command(ServerSession._rcpt, Trigger.RCPT, "503 5.5.1 MAIL first"),
    b"DATA": _Command(ServerSession._data, Trigger.DATA, "503 5.5.1 No valid recipients"),
    b"RSET": _Command(ServerSession._rset, Trigger.RESET),
    b"NOOP": _Command(lambda s, _: s._fixed("250 2.0.0 OK"), Trigger.REMARK),
    b"QUIT": _Command(ServerSession._quit, Trigger.QUIT),
    b"VRFY": _Command(ServerSession._vrfy, Trigger.REMARK),
    b"HELP": _Command(lambda s, _: s._fixed(_HELP), Trigger.REMARK),
    b"STARTTLS": _Command(
        ServerSession._starttls, Trigger.STARTTLS, "503 5.5.1 STARTTLS belongs behind EHLO, before MAIL"
    ),
    b"AUTH": _Command(ServerSession._auth, Trigger.AUTH, "503 5.5.1 AUTH belongs behind EHLO, before MAIL"),
    b"EXPN": _Command(lambda s, _: s._refuse("502 5.5.1 There are no lists here to expand", "syntax"), Trigger.REMARK),
}
"""Every command, its row in the table of states, and what is answered where that does not allow it (RFC 5321 4.1.4)."""
_HELP: str = "214 2.0.0 " + " ".join(verb.decode() for verb in COMMANDS if verb != b"EXPN")
