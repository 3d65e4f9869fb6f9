"""SASL as a server speaks it inside AUTH: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), base64 and all (RFC 4954 4).

An exchange gets the client's lines and returns challenges, and at its end the credentials, which a plugin checks. Knows
no session state; called by `smtp.session`.
"""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from mailboat.smtp.extensions import Offers
from mailboat.smtp.grammar import GrammarError


class SaslError(GrammarError):
    """The exchange is over without credentials. `reply` is the whole reply for it, without CRLF."""


_MALFORMED = "501 5.5.2 Malformed authentication input"
_NOT_BASE64 = "501 5.5.2 Cannot decode base64"


@dataclass(frozen=True, slots=True)
class SaslCredentials:
    """A client's user name and its proof."""

    mechanism: str
    user: str
    password: str | None = field(default=None, repr=False)
    """In clear text, from PLAIN and LOGIN; None from CRAM-MD5, which does not send it."""
    authorize_as: str = ""
    """The other identity that PLAIN may ask to act as; empty: the user itself."""
    ticket: bytes = b""
    """The challenge of CRAM-MD5."""
    digest: str = field(default="", repr=False)
    """The answer to it: 32 hexadecimal digits."""

    def matches(self, secret: str) -> bool:
        """Whether `secret` is the user's password in clear text, compared in constant time."""
        if self.password is not None:
            return hmac.compare_digest(self.password.encode(), secret.encode())
        expected = hmac.new(secret.encode(), self.ticket, "md5").hexdigest()
        return hmac.compare_digest(self.digest.encode(), expected.encode())


Steps = Generator[bytes, bytes, SaslCredentials]
"""Yields challenges, is sent responses, returns the credentials."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One way to authenticate."""

    steps: Callable[[bytes], Steps]
    """Begins an exchange; the argument is a ticket that was never used before."""
    shows_password: bool
    """Reveals the password to an eavesdropper: for TLS only."""
    client_first: bool = True
    """Whether the client may send an initial response."""


def _plain(_: bytes) -> Steps:
    message = yield b""
    parts = message.split(b"\0")  # RFC 4616 2
    if len(parts) != 3:
        raise SaslError(_MALFORMED)
    authorize_as, user, password = (_text(part) for part in parts)
    return SaslCredentials("PLAIN", _name(user), _secret(password), authorize_as)


def _login(_: bytes) -> Steps:
    user = _name(_text((yield b"Username:")))
    return SaslCredentials("LOGIN", user, _secret(_text((yield b"Password:"))))


def _cram_md5(ticket: bytes) -> Steps:
    response = _text((yield ticket))
    user, _, digest = response.rpartition(" ")  # RFC 2195 2: a user name may hold blanks
    if len(digest) != 32 or not set(digest) <= set("0123456789abcdefABCDEF"):
        raise SaslError(_MALFORMED)
    return SaslCredentials("CRAM-MD5", _name(user), ticket=ticket, digest=digest.lower())


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise SaslError(_MALFORMED) from None


def _name(user: str) -> str:
    if not user or not user.isprintable():
        raise SaslError(_MALFORMED)
    return user


def _secret(password: str) -> str:
    if not password or "\0" in password:
        raise SaslError(_MALFORMED)
    return password


MECHANISMS = {
    "PLAIN": Mechanism(_plain, shows_password=True),
    "LOGIN": Mechanism(_login, shows_password=True),
    "CRAM-MD5": Mechanism(_cram_md5, shows_password=False, client_first=False),
}
"""The supported mechanisms; plugins decide which are offered."""


class Exchange:
    """One AUTH command and the lines behind it."""

    def __init__(self) -> None:
        self._steps: Steps

    def begin(self, argument: str, offers: Offers, ticket: Callable[[], bytes]) -> bytes | SaslCredentials:
        """Take `mechanism [initial-response]`; the first challenge, or the end.

        Challenges are whole replies with their CRLF. `ticket` makes what CRAM-MD5 has digested. Raises SaslError.
        """
        name, _, initial = argument.strip(" ").partition(" ")
        if not name or " " in initial:
            raise SaslError("501 5.5.4 Syntax: AUTH mechanism [initial-response]")
        mechanism = _choose(name.upper(), offers)
        self._steps = mechanism.steps(ticket())
        challenge = next(self._steps)
        if not initial:
            return _challenge(challenge)
        if not mechanism.client_first:
            raise SaslError("501 5.7.0 This mechanism takes no initial response")  # RFC 4954 4
        return self._send(b"" if initial == "=" else _decode(initial.encode()))

    def respond(self, line: bytes) -> bytes | SaslCredentials:
        """Take the client's next line; the next challenge, or the end. Raises SaslError."""
        if line == b"*":
            raise SaslError("501 5.7.0 Authentication cancelled")  # RFC 4954 4
        return self._send(_decode(line))

    def _send(self, response: bytes) -> bytes | SaslCredentials:
        try:
            return _challenge(self._steps.send(response))
        except StopIteration as end:
            credentials: SaslCredentials = end.value
            return credentials


def _challenge(octets: bytes) -> bytes:
    return b"334 %b\r\n" % binascii.b2a_base64(octets, newline=False)


def _decode(line: bytes) -> bytes:
    try:
        # RFC 4648 3.2 requires padding; some clients omit it, which is unambiguous.
        return binascii.a2b_base64(line + b"=" * (-len(line) % 4), strict_mode=True)
    except binascii.Error:
        raise SaslError(_NOT_BASE64) from None


def _choose(name: str, offers: Offers) -> Mechanism:
    """The mechanism that a client asks for. Raises SaslError where it is not offered."""
    if offers.auth is None:
        raise SaslError("502 5.5.1 AUTH is not available")
    mechanism = MECHANISMS.get(name)
    if mechanism is not None and name in offers.auth:
        return mechanism
    if mechanism is not None and mechanism.shows_password and offers.starttls:
        raise SaslError("538 5.7.11 Encryption required for this mechanism: STARTTLS first")  # RFC 4954 6
    raise SaslError("504 5.5.4 Authentication mechanism is not offered")  # RFC 4954 4
