"""The plugins that come with the relay, each in a whole relay, through real sockets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.support.plugin_relay import PluginConfig
from tests.support.relay_process import command, running
from tests.support.scripted_mx import ScriptedMx


async def test_forward_by_recipient_by_sender_and_by_note(config: PluginConfig, mx: ScriptedMx) -> None:
    async with ScriptedMx.start() as to, ScriptedMx.start() as by, ScriptedMx.start() as noted:
        config.plug(
            "noting",
            f"""
            async def hook_queue_outbound(connection):
                if connection.transaction.rcpt_to[0].user == "noted":
                    connection.transaction.notes["queue"] = {{"next_hop": "smtp://127.0.0.1:{noted.port}"}}
            """,
        )
        config.use(
            "forward",
            forward_ini=f"[to.test]\nhost=127.0.0.1:{to.port}\n[from:by.test]\nhost=127.0.0.1:{by.port}\nbind_helo=by.test\n",
        )
        async with running(config) as relay:
            await relay.submit("x@to.test", sender="x@else.test")
            await relay.submit("x@to.test", sender="x@by.test")
            await relay.submit("noted@to.test", sender="x@by.test")
            await relay.submit("x@else.test", sender="x@else.test")
            await relay.event("delivered", 4)
            config.put("forward.ini", f"[else.test]\nhost=127.0.0.1:{to.port}\n")
            await relay.event("config", result="success")
            await relay.submit("x@else.test", sender="x@else.test")
            await to.wait_for(lambda to: len(to.mails) == 2)
    assert [len(server.mails) for server in (to, by, noted, mx)] == [2, 1, 1, 1]
    assert by.connections[0].names == ["by.test"]


async def test_limit_lets_so_many_go_and_the_rest_wait_with_a_time_of_their_own(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    config.use("limit", limit_ini="[rate_outbound]\nslow.test=2/1d\n")
    async with running(config) as relay:
        for _ in range(5):
            await relay.submit("x@slow.test")
        await relay.submit("x@fast.test")
        await relay.event("delivered", 3)
        await relay.event("deferred", 3)
        entries = await relay.poll(relay.queue, lambda entries: len(entries) == 3)
        assert len({entry["next_attempt_at"] for entry in entries}) >= 2
        assert [entry["attempts"] for entry in entries] == [0, 0, 0]
        await relay.http("/v1/queue/flush", "POST", {"domain": "slow.test"})
        await relay.event("deferred", 6)
    assert len(mx.mails) == 3


async def test_limit_of_attempts_at_once(config: PluginConfig, mx: ScriptedMx) -> None:
    from tests.support.scripted_mx import Held

    mx.on("DATA", Held("354 go on"))
    config.use("limit", limit_ini="[outbound]\nslow.test=1\ndelay=3600\n")
    async with running(config) as relay:
        await relay.submit("x@slow.test")
        await mx.wait_for(lambda mx: mx.connections)
        await relay.submit("x@slow.test")
        await relay.event("deferred")
        mx.release()
        await relay.event("delivered")
        await relay.http("/v1/queue/flush", "POST", {"domain": "slow.test"})
        await relay.event("delivered", 2)


async def test_headers_are_added_and_removed(config: PluginConfig, mx: ScriptedMx) -> None:
    config.use("headers", headers_ini="remove=X-Secret\n[add]\nX-Id={id}\n")
    async with running(config) as relay:
        name = await relay.submit(body=b"X-Secret: 1\r\nSubject: hi\r\n\r\nGood day.\r\n")
        await relay.event("delivered")
    head = mx.mails[0].body.partition(b"\r\n\r\n")[0]
    assert b"X-Secret" not in head
    assert f"X-Id: {name}".encode() in head


async def test_a_message_put_aside_waits_on_disk_and_can_be_released(
    config: PluginConfig, mx: ScriptedMx, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    config.use("quarantine", quarantine_ini=f"directory={aside}\nsender_domains=odd.test\n")
    async with running(config) as relay:
        name = await relay.submit("x@to.test", "y@too.test", sender="a@odd.test")
        await relay.kill_all()
    envelope = json.loads((aside / f"{name}.json").read_text())
    assert (envelope["sender"], envelope["recipients"]) == ("a@odd.test", ["x@to.test", "y@too.test"])
    config.put("quarantine.ini", f"directory={aside}\n")
    async with running(config) as relay:
        people = [word for address in envelope["recipients"] for word in ("--to", address)]
        server = f"127.0.0.1:{config.smtp_port}"
        code, _, err = await command(
            *("send", "--server", server, "--from", envelope["sender"], *people, str(aside / f"{name}.eml"))
        )
        assert code == 0, err
        await relay.event("delivered", 2)
    assert all(b"\r\nSubject: hi\r\n" in mail.body for mail in mx.mails)


async def test_a_discarded_message_is_answered_250_and_gone(config: PluginConfig, mx: ScriptedMx) -> None:
    config.use("discard", discard_ini="recipient_domains=hole.test\n")
    async with running(config) as relay:
        await relay.submit("x@hole.test")
        await relay.submit("x@there.test")
        await relay.event("delivered")
        await relay.settled()
        await relay.logged("is discarded")
    assert [mail.recipients for mail in mx.mails] == [["x@there.test"]]


async def test_log_events_tells_the_whole_story_of_a_message(
    config: PluginConfig, mx: ScriptedMx, tmp_path: Path
) -> None:
    file = tmp_path / "hooks.json"
    config.use("log_events", log_events_ini=f"file={file}\n")
    async with running(config) as relay:
        name = await relay.submit()

        async def told() -> list[Any]:
            return lines(file)

        events = await relay.poll(told, lambda events: any(event["point"] == "delivered" for event in events))
    story = [event["point"] for event in events]
    expected = ["connect", "ehlo", "mail", "rcpt", "data_post", "queue_outbound", "pre_send_trans_email", "queue_ok"]
    assert [point for point in story if point in expected] == expected
    assert [point for point in story if point not in expected] == ["send_email", "get_mx", "delivered"]
    assert {event["id"] for event in events if "recipients" in event and event["point"] != "mail"} >= {name}


def lines(file: Path) -> list[Any]:
    """What is in a file of JSON lines so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def title_of(pid: int) -> str:
    """As `ps` shows it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


async def test_the_title_of_the_process_shows_its_figures(config: PluginConfig, mx: ScriptedMx) -> None:
    mx.on_rcpt("grey@there.test", "450 4.2.0 later")
    config.use("process_title")
    async with running(config) as relay:
        await relay.submit("ok@there.test")
        await relay.submit("grey@there.test", "other@there.test")
        await relay.event("deferred")

        async def shown() -> str:
            return title_of(relay.process.pid)

        text = await relay.poll(shown, lambda text: "msgs=2/1.0" in text and text.endswith("out=0/0/1"))
        assert re.fullmatch(
            r"Mailboat \(worker\) cn=2 cc=\d cps=\d+/[\d.]+/\d+ rcpts=3/1\.5 rps=\d+/[\d.]+/\d+"
            r" msgs=2/1\.0 mps=\d+/[\d.]+/\d+ out=0/0/1",
            text,
        )
        assert await relay.stop() == 0
