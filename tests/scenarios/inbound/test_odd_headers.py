"""Headers as scripts and home-made mailers write them: what is added goes on top, and the header stays a header."""

from __future__ import annotations

import email
import email.policy

import pytest
from tests.support.ingress import serving

FIELDS = (
    b"From: Shop <shop@example.org>\r\nTo: you@example.com\r\nSubject: Order 17\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
)
STAMPS = b"Date: Mon, 23 Nov 2026 01:02:03 +0000\r\nMessage-ID: <1@example.org>\r\n"
SEPARATOR = b"From shop@example.org Mon Nov 23 01:02:03 2026\r\n"


async def queued(text: bytes) -> bytes:
    """The message as it lies in the queue."""
    async with serving() as rig:
        client = await rig.greeted()
        assert (await client.mail(text)).startswith("250 ")
        await client.quit()
        [mail] = await rig.mails()
        return mail.body


@pytest.mark.parametrize("quotes", [b"", b">"])
@pytest.mark.parametrize("stamps", [STAMPS, b""], ids=["complete", "without-stamps"])
@pytest.mark.parametrize("text", [b"hello\r\n", b"x" * 998 + b"\r\nFrom here on\r\n" + b"x\r\n" * 100_000])
async def test_a_mail_out_of_an_mbox_file_keeps_its_header(quotes: bytes, stamps: bytes, text: bytes) -> None:
    body = await queued(quotes + SEPARATOR + FIELDS + stamps + b"\r\n" + text)
    header, _, rest = body.partition(b"\r\n\r\n")
    assert rest == text
    assert header.endswith(b"\r\nX-Mailbox-Line: " + quotes + SEPARATOR + (FIELDS + stamps).removesuffix(b"\r\n"))
    parsed = email.message_from_bytes(body, policy=email.policy.SMTP)
    assert (parsed["From"], parsed["Subject"]) == ("Shop <shop@example.org>", "Order 17")
    assert [len(parsed.get_all(name, [])) for name in ("Message-ID", "Date", "From", "Content-Type")] == [1] * 4


async def test_a_header_line_without_a_colon_is_passed_on_with_nothing_put_before_or_behind_it() -> None:
    mail = (
        b"From: a@example.org\r\nX-Mailer PHP/5.2\r\nTo: you@example.com\r\nSubject: Order 17\r\n"
        b"Content-Type: text/html\r\n\r\n<p>hello\r\n"
    )
    body = await queued(mail)
    assert body.endswith(mail)
    ours = body.removesuffix(mail)
    assert b"\r\n\r\n" not in ours
    assert [line.partition(b":")[0] for line in ours.split(b"\r\n") if line and not line.startswith(b"\t")] == [
        b"Received",
        b"Received",
        b"Message-ID",
        b"Date",
    ]


async def test_a_text_without_a_header_gets_one_of_its_own() -> None:
    body = await queued(b"From now on\r\nthere is no header: none\r\n")
    assert body.endswith(b"+0000\r\n\r\nFrom now on\r\nthere is no header: none\r\n")
