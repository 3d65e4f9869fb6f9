"""One fetch of an MTA-STS policy over HTTPS (RFC 8461 3.3). `sts_cache` decides when; `sts` reads the policy."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from mailboat.model.observer import StsResult
from mailboat.model.sts import StsPolicy
from mailboat.routing.public_https import HttpsSettings, public_session
from mailboat.routing.resolver import Resolver
from mailboat.routing.sts import StsSyntaxError, read_policy

TIMEOUT: Final = 60.0
"""Seconds for a whole fetch (RFC 8461 3.3)."""
MAX_POLICY: Final = 65_536
"""Octets of a policy (RFC 8461 3.3)."""

_HTML = frozenset({"text/html", "application/xhtml+xml"})


class StsFetchError(Exception):
    """There is no policy, and why: in words of the relay, and as the label of the metric."""

    def __init__(self, result: StsResult, reason: str) -> None:
        super().__init__(reason)
        self.result = result


async def fetch_policy(domain: str, resolver: Resolver, settings: HttpsSettings, timeout: float = TIMEOUT) -> StsPolicy:
    """The policy that a domain publishes now.

    Raises:
        StsFetchError: there is none that can be used.
    """
    try:
        async with asyncio.timeout(timeout):
            return read_policy(await _get(domain, resolver, settings))
    except StsSyntaxError as error:
        raise StsFetchError(StsResult.POLICY_INVALID, f"invalid policy: {error}") from None
    except TimeoutError:
        raise StsFetchError(StsResult.FETCH_ERROR, f"no policy within {timeout:g} s") from None
    except aiohttp.ClientConnectorCertificateError as error:
        reason = getattr(error.certificate_error, "verify_message", "") or "wrong name"
        raise StsFetchError(StsResult.WEBPKI_INVALID, f"its certificate is not valid: {reason}") from None
    except aiohttp.ClientConnectorError as error:
        raise StsFetchError(StsResult.FETCH_ERROR, f"no connection: {_words(error.os_error)}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The type only: the text may contain what the server sent.
        raise StsFetchError(StsResult.FETCH_ERROR, f"no valid answer ({type(error).__name__})") from None


async def _get(domain: str, resolver: Resolver, settings: HttpsSettings) -> bytes:
    url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
    # RFC 8461 3.3: redirects are not followed, and only status 200 is an answer.
    async with await public_session(resolver, settings) as session, session.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise StsFetchError(StsResult.FETCH_ERROR, f"HTTP status {answer.status}")
        if answer.content_type in _HTML:
            raise StsFetchError(StsResult.POLICY_INVALID, f"its type is {answer.content_type}, not text/plain")
        body = b""
        while piece := await answer.content.read(MAX_POLICY + 1 - len(body)):
            body += piece
            if len(body) > MAX_POLICY:
                raise StsFetchError(StsResult.FETCH_ERROR, f"its policy has more than {MAX_POLICY} octets")
        return body


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
