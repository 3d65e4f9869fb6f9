"""What depends on the event loop, under uvloop, the loop of production."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.support.ingress import ME, serving
from tests.support.pem import self_signed
from tests.support.smtp_client import PATIENCE

from mailboat.config.settings import TlsSettings
from mailboat.model.observer import RejectReason

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def run(coroutine: Coroutine[Any, Any, None], loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Run it in a thread-less loop of its own."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(coroutine)


@pytest.fixture
def tls(tmp_path: Path) -> TlsSettings:
    key, cert = self_signed(ME)
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "cert.pem").write_bytes(cert)
    return TlsSettings(key=str(tmp_path / "key.pem"), cert=str(tmp_path / "cert.pem"))


class Hasty:
    """A TLS client whose ClientHello is there before the server looks: nothing of the loop runs in between."""

    def __init__(self, port: int, cert: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=cert)
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=ME)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(self._out.read())
        self._socket.setblocking(False)

    async def greeting(self) -> bytes:
        """The first line inside TLS."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    self._tls.do_handshake()
                    return self._tls.read()
                except ssl.SSLWantReadError:
                    await loop.sock_sendall(self._socket, self._out.read())
                    self._in.write(await loop.sock_recv(self._socket, 65536))

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
def test_implicit_tls_loses_no_client_hello_that_comes_with_the_connection(
    loop: Callable[[], asyncio.AbstractEventLoop], tls: TlsSettings
) -> None:
    async def scenario() -> None:
        async with serving(tls=tls, smtps=True) as rig:
            clients = [Hasty(rig.listener.ports[-1], tls.cert) for _ in range(20)]
            for client in clients:
                assert (await client.greeting()).startswith(b"220 ")
                client.close()
            await rig.facts.until(lambda facts: facts.here == 0)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
@pytest.mark.parametrize("garbage", [b"EHLO client.test\r\n", b"\x16\x03\x01\xff\xff" + bytes(300_000)])
def test_garbage_that_comes_with_the_connection_ends_it_alone(
    garbage: bytes, loop: Callable[[], asyncio.AbstractEventLoop], tls: TlsSettings
) -> None:
    async def scenario() -> None:
        async with serving(tls=tls, smtps=True) as rig:
            hostile = socket.create_connection(("127.0.0.1", rig.listener.ports[-1]))
            hostile.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                hostile.send(garbage)
            await rig.facts.until(lambda facts: facts.reasons == [RejectReason.TLS] and facts.here == 0)
            hostile.close()
            client = Hasty(rig.listener.ports[-1], tls.cert)
            assert (await client.greeting()).startswith(b"220 ")
            client.close()

    run(scenario(), loop)
