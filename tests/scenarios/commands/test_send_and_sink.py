"""`mailboat send` and `mailboat sink` talk to each other, and to clients and servers that behave otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtplib
import pytest
from tests.support.facts import T0
from tests.support.pem import self_signed

from mailboat.cli import sink as sink_module
from mailboat.cli.send import OutgoingMail, submit
from mailboat.cli.sink import SinkMail, line_of, serve
from mailboat.config.settings import Endpoint
from mailboat.smtp.grammar import parse_address, parse_sender

MAILBOAT = (sys.executable, "-c", "from mailboat.cli import main; main()")


@pytest.fixture
def mails() -> list[SinkMail]:
    return []


@pytest.fixture
async def sink(mails: list[SinkMail]) -> AsyncIterator[Endpoint]:
    """A sink on a free port."""
    server = await serve(Endpoint("127.0.0.1", 0), mails.append)
    yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()


async def command(*args: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run `mailboat ARGS`: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        *MAILBOAT,
        *args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with a key and a self-signed certificate for `localhost`."""
    file = tmp_path / "localhost.pem"
    file.write_bytes(b"".join(self_signed("localhost")))
    return file


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def dialogue(where: Endpoint, *pieces: bytes) -> bytes:
    """Send pieces one after the other as they are; everything that came back until the server closed."""
    reader, writer = await asyncio.open_connection(where.host, where.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def test_what_is_piped_in_arrives_with_a_header_and_its_last_line(sink: Endpoint, mails: list[SinkMail]) -> None:
    status, out, err = await command(
        *("send", "--to", "bob@example.net", "--to", "carol@example.net", "--from", "alice@example.org"),
        *("--server", str(sink), "--subject", "Grüße"),
        stdin=b"one\n.two\nthree without an end",
    )
    assert (status, out, err) == (0, "250 2.0.0 Ok: thrown away\n", "")
    (mail,) = mails
    assert mail.sender == "alice@example.org"
    assert mail.recipients == ["bob@example.net", "carol@example.net"]
    head, _, body = mail.body.partition(b"\r\n\r\n")
    assert body == b"one\r\n.two\r\nthree without an end\r\n"
    fields = head.split(b"\r\n")
    assert b"From: alice@example.org" in fields
    assert b"To: bob@example.net, carol@example.net" in fields
    assert b"Date: " in head
    assert line_of(mail, T0).endswith("'Grüße'")


async def test_a_file_with_a_header_is_sent_as_it_is(sink: Endpoint, mails: list[SinkMail], tmp_path: Path) -> None:
    file = tmp_path / "mail.eml"
    file.write_bytes("Subject: as it is\n\näöü\r\n\r\nend\n".encode())
    status, _, _ = await command("send", "--to", "b@example.net", "--from", "<>", "--server", str(sink), str(file))
    assert status == 0
    assert mails[0].body == "Subject: as it is\r\n\r\näöü\r\n\r\nend\r\n".encode()
    assert mails[0].sender == ""


async def test_a_mail_out_of_an_mbox_file_keeps_its_header(sink: Endpoint, mails: list[SinkMail]) -> None:
    separator, mail = b"From shop@example.org Mon Nov 23 01:02:03 2026\n", b"Subject: Order 17\nDate: d\n\nhello\n"
    words = ("send", "--to", "b@example.net", "--from", "a@b.c", "--server", str(sink))
    status, _, _ = await command(*words, stdin=separator + mail)
    assert status == 0
    assert mails[0].body == (b"X-Mailbox-Line: " + separator + mail).replace(b"\n", b"\r\n")


async def test_a_test_mail_needs_no_input(sink: Endpoint, mails: list[SinkMail]) -> None:
    status, _, _ = await command("send", "--test", "--to", "b@example.net", "--from", "a@b.c", "--server", str(sink))
    assert status == 0
    assert b"This is a test." in mails[0].body


async def test_a_dash_is_standard_input(sink: Endpoint, mails: list[SinkMail]) -> None:
    status, _, _ = await command(
        "send", "--to", "b@example.net", "--from", "a@b.c", "--server", str(sink), "-", stdin=b"Subject: x\n\ny\n"
    )
    assert status == 0
    assert mails[0].body == b"Subject: x\r\n\r\ny\r\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--to", "nonsense", "--from", "a@b.c"), "--to 'nonsense': Address needs a local part and a domain"),
        (("--to", "a@b.c\r\nX: y", "--from", "a@b.c"), "--to "),
        (("--to", "a@b.c", "--from", "@"), "--from '@': "),
        (("--to", "a@b.c", "--from", "a@b.c", "--server", "h:x"), "'h:x' is not HOST:PORT: 'x' is no port"),
        (("--to", "a@b.c", "--from", "a@b.c", "--user", "u"), "--user and --password-file go together"),
    ],
)
async def test_wrong_arguments_are_named(args: tuple[str, ...], said: str) -> None:
    status, out, err = await command("send", "--test", *args)
    assert (status, out) == (os.EX_USAGE, "")
    assert err.startswith(f"mailboat send: {said}")


