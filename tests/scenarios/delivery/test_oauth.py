"""AUTH with access tokens: how they are had, sent and renewed, over real sockets to a token server and a smart host."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from tests.support.attempts import Rig, delivery_rig, make_entry
from tests.support.delivery_side import delivery_side
from tests.support.scripted_mx import ScriptedMx
from tests.support.tls_checks import Subject, requirement
from tests.support.token_server import HttpAnswer, Silent, TokenServer

from mailboat.config.settings import OAuthGrant
from mailboat.delivery.oauth import TokenError
from mailboat.delivery.token_client import request_token
from mailboat.model.outcome import Outcome, Result, Stage
from mailboat.routing.answers import Credentials, Target
from mailboat.routing.subject import TlsPolicy

CHALLENGE = base64.b64encode(b'{"status":"401","schemes":"bearer"}').decode()
EXPIRED = "535 5.7.3 Authentication unsuccessful"


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with TokenServer.start() as server:
        yield server


def target(mx: ScriptedMx, server: TokenServer, mechanism: str = "XOAUTH2", **grant: Any) -> Target:
    """The smart host, with tokens of the server."""
    known = {"client_secret": "the-client-secret", "ca": server.ca} | grant
    mx.extensions = [f"AUTH LOGIN {mechanism}"]
    asked = OAuthGrant(server.url, "the-client", **known)
    return mx.target(credentials=Credentials("relay@example.com", "", mechanism, True, asked))


def sent(token: str, mechanism: str = "XOAUTH2") -> str:
    """The AUTH command of a token."""
    response = {
        "XOAUTH2": f"user=relay@example.com\1auth=Bearer {token}\1\1",
        "OAUTHBEARER": f"n,a=relay@example.com,\1auth=Bearer {token}\1\1",
    }[mechanism]
    return f"AUTH {mechanism} " + base64.b64encode(response.encode()).decode()


def tokens_sent(mx: ScriptedMx) -> list[str]:
    """The AUTH commands of all connections."""
    return [line for connection in mx.connections for line in connection.lines if line.startswith("AUTH ")]


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_token_of_the_clients_credentials_is_sent(server: TokenServer, mechanism: str) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        report = await rig.attempt(make_entry(), target(mx, server, mechanism, scope="https://mail.example/.default"))

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert report.peer.authenticated
        assert tokens_sent(mx) == [sent("token-1", mechanism)]
    assert server.lines == ["POST /tenant/token HTTP/1.1"]
    assert server.requests == [
        {
            "grant_type": "client_credentials",
            "client_id": "the-client",
            "client_secret": "the-client-secret",
            "scope": "https://mail.example/.default",
        }
    ]


async def test_a_refresh_token_is_the_grant_where_there_is_one(server: TokenServer) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        way = target(mx, server, refresh_token="the-refresh-token")
        assert (await rig.outcome(way)).result is Result.DELIVERED
    assert server.requests == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "the-refresh-token",
            "client_id": "the-client",
            "client_secret": "the-client-secret",
        }
    ]


async def test_a_token_too_long_for_a_command_goes_in_a_line_of_its_own(server: TokenServer) -> None:
    token = "t" * 2000
    server.answers = [{"access_token": token}]
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("AUTH", "334 ", "235 2.7.0 ok")
        assert (await rig.outcome(target(mx, server))).result is Result.DELIVERED
        assert mx.connections[0].lines[1:3] == ["AUTH XOAUTH2", sent(token).rpartition(" ")[2]]


async def test_fifty_messages_at_once_ask_once(server: TokenServer) -> None:
    async with ScriptedMx.start() as mx, delivery_side({"there.test": [target(mx, server)]}) as side:
        await side.accept_many("there.test", 50)
        side.engine.start()
        await side.all_settled()
        assert side.results(Result.DELIVERED) == 50
        assert set(tokens_sent(mx)) == {sent("token-1")}
    assert len(server.requests) == 1


@pytest.mark.parametrize(("mechanism", "answer"), [("XOAUTH2", ""), ("OAUTHBEARER", "AQ==")])
async def test_after_a_535_one_new_token_is_tried_and_nothing_bounces(
    server: TokenServer, mechanism: str, answer: str
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("AUTH", f"334 {CHALLENGE}", EXPIRED, "235 2.7.0 ok")
        assert (await rig.outcome(target(mx, server, mechanism))).result is Result.DELIVERED
        assert mx.connections[0].lines[1:3] == [sent("token-1", mechanism), answer]
        assert tokens_sent(mx) == [sent("token-1", mechanism), sent("token-2", mechanism)]
        assert rig.observer.authentication_failures == []
    assert len(server.requests) == 2


async def test_a_host_that_takes_no_token_defers_and_the_token_server_is_not_asked_for_each_message(
    server: TokenServer,
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        way = target(mx, server)
        mx.on("AUTH", "535 5.7.139 SmtpClientAuthentication is disabled for the Mailbox")
        for _ in range(5):
            outcome = await rig.outcome(way)
            assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.139", Stage.AUTH)
            assert "disabled for the Mailbox" in outcome.reason
        assert len(rig.observer.authentication_failures) == 5
    assert len(server.requests) == 2


async def test_without_the_mechanism_mail_waits_and_never_goes_without_auth(server: TokenServer) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        way = target(mx, server)
        mx.extensions = ["AUTH PLAIN LOGIN CRAM-MD5"]
        outcome = await rig.outcome(way)
        assert (outcome.result, outcome.stage) == (Result.DEFERRED, Stage.AUTH)
        assert "does not offer AUTH XOAUTH2" in outcome.reason
        assert mx.connections[0].verbs == ["EHLO"]


async def test_a_password_is_never_sent_as_a_token(server: TokenServer) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH XOAUTH2 OAUTHBEARER"]
        outcome = await rig.outcome(mx.target(credentials=Credentials("user", "password", required=True)))
        assert outcome.result is Result.DEFERRED
        assert mx.connections[0].verbs == ["EHLO"]
    assert server.requests == []


async def test_a_connection_is_used_again_with_a_renewed_token(server: TokenServer) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        server.answers = [{"expires_in": 0.001}]
        way = target(mx, server)
        for _ in range(3):
            assert (await rig.outcome(way)).result is Result.DELIVERED
        assert len(mx.connections) == 1
    assert len(server.requests) == 3


FAULTS: dict[str, tuple[HttpAnswer | dict[str, Any], str]] = {
    "invalid client": (HttpAnswer(401, b'{"error":"invalid_client"}'), "it answered 401 (invalid_client)"),
    "server error": (HttpAnswer(503, b"<html>busy</html>"), "it answered 503"),
    "huge": (HttpAnswer(200, b"x" * 70_000), "its answer has more than 65536 octets"),
    "broken off": (HttpAnswer(200, b"{", {"Content-Length": "100"}), "its answer is incomplete"),
    "huge header": (HttpAnswer(200, headers={"X-Much": "x" * 100_000}), "its answer is not valid HTTP"),
    "redirect": (HttpAnswer(302, headers={"Location": "http://127.0.0.1:9/"}), "a redirect, which is not followed"),
    "not JSON": (HttpAnswer(200, b"<html>log in</html>"), "not a JSON object"),
    "a list": (HttpAnswer(200, b"[]"), "not a JSON object"),
    "deep": (HttpAnswer(200, b"[" * 60_000), "not a JSON object"),
    "no token": ({"access_token": None}, "has no usable access_token"),
    "token with a line end": ({"access_token": "a\r\nQUIT"}, "has no usable access_token"),
    "no bearer": ({"token_type": "mac"}, "token_type is not Bearer"),
    "secret as error": (HttpAnswer(400, b'{"error":"the-client-secret"}'), "it answered 400"),
    "secret in error": (HttpAnswer(400, b'{"error":"see.the-client-secret"}'), "it answered 400"),
    "line end in error": (HttpAnswer(400, b'{"error":"a\\r\\nb"}'), "it answered 400"),
}


async def deferred(rig: Rig, way: Target) -> Outcome:
    """The outcome of an attempt, which waits without the host having been asked."""
    outcome = await rig.outcome(way)
    assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.0", Stage.AUTH)
    assert "the-client-secret" not in outcome.reason
    return outcome


@pytest.mark.parametrize("fault", FAULTS)
async def test_mail_waits_with_the_reason_while_the_token_server_gives_none(server: TokenServer, fault: str) -> None:
    answer, reason = FAULTS[fault]
    server.answers = [answer]
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        way = target(mx, server)
        outcome = await deferred(rig, way)
        assert f"no access token from {server.url}: " in outcome.reason
        assert reason in outcome.reason
        assert outcome.reason.isprintable()
        again = (await rig.attempt(make_entry(), way)).outcomes[0]
        assert (again.result, again.reason) == (Result.DEFERRED, outcome.reason)
        assert mx.connections == [], "the host need not be asked"
    assert len(server.requests) == 1, "a server that fails is left alone for a while"


async def test_a_failed_request_costs_an_attempt_and_the_rest_after_it_costs_none(server: TokenServer) -> None:
    server.answers = [HttpAnswer(503)]
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        way = target(mx, server)
        first, second = [await rig.attempt(make_entry(), way) for _ in range(2)]
        assert (first.counted, first.excused, first.retry_after) == (True, False, None)
        assert (second.counted, second.excused, second.retry_after) == (False, True, 5.0)


async def test_a_token_server_that_fails_costs_what_a_host_that_refuses_connections_does(server: TokenServer) -> None:
    server.answers = [HttpAnswer(503)]
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        way = target(mx, server)
    async with delivery_rig() as rig:
        refused = await rig.attempt(make_entry(), replace(way, credentials=None))
        no_token = await rig.attempt(make_entry(), way)
        assert (refused.counted, refused.retry_after) == (no_token.counted, no_token.retry_after) == (True, None)


async def test_mail_waits_for_a_server_whose_certificate_nobody_vouches_for(server: TokenServer) -> None:
    async with TokenServer.start() as other, ScriptedMx.start() as mx, delivery_rig() as rig:
        for ca in (other.ca, ""):
            outcome = await deferred(rig, target(mx, server, ca=ca))
            assert "its certificate does not verify" in outcome.reason
    assert server.requests == []


async def test_mail_waits_for_a_server_that_is_down_or_speaks_no_http() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        async with TokenServer.start(plain=True) as gone:
            way = target(mx, gone)
        assert "no connection" in (await deferred(rig, way)).reason
        grant = OAuthGrant(f"http://127.0.0.1:{mx.port}/", "the-client", "the-client-secret")
        mx.on("POST", "500 5.5.1 the-client-secret")
        credentials = Credentials("relay@example.com", "", "XOAUTH2", True, grant)
        assert "is not valid HTTP" in (await deferred(rig, mx.target(credentials=credentials))).reason


async def test_a_server_that_keeps_silent_has_its_time_and_no_more(server: TokenServer) -> None:
    server.answers = [Silent()]
    grant = OAuthGrant(server.url, "the-client", "the-client-secret", ca=server.ca)
    with pytest.raises(TokenError, match=r"^no answer within 0\.2 s$"):
        await request_token(grant, "", 0.2)


async def test_mail_waits_for_a_slow_server_and_goes_when_it_answers(server: TokenServer) -> None:
    server.answers = [Silent()]
    async with ScriptedMx.start() as mx, delivery_side({"there.test": [target(mx, server)]}) as side:
        await side.accept_many("there.test", 10)
        side.engine.start()
        await server.wait_for(lambda it: it.requests)
        assert mx.connections == []
        server.release()
        await side.all_settled()
        assert side.results(Result.DELIVERED) == 10
    assert len(server.requests) == 1


async def test_a_silent_token_server_holds_no_other_destination_up(server: TokenServer) -> None:
    server.answers = [Silent()]
    async with ScriptedMx.start() as other, ScriptedMx.start() as mx:
        ways = {"token.test": [target(mx, server)], "there.test": [other.target("other.test")]}
        async with delivery_side(ways, concurrency_max=4) as side:
            await side.accept_many("token.test", 10)
            side.engine.start()
            await server.wait_for(lambda it: it.requests)
            await side.accept_many("there.test", 10)
            await other.wait_for(lambda it: len(it.mails) == 10)
            server.release()
            await side.all_settled()
            assert len(mx.mails) == 10


async def test_a_token_without_expires_in_is_used(server: TokenServer) -> None:
    server.answers = [{"expires_in": None}]
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        for n in range(3):
            report = await rig.attempt(make_entry(f"u{n}@there.test"), target(mx, server))
            assert report.outcomes[0].result is Result.DELIVERED
    assert len(server.requests) == 1


async def test_neither_environment_nor_proxy_sees_the_secret(
    server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TokenServer.start(plain=True) as proxy, ScriptedMx.start() as mx, delivery_rig() as rig:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await rig.outcome(target(mx, server))).result is Result.DELIVERED
        assert proxy.connections == 0


async def test_a_token_waits_for_a_host_that_offers_no_tls(server: TokenServer) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        subject = Subject("there.test", "mx.test", ip_address("192.0.2.1"), "smart", has_secret=True)
        way = replace(target(mx, server), tls=requirement(TlsPolicy(enabled=True), subject))
        outcome = await rig.outcome(way)
        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.4", Stage.STARTTLS)
        assert mx.connections[0].verbs == ["EHLO"]


def test_no_repr_shows_a_secret_or_a_token() -> None:
    grant = OAuthGrant("https://t.example/", "client", "SECRET-1", "SECRET-2", ca="SECRET-3")
    credentials = Credentials("user", "SECRET-4", "XOAUTH2", True, grant, "SECRET-5")
    assert "SECRET" not in repr(grant) + repr(credentials) + repr(Target("h", "192.0.2.1", 25, credentials=credentials))
