"""What a sender asked to be told (RFC 3461): passed on to hosts with DSN, and reported by the relay for others."""

from __future__ import annotations

import email.parser
import email.policy
from email.message import EmailMessage, MIMEPart
from pathlib import Path

import pytest
from tests.support.relay_process import Relay, RelayConfig, running
from tests.support.scripted_mx import Mail, ScriptedMx
from tests.support.smtp_client import Client

BODY = b"Subject: order 66\r\n\r\nThe text of it.\r\n"


async def submit(relay: Relay, *recipients: str, parameters: str = "", sender: str = "alice@sender.test") -> None:
    """Hand a message in; each recipient as it stands behind RCPT TO:."""
    client = await Client.connect(relay.config.smtp_port)
    await client.reply(enhanced=False)
    assert "DSN" in await client.ehlo()
    for command in (f"MAIL FROM:<{sender}>{parameters}", *(f"RCPT TO:{recipient}" for recipient in recipients)):
        assert (await client.ask(command)).startswith("250 2.1."), command
    assert (await client.ask("DATA")).startswith("354 ")
    client.send(BODY + b".\r\n")
    assert (await client.reply()).startswith("250 ")
    await client.quit()


def report_in(mails: list[Mail]) -> EmailMessage:
    """The one report among them, which is for the sender, as somebody else's parser reads it."""
    [mail] = [mail for mail in mails if not mail.sender]
    assert mail.recipients == ["alice@sender.test"]
    parsed = email.parser.BytesParser(policy=email.policy.SMTP).parsebytes(mail.body)
    assert isinstance(parsed, EmailMessage)
    assert parsed.get_content_type() == "multipart/report"
    return parsed


def parts(report: EmailMessage) -> tuple[str, list[dict[str, str]], MIMEPart]:
    """The text for people, the blocks for programs, and what comes back."""
    text, status, original = report.iter_parts()
    blocks = [dict(block.items()) for block in status.iter_parts()]
    return text.get_content(), [{k: str(v) for k, v in block.items()} for block in blocks], original


