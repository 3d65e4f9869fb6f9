"""Reports on TLS failures as their receivers read them: by the schema of RFC 8460 4.4."""

from __future__ import annotations

import contextlib
import gzip
import json
import sqlite3
import ssl
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import jsonschema
from aiohttp import web

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


class ReportServer:
    """Takes reports by HTTPS."""

    def __init__(self) -> None:
        self.port = 0
        self.statuses: list[int] = []
        """Of the next answers; then 201."""
        self.posts: list[tuple[int, str, bytes]] = []
        """Status that was answered, type, body."""

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, context: ssl.SSLContext) -> AsyncIterator[ReportServer]:
        """Run until the block ends, on a free port of 127.0.0.1."""
        server = cls()
        application = web.Application()
        application.add_routes([web.post("/v1", server._take)])
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        server.port = runner.addresses[0][1]
        try:
            yield server
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 201
        self.posts.append((status, request.content_type, await request.read()))
        return web.Response(status=status, headers={"Location": "/v1"} if status == 307 else {})

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The reports that were accepted; each is valid."""
        return [valid_report(gzip.decompress(body)) for status, _, body in self.posts if status < 300]


def make_older(queue_dir: Path, days: int) -> None:
    """Move what was counted, and what was reported, into the past."""
    with contextlib.closing(sqlite3.connect(queue_dir / "queue-0.db", timeout=30)) as db, db:
        for table in ("tls_count", "tls_report"):
            # By two steps, because a key may be taken until its own row has moved.
            db.execute(f"UPDATE {table} SET day = -day")
            db.execute(f"UPDATE {table} SET day = -day - ?", (days,))


def counted(queue_dir: Path) -> list[tuple[str, str, int]]:
    """What is counted: domain, result type or nothing, sessions."""
    with contextlib.closing(sqlite3.connect(queue_dir / "queue-0.db", timeout=30)) as db:
        rows = db.execute("SELECT domain, failure, sessions FROM tls_count ORDER BY domain, failure").fetchall()
    return [(domain, json.loads(failure)[0] if failure else "", sessions) for domain, failure, sessions in rows]
