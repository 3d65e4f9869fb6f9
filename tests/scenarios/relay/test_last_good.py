"""`mailboat relay --last-good`: a start that finds the configuration directory bad goes on with the last good set."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.pem import self_signed
from tests.support.relay_process import PATIENCE, Relay, RelayConfig, is_alive, launch, running
from tests.support.scripted_mx import ScriptedMx
from tests.support.smtp_client import recipient_code

OPTION = ("--last-good",)
BAD = "temp_fail_intervals=0x10s"
BAD_OUTBOUND = "outbound.ini:2: [main] temp_fail_intervals: "
SECRET = "Tr0ub4dor"
PLUGIN = "def hook_connect(connection):\n    return None\n"


def folder_of(config: RelayConfig) -> Path:
    return config.directory / "queue" / "last-good"


def files_of(config: RelayConfig) -> dict[str, Path]:
    """The files of the stored set, by name."""
    folder = folder_of(config)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return {name: folder / manifest["set"] / name for name in manifest["files"]}


@asynccontextmanager
async def last_good(config: RelayConfig, **how: Any) -> AsyncIterator[Relay]:
    async with running(config, options=OPTION, **how) as relay:
        yield relay


async def started_once(config: RelayConfig) -> None:
    """Have the configuration as it is now stored as the last good one."""
    async with last_good(config) as relay:
        assert await relay.stop() == 0


async def refused(config: RelayConfig) -> str:
    """What a relay says that does not start."""
    relay = await launch(config, options=OPTION)
    assert await relay.exit_code() == 78
    return "\n".join(relay.log)


async def in_force(relay: Relay, why: str) -> None:
    """The last good set is in force, and everybody is told why."""
    _, configz = await relay.http("/configz")
    assert configz["error"].startswith("the last good set, of 20")
    assert f"Z, is in force: {why}" in configz["error"]
    await relay.event("config", result="failure")
    await relay.logged(f"the configuration is refused: {configz['error']}")
    metrics = await relay.metrics()
    assert metrics["mailboat_config_last_reload_successful"] == 0
    assert metrics["mailboat_config_reloads_total{result=failure}"] == 1


async def healed(relay: Relay) -> None:
    """The directory is taken as by any other reload."""
    await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["error"] is None)
    await relay.poll(relay.metrics, lambda now: now["mailboat_config_last_reload_successful"] == 1)


@pytest.mark.parametrize("nodes", [0, 2])
async def test_a_bad_directory_at_the_start_leaves_the_last_good_set_in_force_until_it_is_good(
    tmp_path: Path, mx: ScriptedMx, nodes: int
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    async with last_good(config) as relay:
        _, before = await relay.http("/configz")
        config.outbound_is("received_header=second")
        await relay.event("config", result="success")
        _, good = await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["hash"] != before["hash"])
    config.outbound_is(BAD)
    async with last_good(config) as relay:
        await in_force(relay, BAD_OUTBOUND)
        assert (await relay.http("/configz"))[1]["hash"] == good["hash"]
        assert await relay.http_readyz() == 200
        await relay.submit()
        await relay.event("delivered")
        config.outbound_is("disabled=true", BAD)
        await relay.poll(lambda: relay.http("/configz"), lambda now: "outbound.ini:3: " in now[1]["error"])
        assert (await relay.http("/configz"))[1]["error"].startswith("the last good set, of ")
        config.outbound_is("received_header=third")
        await healed(relay)
    assert b"third" in files_of(config)["outbound.ini"].read_bytes()
    assert b"second" in mx.mails[0].body


async def test_without_the_option_and_at_a_first_start_a_bad_directory_ends_the_relay(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, outbound=[BAD])
    said = await refused(config)
    assert BAD_OUTBOUND in said
    assert f"there is no last good set in {folder_of(config)}" in said
    config.outbound_is()
    async with running(config) as relay:
        assert await relay.stop() == 0
    assert not folder_of(config).exists()
    await started_once(config)
    config.outbound_is(BAD)
    relay = await launch(config)
    assert await relay.exit_code() == 78
    assert not any("last good" in line for line in relay.log)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("smtp.ini", "listen=nowhere\n", "smtp.ini:1: [main] listen: "),
        ("http.ini", "listen=nowhere\n", "http.ini:1: [main] listen: "),
        ("tls.ini", "minVersion=SSLv2\n", "tls.ini:1: [main] minVersion: "),
        ("relay_acl_allow", "somebody\n", "relay_acl_allow:1: "),
        ("relay_acl_allow", "0.0.0.0/1\n128.0.0.0/2\n192.0.0.0/3\n", "relay_acl_allow: admits 100%"),
        ("plugins", "_checks\n", "plugins:1: _checks is an internal module of Mailboat"),
        ("plugins", "nowhere\n", "plugins:1: there is no plugin nowhere"),
        ("plugins.d/mine.py", "1/0\n", "plugins.d/mine.py:1: ZeroDivisionError"),
        ("limit.ini", "[outbound]\nthere.test=many\n", "limit.ini:2: [outbound] there.test: "),
    ],
)
async def test_whichever_file_is_bad_the_set_is_used_whole_and_the_repair_is_noticed(
    tmp_path: Path, mx: ScriptedMx, name: str, text: str, why: str
) -> None:
    nodes = 2 if name.startswith(("plugins", "limit")) else 0  # what plugins do wrong, only workers find out
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    (config.directory / "plugins.d").mkdir()
    good = {"plugins": "limit\nmine\n", "plugins.d/mine.py": PLUGIN, "limit.ini": "[outbound]\nthere.test=2\n"}
    good |= {"relay_acl_allow": "127.0.0.0/8\n", "tls.ini": "", "smtp.ini": f"listen=127.0.0.1:{config.smtp_port}\n"}
    good["smtp.ini"] += f"nodes={nodes}\n"
    good["http.ini"] = f"listen=127.0.0.1:{config.admin_port}\n"
    for file, content in good.items():
        config.put(file, content)
    await started_once(config)
    config.put(name, text)
    config.put("me", "changed.test\n")  # good files beside the bad one wait with it
    if name != "http.ini":
        config.put("http.ini", "listen=127.0.0.1:0\n")
    async with last_good(config) as relay:
        await in_force(relay, why)
        assert await recipient_code(config.smtp_port) == b"250"
        await relay.submit()
        await relay.event("delivered")
        assert b"changed.test" not in mx.mails[0].body
        config.put(name, good[name])
        await healed(relay)
        config.put("limit.ini", "[outbound]\nthere.test=none\n")  # from now on its own files count again
        _, configz = await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["error"])
        assert configz["error"].startswith("limit.ini:2: [outbound] there.test: ")


async def test_no_copy_of_a_password_or_key_is_made(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("plugins", "auth_flat_file\nlimit\n")
    config.put("auth_flat_file.ini", f"[users]\nann={SECRET}\n")
    config.put("limit.ini", "[outbound]\nthere.test=2\n")
    key, cert = self_signed("relay.test")
    config.put("tls_key.pem", key.decode())
    config.put("tls_cert.pem", cert.decode())
    config.put("password", SECRET)
    config.put("token", SECRET)
    config.put("http.ini", f"listen=127.0.0.1:{config.admin_port}\ntoken_file=token\n")
    config.outbound_is(
        "[route:smart]", "domains=smart.test", "hosts=127.0.0.1", "auth_user=ann", "auth_pass_file=password"
    )
    umask = os.umask(0)
    try:
        await started_once(config)
    finally:
        os.umask(umask)
    assert set(files_of(config)) == {"me", "smtp.ini", "http.ini", "outbound.ini", "plugins", "limit.ini"}
    for path in [folder_of(config), *folder_of(config).rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
        assert path.is_dir() or b"PRIVATE KEY" not in path.read_bytes()


async def test_a_route_whose_password_is_missing_waits_and_its_mail_goes_nowhere_else(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    async with ScriptedMx.start() as smart:
        config = RelayConfig(tmp_path / "config", mx.port)
        route = ["[route:smart]", "domains=smart.test", f"hosts=127.0.0.1:{smart.port}"]
        config.put("password", SECRET)
        config.outbound_is("temp_fail_intervals=1h", *route, "auth_user=ann", "auth_pass_file=password")
        await started_once(config)
        (config.directory / "password").unlink()
        async with last_good(config) as relay:
            await in_force(relay, "outbound.ini:7: [route:smart] auth_pass_file: the file does not exist")
            await relay.submit("bob@smart.test")
            await relay.submit("bob@there.test")
            await relay.event("delivered", domain="there.test")
            (deferred,) = await relay.event("deferred")
            assert "route smart waits: auth_pass_file: the file does not exist" in deferred["reply"]
            (waiting,) = await relay.queue()  # no attempt of its plan is spent
            assert waiting["attempts"] == 0
            assert "route smart waits" in waiting["last_reply"]
            config.put("password", SECRET)
            await healed(relay)
            relay.signal(signal.SIGHUP)
            await relay.event("delivered", domain="smart.test")
        assert [mail.recipients for mail in mx.mails] == [["bob@there.test"]]
        assert [mail.recipients for mail in smart.mails] == [["bob@smart.test"]]


async def test_without_its_certificate_a_relay_offers_no_starttls_unless_tls_is_promised(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    key, cert = (pem.decode() for pem in self_signed("relay.test"))
    config.put("server.key", key)
    config.put("server.pem", cert)
    config.put("tls.ini", "key=server.key\ncert=server.pem\n")
    await started_once(config)
    config.put("server.key", "nonsense\n")
    async with last_good(config) as relay:
        await in_force(relay, "tls.ini:2: [main] cert: OpenSSL refuses it: ")
        await relay.logged("STARTTLS is not offered")
        assert await recipient_code(config.smtp_port) == b"250"
        config.put("server.key", key)
        await healed(relay)
    config.smtp = ["smtps_listen=127.0.0.1:0"]
    config.write()
    await started_once(config)
    config.put("server.key", "nonsense\n")
    said = await refused(config)
    assert "cannot be used: tls.ini:2: [main] cert: OpenSSL refuses it: " in said


async def test_a_bad_file_of_users_has_no_copy_and_ends_the_relay_by_its_name(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    config.put("plugins", "auth_flat_file\n")
    config.put("auth_flat_file.ini", f"[users]\nann={SECRET}\n")
    await started_once(config)
    config.put("auth_flat_file.ini", f"[users]\nann={SECRET}\nann={SECRET}\n")
    said = await refused(config)
    assert "cannot be used: auth_flat_file.ini:3: " in said
    assert SECRET not in said


async def test_a_set_that_is_not_what_was_stored_is_refused_until_it_is_stored_anew(
    tmp_path: Path, mx: ScriptedMx
) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    await started_once(config)
    config.outbound_is(BAD)
    file = files_of(config)["outbound.ini"]
    file.write_bytes(file.read_bytes().replace(b"127.0.0.1", b"127.0.0.2"))
    said = await refused(config)
    assert BAD_OUTBOUND in said
    assert f"the last good set is not used: {file} is not as it was stored" in said
    config.outbound_is()
    await started_once(config)
    config.outbound_is(BAD)
    async with last_good(config) as relay:
        await in_force(relay, BAD_OUTBOUND)


async def test_a_relay_that_is_killed_while_it_writes_a_set_leaves_a_whole_one(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    for number in range(2):
        config.outbound_is(f"received_header=before {number}")
        async with last_good(config) as relay:
            config.outbound_is(f"received_header=after {number}")
            async with asyncio.timeout(PATIENCE):
                while len(list(folder_of(config).glob("set-*"))) < 2:  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0)
            await relay.kill_all()
        config.outbound_is(BAD)
        async with last_good(config) as relay:
            await in_force(relay, BAD_OUTBOUND)
            await relay.submit()
            await relay.event("delivered")
        assert f"before {number}".encode() in mx.mails[-1].body or f"after {number}".encode() in mx.mails[-1].body


async def test_a_worker_that_is_started_again_comes_up_with_the_same_set(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, 2)
    async with last_good(config) as relay:
        _, good = await relay.http("/configz")
        config.outbound_is(BAD)
        await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["error"])
        before = relay.workers()
        os.kill(before[1], signal.SIGKILL)
        await relay.poll(lambda: relay.http("/readyz"), lambda answer: answer[0] == 200 and not is_alive(before[1]))
        _, configz = await relay.http("/configz")
        assert configz["hash"] == good["hash"]
        assert BAD_OUTBOUND in configz["error"]
        config.outbound_is("received_header=good again")
        await relay.poll(lambda: relay.http("/configz"), lambda now: now[1]["error"] is None)


async def test_the_queue_directory_is_what_the_variable_or_the_bad_file_says(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    elsewhere = {"MAILBOAT_QUEUE_DIR": str(tmp_path / "volume")}
    async with last_good(config, environ=elsewhere) as relay:
        assert await relay.stop() == 0
    (config.directory / "outbound.ini").write_bytes(b"\xff")
    async with last_good(config, environ=elsewhere) as relay:
        await in_force(relay, "outbound.ini: is not UTF-8 text: see line 1")
    assert f"there is no last good set in {folder_of(config)}" in await refused(config)
    config.outbound_is(f"queue_dir={tmp_path / 'volume'}", BAD)
    assert f"is of a relay whose queue is in {config.directory / 'queue'}" in await refused(config)
