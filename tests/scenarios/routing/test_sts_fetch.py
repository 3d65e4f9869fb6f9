"""A policy of MTA-STS is fetched from a real HTTPS server, which may be slow, huge, redirect, lie or vanish."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.authority import Authority, server_context
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.fixed_clock import FixedClock
from tests.support.pem import self_signed
from tests.support.policy_server import PATH, PolicyServer, Reply, policy_text
from tests.support.routing import DnsTally

from mailboat.model.observer import StsResult
from mailboat.model.sts import StsMode, StsPolicy
from mailboat.routing import public_https, sts_fetch
from mailboat.routing.public_https import HttpsSettings, PublicResolver, https_context
from mailboat.routing.resolver import Patience, Resolver
from mailboat.routing.sts_fetch import StsFetchError, fetch_policy

D = "example.test"
AUTHORITY = Authority()


class Rig:
    """A policy server, and a DNS server that leads to it."""

    def __init__(self, server: PolicyServer, dns: DnsServer, directory: Path) -> None:
        self.server = server
        self.dns = dns
        (directory / "roots.pem").write_text(AUTHORITY.root)
        self.settings = HttpsSettings(str(directory / "roots.pem"), allow_private=True, port=server.port)
        self.resolver = Resolver(observer=DnsTally(), clock=FixedClock(), patience=Patience(query=1.0, rounds=1))
        self.resolver.configure((dns.endpoint,))

    async def fetch(self, timeout: float = 30.0) -> StsPolicy:
        return await fetch_policy(D, self.resolver, self.settings, timeout)

    async def failure(self, timeout: float = 30.0) -> tuple[StsResult, str]:
        with pytest.raises(StsFetchError) as caught:
            await self.fetch(timeout)
        return caught.value.result, str(caught.value)


@contextlib.asynccontextmanager
async def rig(directory: Path, **how: object) -> AsyncIterator[Rig]:
    async with PolicyServer.start(AUTHORITY, D, **how) as server, DnsServer.start() as dns:  # type: ignore[arg-type]
        server.answers[D] = policy_text("mx.example.test")
        dns.zone.a(f"mta-sts.{D}", "127.0.0.1")
        it = Rig(server, dns, directory)
        try:
            yield it
        finally:
            await it.resolver.close()


async def test_a_policy_is_fetched_with_the_name_of_its_host_in_sni_and_nothing_that_identifies(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        assert await it.fetch() == StsPolicy(StsMode.ENFORCE, 86_400, ("mx.example.test",))
    (request,) = it.server.requests
    assert request.line == f"GET {PATH} HTTP/1.1"
    assert (request.sni, request.headers["host"]) == (f"mta-sts.{D}", f"mta-sts.{D}")
    assert request.headers["accept-encoding"] == "identity"
    assert "cookie" not in request.headers


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    async with rig(tmp_path) as it:
        it.server.answers[D] = Reply(status, headers={"Location": f"https://mta-sts.{D}/elsewhere"})
        assert await it.failure() == (StsResult.FETCH_ERROR, f"HTTP status {status}")
    assert len(it.server.requests) == 1


@pytest.mark.parametrize("status", [201, 206, 403, 404, 500])
async def test_a_status_other_than_200_is_a_failure(tmp_path: Path, status: int) -> None:
    async with rig(tmp_path) as it:
        it.server.answers[D] = Reply(status, policy_text("mx.example.test").encode())
        assert await it.failure() == (StsResult.FETCH_ERROR, f"HTTP status {status}")


async def test_cookies_are_not_sent_back(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.server.answers[D] = Reply(body=policy_text("mx.example.test").encode(), headers={"Set-Cookie": "a=b"})
        await it.fetch()
        await it.fetch()
    assert all("cookie" not in request.headers for request in it.server.requests)


async def test_a_proxy_of_the_environment_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with rig(tmp_path) as it:
        await it.fetch()


@pytest.mark.parametrize("media_type", ["text/plain; charset=utf-8", "application/octet-stream", "", "nonsense"])
async def test_any_type_is_taken_but_html(tmp_path: Path, media_type: str) -> None:
    async with rig(tmp_path) as it:
        body = policy_text("mx.example.test").encode()
        it.server.answers[D] = Reply(body=body, headers={"Content-Type": media_type})
        await it.fetch()
        it.server.answers[D] = Reply(body=body, headers={"Content-Type": "text/html"})
        assert (await it.failure())[0] is StsResult.POLICY_INVALID


async def test_a_policy_has_64_kib_at_most_whatever_its_length_field_says(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        body = policy_text("mx.example.test").encode().ljust(sts_fetch.MAX_POLICY, b"\n")
        it.server.answers[D] = Reply(body=body)
        await it.fetch()
        it.server.answers[D] = Reply(body=body + b"\n")
        assert await it.failure() == (StsResult.FETCH_ERROR, "its policy has more than 65536 octets")
        it.server.answers[D] = Reply(body=b"x" * (10 << 20))
        assert (await it.failure())[0] is StsResult.FETCH_ERROR
        endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (1 << 20)
        it.server.answers[D] = Reply(raw=endless)
        assert (await it.failure())[0] is StsResult.FETCH_ERROR


@pytest.mark.parametrize(
    "answer",
    [
        Reply(body=b"version: STSv1\n", length=1000),
        Reply(raw=b""),
        Reply(raw=b"version: STSv1\nmode: none\nmax_age: 1\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
    ],
    ids=["cut-short", "nothing", "no-http", "bad-chunks", "huge-header"],
)
async def test_an_answer_that_is_not_whole_or_not_http_is_a_failure(tmp_path: Path, answer: Reply) -> None:
    async with rig(tmp_path) as it:
        it.server.answers[D] = answer
        assert (await it.failure())[0] is StsResult.FETCH_ERROR


async def test_a_compressed_policy_is_not_decoded(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        body = gzip.compress(policy_text("mx.example.test").encode())
        it.server.answers[D] = Reply(body=body, headers={"Content-Encoding": "gzip"})
        assert (await it.failure())[0] is StsResult.POLICY_INVALID


async def test_an_invalid_policy_is_a_failure_of_its_own(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.server.answers[D] = "version: STSv1\nmode: enforce\n"
        assert await it.failure() == (StsResult.POLICY_INVALID, "invalid policy: no mx, with mode: enforce")


@pytest.mark.parametrize("answer", [Reply(silent=True), Reply(body=b"v", length=1000, drips=True)])
async def test_a_server_that_does_not_finish_is_given_up(tmp_path: Path, answer: Reply) -> None:
    async with rig(tmp_path) as it:
        it.server.answers[D] = answer
        assert await it.failure(timeout=0.5) == (StsResult.FETCH_ERROR, "no policy within 0.5 s")
    assert sts_fetch.TIMEOUT == 60
    assert public_https.CONNECT_TIMEOUT == 10


@pytest.mark.parametrize(
    ("context", "why"),
    [
        (AUTHORITY.context("www.example.test"), "Hostname mismatch"),
        (AUTHORITY.context("example.test"), "Hostname mismatch"),
        (AUTHORITY.context(common_name=f"mta-sts.{D}"), "Hostname mismatch"),
        (AUTHORITY.context("*.mta-sts.example.test"), "Hostname mismatch"),
        (AUTHORITY.context(f"mta-sts.{D}", expired=True), "expired"),
        (Authority().context(f"mta-sts.{D}"), "unable to get local issuer certificate"),
        (server_context(*self_signed(f"mta-sts.{D}")), "self-signed certificate"),
    ],
    ids=["other-name", "domain", "common-name-only", "wildcard-below", "expired", "other-root", "self-signed"],
)
async def test_a_certificate_that_is_not_valid_for_the_policy_host_is_refused(
    tmp_path: Path, context: object, why: str
) -> None:
    async with rig(tmp_path, context=context) as it:
        result, reason = await it.failure()
        assert result is StsResult.WEBPKI_INVALID
        assert why in reason
    assert it.server.requests == []


async def test_a_wildcard_in_the_leftmost_label_is_taken(tmp_path: Path) -> None:
    async with rig(tmp_path, context=AUTHORITY.context(f"*.{D}")) as it:
        await it.fetch()


def test_tls_is_version_1_2_at_least() -> None:
    assert https_context("").minimum_version is ssl.TLSVersion.TLSv1_2


async def test_private_addresses_are_not_connected_to_unless_allowed(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.settings = HttpsSettings(it.settings.roots, port=it.server.port)
        result, reason = await it.failure()
        assert (result, reason) == (
            StsResult.FETCH_ERROR,
            f"no connection: mta-sts.{D} has no public address: 127.0.0.1",
        )
    assert it.server.connections == 0


async def test_a_name_that_has_public_and_private_addresses_leads_to_the_public_ones_only(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.dns.zone.a("mixed.test", "8.8.8.8", "10.0.0.1", "127.0.0.1")
        it.dns.zone.aaaa("mixed.test", "::1", "2606:2800:220:1::1", "64:ff9b::10.0.0.1")
        found = await PublicResolver(it.resolver, HttpsSettings()).resolve("mixed.test", 80)
    ends = [(end["family"], end["host"], end["port"]) for end in found]
    assert ends == [(socket.AF_INET6, "2606:2800:220:1::1", 443), (socket.AF_INET, "8.8.8.8", 443)]


async def test_the_name_is_looked_up_once_and_with_the_servers_of_the_relay(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.fetch()
    assert it.dns.asked_for(f"mta-sts.{D}", "A") == 1


@pytest.mark.parametrize("behaviour", [Behaviour.SERVFAIL, Behaviour.NXDOMAIN])
async def test_a_policy_host_without_an_address_is_a_failure(tmp_path: Path, behaviour: Behaviour) -> None:
    async with rig(tmp_path) as it:
        it.dns.zone.behave(f"mta-sts.{D}", behaviour)
        assert (await it.failure())[0] is StsResult.FETCH_ERROR


async def test_a_server_that_has_vanished_is_a_failure(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.server.vanish()
        result, reason = await it.failure()
        assert result is StsResult.FETCH_ERROR
        assert "no connection" in reason


async def test_no_connection_is_left_open(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.fetch()
        async with it.server.changed:
            await it.server.changed.wait_for(lambda: it.server.open == 0)
