"""The plugins of examples/plugins do what they say, and hold to the types of the API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mailboat.hooks import CONT, CONTINUE, DENYSOFT, OK, BounceError, DeferredInfo, Mx
from mailboat.hooks.loader import PluginsError
from mailboat.hooks.testing import connection, hmail, loaded

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "plugins"


def test_a_plugin_written_against_the_api_holds_to_strict_types() -> None:
    """As its author would see it: mypy --strict, without this project's settings."""
    files = sorted(map(str, EXAMPLES.glob("*.py")))
    assert len(files) >= 3
    check = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file",
            "",
            "--cache-dir",
            str(ROOT / ".mypy_cache"),
            *files,
        ],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_the_types_catch_what_is_no_answer(tmp_path: Path) -> None:
    plugin = tmp_path / "wrong.py"
    plugin.write_text(
        "from mailboat.hooks import Answer, Connection, HMail\n"
        "def hook_connect(connection: Connection) -> Answer:\n    return 'DENY'\n"
        "def hook_deferred(hmail: HMail, info: object) -> Answer:\n    hmail.todo.queue_tiem\n    return None\n"
    )
    check = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(plugin)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "wrong.py:3: error: Incompatible return value type" in check.stdout
    assert 'wrong.py:5: error: "Todo" has no attribute "queue_tiem"' in check.stdout


async def test_route_by_sender() -> None:
    ini = "[routes]\nexample.org=smtp://u:p%40@smarthost.test:587\n"
    async with loaded(EXAMPLES / "route_by_sender.py", {"route_by_sender.ini": ini}) as plugin:
        decision = await plugin.ask("get_mx", hmail(sender="alice@example.ORG"), "example.com")
        assert decision.code is OK
        assert decision.mx == (Mx("smarthost.test", port=587, auth_user="u", auth_pass="p@"),)
        assert await plugin.ask("get_mx", hmail(sender="carol@example.net"), "example.com") is CONTINUE
        assert plugin.counter("routed") == 1
        plugin.write("route_by_sender.ini", "[routes]\nexample.org=host:99999\n")
        with pytest.raises(PluginsError, match="the port is not one"):
            plugin.reload()
        plugin.write("route_by_sender.ini", "")
        plugin.reload()
        assert await plugin.ask("get_mx", hmail(), "example.com") is CONTINUE
        assert plugin.failures == []


async def test_retry_plan() -> None:
    files = {"retry_plan.ini": "domain=example.com\ntries=3\nquiet[]=alice@example.org\n"}
    async with loaded(EXAMPLES / "retry_plan.py", files) as plugin:
        info = DeferredInfo(delay=64, err="later")
        delays = [(await plugin.ask("deferred", hmail(num_failures=n), info)).seconds for n in range(4)]
        assert delays == [60, 120, 240, 0]
        assert await plugin.ask("deferred", hmail("bob@else.test"), info) is CONTINUE
        assert (await plugin.ask("bounce", hmail(), BounceError("550 no"))).code is OK
        assert (await plugin.ask("bounce", hmail(sender="x@y.test"), BounceError("550 no"))).code is CONT
        assert plugin.failures == []


async def test_archive(tmp_path: Path) -> None:
    async with loaded(EXAMPLES / "archive.py", {"archive.ini": f"directory={tmp_path}\n"}) as plugin:
        client = connection(message=b"Subject: x\r\nX-Archived: forged\r\n\r\nbody\r\n")
        assert client.transaction is not None
        assert await plugin.ask("data_post", client) is CONTINUE
        assert client.transaction.header.get_all("X-Archived") == ["TEST-1"]
        assert (tmp_path / "TEST-1.eml").read_bytes().endswith(b"\r\n\r\nbody\r\n")
        # There already: it does not write over it, and says so.
        decision = await plugin.ask("data_post", client)
        assert (decision.code, decision.failed) == (DENYSOFT, True)
        assert plugin.failures == [("data_post", "raised")]


async def test_archive_without_its_directory_does_not_start() -> None:
    with pytest.raises(PluginsError, match="is not a directory"):
        async with loaded(EXAMPLES / "archive.py", {"archive.ini": "directory=/no/such\n"}):
            pass
