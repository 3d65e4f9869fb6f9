"""`shaping.ini` through a whole relay: what delivery obeys of it, live."""

from __future__ import annotations

from pathlib import Path

from tests.support.mx_conversation import Held, Silence
from tests.support.relay_process import RelayConfig, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.sts_domain import MX1, NAME, StsDomain

PROVIDER = f"[provider:ours]\nmx[]=.{NAME}\nsample_mx[]={MX1}\n"


async def test_a_provider_gets_the_messages_a_connection_and_the_tls_that_its_section_says(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        config = domain.config(tmp_path / "config")
        config.put("shaping.ini", f"{PROVIDER}messages_per_connection=2\ntls=required\n")
        async with running(config) as relay:
            for count in range(1, 4):
                await relay.submit(f"bob{count}@{NAME}")
                event = (await relay.event("delivered", count))[-1]
                assert (event["tls_policy"], event["tls_level"], event["tls_verified"]) == ("config", "verify", "pkix")
        assert [connection.verbs.count("MAIL") for connection in domain.mx1.connections] == [2, 1]


async def test_a_section_says_how_long_its_hosts_are_waited_for(tmp_path: Path) -> None:
    """The host is silent at RCPT, which has five minutes elsewhere."""
    async with ScriptedMx.start() as mx:
        mx.on("RCPT", Silence())
        config = RelayConfig(tmp_path / "config", mx.port, outbound=["temp_fail_intervals=1h"])
        config.put("shaping.ini", "[route:sink]\nrcpt_timeout=1\n")
        async with running(config) as relay:
            await relay.submit("bob@d.test")
            (deferred,) = await relay.event("deferred")
            assert "no reply in time" in deferred["reply"]


async def test_a_section_says_when_its_mail_is_tried_again(tmp_path: Path) -> None:
    """Here never: the first failure bounces, which elsewhere is deferred for an hour."""
    async with ScriptedMx.start() as mx:
        mx.on("MAIL", "451 4.7.1 greylisted")
        config = RelayConfig(tmp_path / "config", mx.port, outbound=["temp_fail_intervals=1h"])
        config.put("shaping.ini", "[route:sink]\ntemp_fail_intervals=none\n")
        async with running(config) as relay:
            await relay.submit("bob@d.test")
            (bounced, *_) = await relay.event("bounced")
            assert bounced["attempt"] == 1


async def test_a_pinned_window_is_used_at_once(tmp_path: Path) -> None:
    """Elsewhere delivery begins with two connections, and these have not been answered yet."""
    async with ScriptedMx.start() as mx:
        mx.on(".", Held("250 2.0.0 ok"))
        config = RelayConfig(tmp_path / "config", mx.port)
        config.put("shaping.ini", "[route:sink]\nwindow=5\n")
        async with running(config) as relay:
            for n in range(12):
                await relay.submit(f"u{n}@d.test")
            await mx.wait_for(lambda server: len(server.mails) == 5)
            mx.release()
            await relay.event("delivered", 12)
        assert len(mx.connections) == 5


async def test_a_change_needs_no_restart(tmp_path: Path) -> None:
    async with StsDomain.start() as domain:
        config = domain.config(tmp_path / "config")
        async with running(config) as relay:
            await relay.submit(f"bob@{NAME}")
            await relay.event("delivered")
            _, before = await relay.http("/configz")
            config.put("shaping.ini", f"{PROVIDER}messages_per_connection=1\n")
            await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["hash"] != before["hash"])
            for count in range(2, 5):
                await relay.submit(f"bob@{NAME}")
                await relay.event("delivered", count)
        # The connection that was open goes on to be used, for one message.
        assert max(connection.verbs.count("MAIL") for connection in domain.mx1.connections[1:]) == 1
