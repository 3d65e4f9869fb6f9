"""The cache of access tokens: one request however many wait, renewal ahead, and rest for a server that fails."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.support.fixed_clock import FixedClock

from mailboat.config.settings import OAuthGrant
from mailboat.delivery.oauth import DEFAULT_LIFETIME, Granted, TokenError, form, read_answer
from mailboat.delivery.tokens import REFUSAL_PAUSE, REMEMBERED, TokenCache
from mailboat.model.observer import TokenResult

GRANT = OAuthGrant("https://tokens.example/token", "client", "secret")
REFRESH = OAuthGrant("https://tokens.example/token", "client", "secret", "refresh-0")


class Server:
    """A token server without a network."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.results: list[TokenResult] = []
        self.cache = TokenCache(self.clock, self.results.append, self._request)
        self.refresh_tokens: list[str] = []
        """What was sent, a request each."""
        self.error: Exception | None = None
        self.lifetime = 3600.0
        self.rotates = False
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def _request(self, _grant: OAuthGrant, refresh_token: str) -> Granted:
        self.refresh_tokens.append(refresh_token)
        number = self.requests
        self.asked.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return Granted(f"token-{number}", self.lifetime, f"refresh-{number}" if self.rotates else "")

    @property
    def requests(self) -> int:
        return len(self.refresh_tokens)

    async def value(self, refused: str = "", grant: OAuthGrant = GRANT) -> str:
        return (await self.cache.token(grant, refused)).value


@pytest.fixture
async def server() -> Server:
    return Server()


