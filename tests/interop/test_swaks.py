"""swaks as the client: plain, pipelining, TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import programs
from tests.support.mails import AWKWARD, added, mail
from tests.support.programs import Done
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_relay import TlsRelay

pytestmark = pytest.mark.interop

MAIL = mail(AWKWARD + b"The end: swaks takes a dot alone in the last line as its own.\r\n")


async def swaks(port: int, *options: str, data: Path, to: str = "bob@there.test") -> Done:
    """Submit a file as it is, but for dot-stuffing and line ends, which are SMTP's."""
    address = ("--server", "127.0.0.1", "--port", str(port), "--helo", "client.test")
    envelope = ("--from", "alice@here.test", "--to", to)
    return await programs.run(programs.find("swaks"), *address, *envelope, "--data", f"@{data}", *options)


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """A mail in a file, without the line end that swaks adds."""
    path = tmp_path / "mail.eml"
    path.write_bytes(MAIL.removesuffix(b"\r\n"))
    return path


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ([], "ESMTP"),
        (["--pipeline"], "ESMTP"),
        (["--tls"], "ESMTPS"),
        (["--tls", "--pipeline"], "ESMTPS"),
        (["--protocol", "SMTP"], "SMTP"),
    ],
    ids=["plain", "pipeline", "tls", "tls-pipeline", "helo"],
)
async def test_what_swaks_submits_arrives_as_it_was(
    options: list[str], protocol: str, relay: TlsRelay, sink: ScriptedMx, sent: Path
) -> None:
    done = await swaks(relay.port, *options, data=sent)
    assert done.status == 0, done.output
    assert (await relay.event("received"))["protocol"] == protocol
    await sink.wait_for(lambda mx: mx.mails)
    (got,) = sink.mails
    assert (got.sender, got.recipients) == ("alice@here.test", ["bob@there.test"])
    assert set(added(got.body, MAIL)) == {"Received"}


async def test_swaks_over_implicit_tls(relay: TlsRelay, sink: ScriptedMx, sent: Path) -> None:
    done = await swaks(relay.smtps_port, "--tls-on-connect", data=sent)
    assert done.status == 0, done.output
    await sink.wait_for(lambda mx: mx.mails)
    assert added(sink.mails[0].body, MAIL)


async def test_pipelined_recipients_are_each_answered(relay: TlsRelay, sink: ScriptedMx, sent: Path) -> None:
    done = await swaks(relay.port, "--pipeline", data=sent, to="bob@there.test,carol@there.test,bad@@there.test")
    assert done.status == 0, done.output
    await sink.wait_for(lambda mx: mx.mails)
    assert sink.mails[0].recipients == ["bob@there.test", "carol@there.test"]


async def test_a_mail_larger_than_allowed_is_refused(relay: TlsRelay, sink: ScriptedMx, tmp_path: Path) -> None:
    large = tmp_path / "large.eml"
    large.write_bytes(mail(size=26 * 2**20))
    done = await swaks(relay.port, data=large)
    assert "552 5.3.4" in done.output[-2000:]
    assert sink.mails == []
