"""`mailboat send`: submit one mail, by SMTP or over a relay's admin API, and say what the server answered to it.

A client for people and scripts, not the relay's: it knows nothing of queues and retries. aiosmtplib speaks SMTP.
Called by the `mailboat` command.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import aiosmtplib
import cyclopts

from mailboat.cli.endpoint import parse_endpoint
from mailboat.cli.post import AdminEndpoint, post
from mailboat.config.settings import Endpoint
from mailboat.message.headers import separator_as_field
from mailboat.message.received import rfc5322_date
from mailboat.message.text import crlf, header_field
from mailboat.metrics.text import printable
from mailboat.model.address import Address
from mailboat.model.clock import SystemClock
from mailboat.smtp.grammar import GrammarError, parse_address, parse_sender

_SERVER = "127.0.0.1:2525"
_STEP_SECONDS = 60.0
_DOT_SECONDS = 600.0  # RFC 5321 4.5.3.2.6: the server may have the message already
_MAX_SIZE = 512 * 2**20
_HAS_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:")


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """What is sent, to whom, and over which connection."""

    server: Endpoint
    sender: Address
    recipients: Sequence[Address]
    body: bytes = field(repr=False)
    """With CRLF line ends, not dot-stuffed."""
    tls: ssl.SSLContext | None = None
    """STARTTLS with this context; None: plain text."""
    user: str = ""
    password: str = ""

    @property
    def needs_utf8(self) -> bool:
        """Whether an address cannot be written without SMTPUTF8 (RFC 6531)."""
        return not all(address.is_ascii for address in (self.sender, *self.recipients))


def send(
    file: Annotated[str | None, cyclopts.Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    to: Annotated[list[str], cyclopts.Parameter(negative="")],
    sender: Annotated[str, cyclopts.Parameter(name="--from")],
    server: str = "",
    api: str = "",
    token_file: Path | None = None,
    subject: str = "Test by mailboat send",
    test: bool = False,
    tls: bool = False,
    ca: Path | None = None,
    insecure: bool = False,
    user: str = "",
    password_file: Path | None = None,
) -> int:
    """Submit a mail by SMTP, or over HTTP with --api, and print the reply.

    Parameters
    ----------
    file
        The mail, `-` for standard input. Without it standard input, or a short test mail on a terminal.
    to
        Recipient; may be given several times.
    sender
        Sender; `<>` for the null sender.
    server
        HOST:PORT of the server; 127.0.0.1:2525 where neither it nor --api is given.
    api
        Hand the mail to the admin API of a relay at this URL, such as http://127.0.0.1:9025, instead.
    token_file
        File with the API's bearer token.
    subject
        Subject, where the mail has no header.
    test
        Send the short test mail whatever standard input is.
    tls
        Ask for STARTTLS, and verify the certificate.
    ca
        CA bundle to verify against, PEM, instead of the system's.
    insecure
        Do not verify the certificate.
    user
        User name for AUTH.
    password_file
        File with the password.
    """
    try:
        _one_way(api, token_file, by_smtp=bool(server or tls or user))
        envelope = _sender(sender), [_recipient(address) for address in to]
        mail = _mail(_content(file, test=test), sender, to, subject)
        if api:
            return post(AdminEndpoint.of(api, token_file, lambda: _context(ca, verify=not insecure)), *envelope, mail)
        context, password = _context(ca, verify=not insecure) if tls else None, _password(user, password_file)
        submission = OutgoingMail(parse_endpoint(server or _SERVER, 25), *envelope, mail, context, user, password)
    except (ValueError, OSError) as error:
        print(f"mailboat send: {error}", file=sys.stderr)
        return os.EX_USAGE if isinstance(error, ValueError) else os.EX_NOINPUT
    return asyncio.run(submit(submission))


def _one_way(api: str, token_file: Path | None, *, by_smtp: bool) -> None:
    if api and by_smtp:
        raise ValueError("--api contradicts --server, --tls and --user")
    if token_file is not None and not api:
        raise ValueError("--token-file goes with --api")


async def submit(submission: OutgoingMail) -> int:
    """Send it, print every reply that a person wants to see, and return the exit code."""
    client = aiosmtplib.SMTP(
        hostname=submission.server.host,
        port=submission.server.port,
        # Our own answer to "who are you": the library's would look the name up in DNS.
        local_hostname=socket.gethostname() or "localhost",
        timeout=_STEP_SECONDS,
        start_tls=False,
    )
    try:
        await client.connect()
        if submission.tls:
            await client.starttls(tls_context=submission.tls, server_hostname=submission.server.host)
        if submission.user:
            await client.login(submission.user, submission.password)
        return await _transact(client, submission)
    except aiosmtplib.SMTPResponseException as error:
        return _refused(error)
    except (aiosmtplib.SMTPException, OSError) as error:
        _complain(f"{submission.server}: {error}")
        return os.EX_TEMPFAIL
    finally:
        await _leave(client)


async def _transact(client: aiosmtplib.SMTP, submission: OutgoingMail) -> int:
    await client.ehlo()
    utf8 = submission.needs_utf8
    if utf8 and not client.supports_extension("smtputf8"):
        _complain(f"{submission.server} does not offer SMTPUTF8, which an address needs")
        return os.EX_UNAVAILABLE
    options = [f"SIZE={len(submission.body)}"] if client.supports_extension("size") else []
    if client.supports_extension("8bitmime") and not submission.body.isascii():
        options.append("BODY=8BITMIME")
    if utf8:
        options.append("SMTPUTF8")
    encoding = "utf-8" if utf8 else "ascii"
    await client.mail(_spelt(submission.sender, utf8), options=options, encoding=encoding)
    worst = os.EX_OK
    accepted = 0
    for recipient in submission.recipients:
        try:
            await client.rcpt(_spelt(recipient, utf8), encoding=encoding)
            accepted += 1
        except aiosmtplib.SMTPRecipientRefused as error:
            worst = max(worst, _refused(error, f"<{recipient}>: "))
    if accepted:
        code, text = await client.data(submission.body, timeout=_DOT_SECONDS)
        print(printable(f"{code} {_one_line(text)}"))
    return worst


def _spelt(address: Address, utf8: bool) -> str:
    """The domain as A-labels unless the transaction is SMTPUTF8 anyway."""
    return str(address) if utf8 else address.wire


def _refused(error: aiosmtplib.SMTPResponseException, about: str = "") -> int:
    _complain(f"{about}{error.code} {_one_line(error.message)}")
    return os.EX_UNAVAILABLE if error.code >= 500 else os.EX_TEMPFAIL


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Say QUIT if the connection is still open; the mail has been decided already."""
    try:
        if client.is_connected:
            await client.quit(timeout=5)
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        client.close()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _complain(text: str) -> None:
    print(f"mailboat send: {printable(text)}", file=sys.stderr)


