"""What a sender reads when mail fails: the templates of the directory, and the whole message back."""

from __future__ import annotations

import base64
import email.message
import email.parser
import email.policy
import re
from pathlib import Path

from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
NAMES = ["pid", "date", "me", "from", "msgid", "to", "reason", "subject", "recipients", "extended_reason", "nonsense"]
TEXT = "From: Post <post@{me}>\nSubject: Not delivered: {subject}\n\n" + "".join(
    f"{name}={{{name}}}\n" for name in NAMES
)
HTML = '<p title="{subject}">{reason}</p><img src="cid:bounce-image">'


async def test_the_templates_are_filled_in_and_the_parts_nest(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on_rcpt("bob@there.test", '550 5.1.1 <b> is & was "nobody"')
    mx.on_rcpt("eve@there.test", "550 5.2.1 closed")
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("outbound.bounce_message", TEXT)
    config.put("outbound.bounce_message_html", HTML)
    (config.directory / "outbound.bounce_message_image").write_bytes(PNG)
    async with running(config) as relay:
        id_ = await relay.submit(
            "bob@there.test", "eve@there.test", body=b"Subject: =?utf-8?Q?<H=C3=A4?=\r\n\r\nhi\r\n"
        )
        await mx.wait_for(lambda mx: mx.mails)
        pid = relay.process.pid
    [mail] = mx.mails
    report = email.parser.BytesParser(policy=email.policy.SMTP).parsebytes(mail.body)
    assert isinstance(report, email.message.EmailMessage)
    assert [part.defects for part in report.walk() if part.defects] == []
    assert (report["From"], report["To"]) == ("Post <post@relay.test>", "alice@sender.test")
    assert (report["Subject"], report["MIME-Version"]) == ("Not delivered: <Hä", "1.0")
    assert [part.get_content_type() for part in report.walk()] == [
        "multipart/report",
        *("multipart/related", "multipart/alternative", "text/plain", "text/html", "image/png"),
        *("message/delivery-status", "text/plain", "text/plain", "text/plain"),
        *("message/rfc822", "text/plain"),
    ]
    leaves = {part.get_content_type(): part for part in reversed(list(report.walk()))}
    plain = leaves["text/plain"].get_payload(decode=True).decode().split("\r\n")
    values = dict(line.split("=", 1) for line in plain if "=" in line)
    assert values["pid"] == str(pid)
    assert (values["me"], values["from"], values["msgid"]) == ("relay.test", "alice@sender.test", id_)
    assert (values["to"], values["recipients"]) == ("bob@there.test", "bob@there.test, eve@there.test")
    assert values["reason"] == '550 5.1.1 <b> is & was "nobody"'
    assert values["extended_reason"] == f"<bob@there.test>: {values['reason']}"
    assert "<eve@there.test>: 550 5.2.1 closed" in plain
    assert (values["subject"], values["nonsense"]) == ("<Hä", "?")
    assert re.fullmatch(r"\w{3}, \d+ \w{3} \d{4} [\d:]{8} \+0000", values["date"])
    html = leaves["text/html"].get_payload(decode=True).decode().strip()
    assert html == (
        '<p title="&lt;Hä">550 5.1.1 &lt;b&gt; is &amp; was &quot;nobody&quot;</p><img src="cid:bounce-image">'
    )
    assert leaves["image/png"].get_payload(decode=True) == PNG
    assert base64.b64encode(PNG)[:40] in mail.body


async def test_five_million_octets_come_back_whole(tmp_path: Path, mx: ScriptedMx) -> None:
    mx.on_rcpt("bob@there.test", "550 5.1.1 no such user")
    body = b"Subject: large\r\n\r\n" + b"..a line\r\n" * 500_000
    async with running(RelayConfig(tmp_path / "config", mx.port)) as relay:
        await relay.submit(body=body)
        await mx.wait_for(lambda mx: mx.mails)
        await relay.settled()
    [mail] = mx.mails
    assert mail.sender == ""
    assert body.partition(b"\r\n\r\n")[2] + b"\r\n--" in mail.body