async def test_a_file_that_is_not_there_is_exit_66() -> None:
    status, _, err = await command("send", "--to", "a@b.c", "--from", "a@b.c", "/nonexistent/mail")
    assert status == os.EX_NOINPUT
    assert "/nonexistent/mail" in err


def submission(where: Endpoint, to: str = "bob@example.net", tls: ssl.SSLContext | None = None) -> OutgoingMail:
    recipients = [parse_address(one) for one in to.split(",")]
    return OutgoingMail(where, parse_sender("alice@example.org"), recipients, b"Subject: x\r\n\r\ny\r\n", tls)


async def test_no_server_is_exit_75(capsys: pytest.CaptureFixture[str]) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    where = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    assert await submit(submission(where)) == os.EX_TEMPFAIL
    assert str(where) in capsys.readouterr().err


class Canned:
    """A server that says one line to each line, as told."""

    def __init__(self, replies: dict[bytes, bytes]) -> None:
        self._replies = replies

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 canned\r\n")
        in_data = False
        while line := await reader.readline():
            verb = line.strip()[:4].upper()
            if in_data and verb != b".":
                continue
            reply = self._replies.get(b" ".join(line.split()[:2]).upper(), self._replies.get(verb, b"250 ok"))
            in_data = verb == b"DATA" and reply.startswith(b"354")
            writer.write(reply + b"\r\n")
            if verb == b"QUIT":
                break
        writer.close()


@pytest.mark.parametrize(
    ("replies", "status", "said"),
    [
        ({b"MAIL": b"550 5.7.1 No\x1b[2J"}, os.EX_UNAVAILABLE, "550 5.7.1 No\\x1b[2J"),
        ({b"MAIL": b"451 4.3.0 Later"}, os.EX_TEMPFAIL, "451 4.3.0 Later"),
        ({b"RCPT TO:<B@X.Y>": b"450 4.2.1 Busy", b"DATA": b"354 go"}, os.EX_TEMPFAIL, "<b@x.y>: 450 4.2.1 Busy"),
        (
            {b"RCPT TO:<B@X.Y>": b"550 5.1.1 Who", b"RCPT TO:<C@X.Y>": b"450 4.2.1 Busy", b"DATA": b"354 go"},
            os.EX_TEMPFAIL,
            "<b@x.y>: 550 5.1.1 Who",
        ),
        ({b"DATA": b"354 go", b".": b"554 5.6.0 Bad"}, os.EX_UNAVAILABLE, "554 5.6.0 Bad"),
    ],
)
async def test_refusals_are_told_and_decide_the_exit_code(
    replies: dict[bytes, bytes], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await asyncio.start_server(Canned(replies), "127.0.0.1", 0)
    where = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    assert await submit(submission(where, "a@x.y,b@x.y,c@x.y")) == status
    assert said in capsys.readouterr().err
    server.close()


async def test_smtputf8_goes_only_where_it_is_offered(
    sink: Endpoint, mails: list[SinkMail], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await submit(submission(sink, "jörg@bücher.example")) == 0
    assert mails[0].recipients == ["jörg@bücher.example"]
    server = await asyncio.start_server(Canned({}), "127.0.0.1", 0)
    where = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    assert await submit(submission(where, "jörg@bücher.example")) == os.EX_UNAVAILABLE
    assert "SMTPUTF8" in capsys.readouterr().err
    server.close()


async def test_starttls_is_verified(
    mails: list[SinkMail], certificate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve(Endpoint("127.0.0.1", 0), mails.append, server_context(certificate))
    where = Endpoint("localhost", server.sockets[0].getsockname()[1])
    assert await submit(submission(where, tls=ssl.create_default_context())) == os.EX_TEMPFAIL
    assert "certificate verify failed" in capsys.readouterr().err
    assert await submit(submission(where, tls=ssl.create_default_context(cafile=certificate))) == 0
    assert [mail.tls for mail in mails] == ["TLSv1.3"]
    server.close()


async def test_the_sink_unstuffs_and_keeps_every_octet(sink: Endpoint, mails: list[SinkMail]) -> None:
    body = b"Subject: x\r\n\r\n.\r\n..\r\n" + bytes(range(14, 256)) + b"\r\n.dot"
    async with aiosmtplib.SMTP(hostname=sink.host, port=sink.port, local_hostname="me", start_tls=False) as client:
        await client.mail("a@example.org", options=["BODY=8BITMIME"])
        await client.rcpt("b@example.net")
        await client.data(body)
    assert mails[0].body == body + b"\r\n"


async def test_the_sink_takes_a_pipelined_session_at_every_cut(sink: Endpoint, mails: list[SinkMail]) -> None:
    whole = (
        b"EHLO me\r\nMAIL FROM:<a@x.y>\r\nRCPT TO:<b@x.y>\r\nDATA\r\nSubject: x\r\n\r\n..y\r\n.\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<c@x.y>\r\nDATA\r\n.\r\nQUIT\r\n"
    )
    for cut in range(0, len(whole), 7):
        answer = await dialogue(sink, whole[:cut], whole[cut:])
        assert answer.count(b"250 2.0.0 Ok: thrown away\r\n") == 2
        assert answer.endswith(b"closing connection\r\n")
    assert {mail.body for mail in mails} == {b"Subject: x\r\n\r\n.y\r\n", b""}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"MAIL FROM:<a@x.y>\r\n", b"503 "),
        (b"EHLO me\r\nRCPT TO:<a@x.y>\r\n", b"503 "),
        (b"EHLO me\r\nMAIL FROM:<a@x.y>\r\nDATA\r\n", b"503 "),
        (b"EHLO me\r\nMAIL FROM:<a@x.y>\r\nMAIL FROM:<a@x.y>\r\n", b"503 "),
        (b"EHLO me\r\nMAIL FROM:<a@x.y> SIZE=999999999999\r\n", b"552 "),
        (b"EHLO me\r\nMAIL FROM:<a@x.y> FOO=1\r\n", b"555 "),
        (b"EHLO me\r\nSTARTTLS\r\n", b"502 "),
        (b"EHLO me\r\nMAIL FROM:<a@x.y>\r\nRCPT TO:<b@x.y>\r\nDATA\r\nbare\nline\r\n.\r\n", b"550 5.6.0 "),
        (b"\x00\x01\x02\r\n", b"500 "),
        (b"X" * 2_000_000 + b"\r\n", b"500 "),
    ],
)
async def test_the_sink_is_strict_about_sequence_and_survives_nonsense(
    sent: bytes, expected: bytes, sink: Endpoint, mails: list[SinkMail]
) -> None:
    answer = await dialogue(sink, sent, b"QUIT\r\n")
    assert answer.split(b"\r\n")[-3].startswith(expected)
    assert not mails


