"""One request to a token server over HTTP. Knows no cache and no SMTP; `tokens` calls it, `oauth` reads the answer."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import aiohttp

from mailboat.config.settings import OAuthGrant
from mailboat.delivery.dial import describe
from mailboat.delivery.oauth import Granted, TokenError, form, read_answer

TIMEOUT: Final = 20.0
"""Seconds for the whole request: mail waits for it."""
MAX_ANSWER: Final = 65_536
"""Octets of an answer; real ones have about 2 KiB."""


async def request_token(grant: OAuthGrant, refresh_token: str, timeout: float = TIMEOUT) -> Granted:
    """Ask the token server once. `refresh_token`: the one to send; empty for the client's own credentials.

    Raises:
        TokenError: it gave none, and why.
    """
    fields = form(grant, refresh_token)
    try:
        async with asyncio.timeout(timeout):
            status, body = await _post(grant, fields)
    except TimeoutError:
        raise TokenError(f"no answer within {timeout:g} s") from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise TokenError(f"its certificate does not verify: {describe(error.certificate_error)}") from None
    except aiohttp.ClientConnectorError as error:
        raise TokenError(f"no connection: {describe(error.os_error)}") from None
    except aiohttp.ClientPayloadError:
        raise TokenError("its answer is incomplete") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The type only: the text may contain what the server sent.
        raise TokenError(f"its answer is not valid HTTP ({type(error).__name__})") from None
    return read_answer(status, body, fields)


async def _post(grant: OAuthGrant, fields: dict[str, str]) -> tuple[int, bytes]:
    """Status and body. Uses a new connection, since there is about one request an hour."""
    # Reading the system's root certificates is slow.
    context = await asyncio.to_thread(ssl.create_default_context, cadata=grant.ca or None)
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    # No proxies of the environment, no cookies, and no redirects: the secret goes to one server.
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers, trust_env=False, auto_decompress=False) as session,
        session.post(grant.token_url, data=fields, allow_redirects=False) as answer,
    ):
        body = b""
        while piece := await answer.content.read(MAX_ANSWER + 1 - len(body)):
            body += piece
            if len(body) > MAX_ANSWER:
                raise TokenError(f"its answer has more than {MAX_ANSWER} octets")
        return answer.status, body
