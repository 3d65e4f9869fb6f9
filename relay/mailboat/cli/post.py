"""`mailboat send --api`: submits a mail to a relay's admin API over HTTP and prints the answer. Called by `send`."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from mailboat.admin.auth import TokenFile
from mailboat.metrics.text import printable
from mailboat.model.address import Address

_SECONDS = 600.0
"""Timeout of the answer in seconds; after it, the relay may have queued the message."""
_MAX_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class AdminEndpoint:
    """The server and the token."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    token: str

    @classmethod
    def of(cls, url: str, token_file: Path | None, tls: Callable[[], ssl.SSLContext]) -> AdminEndpoint:
        """From `http://HOST[:PORT]` or `https://…`. Raises ValueError; OSError for a token file that is not there."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError(f"--api {url!r} is not http://HOST:PORT or https://HOST:PORT")
        secure = parts.scheme == "https"
        if token_file is not None:
            token_file.open().close()  # a misspelt file name must not look like a wrong token
        token = TokenFile(str(token_file) if token_file else "")()
        return cls(parts.hostname, parts.port or (443 if secure else 9025), tls() if secure else None, token)

    def connection(self) -> http.client.HTTPConnection:
        """Not yet connected."""
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=_SECONDS, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=_SECONDS)


def post(api: AdminEndpoint, sender: Address, recipients: Sequence[Address], mail: bytes) -> int:
    """Send it, print the answer, and return the exit code."""
    envelope = [("from", str(sender) or "<>"), *(("to", str(address)) for address in recipients)]
    headers = {"Content-Type": "message/rfc822"}
    if api.token:
        headers["Authorization"] = f"Bearer {api.token}"
    connection = api.connection()
    try:
        connection.request("POST", f"/v1/messages?{urlencode(envelope)}", mail, headers)
        answer = connection.getresponse()
        status, content = answer.status, answer.read(_MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        return _complain(f"{api.host}:{api.port}: {error}", os.EX_TEMPFAIL)
    finally:
        connection.close()
    return _told(status, content)


def _told(status: int, content: bytes) -> int:
    try:
        said = json.loads(content)
        text = str(said["id"] if status == 202 else said["detail"])
    except (ValueError, KeyError, TypeError):
        return _complain(f"not the admin listener of a relay: HTTP status {status}", os.EX_UNAVAILABLE)
    if status == 202:
        print(printable(f"202 Message Queued ({text})"))
        return os.EX_OK
    if status in (401, 403, 421):
        return _complain(f"{status} {text}", os.EX_NOPERM)
    return _complain(f"{status} {text}", os.EX_UNAVAILABLE if status < 500 and status != 408 else os.EX_TEMPFAIL)


def _complain(text: str, code: int) -> int:
    print(f"mailboat send: {printable(text)}", file=sys.stderr)
    return code
