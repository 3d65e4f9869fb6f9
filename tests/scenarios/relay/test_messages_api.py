"""Mail over HTTP through a whole relay, in one process and in several, and by `mailboat send --api`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.support.relay_process import COMMAND, PATIENCE, RelayConfig, command, running
from tests.support.scripted_mx import ScriptedMx

TEXT = "From: alice@sender.test\nSubject: hi\n\n.\nGood day"


@pytest.mark.parametrize("nodes", [0, 2], ids=["one process", "two workers"])
async def test_programs_hand_mail_in_and_it_is_delivered(tmp_path: Path, mx: ScriptedMx, nodes: int) -> None:
    """As JSON, and large ones as they are, through whichever worker; line ends and leading dots arrive as meant."""
    config = RelayConfig(tmp_path / "config", mx.port, nodes)
    large = b"Subject: large\r\n\r\n" + b"x" * 998 + b"\r\n" + b".line\r\n" * 400_000
    async with running(config) as relay:
        body = {"from": "alice@sender.test", "to": ["bob@one.test", "carol@two.test"], "content": TEXT}
        status, said = await relay.http("/v1/messages", "POST", body)
        assert status == 202
        url = f"http://127.0.0.1:{config.admin_port}/v1/messages?from=alice@sender.test&to=dave@one.test"
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.post(url, data=_pieces(large), headers={"Content-Type": "message/rfc822"}) as answer:
                    assert answer.status == 202, await answer.text()
        received = await relay.event("received", 3, client="", protocol="HTTP")
        assert received[0]["id"] == said["id"]
        await relay.event("delivered", 4)
        await relay.settled()
        assert len({fact["id"].partition("-")[0] for fact in received}) == max(1, nodes)
        assert (await relay.metrics())["mailboat_received_messages_total"] == 3
        assert await relay.stop() == 0
    small = [mail for mail in mx.mails if b"Subject: hi" in mail.body]
    assert len(small) == 2
    for mail in small:
        assert mail.body.endswith(b"\r\n\r\n.\r\nGood day\r\n")
    assert [mail.body.endswith(large.partition(b"\r\n\r\n")[2]) for mail in mx.mails if mail not in small] == [True] * 2


async def _pieces(octets: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(octets), 100_000):
        yield octets[at : at + 100_000]


async def test_too_large_a_message_is_413_from_a_worker_too(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, 2, smtp=["databytes=10000"])
    async with running(config) as relay:
        body = {"from": "alice@sender.test", "to": "bob@one.test", "content": "Subject: x\n\n" + "x\n" * 10_000}
        status, problem = await relay.http("/v1/messages", "POST", body)
        assert (status, problem["detail"]) == (413, "content: the message is larger than 10000 octets")
        assert await relay.queue() == []


async def test_send_hands_a_mail_to_the_api_and_prints_its_id(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port)
    async with running(config) as relay:
        api = f"http://127.0.0.1:{config.admin_port}"
        words = ("send", "--api", api, "--from", "alice@sender.test", "--to", "bob@one.test", "--to", "c@two.test")
        process = await asyncio.create_subprocess_exec(
            COMMAND, *words, "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate(TEXT.encode())
        [fact] = await relay.event("received")
        assert (process.returncode, out.decode()) == (0, f"202 Message Queued ({fact['id']})\n")
        await relay.event("delivered", 2)
        assert fact["recipients"] == ["bob@one.test", "c@two.test"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--api", "http://127.0.0.1:1", "--to", "b@c.test"], 75, "127.0.0.1:1: "),
        (["--api", "127.0.0.1:9025", "--to", "b@c.test"], 64, "is not http://HOST:PORT"),
        (["--api", "http://127.0.0.1:1", "--server", "x:25", "--to", "b@c.test"], 64, "--api contradicts --server"),
        (["--token-file", "nowhere", "--to", "b@c.test"], 64, "--token-file goes with --api"),
        (["--api", "http://127.0.0.1:1", "--token-file", "nowhere", "--to", "b@c.test"], 66, "nowhere"),
        (["--api", "http://127.0.0.1:1", "--to", "nobody"], 64, "--to 'nobody'"),
    ],
)
async def test_send_says_what_is_wrong_and_whether_to_try_again(words: list[str], code: int, said: str) -> None:
    got, out, err = await command("send", "--from", "a@b.test", *words, "--test")
    assert (got, out) == (code, "")
    assert said in err


async def test_send_passes_the_token_and_says_what_the_relay_refuses(tmp_path: Path, mx: ScriptedMx) -> None:
    config = RelayConfig(tmp_path / "config", mx.port, smtp=["databytes=1024"])
    config.put("http.ini", f"listen=0.0.0.0:{config.admin_port}\ntoken_file=token\n")
    config.put("token", "sesame\n")
    (tmp_path / "large").write_text("Subject: x\n\n" + "x\n" * 1000)
    async with running(config):
        api = ("--api", f"http://127.0.0.1:{config.admin_port}", "--from", "<>", "--to", "bob@one.test")
        assert (await command("send", *api, "--test"))[0] == 77
        token = ("--token-file", str(config.directory / "token"))
        assert (await command("send", *api, *token, "--test"))[0] == 0
        code, _, err = await command("send", *api, *token, str(tmp_path / "large"))
        assert (code, err) == (69, "mailboat send: 413 content: the message is larger than 1024 octets\n")
