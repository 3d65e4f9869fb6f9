"""`mailboat queue` against the admin API of a relay, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.facts import T0, StoppedClock, entry, message
from tests.support.fake_control import FakeControl

from mailboat.admin.control import entry_to_json
from mailboat.admin.server import AdminServer
from mailboat.config.settings import Endpoint, HttpSettings
from mailboat.metrics.prometheus import exposition
from mailboat.metrics.recorder import Recorder
from mailboat.model.envelope import Entry, State
from mailboat.queue.store import StateStats

MAILBOAT = (sys.executable, "-c", "from mailboat.cli import main; main()")
QUEUE = [
    entry(["a@one.example"], row=1, of=message("M-1")),
    entry(["b@two.example", "c@two.example"], row=2, of=message("M-2"), state=State.DEFERRED, attempts=2),
    entry(["d@one.example"], row=3, of=message("M-3", sender="carol@example.org"), state=State.HELD, next_attempt=None),
]


class Relay(FakeControl):
    """With gauges, as `queue stats` reads them."""

    async def metrics(self) -> bytes:
        stats = {State.DEFERRED: StateStats(3, 5000, T0 - 7200), State.HELD: StateStats(1, 10, T0)}
        return exposition(Recorder(StoppedClock(T0)).snapshot(stats), version="1", config_hash="")


@pytest.fixture
def control() -> Relay:
    return Relay(QUEUE)


@pytest.fixture
async def config(control: Relay, tmp_path: Path) -> AsyncIterator[Path]:
    """The configuration directory of a running relay."""
    server = AdminServer(control, HttpSettings(listen=(Endpoint("127.0.0.1", 0),)))
    await server.start()
    (tmp_path / "http.ini").write_text(f"listen={server.endpoints[0]}\n")
    yield tmp_path
    await server.close()


async def queue(config: Path, *args: str, **environ: str) -> tuple[int, str, str]:
    """Run `mailboat queue ARGS --config DIR`: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        *MAILBOAT,
        *("queue", *args, "--config", str(config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environ,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_listing_is_aligned(config: Path) -> None:
    status, out, err = await queue(config, "list")
    assert (status, err) == (0, "")
    when, alice, carol = "2023-11-14T22:13:20Z", "<alice@example.org>", "<carol@example.org>"
    assert out.splitlines() == [
        f"ID     STATE     {'QUEUED':20}     SIZE  TRIES  {'NEXT':20}  {'SENDER':19}  {'RECIPIENTS':26}  LAST REPLY",
        f"M-1.1  active    {when}  4.0 KiB      0  {when}  {alice}  <a@one.example>             -",
        f"M-2.1  deferred  {when}  4.0 KiB      2  {when}  {alice}  <b@two.example> and 1 more  -",
        f"M-3.1  held      {when}  4.0 KiB      0  {'-':20}  {carol}  <d@one.example>             -",
    ]


async def test_json_is_one_m_a_line_for_what_is_selected(config: Path) -> None:
    status, out, _ = await queue(config, "list", "--json", "--domain", "One.Example", "--state", "held")
    assert status == 0
    assert [json.loads(line) for line in out.splitlines()] == [entry_to_json(QUEUE[2])]


async def test_a_long_queue_is_listed_to_its_end(config: Path, control: Relay) -> None:
    many: list[Entry] = [entry(row=n, of=message(f"M-{n}")) for n in range(1234)]
    control.entries = {one.id: one for one in many}
    status, out, _ = await queue(config, "list", "--json")
    assert status == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == [one.id for one in many]


async def test_an_empty_queue_prints_nothing(config: Path, control: Relay) -> None:
    control.entries = {}
    assert await queue(config, "list") == (0, "", "")


async def test_show_tells_everything_of_one_entry(config: Path) -> None:
    status, out, _ = await queue(config, "show", "M-2")
    assert status == 0
    assert out.splitlines()[:6] == [
        "id               M-2.1",
        "state            deferred",
        "sender           alice@example.org",
        "domain           two.example",
        "recipients       b@two.example",
        "                 c@two.example",
    ]
    status, out, _ = await queue(config, "show", "M-2.1", "--json")
    assert json.loads(out) == entry_to_json(QUEUE[1])


async def test_an_unknown_id_is_exit_1(config: Path) -> None:
    status, out, err = await queue(config, "show", "M-9")
    assert (status, out) == (1, "")
    assert err == "mailboat queue: no message M-9 in the queue; delivered ones leave it\n"


async def test_stats_sum_up_by_state(config: Path) -> None:
    status, out, _ = await queue(config, "stats")
    assert status == 0
    assert out.splitlines() == [
        "STATE       MESSAGES        SIZE    OLDEST",
        "active             0         0 B         -",
        "deferred           3     4.9 KiB     2.0 h",
        "held               1        10 B       0 s",
        "all                4     4.9 KiB     2.0 h",
    ]
    status, out, _ = await queue(config, "stats", "--json")
    assert json.loads(out)["deferred"] == {"messages": 3, "octets": 5000, "oldest_seconds": 7200.0}


@pytest.mark.parametrize(
    ("args", "said", "left"),
    [
        (("flush",), "1 due now", 3),
        (("hold", "--domain", "one.example"), "1 held", 3),
        (("release",), "1 released", 3),
        (("delete", "M-1", "M-2.1"), "2 deleted", 1),
        (("delete", "--sender", "carol@example.org"), "1 deleted", 2),
        (("delete", "--all"), "3 deleted", 0),
        (("delete", "--all", "--json"), '{"count":3}', 0),
    ],
)
async def test_changes_say_how_many(args: tuple[str, ...], said: str, left: int, config: Path, control: Relay) -> None:
    assert await queue(config, *args) == (0, f"{said}\n", "")
    assert len(control.entries) == left


@pytest.mark.parametrize(
    "args", [("delete",), ("delete", "--all", "M-1"), ("delete", ""), ("flush", "--domain", "a..b")]
)
async def test_what_is_not_meant_is_refused(args: tuple[str, ...], config: Path, control: Relay) -> None:
    status, out, err = await queue(config, *args)
    assert (status, out) == (os.EX_USAGE, "")
    assert err.startswith("mailboat queue: ")
    assert not control.selections


@pytest.mark.parametrize("verb", ["flush", "hold", "release"])
async def test_a_relay_that_never_ran_has_nothing_to_change(verb: str, tmp_path: Path) -> None:
    (tmp_path / "http.ini").write_text("listen=127.0.0.1:1\n")
    status, out, err = await queue(tmp_path, verb)
    assert (status, out) == (os.EX_UNAVAILABLE, "")
    assert err.startswith("mailboat queue: no relay is running")
    assert not (tmp_path / "queue").exists()


async def test_a_listener_elsewhere_gets_the_token_of_the_configuration(tmp_path: Path, control: Relay) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    settings = HttpSettings(listen=(Endpoint("0.0.0.0", 0),), token_file=str(tmp_path / "token"))
    server = AdminServer(control, settings)
    await server.start()
    (tmp_path / "http.ini").write_text(f"listen={server.endpoints[0]}\ntoken_file=token\n")
    assert await queue(tmp_path, "hold", "M-1") == (0, "1 held\n", "")
    (tmp_path / "http.ini").write_text(f"listen={server.endpoints[0]}\n")
    status, _, err = await queue(tmp_path, "hold", "M-2")
    assert status == os.EX_NOPERM
    assert err == "mailboat queue: not allowed: a bearer token is needed\n"
    await server.close()


@pytest.mark.parametrize("args", [("stats",), ("list",), ("show", "M-1"), ("flush",)])
async def test_another_server_on_the_port_is_told_from_a_relay(args: tuple[str, ...], tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n<h1>Welcome {to} something else</h1>\n")
        writer.close()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    (tmp_path / "http.ini").write_text(f"listen=127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    status, out, err = await queue(tmp_path, *args)
    assert (status, out) == (os.EX_UNAVAILABLE, "")
    assert "is not that of a relay of this release" in err
    server.close()


async def test_another_broken_file_does_not_hide_the_queue(config: Path) -> None:
    (config / "outbound.ini").write_text("disabled=perhaps\n")
    status, out, _ = await queue(config, "list", "--json")
    assert (status, len(out.splitlines())) == (0, 3)


async def test_a_broken_http_ini_is_exit_78(tmp_path: Path) -> None:
    (tmp_path / "http.ini").write_text("listen=nonsense:x\n")
    status, _, err = await queue(tmp_path, "list")
    assert status == os.EX_CONFIG
    assert "http.ini:1" in err
    status, _, err = await queue(tmp_path / "missing", "list")
    assert status == os.EX_CONFIG
    assert "no such directory" in err


async def test_a_reader_that_has_seen_enough_is_no_failure(config: Path, control: Relay) -> None:
    many = [entry(row=n, of=message(f"M-{n}")) for n in range(3000)]
    control.entries = {one.id: one for one in many}
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *MAILBOAT,
        *("queue", "list", "--json", "--config", str(config)),
        stdout=write,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(write)
    os.close(read)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_a_terminal_gets_the_pager_and_no_escape_of_a_remote(config: Path, control: Relay) -> None:
    hostile = entry(["x\x1b[2J@one.example"], of=message("M-9"))
    control.entries = {hostile.id: hostile}
    leader, follower = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *MAILBOAT,
        *("queue", "list", "--config", str(config)),
        stdout=follower,
        env=os.environ | {"PAGER": "sed s/^/paged:/"},
    )
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert shown.startswith("paged:ID")
    assert "x\\x1b[2J@one.example" in shown
    assert "\x1b" not in shown