async def settled() -> None:
    """Let what was begun come to its end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


async def test_all_who_wait_share_one_request_and_its_failure(server: Server) -> None:
    server.open.clear()
    waiting = [asyncio.create_task(server.value()) for _ in range(20)]
    await server.asked.wait()
    waiting[0].cancel()  # the others wait on
    server.open.set()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]
    assert {await task for task in waiting[1:]} == {"token-1"}
    assert server.requests == 1

    server.error = TokenError("down")
    server.clock.advance(4000)
    answers = await asyncio.gather(*(server.value() for _ in range(20)), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"down"}
    assert server.requests == 2
    assert server.results == [TokenResult.OK, TokenResult.FAILED]


async def test_a_token_is_renewed_before_it_expires_while_the_old_one_serves(server: Server) -> None:
    assert await server.value() == "token-1"
    server.clock.advance(3299)
    assert await server.value() == "token-1"
    assert server.requests == 1
    server.clock.advance(2)
    server.open.clear()
    assert {await server.value() for _ in range(5)} == {"token-1"}
    server.open.set()
    await settled()
    assert await server.value() == "token-2"
    assert server.requests == 2


async def test_the_old_token_serves_while_its_renewal_fails_until_it_expires(server: Server) -> None:
    await server.value()
    server.error = TokenError("down")
    server.clock.advance(3301)
    for _ in range(20):
        assert await server.value() == "token-1"
        await settled()
    assert server.requests == 2, "a server that fails is left alone for a while"
    server.clock.advance(298)
    with pytest.raises(TokenError, match="down"):
        await server.value()


async def test_a_server_that_fails_is_asked_at_growing_intervals(server: Server) -> None:
    server.error = TokenError("down")
    asked_at = []
    for second in range(1000):
        before = server.requests
        with pytest.raises(TokenError, match="down"):
            await server.value()
        if server.requests > before:
            asked_at.append(second)
        server.clock.advance(1)
    assert asked_at == [0, 2, 6, 14, 30, 62, 126, 254, 510, 810]
    server.error = None
    server.clock.advance(300)
    assert await server.value() == "token-11"


async def test_who_is_not_let_ask_hears_until_when(server: Server) -> None:
    server.error = TokenError("down")
    with pytest.raises(TokenError) as asked:
        await server.value()
    with pytest.raises(TokenError) as told:
        await server.value()
    assert (asked.value.retry_at, told.value.retry_at) == (0, server.clock.monotonic() + 2)


async def test_all_whose_token_was_refused_share_one_renewal(server: Server) -> None:
    await server.value()
    assert {*await asyncio.gather(*(server.value(refused="token-1") for _ in range(20)))} == {"token-2"}
    assert await server.value(refused="token-1") == "token-2", "who comes later, too"
    assert server.requests == 2


async def test_a_host_that_refuses_new_tokens_too_causes_one_request_a_minute(server: Server) -> None:
    await server.value()
    assert await server.value(refused="token-1") == "token-2"
    for _ in range(10):
        assert await server.value(refused="token-2") == "token-2"
    assert server.requests == 2
    server.clock.advance(REFUSAL_PAUSE)
    assert await server.value(refused="token-2") == "token-3"


async def test_a_refresh_token_that_the_server_renews_is_used_and_given_up_when_it_fails(server: Server) -> None:
    server.rotates = True
    for _ in range(2):
        await server.value(grant=REFRESH)
        server.clock.advance(4000)
    server.error = TokenError("invalid_grant", TokenResult.REFUSED)
    with pytest.raises(TokenError):
        await server.value(grant=REFRESH)
    server.clock.advance(60)
    with pytest.raises(TokenError):
        await server.value(grant=REFRESH)
    assert server.refresh_tokens == ["refresh-0", "refresh-1", "refresh-2", "refresh-0"]
    assert server.results[-1] is TokenResult.REFUSED


async def test_a_client_without_a_refresh_token_does_not_take_one_up(server: Server) -> None:
    server.rotates = True
    await server.value()
    server.clock.advance(4000)
    await server.value()
    assert server.refresh_tokens == ["", ""]


async def test_other_credentials_have_other_tokens_and_do_not_wait_for_each_other(server: Server) -> None:
    server.error = TokenError("invalid_client")
    with pytest.raises(TokenError):
        await server.value()
    server.error = None
    # A new secret after a reload is another grant: tried at once.
    assert await server.value(grant=OAuthGrant(GRANT.token_url, "client", "new secret")) == "token-2"


async def test_a_fault_of_our_own_waits_like_one_of_the_server(server: Server) -> None:
    server.error = RuntimeError("bug")
    for _ in range(2):
        with pytest.raises(TokenError, match="internal error"):
            await server.value()
    assert server.requests == 1


async def test_grants_of_old_configurations_are_forgotten(server: Server) -> None:
    for number in range(REMEMBERED + 1):
        await server.value(grant=OAuthGrant(GRANT.token_url, f"client-{number}", "secret"))
    await server.value(grant=OAuthGrant(GRANT.token_url, f"client-{REMEMBERED}", "secret"))
    assert server.requests == REMEMBERED + 1
    await server.value(grant=OAuthGrant(GRANT.token_url, "client-0", "secret"))
    assert server.requests == REMEMBERED + 2


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (b"3599", 3599.0),
        (b'"3599"', 3599.0),
        (b"1e300", 86400.0),
        *((text, DEFAULT_LIFETIME) for text in (b"null", b"0", b"-5", b"NaN", b'"soon"', b"[]", b"1" + b"0" * 400)),
    ],
)
def test_a_lifetime_that_makes_no_sense_is_a_short_one(expires_in: bytes, lifetime: float) -> None:
    body = b'{"access_token":"t","token_type":"bearer","expires_in":%b}' % expires_in
    assert read_answer(200, body, {}).lifetime == lifetime


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("invalid_grant", "it answered 400 (invalid_grant)"),
        ("renewed-refresh-token", "it answered 400"),
        ("x.renewed-refresh-token.x", "it answered 400"),
        ("refresh-token", "it answered 400"),
        ("e" * 65, "it answered 400"),
        ("a b", "it answered 400"),
    ],
)
def test_an_error_code_is_shown_unless_it_repeats_what_was_sent(error: str, shown: str) -> None:
    sent = form(OAuthGrant("https://t.example/", "c", "secret", "configured"), "renewed-refresh-token")
    with pytest.raises(TokenError) as raised:
        read_answer(400, f'{{"error":"{error}"}}'.encode(), sent)
    assert str(raised.value) == shown
