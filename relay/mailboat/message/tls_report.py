"""The mail that carries a report on TLS failures (RFC 8460 5.3): text for people and the report, compressed.

Called by `app.tls_reporter`, which submits it.
"""

from __future__ import annotations

import base64

from mailboat.message.text import header_field
from mailboat.tlsrpt.report import TlsReport, day_text


def build(report: TlsReport, author: str, recipient: str) -> bytes:
    """The message with CRLF line ends, without trace fields, Message-ID and Date, which submission adds."""
    boundary = "=_" + report.id.partition("@")[0]
    top = (
        ("From", f"<{author}>"),
        ("To", f"<{recipient}>"),
        ("Subject", f"Report Domain: {report.domain} Submitter: {report.sender} Report-ID: <{report.id}>"),
        ("TLS-Report-Domain", report.domain),
        ("TLS-Report-Submitter", report.sender),
        ("TLS-Required", "No"),  # RFC 8689 5; RFC 8460 3: a report is delivered even if TLS fails
        ("Auto-Submitted", "auto-generated"),  # RFC 3834 5
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/report; report-type="tlsrpt"; boundary="{boundary}"'),
    )
    text = (
        f"This is a report on TLS with the mail servers of {report.domain}\r\n"
        f"on {day_text(report.day)} (UTC), from {report.sender}.\r\n"
    )
    name = report.file_name
    parts = (
        b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + text.encode(),
        header_field("Content-Type", "application/tlsrpt+gzip")
        + b"Content-Transfer-Encoding: base64\r\n"
        + f'Content-Disposition: attachment;\r\n filename="{name}"\r\n\r\n'.encode()
        + base64.encodebytes(report.compressed).replace(b"\n", b"\r\n"),
    )
    line = f"--{boundary}".encode()
    body = b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"
    return b"".join(header_field(field, value) for field, value in top) + b"\r\n" + body
