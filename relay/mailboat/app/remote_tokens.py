"""Access tokens in a relay of several workers: the supervisor caches them in memory, and the workers request them.

A request has all that the supervisor needs, which knows no settings. Sent over `channel`.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from mailboat.app.questions import ANSWER_TIMEOUT, Questions
from mailboat.config.settings import OAuthGrant
from mailboat.delivery.oauth import AccessToken, TokenError, TokenSource
from mailboat.model.clock import Clock
from mailboat.queue.store import StorageError

TOKEN = "token"  # noqa: S105 - the verb
REMEMBERED = 1000
"""Tokens that a worker caches, so that it sends one request for all its connections."""


class RemoteTokens:
    """The supervisor's tokens, in a worker; see `oauth.TokenSource`."""

    def __init__(self, questions: Questions, clock: Clock) -> None:
        self._questions = questions
        self._clock = clock
        self._known: dict[OAuthGrant, AccessToken] = {}

    async def token(self, grant: OAuthGrant, refused: str = "") -> AccessToken:
        """See `oauth.TokenSource`."""
        known = self._known.get(grant)
        if known is not None and known.value != refused and self._clock.monotonic() < known.renew_at:
            return known
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await self._questions.opened.wait()  # deliveries may begin before the connection is open
            answer = await self._questions.ask(TOKEN, asdict(grant), refused)
        except (StorageError, TimeoutError) as error:
            raise TokenError("the supervisor of the workers does not answer") from error
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        token = self._known[grant] = AccessToken(**answer)
        return token


async def give(tokens: TokenSource, arguments: list[Any]) -> dict[str, Any]:
    """The supervisor's answer. Raises TokenError."""
    grant, refused = arguments
    return asdict(await tokens.token(OAuthGrant(**grant), refused))
