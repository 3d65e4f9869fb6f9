"""`python -m bench strangers`: what clients that may not relay can do to those that may: five attacks.

Every client is a socket of loopback with a chosen source address (127.0.0.0/8), the relay a process of
`--command`. docs/security.md has the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import argon2

USER, PASSWORD = "anna@example.com", "sesame"
ALLOWED = "127.0.0.9"
"""The one address that may relay without AUTH."""
PORT = 28_525
TLS_PORT = 28_465


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, source: str, port: int = PORT, tls: ssl.SSLContext | None = None) -> Client:
        """Connect from an address of loopback."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=sock, ssl=tls, server_hostname="relay.test" if tls else None))

    async def reply(self) -> str:
        """The last line of the next reply; empty when the relay has closed."""
        while line := await self._reader.readline():
            if line[3:4] != b"-":
                return line.decode().strip()
        return ""

    async def ask(self, line: str) -> str:
        """Say a line and hear its reply."""
        self._writer.write(line.encode() + b"\r\n")
        return await self.reply()

    def pipeline(self, lines: list[str]) -> None:
        """Say lines, and wait for nothing."""
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def authenticate(self, user: str, password: str) -> str:
        """The reply to AUTH PLAIN, behind greeting and EHLO."""
        await self.reply()
        await self.ask("EHLO client.test")
        return await self.ask(_plain(user, password))

    def close(self) -> None:
        """Close."""
        self._writer.close()


def _plain(user: str, password: str) -> str:
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


@contextlib.asynccontextmanager
async def relay(command: str, *smtp: str) -> AsyncIterator[int]:
    """A relay whose users have argon2 hashes of the usual cost; its process id."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        directory = Path(place)
        key, certificate = _certificate(directory)
        files = {
            "me": "relay.test\n",
            "smtp.ini": f"listen=127.0.0.1:{PORT}\nsmtps_listen=127.0.0.1:{TLS_PORT}\n" + "\n".join(smtp) + "\n",
            "http.ini": "listen=127.0.0.1:28925\n",
            "outbound.ini": "disabled=true\nqueue_dir=queue\n",
            "tls.ini": f"key={key}\ncert={certificate}\n",
            "relay_acl_allow": f"{ALLOWED}/32\n",
            "plugins": "auth_flat_file\n",
            "auth_flat_file.ini": f"[users]\n{USER}={argon2.PasswordHasher().hash(PASSWORD)}\n",
        }
        for name, text in files.items():
            (directory / name).write_text(text)
        process = await asyncio.create_subprocess_exec(
            *(command, "relay", "--config", place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while True:
                with contextlib.suppress(OSError):
                    (await Client.connect(ALLOWED)).close()
                    break
                await asyncio.sleep(0.1)
            yield process.pid
        finally:
            process.kill()
            await process.wait()


def _certificate(directory: Path) -> tuple[Path, Path]:
    key, certificate = directory / "key.pem", directory / "cert.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=relay.test"
    subprocess.run([*request.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate


def memory(pid: int, field: str = "VmRSS") -> int:
    """MiB of a process; `VmHWM`: the most so far."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) // 1024


async def guesses(command: str, seconds: float = 20.0) -> str:
    """One client address, 24 connections at once, one guess in each: how many are answered as wrong."""
    told: Counter[str] = Counter()

    async def guess() -> None:
        while True:
            with contextlib.suppress(OSError):
                client = await Client.connect("127.0.0.66")
                told[(await client.authenticate(USER, "wrong"))[:3]] += 1
                client.close()

    async with relay(command):
        await _for_a_while([guess] * 24, seconds)
    return f"{told['535']} guesses checked in {seconds:.0f} s"


async def starving(command: str) -> str:
    """300 guessers of 300 addresses and as many names; a user who has been there before authenticates."""

    def guesser(number: int) -> Callable[[], Coroutine[Any, Any, None]]:
        async def guess() -> None:
            while True:
                with contextlib.suppress(OSError):
                    client = await Client.connect(f"127.1.{number // 250}.{number % 250 + 1}")
                    await client.authenticate(f"user{number}@example.com", "wrong")
                    client.close()

        return guess

    async with relay(command):
        await (await Client.connect("127.0.0.77")).authenticate(USER, PASSWORD)
        tasks = [asyncio.create_task(guesser(number)()) for number in range(300)]
        await asyncio.sleep(5)
        times, failed = [], 0
        for _ in range(10):
            began = time.monotonic()
            client = await Client.connect("127.0.0.77")
            said = await asyncio.wait_for(client.authenticate(USER, PASSWORD), 60)
            failed += not said.startswith("235")
            times.append(time.monotonic() - began)
            client.close()
        await _cancel(tasks)
    return f"AUTH of the user: median {sorted(times)[5]:.2f} s, longest {max(times):.2f} s, {failed} of 10 refused"


async def checks(command: str) -> str:
    """60 clients of 60 addresses authenticate at once: memory at its most."""
    async with relay(command) as pid:

        async def guess(number: int) -> None:
            client = await Client.connect(f"127.2.0.{number + 1}")
            await client.authenticate(f"user{number}", "wrong")

        await asyncio.gather(*(guess(number) for number in range(60)))
        return f"{memory(pid, 'VmHWM')} MiB at most"


async def idle(command: str) -> str:
    """1,000 idle strangers of 100 addresses; a client that may relay connects ten times."""
    async with relay(command) as pid:
        here = [await Client.connect(f"127.3.0.{number % 100 + 1}") for number in range(1000)]
        await here[-1].reply()
        clients = [await Client.connect(ALLOWED) for _ in range(10)]
        let_in = [(await client.reply()).startswith("220") for client in clients]
        return f"{sum(let_in)} of 10 let in; {memory(pid)} MiB"


async def tls(command: str) -> str:
    """900 strangers inside TLS, each with 400 KiB pipelined behind wrong credentials: memory."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with relay(command) as pid:
        before, here = memory(pid), []
        for number in range(900):
            with contextlib.suppress(OSError):
                here.append(client := await Client.connect(f"127.4.{number % 100}.1", TLS_PORT, context))
                client.pipeline(["EHLO client.test", _plain(f"user{number}", "wrong"), *["NOOP"] * 68_000])
        await asyncio.sleep(2)
        return f"{memory(pid, 'VmHWM') - before} MiB at most for {len(here)}"


async def _for_a_while(what: list[Callable[[], Coroutine[Any, Any, None]]], seconds: float) -> None:
    tasks = [asyncio.create_task(each()) for each in what]
    await asyncio.sleep(seconds)
    await _cancel(tasks)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


ATTACKS = {attack.__name__: attack for attack in (guesses, starving, checks, idle, tls)}


def main(words: Sequence[str]) -> int:
    """Prints a line an attack."""
    parser = argparse.ArgumentParser(prog="python -m bench strangers", description=__doc__)
    own = os.path.join(os.path.dirname(sys.executable), "mailboat")  # noqa: PTH118, PTH120
    parser.add_argument("--command", default=own, help="the `mailboat` to attack")
    parser.add_argument("attacks", nargs="*", choices=[*ATTACKS, []], help="default: all")
    options = parser.parse_args(words)
    for name in options.attacks or ATTACKS:
        print(f"{name:10} {asyncio.run(ATTACKS[name](options.command))}", flush=True)
    return 0
