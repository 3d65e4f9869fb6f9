"""A whole relay whose smart host takes access tokens."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.relay_process import RelayConfig, everybody_accepts, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.token_server import HttpAnswer, Silent, TokenServer


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with TokenServer.start() as server:
        yield server


class TokenConfig(RelayConfig):
    """Every domain leads to a smart host that wants tokens."""

    server: TokenServer

    def route(self) -> list[str]:
        return self.server.route(self.sink_port)


def config_of(directory: Path, mx: ScriptedMx, server: TokenServer, nodes: int = 0) -> TokenConfig:
    """A configuration with the files of the server."""
    mx.extensions = ["AUTH XOAUTH2"]
    TokenConfig.server = server
    server.write(directory)
    return TokenConfig(directory, mx.port, nodes)


async def test_one_token_serves_all_mail_of_a_single_process(
    tmp_path: Path, mx: ScriptedMx, server: TokenServer
) -> None:
    async with running(config_of(tmp_path / "config", mx, server)) as relay:
        for number in range(10):
            await relay.submit(f"u{number}@there.test")
        await relay.event("delivered", 10)
        metrics = await relay.metrics()
        assert metrics["mailboat_oauth_token_requests_total{result=ok}"] == 1
        assert await relay.stop() == 0
    assert len(mx.mails) == 10
    assert len(server.requests) == 1


async def test_the_reason_for_waiting_is_in_the_queue_and_secrets_are_nowhere(
    tmp_path: Path, mx: ScriptedMx, server: TokenServer
) -> None:
    server.answers = [HttpAnswer(401, b'{"error":"invalid_client","error_description":"the-client-secret"}')]
    async with running(config_of(tmp_path / "config", mx, server)) as relay:
        await relay.submit()
        await relay.event("deferred")
        (entry,) = await relay.queue()
        reason = f"no access token from {server.url}: it answered 401 (invalid_client)"
        assert reason in entry["last_reply"]
        await relay.logged(reason)
        shown = [await relay.http(path) for path in ("/configz", "/v1/queue", "/metrics")]
        assert await relay.stop() == 0
        told = "\n".join([*relay.log, *map(str, relay.events), *map(str, shown)])
        assert "the-client-secret" not in told
    assert mx.connections == []


async def test_a_new_secret_is_taken_by_a_reload_and_waiting_mail_goes(
    tmp_path: Path, mx: ScriptedMx, server: TokenServer
) -> None:
    server.answers = [HttpAnswer(401, b'{"error":"invalid_client"}'), {}]
    config = config_of(tmp_path / "config", mx, server)
    async with running(config) as relay:
        await relay.submit()
        await relay.event("deferred")
        await relay.poll(relay.queue, lambda entries: entries[0]["state"] == "deferred")
        config.put("client_secret", "another-secret\n")
        await relay.event("config", result="success")
        assert (await relay.http("/v1/queue/flush", "POST", {"domain": "there.test"}))[0] == 200
        await relay.event("delivered")
        assert await relay.stop() == 0
    assert [request["client_secret"] for request in server.requests] == ["the-client-secret", "another-secret"]


async def test_one_request_serves_all_workers_and_one_that_is_started_again(
    tmp_path: Path, mx: ScriptedMx, server: TokenServer
) -> None:
    server.answers = [Silent()]
    config = config_of(tmp_path / "config", mx, server, nodes=2)
    config.outbound_is("disabled=true")
    async with running(config) as relay:
        count = await everybody_accepts(relay, 2)
        config.outbound_is()
        await server.wait_for(lambda it: it.requests)
        assert mx.connections == []
        server.release()
        await relay.event("delivered", count)
        for worker in relay.workers():
            os.kill(worker, signal.SIGKILL)
        await relay.logged("it is restarted", 2)
        await relay.poll(relay.http_readyz, lambda status: status == 200)
        config.outbound_is("disabled=true")
        count += await everybody_accepts(relay, 2)
        config.outbound_is()
        await relay.event("delivered", count)
        metrics = await relay.metrics()
        assert metrics["mailboat_oauth_token_requests_total{result=ok}"] == 1
        assert await relay.stop() == 0
    assert len(server.requests) == 1
    assert len(mx.mails) == count


@pytest.mark.parametrize("nodes", [0, 2])
async def test_a_token_that_is_withdrawn_is_renewed_once_for_all_and_nothing_bounces(
    tmp_path: Path, mx: ScriptedMx, server: TokenServer, nodes: int
) -> None:
    config = config_of(tmp_path / "config", mx, server, nodes=nodes)
    held, going = ("disabled=true", "connection_idle_timeout=0"), ("connection_idle_timeout=0",)
    mx.tokens = {"token-1"}
    config.outbound_is(*held)
    async with running(config) as relay:
        count = await everybody_accepts(relay, max(1, nodes))
        config.outbound_is(*going)
        await relay.event("delivered", count)
        config.outbound_is(*held)
        await relay.event("config", 2, result="success")
        mx.tokens = {"token-2"}
        count += await everybody_accepts(relay, max(1, nodes))
        config.outbound_is(*going)
        await relay.event("delivered", count)
        assert not [event for event in relay.events if event["event"] in ("deferred", "bounced")]
        metrics = await relay.metrics()
        assert metrics["mailboat_oauth_token_requests_total{result=ok}"] == len(server.requests) == 2
        assert metrics["mailboat_upstream_auth_failures_total"] == 0
        assert await relay.stop() == 0
    assert len(mx.mails) == count


async def test_all_workers_say_why_mail_waits_and_ask_a_dead_server_once(
    tmp_path: Path, mx: ScriptedMx, server: TokenServer
) -> None:
    server.answers = [HttpAnswer(400, b'{"error":"invalid_scope"}')]
    config = config_of(tmp_path / "config", mx, server, nodes=2)
    config.outbound_is("disabled=true")
    async with running(config) as relay:
        count = await everybody_accepts(relay, 2)
        config.outbound_is()
        await relay.event("deferred", count)
        entries = await relay.poll(relay.queue, lambda found: all(entry["last_reply"] for entry in found))
        assert all("it answered 400 (invalid_scope)" in entry["last_reply"] for entry in entries)
        metrics = await relay.metrics()
        assert metrics["mailboat_oauth_token_requests_total{result=refused}"] == len(server.requests)
        assert await relay.stop() == 0
        assert "the-client-secret" not in "\n".join([*relay.log, *map(str, relay.events)])
    assert len(server.requests) <= 4, "at growing intervals, not for each message"