async def test_a_mail_beyond_the_limit_is_not_kept(
    sink: Endpoint, mails: list[SinkMail], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "MAX_SIZE", 1000)
    sent = b"EHLO me\r\nMAIL FROM:<a@x.y>\r\nRCPT TO:<b@x.y>\r\nDATA\r\n" + b"x\r\n" * 2000 + b".\r\nQUIT\r\n"
    assert b"552 5.3.4 " in await dialogue(sink, sent)
    assert not mails


async def test_an_idle_client_is_told_421(sink: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "_IDLE_SECONDS", 0.05)
    assert b"421 4.4.2 " in await dialogue(sink, b"")


async def test_garbage_instead_of_a_handshake_harms_nobody(mails: list[SinkMail], certificate: Path) -> None:
    server = await serve(Endpoint("127.0.0.1", 0), mails.append, server_context(certificate))
    where = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection(where.host, where.port)
    writer.write(b"EHLO me\r\nSTARTTLS\r\n")
    async with asyncio.timeout(10):
        await reader.readuntil(b"220 2.0.0 Go ahead\r\n")
        writer.write(b"MAIL FROM:<a@x.y>\r\n" * 100)
        with contextlib.suppress(ConnectionResetError):
            assert b"250" not in await reader.read()
    writer.close()
    assert await submit(submission(where)) == 0
    server.close()


def test_the_line_of_a_mail_moves_no_cursor() -> None:
    body = b"Subject: =?utf-8?q?=1B[2J?=\r\n\r\n"
    mail = SinkMail("a\x1b@x.y", "192.0.2.1", "me", "", ["b@x.y"], body)
    line = line_of(mail, T0)
    assert line.isprintable()
    assert line.startswith("2023-11-14T22:13:20.000Z  <a\\x1b@x.y> -> <b@x.y>  ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_sink_prints_a_line_a_mail_and_ends_cleanly(number: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *MAILBOAT,
        *("sink", "--listen", "127.0.0.1:0", "--print-body"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    async with asyncio.timeout(60):
        ready = (await process.stderr.readline()).decode()
        where = ready.rsplit(" ", 1)[1].strip()
        status, _, _ = await command("send", "--test", "--to", "b@x.y", "--from", "a@x.y", "--server", where)
        assert status == 0
        line = (await process.stdout.readline()).decode()
        assert "<a@x.y> -> <b@x.y>" in line
        process.send_signal(number)
        rest = await process.stdout.read()
        assert b"    This is a test.\n" in rest
        assert await process.wait() == 0
        assert await process.stderr.read() == b""


async def test_a_port_in_use_is_exit_69(sink: Endpoint) -> None:
    status, _, err = await command("sink", "--listen", str(sink))
    assert status == os.EX_UNAVAILABLE
    assert str(sink) in err
