"""`mailboat.message.dsn`: the report, read back by somebody else's MIME parser."""

from __future__ import annotations

import email.message
import email.parser
import email.policy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.config.settings import BounceTemplates
from mailboat.message.dsn import Dsn, ReportedRecipient, build, frame
from mailboat.model.address import Address
from mailboat.model.envelope import Message
from mailboat.model.outcome import Outcome, Result, Stage
from mailboat.model.reply import Reply

NONE = BounceTemplates()
ORIGINAL = b"From: a@b\r\nSubject: hello\r\nMessage-ID: <orig@b.example>\r\n\r\nthe text\r\n"
REPLY = Reply(550, "5.1.1 no such user")


def address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain, domain.encode("idna").decode())


def failure(
    to: str = "bob@example.net", status: str = "5.1.1", reply: Reply | None = REPLY, reason: str = ""
) -> ReportedRecipient:
    outcome = Outcome(1, Result.BOUNCED, status, Stage.RCPT, reason or str(reply), reply, "mx.example.net")
    return ReportedRecipient(address(to), outcome)


def dsn(
    *failures: ReportedRecipient, original: bytes = ORIGINAL, sender: str = "alice@example.com", smtputf8: bool = False
) -> Dsn:
    message = Message("q1", address(sender), len(original), 1_700_000_000.0, {"SMTPUTF8": ""} if smtputf8 else {})
    return Dsn("q2", "me.example", message, failures or (failure(),), 1_700_000_100.5, original, pid=42)


def parse(data: bytes) -> email.message.Message:
    """The report as Python's own parser sees it, which must find no defect anywhere."""
    assert_sendable(data)
    report = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(data)
    for part in report.walk():
        assert part.defects == []
    return report


def parts(message: email.message.Message) -> list[email.message.Message]:
    payload = message.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, email.message.Message)]


def text_of(part: email.message.Message) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def assert_sendable(data: bytes) -> None:
    assert data.endswith(b"\r\n")
    for line in data.split(b"\r\n"):
        assert b"\r" not in line
        assert b"\n" not in line
        assert len(line) <= 998


def test_the_header_of_a_report() -> None:
    report = parse(build(dsn(), NONE))
    assert report["From"] == "Mail delivery system <MAILER-DAEMON@me.example>"
    assert report["To"] == "<alice@example.com>"
    assert report["Subject"] == "Your mail could not be delivered"
    assert report["Date"] == "Tue, 14 Nov 2023 22:15:00 +0000"
    assert report["Message-ID"] == "<q2@me.example>"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["MIME-Version"] == "1.0"
    assert report["References"] == "<orig@b.example>"
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert len(set(map(str.lower, report.keys()))) == len(report.keys())


def test_three_parts_in_order() -> None:
    kinds = [part.get_content_type() for part in parts(parse(build(dsn(), NONE)))]
    assert kinds == ["text/plain", "message/delivery-status", "message/rfc822"]


def test_status_has_a_block_about_the_message_and_one_a_recipient() -> None:
    report = parse(build(dsn(failure(), failure("eve@example.org", "5.7.26", Reply(550, "5.7.26 a\n5.7.26 b"))), NONE))
    about, first, second = parts(parts(report)[1])
    assert dict(about.items()) == {
        "Reporting-MTA": "dns; me.example",
        "X-Queue-ID": "q1",
        "Arrival-Date": "Tue, 14 Nov 2023 22:13:20 +0000",
    }
    assert dict(first.items()) == {
        "Final-Recipient": "rfc822; bob@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Tue, 14 Nov 2023 22:15:00 +0000",
    }
    assert second["Final-Recipient"] == "rfc822; eve@example.org"
    assert second["Status"] == "5.7.26"
    assert second["Diagnostic-Code"] == "smtp; 550 5.7.26 a 5.7.26 b"


def test_a_failure_without_a_reply_names_no_remote_host() -> None:
    report = parse(build(dsn(failure(status="5.1.10", reply=None, reason="null MX")), NONE))
    block = parts(parts(report)[1])[1]
    assert block["Remote-MTA"] is None
    assert block["Diagnostic-Code"] == "X-Mailboat; null MX"


