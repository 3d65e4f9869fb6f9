"""Reports on TLS failures as their receivers read them: by the schema of RFC 8460 4.4."""

from __future__ import annotations

import gzip
import json
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "tlsrpt-schema.json").read_bytes())


def valid_report(octets: bytes) -> dict[str, Any]:
    """The report, which the schema allows."""
    report: dict[str, Any] = json.loads(octets)
    jsonschema.validate(report, SCHEMA, format_checker=jsonschema.FormatChecker())
    return report


def reported_in(mail: bytes) -> tuple[EmailMessage, EmailMessage, dict[str, Any]]:
    """A mail with a report: the mail, the part that holds the report, and the report, which is valid."""
    message = message_from_bytes(mail, policy=policy.SMTP.clone(raise_on_defect=True))
    assert isinstance(message, EmailMessage)
    text, part = message.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert isinstance(part, EmailMessage)
    return message, part, valid_report(gzip.decompress(part.get_payload(decode=True)))  # type: ignore[arg-type]
