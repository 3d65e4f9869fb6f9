"""The report to a sender of what became of mail: RFC 3464 in the multipart/report of RFC 6522.

Three parts: text for people (from the templates), a status for programs, and the message itself. No MIME library is
used: every external text passes through `text` first. The caller (`delivery.bounce`) chooses the recipient, sets the
null reverse-path, and makes no report for a null sender.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailboat.message import headers, templates
from mailboat.message.received import rfc5322_date
from mailboat.message.text import decode_words, encode_text, header_field, one_line, wrapped
from mailboat.model.address import Address
from mailboat.model.envelope import Message
from mailboat.model.outcome import Outcome, ReportAction

HEAD = 1_048_576
"""Octets of an original that are enough for a `Dsn` of a larger one."""

_HEADER_LIMIT = 65_536
"""Maximum octets of the original's header in a report."""
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_MESSAGE_ID = re.compile(rb"<[!-;=?-~]{1,900}>")
_TEXT_LIMIT = 65_536
"""Characters of the recipients' reasons in the text for people; the status part has them all."""


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient that a report is about."""

    address: Address
    outcome: Outcome
    action: ReportAction = ReportAction.FAILED
    original: str = ""
    """What the sender named it by, `type;address` (ORCPT); empty: as `address`."""
    at: float | None = None
    """When its last attempt was, seconds since the epoch; None: now."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """The content of one report."""

    id: str
    """Id of the report, for its Message-ID and boundaries."""
    me: str
    """This host's name: `Reporting-MTA`, and the domain of the report's From."""
    message: Message
    """What the report is about: its sender gets it."""
    recipients: Sequence[ReportedRecipient]
    """At least one. The part for people names the first and those with the same action, that for programs all."""
    now: float
    """Seconds since the epoch: the report's Date."""
    original: bytes = field(repr=False)
    """The message as queued, or its first octets."""
    cut: bool = False
    """Only the header comes back; `original` may be only the beginning."""
    pid: int = 0
    """For `{pid}`."""
    envelope_id: str = ""
    """What the sender named the message by (ENVID)."""
    retry_until: float | None = None
    """When the last attempt for delayed recipients is made, in seconds since the epoch."""

    @property
    def action(self) -> ReportAction:
        """What the part for people is about."""
        return self.recipients[0].action


@dataclass(frozen=True, slots=True)
class Part:
    """A MIME entity: header lines and content, each ended by CRLF."""

    header: bytes = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def data(self) -> bytes:
        """The entity between boundaries."""
        return self.header + b"\r\n" + self.content


def build(dsn: Dsn, texts: templates.Templates) -> bytes:
    """The report as a message with CRLF line ends, without trace fields.

    It is ASCII unless the original is not: then it needs 8BITMIME, and SMTPUTF8 if the original did (RFC 6533 4). Of a
    truncated original, only the header is returned.
    """
    return _report(dsn, texts, None)


def frame(dsn: Dsn, texts: templates.Templates, *, is_ascii: bool) -> tuple[bytes, bytes]:
    """The same for an original that is too large for memory: the octets before and after it.

    `dsn.original` is its beginning. The caller puts it between, as `text.wrapped` makes its lines.
    """
    # The author of the original could not know this: it depends on when the report is made. Nor the boundaries.
    stand_in = b"%b%b\r\n" % (_boundary_base(dsn).encode(), b"" if is_ascii else b"\xff")
    before, _, behind = _report(dsn, texts, stand_in).partition(stand_in)
    return before, behind


def _report(dsn: Dsn, texts: templates.Templates, stand_in: bytes | None) -> bytes:
    facts = headers.scan(dsn.original[:_HEADER_LIMIT], whole=not dsn.cut and len(dsn.original) <= _HEADER_LIMIT)
    values = _values(dsn, facts)
    if dsn.action is not ReportAction.FAILED:
        texts = templates.REPORTS[dsn.action]
    template = templates.parse(texts.text)
    parts = (
        _notice(template.body, texts, values, _boundary_base(dsn)),
        _status(dsn),
        _original(dsn, facts, stand_in),
    )
    preamble = b"This is a report in several parts (MIME).\r\n"
    report = _multipart("report; report-type=delivery-status", parts, _boundary_base(dsn), preamble)
    return _top(dsn, facts, template, values) + report.data


