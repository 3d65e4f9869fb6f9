"""The access tokens of a relay: cached in memory, requested once for all that wait, renewed before they expire.

A relay has one `TokenCache`; with several workers, their supervisor has it, and `app.channel` carries the workers'
requests. After a failure the server is not asked for a growing time, instead of once for each message.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from mailboat.config.settings import OAuthGrant
from mailboat.delivery.oauth import AccessToken, Granted, TokenError, server_of
from mailboat.delivery.token_client import request_token
from mailboat.model.clock import Clock
from mailboat.model.observer import TokenResult

log = logging.getLogger(__name__)

PAUSE, MAX_PAUSE = 2.0, 300.0
"""Seconds that a server is not asked after a failure, doubled with each further one, and the maximum."""
REFUSAL_PAUSE = 60.0
"""Seconds between two renewals because of refused tokens: most likely the host refuses all of them."""
REMEMBERED = 1000
"""Grants that are remembered; a reload may bring new ones."""

Request = Callable[[OAuthGrant, str], Awaitable[Granted]]
"""A grant and the refresh token to send -> what the server gave; raises TokenError."""


class _Account:
    """The state of one grant."""

    __slots__ = ("error", "failures", "refresh_token", "refused_at", "request", "retry_at", "token")

    def __init__(self, refresh_token: str) -> None:
        self.refresh_token = refresh_token
        """The newest; a server may issue another one with each token."""
        self.token: AccessToken | None = None
        self.request: asyncio.Task[AccessToken] | None = None
        """Under way."""
        self.error: TokenError | None = None
        """Why the last request failed."""
        self.failures = 0
        self.retry_at = 0.0
        self.refused_at = float("-inf")
        """When a token was last renewed because a host refused it."""


class TokenCache:
    """See `oauth.TokenSource`."""

    def __init__(
        self, clock: Clock, told: Callable[[TokenResult], None] = lambda _: None, request: Request = request_token
    ) -> None:
        """`told` is called with the result of each request."""
        self._clock = clock
        self._told = told
        self._request = request
        self._accounts: OrderedDict[OAuthGrant, _Account] = OrderedDict()

    async def token(self, grant: OAuthGrant, refused: str = "") -> AccessToken:
        """See `oauth.TokenSource`."""
        account, now = self._account(grant), self._clock.monotonic()
        token = account.token
        if token is not None and token.value == refused and now - account.refused_at >= REFUSAL_PAUSE:
            account.refused_at = now
            token = account.token = None
            account.retry_at = 0.0
        if token is not None and now < token.expires_at:
            if now >= token.renew_at and now >= account.retry_at:
                self._begin(grant, account)  # the present one is still valid: do not wait
            return token
        if account.request is None and account.error is not None and now < account.retry_at:
            raise TokenError(str(account.error), account.error.result, account.retry_at)
        # If one caller is cancelled, the others still wait.
        return await asyncio.shield(self._begin(grant, account))

    def _account(self, grant: OAuthGrant) -> _Account:
        account = self._accounts.get(grant)
        if account is None:
            account = self._accounts[grant] = _Account(grant.refresh_token)
            if len(self._accounts) > REMEMBERED:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(grant)
        return account

    def _begin(self, grant: OAuthGrant, account: _Account) -> asyncio.Task[AccessToken]:
        """The running request, started if there is none."""
        if account.request is None:
            account.request = asyncio.create_task(self._renew(grant, account), name="access token")
            account.request.add_done_callback(_heard)
        return account.request

    async def _renew(self, grant: OAuthGrant, account: _Account) -> AccessToken:
        asked_at = self._clock.monotonic()
        try:
            granted = await self._request(grant, account.refresh_token)
        except TokenError as error:
            self._failed(grant, account, error)
            raise
        except Exception as error:
            log.exception("the request for an access token")
            told = TokenError("internal error, see the log of the relay")
            self._failed(grant, account, told)
            raise told from error
        finally:
            account.request = None
        self._told(TokenResult.OK)
        account.token, account.error, account.failures = granted.at(asked_at), None, 0
        if grant.refresh_token and granted.refresh_token:
            account.refresh_token = granted.refresh_token
        return account.token

    def _failed(self, grant: OAuthGrant, account: _Account, error: TokenError) -> None:
        self._told(error.result)
        pause = min(PAUSE * 2.0**account.failures, MAX_PAUSE)
        account.failures = min(account.failures + 1, 16)
        account.error, account.retry_at = error, self._clock.monotonic() + pause
        account.refresh_token = grant.refresh_token  # a later one may be invalid: start again with the configured one
        log.warning("no access token from %s: %s", server_of(grant), error)


def _heard(request: asyncio.Task[AccessToken]) -> None:
    """Retrieve the exception of a failed renewal without a waiter; it has been reported."""
    if not request.cancelled():
        request.exception()
