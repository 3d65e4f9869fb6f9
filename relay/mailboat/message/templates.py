"""The human part of a bounce: `outbound.bounce_message` and its html and image companions, filled in.

A template is text with `{name}` placeholders. It may begin with header lines, as Haraka's do, or be text alone.
Nothing that a value holds can add a header, an html element or a MIME part. Knows no envelope and reads no file.
Called by `dsn`; `mailboat config check` may call `parse`.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mailboat.message.text import crlf, encode_binary, one_line
from mailboat.model.outcome import ReportAction
from mailboat.model.placeholders import PLACEHOLDER

DEFAULT_TEXT = """\
This is the mail system at {me}.

Your message could not be delivered to everybody it was meant for. Those who
did not get it, and why:

{extended_reason}

No further attempt will be made. A report for mail programs and a copy of
your message are attached.

  Subject: {subject}
  Queue id: {msgid}
"""
"""The text if `outbound.bounce_message` is missing."""

DEFAULT_SUBJECT = "Your mail could not be delivered"
DEFAULT_FROM = "Mail delivery system <MAILER-DAEMON@{me}>"

_FIELD = re.compile(r"([!-9;-~]{1,64})[ \t]*:(.*(?:\n[ \t]+\S.*)*)")
_FOLD = re.compile(r"\n[ \t]+")
_HEADER = re.compile(r"(?:[!-9;-~]{1,64}[ \t]*:.*\n(?:[ \t]+\S.*\n)*)+[ \t]*(?:\n|\Z)")
_KNOWN = re.compile(
    r"^(?:from|to|subject|date|message-id|received|reply-to|sender|mime-version|content-[a-z-]+|x-[a-z0-9-]+)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
"""Some line must look like this before a text's first paragraph is taken for a header."""

RESERVED = frozenset({
    "to", "cc", "bcc", "date", "message-id", "mime-version", "auto-submitted", "references", "in-reply-to",
    "return-path",
})  # fmt: skip
"""Fields that the report sets itself: a template's own, and any `Content-…`, are passed over.

`To` is among them because Haraka fills `{to}` with the sender there, and Mailboat with the failed recipient.
"""


@dataclass(frozen=True, slots=True)
class ReportText:
    """The text of a report for which administrators have no template."""

    text: str
    html: None = None
    image: None = None


_REPORT = """\
Subject: {subject_line}

This is the mail system at {{me}}.

{what}

{{extended_reason}}

A report for mail programs and the header of your message are attached.

  Subject: {{subject}}
  Queue id: {{msgid}}
"""
REPORTS = {
    ReportAction.RELAYED: ReportText(
        _REPORT.format(
            subject_line="Your mail was handed on",
            what="As you asked: your message was accepted by the next mail system for these\n"
            "recipients. That system sends no reports of its own.",
        )
    ),
    ReportAction.DELIVERED: ReportText(
        _REPORT.format(
            subject_line="Your mail was delivered", what="As you asked: your message was delivered to these recipients."
        )
    ),
    ReportAction.DELAYED: ReportText(
        _REPORT.format(
            subject_line="Your mail is delayed",
            what="Your message could not be delivered to these recipients yet. You need not send\n"
            "it again: attempts go on until {retry_until}.",
        )
    ),
}
"""The texts of the other reports, by the action (RFC 3464 2.3.3)."""


class Templates(Protocol):
    """Where the texts come from: `mailboat.config.settings.BounceTemplates` fits. None: there is no such file."""

    @property
    def text(self) -> str | None:
        """`outbound.bounce_message`."""

    @property
    def html(self) -> str | None:
        """`outbound.bounce_message_html`."""

    @property
    def image(self) -> bytes | None:
        """`outbound.bounce_message_image`: an image, or a MIME part with its header."""


@dataclass(frozen=True, slots=True)
class ParsedTemplate:
    """A text template, taken apart; placeholders still in place."""

    fields: tuple[tuple[str, str], ...]
    """Header fields that the template sets, reserved ones removed, unfolded."""
    body: str


@dataclass(frozen=True, slots=True)
class Image:
    """The image of a bounce, ready to stand in a MIME part."""

    content_type: str
    content_id: str
    """Without its brackets: html refers to it as `cid:…`."""
    base64: bytes
    """Lines of base64."""


def parse(template: str | None) -> ParsedTemplate:
    """Split a text template into header fields and text; None or an empty one is the built-in default."""
    text = (template or "").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        return ParsedTemplate((), DEFAULT_TEXT)
    header = _HEADER.match(text)
    if not header or not _KNOWN.search(header[0]):
        return ParsedTemplate((), text)
    fields = _fields(header[0])
    kept = tuple(
        (name, value)
        for name, value in fields
        if name.lower() not in RESERVED and not name.lower().startswith("content-")
    )
    return ParsedTemplate(kept, text[header.end() :] if text[header.end() :].strip() else DEFAULT_TEXT)


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with each `{name}` replaced by its value, unknown ones by `?`; a value is never filled again."""
    return PLACEHOLDER.sub(lambda found: values.get(found[1], "?"), template)


def fill_line(template: str, values: Mapping[str, str]) -> str:
    """The same for one header value: line ends and controls in values are blanks."""
    return one_line(fill(template, values))


def fill_html(template: str, values: Mapping[str, str]) -> str:
    """The same for html: values are escaped, line ends in them as character references."""
    escaped = {name: html.escape(value).replace("\n", "&#10;").replace("\r", "&#13;") for name, value in values.items()}
    return fill(template, escaped)


def image_part(data: bytes) -> Image:
    """The content of `outbound.bounce_message_image`: an image file as it is, or a MIME part with its own header."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return Image(f"image/{kind}", _IMAGE_ID, encode_binary(data))
    header, blank, body = _split_part(data)
    fields = {name.lower(): value for name, value in _fields(header)}
    if not blank or "content-type" not in fields:
        return Image("application/octet-stream", _IMAGE_ID, encode_binary(data))
    identifier = re.sub(r"[^!#-;=?-~]", "", fields.get("content-id", ""))
    return Image(
        one_line(fields["content-type"]).encode("ascii", "replace").decode()[:200],
        identifier[:200] or _IMAGE_ID,
        encode_binary(_decode(body, fields.get("content-transfer-encoding", "").lower())),
    )


_IMAGE_ID = "bounce-image"
_MAGIC = (
    (b"\x89PNG\r\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"RIFF", "webp"),
    (b"<svg", "svg+xml"),
    (b"<?xml", "svg+xml"),
)


def _fields(header: str) -> list[tuple[str, str]]:
    """Names and unfolded values of header lines that end in line feeds."""
    return [(name, one_line(_FOLD.sub(" ", value))) for name, value in _FIELD.findall(header)]


def _split_part(data: bytes) -> tuple[str, bool, bytes]:
    """Header as text with line feeds, whether a blank line ended it, and the octets behind, untouched."""
    blank = re.search(rb"\r?\n\r?\n", data)
    if not blank:
        return "", False, data
    return crlf(data[: blank.start()]).decode("ascii", "replace").replace("\r\n", "\n"), True, data[blank.end() :]


def _decode(body: bytes, encoding: str) -> bytes:
    """The octets of a MIME part; one that does not decode stays as it is."""
    try:
        if encoding == "base64":
            return base64.b64decode(body)
        if encoding == "quoted-printable":
            return binascii.a2b_qp(body)
    except ValueError:
        pass
    return body