async def test_a_host_with_dsn_is_told_as_it_was_said_and_reports_itself(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.extensions = ["PIPELINING", "8BITMIME", "DSN"]
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await submit(
            relay,
            "<bob@there.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@there.test",
            "<carol@there.test>",
            parameters=" RET=hdrs ENVID=QQ+2B1",
        )
        await relay.event("delivered")
        await relay.settled()
        metrics = await relay.metrics()
    [mail] = mx.mails
    lines = mail.connection.lines
    assert mail.params[-2:] == ["RET=HDRS", "ENVID=QQ+2B1"]
    assert "RCPT TO:<bob@there.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@there.test" in lines
    assert "RCPT TO:<carol@there.test>" in lines, "nothing is invented for it"
    assert metrics["mailboat_dsn_total{action=relayed}"] == 0


async def test_success_is_reported_as_relayed_where_the_host_lacks_dsn(tmp_path: Path, mx: ScriptedMx) -> None:
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await submit(
            relay,
            "<bob@there.test> NOTIFY=SUCCESS ORCPT=rfc822;Bob+2Bx@there.test",
            "<carol@there.test> NOTIFY=FAILURE",
            parameters=" RET=FULL ENVID=QQ+2B1",
        )
        await mx.wait_for(lambda mx: len(mx.mails) == 2)
        await relay.settled()
        metrics = await relay.metrics()
    assert not any("NOTIFY" in line or "ENVID" in line for line in mx.mails[0].connection.lines)
    report = report_in(mx.mails)
    text, [about, *blocks], original = parts(report)
    assert about["Original-Envelope-Id"] == "QQ+1"
    [bob] = blocks
    assert bob["Original-Recipient"] == "rfc822; Bob+x@there.test"
    assert (bob["Final-Recipient"], bob["Action"], bob["Status"][:2]) == (
        "rfc822; bob@there.test",
        "relayed",
        "2.",
    )
    assert "could not be delivered" not in text
    assert report["Subject"] == "Your mail was handed on"
    assert original.get_content_type() == "text/rfc822-headers", "RFC 3461 6.2: whatever RET says"
    assert metrics["mailboat_dsn_total{action=relayed}"] == 1
    assert metrics["mailboat_bounce_messages_total{result=queued}"] == 0


async def test_delivery_by_lmtp_is_reported_as_delivered(tmp_path: Path, mx: ScriptedMx) -> None:
    async with ScriptedMx.start(lmtp=True) as store:
        route = ["[route:store]", "domains=store.test", f"hosts=127.0.0.1:{store.port}", "protocol=lmtp"]
        async with running(RelayConfig(tmp_path / "config", mx.port, outbound=route)) as relay:
            await submit(relay, "<bob@store.test> NOTIFY=SUCCESS")
            await mx.wait_for(lambda mx: len(mx.mails) == 1)
            await relay.settled()
    _, [_, bob], _ = parts(report_in(mx.mails))
    assert bob["Action"] == "delivered"


@pytest.mark.parametrize("notify", ["NEVER", "SUCCESS,DELAY"])
async def test_a_failure_that_the_sender_does_not_want_to_hear_of_is_only_logged(
    tmp_path: Path, mx: ScriptedMx, notify: str
) -> None:
    mx.on_rcpt("bob@there.test", "550 5.1.1 no such user")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await submit(relay, f"<bob@there.test> NOTIFY={notify}")
        (dropped,) = await relay.event("dropped")
        await relay.settled()
        metrics = await relay.metrics()
    assert (dropped["recipients"], dropped["code"]) == (["bob@there.test"], 550)
    assert mx.mails == []
    assert metrics["mailboat_bounce_messages_total{result=suppressed}"] == 1


async def test_one_report_tells_of_failure_and_success_and_never_of_who_is_not_to_be_told(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    for name in ("no", "never"):
        mx.on_rcpt(f"{name}@there.test", "550 5.1.1 no such user")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await submit(
            relay,
            "<no@there.test>",
            "<never@there.test> NOTIFY=NEVER",
            "<yes@there.test> NOTIFY=SUCCESS,FAILURE",
            "<plain@there.test>",
        )
        await mx.wait_for(lambda mx: len(mx.mails) == 2)
        await relay.settled()
        metrics = await relay.metrics()
    text, [_, *blocks], original = parts(report_in(mx.mails))
    assert [(block["Final-Recipient"], block["Action"]) for block in blocks] == [
        ("rfc822; no@there.test", "failed"),
        ("rfc822; yes@there.test", "relayed"),
    ]
    assert "no@there.test" in text
    assert "yes@there.test" not in text, "it is in the part for programs"
    assert original.get_content_type() == "message/rfc822"
    assert metrics["mailboat_dsn_total{action=failed}"] == metrics["mailboat_dsn_total{action=relayed}"] == 1


@pytest.mark.parametrize(("ret", "kind"), [("FULL", "message/rfc822"), ("HDRS", "text/rfc822-headers")])
async def test_a_report_of_failure_brings_back_what_the_sender_wants(
    tmp_path: Path, mx: ScriptedMx, ret: str, kind: str
) -> None:
    mx.on_rcpt("bob@there.test", "550 5.1.1 no such user")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await submit(relay, "<bob@there.test>", parameters=f" RET={ret}")
        await mx.wait_for(lambda mx: mx.mails)
        await relay.settled()
    report = report_in(mx.mails)
    assert parts(report)[2].get_content_type() == kind
    assert (b"The text of it." in report.as_bytes()) == (ret == "FULL")


async def test_nothing_is_ever_reported_about_a_report(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on_rcpt("no@there.test", "550 5.1.1 no such user")
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await submit(relay, "<no@there.test> NOTIFY=FAILURE", "<bob@there.test> NOTIFY=SUCCESS", sender="")
        await relay.event("dropped")
        await relay.event("delivered")
        await relay.settled()
        assert await relay.queue() == []
    [mail] = mx.mails
    assert (mail.sender, mail.recipients) == ("", ["bob@there.test"])


async def test_what_a_report_itself_asks_for_is_passed_on(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.extensions = ["PIPELINING", "DSN"]
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await submit(relay, "<bob@there.test> NOTIFY=NEVER", parameters=" RET=HDRS ENVID=QQ1", sender="")
        await relay.event("delivered")
        await relay.settled()
    [mail] = mx.mails
    assert (mail.sender, mail.params[-2:]) == ("", ["RET=HDRS", "ENVID=QQ1"])
    assert "RCPT TO:<bob@there.test> NOTIFY=NEVER" in mail.connection.lines
