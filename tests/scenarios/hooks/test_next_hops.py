"""What a plugin may say of a next hop besides its address, and which ones it cannot lead mail to."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.pem import self_signed
from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import running
from tests.support.scripted_mx import ScriptedMx


def get_mx(answer: str) -> str:
    """A plugin that leads mail for there.test somewhere."""
    return f"async def hook_get_mx(hmail, domain):\n    return (OK, {answer}) if domain == 'there.test' else None\n"


def certified(directory: Path) -> ssl.SSLContext:
    """A server's context for mx.test; the certificate is `cert.pem` there."""
    key, cert = self_signed("mx.test")
    (directory / "key.pem").write_bytes(key)
    (directory / "cert.pem").write_bytes(cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


async def test_a_unix_socket_is_used_as_it_is(config: PluginConfig, mx: ScriptedMx, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp.sock")
    async with ScriptedMx.start(lmtp=True, path=path) as chosen:
        config.plug("p", get_mx(f"Mx(path={path!r}, using_lmtp=True)"))
        async with running(config) as relay:
            await relay.submit()
            (delivered,) = await relay.event("delivered")
    assert (delivered["ip"], len(chosen.mails), mx.connections) == (path, 1, [])


async def test_user_and_password_of_a_url_are_percent_decoded(config: PluginConfig, mx: ScriptedMx) -> None:
    async with ScriptedMx.start() as chosen:
        chosen.extensions += ["AUTH PLAIN"]
        config.plug("p", get_mx(f"'smtp://u%40x:p%3Aw%25@127.0.0.1:{chosen.port}'"))
        async with running(config) as relay:
            await relay.submit()
            await relay.event("delivered")
    import base64

    (said,) = (line for line in chosen.connections[0].lines if line.upper().startswith("AUTH PLAIN "))
    assert base64.b64decode(said.split()[2]).split(b"\0")[1:] == [b"u@x", b"p:w%"]


async def test_tls_from_the_first_octet_with_the_name_that_the_address_was_found_under(
    config: PluginConfig, mx: ScriptedMx, tmp_path: Path
) -> None:
    async with ScriptedMx.start() as chosen:
        chosen.context, chosen.implicit_tls = certified(tmp_path), True
        config.put("tls.ini", f"[outbound]\nca={tmp_path / 'cert.pem'}\n")
        config.plug("p", get_mx(f"dict(exchange='127.0.0.1', port={chosen.port}, tls='implicit', from_dns='mx.test')"))
        async with running(config) as relay:
            await relay.submit()
            (delivered,) = await relay.event("delivered")
    assert (delivered["mx"], delivered["verified"], chosen.mails[0].connection.tls) == ("mx.test", True, True)


async def test_required_tls_that_is_not_offered_defers(config: PluginConfig, mx: ScriptedMx) -> None:
    config.plug("p", get_mx(f"dict(exchange='127.0.0.1', port={mx.port}, tls='required')"))
    async with running(config) as relay:
        await relay.submit()
        (deferred,) = await relay.event("deferred")
    assert (deferred["enhanced"], "a plugin" in deferred["reply"], mx.mails) == ("4.7.4", True, [])


async def test_a_name_that_leads_to_this_host_is_no_way_unless_allowed(config: PluginConfig, mx: ScriptedMx) -> None:
    config.put("outbound.ini", "\n".join(["local_mx_ok=false", *config.route()]) + "\n")
    config.plug("p", get_mx(f"'localhost:{mx.port}'"))
    async with running(config) as relay:
        await relay.submit()
        (deferred,) = await relay.event("deferred")
        assert "which is this host" in deferred["reply"]
        assert mx.connections == []
        config.outbound_is()
        await relay.event("config", result="success")
        await relay.http("/v1/queue/flush", "POST", {"domain": "there.test"})
        await relay.event("delivered")


async def test_an_address_that_a_plugin_wrote_down_may_be_this_host(config: PluginConfig, mx: ScriptedMx) -> None:
    config.put("outbound.ini", "local_mx_ok=false\n")
    config.plug("p", get_mx(f"'127.0.0.1:{mx.port}'"))
    async with running(config) as relay:
        await relay.submit()
        await relay.event("delivered")


async def test_a_source_address_that_is_not_here_defers_and_no_other_is_taken(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    config.plug("p", get_mx(f"dict(exchange='127.0.0.1', port={mx.port}, bind='192.0.2.77')"))
    async with running(config) as relay:
        await relay.submit()
        (deferred,) = await relay.event("deferred")
    assert (deferred["enhanced"], deferred["stage"], mx.connections) == ("4.3.5", "bind", [])


async def test_the_relay_plugin_forces_the_way_of_a_domain_or_of_any(config: PluginConfig, mx: ScriptedMx) -> None:
    async with ScriptedMx.start() as exact, ScriptedMx.start() as rest:
        config.use(
            "relay",
            relay_dest_domains_ini="[domains]\n"
            f'exact.test={{"action":"continue","nexthop":"127.0.0.1:{exact.port}"}}\n'
            f'any={{"nexthop":"127.0.0.1:{rest.port}"}}\n',
        )
        async with running(config) as relay:
            await relay.submit("x@exact.test", "x@other.test")
            await relay.event("delivered", 2)
            config.put("relay.ini", "[relay]\nforce_routing=false\n")
            await relay.event("config", result="success")
            await relay.submit("x@exact.test")
            await relay.event("delivered", 3)
    assert [[mail.recipients for mail in server.mails] for server in (exact, rest, mx)] == [
        [["x@exact.test"]],
        [["x@other.test"]],
        [["x@exact.test"]],
    ]


async def test_always_split_makes_an_entry_and_a_session_a_recipient_each_with_its_own_hooks(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    people = [f"{name}@there.test" for name in "abc"]
    config.outbound_is("always_split=true", "connection_idle_timeout=0")
    config.plug(
        "p",
        """
        async def hook_send_email(hmail):
            if hmail.todo.rcpt_to[0].user == "b":
                return DELAY, 3600
        """,
    )
    async with running(config) as relay:
        await relay.submit(*people)
        await relay.event("delivered", 2)
        (entry,) = await relay.poll(relay.queue, partial(waits_alone, "b@there.test"))
    assert sorted(mail.recipients for mail in mx.mails) == [["a@there.test"], ["c@there.test"]]
    assert len(mx.connections) == 2
    assert entry["id"].endswith(".2")


def waits_alone(address: str, entries: list[dict[str, Any]]) -> bool:
    """Whether nothing else is left."""
    return [entry["recipients"] for entry in entries] == [[address]]
