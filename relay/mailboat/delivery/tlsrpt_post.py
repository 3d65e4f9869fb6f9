"""Posts a report on TLS to an `https:` address (RFC 8460 5.4)."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from mailboat.routing.public_https import HttpsSettings, public_session
from mailboat.routing.resolver import Resolver

TIMEOUT: Final = 60.0
"""Seconds for the whole request."""


class PostError(Exception):
    """The report was not taken, and why, in words of the relay."""


async def post_report(url: str, compressed: bytes, resolver: Resolver, settings: HttpsSettings) -> None:
    """Post a report in gzip form. Raises PostError."""
    headers = {"Content-Type": "application/tlsrpt+gzip"}
    try:
        async with (
            asyncio.timeout(TIMEOUT),
            await public_session(resolver, settings) as session,
            session.post(url, data=compressed, headers=headers, allow_redirects=False) as answer,
        ):
            status = answer.status
    except TimeoutError:
        raise PostError(f"no answer within {TIMEOUT:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The type only: the text may contain what the server sent.
        raise PostError(f"no valid answer ({type(error).__name__})") from None
    if not 200 <= status < 300:
        raise PostError(f"HTTP status {status}")