def _top(dsn: Dsn, facts: headers.HeaderFacts, template: templates.ParsedTemplate, values: dict[str, str]) -> bytes:
    """The report's own header, up to its Content-Type. UTF-8 only for a sender whose address needs it anyway."""
    utf8 = dsn.message.smtputf8 and not dsn.message.sender.is_ascii
    fields = [(name, templates.fill_line(value, values)) for name, value in template.fields]
    given = {name.lower(): value for name, value in fields}
    fields = [(name, value) for name, value in fields if name.lower() not in ("from", "subject")]
    fields += [
        ("From", given.get("from") or templates.fill_line(templates.DEFAULT_FROM, values)),
        ("To", f"<{_mailbox(dsn.message.sender, utf8)}>"),
        ("Subject", given.get("subject") or templates.DEFAULT_SUBJECT),
        ("Date", rfc5322_date(dsn.now).decode()),
        ("Message-ID", f"<{_token(dsn.id)}@{_token(dsn.me)}>"),
        ("Auto-Submitted", "auto-replied"),  # RFC 3834 5: so that autoresponders do not answer
        ("MIME-Version", "1.0"),
    ]
    if dsn.message.tls_required_no and not dsn.message.requiretls:
        fields.append(("TLS-Required", "No"))  # RFC 8689 5: what may be read on the way may be reported so
    if reference := _MESSAGE_ID.fullmatch(facts.message_id):
        fields.append(("References", reference[0].decode()))  # RFC 5322 3.6.4: threads with what it is about
    return b"".join(header_field(name, value, utf8=utf8) for name, value in fields)


def _values(dsn: Dsn, facts: headers.HeaderFacts) -> dict[str, str]:
    """The values of the templates' placeholders."""
    utf8 = dsn.message.smtputf8
    told = [recipient for recipient in dsn.recipients if recipient.action is dsn.action]
    reasons = "\n".join(f"<{_mailbox(r.address, utf8)}>: {one_line(r.outcome.reason)}" for r in told)
    first = told[0]
    return {
        "pid": str(dsn.pid),
        "date": rfc5322_date(dsn.now).decode(),
        "me": one_line(dsn.me),
        "from": _mailbox(dsn.message.sender, utf8),
        "msgid": one_line(dsn.message.id),
        "to": _mailbox(first.address, utf8),
        "recipients": ", ".join(_mailbox(r.address, utf8) for r in told)[:_TEXT_LIMIT],
        "reason": one_line(first.outcome.reason)[:_TEXT_LIMIT],
        "extended_reason": reasons[:_TEXT_LIMIT],
        "subject": decode_words(facts.subject),
        "retry_until": "" if dsn.retry_until is None else rfc5322_date(dsn.retry_until).decode(),
    }


def _notice(body: str, texts: templates.Templates, values: dict[str, str], base: str) -> Part:
    """The part for people: text, with its html alternative and that one's image where there are such templates."""
    notice = _text("plain", templates.fill(body, values))
    if not (texts.html and texts.html.strip()):
        return notice
    alternatives = (notice, _text("html", templates.fill_html(texts.html, values)))
    notice = _multipart("alternative", alternatives, f"{base}alternative")
    if not texts.image:
        return notice
    image = templates.image_part(texts.image)
    header = (
        header_field("Content-Type", image.content_type)
        + header_field("Content-ID", f"<{image.content_id}>")
        + b"Content-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n"
    )
    # RFC 2387 3: the root of a related part is its first one, and `type` says what it is.
    related = 'related; type="multipart/alternative"'
    return _multipart(related, (notice, Part(header, image.base64)), f"{base}related")


def _status(dsn: Dsn) -> Part:
    """The part for programs (RFC 3464 2.1): a block about the message, then one a recipient."""
    # RFC 6533 4: UTF-8 only for a sender whose message needed it; others get the 7-bit form of an address.
    utf8 = dsn.message.smtputf8
    blocks = [
        [
            *([("Original-Envelope-Id", dsn.envelope_id)] if dsn.envelope_id else []),
            ("Reporting-MTA", f"dns; {dsn.me}"),
            ("X-Queue-ID", dsn.message.id),
            ("Arrival-Date", rfc5322_date(dsn.message.queued_at).decode()),
        ]
    ]
    blocks += [_recipient_fields(recipient, dsn, utf8) for recipient in dsn.recipients]
    content = b"\r\n".join(b"".join(_status_field(name, value, utf8) for name, value in block) for block in blocks)
    kind = b"global-delivery-status" if utf8 else b"delivery-status"
    header = b"Content-Description: Delivery report\r\nContent-Type: message/%b\r\n" % kind
    return Part(header + _transfer_encoding(content), content)