def _recipient(text: str) -> Address:
    try:
        return parse_address(_bare(text))
    except GrammarError as error:
        raise ValueError(f"--to {text!r}: {error.reply.split(' ', 2)[2]}") from None


def _sender(text: str) -> Address:
    try:
        return parse_sender(_bare(text))
    except GrammarError as error:
        raise ValueError(f"--from {text!r}: {error.reply.split(' ', 2)[2]}") from None


def _bare(text: str) -> str:
    return text.strip().removeprefix("<").removesuffix(">")


def _content(file: str | None, *, test: bool) -> bytes | None:
    """The mail as given; None: make a test mail."""
    if test:
        return None
    if file is None and sys.stdin.isatty():
        print("mailboat send: no FILE given; sending a short test mail", file=sys.stderr)
        return None
    if file is None or file == "-":
        content = sys.stdin.buffer.read(_MAX_SIZE + 1)
    else:
        with Path(file).open("rb") as opened:
            content = opened.read(_MAX_SIZE + 1)
    if len(content) > _MAX_SIZE:
        raise ValueError(f"the mail is larger than {_MAX_SIZE} octets")
    return content


def _mail(content: bytes | None, sender: str, to: Sequence[str], subject: str) -> bytes:
    """The whole mail: CRLF line ends, the last line whole, a header in any case."""
    body = crlf(b"This is a test.\n" if content is None else content)
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"  # RFC 5321 4.1.1.4: a mail ends with a whole line
    body = separator_as_field(body)
    if _HAS_HEADER.match(body):
        return body
    utf8 = not all(text.isascii() for text in (sender, *to))
    head = [
        header_field("From", _bare(sender) or "MAILER-DAEMON", utf8=utf8),
        header_field("To", ", ".join(map(_bare, to)), utf8=utf8),
        header_field("Subject", subject, utf8=utf8),
        header_field("Date", rfc5322_date(SystemClock.now()).decode()),
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n",
        b"Content-Transfer-Encoding: %s\r\n\r\n" % (b"7bit" if body.isascii() else b"8bit"),
    ]
    return b"".join(head) + body.removeprefix(b"\r\n")


def _context(ca: Path | None, *, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ValueError(f"--ca {ca}: {error}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _password(user: str, file: Path | None) -> str:
    if bool(user) != (file is not None):
        raise ValueError("--user and --password-file go together")
    return file.read_text().rstrip("\r\n") if file else ""