def test_a_status_that_is_none_is_5_0_0() -> None:
    assert b"\r\nStatus: 5.0.0\r\n" in build(dsn(failure(status="huh\r\nX: y")), NONE)


def test_the_default_text_says_who_why_and_what() -> None:
    text = text_of(parts(parse(build(dsn(failure(), failure("eve@example.org")), NONE)))[0])
    for words in ("me.example", "<bob@example.net>: 550 5.1.1 no such user", "<eve@example.org>: 550", "hello", "q1"):
        assert words in text


def test_the_whole_original_comes_back_octet_for_octet() -> None:
    original = ORIGINAL + b"\xff\xfe.\r\n.\r\n" * 1000
    data = build(dsn(original=original), NONE)
    assert b"\r\n\r\n" + original + b"\r\n--" in data
    assert parts(parse(data))[2]["Content-Transfer-Encoding"] == "8bit"
    assert parse(data)["Content-Transfer-Encoding"] == "8bit"


def test_a_large_original_comes_back_as_its_header() -> None:
    data = build(replace(dsn(original=ORIGINAL + b"x" * 900 + b"\r\n"), cut=True), NONE)
    part = parts(parse(data))[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert text_of(part) == ORIGINAL.decode().split("\r\n\r\n")[0] + "\r\n"


@pytest.mark.parametrize("octets", [b"x", b"\xff"], ids=["ascii", "8bit"])
def test_a_frame_is_what_stands_around_the_original(octets: bytes) -> None:
    """Put together it is the report that would have been built of the whole."""
    original = ORIGINAL + octets * 900 + b"\r\n"
    before, behind = frame(replace(dsn(original=ORIGINAL), cut=True), NONE, is_ascii=octets.isascii())
    assert before + original + behind == build(dsn(original=original), NONE)


def test_a_cut_original_comes_back_as_its_header() -> None:
    value = replace(dsn(original=ORIGINAL), cut=True)
    assert parts(parse(build(value, NONE)))[2].get_content_type() == "text/rfc822-headers"


def test_a_cut_header_comes_back_as_far_as_it_goes() -> None:
    value = replace(dsn(original=b"Subject: x\r\nX-Long: " + b"y" * 100_000), cut=True)
    assert parts(parse(build(value, NONE)))[2].get_content_type() == "text/rfc822-headers"


def test_boundaries_do_not_occur_in_the_original() -> None:
    first = parse(build(dsn(), NONE)).get_boundary()
    assert first
    original = ORIGINAL + b"--" + first.encode() + b"--\r\nforged\r\n"
    report = parse(build(dsn(original=original), NONE))
    assert report.get_boundary() != first
    assert len(parts(report)) == 3


def test_html_stands_beside_the_text() -> None:
    texts = BounceTemplates(text="Sorry {to}\n", html="<p>{reason} {nope}</p>\n")
    notice = parts(parse(build(dsn(failure(reason="<script>")), texts)))[0]
    assert notice.get_content_type() == "multipart/alternative"
    plain, rich = parts(notice)
    assert text_of(plain) == "Sorry bob@example.net\r\n"
    assert text_of(rich) == "<p>&lt;script&gt; ?</p>\r\n"


def test_an_image_is_related_to_the_alternatives() -> None:
    texts = BounceTemplates(html="<img src='cid:logo'>", image=b"Content-Type: image/png\nContent-ID: <logo>\n\nraw")
    notice = parts(parse(build(dsn(), texts)))[0]
    assert notice.get_content_type() == "multipart/related"
    alternatives, image = parts(notice)
    assert alternatives.get_content_type() == "multipart/alternative"
    assert image.get_content_type() == "image/png"
    assert image["Content-ID"] == "<logo>"
    assert image.get_payload(decode=True) == b"raw"


def test_an_image_without_html_is_not_attached() -> None:
    notice = parts(parse(build(dsn(), BounceTemplates(image=b"GIF89a"))))[0]
    assert notice.get_content_type() == "text/plain"


def test_a_template_sets_from_subject_and_own_fields_but_not_whom_it_goes_to() -> None:
    texts = BounceTemplates(
        text="From: Post <p@{me}>\nTo: {to}\nSubject: R\u00fcckl\u00e4ufer: {subject}\nX-A: {pid}\n\nBody {from}\n"
    )
    report = parse(build(dsn(), texts))
    assert report["From"] == "Post <p@me.example>"
    assert report.get_all("To") == ["<alice@example.com>"]
    assert report["X-A"] == "42"
    assert report["Subject"].startswith("=?utf-8?B?")
    assert text_of(parts(report)[0]) == "Body alice@example.com\r\n"


def test_an_smtputf8_message_is_reported_in_utf8() -> None:
    data = build(dsn(failure("b\u00fccher@\u00fcber.example"), sender="\u00e4@example.com", smtputf8=True), NONE)
    assert "\r\nTo: <\u00e4@example.com>\r\n".encode() in data
    assert "\r\nFinal-Recipient: utf-8; b\u00fccher@\u00fcber.example\r\n".encode() in data
    assert b"\r\nContent-Type: message/global-delivery-status\r\n" in data
    assert b"\r\nContent-Type: message/global\r\n" in data
    assert_sendable(data)


def test_the_header_of_a_report_is_ascii_where_the_senders_address_can_be() -> None:
    data = build(dsn(failure("b\u00fccher@\u00fcber.example"), sender="a@\u00fcber.example", smtputf8=True), NONE)
    header = data.partition(b"\r\n\r\n")[0]
    assert header.isascii()
    assert b"\r\nTo: <a@xn--ber-goa.example>\r\n" in header


def test_other_messages_are_reported_in_ascii() -> None:
    data = build(
        dsn(failure("b\u00fccher@\u00fcber.example", reply=Reply(550, "n\u00e4")), sender="a@\u00fcber.example"), NONE
    )
    assert data.isascii()
    assert b"\r\nTo: <a@xn--ber-goa.example>\r\n" in data
    assert b"\r\nFinal-Recipient: utf-8; b\\x{FC}cher@xn--ber-goa.example\r\n" in data
    assert b"\r\nDiagnostic-Code: smtp; 550 n?\r\n" in data


@pytest.mark.parametrize(
    "identifier", [b"", b"<>", b"<a b@c>", b"<a>\r\n\tX: y", b"<" + b"x" * 2000 + b">", b"<\xff@b>", b"none"]
)
def test_an_odd_message_id_is_not_referred_to(identifier: bytes) -> None:
    report = parse(build(dsn(original=b"Message-ID: " + identifier + b"\r\n\r\n"), NONE))
    assert report["X"] is None
    assert report["References"] in (None, "<ab@c>")


ANY_TEXT = st.text(max_size=200) | st.sampled_from(
    ["\r\nBcc: x@y", "\n\n--", "a\r\n\r\nb", "{reason}", "\x00", "\ud800", "w" * 5000]
)


@given(
    values=st.tuples(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT),
    template=ANY_TEXT,
    original=st.binary(max_size=300),
    smtputf8=st.booleans(),
)
def test_whatever_the_values_are_the_report_is_well_formed(
    values: tuple[str, str, str, str, str, str], template: str, original: bytes, smtputf8: bool
) -> None:
    local, domain, reason, mx, me, subject = values
    who = Address(local, domain, domain)
    outcome = Outcome(1, Result.BOUNCED, "5.0.0", Stage.DOT, reason, Reply(550, reason), mx)
    message = Message("q1", who, 1, 0.0, {"SMTPUTF8": ""} if smtputf8 else {})
    original = b"Subject: " + subject.encode("utf-8", "replace") + b"\r\n" + original
    texts = BounceTemplates(
        text="Subject: {reason}{subject}\nX-T: {to}\n\n{reason}\n" + template, html=template, image=original
    )
    data = build(Dsn("q2", me, message, (ReportedRecipient(who, outcome),), 1.0, original, pid=1), texts)
    assert_sendable(data)
    head = data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    names = [line.partition(":")[0] for line in head if not line.startswith((" ", "\t"))]
    assert names == [
        *("X-T", "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"),
        *(["References"] if "References" in names else []),
        *("Content-Type", "Content-Transfer-Encoding"),
    ]
    report = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(data)
    assert len(parts(report)) == 3