def _recipient_fields(recipient: ReportedRecipient, dsn: Dsn, utf8: bool) -> list[tuple[str, str]]:
    outcome, address = recipient.outcome, _mailbox(recipient.address, utf8)
    if address.isascii():
        final = f"rfc822; {address}"
    elif utf8:
        final = f"utf-8; {address}"
    else:
        final = f"utf-8; {_unitext(address)}"
    fields = [
        *([("Original-Recipient", recipient.original.replace(";", "; ", 1))] if recipient.original else []),
        ("Final-Recipient", final),
        ("Action", recipient.action),
        ("Status", outcome.status if _STATUS.fullmatch(outcome.status) else "5.0.0"),
    ]
    if outcome.reply is not None:
        # RFC 3464 2.3.5: the MTA that said it, and 2.3.6: what it said.
        if outcome.mx:
            fields.append(("Remote-MTA", f"dns; {outcome.mx}"))
        fields.append(("Diagnostic-Code", f"smtp; {outcome.reply}"))
    elif outcome.reason:
        fields.append(("Diagnostic-Code", f"X-Mailboat; {outcome.reason}"))
    at = dsn.now if recipient.at is None else recipient.at
    fields.append(("Last-Attempt-Date", rfc5322_date(at).decode()))
    if recipient.action is ReportAction.DELAYED and dsn.retry_until is not None:
        fields.append(("Will-Retry-Until", rfc5322_date(dsn.retry_until).decode()))
    return fields


def _original(dsn: Dsn, facts: headers.HeaderFacts, stand_in: bytes | None) -> Part:
    """The message itself, its stand-in, or its header if it is too large (RFC 6522 3)."""
    utf8 = dsn.message.smtputf8
    if dsn.cut and stand_in is None:
        visible = _HEADER_LIMIT if facts.header_end < 0 else facts.header_end
        content = wrapped(dsn.original[:visible])
        kind, words = (
            (b"message/global-headers" if utf8 else b"text/rfc822-headers"),
            b"Header of the undelivered message",
        )
    else:
        content = wrapped(dsn.original) if stand_in is None else stand_in
        kind, words = (b"message/global" if utf8 else b"message/rfc822"), b"Undelivered message"
    header = b"Content-Description: %b\r\nContent-Type: %b\r\n" % (words, kind)
    return Part(header + _transfer_encoding(content), content)


def _text(kind: str, text: str) -> Part:
    encoding, content = encode_text(text)
    header = f"Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return Part(header.encode(), content)


def _multipart(kind: str, parts: Sequence[Part], boundary: str, preamble: bytes = b"") -> Part:
    """Parts between boundaries that occur in none of them, the last one closed (RFC 2046 5.1)."""
    content = b"".join(part.data for part in parts)
    number = 0
    while f"--{boundary}{number}".encode() in content:
        number += 1
    line = b"--%b%d" % (boundary.encode(), number)
    header = f'Content-Type: multipart/{kind};\r\n boundary="{boundary}{number}"\r\n'.encode()
    body = b"".join(line + b"\r\n" + part.data + b"\r\n" for part in parts)
    return Part(header + _transfer_encoding(content), preamble + b"\r\n" * bool(preamble) + body + line + b"--\r\n")


def _transfer_encoding(content: bytes) -> bytes:
    """RFC 2045 6.4: a composite part says what is in it; it is never encoded itself."""
    return b"Content-Transfer-Encoding: %b\r\n" % (b"7bit" if content.isascii() else b"8bit")


def _status_field(name: str, value: str, utf8: bool) -> bytes:
    """RFC 3464 2.1.1: a field folds like one of a mail, but knows no encoded-words."""
    return header_field(name, value if utf8 else value.encode("ascii", "replace").decode(), utf8=True)


def _boundary_base(dsn: Dsn) -> str:
    digest = hashlib.sha256(f"{dsn.id}\0{dsn.message.id}\0{dsn.now}".encode("utf-8", "replace")).hexdigest()
    return f"=_{digest[:32]}_"


def _mailbox(address: Address, utf8: bool) -> str:
    """An address without what no address may hold; its domain as given, or as A-labels where UTF-8 may not stand."""
    return one_line(str(address) if utf8 else address.wire)


def _unitext(address: str) -> str:
    r"""RFC 6533 3: an address for 7-bit transport, each character that is not ASCII as `\x{HEX}`."""
    return "".join(c if c.isascii() and c != "\\" else rf"\x{{{ord(c):02X}}}" for c in address)


def _token(text: str) -> str:
    """Our own text for a message identifier, without spaces, brackets and control characters."""
    return re.sub(r"[^!-;=?A-~]", "", text) or "unknown"
